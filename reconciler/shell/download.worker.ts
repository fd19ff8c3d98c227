// The thread of downloads: orders in, progress and outcomes out; whatever a download costs, the event loop of bkg does not pay it.
import { parentPort } from 'node:worker_threads';
import { standBack } from './beside.ts';
import type { Order, Word } from './download-thread.ts';
import { transfer } from './download-transfer.ts';

standBack();
const running = new Map<number, AbortController>();
const say = (word: Word): void => { parentPort?.postMessage(word); };

parentPort?.on('message', (order: Order) => {
  const { id } = order;
  if (order.do === 'stop') return running.get(id)?.abort();
  const stop = new AbortController();
  running.set(id, stop);
  transfer(order.task, { signal: stop.signal, onProgress: (bytes, total) => say({ id, bytes, total }) })
    .then((fetched) => say({ id, fetched }), (error: unknown) => say({ id, broke: (error as Error).stack ?? String(error) }))
    .finally(() => running.delete(id));
});
