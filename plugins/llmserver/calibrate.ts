// Finds the thread count that generates fastest here: on shared cores the library's default can be seventy times too slow.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { LlamaModel } from 'node-llama-cpp';
import { log } from './log.ts';

/** Enough tokens for the pace to show, few enough for a start to stay quick. */
const TRIAL_TOKENS = 8;
const TRIAL_CONTEXT = 64;
/** A candidate that is slower than the best so far by this factor is given up early. */
const GIVE_UP_FACTOR = 2;

/** 1, half, all but one, all. */
export const candidates = (cores: number): readonly number[] => [...new Set([1, Math.floor(cores / 2), cores - 1, cores])].filter((count) => count >= 1).sort((a, b) => a - b);

/** The same model on the same host is measured once; the result lies in `folder`. */
export async function calibrate(model: LlamaModel, path: string, folder: string | undefined): Promise<number> {
  const cores = cpus().length;
  if (cores === 1) return 1;
  const facts = statSync(path);
  const key = createHash('sha256').update(`${path} ${facts.size} ${facts.mtimeMs} ${cpus()[0]?.model} ${cores}`).digest('hex').slice(0, 24);
  const file = folder === undefined ? null : join(folder, 'threads.json');
  const known = file === null ? {} : readKnown(file);
  if (known[key] !== undefined) return known[key];
  let best = { threads: 1, per_token_ms: Infinity };
  for (const threads of candidates(cores)) {
    const per_token_ms = await trial(model, threads, best.per_token_ms * GIVE_UP_FACTOR);
    if (per_token_ms < best.per_token_ms) best = { threads, per_token_ms };
  }
  log('info', `${best.threads} threads are fastest here`, { threads: best.threads, cores, ms_per_token: Math.round(best.per_token_ms * 100) / 100 });
  if (file !== null && folder !== undefined) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, JSON.stringify({ ...known, [key]: best.threads }));
  }
  return best.threads;
}

function readKnown(file: string): Record<string, number> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>;
  } catch {
    return {};
  }
}

async function trial(model: LlamaModel, threads: number, giveUp_ms: number): Promise<number> {
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
}
