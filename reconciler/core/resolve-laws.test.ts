// What must hold of resolve for any file: same in, same out; an edit moves only what it changes; nothing is thrown at the owner.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { good, onlyPlugin, pluginOf, run } from './resolve-sample.ts';
import type { Json } from './types.ts';

const settings = fc.record(
  {
    size: fc.integer({ min: 1, max: 9999 }),
    temperature: fc.double({ min: 0, max: 2, noNaN: true }).map((n) => n + 0),
    live: fc.record({ a: fc.integer() }),
  },
  { requiredKeys: [] },
);
const anyPlugin = fc.record(
  {
    state: fc.constantFrom('running', 'stopped', 'ondemand'),
    config: settings,
    env: fc.dictionary(
      fc.stringMatching(/^A[A-Z]{0,4}$/),
      fc.string().map((text) => text.replaceAll('$', '')),
    ),
    models: fc.record({ chat: fc.constant('mini'), embed: fc.constant('mini') }, { requiredKeys: [] }),
  },
  { requiredKeys: [] },
);
const file = (plugins: Json): Json => ({ version: 1, models: { mini: { source: 'file:m.gguf' } }, plugins });

test('the same input gives the same result, and is left as it is', () => {
  fc.assert(
    fc.property(anyPlugin, anyPlugin, (a, b) => {
      const declared = file({ a, b } as unknown as Json);
      const text = JSON.stringify(declared);
      const first = run(declared);
      assert.equal({ ...run(JSON.parse(text) as Json), told: null }, { ...first, told: null });
      assert.is(JSON.stringify(declared), text);
    }),
    { numRuns: 60 },
  );
});

test('an edit of one plugin changes nothing of another', () => {
  fc.assert(
    fc.property(anyPlugin, anyPlugin, anyPlugin, (a, other, b) => {
      assert.equal(pluginOf(good(file({ a: other, b } as unknown as Json)), 'b'), pluginOf(good(file({ b, a } as unknown as Json)), 'b'));
    }),
    { numRuns: 60 },
  );
});

test("live settings change the settings' hash and never the launch", () => {
  fc.assert(
    fc.property(anyPlugin, fc.double({ min: 0, max: 2, noNaN: true }), fc.integer(), (plugin, temperature, a) => {
      const before = onlyPlugin(plugin as unknown as Json);
      const after = onlyPlugin({ ...plugin, config: { ...plugin.config, temperature: temperature + 0, live: { a } } } as unknown as Json);
      assert.is(after.launchHash, before.launchHash);
      assert.is(after.configHash === before.configHash, JSON.stringify(after.config) === JSON.stringify(before.config));
    }),
    { numRuns: 60 },
  );
});

test('any value at all is answered, not thrown at', () => {
  const known = fc.constantFrom(
    'version',
    'plugins',
    'models',
    'server',
    'keys',
    'users',
    'config',
    'env',
    'use',
    'manifest',
    'needs',
    'source',
    'a',
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5 },
      fc.constantFrom(null, 1, true, 'a', '${env:A}', '${env:', []),
      fc.dictionary(known, tie('tree')),
      fc.array(tie('tree'), { maxLength: 2 }),
    ),
  }));
  fc.assert(
    fc.property(tree, (value) => {
      const { desired, problems } = run(value as Json);
      assert.is(
        desired === null,
        problems.some((problem) => problem.severity === 'error'),
      );
    }),
    { numRuns: 500, examples: [[{ keys: { version: '${env:A}' }, users: { version: [] } }]] },
  );
});

test.run();
