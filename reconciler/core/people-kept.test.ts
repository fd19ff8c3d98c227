// What a rollback keeps of users and keys: everything as typed, less what was denied.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { applyDenials, resolvePeople, takenAway, type Denial } from './people.ts';
import { keptPeople, type TypedPeople } from './people-kept.ts';
import type { Json, JsonObject } from './types.ts';

const base = { configFolder: '/etc/bkg', installation: '/opt/bkg' };
const value = {
  version: 1,
  users: { anna: { role: 'admin', password: { hash: '$2b$12$anna' } }, ben: { role: 'developer', password: { env: 'BEN' } } },
  keys: {
    ci: { user: 'anna', scopes: ['llm.*', 'config.read'], hash: '$2b$04$new', previous: { hash: '$2b$04$old', until: '2099-01-01' }, limits: { concurrent: 2 } },
    far: { user: 'ben', scopes: ['llm.chat'], hash: '$2b$04$far', expires: '2098-01-01' },
  },
};
const people = resolvePeople(value as unknown as Parameters<typeof resolvePeople>[0], base);
const kept = (denied: readonly Denial[]): TypedPeople => keptPeople(value as Json, people, applyDenials(people, denied));
/** What a file with this in the place of that takes. */
const taking = (change: (file: { users: Record<string, JsonObject>; keys: Record<string, JsonObject> }) => void): readonly Denial[] => {
  const file = JSON.parse(JSON.stringify(value)) as Parameters<typeof change>[0];
  change(file);
  return takenAway(people, file as unknown as Json, base);
};

test('who is denied nothing stays as typed, to the letter', () => {
  assert.equal(kept([]), { users: value.users, keys: value.keys });
  assert.equal(keptPeople({ version: 1 }, { users: [], keys: [] }, { users: [], keys: [] }), { users: {}, keys: {} });
});

test('who was removed is gone, the others are not touched', () => {
  const { users, keys } = kept(taking((file) => { delete file.users['ben']; delete file.keys['ci']; }));
  assert.equal(users, { anna: value.users.anna });
  assert.equal(keys, { far: value.keys.far });
});

test('what was narrowed is written as narrow', () => {
  const { users, keys } = kept(taking((file) => {
    file.users['anna'] = { role: 'readonly', password: { hash: '$2b$12$anna' } };
    file.users['ben'] = { role: 'developer' };
    file.keys['ci'] = { ...value.keys.ci, scopes: ['llm.chat', 'config.write'], expires: '2097-01-01', plugins: ['llmserver'] } as unknown as JsonObject;
    file.keys['far'] = { ...value.keys.far, expires: '2097-06-01T12:00:00Z' };
  }));
  assert.equal(users, { anna: { ...value.users.anna, role: 'readonly' }, ben: { role: 'developer' } });
  assert.equal(keys, { ci: { ...value.keys.ci, scopes: ['llm.chat'], expires: '2097-01-01', plugins: ['llmserver'] }, far: { ...value.keys.far, expires: '2097-06-01T12:00:00.000Z' } });
});

test('of secrets only those that are still good stand there', () => {
  const only = (change: JsonObject): Json | undefined => kept(taking((file) => { file.keys['ci'] = change; })).keys['ci'];
  const { previous, ...rest } = value.keys.ci;
  assert.equal(only(rest), rest, 'the one before is gone');
  assert.equal(only({ ...rest, hash: previous.hash }), { ...rest, hash: previous.hash, expires: '2099-01-01' }, 'the one before goes on to its end');
  assert.is(only({ ...rest, hash: '$2b$04$another' }), undefined);
});

test.run();
