// What is told of a GGUF file, and how each thing that can be wrong with one is named.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { memoryOf } from '../core/memory.ts';
import type { GgufFormat } from '../core/format.ts';
import { openReader } from './format-bytes.ts';
import { readGguf } from './format-gguf.ts';
import { packingOf } from './format-gguf-types.ts';
import { fixtures, gguf, ggufText, llamaPairs, llamaTensors, look, type Gguf, type GgufValue } from './format-sample.ts';

const haveFixtures = existsSync(fixtures);
// Before the first test: what stands within uvu's dots is not seen.
if (!haveFixtures) console.log('skipped: the fixture models are not here (BKG_FIXTURES)');

const faultOf = async (file: Buffer | Gguf): Promise<string> => (await look(Buffer.isBuffer(file) ? file : gguf(file), readGguf)).fault ?? '';

async function aboutOf(file: Buffer | Gguf): Promise<GgufFormat> {
  const { about, fault } = await look(Buffer.isBuffer(file) ? file : gguf(file), readGguf);
  assert.is(fault, null);
  if (about?.format !== 'gguf') throw new Error('no GGUF');
  return about;
}

const changed = (...changes: readonly (readonly [string, GgufValue | null])[]): readonly (readonly [string, GgufValue])[] => {
  const all = new Map<string, GgufValue>(llamaPairs);
  for (const [key, value] of changes) if (value === null) all.delete(key); else all.set(key, value);
  return [...all];
};

test('a small file, told in full', async () => {
  assert.equal(await aboutOf({}), {
    format: 'gguf', version: 3, architecture: 'llama', name: 'Little one', quantization: 'F16', contextLength: 512, embeddingLength: 64, layers: 2, heads: 4, kvHeads: 2,
    kvHeadsOfAllLayers: 4, keyLength: 16, valueLength: 16, slidingWindow: null, kvHeadsOfSlidingLayers: null, causal: true, vocabulary: 3, tokenizer: 'gpt2',
    chatTemplate: true, tensors: 3, parameters: 192 + 64 + 4096, tensor_bytes: 384 + 256 + 4352, shard: null,
  });
});

test('version 2, another alignment, a vocabulary without weights', async () => {
  assert.is((await aboutOf({ version: 2 })).version, 2);
  assert.is((await aboutOf({ alignment: 64, pairs: changed(['general.alignment', 64]) })).tensor_bytes, 4992);
  const vocabulary = await aboutOf({ tensors: [] });
  assert.equal([vocabulary.tensors, vocabulary.tensor_bytes, vocabulary.quantization], [0, 0, null]);
});

test('layers that differ, sliding windows, lengths of their own', async () => {
  const listed = await aboutOf({ pairs: changed(['llama.attention.head_count_kv', [2, 0]], ['llama.attention.key_length', 24], ['llama.attention.value_length', 8], ['llama.attention.sliding_window', 128], ['llama.attention.sliding_window_pattern', [1, 0]]) });
  assert.equal([listed.kvHeads, listed.kvHeadsOfAllLayers, listed.keyLength, listed.valueLength, listed.slidingWindow, listed.kvHeadsOfSlidingLayers], [2, 2, 24, 8, 128, 2]);
  const period = await aboutOf({ pairs: changed(['llama.block_count', 12], ['llama.attention.sliding_window', 128], ['llama.attention.sliding_window_pattern', 6]) });
  assert.equal([period.kvHeadsOfAllLayers, period.kvHeadsOfSlidingLayers], [24, 20]);
});

test('what the file does not say stays open, and nonsense counts as not said', async () => {
  const about = await aboutOf({ pairs: [['general.architecture', 'new'], ['new.block_count', { type: 5, bytes: Buffer.from([255, 255, 255, 255]) }], ['new.context_length', { type: 6, bytes: Buffer.from([0, 0, 192, 127]) }]] });
  assert.equal([about.layers, about.contextLength, about.heads, about.keyLength, about.vocabulary, about.name, about.chatTemplate], [null, null, null, null, null, null, false]);
  assert.is(about.quantization, 'Q8_0', 'the type that most bytes have');
});

test('a file of several: only the first says the architecture', async () => {
  assert.equal((await aboutOf({ pairs: [['split.no', 1], ['split.count', 3]] })).shard, { no: 1, count: 3 });
  assert.match(await faultOf({ pairs: [['split.no', 0], ['split.count', 3]] }), /does not say its architecture/);
  assert.match(await faultOf({ pairs: changed(['split.no', 3], ['split.count', 3]) }), /split\.no and split\.count do not agree/);
});

const first = llamaTensors[0]!;
const broken: readonly (readonly [of: string, file: Gguf | Buffer, says: RegExp])[] = [
  ['an empty file', Buffer.alloc(0), /^is no GGUF file: it does not begin with "GGUF"; check the source$/],
  ['an error page of a hub', Buffer.from('<html>not found</html>'), /^is no GGUF file/],
  ['the name alone', Buffer.from('GGUF'), /^is cut short: it ends within the header; fetch it again$/],
  ['version 1', { version: 1 }, /^is a GGUF of version 1, and only versions 2 and 3 can be read; convert it anew/],
  ['a version to come', { version: 9 }, /^is a GGUF of version 9, .*newer engine$/],
  ['big-endian', { version: 0x03000000 }, /^is a GGUF for big-endian machines; take the little-endian file/],
  ['without an architecture', { pairs: changed(['general.architecture', null]) }, /^does not say its architecture \(general\.architecture\)/],
  ['more tensors than there is room for', { tensorCount: 2n ** 63n }, /there is no room for so many/],
  ['more pairs than there is room for', { pairCount: 2n ** 64n - 1n }, /metadata pairs, and there is no room for so many/],
  ['a text longer than the file', { pairs: changed(['x', { type: 8, bytes: Buffer.from('ffffffffffffff7f', 'hex') }]) }, /^is cut short or damaged: a text of its metadata should have .* fetch it again$/],
  ['a list longer than the file', { pairs: changed(['x', { type: 9, bytes: Buffer.from('04000000ffffffffffffff7f', 'hex') }]) }, /the list "x" should have/],
  ['a list of texts longer than the file', { pairs: changed(['x', { type: 9, bytes: Buffer.from('08000000ffffffffffffff7f', 'hex') }]) }, /the list "x"/],
  ['a list within a list', { pairs: changed(['x', { type: 9, bytes: Buffer.from('090000000100000000000000', 'hex') }]) }, /"x" has lists within a list/],
  ['a value of no type', { pairs: changed(['x', { type: 77, bytes: Buffer.alloc(8) }]) }, /"x" has a value of the unknown type 77/],
  ['an empty key', { pairs: [...llamaPairs, ['', 1]] }, /a metadata key has 0 bytes/],
  ['a key twice', { pairs: [...llamaPairs, ['general.name', 'again']] }, /the metadata key "general\.name" stands there twice/],
  ['an alignment of no power of two', { pairs: changed(['general.alignment', 48]) }, /general\.alignment is no power of two/],
  ['an alignment of nothing', { pairs: changed(['general.alignment', 0]) }, /general\.alignment is no power of two/],
  ['an unknown type', { tensors: [{ ...first, type: 99 }] }, /^cannot be read: tensor "token_embd\.weight" has the unknown type 99/],
  ['a type given up', { tensors: [{ ...first, type: 31 }] }, /has type Q4_0_4_4, which llama\.cpp no longer reads; take a newer file/],
  ['a row that does not fill its blocks', { tensors: [{ ...first, type: 12 }] }, /a row of tensor .* has 64 numbers, and Q4_K packs them by 256/],
  ['five dimensions', { tensors: [{ ...first, dims: [1, 1, 1, 1, 1] }] }, /has 5 dimensions, where 4 are allowed/],
  ['more numbers than a file can hold', { tensors: [{ ...first, dims: [2n ** 40n, 2n ** 40n] }] }, /has more numbers than any file can hold/],
  ['a long name', { tensors: [{ ...first, name: 'n'.repeat(64) }] }, /the name of a tensor has 64 bytes, where 63 are allowed/],
  ['a name twice', { tensors: [first, first] }, /two tensors are called "token_embd\.weight"/],
  ['tensors over each other', { tensors: [first, { ...llamaTensors[1]!, offset: 352 }] }, /tensor "output_norm\.weight" overlaps the one before it by 32 bytes/],
  ['a gap', { tensors: [first, { ...llamaTensors[1]!, offset: 416 }] }, /begins 32 bytes after the one before it ends/],
  ['a place off the grid', { tensors: [first, { ...llamaTensors[1]!, offset: 385 }] }, /begins at 385, which is no multiple of 32/],
  ['a place beyond all files', { tensors: [{ ...first, offset: 2 ** 52, bytes: -(2 ** 52) }] }, /begins 4,503,599,627,370,496 bytes after/],
  ['weights cut off', gguf().subarray(0, -1), /^is cut short: 1 byte of 5,7\d\d is missing; fetch it again$/],
  ['most of the weights cut off', gguf().subarray(0, -4_000), /^is cut short: 4,000 bytes of 5,7\d\d are missing; fetch it again$/],
];

for (const [of, file, says] of broken) test(`a fault: ${of}`, async () => assert.match(await faultOf(file), says));

test('words of the file cannot pass for ours', async () => {
  const fault = await faultOf({ tensors: [{ ...first, name: 'a"\n; all is well', type: 99 }] });
  assert.ok(fault.includes('"a\\"\\n; all is well"') && !fault.includes('\n'), fault);
});

test('a file that grows shorter while it is read', async () => {
  const file = gguf();
  assert.is((await look(file.subarray(0, 100), readGguf, file.length)).fault, 'became shorter while it was read; try again');
});

test('many words are passed over quickly, and little of a large list is read', async () => {
  const tokens = Array.from({ length: 100_000 }, (_, index) => `t${index}`);
  const list = Buffer.alloc(12 + 4_000_000);
  list.writeUInt32LE(6);
  list.writeBigUInt64LE(1_000_000n, 4);
  const pairs = changed(['tokenizer.ggml.tokens', tokens], ['tokenizer.ggml.scores', { type: 9, bytes: list }], ['tokenizer.chat_template', 'x'.repeat(1_000_000)]);
  const file = gguf({ pairs });
  const { about, read_bytes, largest_bytes } = await look(file, readGguf);
  assert.is(about?.format === 'gguf' ? about.vocabulary : null, 100_000);
  assert.ok(read_bytes < file.length - 4_000_000 && largest_bytes <= 2 ** 18, `${read_bytes} of ${file.length} bytes, ${largest_bytes} at once`);
});

test('a list made to keep us busy is given up', async () => {
  // Three hundred million empty texts: the file has no bytes of its own, each read gives zeros.
  const head = gguf({ pairs: [['x', { type: 9, bytes: Buffer.concat([Buffer.from([8, 0, 0, 0]), Buffer.from(new BigUint64Array([300_000_000n]).buffer)]) }]], tensors: [], tensorCount: 0 });
  let read_bytes = 0;
  const reader = openReader(async (into, offset, length, position) => {
    into.fill(0, offset, offset + length);
    head.subarray(position, position + length).copy(into, offset);
    read_bytes += length;
    return { bytesRead: length };
  }, 2 ** 40, new AbortController().signal);
  assert.is(await readGguf(reader), null);
  assert.match(reader.fault() ?? '', /more than 268,435,456 bytes of it are said to be no weights/);
  assert.ok(read_bytes < 2 ** 28 + 2 ** 19);
});

test('types have names, and what llama.cpp has given up is told apart from what it never knew', () => {
  assert.equal([packingOf(14), packingOf(39)], [{ name: 'Q6_K', block: 256, bytes: 210 }, { name: 'MXFP4', block: 32, bytes: 17 }]);
  assert.match(String(packingOf(36)), /^type IQ4_NL_4_4/);
  assert.match(String(packingOf(43)), /^the unknown type 43/);
  assert.is(ggufText('é').length, 10);
});

const real: readonly (readonly [path: string, expected: Partial<GgufFormat>])[] = [
  ['text/stories260K-chat.gguf', { architecture: 'llama', quantization: 'F32', contextLength: 2048, layers: 5, heads: 8, kvHeads: 4, keyLength: 8, vocabulary: 512, parameters: 292_800, tensor_bytes: 1_171_200, chatTemplate: true }],
  ['text/stories260K-chat-q8_0.gguf', { quantization: 'Q8_0', parameters: 292_800, tensor_bytes: 364_768 }],
  ['text/babyllama361-chat.gguf', { architecture: 'llama', contextLength: 256, vocabulary: 361 }],
  ['text/NEGATIVE-no-byte-tokens.gguf', { architecture: 'llama', vocabulary: 105, tensors: 48 }],
  ['vocab/qwen3-vocab.gguf', { architecture: 'qwen2', vocabulary: 151_669, tokenizer: 'gpt2', tensors: 0, chatTemplate: true }],
  ['embedding/static-bge-glove-114d/model.gguf', { architecture: 'bert', causal: false, quantization: 'F16', vocabulary: 30_522, chatTemplate: false }],
];

test('the real ones', async () => {
  if (!haveFixtures) return;
  for (const [path, expected] of real) {
    const about = await aboutOf(readFileSync(join(fixtures, path)));
    for (const [key, value] of Object.entries(expected)) assert.equal(about[key as keyof GgufFormat], value, `${path} ${key}`);
    assert.ok((memoryOf(about, { contextSize: 2048, parallel: 4 }) ?? 0) > about.tensor_bytes);
  }
});

test('the bundled one', async () => {
  const about = await aboutOf(readFileSync(new URL('../../models/mini/bkg-mini.gguf', import.meta.url)));
  assert.equal([about.architecture, about.name, about.chatTemplate], ['llama', 'bkg-mini', true]);
});

test.run();
