// The chat model in memory: tokens in, text out, several answers at once.
import { LlamaGrammarEvaluationState, type Llama, type LlamaContextSequence, type LlamaGrammar, type LlamaModel, type SequenceEvaluateOptions, type Token } from 'node-llama-cpp';
import { calibrate } from './calibrate.ts';
import { badRequest } from './errors.ts';
import { commonLength, openSequences } from './sequences.ts';
import type { Settings } from './settings.ts';
import { openStops } from './stops.ts';
import { openTemplate } from './template.ts';

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
  readonly prompt: readonly Token[];
  readonly sampling: Sampling;
  readonly stop: readonly string[];
  /** null = the setting's. */
  readonly maxTokens: number | null;
  readonly grammar: LlamaGrammar | null;
  readonly signal: AbortSignal;
  /** Called with each piece of text that is certain. */
  readonly onText: (text: string) => void;
};

export type Generated = { readonly text: string; readonly finish: 'stop' | 'length' | 'abort'; readonly promptTokens: number; readonly cachedTokens: number; readonly completionTokens: number };

/** Tokens that penalties look back on. */
const PENALTY_TOKENS = 64;
/** Tokens given along so that the next piece is spelt right (spaces, half characters). */
const SPELLING_TOKENS = 8;
const REPLACEMENT = '\uFFFD';

export type Engine = Awaited<ReturnType<typeof openEngine>>;

export async function openEngine(llama: Llama, path: string, settings: () => Settings) {
  const { contextSize: wanted, parallel, promptTemplate } = settings();
  const model = await llama.loadModel({ modelPath: path, ...(settings().gpu === 'off' ? { gpuLayers: 0 } : {}) });
  const threads = settings().threads > 0 ? settings().threads : await calibrate(model, path, process.env['BKG_DATA']);
  const contextSize = Math.min(wanted, model.trainContextSize);
  const context = await model.createContext({ contextSize, sequences: parallel, threads });
  const sequences = openSequences(Array.from({ length: parallel }, () => context.getSequence()), () => settings().queue);
  const own = model.fileInfo.metadata.tokenizer?.chat_template;
  const template = openTemplate({ name: promptTemplate, own: typeof own === 'string' ? own : null, bos: model.tokens.bosString ?? '', eos: model.tokens.eosString ?? '' });
  const totals = { requests: 0, promptTokens: 0, cachedTokens: 0, completionTokens: 0, generate_ms: 0 };

  function tokenize(text: string, special: boolean): Token[] {
    const tokens = model.tokenize(text, special);
    const { bos } = model.tokens;
    return model.tokens.shouldPrependBosToken && bos !== null && tokens[0] !== bos ? [bos, ...tokens] : tokens;
  }

  async function generate(order: GenerateOrder): Promise<Generated> {
    const { prompt } = order;
    if (prompt.length === 0) throw badRequest('The prompt is empty.', 'prompt');
    if (prompt.length >= contextSize) throw badRequest(`The prompt has ${prompt.length} tokens; this model's context holds ${contextSize}, the answer included. Shorten it, or raise contextSize.`, 'messages', 'context_length_exceeded');
    const sequence = await sequences.acquire(prompt, order.signal);
    const begun = performance.now();
    try {
      // The last token is always evaluated anew: its result is what the answer begins from.
      const cachedTokens = Math.min(commonLength(sequence.contextTokens, prompt), prompt.length - 1);
      await sequence.adaptStateToTokens(prompt.slice(0, cachedTokens), false);
      const at = sequence.nextTokenIndex;
      const produced = await produce(sequence, order, prompt.slice(at));
      totals.requests += 1;
      totals.promptTokens += prompt.length;
      totals.cachedTokens += at;
      totals.completionTokens += produced.completionTokens;
      return { ...produced, promptTokens: prompt.length, cachedTokens: at };
    } finally {
      totals.generate_ms += performance.now() - begun;
      sequences.release(sequence);
    }
  }

  async function produce(sequence: LlamaContextSequence, order: GenerateOrder, rest: Token[]): Promise<Pick<Generated, 'text' | 'finish' | 'completionTokens'>> {
    const most = Math.min(order.maxTokens ?? settings().maxTokens, contextSize - order.prompt.length);
    const stops = openStops(order.stop, order.onText);
    const generated: Token[] = [];
    let pending: Token[] = [];
    let finish: Generated['finish'] = 'length';
    if (most < 1) return { text: '', finish, completionTokens: 0 };
    for await (const token of sequence.evaluate(rest, options(order, generated))) {
      if (order.signal.aborted) {
        finish = 'abort';
        break;
      }
      if (model.isEogToken(token)) {
        finish = 'stop';
        break;
      }
      generated.push(token);
      pending.push(token);
      const text = model.detokenize(pending, false, [...order.prompt.slice(-SPELLING_TOKENS), ...generated.slice(0, generated.length - pending.length)].slice(-SPELLING_TOKENS));
      // Half a character waits for its other half.
      if (!text.endsWith(REPLACEMENT)) {
        pending = [];
        if (stops.push(text)) {
          finish = 'stop';
          break;
        }
      }
      if (generated.length >= most) break;
    }
    stops.end();
    return { text: stops.text(), finish, completionTokens: generated.length };
  }

  function options(order: GenerateOrder, generated: readonly Token[]): SequenceEvaluateOptions {
    const { sampling } = order;
    const penalised = sampling.repeatPenalty !== 1 || sampling.frequencyPenalty !== 0 || sampling.presencePenalty !== 0;
    return {
      temperature: sampling.temperature, topP: sampling.topP, topK: sampling.topK, minP: sampling.minP, yieldEogToken: true,
      ...(sampling.seed === null ? {} : { seed: sampling.seed }),
      ...(order.grammar === null ? {} : { grammarEvaluationState: new LlamaGrammarEvaluationState({ model, grammar: order.grammar }) }),
      ...(penalised ? { repeatPenalty: { punishTokens: () => generated.slice(-PENALTY_TOKENS), maxPunishTokens: PENALTY_TOKENS, penalty: sampling.repeatPenalty, frequencyPenalty: sampling.frequencyPenalty, presencePenalty: sampling.presencePenalty } } : {}),
    };
  }

  return {
    llama, model, threads, contextSize, parallel, template, tokenize, generate,
    detokenize: (tokens: readonly Token[]): string => model.detokenize(tokens),
    figures: () => ({ ...totals, active: sequences.active(), waiting: sequences.waiting() }),
  };
}

/** What /v1/models says of a model. */
export const metaOf = (model: LlamaModel, contextSize: number): Readonly<Record<string, unknown>> =>
  ({ n_ctx: contextSize, n_ctx_train: model.trainContextSize, n_embd: model.embeddingVectorSize, size: model.size, description: model.typeDescription, architecture: model.fileInfo.metadata.general.architecture });
