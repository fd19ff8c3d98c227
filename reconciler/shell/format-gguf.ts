// Looks into a GGUF file: header, every metadata pair and the place of every tensor, checked as strictly as llama.cpp does before it loads.
import type { GgufFormat, Shard } from '../core/format.ts';
import { cutShort, damaged, grouped, quote, type Reader } from './format-bytes.ts';
import { readPairs, type Pairs, type PairValue } from './format-gguf-pairs.ts';
import { mixtureOf, packingOf, type Packing } from './format-gguf-types.ts';

const MAGIC = 'GGUF';
const VERSIONS = [2, 3];
/** An unmerged mixture of experts has about 100,000 tensors, all others have fewer than 5,000. */
const TENSORS_MAX = 200_000;
/** Length and one letter of a name, number of dimensions, type, offset. */
const TENSOR_MIN_BYTES = 25;
/** llama.cpp holds a name in 64 bytes, its end included. */
const NAME_MAX_BYTES = 63;
const DIMENSIONS_MAX = 4;
const ALIGNMENT_DEFAULT_BYTES = 32;
/** Files in which one tensor has more numbers than this cannot exist: a petabyte, even at one bit each. */
const ELEMENTS_MAX = 2 ** 53;

/** Null after a fault, which the reader keeps. */
export async function readGguf(reader: Reader): Promise<GgufFormat | null> {
  const head = await readHead(reader);
  if (head === null) return null;
  const pairs = await readPairs(reader, head.pairs);
  if (reader.fault() !== null) return null;
  const alignment = alignmentOf(reader, pairs);
  const shard = shardOf(reader, pairs);
  const tensors = await readTensors(reader, head.tensors, alignment);
  const architecture = architectureOf(reader, pairs, shard);
  if (reader.fault() !== null) return null;
  return { format: 'gguf', version: head.version, ...facts(pairs, architecture), quantization: quantizationOf(pairs, tensors.bytesByType), ...tensors.sums, shard };
}

type Head = { readonly version: number; readonly tensors: number; readonly pairs: number };

async function readHead(reader: Reader): Promise<Head | null> {
  const magic = await reader.take(Math.min(MAGIC.length, reader.size_bytes), 'its first bytes');
  if (magic.toString('latin1') !== MAGIC) reader.fail(`is no GGUF file: it does not begin with "${MAGIC}"; check the source`);
  const version = await reader.u32('the header');
  // Read the other way round, a small version has its last two bytes empty.
  if (reader.fault() === null && version !== 0 && version % 0x10000 === 0) reader.fail('is a GGUF for big-endian machines; take the little-endian file of this model');
  if (reader.fault() === null && !VERSIONS.includes(version)) {
    const remedy = version === 1 ? 'convert it anew from its source, or take a newer file of this model' : 'it is damaged, or made for a newer engine';
    reader.fail(`is a GGUF of version ${version}, and only versions ${VERSIONS.join(' and ')} can be read; ${remedy}`);
  }
  const tensors = await reader.u64('the header');
  const pairs = await reader.u64('the header');
  if (tensors > TENSORS_MAX || tensors * TENSOR_MIN_BYTES > reader.left()) reader.fail(damaged(`it says that it has ${grouped(tensors)} tensors, and there is no room for so many`));
  return reader.fault() === null ? { version, tensors, pairs } : null;
}

function alignmentOf(reader: Reader, pairs: Pairs): number {
  const alignment = pairs.get('general.alignment') ?? ALIGNMENT_DEFAULT_BYTES;
  if (typeof alignment === 'number' && alignment >= 1 && Number.isInteger(Math.log2(alignment))) return alignment;
  reader.fail(damaged('general.alignment is no power of two'));
  return ALIGNMENT_DEFAULT_BYTES;
}

function shardOf(reader: Reader, pairs: Pairs): Shard | null {
  const [no, count] = [pairs.get('split.no'), pairs.get('split.count')];
  if (no === undefined && count === undefined) return null;
  if (isCount(no) && isCount(count) && no < count) return count === 1 ? null : { no, count };
  reader.fail(damaged('split.no and split.count do not agree'));
  return null;
}

function architectureOf(reader: Reader, pairs: Pairs, shard: Shard | null): string | null {
  const architecture = pairs.get('general.architecture');
  if (typeof architecture === 'string' && architecture !== '') return architecture;
  if (shard === null || shard.no === 0) reader.fail('does not say its architecture (general.architecture), so that no engine can load it; take another file of this model');
  return null;
}

// ─── Tensors ────────────────────────────────────────────────────────────────────────────────────────────────────────────

type Tensors = {
  readonly sums: { readonly tensors: number; readonly parameters: number; readonly tensor_bytes: number };
  readonly bytesByType: ReadonlyMap<string, number>;
};

/** Every tensor must begin where the one before it ends, at the next multiple of the alignment: llama.cpp accepts nothing else. */
async function readTensors(reader: Reader, count: number, alignment: number): Promise<Tensors> {
  const names = new Set<string>();
  const bytesByType = new Map<string, number>();
  let [parameters, tensor_bytes, end, next] = [0, 0, 0, 0];
  for (let index = 0; index < count && reader.fault() === null; index += 1) {
    const tensor = await readTensor(reader);
    if (tensor === null) break;
    const { name, elements, bytes, packing, offset } = tensor;
    if (names.has(name)) reader.fail(damaged(`two tensors are called ${quote(name)}`));
    if (offset !== next) reader.fail(damaged(`tensor ${quote(name)} ${misplaced(offset, next, alignment)}`));
    names.add(name);
    parameters += elements;
    tensor_bytes += bytes;
    bytesByType.set(packing.name, (bytesByType.get(packing.name) ?? 0) + bytes);
    end = offset + bytes;
    next = padded(end, alignment);
  }
  const whole = count === 0 ? reader.at() : padded(reader.at(), alignment) + end;
  if (whole > reader.size_bytes) reader.fail(cutShort(whole - reader.size_bytes, whole));
  return { sums: { tensors: count, parameters, tensor_bytes }, bytesByType };
}

const padded = (bytes: number, alignment: number): number => Math.ceil(bytes / alignment) * alignment;

function misplaced(offset: number, expected: number, alignment: number): string {
  if (offset % alignment !== 0) return `begins at ${grouped(offset)}, which is no multiple of ${alignment}`;
  return offset < expected ? `overlaps the one before it by ${grouped(expected - offset)} bytes` : `begins ${grouped(offset - expected)} bytes after the one before it ends`;
}

type Tensor = { readonly name: string; readonly elements: number; readonly bytes: number; readonly packing: Packing; readonly offset: number };

async function readTensor(reader: Reader): Promise<Tensor | null> {
  const length = await reader.u64('the list of its tensors');
  if (length > NAME_MAX_BYTES) reader.fail(damaged(`the name of a tensor has ${grouped(length)} bytes, where ${NAME_MAX_BYTES} are allowed`));
  if (reader.fault() !== null) return null;
  const name = (await reader.take(length, 'the list of its tensors')).toString('utf8');
  const dimensions = await reader.u32('the list of its tensors');
  if (dimensions > DIMENSIONS_MAX) reader.fail(damaged(`tensor ${quote(name)} has ${grouped(dimensions)} dimensions, where ${DIMENSIONS_MAX} are allowed`));
  let [elements, row] = [1, 1];
  for (let index = 0; index < dimensions && reader.fault() === null; index += 1) {
    const size = await reader.u64('the list of its tensors');
    if (index === 0) row = size;
    elements *= size;
    if (size > ELEMENTS_MAX || elements > ELEMENTS_MAX) reader.fail(damaged(`tensor ${quote(name)} has more numbers than any file can hold`));
  }
  const packing = packingOf(await reader.u32('the list of its tensors'));
  const offset = await reader.u64('the list of its tensors');
  if (reader.fault() !== null) return null;
  if (typeof packing === 'string') reader.fail(`cannot be read: tensor ${quote(name)} has ${packing}`);
  else if (row % packing.block !== 0) reader.fail(damaged(`a row of tensor ${quote(name)} has ${grouped(row)} numbers, and ${packing.name} packs them by ${packing.block}`));
  return typeof packing === 'string' ? null : { name, elements, bytes: (elements / packing.block) * packing.bytes, packing, offset };
}

function quantizationOf(pairs: Pairs, bytesByType: ReadonlyMap<string, number>): string | null {
  const fileType = pairs.get('general.file_type');
  const said = typeof fileType === 'number' && bytesByType.size > 0 ? mixtureOf(fileType) : null;
  return said ?? [...bytesByType].reduce<readonly [string | null, number]>((most, one) => (one[1] > most[1] ? one : most), [null, -1])[0];
}

// ─── Metadata ───────────────────────────────────────────────────────────────────────────────────────────────────────────

type Facts = Omit<GgufFormat, 'format' | 'version' | 'architecture' | 'quantization' | 'tensors' | 'parameters' | 'tensor_bytes' | 'shard'> & { readonly architecture: string | null };

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** A list with a count for each layer; null for all else. */
const countsOf = (value: PairValue | undefined): readonly number[] | null =>
  typeof value === 'object' && value.numbers !== null && value.numbers.length > 0 && value.numbers.every(isCount) ? value.numbers : null;

function facts(pairs: Pairs, architecture: string | null): Facts {
  const own = (key: string): PairValue | undefined => pairs.get(`${architecture}.${key}`);
  /** Where layers differ, the file has a list: the largest counts. */
  const number = (key: string): number | null => {
    const value = own(key);
    return isCount(value) ? value : countsOf(value)?.reduce((most, one) => Math.max(most, one), 0) ?? null;
  };
  const text = (key: string): string | null => { const value = pairs.get(key); return typeof value === 'string' && value !== '' ? value : null; };
  const heads = number('attention.head_count');
  const kvHeads = number('attention.head_count_kv') ?? heads;
  const layers = number('block_count');
  const embeddingLength = number('embedding_length');
  const share = embeddingLength !== null && heads !== null && heads > 0 ? Math.floor(embeddingLength / heads) : null;
  const tokens = pairs.get('tokenizer.ggml.tokens');
  const perLayer = kvHeadsPerLayer(own('attention.head_count_kv'), { kvHeads, layers });
  const slides = perLayer === null ? null : slidingLayers(own('attention.sliding_window_pattern'), perLayer.length);
  return {
    architecture,
    name: text('general.name'),
    contextLength: number('context_length'),
    embeddingLength, layers, heads, kvHeads,
    kvHeadsOfAllLayers: perLayer === null ? null : sum(perLayer),
    keyLength: number('attention.key_length') ?? share,
    valueLength: number('attention.value_length') ?? share,
    slidingWindow: number('attention.sliding_window'),
    kvHeadsOfSlidingLayers: perLayer === null || slides === null ? null : sum(perLayer.filter((_, layer) => slides(layer))),
    causal: own('attention.causal') !== false,
    vocabulary: typeof tokens === 'object' ? tokens.length : number('vocab_size'),
    tokenizer: text('tokenizer.ggml.model'),
    chatTemplate: [...pairs].some(([key, value]) => key.startsWith('tokenizer.chat_template') && value !== ''),
  };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);

/** More layers than any model has: what the file claims beyond it is not spread out in memory. */
const LAYERS_MAX = 4_096;

function kvHeadsPerLayer(value: PairValue | undefined, same: { readonly kvHeads: number | null; readonly layers: number | null }): readonly number[] | null {
  const { kvHeads, layers } = same;
  return countsOf(value) ?? (kvHeads === null || layers === null || layers > LAYERS_MAX ? null : Array.from({ length: layers }, () => kvHeads));
}

/** The file has a mark for each layer, or a period: the last of so many layers looks back over everything, the others slide. */
function slidingLayers(value: PairValue | undefined, layers: number): ((layer: number) => boolean) | null {
  if (isCount(value)) return (layer) => value === 0 || layer % value < value - 1;
  const marks = countsOf(value);
  return marks === null || marks.length < layers ? null : (layer) => marks[layer] === 1;
}
