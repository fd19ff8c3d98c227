// What the machine gives, or the container that bkg is in.
import { totalmem } from 'node:os';

/** Kept for the system and bkg itself. */
const RESERVED_SHARE = 0.1;
const RESERVED_MIN_BYTES = 512 * 2 ** 20;

/** Memory for models and plugins. */
export function memoryForPlugins(): number {
  const total = totalmem();
  const limit = process.constrainedMemory();
  const given = limit > 0 && limit < total ? limit : total;
  return Math.max(0, given - Math.max(RESERVED_MIN_BYTES, given * RESERVED_SHARE));
}
