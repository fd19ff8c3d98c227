// bcrypt off the main thread, two at once at most: more would keep files and everybody else from the threads they need.
import bcrypt from 'bcrypt';
import { openTurns, type Busy } from './turns.ts';

const AT_ONCE = 2;
/** More than these wait for nothing: the caller is told to come again. */
const WAITING_MAX = 64;
/** bcrypt reads no further. */
export const SECRET_MAX_BYTES = 72;
/** A quarter of a second for whoever guesses a password. */
export const PASSWORD_COST = 12;
/** A key's secret has 256 random bits: no cost makes guessing it harder, and thousands of keys must not cost minutes after a restart. */
export const KEY_COST = 4;

const turns = openTurns({ atOnce: AT_ONCE, waiting: WAITING_MAX });

/** Whether the hash was made of the secret; a hash that is none is made of nothing. */
export const compare = (secret: string, hash: string): Promise<boolean | Busy> =>
  // `$2y$` is PHP's name for `$2b$`, which the library does not know.
  turns.take(() => bcrypt.compare(secret, hash.replace(/^\$2y\$/, '$2b$')).catch(() => false));

export const hash = (secret: string, cost: number): Promise<string | Busy> => turns.take(() => bcrypt.hash(secret, cost));

/** The cost a hash was made with. */
export const costOf = (text: string): number => Number(/^\$2[aby]\$(\d\d)\$/.exec(text)?.[1] ?? PASSWORD_COST);
