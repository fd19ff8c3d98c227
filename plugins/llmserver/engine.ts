// The chat model in memory: loaded once, its sequences shared by all who ask.
import type { Llama, LlamaModel, Token } from 'node-llama-cpp';
import { calibrate, generateTrial } from './calibrate.ts';
import { badRequest } from './errors.ts';
import { readPrompt, writeAnswer, type Generated, type GenerateOrder } from './generate.ts';
import { log } from './log.ts';
import { openPace } from './pace.ts';
import type { Advice } from './requests.ts';
import { commonLength, openSequences } from './sequences.ts';
import type { Settings } from './settings.ts';
import { openTemplate } from './template.ts';

/** A prompt is read in steps, so that a client that goes away is noticed: about a second of a small model on a CPU. */
const PREFILL_TOKENS = { cpu: 128, gpu: 512 };

export type Engine = Awaited<ReturnType<typeof openEngine>>;
export type EngineOrder = { readonly path: string; readonly settings: () => Settings; readonly onProgress: (share: number) => void };

export async function openEngine(llama: Llama, { path, settings, onProgress }: EngineOrder) {
  const { contextSize: wanted, parallel, promptTemplate, gpu } = settings();
  const model = await llama.loadModel({ modelPath: path, onLoadProgress: onProgress, ...(gpu === 'off' ? { gpuLayers: 0 } : {}) });
  const own = model.fileInfo.metadata.tokenizer?.chat_template;
  const template = openTemplate({ name: promptTemplate, own: typeof own === 'string' ? own : null, bos: model.tokens.bosString ?? '', eos: model.tokens.eosString ?? '' });
  const threads = settings().threads > 0 ? settings().threads : await calibrate(path, process.env['BKG_DATA'], generateTrial(model));
  const contextSize = Math.min(wanted, model.trainContextSize);
  if (wanted > contextSize) log('info', `contextSize is ${wanted}, but this model holds ${contextSize} tokens at most; it gets those`);
  const context = await model.createContext({ contextSize, sequences: parallel, threads });
  const sequences = openSequences(Array.from({ length: parallel }, () => context.getSequence()), () => settings().queue);
  const vocabulary = vocabularyOf(model);
  const prefill_tokens = llama.gpu === false ? PREFILL_TOKENS.cpu : PREFILL_TOKENS.gpu;
  const totals = { requests: 0, promptTokens: 0, cachedTokens: 0, completionTokens: 0, generate_ms: 0 };
  const pace = openPace(Date.now);

  function tokenize(text: string, special: boolean): Token[] {
    const tokens = model.tokenize(text, special);
    const { bos } = model.tokens;
    return model.tokens.shouldPrependBosToken && bos !== null && tokens[0] !== bos ? [bos, ...tokens] : tokens;
  }

  /** A text that cannot fit is refused before it is taken apart: that would keep everyone waiting. */
  function tokenizePrompt(text: string, field: string): Token[] {
    const least = Math.ceil(text.length / vocabulary.longest_chars);
    if (least >= contextSize) throw tooLong(`The prompt has at least ${least} tokens`, field);
    return tokenize(text, true);
  }

  const tooLong = (found: string, field: string): Error =>
    badRequest(`${found}; this model's context holds ${contextSize}, the answer included. ${contextSize < model.trainContextSize ? 'Shorten it, or raise contextSize' : 'That is all the model can hold, so shorten it'}.`, field, 'context_length_exceeded');

  async function generate(order: GenerateOrder): Promise<Generated> {
    const { prompt } = order;
    if (prompt.length === 0) throw badRequest('The prompt is empty.', order.field);
    if (prompt.length >= contextSize) throw tooLong(`The prompt has ${prompt.length} tokens`, order.field);
    const sequence = await sequences.acquire(prompt, order.signal);
    const begun = performance.now();
    try {
      // The last token is always evaluated anew: its result is what the answer begins from.
      const common = Math.min(commonLength(sequence.contextTokens, prompt), prompt.length - 1);
      await sequence.adaptStateToTokens(prompt.slice(0, common), false);
      const cachedTokens = sequence.nextTokenIndex;
      await readPrompt(sequence, order, prefill_tokens);
      const most = Math.min(order.maxTokens ?? settings().maxTokens, contextSize - prompt.length);
      const produced = await writeAnswer(sequence, order, { most, onToken: pace.count });
      totals.requests += 1;
      totals.promptTokens += prompt.length;
      totals.cachedTokens += cachedTokens;
      totals.completionTokens += produced.completionTokens;
      return { ...produced, promptTokens: prompt.length, cachedTokens };
    } finally {
      totals.generate_ms += performance.now() - begun;
      sequences.release(sequence);
    }
  }

  return {
    llama, model, threads, contextSize, parallel, template, tokenize, tokenizePrompt, generate,
    vocabulary: vocabulary.size,
    sampling: adviceOf(model),
    detokenize: (tokens: readonly Token[]): string => model.detokenize(tokens),
    figures: () => ({ ...totals, active: sequences.active(), waiting: sequences.waiting(), per_second: pace.per_second() }),
  };
}

/** How many tokens there are, and how much text one can stand for at most. */
export function vocabularyOf(model: LlamaModel): { readonly size: number; readonly longest_chars: number } {
  const { tokens } = model.fileInfo.metadata.tokenizer.ggml;
  return { size: tokens.length, longest_chars: tokens.reduce((most, token) => Math.max(most, token.length), 1) };
}

/** How the model's makers want it sampled; nothing when the file is silent. */
function adviceOf(model: LlamaModel): Advice {
  const { sampling } = model.fileInfo.metadata.general as { readonly sampling?: unknown };
  return typeof sampling === 'object' && sampling !== null ? sampling : {};
}

/** What /v1/models says of a model. */
export const metaOf = (model: LlamaModel, contextSize: number): Readonly<Record<string, unknown>> =>
  ({ n_ctx: contextSize, n_ctx_train: model.trainContextSize, n_embd: model.embeddingVectorSize, n_params: model.fileInsights.totalParameters, n_vocab: vocabularyOf(model).size, size: model.size, description: model.typeDescription, architecture: model.fileInfo.metadata.general.architecture });
