// Hashes files in a thread beside the event loop: one that lies there whole, or one that still grows, as far as it has come.
import { openBeside } from './beside.ts';

export type Order =
  /** `to` bounds what is hashed; null = to the end, as long as the file is now. */
  | { readonly id: number; readonly do: 'open'; readonly path: string; readonly to: number | null }
  /** So much of it is there. */
  | { readonly id: number; readonly do: 'grow'; readonly to: number }
  /** No more will come. */
  | { readonly id: number; readonly do: 'end' }
  | { readonly id: number; readonly do: 'drop' };
export type Word =
  | { readonly id: number; readonly bytes: number }
  | { readonly id: number; readonly digest: string }
  | { readonly id: number; readonly fault: { readonly message: string; readonly code: string; readonly path: string } };

export type Growing = {
  readonly grow: (to: number) => void;
  /** sha256 of all that came; throws what was wrong with the file. */
  readonly digest: () => Promise<string>;
  readonly drop: () => void;
};

const beside = openBeside<Order, Word>(new URL('./hashing.worker.ts', import.meta.url));

/** Follows a file that is being written; its bytes are read back from memory while they are still there. */
export const hashGrowing = (path: string): Growing => begin(path, 0, () => undefined);

/** sha256 of a whole file. */
export async function hashFile(path: string, o: { readonly signal: AbortSignal; readonly onBytes: (bytes: number) => void }): Promise<string> {
  o.signal.throwIfAborted();
  const own = begin(path, null, o.onBytes);
  o.signal.addEventListener('abort', own.drop, { once: true });
  try {
    return await own.digest();
  } catch (error) {
    o.signal.throwIfAborted();
    throw error;
  } finally {
    o.signal.removeEventListener('abort', own.drop);
  }
}

function begin(path: string, to: number | null, onBytes: (bytes: number) => void): Growing {
  const digest = Promise.withResolvers<string>();
  // Whoever drops it does not wait for it.
  digest.promise.catch(() => undefined);
  const work = beside.begin({
    hear(word) {
      if ('bytes' in word) return onBytes(word.bytes);
      if ('digest' in word) digest.resolve(word.digest);
      else digest.reject(Object.assign(new Error(word.fault.message), { code: word.fault.code, path: word.fault.path }));
      work.leave();
    },
    died: digest.reject,
  });
  const { id, tell } = work;
  tell({ id, do: 'open', path, to });
  return {
    grow: (end) => tell({ id, do: 'grow', to: end }),
    digest() {
      tell({ id, do: 'end' });
      return digest.promise;
    },
    drop() {
      tell({ id, do: 'drop' });
      work.leave();
      digest.reject(new Error('it is no longer wanted'));
    },
  };
}
