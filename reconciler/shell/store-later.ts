// Writes of what memory knows already: tried at once, and again until the disk takes them, so that a full or busy disk ends nothing.
import Database from 'better-sqlite3';

type SqliteError = InstanceType<typeof Database.SqliteError>;

/** Faults that pass by themselves or once the owner has made room. Others are mistakes of ours. */
const PASSING = /^SQLITE_(BUSY|LOCKED|FULL|IOERR|READONLY|CANTOPEN|NOMEM)/;

/** A write somebody waits for is tried so often, so far apart: another process may hold the file for a moment. */
const TRIES = 10;
const AGAIN_MS = 50;

export type Later = ReturnType<typeof openLater>;

export const isPassing = (error: unknown): error is SqliteError => error instanceof Database.SqliteError && PASSING.test(error.code);

export function openLater() {
  const waiting = new Map<string, () => void>();
  let fault: string | null = null;
  const flush = (): void => {
    try {
      for (const [key, write] of waiting) {
        write();
        waiting.delete(key);
      }
      fault = null;
    } catch (error) {
      if (!isPassing(error)) throw error;
      fault = error.message;
    }
  };
  return {
    /** The newest write under a key takes the place of one that still waits; different keys do not depend on each other. */
    write(key: string, write: () => void): void {
      waiting.delete(key);
      waiting.set(key, write);
      flush();
    },
    /** What need not be written any more. */
    drop: (key: string): void => { waiting.delete(key); },
    flush,
    /** Why writes wait; null when none does. */
    fault: (): string | null => fault,
  };
}

/** A write that is acknowledged only once it stands. Throws with code `StoreUnwritable` when the disk does not take it. */
export async function insist<Result>(write: () => Result): Promise<Result> {
  for (let tries = 1; ; tries += 1) {
    try {
      return write();
    } catch (error) {
      if (!isPassing(error)) throw error;
      if (tries === TRIES) throw Object.assign(new Error(`bkg.db could not be written: ${error.message}. Make room on the disk of $BKG_HOME, then try again.`), { code: 'StoreUnwritable' });
    }
    await new Promise((resolve) => { setTimeout(resolve, AGAIN_MS); });
  }
}
