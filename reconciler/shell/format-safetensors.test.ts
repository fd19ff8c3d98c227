// What is told of a safetensors file, and how each thing that can be wrong with one is named.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { SafetensorsFormat } from '../core/format.ts';
import { readSafetensors } from './format-safetensors.ts';
import { look, safetensors } from './format-sample.ts';

const a = { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] };
const b = { dtype: 'BF16', shape: [4], data_offsets: [24, 32] };

async function aboutOf(file: Buffer): Promise<SafetensorsFormat> {
  const { about, fault } = await look(file, readSafetensors);
  assert.is(fault, null);
  if (about?.format !== 'safetensors') throw new Error('no safetensors');
  return about;
}

test('a small file, told in full; the order of the names is not that of the places', async () => {
  assert.equal(await aboutOf(safetensors({ __metadata__: { format: 'pt', license: 'MIT' }, b, a }, 32)), {
    format: 'safetensors', tensors: 2, parameters: 10, parametersByType: { BF16: 4, F32: 6 }, tensor_bytes: 32, metadata: { format: 'pt', license: 'MIT' },
  });
});

test('no tensors at all, a scalar, one without numbers, small types, blanks after the head', async () => {
  assert.equal((await aboutOf(safetensors({}, 0))).tensors, 0);
  assert.is((await aboutOf(safetensors({ s: { dtype: 'I64', shape: [], data_offsets: [0, 8] }, e: { dtype: 'F32', shape: [0, 5], data_offsets: [8, 8] } }, 8))).parameters, 1);
  assert.is((await aboutOf(safetensors({ f: { dtype: 'F4', shape: [6], data_offsets: [0, 3] } }, 3))).parameters, 6);
  assert.is((await aboutOf(safetensors(`${JSON.stringify({ a })}     `, 24))).tensors, 1);
});

test('long words beside the tensors are cut, and only some are kept', async () => {
  const { metadata } = await aboutOf(safetensors({ __metadata__: Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`k${index}`, 'x'.repeat(1_000)])) }, 0));
  assert.equal([Object.keys(metadata).length, metadata['k0']?.length], [64, 400]);
});

const broken: readonly (readonly [of: string, file: Buffer, says: RegExp])[] = [
  ['an empty file', Buffer.alloc(0), /^is cut short: it ends within the length of its head; fetch it again$/],
  ['an error page of a hub', Buffer.from('<html>not found, sorry</html>'), /^is no safetensors file, or damaged: it says that its head has .* check the source$/],
  ['a head longer than is allowed', safetensors({ a }, 24, 100_000_001), /its head has 100,000,001 bytes, where 2 to 100,000,000 are allowed/],
  ['a head longer than the file', safetensors({ a }, 24, 1_000_000), /^is cut short or damaged: its head should have 1,000,000 bytes, only \d+ are left/],
  ['a head of nothing', safetensors('', 24), /its head has 0 bytes/],
  ['a head that is something else', safetensors('[1, 2]', 0), /its head does not begin with "\{"/],
  ['a head that is no JSON', safetensors('{"a": ', 0), /its head is not JSON/],
  ['a head nested deeply', safetensors(`{"a":${'['.repeat(1_000_000)}`, 0), /its head is no list of tensors/],
  ['a head of very many values', safetensors(`{"a":[${'[],'.repeat(5_000_000)}0]}`, 0), /its head is no list of tensors/],
  ['two with one name', safetensors('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1), /two of its tensors have the same name/],
  ['no map', safetensors({ a: 1 }, 0), /tensor "a" is no map/],
  ['an unknown type', safetensors({ a: { ...a, dtype: 'F31' } }, 24), /tensor "a" has the unknown type "\\"F31\\""/],
  ['no type', safetensors({ a: { ...a, dtype: undefined } }, 24), /has the unknown type "undefined"/],
  ['a shape of a fraction', safetensors({ a: { ...a, shape: [1.5] } }, 24), /tensor "a" has no shape/],
  ['a shape below zero', safetensors({ a: { ...a, shape: [-2, -3] } }, 24), /tensor "a" has no shape/],
  ['a shape beyond all files', safetensors({ a: { ...a, shape: [2 ** 40, 2 ** 40] } }, 24), /more numbers than any file can hold/],
  ['one place', safetensors({ a: { ...a, data_offsets: [0] } }, 24), /has no data_offsets/],
  ['a place backwards', safetensors({ a: { ...a, data_offsets: [24, 0] } }, 24), /has -24 bytes, where its shape and type need 24/],
  ['too few bytes', safetensors({ a: { ...a, data_offsets: [0, 23] } }, 23), /tensor "a" has 23 bytes, where its shape and type need 24/],
  ['half a byte', safetensors({ f: { dtype: 'F4', shape: [5], data_offsets: [0, 3] } }, 3), /has 3 bytes, where its shape and type need 2\.5/],
  ['over each other', safetensors({ a, b: { ...b, data_offsets: [20, 28] } }, 28), /tensor "b" overlaps another by 4 bytes/],
  ['a gap', safetensors({ a, b: { ...b, data_offsets: [26, 34] } }, 34), /before tensor "b" lie 2 bytes of no tensor/],
  ['not from the beginning', safetensors({ a: { ...a, data_offsets: [1, 25] } }, 25), /before tensor "a" lies? 1 byte of no tensor/],
  ['cut off', safetensors({ a, b }, 31), /^is cut short: 1 byte of \d+ is missing; fetch it again$/],
  ['something after it', safetensors({ a, b }, 40), /after its last tensor comes? 8 bytes of no tensor/],
  ['words that are none', safetensors({ __metadata__: { a: 1 } }, 0), /__metadata__ is no map of texts/],
];

for (const [of, file, says] of broken) test(`a fault: ${of}`, async () => assert.match((await look(file, readSafetensors)).fault ?? '', says));

test('names that mean something to JavaScript are names', async () => {
  const file = safetensors('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"constructor":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"__metadata__":{"__proto__":"x"}}', 2);
  const about = await aboutOf(file);
  assert.equal([about.tensors, Object.keys(about.metadata)], [2, ['__proto__']]);
});

test.run();
