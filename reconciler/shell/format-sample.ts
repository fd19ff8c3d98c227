// Small model files made byte by byte, sound or broken in one place, for the tests of format.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelFormat } from '../core/format.ts';
import { openReader, type Reader } from './format-bytes.ts';

/** Real models lie beside the project, if at all. */
export const fixtures = process.env['BKG_FIXTURES'] ?? join(fileURLToPath(new URL('../../..', import.meta.url)), 'shared/fixtures');

export type Looked = { readonly about: ModelFormat | null; readonly fault: string | null; readonly read_bytes: number; readonly largest_bytes: number };

/** Reads bytes in memory as if they were a file, and counts what is asked for. `size_bytes` may promise more than is there. */
export async function look(bytes: Buffer, read: (reader: Reader) => Promise<ModelFormat | null>, size_bytes = bytes.length): Promise<Looked> {
  let [read_bytes, largest_bytes] = [0, 0];
  const reader = openReader(async (into, offset, length, position) => {
    const bytesRead = bytes.subarray(position, position + length).copy(into, offset);
    read_bytes += bytesRead;
    largest_bytes = Math.max(largest_bytes, length);
    return { bytesRead };
  }, size_bytes, new AbortController().signal);
  const about = await read(reader);
  return { about, fault: reader.fault(), read_bytes, largest_bytes };
}

const u32 = (value: number): Buffer => { const bytes = Buffer.alloc(4); bytes.writeUInt32LE(value); return bytes; };
const u64 = (value: number | bigint): Buffer => { const bytes = Buffer.alloc(8); bytes.writeBigUInt64LE(BigInt(value)); return bytes; };

// ─── GGUF ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

export type GgufTensor = { readonly name: string; readonly dims: readonly (number | bigint)[]; readonly type: number; readonly bytes: number; readonly offset?: number };
/** A number becomes a u32; `[type, bytes]` is taken as it is. */
export type GgufValue = string | number | boolean | readonly string[] | readonly number[] | { readonly type: number; readonly bytes: Buffer };
export type Gguf = {
  readonly magic?: string;
  readonly version?: number;
  readonly pairs?: readonly (readonly [key: string, value: GgufValue])[];
  readonly tensors?: readonly GgufTensor[];
  readonly alignment?: number;
  readonly pairCount?: number | bigint;
  readonly tensorCount?: number | bigint;
};

export const ggufText = (text: string): Buffer => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);

function ggufValue(value: GgufValue): Buffer {
  if (typeof value === 'string') return Buffer.concat([u32(8), ggufText(value)]);
  if (typeof value === 'number') return Buffer.concat([u32(4), u32(value)]);
  if (typeof value === 'boolean') return Buffer.concat([u32(7), Buffer.from([value ? 1 : 0])]);
  if ('bytes' in value) return Buffer.concat([u32(value.type), value.bytes]);
  const texts = value.every((one) => typeof one === 'string');
  return Buffer.concat([u32(9), u32(texts ? 8 : 4), u64(value.length), ...value.map((one) => (typeof one === 'string' ? ggufText(one) : u32(one)))]);
}

export const llamaPairs: readonly (readonly [string, GgufValue])[] = [
  ['general.architecture', 'llama'], ['general.name', 'Little one'], ['general.file_type', 1], ['llama.context_length', 512], ['llama.embedding_length', 64],
  ['llama.block_count', 2], ['llama.attention.head_count', 4], ['llama.attention.head_count_kv', 2], ['tokenizer.ggml.model', 'gpt2'],
  ['tokenizer.ggml.tokens', ['a', 'b', 'c']], ['tokenizer.ggml.scores', [1, 2, 3]], ['tokenizer.chat_template', '{{ messages }}'],
];
export const llamaTensors: readonly GgufTensor[] = [
  { name: 'token_embd.weight', dims: [64, 3], type: 1, bytes: 384 }, { name: 'output_norm.weight', dims: [64], type: 0, bytes: 256 }, { name: 'blk.0.attn_q.weight', dims: [64, 64], type: 8, bytes: 4352 },
];

export function gguf({ magic = 'GGUF', version = 3, pairs = llamaPairs, tensors = llamaTensors, alignment = 32, pairCount = pairs.length, tensorCount = tensors.length }: Gguf = {}): Buffer {
  let end = 0;
  const infos = tensors.map((tensor) => {
    const offset = tensor.offset ?? Math.ceil(end / alignment) * alignment;
    end = offset + tensor.bytes;
    return Buffer.concat([ggufText(tensor.name), u32(tensor.dims.length), ...tensor.dims.map(u64), u32(tensor.type), u64(offset)]);
  });
  const head = Buffer.concat([Buffer.from(magic), u32(version), u64(tensorCount), u64(pairCount), ...pairs.map(([key, value]) => Buffer.concat([ggufText(key), ggufValue(value)])), ...infos]);
  return Buffer.concat([head, Buffer.alloc(tensors.length === 0 ? 0 : Math.ceil(head.length / alignment) * alignment - head.length + end)]);
}

// ─── safetensors ────────────────────────────────────────────────────────────────────────────────────────────────────────

export const safetensors = (head: unknown, data_bytes: number, length?: number | bigint): Buffer => {
  const text = Buffer.from(typeof head === 'string' ? head : JSON.stringify(head));
  return Buffer.concat([u64(length ?? text.length), text, Buffer.alloc(data_bytes)]);
};

// ─── ONNX ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

export function varint(value: number | bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    bytes.push(Number(rest & 127n) | (rest > 127n ? 128 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Buffer.from(bytes);
}

export const number = (no: number, value: number | bigint): Buffer => Buffer.concat([varint(no * 8), varint(value)]);
export const message = (no: number, ...parts: readonly (Buffer | string)[]): Buffer => {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  return Buffer.concat([varint(no * 8 + 2), varint(body.length), body]);
};
export const port = (no: number, name: string, sizes: readonly (number | string)[]): Buffer =>
  message(no, message(1, name), message(2, message(1, number(1, 1), message(2, ...sizes.map((size) => message(1, typeof size === 'number' ? number(1, size) : message(2, size)))))));
export const tensor = (no: number, name: string, sizes: readonly (number | bigint)[], rest: readonly Buffer[]): Buffer =>
  message(no, ...sizes.map((size) => number(1, size)), number(2, 1), message(8, name), ...rest);
export const raw = (bytes: number): Buffer => message(9, Buffer.alloc(bytes));

/** `graph` comes after a node, an input, an output and a weight of 2 × 3 numbers. */
export const onnx = (graph: readonly Buffer[] = [], model: readonly Buffer[] = [number(1, 8), message(2, 'hand'), message(8, number(2, 17))]): Buffer =>
  Buffer.concat([...model, message(7, message(1, message(1, 'x'), message(2, 'y'), message(4, 'MatMul')), port(11, 'x', [1, 'batch', 3]), port(12, 'y', [2]), tensor(5, 'w', [2, 3], [raw(24)]), ...graph)]);
