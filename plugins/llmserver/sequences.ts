// The sequences of one context: who may use which, chosen so that as much of the prompt as possible is there already.
import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { fail } from './errors.ts';

type Waiter = { readonly tokens: readonly Token[]; readonly take: (sequence: LlamaContextSequence) => void };

export type Sequences = ReturnType<typeof openSequences>;

const RETRY_AFTER_S = 2;

export function openSequences(all: readonly LlamaContextSequence[], queue: () => number) {
  const idle = [...all];
  const waiting: Waiter[] = [];
  return {
    active: (): number => all.length - idle.length,
    waiting: (): number => waiting.length,
    /** Waits its turn; 429 when too many wait already. */
    acquire(tokens: readonly Token[], signal: AbortSignal): Promise<LlamaContextSequence> {
      if (signal.aborted) return Promise.reject(signal.reason as Error);
      if (idle.length > 0) return Promise.resolve(takeBest(idle, tokens));
      if (waiting.length >= queue()) throw fail({ status: 429, code: 'queue_full', message: `${all.length} answers are being made and ${waiting.length} requests wait already.`, retryAfter_s: RETRY_AFTER_S });
      return new Promise((resolve, reject) => {
        const waiter: Waiter = { tokens, take: (sequence) => { signal.removeEventListener('abort', leave); resolve(sequence); } };
        const leave = (): void => {
          waiting.splice(waiting.indexOf(waiter), 1);
          reject(signal.reason as Error);
        };
        signal.addEventListener('abort', leave, { once: true });
        waiting.push(waiter);
      });
    },
    release(sequence: LlamaContextSequence): void {
      idle.push(sequence);
      const next = waiting.shift();
      if (next !== undefined) next.take(takeBest(idle, next.tokens));
    },
  };
}

/** The one with the longest common beginning; among equals the one unused for longest, so that others' prefixes last. */
function takeBest(idle: LlamaContextSequence[], tokens: readonly Token[]): LlamaContextSequence {
  let best = 0;
  let most = -1;
  idle.forEach((sequence, index) => {
    const length = commonLength(sequence.contextTokens, tokens);
    if (length > most) {
      most = length;
      best = index;
    }
  });
  return idle.splice(best, 1)[0]!;
}

export function commonLength(a: readonly Token[], b: readonly Token[]): number {
  const end = Math.min(a.length, b.length);
  let at = 0;
  while (at < end && a[at] === b[at]) at += 1;
  return at;
}
