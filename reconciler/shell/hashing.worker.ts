// The thread that hashes files: reads on as far as each has come, a piece of each in turn.
import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { standBack } from './beside.ts';
import type { Order, Word } from './hashing.ts';

/** Read at once. */
const PIECE_BYTES = 1024 * 1024;
/** Of one file, before others and new orders have their turn. */
const TURN_BYTES = 8 * PIECE_BYTES;
/** How often it is told how far a file is. */
const WORD_MS = 250;

type Job = { readonly fd: number; readonly path: string; readonly hash: Hash; at: number; to: number; ends: boolean; told: number };

standBack();
const jobs = new Map<number, Job>();
const piece = Buffer.allocUnsafe(PIECE_BYTES);
let going = false;
const say = (word: Word): void => { parentPort?.postMessage(word); };

function broke(id: number, path: string, error: unknown): void {
  const { message, code = '' } = error as NodeJS.ErrnoException;
  drop(id);
  say({ id, fault: { message, code, path } });
}

function drop(id: number): void {
  const job = jobs.get(id);
  jobs.delete(id);
  if (job !== undefined) closeSync(job.fd);
}

/** Answers whether there is more to do for it now. */
function turn(id: number, job: Job): boolean {
  for (let done = 0; done < TURN_BYTES && job.at < job.to;) {
    const count = readSync(job.fd, piece, 0, Math.min(PIECE_BYTES, job.to - job.at), job.at);
    // The end of a file whose length nobody told.
    if (count === 0 && job.to === Infinity) job.to = job.at;
    else if (count === 0) throw Object.assign(new Error('it is shorter than what was written to it'), { code: 'EIO' });
    job.hash.update(piece.subarray(0, count));
    job.at += count;
    done += count;
  }
  if (job.at >= job.to && job.ends) {
    say({ id, bytes: job.at });
    say({ id, digest: job.hash.digest('hex') });
    drop(id);
    return false;
  }
  const now = performance.now();
  if (now - job.told >= WORD_MS) {
    job.told = now;
    say({ id, bytes: job.at });
  }
  return job.at < job.to;
}

function go(): void {
  going = false;
  let more = false;
  for (const [id, job] of [...jobs]) {
    try {
      more = turn(id, job) || more;
    } catch (error) {
      broke(id, job.path, error);
    }
  }
  if (more) goOn();
}

function goOn(): void {
  if (going) return;
  going = true;
  // Messages have their turn in between.
  setImmediate(go);
}

parentPort?.on('message', (order: Order) => {
  const job = jobs.get(order.id);
  switch (order.do) {
    case 'open':
      try {
        jobs.set(order.id, { fd: openSync(order.path, 'r'), path: order.path, hash: createHash('sha256'), at: 0, to: order.to ?? Infinity, ends: false, told: performance.now() });
      } catch (error) {
        broke(order.id, order.path, error);
      }
      break;
    case 'grow': if (job !== undefined) job.to = Math.max(job.to, order.to); break;
    case 'end': if (job !== undefined) job.ends = true; break;
    case 'drop': drop(order.id); break;
  }
  goOn();
});
