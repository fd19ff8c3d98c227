// A tensor of an ONNX file: its shape and type, and whether the bytes that it should have are there or in which other file.
import { damaged, grouped, quote, type Reader } from './format-bytes.ts';
import { fields, readText, type Field } from './format-protobuf.ts';

const DIMENSIONS_MAX = 64;
const ELEMENTS_MAX = 2 ** 53;
const NUMBERS_PER_BYTE_MAX = 4;
/** `data_location`: in another file. */
const ELSEWHERE = 1;

/** By the numbers of TensorProto.DataType; a text has no size of its own. */
const TYPES: ReadonlyMap<number, readonly [name: string, bits: number]> = new Map([
  [1, ['float32', 32]], [2, ['uint8', 8]], [3, ['int8', 8]], [4, ['uint16', 16]], [5, ['int16', 16]], [6, ['int32', 32]], [7, ['int64', 64]], [8, ['string', 0]],
  [9, ['bool', 8]], [10, ['float16', 16]], [11, ['float64', 64]], [12, ['uint32', 32]], [13, ['uint64', 64]], [14, ['complex64', 64]], [15, ['complex128', 128]],
  [16, ['bfloat16', 16]], [17, ['float8e4m3fn', 8]], [18, ['float8e4m3fnuz', 8]], [19, ['float8e5m2', 8]], [20, ['float8e5m2fnuz', 8]], [21, ['uint4', 4]],
  [22, ['int4', 4]], [23, ['float4e2m1', 4]], [24, ['float8e8m0', 8]], [25, ['uint2', 2]], [26, ['int2', 2]],
]);

export const typeName = (id: number): string => TYPES.get(id)?.[0] ?? `type ${id}`;

export type Tensor = {
  readonly name: string;
  readonly elements: number;
  readonly bytes: number;
  /** The file beside this one that has its bytes. */
  readonly external: string | null;
};

/** The numbers of a tensor stand in `raw_data`, or in a list for their type: fields 4, 5, 6, 7, 10 and 11. */
const RAW = 9;

export async function readTensor(reader: Reader, message: Field): Promise<Tensor> {
  const begin = reader.at();
  const sizes: number[] = [];
  let [type, name, location, raw_bytes]: [number, string, number, number | null] = [0, '', 0, null];
  let external: string | null = null;
  await fields(reader, message.end, async (field) => {
    if (field.no === 1) await readSizes(reader, field, sizes);
    if (field.no === 2) type = field.value;
    if (field.no === 8) name = await readText(reader, field);
    if (field.no === RAW) raw_bytes = field.end - reader.at();
    if (field.no === 13) external = (await readLocation(reader, field)) ?? external;
    if (field.no === 14) location = field.value;
  });
  const elements = sizes.reduce((product, size) => product * size, 1);
  const bits = TYPES.get(type)?.[1];
  if (bits === undefined) reader.fail(damaged(`tensor ${quote(name)} has the unknown type ${type}`));
  if (!(elements >= 0 && elements <= ELEMENTS_MAX)) reader.fail(damaged(`tensor ${quote(name)} has more numbers than any file can hold`));
  const bytes = Math.ceil((elements * (bits ?? 0)) / 8);
  const wrong = location === ELSEWHERE ? elsewhereFault(external) : hereFault({ elements, bytes: bits === 0 ? null : bytes, raw_bytes, message_bytes: message.end - begin });
  if (wrong !== null) reader.fail(damaged(`tensor ${quote(name)} ${wrong}`));
  return { name, elements, bytes, external: location === ELSEWHERE ? external : null };
}

type Held = { readonly elements: number; readonly bytes: number | null; readonly raw_bytes: number | null; readonly message_bytes: number };

function hereFault({ elements, bytes, raw_bytes, message_bytes }: Held): string | null {
  if (raw_bytes !== null) return bytes === null || raw_bytes === bytes ? null : `has ${grouped(raw_bytes)} bytes, where its shape and type need ${grouped(bytes)}`;
  // In a list a number takes a byte or more, and up to four of the smallest share one.
  return elements > message_bytes * NUMBERS_PER_BYTE_MAX ? 'has fewer numbers than its shape says' : null;
}

function elsewhereFault(file: string | null): string | null {
  if (file === null || file === '') return 'does not say in which file its bytes are';
  const strays = /^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)/.test(file);
  return strays ? `has its bytes in ${quote(file)}, outside of its own folder` : null;
}

/** One by one, or all in a row as one field. */
async function readSizes(reader: Reader, field: Field, sizes: number[]): Promise<void> {
  const take = (size: number): void => {
    sizes.push(size);
    if (size < 0 || sizes.length > DIMENSIONS_MAX) reader.fail(damaged('a tensor has a shape that none can have'));
  };
  if (field.end === reader.at()) return take(field.value);
  while (reader.at() < field.end && reader.fault() === null) take(await reader.varint('a shape'));
}

/** `location` among the pairs of words that say where the bytes are. */
async function readLocation(reader: Reader, message: Field): Promise<string | null> {
  let [key, value] = ['', ''];
  await fields(reader, message.end, async (field) => {
    if (field.no === 1) key = await readText(reader, field);
    if (field.no === 2) value = await readText(reader, field);
  });
  return key === 'location' ? value : null;
}
