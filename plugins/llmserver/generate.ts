// Makes one answer in one sequence: reads the prompt, then writes token by token until something ends it.
import { randomInt } from 'node:crypto';
import { LlamaGrammarEvaluationState, type LlamaContextSequence, type LlamaGrammar, type LlamaModel, type SequenceEvaluateOptions, type Token } from 'node-llama-cpp';
import { openStops } from './stops.ts';
import { openTakeover, type Takeover } from './takeover.ts';

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
  /** Takes over where the model itself begins something. */
  readonly takeover: Takeover | null;
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
  const takeover = openTakeover(model, order.takeover);
  const generated: Token[] = [];
  let finish: Generated['finish'] = 'length';
  const settings = options(model, order, { generated, state: takeover.state });
  let written = sequence.evaluate(order.prompt.slice(sequence.nextTokenIndex), settings);
  try {
    for (;;) {
      const { value: token, done } = await written.next();
      if (done === true) break;
      if (order.signal.aborted) {
        finish = 'abort';
        break;
      }
      if (model.isEogToken(token)) {
        finish = 'stop';
        break;
      }
      const text = speller.spelt(token);
      if (text !== null && !(await takeover.stands(text))) {
        await written.return();
        written = sequence.evaluate(await withoutLast(sequence), settings);
        continue;
      }
      generated.push(token);
      limits.onToken();
      if (speller.push(token, text)) {
        finish = 'stop';
        break;
      }
      if (generated.length >= limits.most) break;
    }
  } finally {
    await written.return();
  }
  if (speller.end()) finish = 'stop';
  return { finish, completionTokens: generated.length };
}

/** Takes the last token out of the sequence, to be read anew. Where a model's memory lets go of no single token, the library reads all of it again. */
async function withoutLast(sequence: LlamaContextSequence): Promise<Token[]> {
  const end = sequence.nextTokenIndex;
  const last = sequence.contextTokens.slice(-1);
  await sequence.eraseContextTokenRanges([{ start: end - 1, end }]);
  return last;
}

/** Tokens to text: characters are said whole, and nothing from a stop string on. `push` and `end` are true once such has come. */
function openSpeller(model: LlamaModel, order: GenerateOrder) {
  const stops = openStops(order.stop, order.onText);
  let lately = order.prompt.slice(-SPELLING_TOKENS);
  let pending: Token[] = [];
  const spell = (text: string): boolean => {
    lately = [...lately, ...pending].slice(-SPELLING_TOKENS);
    pending = [];
    return stops.push(text);
  };
  return {
    /** The text that this token and those before it that wait make; null while a character waits for its other half. */
    spelt(token: Token): string | null {
      const text = model.detokenize([...pending, token], false, lately);
      return pending.length + 1 < MAX_PENDING_TOKENS && text.endsWith(REPLACEMENT) ? null : text;
    },
    /** `text`: as `spelt` made it. */
    push(token: Token, text: string | null): boolean {
      pending.push(token);
      return text !== null && spell(text);
    },
    end(): boolean {
      const stopped = pending.length > 0 && spell(model.detokenize(pending, false, lately));
      stops.end();
      return stopped;
    },
  };
}

function options(model: LlamaModel, order: GenerateOrder, { generated, state }: { readonly generated: readonly Token[]; readonly state: () => LlamaGrammarEvaluationState | undefined }): SequenceEvaluateOptions {
  const { sampling } = order;
  const penalised = sampling.repeatPenalty !== 1 || sampling.frequencyPenalty !== 0 || sampling.presencePenalty !== 0;
  return {
    temperature: sampling.temperature, topP: sampling.topP, topK: sampling.topK, minP: sampling.minP, yieldEogToken: true,
    // The library's own seed is the clock in seconds: two requests of one second would get one answer.
    seed: sampling.seed ?? randomInt(SEEDS),
    grammarEvaluationState: order.grammar === null ? state : new LlamaGrammarEvaluationState({ model, grammar: order.grammar }),
    ...(penalised ? { repeatPenalty: { punishTokens: () => generated.slice(-PENALTY_TOKENS), maxPunishTokens: PENALTY_TOKENS, penalty: sampling.repeatPenalty, frequencyPenalty: sampling.frequencyPenalty, presencePenalty: sampling.presencePenalty } } : {}),
  };
}
