// People and their API keys: as the file declares them, and what a file that is not in force takes from them all the same.
import type { Key, User } from '../../schema/bkg.gen.ts';
import { holds, type Role } from '../../schema/scopes.ts';
import { type Base, joinPath } from './resolve-model.ts';
import type { Json, JsonObject } from './types.ts';

/** A bcrypt hash, or where the password stands: it is read when somebody signs in, never held. */
export type Password = { readonly kind: 'hash'; readonly hash: string } | { readonly kind: 'env'; readonly name: string } | { readonly kind: 'file'; readonly path: string };

export type DesiredUser = {
  readonly name: string;
  readonly role: Role;
  /** Null: nobody can sign in as them; their keys are good all the same. */
  readonly password: Password | null;
};

export type DesiredKey = {
  readonly id: string;
  readonly name: string | null;
  readonly user: string;
  readonly scopes: readonly string[];
  /** Each of these must hold a scope too: what was taken from the key and the file in force does not say yet. Usually none. */
  readonly within: readonly (readonly string[])[];
  /** bcrypt, of the secret alone. */
  readonly hash: string;
  /** The secret before the last rotation; `until` in milliseconds since 1970. */
  readonly previous: { readonly hash: string; readonly until: number } | null;
  /** Milliseconds since 1970. */
  readonly expires: number | null;
  readonly limits: { readonly requestsPerMinute: number | null; readonly tokensPerMinute: number | null; readonly concurrent: number | null };
  /** Null: all of them. */
  readonly plugins: readonly string[] | null;
};

export type People = { readonly users: readonly DesiredUser[]; readonly keys: readonly DesiredKey[] };

/** One thing taken from a user or a key. What is absent (null) is not touched. */
export type Denial = {
  readonly kind: 'user' | 'key';
  readonly id: string;
  /** What it is about: the credentials that the user or key had. With others it is somebody else. */
  readonly about: readonly string[];
  readonly removed: boolean;
  /** Of the credentials only these are still good. */
  readonly credentials: readonly string[] | null;
  readonly role: Role | null;
  /** Only what these hold too. */
  readonly scopes: readonly string[] | null;
  /** Milliseconds since 1970. */
  readonly expires: number | null;
  readonly plugins: readonly string[] | null;
};

/** `file`: a file that is not valid says so, and it lasts until one is. `api`: somebody revoked what the file could not be rid of; it lasts while the file goes on naming it. */
export type Denied = Denial & { readonly source: 'file' | 'api' };

// ─── As declared ────────────────────────────────────────────────────────────────────────────────────────────────────────

export const DAY_LENGTH = '2027-01-01'.length;

/** Milliseconds since 1970 of a day or a moment as the schema allows them; null for what is none (2027-02-31). */
export function instantOf(text: string): number | null {
  const at = Date.parse(text.length === DAY_LENGTH ? `${text}T00:00:00Z` : text);
  // What no month has rolls over into the next one.
  return Number.isNaN(at) || new Date(at).toISOString().slice(0, DAY_LENGTH) !== text.slice(0, DAY_LENGTH) ? null : at;
}

function passwordOf(user: Pick<User, 'password'>, base: Base): Password | null {
  const { hash, env, file } = user.password ?? {};
  if (hash !== undefined) return { kind: 'hash', hash };
  if (env !== undefined) return { kind: 'env', name: env };
  return file === undefined ? null : { kind: 'file', path: joinPath(base.configFolder, file.replace(/^file:/, '')) };
}

/** Of declared users and keys that are valid. */
export function resolvePeople(declared: { readonly users: Readonly<Record<string, User>>; readonly keys: Readonly<Record<string, Key>> }, base: Base): People {
  return {
    users: Object.entries(declared.users).map(([name, user]): DesiredUser => ({ name, role: user.role, password: passwordOf(user, base) })),
    keys: Object.entries(declared.keys).map(([id, key]): DesiredKey => ({
      id, name: key.name ?? null, user: key.user, scopes: key.scopes, within: [], hash: key.hash,
      previous: key.previous === undefined ? null : { hash: key.previous.hash, until: instantOf(key.previous.until) ?? 0 },
      expires: key.expires === undefined ? null : instantOf(key.expires) ?? 0,
      limits: { requestsPerMinute: key.limits?.requestsPerMinute ?? null, tokensPerMinute: key.limits?.tokensPerMinute ?? null, concurrent: key.limits?.concurrent ?? null },
      plugins: key.plugins ?? null,
    })),
  };
}

// ─── What is told of them ───────────────────────────────────────────────────────────────────────────────────────────────

const isObject = (value: Json | undefined): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
const textOf = (value: Json | undefined): string | null => (typeof value === 'string' ? value : null);
const textsOf = (value: Json | undefined): readonly string[] | null => (Array.isArray(value) && value.every((item) => typeof item === 'string') ? (value as readonly string[]) : null);
const sectionOf = (file: Json, name: string): JsonObject | null => {
  if (!isObject(file)) return null;
  const section = Object.hasOwn(file, name) ? file[name] : {};
  return isObject(section) ? section : null;
};
const memberOf = (map: JsonObject, key: string): Json | undefined => (Object.hasOwn(map, key) ? map[key] : undefined);

/** A user's one credential, as text that is the same for the same. */
const credentialOf = (password: Password | null): readonly string[] => (password === null ? [] : [password.kind === 'hash' ? password.hash : `${password.kind} ${password.kind === 'env' ? password.name : password.path}`]);
const credentialsOf = (key: DesiredKey): readonly string[] => (key.previous === null ? [key.hash] : [key.hash, key.previous.hash]);

const RANK: Readonly<Record<Role, number>> = { readonly: 0, developer: 1, admin: 2 };
const isRole = (text: string | null): text is Role => text !== null && Object.hasOwn(RANK, text);

const NOTHING = { removed: false, credentials: null, role: null, scopes: null, expires: null, plugins: null } as const;
const isNothing = (denial: Denial): boolean => !denial.removed && denial.credentials === null && denial.role === null && denial.scopes === null && denial.expires === null && denial.plugins === null;

function fromUser(user: DesiredUser, told: Json | undefined, base: Base): Denial {
  const about = credentialOf(user.password);
  const denial = { ...NOTHING, kind: 'user' as const, id: user.name, about };
  if (told === undefined) return { ...denial, removed: true };
  if (!isObject(told)) return denial;
  const role = textOf(memberOf(told, 'role'));
  const password = memberOf(told, 'password');
  const credentials = isObject(password) ? credentialOf(passwordOf({ password: password as NonNullable<User['password']> }, base)) : password === undefined || password === null ? [] : about;
  return {
    ...denial,
    role: isRole(role) && RANK[role] < RANK[user.role] ? role : null,
    credentials: about.every((one) => credentials.includes(one)) ? null : [],
  };
}

function fromKey(key: DesiredKey, told: Json | undefined): Denial {
  const about = credentialsOf(key);
  const denial = { ...NOTHING, kind: 'key' as const, id: key.id, about };
  if (told === undefined) return { ...denial, removed: true };
  if (!isObject(told)) return denial;
  const user = textOf(memberOf(told, 'user'));
  if (user !== null && user !== key.user) return { ...denial, removed: true };
  const previous = memberOf(told, 'previous');
  const hash = textOf(memberOf(told, 'hash'));
  const credentials = hash === null ? about : about.filter((one) => one === hash || (isObject(previous) && previous['hash'] === one));
  const scopes = textsOf(memberOf(told, 'scopes'));
  const until = textOf(memberOf(told, 'expires'));
  const expires = until === null ? null : instantOf(until);
  const plugins = textsOf(memberOf(told, 'plugins'));
  return {
    ...denial,
    credentials: credentials.length === about.length ? null : credentials,
    scopes: scopes === null || key.scopes.every((scope) => holds(scopes, scope)) ? null : scopes,
    expires: expires !== null && (key.expires === null || expires < key.expires) ? expires : null,
    plugins: plugins === null || key.plugins?.every((plugin) => plugins.includes(plugin)) === true ? null : plugins,
  };
}

/** What a file takes from the people in force. It may be invalid: what cannot be told of it takes nothing. References are resolved in it. */
export function takenAway(now: People, file: Json, base: Base): readonly Denial[] {
  const users = sectionOf(file, 'users');
  const keys = sectionOf(file, 'keys');
  return [
    ...(users === null ? [] : now.users.map((user) => fromUser(user, memberOf(users, user.name), base))),
    ...(keys === null ? [] : now.keys.map((key) => fromKey(key, memberOf(keys, key.id)))),
  ].filter((denial) => !isNothing(denial));
}

// ─── In force ───────────────────────────────────────────────────────────────────────────────────────────────────────────

const denyUser = (user: DesiredUser, denial: Denial): DesiredUser => ({
  ...user,
  role: denial.role !== null && RANK[denial.role] < RANK[user.role] ? denial.role : user.role,
  password: denial.credentials !== null && !credentialOf(user.password).every((one) => denial.credentials?.includes(one)) ? null : user.password,
});

function denyKey(key: DesiredKey, denial: Denial): DesiredKey | null {
  const good = (hash: string): boolean => denial.credentials === null || denial.credentials.includes(hash);
  const previous = key.previous !== null && good(key.previous.hash) ? key.previous : null;
  // Without its own hash the one before may go on to its end.
  if (!good(key.hash) && previous === null) return null;
  return {
    ...key, previous: good(key.hash) ? previous : null,
    hash: good(key.hash) ? key.hash : previous!.hash,
    within: denial.scopes === null ? key.within : [...key.within, denial.scopes],
    expires: earliest(denial.expires, good(key.hash) ? key.expires : earliest(key.expires, previous!.until)),
    plugins: denial.plugins === null ? key.plugins : (key.plugins ?? denial.plugins).filter((plugin) => denial.plugins!.includes(plugin)),
  };
}

const earliest = (a: number | null, b: number | null): number | null => (a === null || b === null ? a ?? b : Math.min(a, b));

const overlap = (one: readonly string[], other: readonly string[]): boolean => one.length + other.length === 0 || one.some((item) => other.includes(item));

/** Whether it is about this very user or key, who has not got other credentials since. */
const isAbout = (denial: Denial, people: People): boolean =>
  denial.kind === 'user'
    ? people.users.some((user) => user.name === denial.id && overlap(denial.about, credentialOf(user.password)))
    : people.keys.some((key) => key.id === denial.id && overlap(denial.about, credentialsOf(key)));

/** Those that a valid file leaves: what somebody revoked stays revoked while the file goes on naming it as it was. */
export const lasting = (denied: readonly Denied[], people: People): readonly Denied[] => denied.filter((denial) => denial.source === 'api' && isAbout(denial, people));

/** The people without what is denied them. A file can only take this way, never give. */
export function applyDenials(people: People, denied: readonly Denial[]): People {
  if (denied.length === 0) return people;
  const users = people.users.flatMap((user) => {
    const own = denied.filter((denial) => denial.kind === 'user' && denial.id === user.name);
    return own.some((denial) => denial.removed) ? [] : [own.reduce(denyUser, user)];
  });
  const keys = people.keys.flatMap((key) => {
    const own = denied.filter((denial) => denial.kind === 'key' && denial.id === key.id);
    if (own.some((denial) => denial.removed)) return [];
    const left = own.reduce<DesiredKey | null>((now, denial) => (now === null ? null : denyKey(now, denial)), key);
    return left === null ? [] : [left];
  });
  return { users, keys };
}

/** In words, for drift: what is denied to whom. */
export function inWords(denial: Denial): string {
  if (denial.removed) return 'revoked';
  const parts = [
    ...(denial.credentials === null ? [] : [denial.kind === 'user' ? 'password no longer good' : 'secret no longer good']),
    ...(denial.role === null ? [] : [`role at most ${denial.role}`]),
    ...(denial.scopes === null ? [] : [`scopes at most [${denial.scopes.join(', ')}]`]),
    ...(denial.expires === null ? [] : [`ends ${new Date(denial.expires).toISOString()}`]),
    ...(denial.plugins === null ? [] : [`plugins at most [${denial.plugins.join(', ')}]`]),
  ];
  return parts.join(', ');
}
