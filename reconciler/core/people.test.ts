// People as declared, and what a file that is not in force takes from them: it only ever takes.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { merged } from '../../schema/fixtures/merged.ts';
import { applyDenials, instantOf, inWords, lasting, resolvePeople, takenAway, type Denied, type People } from './people.ts';
import type { Json } from './types.ts';

const test = suite('people');
const BASE = { configFolder: '/etc/bkg', installation: '/opt/bkg' };
const HASH = (letter: string): string => `$2b$04$${letter.repeat(53)}`;
const FILE = {
  users: { root: { role: 'admin' as const, password: { hash: HASH('r') } }, dev: { role: 'developer' as const, password: { env: 'DEV_PASSWORD' } } },
  keys: {
    ci: { user: 'root', scopes: ['llm.*', 'config.read'], hash: HASH('c'), previous: { hash: HASH('p'), until: '2027-01-01' }, expires: '2028-01-01', plugins: ['llmserver', 'coder'] },
    bot: { user: 'dev', scopes: ['llm.chat'], hash: HASH('b') },
  },
};
const NOW: People = resolvePeople(FILE, BASE);

const told = (patch: Json): Json => merged(FILE, patch);
const denied = (file: Json, source: Denied['source'] = 'file'): readonly Denied[] => takenAway(NOW, file, BASE).map((denial) => ({ ...denial, source }));
const left = (file: Json): People => applyDenials(NOW, denied(file));
const key = (people: People, id: string) => people.keys.find((one) => one.id === id);
const user = (people: People, name: string) => people.users.find((one) => one.name === name);

test('days and moments, and those that no calendar has', () => {
  assert.is(instantOf('2027-01-01'), Date.UTC(2027, 0, 1));
  assert.is(instantOf('2027-01-01T12:30:00Z'), Date.UTC(2027, 0, 1, 12, 30));
  for (const none of ['2027-02-30', '2027-02-29', '2026-11-31']) assert.is(instantOf(none), null, none);
  assert.ok(instantOf('2028-02-29') !== null);
});

test('a file that says the same takes nothing, and one that gives more gives nothing', () => {
  assert.equal(denied(told({})), []);
  const more = told({ users: { dev: { role: 'admin' } }, keys: { bot: { scopes: ['*'] }, ci: { expires: null, plugins: null }, fresh: { user: 'root', scopes: ['*'], hash: HASH('f') } } });
  assert.equal(denied(more), []);
});

test('removed ones are gone, also with the whole section', () => {
  assert.is(key(left(told({ keys: { ci: null } })), 'ci'), undefined);
  assert.equal(left(told({ keys: null })).keys, []);
  assert.equal(left(told({ users: { root: null, dev: null } })).users, []);
  assert.is(key(left(told({ keys: { bot: { user: 'root' } } })), 'bot'), undefined, 'with another user it is another key');
});

test('what cannot be told of a broken section takes nothing', () => {
  for (const broken of ['a text', 7, ['list'], null]) assert.equal(denied({ ...FILE, keys: broken }), [], String(broken));
  assert.equal(denied(told({ keys: { ci: 'x' } })), []);
  assert.equal(denied(told({ keys: { ci: { scopes: 'llm.chat', expires: 5 } } })), []);
  assert.equal(denied('no map at all'), []);
});

test('a lower role, fewer scopes, an earlier end, fewer plugins', () => {
  assert.is(user(left(told({ users: { root: { role: 'readonly' } } })), 'root')?.role, 'readonly');
  const ci = key(left(told({ keys: { ci: { scopes: ['llm.chat'], expires: '2027-06-01', plugins: ['coder'] } } })), 'ci')!;
  assert.equal([ci.scopes, ci.within, ci.expires, ci.plugins], [['llm.*', 'config.read'], [['llm.chat']], Date.UTC(2027, 5, 1), ['coder']]);
});

test('another hash kills the old one and lets nothing new in', () => {
  const rotated = key(left(told({ keys: { ci: { hash: HASH('n') } } })), 'ci')!;
  assert.equal([rotated.hash, rotated.previous], [HASH('p'), null], 'the one before may go on to its end');
  assert.is(rotated.expires, Date.UTC(2027, 0, 1));
  assert.is(key(left(told({ keys: { bot: { hash: HASH('n') } } })), 'bot'), undefined);
  const without = key(left(told({ keys: { ci: { previous: null } } })), 'ci')!;
  assert.equal([without.hash, without.previous], [HASH('c'), null]);
  assert.is(user(left(told({ users: { root: { password: { hash: HASH('n') } } } })), 'root')?.password, null);
  assert.is(user(left(told({ users: { dev: { password: null } } })), 'dev')?.password, null);
});

test('denials of a file last to the next valid one, those of people while the file names what they are about', () => {
  const removed = told({ keys: { ci: null } });
  assert.equal(lasting(denied(removed), NOW), []);
  assert.is(lasting(denied(removed, 'api'), NOW).length, 1, 'an edit of something else does not bring it back');
  const rotated = resolvePeople({ ...FILE, keys: { ...FILE.keys, ci: { ...FILE.keys.ci, hash: HASH('n'), previous: { hash: HASH('m'), until: '2027-01-01' } } } }, BASE);
  assert.equal(lasting(denied(removed, 'api'), rotated), [], 'with another secret it is another key');
});

test('in words', () => {
  assert.is(inWords(denied(told({ keys: { ci: null } }))[0]!), 'revoked');
  assert.is(inWords(denied(told({ keys: { bot: { scopes: [] } } }))[0]!), 'scopes at most []');
  assert.not(JSON.stringify(denied(told({ keys: { ci: { hash: HASH('n') } } })).map(inWords)).includes('$2b$'), 'no hash is told');
});

test.run();
