// What differs between two declared states: the places, for the rights an edit needs, and the deeds, for the audit.
import { escapeToken, pointerOf, tokensOf } from '../../schema/pointer.ts';
import type { Json, JsonObject } from './types.ts';

export type Place = { readonly pointer: string; /** Undefined where nothing stood, or stands. */ readonly before: Json | undefined; readonly after: Json | undefined };

/** One thing that somebody did. */
export type Deed = { readonly action: string; readonly target: string; /** The places it was done at; no values. */ readonly places: readonly string[] };

const isMap = (value: Json | undefined): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
const memberOf = (value: Json | undefined, key: string): Json | undefined => (isMap(value) && Object.hasOwn(value, key) ? value[key] : undefined);

/** Whether two values say the same, whatever the order of their members. */
export function same(one: Json | undefined, other: Json | undefined): boolean {
  if (one === other) return true;
  if (Array.isArray(one) && Array.isArray(other)) return one.length === other.length && one.every((item: Json, index) => same(item, (other as readonly Json[])[index]));
  if (!isMap(one) || !isMap(other)) return false;
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => Object.hasOwn(other, key) && same(one[key], other[key]));
}

/** Every place whose value differs, down to the leaves of maps; a list is one place. An empty map is a place too. */
export function differences(before: Json | undefined, after: Json | undefined, pointer = ''): readonly Place[] {
  if (same(before, after)) return [];
  const keys = new Set([...(isMap(before) ? Object.keys(before) : []), ...(isMap(after) ? Object.keys(after) : [])]);
  const goesOn = (value: Json | undefined): boolean => value === undefined || isMap(value);
  // A map in the place of something else is told as it stands, so that nothing hides below it.
  if (keys.size === 0 || !goesOn(before) || !goesOn(after)) return [{ pointer, before, after }, ...(keys.size === 0 ? [] : below(isMap(before) ? before : undefined, isMap(after) ? after : undefined, { pointer, keys }))];
  return below(before, after, { pointer, keys });
}

const below = (before: Json | undefined, after: Json | undefined, at: { readonly pointer: string; readonly keys: ReadonlySet<string> }): readonly Place[] =>
  [...at.keys].flatMap((key) => differences(memberOf(before, key), memberOf(after, key), `${at.pointer}/${escapeToken(key)}`));

const NOUNS: Readonly<Record<string, string>> = { users: 'user', keys: 'key', plugins: 'plugin', models: 'model' };

/** What was done to one user, key, plugin or model. */
function verbOf(section: string, before: Json | undefined, after: Json | undefined): string {
  const person = section === 'users' || section === 'keys';
  if (before === undefined) return person ? 'create' : 'add';
  if (after === undefined) return section === 'keys' ? 'revoke' : 'remove';
  if (section === 'keys' && !same(memberOf(before, 'hash'), memberOf(after, 'hash'))) return 'rotate';
  if (section === 'users' && !same(memberOf(before, 'password'), memberOf(after, 'password'))) return 'password';
  const state = memberOf(after, 'state');
  if (section === 'plugins' && !same(memberOf(before, 'state'), state)) return state === 'stopped' ? 'stop' : state === 'ondemand' ? 'ondemand' : 'start';
  return 'update';
}

/** What an edit did: one deed for each user, key, plugin and model, and one for all that is left. */
export function deedsOf(before: Json, after: Json): readonly Deed[] {
  const deeds = new Map<string, Deed>();
  for (const { pointer } of differences(before, after)) {
    const [section = '', name] = tokensOf(pointer);
    const noun = name === undefined ? undefined : NOUNS[section];
    const unit = noun === undefined ? '' : pointerOf([section, name!]);
    const known = deeds.get(unit);
    const verb = noun === undefined ? '' : verbOf(section, memberOf(memberOf(before, section), name!), memberOf(memberOf(after, section), name!));
    deeds.set(unit, known === undefined ? { action: noun === undefined ? 'config.update' : `${noun}.${verb}`, target: name === undefined || noun === undefined ? 'bkg.yaml' : name, places: [pointer] } : { ...known, places: [...known.places, pointer] });
  }
  return [...deeds.values()];
}
