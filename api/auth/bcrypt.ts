// bcrypt off the main thread, two at once at most: more would keep files and everybody else from the threads they need.
import bcrypt from 'bcrypt';

const AT_ONCE = 2;
/** More than these wait for nothing: the caller is told to come again. */
const WAITING_MAX = 64;
/** bcrypt reads no further. */
export const SECRET_MAX_BYTES = 72;
/** A quarter of a second for whoever guesses a password. */
export const PASSWORD_COST = 12;
/** A key's secret has 256 random bits: no cost makes guessing it harder, and thousands of keys must not cost minutes after a restart. */
export const KEY_COST = 4;

export type Busy = { readonly busy: true };

const waiting: (() => void)[] = [];
let running = 0;

async function inTurn<Result>(work: () => Promise<Result>): Promise<Result | Busy> {
  if (running >= AT_ONCE) {
    if (waiting.length >= WAITING_MAX) return { busy: true };
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
}

/** Whether the hash was made of the secret; a hash that is none is made of nothing. */
export const compare = (secret: string, hash: string): Promise<boolean | Busy> =>
  // `$2y$` is PHP's name for `$2b$`, which the library does not know.
  inTurn(() => bcrypt.compare(secret, hash.replace(/^\$2y\$/, '$2b$')).catch(() => false));

export const hash = (secret: string, cost: number): Promise<string | Busy> => inTurn(() => bcrypt.hash(secret, cost));

export const isBusy = (answer: unknown): answer is Busy => typeof answer === 'object' && answer !== null && 'busy' in answer;

/** The cost a hash was made with. */
export const costOf = (text: string): number => Number(/^\$2[aby]\$(\d\d)\$/.exec(text)?.[1] ?? PASSWORD_COST);
