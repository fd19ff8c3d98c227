// POST /v1/embeddings: texts in, vectors of length one out.
import type { Llama, Token } from 'node-llama-cpp';
import type { ServerResponse } from 'node:http';
import { writeJson } from './answer.ts';
import { badRequest } from './errors.ts';
import { refuseUnsupported, type Body } from './requests.ts';

/** Inputs in one request, as OpenAI has it. */
const MAX_INPUTS = 2_048;

export type Embedder = Awaited<ReturnType<typeof openEmbedder>>;

export async function openEmbedder(llama: Llama, path: string, threads: number) {
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  const context = await model.createEmbeddingContext({ threads, contextSize: model.trainContextSize });
  const contextSize = model.trainContextSize;
  return {
    model, contextSize,
    tokenize: (text: string): Token[] => model.tokenize(text),
    async embed(tokens: readonly Token[]): Promise<readonly number[]> {
      const { vector } = await context.getEmbeddingFor([...tokens]);
      return unit(vector);
    },
  };
}

function unit(vector: readonly number[]): readonly number[] {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? vector : vector.map((value) => value / length);
}

export async function embeddings(asked: { readonly embedder: Embedder; readonly name: string; readonly body: Body; readonly response: ServerResponse; readonly signal: AbortSignal }): Promise<void> {
  const { embedder, body } = asked;
  refuseUnsupported(body, []);
  if (body['dimensions'] !== undefined && body['dimensions'] !== embedder.model.embeddingVectorSize) throw badRequest(`\`dimensions\` is fixed by the model: ${embedder.model.embeddingVectorSize}.`, 'dimensions');
  const encoding = body['encoding_format'] ?? 'float';
  if (encoding !== 'float' && encoding !== 'base64') throw badRequest('`encoding_format` must be float or base64.', 'encoding_format');
  const inputs = inputsOf(embedder, body['input']);
  const data: unknown[] = [];
  for (const [index, tokens] of inputs.entries()) {
    if (tokens.length >= embedder.contextSize) throw badRequest(`Input ${index} has ${tokens.length} tokens; this model reads ${embedder.contextSize}. Cut it into pieces.`, 'input', 'context_length_exceeded');
    const vector = await embedder.embed(tokens);
    if (asked.signal.aborted) return;
    data.push({ object: 'embedding', index, embedding: encoding === 'float' ? vector : Buffer.from(Float32Array.from(vector).buffer).toString('base64') });
  }
  const count = inputs.reduce((sum, tokens) => sum + tokens.length, 0);
  writeJson(asked.response, 200, { object: 'list', data, model: asked.name, usage: { prompt_tokens: count, total_tokens: count } });
}

const isTokens = (value: unknown): value is Token[] => Array.isArray(value) && value.length > 0 && value.every((item) => Number.isInteger(item) && (item as number) >= 0);

function inputsOf(embedder: Embedder, input: unknown): readonly (readonly Token[])[] {
  const one = (value: unknown): readonly Token[] => {
    if (typeof value === 'string' && value !== '') return embedder.tokenize(value);
    if (isTokens(value)) return value;
    throw badRequest('`input` must be a text, a list of tokens, or a list of these; none may be empty.', 'input');
  };
  if (typeof input === 'string' || isTokens(input)) return [one(input)];
  if (!Array.isArray(input) || input.length === 0 || input.length > MAX_INPUTS) throw badRequest(`\`input\` must be a text or a list of up to ${MAX_INPUTS}.`, 'input');
  return (input as readonly unknown[]).map(one);
}
