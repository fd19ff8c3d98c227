// The loop: a boolean and one tick in flight. A poke says only that something may have changed, never what.

export type Loop = {
  /** Something may have changed. Cheap; many pokes make one tick. */
  readonly poke: () => void;
  /** Ends when a tick that began after this call has ended. */
  readonly turn: () => Promise<void>;
  /** Looks again after this long, unless something happens sooner. */
  readonly lookIn: (within_ms: number) => void;
  readonly close: () => Promise<void>;
};

/** setTimeout counts to 2^31 at most. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** `tick` must not throw for what the world does; what it throws is our own mistake and goes to `broken`. */
export function openLoop(tick: () => Promise<void>, broken: (error: unknown) => void): Loop {
  let dirty = false;
  let closed = false;
  let running: Promise<void> | null = null;
  let timer: NodeJS.Timeout | null = null;
  let waiting: (() => void)[] = [];

  function poke(): void {
    dirty = true;
    if (running === null && !closed) running = run();
  }
  async function run(): Promise<void> {
    // One turn of the event loop gathers the pokes that come together.
    await new Promise((resolve) => { setImmediate(resolve); });
    while (dirty && !closed) {
      dirty = false;
      const waited = waiting;
      waiting = [];
      try {
        await tick();
      } catch (error) {
        broken(error);
      }
      for (const done of waited) done();
    }
    running = null;
    for (const done of waiting.splice(0)) done();
  }
  return {
    poke,
    turn() {
      if (closed) return Promise.resolve();
      return new Promise((resolve) => {
        waiting.push(resolve);
        poke();
      });
    },
    lookIn(within_ms) {
      if (timer !== null) clearTimeout(timer);
      timer = closed ? null : setTimeout(poke, Math.min(LONGEST_TIMER_MS, Math.max(1, within_ms)));
      timer?.unref();
    },
    async close() {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      await running;
    },
  };
}
