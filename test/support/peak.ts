/** The largest of the values that `sample` gives while `work` runs, one look before it and one after it included. Fails where one of them fails. */
export async function peakWhile(sample: () => Promise<number>, work: () => Promise<void>): Promise<number> {
  let peak = await sample();
  let over = false;
  const worked = work().finally(() => (over = true));
  const watched = (async () => {
    while (!over) {
      peak = Math.max(peak, await sample());
      await new Promise((resolve) => setTimeout(resolve, 200)); // a figure that changes has no event to wait for
    }
  })();
  await Promise.all([worked, watched]);
  return Math.max(peak, await sample());
}
