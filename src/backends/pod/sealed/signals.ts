/** Signal numbers of Linux on amd64 and arm64, which the launcher's frames carry. */
import { constants } from 'node:os';

export const SIGTERM = 15;
export const SIGKILL = 9;

/** The signal's name, or `SIG` and its number. */
export function signalName(number: number): string {
  const found = Object.entries(constants.signals).find(([, value]) => value === number);
  return found?.[0] ?? `SIG${number}`;
}
