// Reads the metadata of a GGUF file: every pair is walked, what tells something of the model is kept, the rest is passed over.
import { damaged, grouped, quote, type Reader } from './format-bytes.ts';

/** Models have 20 to 60 pairs. */
const PAIRS_MAX = 10_000;
/** Length and one letter of a key, type, one byte of a value. */
const PAIR_MIN_BYTES = 14;
const KEY_MAX_BYTES = 4_096;
/** A name or an architecture is a few words; only the beginning of longer texts is kept. */
const TEXT_KEPT_BYTES = 400;
/** Lists with one number for each layer are kept; the tokens' lists are far longer. */
const NUMBERS_KEPT = 4_096;

/** A list has its length, and its numbers where these are few. Booleans in it are 0 and 1. */
export type PairValue = number | boolean | string | { readonly length: number; readonly numbers: readonly number[] | null };
export type Pairs = ReadonlyMap<string, PairValue>;

type Scalar = { readonly bytes: number; readonly read: (at: Buffer, offset: number) => number };

const BOOLEAN = 7;
const TEXT = 8;
const LIST = 9;
const SCALARS: ReadonlyMap<number, Scalar> = new Map<number, Scalar>([
  [0, { bytes: 1, read: (at, offset) => at.readUInt8(offset) }],
  [1, { bytes: 1, read: (at, offset) => at.readInt8(offset) }],
  [2, { bytes: 2, read: (at, offset) => at.readUInt16LE(offset) }],
  [3, { bytes: 2, read: (at, offset) => at.readInt16LE(offset) }],
  [4, { bytes: 4, read: (at, offset) => at.readUInt32LE(offset) }],
  [5, { bytes: 4, read: (at, offset) => at.readInt32LE(offset) }],
  [6, { bytes: 4, read: (at, offset) => at.readFloatLE(offset) }],
  [BOOLEAN, { bytes: 1, read: (at, offset) => (at.readUInt8(offset) === 0 ? 0 : 1) }],
  [10, { bytes: 8, read: (at, offset) => Number(at.readBigUInt64LE(offset)) }],
  [11, { bytes: 8, read: (at, offset) => Number(at.readBigInt64LE(offset)) }],
  [12, { bytes: 8, read: (at, offset) => at.readDoubleLE(offset) }],
]);

/** All pairs; incomplete after a fault, which the reader keeps. */
export async function readPairs(reader: Reader, count: number): Promise<Pairs> {
  const pairs = new Map<string, PairValue>();
  if (count > PAIRS_MAX || count * PAIR_MIN_BYTES > reader.left()) reader.fail(damaged(`it says that it has ${grouped(count)} metadata pairs, and there is no room for so many`));
  for (let index = 0; index < count && reader.fault() === null; index += 1) {
    const bytes = await reader.u64('its metadata');
    if (bytes === 0 || bytes > KEY_MAX_BYTES) reader.fail(damaged(`a metadata key has ${grouped(bytes)} bytes`));
    if (reader.fault() !== null) break;
    const key = (await reader.take(bytes, 'its metadata')).toString('utf8');
    const value = await readValue(reader, key);
    if (pairs.has(key)) reader.fail(damaged(`the metadata key ${quote(key)} stands there twice`));
    pairs.set(key, value);
  }
  return pairs;
}

async function readValue(reader: Reader, key: string): Promise<PairValue> {
  const type = await reader.u32('its metadata');
  if (type === TEXT) return await readText(reader);
  if (type === LIST) return await readList(reader, key);
  const scalar = scalarOf(reader, type, key);
  const value = scalar.read(await reader.take(scalar.bytes, 'its metadata'), 0);
  return type === BOOLEAN ? value === 1 : value;
}

function scalarOf(reader: Reader, type: number, key: string): Scalar {
  const scalar = SCALARS.get(type);
  if (scalar !== undefined) return scalar;
  reader.fail(damaged(`the metadata key ${quote(key)} has a value of the unknown type ${grouped(type)}`));
  return { bytes: 1, read: () => 0 };
}

async function readText(reader: Reader): Promise<string> {
  const bytes = await reader.u64('its metadata');
  const kept = Math.min(bytes, TEXT_KEPT_BYTES, reader.left());
  const text = (await reader.take(kept, 'its metadata')).toString('utf8');
  reader.skip(bytes - kept, 'a text of its metadata');
  return text;
}

async function readList(reader: Reader, key: string): Promise<PairValue> {
  const type = await reader.u32('its metadata');
  const length = await reader.u64('its metadata');
  if (type === LIST) reader.fail(damaged(`the metadata key ${quote(key)} has lists within a list, which no engine reads`));
  if (reader.fault() !== null) return { length: 0, numbers: null };
  if (type === TEXT) {
    await reader.skipTexts(length, `the list ${quote(key)}`);
    return { length, numbers: null };
  }
  const scalar = scalarOf(reader, type, key);
  if (length > NUMBERS_KEPT) {
    reader.skip(length * scalar.bytes, `the list ${quote(key)}`);
    return { length, numbers: null };
  }
  const bytes = await reader.take(length * scalar.bytes, `the list ${quote(key)}`);
  return { length, numbers: Array.from({ length }, (_, index) => scalar.read(bytes, index * scalar.bytes)) };
}
