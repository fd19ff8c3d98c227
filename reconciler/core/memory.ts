// How much memory a model will hold once it is loaded, told from what its file says of itself.
import type { GgufFormat, ModelFormat } from './format.ts';

/** Tokens a conversation may hold, and conversations at once. */
export type Room = { readonly contextSize: number; readonly parallel: number };

/** What a process holds besides its model. Measured: the bundled llmserver 125 MiB without a model, 20 more with the smallest; one with onnxruntime 95. */
const PROCESS_BYTES = 144 * 2 ** 20;
/** For each word of the vocabulary, in the tables of llama.cpp and of node-llama-cpp. Measured: 190 MiB for 151,669 words. */
const WORD_BYTES = 1_300;
/** Keys and values are kept in 16 bits. */
const CACHED_NUMBER_BYTES = 2;
/** Contexts are rounded up to this many tokens. */
const CELLS_STEP = 256;
/** Tokens that are computed at a time … */
const BATCH_TOKENS = 512;
const COMPUTED_NUMBER_BYTES = 4;
/**
 * … and the numbers kept at once for each of them, as a multiple of the embedding. llama.cpp reserves more (a chance of every word after every
 * token: 300 MiB for Qwen), but does not touch it unless somebody asks for all these chances, and what is not touched takes no memory.
 */
const COMPUTED_EMBEDDINGS = 12;
/**
 * ONNX: while the weights are rearranged, some lie there twice. Measured at the peak: 1.24 times the weights, 1.02 afterwards. For
 * safetensors the engine is not known; the same is taken.
 */
const REARRANGED_FACTOR = 1.3;
/** Which layers slide is built into llama.cpp for these, and not in their files: all but each second, sixth … one. */
const SLIDING_PERIODS: ReadonlyMap<string, number> = new Map([['gemma2', 2], ['gemma3', 6], ['gpt-oss', 2], ['cohere2', 4]]);

/** Null: nobody knows. */
export function memoryOf(format: ModelFormat, room: Room): number | null {
  switch (format.format) {
    case 'gguf': return Math.ceil(weights(format) + cache(format, room) + computing(format, room) + PROCESS_BYTES);
    case 'safetensors':
    case 'onnx': return Math.ceil(format.tensor_bytes * REARRANGED_FACTOR + PROCESS_BYTES);
    case 'other': return null;
  }
}

/** As `memoryOf`, of a process that loads several models. Null as soon as one is unknown, and without any. */
export function memoryOfAll(formats: readonly ModelFormat[], room: Room): number | null {
  const each = formats.map((format) => memoryOf(format, room));
  const known = each.filter((bytes) => bytes !== null);
  if (known.length === 0 || known.length < each.length) return null;
  return known.reduce((total, bytes) => total + bytes - PROCESS_BYTES, PROCESS_BYTES);
}

/**
 * Of a model in several files only one has been looked into; they are cut to about one size. On some processors llama.cpp rearranges
 * weights into a second copy; the first is then a mapped file that the kernel may drop, so what is resident can be more than what is needed.
 */
const weights = (format: GgufFormat): number => format.tensor_bytes * (format.shard?.count ?? 1);

const stepped = (tokens: number): number => Math.ceil(tokens / CELLS_STEP) * CELLS_STEP;

/** Keys and values of all that is remembered. A model that reads a text as a whole remembers nothing. */
function cache(format: GgufFormat, { contextSize, parallel }: Room): number {
  const { kvHeadsOfAllLayers: heads, keyLength, valueLength } = format;
  if (!format.causal || heads === null || keyLength === null || valueLength === null) return 0;
  // No engine of ours gives a model more than it was trained for.
  const cells = stepped(Math.min(contextSize, format.contextLength ?? contextSize)) * parallel;
  const slidingCells = format.slidingWindow === null ? cells : Math.min(cells, stepped(format.slidingWindow * parallel + BATCH_TOKENS));
  const sliding = format.slidingWindow === null ? 0 : slidingHeads(format, heads);
  return ((heads - sliding) * cells + sliding * slidingCells) * (keyLength + valueLength) * CACHED_NUMBER_BYTES;
}

/** Where it is not known which layers slide, all are taken to remember everything: too much is the better mistake. */
function slidingHeads(format: GgufFormat, heads: number): number {
  const period = SLIDING_PERIODS.get(format.architecture ?? '');
  if (format.kvHeadsOfSlidingLayers !== null) return format.kvHeadsOfSlidingLayers;
  if (period === undefined || format.layers === null || format.layers === 0) return 0;
  return (heads / format.layers) * (format.layers - Math.floor(format.layers / period));
}

function computing(format: GgufFormat, { parallel }: Room): number {
  const words = format.vocabulary ?? 0;
  const numbers = BATCH_TOKENS * COMPUTED_EMBEDDINGS * (format.embeddingLength ?? 0) + parallel * words;
  return numbers * COMPUTED_NUMBER_BYTES + words * WORD_BYTES;
}
