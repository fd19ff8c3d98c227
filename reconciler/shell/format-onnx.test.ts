// What is told of an ONNX file, and how each thing that can be wrong with one is named.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { OnnxFormat } from '../core/format.ts';
import { readOnnx } from './format-onnx.ts';
import { fixtures, look, message, number, onnx, port, raw, tensor, varint } from './format-sample.ts';

const haveFixtures = existsSync(fixtures);
// Before the first test: what stands within uvu's dots is not seen.
if (!haveFixtures) console.log('skipped: the fixture models are not here (BKG_FIXTURES)');

async function aboutOf(file: Buffer): Promise<OnnxFormat> {
  const { about, fault } = await look(file, readOnnx);
  assert.is(fault, null);
  if (about?.format !== 'onnx') throw new Error('no ONNX');
  return about;
}

const elsewhere = (location: string): Buffer => Buffer.concat([message(13, message(1, 'location'), message(2, location)), message(13, message(1, 'length'), message(2, '16')), number(14, 1)]);

test('a small file, told in full', async () => {
  assert.equal(await aboutOf(onnx()), {
    format: 'onnx', irVersion: 8, producer: 'hand', opsets: [{ domain: '', version: 17 }], inputs: [{ name: 'x', type: 'float32', shape: [1, 'batch', 3] }],
    outputs: [{ name: 'y', type: 'float32', shape: [2] }], initializers: 1, parameters: 6, tensor_bytes: 24, external: [],
  });
});

test('weights beside the file, in a constant, in a branch, in a function, sparse ones', async () => {
  const about = await aboutOf(Buffer.concat([
    onnx([
      tensor(5, 'far', [4], [elsewhere('weights.bin')]), tensor(5, 'far too', [4], [elsewhere('weights.bin')]),
      message(1, message(4, 'Constant'), message(5, message(1, 'value'), tensor(5, '', [2], [raw(8)]))),
      message(1, message(4, 'If'), message(5, message(1, 'then_branch'), message(6, tensor(5, 'inner', [3], [raw(12)])))),
      message(15, tensor(1, 'values', [2], [raw(8)]), tensor(2, 'where', [2], [raw(8)])),
    ]),
    message(25, message(7, message(5, tensor(5, '', [5], [raw(20)])))),
  ]));
  assert.equal([about.initializers, about.parameters, about.tensor_bytes, about.external], [5, 6 + 8 + 2 + 3 + 4 + 5, 4 * 28, ['weights.bin']]);
});

test('initialisers among the inputs are none, as old files have them', async () => {
  assert.equal((await aboutOf(onnx([port(11, 'w', [2, 3])]))).inputs.map((input) => input.name), ['x']);
});

test('sizes in a row, numbers in a list, texts, unknown sizes and kinds', async () => {
  const about = await aboutOf(onnx([
    message(5, message(1, varint(2), varint(2)), number(2, 1), message(8, 'list'), message(4, Buffer.alloc(16))),
    message(5, number(1, 2), number(2, 8), message(8, 'texts'), message(6, 'one'), message(6, 'two')),
    port(11, 'any', [0, -1]), message(11, message(1, 'many'), message(2, message(4))), message(11, message(1, 'bare')),
  ]));
  assert.equal([about.initializers, about.tensor_bytes], [3, 24 + 16]);
  assert.equal(about.inputs.slice(1), [{ name: 'any', type: 'float32', shape: [null, null] }, { name: 'many', type: 'sequence', shape: null }, { name: 'bare', type: 'unknown', shape: null }]);
});

const whole = onnx();
const deep = (levels: number): Buffer => (levels === 0 ? Buffer.alloc(0) : message(1, message(5, message(6, deep(levels - 1)))));
const broken: readonly (readonly [of: string, file: Buffer, says: RegExp])[] = [
  ['an empty file', Buffer.alloc(0), /^is no ONNX model, or cut short: it has no version, no graph or no set of operators; check the source$/],
  ['an error page of a hub', Buffer.from('<html>not found</html>'), /^is no ONNX model, or damaged/],
  ['no version', onnx([], [message(8, number(2, 17))]), /it has no version/],
  ['no operators', onnx([], [number(1, 8)]), /no set of operators/],
  ['a set of operators without a version', onnx([], [number(1, 8), message(8, message(1, 'ai'))]), /a set of operators without a version/],
  ['two graphs', Buffer.concat([whole, message(7)]), /no graph/],
  ['the end cut off', whole.subarray(0, -1), /^is cut short or damaged: a part of it should have \d+ bytes, only \d+ are left; fetch it again$/],
  ['a part longer than the whole', Buffer.concat([onnx([Buffer.concat([varint(5 * 8 + 2), varint(40)])]), message(14, Buffer.alloc(60))]), /a part of it is longer than the whole that it belongs to/],
  ['a number that does not end', onnx([Buffer.alloc(20, 0xff)]), /stands what no protobuf has|is no number|longer than the whole/],
  ['graphs too deep in each other', onnx([deep(20)]), /more than 16 deep/],
  ['an unknown type', onnx([message(5, number(1, 1), number(2, 99), message(8, 'odd'), raw(1))]), /tensor "odd" has the unknown type 99/],
  ['too few bytes', onnx([tensor(5, 'v', [3], [raw(8)])]), /tensor "v" has 8 bytes, where its shape and type need 12/],
  ['no numbers at all', onnx([tensor(5, 'v', [1_000_000], [])]), /tensor "v" has fewer numbers than its shape says/],
  ['a shape below zero', onnx([tensor(5, 'v', [-3, -4], [raw(48)])]), /a shape that none can have/],
  ['a shape beyond all files', onnx([tensor(5, 'v', [2n ** 40n, 2n ** 40n], [raw(8)])]), /tensor "v" has more numbers than any file can hold/],
  ['bytes nobody knows where', onnx([tensor(5, 'v', [4], [number(14, 1)])]), /tensor "v" does not say in which file its bytes are/],
  ['bytes outside its folder', onnx([tensor(5, 'v', [4], [elsewhere('../../secret')])]), /has its bytes in "\.\.\/\.\.\/secret", outside of its own folder/],
  ['bytes at a fixed place', onnx([tensor(5, 'v', [4], [elsewhere('/etc/passwd')])]), /outside of its own folder/],
];

for (const [of, file, says] of broken) test(`a fault: ${of}`, async () => assert.match((await look(file, readOnnx)).fault ?? '', says));

test('weights are jumped over', async () => {
  const file = onnx([tensor(5, 'large', [4_000_000], [raw(16_000_000)])]);
  const { about, read_bytes, largest_bytes } = await look(file, readOnnx);
  assert.is(about?.format === 'onnx' ? about.tensor_bytes : 0, 16_000_024);
  assert.ok(read_bytes < 100_000 && largest_bytes <= 2 ** 18, `${read_bytes} bytes`);
});

const real: readonly (readonly [path: string, expected: Partial<OnnxFormat>])[] = [
  ['faces/face_detection_yunet_2023mar.onnx', { irVersion: 6, producer: 'pytorch', opsets: [{ domain: '', version: 11 }], inputs: [{ name: 'input', type: 'float32', shape: [1, 3, 640, 640] }], external: [] }],
  ['faces/version-RFB-320.onnx', { inputs: [{ name: 'input', type: 'float32', shape: [1, 3, 240, 320] }], opsets: [{ domain: '', version: 9 }] }],
  ['faces/MobileFaceNet.onnx', { inputs: [{ name: 'input0', type: 'float32', shape: [1, 3, 112, 112] }], outputs: [{ name: 'output0', type: 'float32', shape: [1, 128] }] }],
  ['embedding/static-bge-glove-114d/onnx/model.onnx', { initializers: 4, outputs: [{ name: 'last_hidden_state', type: 'float32', shape: ['batch', 'sequence', 114] }, { name: 'sentence_embedding', type: 'float32', shape: ['batch', 114] }] }],
];

test('the real ones', async () => {
  if (!haveFixtures) return;
  for (const [path, expected] of real) {
    const file = readFileSync(join(fixtures, path));
    const about = await aboutOf(file);
    for (const [key, value] of Object.entries(expected)) assert.equal(about[key as keyof OnnxFormat], value, `${path} ${key}`);
    // Nearly all of these files is weights.
    assert.ok(about.tensor_bytes > 0.85 * file.length && about.tensor_bytes < file.length, `${path} ${about.tensor_bytes}`);
  }
});

test.run();
