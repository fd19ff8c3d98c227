// Looks into an ONNX file: walks the protobuf of model and graph for what is said of them, and jumps over the weights.
import type { OnnxFormat, OnnxPort } from '../core/format.ts';
import { damaged, type Reader } from './format-bytes.ts';
import { fields, readText, type Field } from './format-protobuf.ts';
import { readTensor, typeName, type Tensor } from './format-onnx-tensor.ts';

/** Loops and branches within loops and branches: real graphs have two or three levels. */
const DEPTH_MAX = 16;
/** A language model that hands its cache through has a few hundred. */
const PORTS_MAX = 10_000;
const DIMENSIONS_MAX = 64;
const OPSETS_MAX = 1_000;
/** Exporters of the largest models write some tens of thousands. */
const TENSORS_MAX = 200_000;
const EXTERNAL_MAX = 10_000;

/** What the walk has found so far, in all graphs. */
type Found = {
  readonly inputs: OnnxPort[];
  readonly outputs: OnnxPort[];
  /** Names of the outermost graph's initialisers: old files list them among the inputs, too. */
  readonly named: Set<string>;
  readonly external: Set<string>;
  graphs: number;
  tensors: number;
  initializers: number;
  parameters: number;
  tensor_bytes: number;
};

/** Null after a fault, which the reader keeps. */
export async function readOnnx(reader: Reader): Promise<OnnxFormat | null> {
  const found: Found = { inputs: [], outputs: [], named: new Set(), external: new Set(), graphs: 0, tensors: 0, initializers: 0, parameters: 0, tensor_bytes: 0 };
  const opsets: { readonly domain: string; readonly version: number }[] = [];
  let [irVersion, producer] = [0, ''];
  await fields(reader, reader.size_bytes, async (field) => {
    if (field.no === 1) irVersion = field.value;
    if (field.no === 2) producer = await readText(reader, field);
    if (field.no === 7) await readGraph(reader, field, { found, depth: 0 });
    if (field.no === 8) opsets.push(await readOpset(reader, field));
    if (field.no === 25) await fields(reader, field.end, async (inner) => { if (inner.no === 7) await readNode(reader, inner, { found, depth: 0 }); });
    if (opsets.length > OPSETS_MAX) reader.fail(damaged('it imports more sets of operators than there are'));
  });
  // Almost any bytes are some protobuf: without these three it is not this one.
  if (irVersion < 1 || found.graphs !== 1 || opsets.length === 0) reader.fail('is no ONNX model, or cut short: it has no version, no graph or no set of operators; check the source');
  if (reader.fault() !== null) return null;
  const inputs = found.inputs.filter((port) => !found.named.has(port.name));
  const { outputs, initializers, parameters, tensor_bytes, external } = found;
  return { format: 'onnx', irVersion, producer: producer === '' ? null : producer, opsets, inputs, outputs, initializers, parameters, tensor_bytes, external: [...external] };
}

async function readOpset(reader: Reader, message: Field): Promise<{ readonly domain: string; readonly version: number }> {
  let [domain, version] = ['', 0];
  await fields(reader, message.end, async (field) => {
    if (field.no === 1) domain = await readText(reader, field);
    if (field.no === 2) version = field.value;
  });
  if (version < 1) reader.fail(damaged('it imports a set of operators without a version'));
  return { domain, version };
}

type Place = { readonly found: Found; readonly depth: number };

async function readGraph(reader: Reader, message: Field, { found, depth }: Place): Promise<void> {
  if (depth > DEPTH_MAX) return reader.fail(damaged(`its graphs lie more than ${DEPTH_MAX} deep in each other`));
  found.graphs += depth === 0 ? 1 : 0;
  await fields(reader, message.end, async (field) => {
    if (field.no === 1) await readNode(reader, field, { found, depth });
    if (field.no === 5) {
      const tensor = await readTensor(reader, field);
      found.initializers += 1;
      if (depth === 0) found.named.add(tensor.name);
      note(reader, found, tensor);
    }
    if (field.no === 15) {
      found.initializers += 1;
      await readSparse(reader, field, found);
    }
    if (depth > 0) return;
    if (field.no === 11) found.inputs.push(await readPort(reader, field));
    if (field.no === 12) found.outputs.push(await readPort(reader, field));
    if (found.inputs.length > PORTS_MAX || found.outputs.length > PORTS_MAX) reader.fail(damaged('it has more inputs or outputs than a model can'));
  });
}

function note(reader: Reader, found: Found, tensor: Tensor): void {
  found.tensors += 1;
  // Integers in an ONNX graph are mostly shapes and positions, but a quantised weight is an integer, too: all count.
  found.parameters += tensor.elements;
  found.tensor_bytes += tensor.bytes;
  if (tensor.external !== null) found.external.add(tensor.external);
  if (found.tensors > TENSORS_MAX) reader.fail(damaged(`it has more than ${TENSORS_MAX} tensors`));
  if (found.external.size > EXTERNAL_MAX) reader.fail(damaged(`its weights lie in more than ${EXTERNAL_MAX} other files`));
}

/** Values and where they stand: two tensors. */
async function readSparse(reader: Reader, message: Field, found: Found): Promise<void> {
  await fields(reader, message.end, async (field) => {
    if (field.no === 1 || field.no === 2) note(reader, found, await readTensor(reader, field));
  });
}

/** A node is looked into for constants, and for the graphs of loops and branches. */
async function readNode(reader: Reader, message: Field, place: Place): Promise<void> {
  await fields(reader, message.end, async (field) => {
    if (field.no !== 5) return;
    await fields(reader, field.end, async (inner) => {
      if (inner.no === 5 || inner.no === 10) note(reader, place.found, await readTensor(reader, inner));
      if (inner.no === 22 || inner.no === 23) await readSparse(reader, inner, place.found);
      if (inner.no === 6 || inner.no === 11) await readGraph(reader, inner, { found: place.found, depth: place.depth + 1 });
    });
  });
}

// ─── Inputs and outputs ─────────────────────────────────────────────────────────────────────────────────────────────────

/** What a value can be besides a tensor, by the number of its field. */
const KINDS: ReadonlyMap<number, string> = new Map([[4, 'sequence'], [5, 'map'], [7, 'opaque'], [8, 'sparse tensor'], [9, 'optional']]);

async function readPort(reader: Reader, message: Field): Promise<OnnxPort> {
  let port: OnnxPort = { name: '', type: 'unknown', shape: null };
  await fields(reader, message.end, async (field) => {
    if (field.no === 1) port = { ...port, name: await readText(reader, field) };
    if (field.no !== 2) return;
    await fields(reader, field.end, async (kind) => {
      if (kind.no === 1) port = { ...port, ...(await readTensorType(reader, kind)) };
      else if (KINDS.has(kind.no)) port = { ...port, type: KINDS.get(kind.no) ?? 'unknown' };
    });
  });
  return port;
}

async function readTensorType(reader: Reader, message: Field): Promise<Omit<OnnxPort, 'name'>> {
  let [type, shape]: [string, (number | string | null)[] | null] = ['unknown', null];
  await fields(reader, message.end, async (field) => {
    if (field.no === 1) type = typeName(field.value);
    if (field.no !== 2) return;
    const sizes: (number | string | null)[] = [];
    shape = sizes;
    await fields(reader, field.end, async (dimension) => {
      if (dimension.no === 1) sizes.push(await readDimension(reader, dimension));
      if (sizes.length > DIMENSIONS_MAX) reader.fail(damaged(`a value has more than ${DIMENSIONS_MAX} dimensions`));
    });
  });
  return { type, shape };
}

async function readDimension(reader: Reader, message: Field): Promise<number | string | null> {
  let size: number | string | null = null;
  await fields(reader, message.end, async (field) => {
    // Some exporters write 0 or -1 where any size will do.
    if (field.no === 1) size = field.value > 0 ? field.value : null;
    if (field.no === 2) size = (await readText(reader, field)) || null;
  });
  return size;
}
