// Whether somebody may make an edit: by the places that differ before and after it, whatever words it was sent in.
import { differences, type DesiredKey, type Json, type JsonObject, type Place, type Problem } from '../../reconciler/index.ts';
import { labelOf, pointerOf, tokensOf } from '../../schema/pointer.ts';
import { EVERYTHING, ROLES, type Role } from '../../schema/scopes.ts';
import { may, mayGive, type Somebody } from './somebody.ts';

/** Settings of a plugin that run no code and read no secret. */
const CONTROLS = new Set(['state', 'config', 'models']);
/** Those that do, or that let it call others. */
const POWERS = new Set(['use', 'manifest', 'env', 'grants', 'key']);

const isMap = (value: Json | undefined): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
const at = (value: Json | undefined, ...path: readonly string[]): Json | undefined => path.reduce<Json | undefined>((found, key) => (isMap(found) && Object.hasOwn(found, key) ? found[key] : undefined), value);
const textsOf = (value: Json | undefined): readonly string[] => (Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : []);

/** Whether it reads the environment or the disk of the machine. */
function hasReference(value: Json | undefined): boolean {
  if (typeof value === 'string') return /(?<!\$)\$\{env/.test(value) || value.startsWith('file:') || /^bundled:(?:\/|.*\.\.)/.test(value);
  return typeof value === 'object' && value !== null && Object.values(value).some((item) => hasReference(item as Json));
}

/** The scope that a change of this place needs. */
function scopeOf({ pointer, after }: Place, whole: { readonly after: Json }): string {
  const [section = '', name = '', field] = tokensOf(pointer);
  if (hasReference(after)) return EVERYTHING;
  switch (section) {
    case 'users': return field === 'password' && /\/(?:env|file)$/.test(pointer) && after !== undefined ? EVERYTHING : 'users.write';
    case 'keys': return 'keys.write';
    case 'models': return 'models.write';
    case 'plugins': {
      // Who may stop a plugin may remove it, with all that it holds.
      if (name === '' || field === undefined || at(whole.after, 'plugins', name) === undefined || CONTROLS.has(field)) return 'plugins.control';
      return POWERS.has(field) ? EVERYTHING : 'config.write';
    }
    case 'server': case '': return EVERYTHING;
    default: return 'config.write';
  }
}

const problem = (pointer: string, message: string, hint: string): Problem => ({ code: 'ScopeMissing', pointer, line: null, column: null, severity: 'error', message, hint });

const roleScopes = (role: Json | undefined): readonly string[] => (typeof role === 'string' && Object.hasOwn(ROLES, role) ? ROLES[role as Role] : []);

/** Nobody makes, changes or removes who may more than they, and nobody gives more than they have. */
function beyond(who: Somebody, before: Json, after: Json): readonly Problem[] {
  const changed = new Map(differences(before, after).flatMap(({ pointer }) => {
    const [section = '', name] = tokensOf(pointer);
    return (section === 'users' || section === 'keys') && name !== undefined ? [[pointerOf([section, name]), { section, name }] as const] : [];
  }));
  return [...changed].flatMap(([pointer, { section, name }]) => {
    const states = [at(before, section, name), at(after, section, name)];
    if (section === 'users') {
      const most = states.flatMap((user) => roleScopes(at(user, 'role'))).find((scope) => !mayGive(who, scope));
      return most === undefined ? [] : [problem(pointer, `${who.name} may not make, change or remove the user ${name}, who may more (${most}).`, 'Ask somebody with the role admin.')];
    }
    return keyBeyond(who, pointer, { name, states, before, after });
  });
}

/** What of a key reaches further than the key that makes it: its end, or a limit. */
function outlives(own: DesiredKey, made: Json): string | null {
  const ends = at(made, 'expires');
  if (own.expires !== null && (typeof ends !== 'string' || Date.parse(ends) > own.expires)) return 'expires';
  const wider = Object.entries(own.limits ?? {}).find(([name, most]) => {
    const limit = at(made, 'limits', name);
    return most !== null && (typeof limit !== 'number' || limit > most);
  });
  return wider === undefined ? null : `limits/${wider[0]}`;
}

function keyBeyond(who: Somebody, pointer: string, o: { readonly name: string; readonly states: readonly (Json | undefined)[]; readonly before: Json; readonly after: Json }): readonly Problem[] {
  const owners = o.states.flatMap((key) => (key === undefined ? [] : [at(key, 'user')]));
  const foreign = owners.find((owner) => owner !== who.user);
  if (foreign !== undefined && !may(who, 'users.write')) return [problem(pointer, `${who.name} may not make, change or revoke the key ${o.name} of ${String(foreign)}.`, 'Without the scope users.write keys are those of oneself.')];
  const most = o.states.flatMap((key) => textsOf(at(key, 'scopes'))).find((scope) => !mayGive(who, scope));
  if (most !== undefined) return [problem(pointer, `${who.name} may not make, change or revoke the key ${o.name}: it has the scope ${most}, which ${who.name} does not have.`, 'Nobody gives more than they have.')];
  const longer = who.key === null || o.states[1] === undefined ? null : outlives(who.key, o.states[1]);
  if (longer !== null) return [problem(`${pointer}/${longer}`, `${who.name} may not make the key ${o.name} less bound than itself: ${longer}.`, 'Nobody gives more than they have.')];
  const reached = at(o.states[1], 'plugins');
  const far = who.plugins !== null && o.states[1] !== undefined && (reached === undefined || textsOf(reached).some((plugin) => !who.plugins!.includes(plugin)));
  return far ? [problem(`${pointer}/plugins`, `${who.name} reaches only ${who.plugins!.join(', ')}, so the key ${o.name} may reach no other plugin.`, `Set plugins: [${who.plugins!.join(', ')}].`)] : [];
}

/** What an edit lacks; nothing when it may be made. */
export function judgeEdit(who: Somebody, before: Json, after: Json): readonly Problem[] {
  if (mayGive(who, EVERYTHING) && who.plugins === null) return [];
  const lacking = differences(before, after).flatMap((place) => {
    const scope = scopeOf(place, { after });
    const held = scope === EVERYTHING ? mayGive(who, EVERYTHING) : may(who, scope);
    if (!held) return [problem(place.pointer, `A change of ${labelOf(place.pointer)} needs ${scope === EVERYTHING ? 'the role admin, for it may run code or read secrets' : `the scope ${scope}`}; ${who.name} does not have that.`, 'Ask somebody who has it.')];
    const [section, name = ''] = tokensOf(place.pointer);
    const far = section === 'plugins' && who.plugins !== null && !who.plugins.includes(name);
    return far ? [problem(place.pointer, `${who.name} reaches only ${who.plugins!.join(', ')}, not ${name}.`, 'Ask somebody who reaches it.')] : [];
  });
  return [...lacking, ...beyond(who, before, after)];
}
