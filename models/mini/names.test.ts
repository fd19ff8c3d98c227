// Names for training: what bkg would take, and a model's short name out of its address.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { anySource, madeUp, madeUpName, modelSource, shortName } from './names.ts';
import { randomFrom } from './phrase.ts';

const NAMES = 5000;
const LEAST_DIFFERENT = 0.7;

test('names of plugins and models are such as bkg.yaml takes, and nearly all different', () => {
  const random = randomFrom(1);
  const names = Array.from({ length: NAMES }, () => madeUp(random));
  for (const name of names) assert.match(name, /^[a-z][a-z0-9-]*$/);
  assert.ok(new Set(names).size > LEAST_DIFFERENT * NAMES);
});

test('names of people and places begin with a capital, some have an accent', () => {
  const random = randomFrom(2);
  const names = Array.from({ length: NAMES }, () => madeUpName(random));
  for (const name of names) assert.match(name, /^\p{Lu}\p{Ll}*$/u);
  assert.ok(names.some((name) => /[^\x00-\x7f]/.test(name)));
});

test('a model lies on a hub, a server or the disk, and its short name is a part of that', () => {
  const random = randomFrom(3);
  const kinds = new Set<string>();
  for (let round = 0; round < NAMES; round += 1) {
    const source = modelSource(random);
    const kind = /^(?:(hf):\/\/[^/ ]+\/[^/ ]+\/[^/ @]+\.gguf(?:@[\w.]+)?|(https):\/\/[^/ ]+\/[^ ]+\.gguf|(file):[^ ]+\.gguf)$/.exec(source)?.slice(1).find((one) => one !== undefined);
    assert.ok(kind !== undefined, source);
    kinds.add(kind);
    const name = shortName(source, random);
    assert.match(name, /^[a-z0-9-]+$/, source);
    assert.ok(source.toLowerCase().replace(/[^a-z0-9]/g, '').includes(/^[a-z]*/.exec(name)![0]), `${name} of ${source}`);
  }
  assert.is(kinds.size, 3);
});

test('a tool is told of any source, in one word, and its short name is a part of it', () => {
  const random = randomFrom(4);
  const endings = new Set<string>();
  for (let round = 0; round < NAMES; round += 1) {
    const source = anySource(random);
    assert.match(source, /^(?:hf:\/\/|https:\/\/|file:)[^\s"\\]*$/);
    endings.add(/(?:\.gguf|\.safetensors|\.onnx|\.bin|\.pt|\/)$/.exec(source.split('@')[0]!)?.[0] ?? '');
    const name = shortName(source, random);
    assert.match(name, /^[a-z0-9-]+$/, source);
    assert.ok(source.toLowerCase().replace(/[^a-z0-9]/g, '').includes(/^[a-z]*/.exec(name)![0]), `${name} of ${source}`);
  }
  assert.is(endings.size, 7);
});

test.run();
