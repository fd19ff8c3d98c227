// Turns for work that only so many may do at once; whoever comes when too many wait is told to come again.

export type Busy = { readonly busy: true };

export const isBusy = (answer: unknown): answer is Busy => typeof answer === 'object' && answer !== null && 'busy' in answer;

export type Turns = ReturnType<typeof openTurns>;

export function openTurns(o: { readonly atOnce: number; readonly waiting: number }) {
  const waiting: (() => void)[] = [];
  let running = 0;
  return {
    /** Nobody works, and nobody waits. */
    isIdle: (): boolean => running === 0,
    async take<Result>(work: () => Promise<Result>): Promise<Result | Busy> {
      if (running >= o.atOnce) {
        if (waiting.length >= o.waiting) return { busy: true };
        // Whoever ends hands over the turn, so that nobody comes in between.
        await new Promise<void>((resolve) => { waiting.push(resolve); });
      } else running += 1;
      try {
        return await work();
      } finally {
        const next = waiting.shift();
        if (next === undefined) running -= 1;
        else next();
      }
    },
  };
}
