// Looks into a safetensors file: its JSON head, and that the tensors lie one after another and fill the file exactly.
import type { SafetensorsFormat } from '../core/format.ts';
import { cutShort, damaged, grouped, plural, quote, type Reader } from './format-bytes.ts';

/** The format's own limit. */
const HEAD_MAX_BYTES = 100_000_000;
/** The largest models have 100,000 tensors in all their files together. */
const TENSORS_MAX = 200_000;
/** What JSON.parse may build: a tensor has a name, a type, up to eight sizes and two offsets. Without a bound 100 MB of `[],[],` take gigabytes. */
const VALUES_MAX = 20 * TENSORS_MAX;
/** The head is a map of maps of lists. */
const DEPTH_MAX = 3;
const METADATA = '__metadata__';
const METADATA_KEPT = 64;
const METADATA_MAX_CHARS = 400;
const ELEMENTS_MAX = 2 ** 53;

const BITS: ReadonlyMap<string, number> = new Map([
  ['BOOL', 8], ['F4', 4], ['F6_E2M3', 6], ['F6_E3M2', 6], ['U8', 8], ['I8', 8], ['F8_E5M2', 8], ['F8_E4M3', 8], ['F8_E8M0', 8], ['F8_E4M3FNUZ', 8],
  ['F8_E5M2FNUZ', 8], ['U16', 16], ['I16', 16], ['F16', 16], ['BF16', 16], ['U32', 32], ['I32', 32], ['F32', 32], ['U64', 64], ['I64', 64], ['F64', 64], ['C64', 64],
]);

type Tensor = { readonly name: string; readonly type: string; readonly elements: number; readonly begin: number; readonly end: number };

/** Null after a fault, which the reader keeps. */
export async function readSafetensors(reader: Reader): Promise<SafetensorsFormat | null> {
  const head = await readHead(reader);
  if (head === null) return null;
  const tensors: Tensor[] = [];
  for (const [name, value] of Object.entries(head)) {
    if (name === METADATA) continue;
    if (reader.fault() !== null) break;
    const tensor = tensorOf(name, value);
    if (typeof tensor === 'string') reader.fail(damaged(`tensor ${quote(name)} ${tensor}`));
    else tensors.push(tensor);
  }
  const metadata = metadataOf(head[METADATA]);
  if (metadata === null) reader.fail(damaged(`${METADATA} is no map of texts`));
  const tensor_bytes = reader.fault() === null ? checkPlaces(reader, tensors) : 0;
  if (reader.fault() !== null) return null;
  const byType = new Map<string, number>();
  for (const { type, elements } of tensors) byType.set(type, (byType.get(type) ?? 0) + elements);
  const parameters = tensors.reduce((total, tensor) => total + tensor.elements, 0);
  return { format: 'safetensors', tensors: tensors.length, parameters, parametersByType: Object.fromEntries(byType), tensor_bytes, metadata: metadata ?? {} };
}

type Head = Readonly<Record<string, unknown>>;

async function readHead(reader: Reader): Promise<Head | null> {
  const length = await reader.u64('the length of its head');
  if (length > HEAD_MAX_BYTES || length < 2) reader.fail(`is no safetensors file, or damaged: it says that its head has ${grouped(length)} bytes, where 2 to ${grouped(HEAD_MAX_BYTES)} are allowed; check the source`);
  const bytes = await reader.copy(length, 'its head');
  if (reader.fault() !== null) return null;
  if (bytes[0] !== '{'.charCodeAt(0)) reader.fail('is no safetensors file: its head does not begin with "{"; check the source');
  const shape = shapeOf(bytes);
  if (shape.depth > DEPTH_MAX || shape.values > VALUES_MAX) reader.fail(damaged('its head is no list of tensors'));
  const head = reader.fault() === null ? parse(bytes) : null;
  if (reader.fault() !== null) return null;
  if (!isMap(head)) reader.fail(damaged('its head is not JSON'));
  else if (Object.keys(head).length > TENSORS_MAX) reader.fail(damaged(`it has more than ${grouped(TENSORS_MAX)} tensors`));
  // Parsing keeps the last of two entries with one name.
  else if (Object.keys(head).length < shape.entries) reader.fail(damaged('two of its tensors have the same name'));
  return isMap(head) ? head : null;
}

/** How deep the JSON is nested and how much is in it, without building any of it. */
function shapeOf(bytes: Buffer): { readonly depth: number; readonly values: number; readonly entries: number } {
  let [depth, deepest, values, entries] = [0, 0, 0, 0];
  let [inText, escaped] = [false, false];
  for (const byte of bytes) {
    if (inText) {
      if (escaped) escaped = false;
      else if (byte === 0x5c) escaped = true;
      else if (byte === 0x22) inText = false;
      continue;
    }
    if (byte === 0x22) inText = true;
    else if (byte === 0x7b || byte === 0x5b) { // { [
      depth += 1;
      values += 1;
      if (depth > deepest) deepest = depth;
    } else if (byte === 0x7d || byte === 0x5d) depth -= 1; // } ]
    else if (byte === 0x2c) values += 1; // ,
    else if (byte === 0x3a && depth === 1) entries += 1; // :
  }
  return { depth: deepest, values, entries };
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch {
    return null;
  }
}

const isMap = (value: unknown): value is Head => typeof value === 'object' && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** The tensor, or what is wrong with it. */
function tensorOf(name: string, value: unknown): Tensor | string {
  if (!isMap(value)) return 'is no map';
  const { dtype, shape, data_offsets: offsets } = value;
  const bits = typeof dtype === 'string' ? BITS.get(dtype) : undefined;
  if (typeof dtype !== 'string' || bits === undefined) return `has the unknown type ${quote(String(JSON.stringify(dtype)))}`;
  if (!Array.isArray(shape) || !shape.every(isCount)) return 'has no shape';
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) return 'has no data_offsets';
  const [begin = 0, end = 0] = offsets as readonly number[];
  const elements = (shape as readonly number[]).reduce((product, size) => product * size, 1);
  if (!(elements <= ELEMENTS_MAX)) return 'has more numbers than any file can hold';
  const bytes = (elements * bits) / 8;
  return end - begin === bytes ? { name, type: dtype, elements, begin, end } : `has ${grouped(end - begin)} bytes, where its shape and type need ${grouped(bytes)}`;
}

/** Bytes of all tensors together. They must lie one after another, in any order of their names, from the head to the end of the file. */
function checkPlaces(reader: Reader, tensors: readonly Tensor[]): number {
  let next = 0;
  for (const { name, begin, end } of [...tensors].sort((one, other) => one.begin - other.begin || one.end - other.end)) {
    if (begin < next) reader.fail(damaged(`tensor ${quote(name)} overlaps another by ${plural(next - begin, 'byte')}`));
    if (begin > next) reader.fail(damaged(`before tensor ${quote(name)} lie ${plural(begin - next, 'byte')} of no tensor`));
    next = end;
  }
  if (next > reader.left()) reader.fail(cutShort(next - reader.left(), reader.at() + next));
  if (next < reader.left()) reader.fail(damaged(`after its last tensor come ${plural(reader.left() - next, 'byte')} of no tensor`));
  return next;
}

function metadataOf(value: unknown): Readonly<Record<string, string>> | null {
  if (value === undefined || value === null) return {};
  if (!isMap(value) || !Object.values(value).every((text) => typeof text === 'string')) return null;
  const kept = Object.entries(value as Readonly<Record<string, string>>).slice(0, METADATA_KEPT);
  return Object.fromEntries(kept.map(([key, text]) => [key.slice(0, METADATA_MAX_CHARS), text.slice(0, METADATA_MAX_CHARS)]));
}
