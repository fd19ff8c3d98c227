// Threads that work beside the event loop: begun with the first work and ended a while after the last, lower in rank than the loop, from code that is compiled already.
import { stat } from 'node:fs';
import { getCompileCacheDir } from 'node:module';
import { getPriority, setPriority } from 'node:os';
import { Worker } from 'node:worker_threads';

/** A step of nice is worth a quarter: with five, the event loop has three times the share of a thread that works ahead. */
const NICE = 5;
const NICE_MAX = 19;
/** A thread's memory, some 25 MB, is given back after this long without work. */
const IDLE_MS = 5_000;

/** One piece of work: `tell` sends orders about it, `leave` says that nobody waits for it any more. */
export type Work<Order> = { readonly id: number; readonly tell: (order: Order) => void; readonly leave: () => void };
/** `died` answers for work that the thread did not live to end. */
type Ears<Word> = { readonly hear: (word: Word) => void; readonly died: (error: Error) => void };
type Thread<Word> = { readonly worker: Worker; readonly works: Map<number, Ears<Word>>; idle: NodeJS.Timeout | null };

/** One thread of the program, there while it has work. Orders and words carry the id of their work. */
export function openBeside<Order, Word extends { readonly id: number }>(program: URL): { readonly begin: (ears: Ears<Word>) => Work<Order> } {
  let thread: Thread<Word> | null = null;
  let ids = 0;

  const start = (): Thread<Word> => {
    const own: Thread<Word> = { worker: startThread(program), works: new Map(), idle: null };
    // The next work starts another thread.
    own.worker.once('error', (error) => {
      if (thread === own) thread = null;
      for (const { died } of own.works.values()) died(error as Error);
      own.works.clear();
    });
    own.worker.on('message', (word: Word) => own.works.get(word.id)?.hear(word));
    return own;
  };
  const rest = (own: Thread<Word>): void => {
    own.worker.unref();
    own.idle = setTimeout(() => {
      if (thread === own) thread = null;
      void own.worker.terminate();
    }, IDLE_MS);
    own.idle.unref();
  };

  return {
    begin(ears) {
      const own = (thread ??= start());
      if (own.idle !== null) clearTimeout(own.idle);
      ids += 1;
      const id = ids;
      own.works.set(id, ears);
      own.worker.ref();
      return {
        id,
        tell: (order) => { own.worker.postMessage(order); },
        leave: () => { if (own.works.delete(id) && own.works.size === 0) rest(own); },
      };
    },
  };
}

function startThread(program: URL): Worker {
  // Threads for files are made at their first use, by the rank of whoever uses them first: that must not be one that stands back.
  stat('/', () => undefined);
  // A thread does not look into the cache of its process unless it is told: without it a start takes three times as long, and 20 MB more.
  const cache = getCompileCacheDir();
  return new Worker(program, { execArgv: [], ...(cache === undefined ? {} : { env: { ...process.env, NODE_COMPILE_CACHE: cache } }) });
}

/** Called in a thread: where CPUs are few, it lets the event loop go first. Linux takes it for the calling thread alone. */
export function standBack(): void {
  if (process.platform !== 'linux') return;
  try {
    // The process goes by the rank of its first thread.
    setPriority(Math.min(NICE_MAX, getPriority(process.pid) + NICE));
  } catch {
    // Where it may not be set, all have the same share.
  }
}
