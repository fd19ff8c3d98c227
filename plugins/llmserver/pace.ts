// Counts what was done lately, so that a figure says what happens now and not since the start.

/** Seconds the figure looks back. */
const WINDOW_S = 10;

export function openPace(now_ms: () => number) {
  const buckets = new Map<number, number>();
  const forget = (second: number): void => {
    for (const key of buckets.keys()) if (key <= second - WINDOW_S) buckets.delete(key);
  };
  return {
    count(): void {
      const second = Math.floor(now_ms() / 1000);
      buckets.set(second, (buckets.get(second) ?? 0) + 1);
      forget(second);
    },
    per_second(): number {
      forget(Math.floor(now_ms() / 1000));
      return [...buckets.values()].reduce((sum, count) => sum + count, 0) / WINDOW_S;
    },
  };
}
