// Finds the thread count that generates fastest here: on shared cores the library's default can be seventy times too slow.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import type { LlamaModel } from 'node-llama-cpp';
import { log } from './log.ts';

/** Enough tokens for the pace to show, few enough for a start to stay quick. */
const TRIAL_TOKENS = 8;
const TRIAL_CONTEXT = 64;
/** A candidate that is slower than the best so far by this factor is given up early. */
const GIVE_UP_FACTOR = 2;
/** A first step that is slower than even this is no warm-up. */
const WARM_UP_FACTOR = 5;

/** 1, half, all but one, all. */
export const candidates = (cores: number): readonly number[] => [...new Set([1, Math.floor(cores / 2), cores - 1, cores])].filter((count) => count >= 1).sort((a, b) => a - b);

/** Milliseconds for one step with so many threads; may give up early once it is slower than `giveUp_ms`. */
export type Trial = (threads: number, giveUp_ms: number) => Promise<number>;

/** The same model on the same host is measured once; the result lies in `folder`. */
export async function calibrate(path: string, folder: string | undefined, trial: Trial): Promise<number> {
  const cores = availableParallelism();
  if (cores === 1) return 1;
  const facts = statSync(path);
  const key = createHash('sha256').update(`${path} ${facts.size} ${facts.mtimeMs} ${cpus()[0]?.model} ${cores}`).digest('hex').slice(0, 24);
  const file = folder === undefined ? null : join(folder, 'threads.json');
  const known = file === null ? {} : readKnown(file);
  if (known[key] !== undefined) return known[key];
  let best = { threads: 1, step_ms: Infinity };
  for (const threads of candidates(cores)) {
    const step_ms = await trial(threads, best.step_ms * GIVE_UP_FACTOR);
    if (step_ms < best.step_ms) best = { threads, step_ms };
  }
  log('info', `${best.threads} of ${cores} threads are fastest here`, { threads: best.threads, cores, step_ms: Math.round(best.step_ms * 100) / 100 });
  if (file !== null && folder !== undefined) keep(folder, file, { ...known, [key]: best.threads });
  return best.threads;
}

/** A folder that cannot be written costs a measurement at the next start, nothing more. */
function keep(folder: string, file: string, known: Readonly<Record<string, number>>): void {
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, JSON.stringify(known));
  } catch (error) {
    log('warn', `the thread count could not be kept: ${(error as Error).message}`);
  }
}

function readKnown(file: string): Record<string, number> {
  try {
    const known = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    return Object.fromEntries(Object.entries(known).filter((entry): entry is [string, number] => Number.isInteger(entry[1]) && (entry[1] as number) > 0));
  } catch {
    return {};
  }
}

/** A step of a chat model is one generated token. */
export const generateTrial = (model: LlamaModel): Trial => async (threads, giveUp_ms) => {
  const context = await model.createContext({ contextSize: TRIAL_CONTEXT, sequences: 1, threads });
  try {
    const sequence = context.getSequence();
    const start = model.tokens.bos ?? model.tokenize('a')[0]!;
    let count = 0;
    let begun = 0;
    for await (const _token of sequence.evaluate([start], { temperature: 0, yieldEogToken: true })) {
      // The first token pays for the warm-up.
      if (count === 0) begun = performance.now();
      count += 1;
      const spent = performance.now() - begun;
      if (count > TRIAL_TOKENS || (count > 2 && spent / (count - 1) > giveUp_ms)) break;
    }
    return count < 2 ? Infinity : (performance.now() - begun) / (count - 1);
  } finally {
    await context.dispose();
  }
};

/** A step of an embedding model is one short text. */
export const embedTrial = (model: LlamaModel): Trial => async (threads, giveUp_ms) => {
  const context = await model.createEmbeddingContext({ contextSize: TRIAL_CONTEXT, threads });
  try {
    const text = model.tokenize('one two three four five six seven eight nine ten').slice(0, TRIAL_CONTEXT / 2);
    const once = async (): Promise<number> => {
      const begun = performance.now();
      await context.getEmbeddingFor(text);
      return performance.now() - begun;
    };
    // The first one pays for the warm-up.
    const first_ms = await once();
    return first_ms > giveUp_ms * WARM_UP_FACTOR ? first_ms : await once();
  } finally {
    await context.dispose();
  }
};
