// A cap on bytes a second, shared by all downloads of this process that have one.

/** So much may be taken at once after a rest, as a share of a second: reading comes in pieces. */
const BURST_S = 0.25;

let rate = 0;
/** Bytes that may still be taken; what is below nothing is owed. */
let left = 0;
let looked_ms = 0;

/** Takes bytes out of what a second has, and answers for how many milliseconds no more should be read. The newest word on the rate counts for all. */
export function takeShare(bytes: number, bandwidth_bytes: number, now_ms: number): number {
  // Who takes for the first time has not saved anything.
  if (rate === 0) looked_ms = now_ms;
  rate = bandwidth_bytes;
  left = Math.min(rate * BURST_S, left + ((now_ms - looked_ms) / 1000) * rate) - bytes;
  looked_ms = now_ms;
  return left >= 0 ? 0 : (-left / rate) * 1000;
}
