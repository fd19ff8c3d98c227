// Parses and edits large files in a thread beside the event loop, small ones here and now.
import { Worker } from 'node:worker_threads';
import type { TypedPeople } from '../core/people-kept.ts';
import type { Json, Problem } from '../core/types.ts';
import { parseText, type Parsed, type Place } from './declare.ts';
import type { PatchOperation } from './door.ts';
import { rolledBack } from './rollback.ts';
import { edit, type Edited } from './splice.ts';

/** Above this a parse would hold up requests: it goes to the thread. */
const THREAD_ABOVE_CHARS = 64 * 1024;
/** A rollback reads several texts several times. */
const ROLLBACK_ABOVE_CHARS = 8 * 1024;
/** The thread's memory is given back after this long without work. */
const THREAD_IDLE_MS = 30_000;

export type Task =
  | { readonly do: 'parse'; readonly text: string }
  | { readonly do: 'place'; readonly text: string; readonly pointers: readonly string[] }
  | { readonly do: 'edit'; readonly text: string; readonly operations: readonly PatchOperation[] }
  | { readonly do: 'rollBack'; readonly text: string; readonly now: string; readonly people: TypedPeople };
type Read = { readonly value: Json | null; readonly problems: readonly Problem[] };
export type Done = Read | Edited | readonly (Place | null)[];
/** `broke`: our own mistake, thrown again on this side. */
export type Answer = { readonly id: number } & ({ readonly done: Done } | { readonly broke: string });

/** What the thread runs, and what runs here for small texts. */
export function perform(task: Task): Done {
  switch (task.do) {
    case 'parse': {
      const { value, problems } = parseText(task.text);
      return { value, problems };
    }
    case 'place': return task.pointers.map(parseText(task.text).locate);
    case 'edit': return edit(task.text, task.operations);
    case 'rollBack': return rolledBack(task.text, task.now, task.people);
  }
}

/** As `parseText`, without holding up the event loop for a large text. */
export const parseFile = async (text: string): Promise<Pick<Parsed, 'value' | 'problems'>> => (await run({ do: 'parse', text }, (problem) => ({ value: null, problems: [problem] }))) as Read;

/** As `edit` of splice.ts, likewise. */
export const editFile = async (text: string, operations: readonly PatchOperation[]): Promise<Edited> => (await run({ do: 'edit', text, operations }, (problem) => ({ ok: false, problem }))) as Edited;

/** As `rolledBack` of rollback.ts, likewise. */
export const rollBackFile = async (text: string, now: string, people: TypedPeople): Promise<Edited> => (await run({ do: 'rollBack', text, now, people }, (problem) => ({ ok: false, problem }))) as Edited;

/** Fills in line and column of problems that know only their pointer. */
export async function place(problems: readonly Problem[], text: string): Promise<readonly Problem[]> {
  if (problems.length === 0) return problems;
  const places = (await run({ do: 'place', text, pointers: problems.map((problem) => problem.pointer) }, () => [])) as readonly (Place | null)[];
  return problems.map((problem, index) => (problem.line === null ? { ...problem, line: places[index]?.line ?? null, column: places[index]?.column ?? null } : problem));
}

/** `unreadable`: what it means for the task that the thread died of it. */
async function run(task: Task, unreadable: (problem: Problem) => Done): Promise<Done> {
  const chars = task.text.length + ('now' in task ? task.now.length : 0);
  return chars <= (task.do === 'rollBack' ? ROLLBACK_ABOVE_CHARS : THREAD_ABOVE_CHARS) ? perform(task) : inThread(task, unreadable);
}

type Waiting = { readonly answer: (answer: Answer) => void; readonly died: (problem: Problem) => void };
type Thread = { readonly worker: Worker; readonly waiting: Map<number, Waiting>; idle: NodeJS.Timeout | null };

let thread: Thread | null = null;
let tasks = 0;

function inThread(task: Task, unreadable: (problem: Problem) => Done): Promise<Done> {
  const own = (thread ??= startThread());
  if (own.idle !== null) clearTimeout(own.idle);
  tasks += 1;
  const id = tasks;
  return new Promise((resolve, reject) => {
    own.waiting.set(id, {
      answer: (answer) => { if ('done' in answer) resolve(answer.done); else reject(new Error(answer.broke)); },
      died: (problem) => resolve(unreadable(problem)),
    });
    own.worker.ref();
    own.worker.postMessage({ id, task });
  });
}

function startThread(): Thread {
  const worker = new Worker(new URL('./parsing.worker.ts', import.meta.url), { execArgv: [] });
  const own: Thread = { worker, waiting: new Map(), idle: null };
  // One that dies answers for all it had been asked; the next question starts another.
  worker.once('error', (error) => {
    if (thread === own) thread = null;
    const problem: Problem = { code: 'YamlUnreadable', pointer: '', line: null, column: null, message: `This file could not be read: ${error.message}`, hint: 'Is it much larger than it need be?', severity: 'error' };
    for (const waiting of own.waiting.values()) waiting.died(problem);
  });
  worker.on('message', (answer: Answer) => {
    own.waiting.get(answer.id)?.answer(answer);
    own.waiting.delete(answer.id);
    if (own.waiting.size > 0) return;
    worker.unref();
    own.idle = setTimeout(() => {
      if (thread === own) thread = null;
      void worker.terminate();
    }, THREAD_IDLE_MS);
    own.idle.unref();
  });
  worker.unref();
  return own;
}
