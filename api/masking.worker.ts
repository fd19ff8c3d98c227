// The thread that masks one large text: the task in, the masked text out.
import { parentPort, workerData } from 'node:worker_threads';
import { type MaskingTask, mask } from './masking.ts';

parentPort?.postMessage(mask(workerData as MaskingTask));
