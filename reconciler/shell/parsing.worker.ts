// The thread that parses and edits large files: a task in, what came of it out.
import { parentPort } from 'node:worker_threads';
import { perform, type Answer, type Task } from './parsing.ts';

parentPort?.on('message', ({ id, task }: { readonly id: number; readonly task: Task }) => {
  let answer: Answer;
  try {
    answer = { id, done: perform(task) };
  } catch (error) {
    answer = { id, broke: (error as Error).stack ?? String(error) };
  }
  parentPort?.postMessage(answer);
});
