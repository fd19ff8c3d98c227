// Who asks: a key never does more than its user, and a plugin that is bound to a key never more than that.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DesiredKey, DesiredUser } from '../../reconciler/index.ts';
import { makeHouse } from '../testing/house.ts';
import { asPlugin, both, directories, may, mayGive, OWNER, reaches } from './somebody.ts';

const test = suite('somebody');
const NO_LIMITS = { requestsPerMinute: null, tokensPerMinute: null, concurrent: null };
const keyOf = (id: string, user: string, more: Partial<DesiredKey> = {}): DesiredKey => ({ id, name: null, user, scopes: ['*'], within: [], hash: 'h', previous: null, expires: null, limits: NO_LIMITS, plugins: null, ...more });
const USERS: readonly DesiredUser[] = [{ name: 'anna', role: 'admin', password: null }, { name: 'ro', role: 'readonly', password: null }];

test('a key is cut by its user, and by what was taken from it', () => {
  const house = makeHouse({ users: USERS, keys: [keyOf('a', 'anna'), keyOf('b', 'ro'), keyOf('c', 'anna', { within: [['llm.*']] }), keyOf('d', 'nobody')] });
  const { key } = directories(house.reconciler.snapshot)();
  assert.ok(may(key('a')!.who, 'users.write'));
  assert.not(may(key('b')!.who, 'users.write'));
  assert.ok(may(key('b')!.who, 'llm.chat'));
  assert.not(mayGive(key('b')!.who, '*'));
  assert.equal([may(key('c')!.who, 'llm.chat'), may(key('c')!.who, 'config.read')], [true, false]);
  assert.is(key('d'), null, 'a key of nobody is none');
});

test('people that change are looked up anew', () => {
  const house = makeHouse({ users: USERS, keys: [keyOf('a', 'anna')] });
  const directory = directories(house.reconciler.snapshot);
  assert.is(directory(), directory(), 'while they stay the look-ups are the same');
  assert.ok(directory().key('a') !== null);
  house.show({ users: USERS, keys: [] });
  assert.is(directory().key('a'), null);
});

test('a plugin has its grants, and less where it is bound to a key', () => {
  const plugins = (key?: string) => [{ id: 'worker', grants: ['llm.chat', 'repo.read'], ...(key === undefined ? {} : { key }) }];
  const keys = [keyOf('k', 'ro', { scopes: ['llm.chat', 'repo.read'], limits: { ...NO_LIMITS, requestsPerMinute: 3 }, plugins: ['engine'] }), keyOf('old', 'anna', { expires: 1 })];
  const as = (key?: string) => asPlugin('worker', makeHouse({ plugins: plugins(key), users: USERS, keys }).reconciler.snapshot(), 2);
  assert.equal([may(as(), 'llm.chat'), may(as(), 'repo.read'), may(as(), 'llm.embed'), as().key], [true, true, false, null]);
  assert.equal([may(as('k'), 'llm.chat'), may(as('k'), 'repo.read'), as('k').key?.limits.requestsPerMinute, reaches(as('k'), 'other')], [true, false, 3, false]);
  for (const gone of ['nowhere', 'old']) assert.not(may(as(gone), 'llm.chat'), gone);
});

test('of two behind a call both must hold it', () => {
  const one = { ...OWNER, plugins: ['a', 'b'] };
  const other = { ...OWNER, grants: [['llm.chat']], plugins: ['b', 'c'] };
  const together = both(one, other);
  assert.equal([may(together, 'llm.chat'), may(together, 'config.read'), together.plugins], [true, false, ['b']]);
});

test.run();
