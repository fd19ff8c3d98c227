// Gives downloads to their thread: one for all of them.
import { openBeside } from './beside.ts';
import type { Task, Under } from './download-transfer.ts';
import type { Fetched } from './download.ts';

export type Order = { readonly id: number; readonly do: 'fetch'; readonly task: Task } | { readonly id: number; readonly do: 'stop' };
/** `broke`: our own mistake, thrown again on this side. */
export type Word = { readonly id: number } & ({ readonly bytes: number; readonly total: number | null } | { readonly fetched: Fetched } | { readonly broke: string });

const beside = openBeside<Order, Word>(new URL('./download.worker.ts', import.meta.url));

/** As `transfer`, without holding up the event loop. */
export async function fetchInThread(task: Task, under: Under): Promise<Fetched> {
  const outcome = Promise.withResolvers<Fetched>();
  const work = beside.begin({
    hear(word) {
      if ('bytes' in word) under.onProgress(word.bytes, word.total);
      else if ('fetched' in word) outcome.resolve(word.fetched);
      else outcome.reject(new Error(word.broke));
    },
    died: outcome.reject,
  });
  const stop = (): void => work.tell({ id: work.id, do: 'stop' });
  work.tell({ id: work.id, do: 'fetch', task });
  under.signal.addEventListener('abort', stop, { once: true });
  if (under.signal.aborted) stop();
  try {
    return await outcome.promise;
  } finally {
    under.signal.removeEventListener('abort', stop);
    work.leave();
  }
}
