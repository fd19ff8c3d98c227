// The worker that parses large files: text in, plain data and places out.
import { parentPort } from 'node:worker_threads';
import { parseText, type WorkerAnswer, type WorkerRequest } from './declare.ts';

parentPort?.on('message', (request: WorkerRequest) => {
  const parsed = parseText(request.text);
  const answer: WorkerAnswer = { id: request.id, value: request.pointers === null ? parsed.value : null, problems: parsed.problems, places: request.pointers?.map(parsed.locate) ?? [] };
  parentPort?.postMessage(answer);
});
