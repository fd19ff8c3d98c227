// People and API keys over HTTP: every change is an edit of the file, and no secret is told twice.
import { randomBytes } from 'node:crypto';
import type { DesiredKey, DesiredUser, Json, JsonObject, PatchOperation } from '../../reconciler/index.ts';
import { inlined, schemaAt, type Schema } from '../../schema/walk.ts';
import { escapeToken } from '../../schema/pointer.ts';
import { makeSecret } from '../auth/keys.ts';
import { commit } from '../edit.ts';
import { lookUp } from '../mask.ts';
import { failure, refusalIn } from '../problem.ts';
import { ANY, type Answer, type Call, type Route, TEXT, durationOf, flagOf, json, list, object, route } from '../route.ts';
import { hashFor } from './auth.ts';

/** How long the secret before a rotation is good yet. */
const OVERLAP_MS = 24 * 3_600_000;
const OVERLAP_MAX_MS = 30 * 24 * 3_600_000;
const PASSWORD_MAX = 1_000;
/** Of an id that nobody chose. */
const ID_BYTES = 4;
const ID_MAX = 63;

const NULLABLE = (schema: Schema): Schema => ({ anyOf: [schema, { type: 'null' }] });
const declared = (pointer: string): Schema => inlined(schemaAt(pointer) ?? {});
const ID = declared('/keys/x/user');

// ─── Users ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const ROLE = declared('/users/x/role');
const PASSWORD: Schema = { type: 'string', minLength: 1, maxLength: PASSWORD_MAX, 'x-secret': true, description: 'Its bcrypt hash goes into the file.' };
const NEW_USER: Schema = { type: 'object', required: ['name', 'role'], additionalProperties: false, properties: { name: { ...ID, description: 'Lower-case letters, digits and hyphens, 63 at most.' }, role: ROLE, password: PASSWORD } };
const USER_CHANGE: Schema = { type: 'object', minProperties: 1, additionalProperties: false, properties: { role: ROLE, password: NULLABLE(PASSWORD) } };

/** When each was first seen and last used, looked up once for a whole list. */
type Seen = ReadonlyMap<string, { readonly createdAt: string; readonly lastUsedAt: string | null }>;
const seenOf = (call: Call, what: 'user' | 'key'): Seen => new Map(call.house.reconciler.seen(what).map((one) => [one.id, one]));

async function userView(call: Call, user: DesiredUser, all = seenOf(call, 'user')): Promise<JsonObject> {
  const { access, reconciler } = call.house;
  const seen = all.get(user.name);
  const { keys } = reconciler.snapshot().desired;
  return {
    name: user.name, role: user.role, password: user.password?.kind ?? null, canSignIn: await access.passwords.canSignIn(user), sessions: access.sessions.list(user.name).filter((row) => access.sessions.isBoundTo(row, access.passwords.credentialOf(user))).length,
    keys: keys.filter((key) => key.user === user.name).map((key) => key.id), createdAt: seen?.createdAt ?? null, lastUsedAt: seen?.lastUsedAt ?? null,
  };
}

function userOf(call: Call): DesiredUser {
  const name = call.params['name'] ?? '';
  const found = call.house.reconciler.snapshot().desired.users.find((user) => user.name === name);
  if (found === undefined) throw failure({ status: 404, code: 'UserUnknown', detail: `There is no user ${name}. GET /admin/users lists them.` });
  return found;
}

type Change = { readonly operations: readonly PatchOperation[]; /** Where to find it. */ readonly path: string; /** Where it stands in the file. */ readonly pointer: string; readonly denies?: boolean; /** What to say where something stands there: nobody else's is written over. */ readonly taken?: () => Error };

/** A removal must go through also where nothing can be read. */
const NOTHING = { text: '', revision: '', value: {} };

/** Makes the edit; answers with what the house now has there, and its revision. */
async function edited(call: Call, change: Change, view: () => JsonObject | Promise<JsonObject>, status = 200): Promise<Answer> {
  const dryRun = flagOf(call.query, 'dryRun');
  const read = await call.house.reconciler.read().catch((error: unknown) => {
    if (change.operations.every(({ op }) => op === 'remove')) return NOTHING;
    throw error;
  });
  const edit = { read, change: { operations: change.operations }, ifRevision: null, denies: change.denies ?? true, ...(change.taken === undefined ? {} : { free: change.pointer }) };
  const done = await commit(call, edit, dryRun).catch((error: unknown) => { throw refusalIn(error)?.code === 'PlaceTaken' ? change.taken!() : error; });
  const problems = done.problems.filter((problem) => problem.pointer.startsWith(change.pointer)) as unknown as Json;
  if (dryRun) return json({ dryRun: true, diff: done.shown, problems });
  return json({ ...(await view()), revision: done.revision, operation: `edit-${done.seq}`, problems }, { status, headers: status === 201 ? { location: change.path } : {} });
}

/** A removal counts at once, also where the file cannot be written, or is no good: then it is a denial, and says so. */
async function removed(call: Call, pointer: string, what: JsonObject): Promise<Answer> {
  try {
    return await edited(call, { operations: [{ op: 'remove', path: pointer }], path: '', pointer }, () => ({ ...what, written: true }));
  } catch (error) {
    const refusal = refusalIn(error);
    const denied = refusal?.more?.['denied'];
    if (refusal === null || !Array.isArray(denied) || denied.length === 0) throw error;
    return json({ ...what, written: false, message: `This is denied from now on, but bkg.yaml does not say so: ${refusal.detail}`, ...(typeof refusal.more?.['diff'] === 'string' ? { diff: refusal.more['diff'] } : {}) });
  }
}

async function addUser(call: Call): Promise<Answer> {
  const { name, role, password } = call.body as { readonly name: string; readonly role: string; readonly password?: string };
  const { desired } = call.house.reconciler.snapshot();
  const taken = (): Error => failure({ status: 409, code: 'UserExists', detail: `There is a user ${name} already. PUT /admin/users/${name} changes them.` });
  if (desired.users.some((user) => user.name === name)) throw taken();
  const value = { role, ...(password === undefined ? {} : { password: { hash: await hashFor(password) } }) };
  const find = (): Promise<JsonObject> => userView(call, userOf({ ...call, params: { name } }));
  return edited(call, { operations: [{ op: 'add', path: `/users/${escapeToken(name)}`, value }], path: `/admin/users/${name}`, pointer: `/users/${escapeToken(name)}`, taken }, find, 201);
}

async function changeUser(call: Call): Promise<Answer> {
  const user = userOf(call);
  const { role, password } = call.body as { readonly role?: string; readonly password?: string | null };
  const at = `/users/${escapeToken(user.name)}`;
  if (password === null || (role !== undefined && role !== 'admin')) await keepAnAdmin(call, user);
  const operations: PatchOperation[] = role === undefined ? [] : [{ op: 'add', path: `${at}/role`, value: role }];
  if (password === null && user.password !== null) operations.push({ op: 'remove', path: `${at}/password` });
  if (typeof password === 'string') operations.push({ op: 'add', path: `${at}/password`, value: { hash: await hashFor(password) } });
  return edited(call, { operations, path: '', pointer: at }, () => userView(call, userOf(call)));
}

/** The last one who can sign in and may everything is not taken away by a slip. */
async function keepAnAdmin(call: Call, user: DesiredUser): Promise<void> {
  const { access, reconciler } = call.house;
  if (flagOf(call.query, 'force') || user.role !== 'admin' || !(await access.passwords.canSignIn(user))) return;
  const others = await Promise.all(reconciler.snapshot().desired.users.filter((other) => other.role === 'admin' && other.name !== user.name).map(access.passwords.canSignIn));
  if (others.includes(true)) return;
  throw failure({ status: 409, code: 'LastAdmin', detail: `${user.name} is the last admin who can sign in. Add another one first, or send ?force=true: then only the commands of bkg on the machine itself are left.` });
}

async function removeUser(call: Call): Promise<Answer> {
  const named = call.params['name'] ?? '';
  if (await isDenied(call, `/users/${named}`)) return removed(call, `/users/${named}`, { name: named, removed: true, keysWithoutUser: [] });
  const user = userOf(call);
  await keepAnAdmin(call, user);
  const { keys } = call.house.reconciler.snapshot().desired;
  return removed(call, `/users/${escapeToken(user.name)}`, { name: user.name, removed: true, keysWithoutUser: keys.filter((key) => key.user === user.name).map((key) => key.id) });
}

// ─── Keys ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

const FIELDS = { name: declared('/keys/x/name'), scopes: declared('/keys/x/scopes'), expires: declared('/keys/x/expires'), limits: declared('/keys/x/limits'), plugins: declared('/keys/x/plugins') };
const OPTIONAL = Object.fromEntries(Object.entries(FIELDS).map(([name, schema]) => [name, name === 'scopes' ? schema : NULLABLE(schema)]));
const NEW_KEY: Schema = { type: 'object', required: ['scopes'], additionalProperties: false, properties: { id: { ...ID, description: 'Part of the secret, and its name in the file. Absent: made of `name`.' }, user: { ...ID, description: 'Whose key it is. Absent: who asks.' }, ...OPTIONAL } };
const ROTATION: Schema = { type: 'object', additionalProperties: false, properties: { overlap: { type: 'string', description: 'How long the secret of before is good: 1d when absent, 0s: not at all, 30d at most.' } } };
const KEY_CHANGE: Schema = { type: 'object', minProperties: 1, additionalProperties: false, properties: OPTIONAL };

const isMap = (value: Json | undefined): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
type KeyFields = { readonly [name in keyof typeof FIELDS]?: Json };
const stamp = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString());

function keyView(call: Call, key: DesiredKey, all = seenOf(call, 'key')): JsonObject {
  const seen = all.get(key.id);
  const now = Date.now();
  return {
    id: key.id, name: key.name, user: key.user, scopes: key.scopes, plugins: key.plugins, limits: key.limits, expires: stamp(key.expires), expired: key.expires !== null && key.expires <= now,
    previousUntil: key.previous !== null && key.previous.until > now ? stamp(key.previous.until) : null, createdAt: seen?.createdAt ?? null, lastUsedAt: seen?.lastUsedAt ?? null,
  };
}

function keyList(call: Call): Answer {
  const seen = seenOf(call, 'key');
  return json({ keys: call.house.reconciler.snapshot().desired.keys.map((key) => keyView(call, key, seen)) });
}

function keyOf(call: Call): DesiredKey {
  const id = call.params['id'] ?? '';
  const found = call.house.reconciler.snapshot().desired.keys.find((key) => key.id === id);
  if (found === undefined) throw failure({ status: 404, code: 'KeyUnknown', detail: `There is no API key ${id}. GET /admin/api-keys lists them.` });
  return found;
}

const busy = (): Error => failure({ status: 503, code: 'Busy', detail: 'Too many keys are checked or made at once. Try again in a moment.', headers: { 'retry-after': '1' } });

/** Whose it is, when nobody says: who asks, or the only one there is. */
function ownerOf(call: Call, named: string | undefined): string {
  const { users } = call.house.reconciler.snapshot().desired;
  const only = users.length === 1 ? users[0]!.name : undefined;
  const owner = named ?? call.who.user ?? only;
  if (owner === undefined) throw failure({ status: 422, code: 'UserMissing', detail: users.length === 0 ? 'A key belongs to a user, and none is declared: add one with POST /admin/users or `bkg user add`.' : `A key belongs to a user: say which with "user", one of ${users.map(({ name }) => name).join(', ')}.` });
  if (!users.some(({ name }) => name === owner)) throw failure({ status: 422, code: 'UserUnknown', detail: `There is no user ${owner}.` });
  return owner;
}

/** The name in the letters of an id, or one by chance. */
function idFor(name: Json | undefined, taken: readonly DesiredKey[]): string {
  const plain = typeof name === 'string' ? name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '').slice(0, ID_MAX - 2 * ID_BYTES - 1).replace(/-+$/, '') : '';
  if (plain !== '' && !taken.some((key) => key.id === plain)) return plain;
  return `${plain === '' ? 'key' : plain}-${randomBytes(ID_BYTES).toString('hex')}`;
}

const withoutNulls = (fields: KeyFields): JsonObject => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));

async function mint(call: Call): Promise<Answer> {
  const { id: wanted, user, ...fields } = call.body as KeyFields & { readonly id?: string; readonly user?: string };
  const { keys } = call.house.reconciler.snapshot().desired;
  if (typeof fields.expires === 'string' && Date.parse(fields.expires) <= Date.now()) throw failure({ status: 422, code: 'ExpiresOver', detail: `The key would have ended before its first use, at ${fields.expires}. Send a day or a moment to come, or none.` });
  const id = wanted ?? idFor(fields.name, keys);
  const taken = (): Error => failure({ status: 409, code: 'KeyExists', detail: keys.some((key) => key.id === id) ? `There is a key ${id} already. POST /admin/api-keys/${id}/rotate gives it a new secret.` : `bkg.yaml names a key ${id}, though it is denied: DELETE /admin/api-keys/${id} takes it out.` });
  if (keys.some((key) => key.id === id)) throw taken();
  const owner = ownerOf(call, user);
  const secret = await makeSecret(id);
  if (secret === null) throw busy();
  const value = { user: owner, ...withoutNulls(fields), hash: secret.hash };
  return edited(call, { operations: [{ op: 'add', path: `/keys/${escapeToken(id)}`, value }], path: `/admin/api-keys/${id}`, pointer: `/keys/${escapeToken(id)}`, taken }, () => ({ ...keyView(call, keyOf({ ...call, params: { id } })), key: secret.token }), 201);
}

/** PATCH sets what is sent and removes what is null; PUT also removes what is not sent. */
async function changeKey(call: Call, whole: boolean): Promise<Answer> {
  const key = keyOf(call);
  const sent = call.body as KeyFields;
  const at = `/keys/${escapeToken(key.id)}`;
  const now = lookUp((await call.house.reconciler.read()).value, at) as JsonObject | undefined;
  const operations = Object.keys(FIELDS).flatMap((name): readonly PatchOperation[] => {
    const value = sent[name as keyof KeyFields];
    if (name === 'limits' && !whole && isMap(value) && isMap(now?.['limits'])) return Object.entries(value).map(([limit, most]): PatchOperation => ({ op: 'add', path: `${at}/limits/${limit}`, value: most }));
    if (value !== undefined && value !== null) return [{ op: 'add', path: `${at}/${name}`, value }];
    const goes = value === null || (whole && name !== 'scopes');
    return goes && now !== undefined && Object.hasOwn(now, name) ? [{ op: 'remove', path: `${at}/${name}` }] : [];
  });
  return edited(call, { operations, path: '', pointer: at }, () => keyView(call, keyOf(call)));
}

async function rotate(call: Call): Promise<Answer> {
  const key = keyOf(call);
  const { overlap } = call.body as { readonly overlap?: string };
  const overlap_ms = durationOf(overlap === undefined ? call.query : new URLSearchParams({ overlap }), 'overlap', { otherwise_ms: OVERLAP_MS, max_ms: OVERLAP_MAX_MS });
  const secret = await makeSecret(key.id);
  if (secret === null) throw busy();
  const at = `/keys/${escapeToken(key.id)}`;
  // Of a key without `previous` there is nothing to remove.
  const before = lookUp((await call.house.reconciler.read()).value, `${at}/previous`);
  const until = new Date(Date.now() + overlap_ms).toISOString();
  // There is room for one secret before: an earlier one ends now, and that is told.
  const ended = key.previous !== null && key.previous.until > Date.now() ? stamp(key.previous.until) : null;
  const previous: readonly PatchOperation[] = overlap_ms > 0 ? [{ op: 'add', path: `${at}/previous`, value: { hash: key.hash, until } }] : before === undefined ? [] : [{ op: 'remove', path: `${at}/previous` }];
  // Where the new secret cannot be written, the old one stays good.
  return edited(call, { operations: [{ op: 'add', path: `${at}/hash`, value: secret.hash }, ...previous], path: '', pointer: at, denies: false }, () => ({ ...keyView(call, keyOf(call)), key: secret.token, ended }));
}

/** Whether it stands in the file, though it is in force no more: what was denied while the file could not be written is written by the next try. */
async function isDenied(call: Call, pointer: string): Promise<boolean> {
  const { reconciler } = call.house;
  const read = await reconciler.read().catch(() => null);
  return read !== null && lookUp(read.value, pointer) !== undefined && reconciler.snapshot().drifts.some((drift) => drift.kind === 'Denied' && `/${drift.unit.replace(/^user\//, 'users/').replace(/^key\//, 'keys/')}` === pointer);
}

async function revoke(call: Call): Promise<Answer> {
  const named = call.params['id'] ?? '';
  const id = (await isDenied(call, `/keys/${named}`)) ? named : keyOf(call).id;
  return removed(call, `/keys/${escapeToken(id)}`, { id, revoked: true });
}

const USER = object({ name: TEXT, role: TEXT, password: ANY, canSignIn: ANY, keys: list(TEXT) });
const KEY = object({ id: TEXT, name: ANY, user: TEXT, scopes: list(TEXT), plugins: ANY, limits: ANY, expires: ANY });
const DRY = { dryRun: 'true: say what would happen, write nothing.' };
const FORCE = { ...DRY, force: 'true: also when no admin is left who can sign in.' };
const USERS = '/admin/users';
const KEYS = '/admin/api-keys';
const body = (schema: Schema): Route['input'] => ({ 'application/json': { schema } });

export const peopleRoutes: readonly Route[] = [
  route({
    method: 'GET', path: USERS, scope: 'users.read', summary: 'Everybody who is declared.', output: object({ users: list(USER) }),
    async run(call) {
      const seen = seenOf(call, 'user');
      return json({ users: await Promise.all(call.house.reconciler.snapshot().desired.users.map((user) => userView(call, user, seen))) });
    },
  }),
  route({ method: 'POST', path: USERS, scope: 'users.write', summary: 'Declares a user, with the hash of the password.', query: DRY, output: USER, input: body(NEW_USER), run: addUser }),
  route({ method: 'GET', path: `${USERS}/{name}`, scope: 'users.read', summary: 'One user.', output: USER, run: async (call) => json(await userView(call, userOf(call))) }),
  ...(['PUT', 'PATCH'] as const).map((method) => route({ method, path: `${USERS}/{name}`, scope: 'users.write', summary: 'Changes role or password; another password ends every session of the user.', query: FORCE, output: USER, input: body(USER_CHANGE), run: changeUser })),
  route({ method: 'DELETE', path: `${USERS}/{name}`, scope: 'users.write', summary: 'Removes a user: sessions and keys of theirs are refused from the next request on.', query: FORCE, output: object({ name: TEXT, removed: ANY }), run: removeUser }),
  route({ method: 'GET', path: KEYS, scope: 'keys.read', summary: 'Every API key, without its secret.', output: object({ keys: list(KEY) }), run: keyList }),
  route({ method: 'POST', path: KEYS, scope: 'keys.write', summary: 'Makes an API key. `key` in the answer is the secret: it is told this once.', query: DRY, output: object({ id: TEXT, key: TEXT, scopes: list(TEXT) }), input: body(NEW_KEY), run: mint }),
  route({ method: 'GET', path: `${KEYS}/{id}`, scope: 'keys.read', summary: 'One API key, without its secret.', output: KEY, run: (call) => json(keyView(call, keyOf(call))) }),
  route({ method: 'PUT', path: `${KEYS}/{id}`, scope: 'keys.write', summary: 'Sets name, scopes, expiry, limits and plugins of a key; what is not sent goes, its secret stays.', query: DRY, output: KEY, input: body({ ...KEY_CHANGE, required: ['scopes'] }), run: (call) => changeKey(call, true) }),
  route({ method: 'PATCH', path: `${KEYS}/{id}`, scope: 'keys.write', summary: 'Changes some of name, scopes, expiry, limits and plugins of a key; null removes.', query: DRY, output: KEY, input: body(KEY_CHANGE), run: (call) => changeKey(call, false) }),
  route({ method: 'POST', path: `${KEYS}/{id}/rotate`, scope: 'keys.write', summary: 'A new secret; the one before is good for a while yet. An earlier one that was good still ends now: `ended` is what its end would have been.', query: { overlap: 'The same as in the body.', ...DRY }, output: object({ id: TEXT, key: TEXT }), input: body(ROTATION), bodyOptional: true, run: rotate }),
  route({ method: 'DELETE', path: `${KEYS}/{id}`, scope: 'keys.write', summary: 'Revokes a key: it is refused from the next request on, also when the file cannot be written.', query: DRY, output: object({ id: TEXT, revoked: ANY }), run: revoke }),
];
