/** Who has which session, where several processes share a store. */

export interface Holders {
  /** This process, as records name it. */
  readonly self: string;
  /** Whether others must still believe that this process lives. Where it is not sure, a record is read before its session is used: another may have it by now. */
  readonly isSure: boolean;
  /** How often it became sure again after it was not: meanwhile another may have taken any session, so that what was known of one before is read again. */
  readonly doubts: number;
  /** Whether another one lives. False is said only where that is certain. Rejects with `STORE_UNAVAILABLE` where it cannot be told. */
  isAlive(holder: string): Promise<boolean>;
}

/** For a process that shares its store with none that live: whoever stands in a record was there before it. */
export function alone(self: string): Holders {
  return { self, isSure: true, doubts: 0, isAlive: async (holder) => holder === self };
}
