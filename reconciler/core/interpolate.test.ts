// References become values of the right type, escapes come back, what is missing is said, and nothing else is touched.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { declaredSchema } from '../../schema/walk.ts';
import { type Env, type Interpolated, escapeReferences, interpolate, isReference } from './interpolate.ts';
import type { Json } from './types.ts';

const run = (value: Json, env: Env = {}): Interpolated => interpolate(value, { env, pointer: '', schema: declaredSchema });
const text = (value: string, env: Env = {}): Json => interpolate(value, { env, pointer: '', schema: null }).value;

test('a whole scalar takes the type of the schema', () => {
  const file = {
    server: { ports: { web: '${env:PORT}', api: '${env:NONE:-43119}', bus: 'x${env:PORT}' } },
    plugins: { p: { env: { N: '${env:PORT}' } } },
  };
  assert.equal(run(file, { PORT: '80' }).value, {
    server: { ports: { web: 80, api: 43119, bus: 'x80' } },
    plugins: { p: { env: { N: '80' } } },
  });
  const schema = { properties: { n: { type: 'number' }, b: { type: 'boolean' }, big: { type: 'integer' }, any: {} } };
  const settings = { n: '${env:A}', b: '${env:B}', big: '${env:C}', any: '${env:A}' };
  assert.equal(interpolate(settings, { env: { A: '1.5e3', B: 'true', C: '99999999999999999999' }, pointer: '', schema }).value, {
    n: 1500,
    b: true,
    big: '99999999999999999999',
    any: '1.5e3',
  });
});

test('defaults, also for what is set but empty', () => {
  assert.is(text('${env:A:-x}'), 'x');
  assert.is(text('${env:A:-x}', { A: '' }), 'x');
  assert.is(text('${env:A:-}'), '');
  assert.is(text('${env:A}', { A: '' }), '');
  assert.is(text('${env:A:-hf://o/r/p@main}'), 'hf://o/r/p@main');
  assert.is(text('a ${env:A} b ${env:B:-c} d', { A: '1' }), 'a 1 b c d');
});

test('what comes out of the environment is not looked at again', () => {
  assert.is(text('${env:A}', { A: '${env:B}', B: 'no' }), '${env:B}');
});

test('escapes, and other things with a dollar', () => {
  assert.is(text('$${env:A}'), '${env:A}');
  assert.is(text('$$${env:A}', { A: 'x' }), '$${env:A}');
  assert.is(text('${PORT} $HOME $$ ${x:-y}'), '${PORT} $HOME $$ ${x:-y}');
});

test('missing and malformed references are problems with their place', () => {
  const { problems, value } = run({ plugins: { p: { env: { A: '${env:GONE}', B: '${env:}', C: '${env:A', D: '${env.X}' } } } });
  assert.equal(
    problems.map((problem) => [problem.code, problem.pointer]),
    [
      ['MissingReference', '/plugins/p/env/A'],
      ['BadReference', '/plugins/p/env/B'],
      ['BadReference', '/plugins/p/env/C'],
      ['BadReference', '/plugins/p/env/D'],
    ],
  );
  assert.match(problems[0]?.message ?? '', /plugins\.p\.env\.A wants the environment variable GONE/);
  assert.match(problems[0]?.hint ?? '', /Set GONE before bkg starts/);
  assert.equal(value, { plugins: { p: { env: { A: '${env:GONE}', B: '${env:}', C: '${env:A', D: '${env.X}' } } } });
});

test('names of the objects of the language are no variables', () => {
  assert.is(interpolate('${env:constructor}', { env: Object.create(null) as Env, pointer: '', schema: null }).problems.length, 1);
  assert.is(interpolate('${env:toString}', { env: {}, pointer: '', schema: null }).problems.length, 1);
});

test('tells which places came out of the environment', () => {
  assert.equal([...run({ a: ['x', '${env:A:-b}'], c: '$${env:B}' }).resolved].slice(0, 1), ['/a/1']);
});

test('keys stay, skipped parts stay, what holds no reference is the same object', () => {
  const value = { '${env:A}': { x: 'plain' }, skip: { y: '${env:A}' } };
  const done = interpolate(value, { env: {}, pointer: '', schema: null }, (path) => path[0] === 'skip');
  assert.is(done.value, value);
  assert.equal(done.problems, []);
});

test('round trip: escaped, anything comes back as it was', () => {
  const part = fc.constantFrom('$', '{', '}', '${', '$${', '${env:A}', '${env:A:-b}', 'env:', 'x');
  const anyText = fc.oneof(
    fc.string(),
    fc.array(part).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(anyText, (original) => {
      const done = interpolate(escapeReferences(original), { env: { A: 'SECRET' }, pointer: '', schema: null });
      assert.is(done.value, original);
      assert.equal(done.problems, []);
    }),
    { numRuns: 1000 },
  );
});

test('round trip: any value of a variable arrives unchanged', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string(), (value, around) => {
      const before = escapeReferences(around.replaceAll('$', ''));
      assert.is(text(`${before}\${env:A}`, { A: value }), around.replaceAll('$', '') + value);
    }),
  );
});

test('whole references are known as such', () => {
  assert.equal(['${env:A}', '${env:A:-x}', 'x${env:A}', '$${env:A}', 3].map(isReference), [true, true, false, false, false]);
});

test.run();
