// Masks texts and diffs, large ones in a thread of their own so that everybody else gets answers meanwhile.
import { Worker } from 'node:worker_threads';
import type { Json } from '../reconciler/index.ts';
import type { Schema } from '../schema/walk.ts';
import { redactDiff } from './redact-diff.ts';
import { type UnmaskedText, redactText, unmaskText } from './redact-text.ts';

/** Parsing this much takes some 30 ms; starting a thread takes about as long. */
const THREAD_ABOVE_CHARS = 64 * 1024;

export type MaskingTask =
  | { readonly do: 'redactText'; readonly text: string; readonly root: Schema }
  | { readonly do: 'redactDiff'; readonly text: string; readonly diff: string; readonly root: Schema; readonly sections: readonly string[] }
  | { readonly do: 'unmaskText'; readonly text: string; readonly current: string; readonly value: Json; readonly root: Schema };
export type Masked = string | null | UnmaskedText;

/** What the thread runs, and what runs here for small texts. */
export function mask(task: MaskingTask): Masked {
  switch (task.do) {
    case 'redactText': return redactText(task.text, task.root);
    case 'redactDiff': return redactDiff(task.diff, task.text, (text) => redactText(text, task.root, task.sections));
    case 'unmaskText': return unmaskText(task.text, task);
  }
}

let queue: Promise<unknown> = Promise.resolve();

/** One thread at a time: each may hold a parsed document of some hundred megabytes. */
function inThread(task: MaskingTask): Promise<Masked> {
  const next = queue.then(() => new Promise<Masked>((resolve, reject) => {
    const thread = new Worker(new URL('./masking.worker.ts', import.meta.url), { workerData: task, execArgv: [] });
    thread.once('message', (masked: Masked) => resolve(masked));
    thread.once('error', reject);
    thread.once('exit', () => reject(new Error('the masking thread ended without an answer')));
  }));
  queue = next.catch(() => undefined);
  return next;
}

const run = async (task: MaskingTask): Promise<Masked> =>
  (task.text.length + ('current' in task ? task.current.length : 0) > THREAD_ABOVE_CHARS ? inThread(task) : mask(task));

/** The text as it may be shown; null when it is not valid YAML. */
export const maskedText = async (text: string, root: Schema): Promise<string | null> => (await run({ do: 'redactText', text, root })) as string | null;

/** The diff as it may be shown; `before` is what it starts from, of `sections` nothing is shown. Null when that cannot be told safely. */
export const maskedDiff = async (diff: string, before: string, o: { readonly root: Schema; readonly sections: readonly string[] }): Promise<string | null> =>
  (diff === '' ? '' : (await run({ do: 'redactDiff', text: before, diff, ...o })) as string | null);

/** A text that came in, with its masks replaced by what stands in the file. */
export const unmaskedText = async (text: string, o: { readonly current: string; readonly value: Json; readonly root: Schema }): Promise<UnmaskedText> =>
  (await run({ do: 'unmaskText', text, ...o })) as UnmaskedText;
