// What an edit did: every place that differs, and one deed for each thing it is about.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { deedsOf, differences } from './changes.ts';
import type { Json } from './types.ts';

const test = suite('changes');
const deeds = (before: Json, after: Json): readonly string[] => deedsOf(before, after).map(({ action, target }) => `${action} ${target}`);

test('places: leaves of maps, lists as a whole, what was and is', () => {
  assert.equal(differences({ a: { b: 1, c: [1, 2] } }, { a: { b: 1, c: [1, 3] }, d: {} }), [
    { pointer: '/a/c', before: [1, 2], after: [1, 3] }, { pointer: '/d', before: undefined, after: {} },
  ]);
  assert.equal(differences({ a: 'x' }, { a: { 'b/c': 1 } }).map(({ pointer }) => pointer), ['/a', '/a/b~1c']);
  assert.equal(differences(JSON.parse('{"__proto__": {"x": 1}}') as Json, {}).map(({ pointer }) => pointer), ['/__proto__/x']);
});

test('nothing differs exactly where the values are the same', () => {
  fc.assert(fc.property(fc.jsonValue(), fc.jsonValue(), (one, other) => (differences(one as Json, other as Json).length === 0) === (JSON.stringify(sorted(one)) === JSON.stringify(sorted(other)))));
  fc.assert(fc.property(fc.jsonValue(), (value) => differences(value as Json, JSON.parse(JSON.stringify(value)) as Json).length === 0));
});

const sorted = (value: unknown): unknown =>
  (Array.isArray(value) ? value.map(sorted) : typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => [key, sorted(item)])) : Object.is(value, -0) ? 0 : value);

test('deeds by what they are about', () => {
  const before: Json = { plugins: { a: { state: 'running' }, b: {} }, users: { x: { role: 'admin' } }, keys: { k: { hash: '1', scopes: [] } }, models: { m: { source: 's' } } };
  assert.equal(deeds(before, { ...(before as object), plugins: { a: { state: 'stopped' }, c: {} } } as Json), ['plugin.stop a', 'plugin.remove b', 'plugin.add c']);
  assert.equal(deeds(before, { ...(before as object), keys: { k: { hash: '2', scopes: [] } } } as Json), ['key.rotate k']);
  assert.equal(deeds(before, { ...(before as object), keys: { k: { hash: '1', scopes: ['a.b'] }, n: { hash: '3' } } } as Json), ['key.update k', 'key.create n']);
  assert.equal(deeds(before, { ...(before as object), keys: {} } as Json), ['key.revoke k']);
  assert.equal(deeds(before, { ...(before as object), users: { x: { role: 'readonly' }, y: { role: 'admin' } } } as Json), ['user.update x', 'user.create y']);
  assert.equal(deeds(before, { ...(before as object), users: { x: { role: 'admin', password: { hash: 'h' } } } } as Json), ['user.password x']);
  assert.equal(deeds(before, { ...(before as object), server: { host: 'h', ports: { web: 1 } }, memory: '1GiB' } as Json), ['config.update bkg.yaml']);
});

test.run();
