// Makes one answer in one sequence: reads the prompt, then writes token by token until something ends it.
import { randomInt } from 'node:crypto';
import { LlamaGrammarEvaluationState, type LlamaContextSequence, type LlamaGrammar, type LlamaModel, type SequenceEvaluateOptions, type Token } from 'node-llama-cpp';
import { openStops } from './stops.ts';

export type Sampling = {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly seed: number | null;
  readonly repeatPenalty: number;
  readonly frequencyPenalty: number;
  readonly presencePenalty: number;
};

export type GenerateOrder = {
  readonly prompt: Token[];
  /** The field of the request that the prompt comes from. */
  readonly field: string;
  readonly sampling: Sampling;
  readonly stop: readonly string[];
  /** null = the setting's. */
  readonly maxTokens: number | null;
  readonly grammar: LlamaGrammar | null;
  readonly signal: AbortSignal;
  /** Called with each piece of text that is certain. */
  readonly onText: (text: string) => void;
};

export type Generated = { readonly finish: 'stop' | 'length' | 'abort'; readonly promptTokens: number; readonly cachedTokens: number; readonly completionTokens: number };

/** Tokens that penalties look back on. */
const PENALTY_TOKENS = 64;
/** Tokens given along so that the next piece is spelt right (spaces, half characters). */
const SPELLING_TOKENS = 8;
/** Half a character waits for its other half, but a model that writes nonsense must not hold back for ever. */
const MAX_PENDING_TOKENS = 8;
const REPLACEMENT = '\uFFFD';
const SEEDS = 2 ** 32 - 1;

/** Reads the prompt up to its last step of `step_tokens`, beginning where the sequence stands. */
export async function readPrompt(sequence: LlamaContextSequence, order: GenerateOrder, step_tokens: number): Promise<void> {
  while (order.prompt.length - sequence.nextTokenIndex > step_tokens && !order.signal.aborted) {
    const from = sequence.nextTokenIndex;
    await sequence.evaluateWithoutGeneratingNewTokens(order.prompt.slice(from, from + step_tokens));
  }
}

/** Writes at most `most` tokens, beginning with what of the prompt is not read yet. */
export async function writeAnswer(sequence: LlamaContextSequence, order: GenerateOrder, limits: { readonly most: number; readonly onToken: () => void }): Promise<Pick<Generated, 'finish' | 'completionTokens'>> {
  if (order.signal.aborted) return { finish: 'abort', completionTokens: 0 };
  const { model } = sequence;
  const speller = openSpeller(model, order);
  const generated: Token[] = [];
  let finish: Generated['finish'] = 'length';
  for await (const token of sequence.evaluate(order.prompt.slice(sequence.nextTokenIndex), options(model, order, generated))) {
    if (order.signal.aborted) {
      finish = 'abort';
      break;
    }
    if (model.isEogToken(token)) {
      finish = 'stop';
      break;
    }
    generated.push(token);
    limits.onToken();
    if (speller.push(token)) {
      finish = 'stop';
      break;
    }
    if (generated.length >= limits.most) break;
  }
  if (speller.end()) finish = 'stop';
  return { finish, completionTokens: generated.length };
}

/** Tokens to text: characters are said whole, and nothing from a stop string on. Both answers are true once such has come. */
function openSpeller(model: LlamaModel, order: GenerateOrder): { readonly push: (token: Token) => boolean; readonly end: () => boolean } {
  const stops = openStops(order.stop, order.onText);
  let lately = order.prompt.slice(-SPELLING_TOKENS);
  let pending: Token[] = [];
  const spell = (text: string): boolean => {
    lately = [...lately, ...pending].slice(-SPELLING_TOKENS);
    pending = [];
    return stops.push(text);
  };
  return {
    push(token) {
      pending.push(token);
      const text = model.detokenize(pending, false, lately);
      return pending.length < MAX_PENDING_TOKENS && text.endsWith(REPLACEMENT) ? false : spell(text);
    },
    end() {
      const stopped = pending.length > 0 && spell(model.detokenize(pending, false, lately));
      stops.end();
      return stopped;
    },
  };
}

function options(model: LlamaModel, order: GenerateOrder, generated: readonly Token[]): SequenceEvaluateOptions {
  const { sampling } = order;
  const penalised = sampling.repeatPenalty !== 1 || sampling.frequencyPenalty !== 0 || sampling.presencePenalty !== 0;
  return {
    temperature: sampling.temperature, topP: sampling.topP, topK: sampling.topK, minP: sampling.minP, yieldEogToken: true,
    // The library's own seed is the clock in seconds: two requests of one second would get one answer.
    seed: sampling.seed ?? randomInt(SEEDS),
    ...(order.grammar === null ? {} : { grammarEvaluationState: new LlamaGrammarEvaluationState({ model, grammar: order.grammar }) }),
    ...(penalised ? { repeatPenalty: { punishTokens: () => generated.slice(-PENALTY_TOKENS), maxPunishTokens: PENALTY_TOKENS, penalty: sampling.repeatPenalty, frequencyPenalty: sampling.frequencyPenalty, presencePenalty: sampling.presencePenalty } } : {}),
  };
}
