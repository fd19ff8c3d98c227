// Declaring, assigning and removing models: which operations an edit is made of.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assignModel, declareModel, nameOfSource, removeModel, usesOf, type Wanted } from './model-edits.ts';

const HASH = 'a'.repeat(64);
const FILE = {
  models: { mini: { source: 'file:mini.gguf', sha256: HASH }, big: { source: 'hf://o/r/big.gguf', state: 'ondemand' }, old: { source: 'https://h/old.gguf', state: 'absent' } },
  plugins: { chat: { models: { chat: 'mini', embedding: 'big' } }, one: { models: { chat: 'mini' } }, two: { use: 'x' }, odd: null },
};
const wanted = (source: string, more: Partial<Wanted> = {}): Wanted => ({ name: null, source, sha256: null, state: null, ...more });

test('a name is made of the file of a source', () => {
  for (const [source, name] of [
    ['hf://Qwen/Qwen2-0.5B-Instruct-GGUF/qwen2-0_5b-instruct-q5_k_m.gguf@main', 'qwen2-0-5b-instruct-q5-k-m'],
    ['hf://o/r/sub/Model-Q4_K_M-00001-of-00003.gguf@refs/pr/1', 'model-q4-k-m'],
    ['hf://o/r/sub/Model-Q4_K_M-00001-of-00003.gguf', 'model-q4-k-m'],
    ['https://h/a%20b/My%20Model.onnx?download=true#x/y', 'my-model'],
    ['file:models/mini/bkg-mini.gguf', 'bkg-mini'], ['file:bkg.gguf', 'bkg'], ['bundled:x/y.safetensors', 'y'],
    ['https://h/', 'h'], ['file:...', 'model'], ['file:v1.5', 'v1-5'], [`file:${'a'.repeat(62)}-b.gguf`, 'a'.repeat(62)], ['https://h/%E0%A4%A.gguf', 'e0-a4-a'],
  ] as const) assert.is(nameOfSource(source), name, source);
});

test('what is new is declared under the name that is wished, or a free one', () => {
  assert.equal(declareModel({}, wanted('https://h/a.gguf', { name: 'x', sha256: HASH, state: 'ondemand' })), {
    ok: true, name: 'x', isNew: true, operations: [{ op: 'add', path: '/models/x', value: { source: 'https://h/a.gguf', sha256: HASH, state: 'ondemand' } }],
  });
  assert.equal(declareModel(FILE, wanted('https://h/mini.gguf', { state: 'present' })), { ok: true, name: 'mini-2', isNew: true, operations: [{ op: 'add', path: '/models/mini-2', value: { source: 'https://h/mini.gguf' } }] });
  const long = 'b'.repeat(63);
  const found = declareModel({ models: { [long]: { source: 'file:other' } } }, wanted(`https://h/${long}.gguf`));
  assert.is(found.name, `${'b'.repeat(61)}-2`);
});

test('what is declared alike is found by its source and changed only where more is said', () => {
  assert.equal(declareModel(FILE, wanted('file:mini.gguf')), { ok: true, name: 'mini', isNew: false, operations: [] });
  assert.equal(declareModel(FILE, wanted('file:mini.gguf', { name: 'mini', sha256: HASH, state: 'present' })), { ok: true, name: 'mini', isNew: false, operations: [] });
  assert.equal(declareModel(FILE, wanted('hf://o/r/big.gguf')), { ok: true, name: 'big', isNew: false, operations: [] });
  assert.equal(declareModel(FILE, wanted('hf://o/r/big.gguf', { sha256: HASH, state: 'present' })), { ok: true, name: 'big', isNew: false, operations: [{ op: 'add', path: '/models/big/sha256', value: HASH }, { op: 'add', path: '/models/big/state', value: 'present' }] });
  assert.equal(declareModel(FILE, wanted('https://h/old.gguf')), { ok: true, name: 'old', isNew: false, operations: [{ op: 'add', path: '/models/old/state', value: 'present' }] });
});

test('a name that stands for something else is not taken', () => {
  assert.equal(declareModel(FILE, wanted('https://h/a.gguf', { name: 'mini' })), { ok: false, name: 'mini', differs: 'source' });
  assert.equal(declareModel(FILE, wanted('file:mini.gguf', { sha256: 'b'.repeat(64) })), { ok: false, name: 'mini', differs: 'sha256' });
  // No name of a model, but of every object.
  assert.is(declareModel(FILE, wanted('https://h/a.gguf', { name: 'constructor' })).ok, true);
});

test('a role is set only where it has another model', () => {
  assert.equal(assignModel(FILE, { plugin: 'one', role: 'chat' }, 'mini'), []);
  assert.equal(assignModel(FILE, { plugin: 'two', role: 'a/b' }, 'mini'), [{ op: 'add', path: '/plugins/two/models/a~1b', value: 'mini' }]);
});

test('a removal takes the roles along, and a map that would be empty', () => {
  assert.equal(usesOf(FILE, 'mini'), [{ plugin: 'chat', role: 'chat' }, { plugin: 'one', role: 'chat' }]);
  assert.equal([usesOf(FILE, 'old'), usesOf({}, 'mini'), usesOf({ plugins: [] }, 'mini')], [[], [], []]);
  assert.equal(removeModel(FILE, 'mini', usesOf(FILE, 'mini')), [{ op: 'remove', path: '/plugins/chat/models/chat' }, { op: 'remove', path: '/plugins/one/models' }, { op: 'remove', path: '/models/mini' }]);
  assert.equal(removeModel(FILE, 'old', [{ plugin: 'two', role: 'chat' }]), [{ op: 'remove', path: '/models/old' }], 'a role that is not typed cannot be removed');
});

test.run();
