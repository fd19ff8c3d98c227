// POST /v1/embeddings: texts in, vectors of length one out.
import type { Llama, Token } from 'node-llama-cpp';
import type { ServerResponse } from 'node:http';
import { writeJson } from './answer.ts';
import { calibrate, embedTrial } from './calibrate.ts';
import { vocabularyOf, type EngineOrder } from './engine.ts';
import { badRequest, fail } from './errors.ts';
import { isTokens, knownTokens, refuseUnsupported, type Body } from './requests.ts';

/** Inputs in one request, as OpenAI has it. */
const MAX_INPUTS = 2_048;
const RETRY_AFTER_S = 2;

export type Embedder = Awaited<ReturnType<typeof openEmbedder>>;

/** `known_threads`: what was measured for another model already; 0 = measure. */
export async function openEmbedder(llama: Llama, { path, settings, onProgress }: EngineOrder, known_threads: number) {
  const { gpu, threads: wanted } = settings();
  const model = await llama.loadModel({ modelPath: path, onLoadProgress: onProgress, ...(gpu === 'off' ? { gpuLayers: 0 } : {}) });
  const threads = wanted > 0 ? wanted : known_threads > 0 ? known_threads : await calibrate(path, process.env['BKG_DATA'], embedTrial(model));
  const context = await model.createEmbeddingContext({ threads, contextSize: model.trainContextSize });
  const contextSize = model.trainContextSize;
  const totals = { texts: 0, tokens: 0 };
  let active = 0;
  return {
    model, contextSize, threads,
    vocabulary: vocabularyOf(model).size,
    tokenize: (text: string): Token[] => model.tokenize(text),
    /** Length with the marks that the model wants around a text. */
    lengthOf: (tokens: readonly Token[]): number => context.calculateInputLength([...tokens]),
    async embed(tokens: readonly Token[]): Promise<readonly number[]> {
      const { vector } = await context.getEmbeddingFor([...tokens]);
      totals.texts += 1;
      totals.tokens += tokens.length;
      return unit(vector);
    },
    /** One request at a time is computed; as many as the queue holds may wait. */
    async inTurn<T>(work: () => Promise<T>): Promise<T> {
      if (active > settings().queue) throw fail({ status: 429, code: 'queue_full', message: `${active} requests for embeddings are here already.`, retryAfter_s: RETRY_AFTER_S });
      active += 1;
      try {
        return await work();
      } finally {
        active -= 1;
      }
    },
    figures: () => ({ active, ...totals }),
  };
}

function unit(vector: readonly number[]): readonly number[] {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? vector : vector.map((value) => value / length);
}

type EmbedAsked = { readonly embedder: Embedder; readonly name: string; readonly body: Body; readonly response: ServerResponse; readonly signal: AbortSignal };

export async function embeddings(asked: EmbedAsked): Promise<void> {
  const { embedder, body } = asked;
  refuseUnsupported(body, []);
  if (body['dimensions'] !== undefined && body['dimensions'] !== embedder.model.embeddingVectorSize) throw badRequest(`\`dimensions\` is fixed by the model: ${embedder.model.embeddingVectorSize}.`, 'dimensions');
  const encoding = body['encoding_format'] ?? 'float';
  if (encoding !== 'float' && encoding !== 'base64') throw badRequest('`encoding_format` must be float or base64.', 'encoding_format');
  const inputs = inputsOf(embedder, body['input']);
  for (const [index, tokens] of inputs.entries()) {
    const length = embedder.lengthOf(tokens);
    if (length >= embedder.contextSize) throw badRequest(`Input ${index} has ${length} tokens; this model reads ${embedder.contextSize - 1}. Cut it into pieces.`, 'input', 'context_length_exceeded');
  }
  const data = await embedder.inTurn(() => embedAll(asked, inputs, encoding));
  if (asked.signal.aborted) return;
  const count = inputs.reduce((sum, tokens) => sum + tokens.length, 0);
  writeJson(asked.response, 200, { object: 'list', data, model: asked.name, usage: { prompt_tokens: count, total_tokens: count } });
}

async function embedAll(asked: EmbedAsked, inputs: readonly (readonly Token[])[], encoding: 'float' | 'base64'): Promise<readonly unknown[]> {
  const data: unknown[] = [];
  for (const [index, tokens] of inputs.entries()) {
    if (asked.signal.aborted) break;
    const vector = await asked.embedder.embed(tokens);
    data.push({ object: 'embedding', index, embedding: encoding === 'float' ? vector : Buffer.from(Float32Array.from(vector).buffer).toString('base64') });
  }
  return data;
}

function inputsOf(embedder: Embedder, input: unknown): readonly (readonly Token[])[] {
  const one = (value: unknown): readonly Token[] => {
    if (isTokens(value)) return knownTokens(value, embedder.vocabulary, 'input') as readonly Token[];
    const tokens = typeof value === 'string' ? embedder.tokenize(value) : [];
    if (tokens.length > 0) return tokens;
    throw badRequest('`input` must be a text, a list of tokens, or a list of these; none may be empty.', 'input');
  };
  if (typeof input === 'string' || isTokens(input)) return [one(input)];
  if (!Array.isArray(input) || input.length === 0 || input.length > MAX_INPUTS) throw badRequest(`\`input\` must be a text or a list of up to ${MAX_INPUTS}.`, 'input');
  return (input as readonly unknown[]).map(one);
}
