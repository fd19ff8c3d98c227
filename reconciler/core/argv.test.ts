// Templates become argv: values in place, optional groups whole or not at all, escapes kept.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ArgvValues, isKnownPlaceholder, placeholdersOf, substitute } from './argv.ts';

const values: ArgvValues = {
  port: 4000,
  data: '/var/data',
  models: { chat: { path: '/m/a b.gguf', name: 'mini' }, embed: null },
  config: { size: 2048, on: false, empty: '', none: null, list: [1, 'x'], deep: { er: 'y' } },
};
const run = (...template: (string | string[])[]): readonly string[] => substitute(template, values);

test('values of every kind', () => {
  assert.equal(
    run(
      'x',
      '--port={port}',
      '{data}/cache',
      '{models.chat}',
      '{models.chat.name}',
      '{config.size}',
      '{config.on}',
      '{config.empty}',
      '{config.list}',
      '{config.deep.er}',
    ),
    ['x', '--port=4000', '/var/data/cache', '/m/a b.gguf', 'mini', '2048', 'false', '', '[1,"x"]', 'y'],
  );
});

test('a group is whole or gone', () => {
  assert.equal(
    run(
      'x',
      ['-m', '{models.chat}'],
      ['-e', '{models.embed}'],
      ['--n', '{config.none}'],
      ['--q', '{config.absent}'],
      ['--on', '{config.on}'],
    ),
    ['x', '-m', '/m/a b.gguf', '--on', 'false'],
  );
  assert.equal(run('x', ['--both', '{models.chat}', '{models.embed.name}']), ['x']);
  assert.equal(run('x', ['--fixed']), ['x', '--fixed']);
});

test('outside a group a missing value throws', () => {
  assert.throws(() => run('x', '{models.embed}'), /no value/);
});

test('escapes and other braces stay text', () => {
  assert.equal(run('{{port}}', '{"a": {"b": 1}}', '{ port }', '{}', '{{{port}}}'), [
    '{port}',
    '{"a": {"b": 1}}',
    '{ port }',
    '{}',
    '{{port}}',
  ]);
});

test('values are not looked at again', () => {
  assert.equal(substitute(['{config.a}'], { ...values, config: { a: '{port} $& {{x}}' } }), ['{port} $& {{x}}']);
});

test('inherited members are no settings', () => {
  assert.equal(run(['{config.toString}'], ['{config.__proto__.x}'], ['{models.constructor}']), []);
});

test('the closed set of names', () => {
  const known = (name: string): boolean => isKnownPlaceholder(name, ['chat']);
  assert.equal(['port', 'data', 'models.chat', 'models.chat.name', 'config.a.b'].map(known), [true, true, true, true, true]);
  assert.equal(['host', 'models', 'models.other', 'models.chat.path', 'config.', 'env.X'].map(known), [
    false,
    false,
    false,
    false,
    false,
    false,
  ]);
});

test('placeholders with their place', () => {
  assert.equal(placeholdersOf(['a', '{port}', ['-m', '{models.chat}{{x}}']]), [
    { name: 'port', inGroup: false, path: [1] },
    { name: 'models.chat', inGroup: true, path: [2, 1] },
  ]);
});

test('an argument without braces is itself', () => {
  fc.assert(
    fc.property(fc.array(fc.string().map((text) => text.replaceAll('{', ''))), (args) => assert.equal(substitute(args, values), args)),
  );
});

test.run();
