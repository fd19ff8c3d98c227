// Users and keys as a file types them, less what has been denied since: what a rollback keeps.
import { holds } from '../../schema/scopes.ts';
import { DAY_LENGTH, type DesiredKey, type DesiredUser, type People } from './people.ts';
import type { Json, JsonObject } from './types.ts';

/** The sections of the file that declare people, as typed. */
export type TypedPeople = { readonly users: JsonObject; readonly keys: JsonObject };

const isMap = (value: Json | undefined): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
const without = (value: JsonObject, ...names: readonly string[]): JsonObject => Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)));
const asText = (instant: number): string => new Date(instant).toISOString().replace(new RegExp(`^(.{${DAY_LENGTH}})T00:00:00\\.000Z$`), '$1');

/** What a scope list is worth within others. */
const narrowed = (scopes: readonly string[], within: DesiredKey['within']): readonly string[] =>
  within.reduce((left, bound) => [...left.filter((scope) => holds(bound, scope)), ...bound.filter((scope) => !left.includes(scope) && holds(left, scope))], scopes);

function userLike(typed: JsonObject, before: DesiredUser, now: DesiredUser): JsonObject {
  const kept = now.password === null && before.password !== null ? without(typed, 'password') : typed;
  return now.role === before.role ? kept : { ...kept, role: now.role };
}

function keyLike(typed: JsonObject, before: DesiredKey, now: DesiredKey): JsonObject {
  const kept = now.previous === null && before.previous !== null ? without(typed, 'previous') : typed;
  return {
    ...kept,
    ...(now.hash === before.hash ? {} : { hash: now.hash }),
    ...(now.within.length === before.within.length ? {} : { scopes: narrowed(now.scopes, now.within) }),
    ...(now.expires === before.expires || now.expires === null ? {} : { expires: asText(now.expires) }),
    ...(now.plugins === before.plugins || now.plugins === null ? {} : { plugins: now.plugins }),
  };
}

function section<Person>(typed: Json | undefined, people: { readonly before: ReadonlyMap<string, Person>; readonly now: ReadonlyMap<string, Person> }, like: (typed: JsonObject, before: Person, now: Person) => JsonObject): JsonObject {
  if (!isMap(typed)) return {};
  return Object.fromEntries(Object.entries(typed).flatMap(([id, value]): [string, Json][] => {
    const [before, now] = [people.before.get(id), people.now.get(id)];
    // Somebody who counts for nothing for another reason than a denial stays as typed.
    if (before === undefined || !isMap(value)) return [[id, value]];
    return now === undefined ? [] : [[id, now === before ? value : like(value, before, now)]];
  }));
}

/**
 * The people of a file's values, as typed; who has been denied something since stands there without it. `before`: as the file declares them, `now`:
 * as they are in force (applyDenials leaves who is denied nothing the same object).
 */
export function keptPeople(value: Json, before: People, now: People): TypedPeople {
  const users = (people: People): ReadonlyMap<string, DesiredUser> => new Map(people.users.map((user) => [user.name, user]));
  const keys = (people: People): ReadonlyMap<string, DesiredKey> => new Map(people.keys.map((key) => [key.id, key]));
  const typed = isMap(value) ? value : {};
  return {
    users: section(typed['users'], { before: users(before), now: users(now) }, userLike),
    keys: section(typed['keys'], { before: keys(before), now: keys(now) }, keyLike),
  };
}
