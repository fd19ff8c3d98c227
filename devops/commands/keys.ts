// `bkg key`: API keys. A secret is shown once, alone on stdout; the file gets its hash, from the running bkg or here when none runs.
import { randomBytes } from 'node:crypto';
import type { FileView, Json, JsonObject, PatchOperation, Problem } from '../../reconciler/index.ts';
import type { Key } from '../../schema/bkg.gen.ts';
import { pointerOf } from '../../schema/pointer.ts';
import type { Context } from '../context.ts';
import { note, paint, problemLine, table, write, writeJson } from '../show.ts';
import { told, type Told } from '../told.ts';
import { namesOf, noUser, openDoor, requireForm, requireName, sayNotWritten, sayOffline, sayOfFile, send, shortMoment, type DeclaredFile, type Door, type NotWritten } from './users.ts';

const KEYS = '/admin/api-keys';
/** As the api allows. */
const OVERLAP_MAX_MS = 30 * 24 * 3_600_000;
/** Of an id that nobody chose. */
const ID_BYTES = 4;
const ID_MAX = 63;

type Limit = 'requestsPerMinute' | 'tokensPerMinute' | 'concurrent';
type KeyView = {
  readonly id: string; readonly name: string | null; readonly user: string; readonly scopes: readonly string[]; readonly plugins: readonly string[] | null;
  readonly limits: Readonly<Record<Limit, number | null>>; readonly expires: string | null; readonly expired: boolean; readonly previousUntil: string | null;
  readonly createdAt: string | null; readonly lastUsedAt: string | null;
};
/** `key`: the secret. */
type WithSecret = KeyView & { readonly key: string; readonly revision: string; readonly operation: string | null; /** Of a rotation: the end that an earlier overlap would have had. */ readonly ended?: string | null };

// ─── What is typed ──────────────────────────────────────────────────────────────────────────────────────────────────────

const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90d`, `1.5h` → milliseconds; null for what is none. */
function spanOf(text: string): number | null {
  const found = /^(\d{1,6}(?:\.\d{1,3})?)([smhd])$/.exec(text);
  return found === null ? null : Number(found[1]) * UNITS_MS[found[2]!]!;
}

/** A day or a moment as typed, a span from now on as the moment it ends. */
function expiryOf(text: string): string {
  const span_ms = spanOf(text);
  if (span_ms === 0) throw told(`--expires ${text}: the key would end before its first use.`);
  if (span_ms !== null) return shortMoment(new Date(Date.now() + span_ms).toISOString());
  const at = /^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw told(`--expires ${text} is neither a day nor a span of time.`, 'Write a day like 2027-01-31 (the key ends with its first second, UTC), a moment like 2027-01-31T12:00:00Z, or a span from now on like 90d or 12h.');
  if (at <= Date.now()) throw told(`--expires ${text} is over already.`, 'Write a day to come, or a span from now on like 90d.');
  return text;
}

function overlapOf(text: string): number {
  const span_ms = spanOf(text);
  if (span_ms === null || span_ms > OVERLAP_MAX_MS) throw told(`--overlap ${text} is no span of time up to 30d.`, 'Write it like 24h, 15m or 7d; 0s ends the secret of before at once.');
  return span_ms;
}

const LIMITS: readonly (readonly [limit: Limit, flag: string])[] = [['requestsPerMinute', '--requests-per-minute'], ['tokensPerMinute', '--tokens-per-minute'], ['concurrent', '--concurrent']];

function limitsOf(typed: Readonly<Partial<Record<Limit, string>>>): Readonly<Partial<Record<Limit, number>>> {
  return Object.fromEntries(LIMITS.flatMap(([limit, flag]) => {
    const text = typed[limit];
    if (text === undefined) return [];
    if (!/^[1-9]\d{0,14}$/.test(text)) throw told(`${flag} ${text}: a whole number from 1 on is wanted.`, 'Leave it out for no limit.');
    return [[limit, Number(text)]];
  }));
}

/** Both `a b` and `a,b`: no scope and no name holds a comma. */
const listOf = (typed: readonly string[]): readonly string[] => [...new Set(typed.flatMap((text) => text.split(',')).filter((text) => text !== ''))];

// ─── The commands ───────────────────────────────────────────────────────────────────────────────────────────────────────

type FieldOptions = { readonly name?: string; readonly scope?: readonly string[]; readonly plugin?: readonly string[]; readonly expires?: string } & Readonly<Partial<Record<Limit, string>>>;
export type MintOptions = FieldOptions & { readonly id?: string; readonly user?: string };
export type SetOptions = FieldOptions & { readonly clear?: readonly string[] };
/** As the api takes them; what was not typed is absent. */
type Fields = { readonly [name in 'name' | 'scopes' | 'plugins' | 'expires' | 'limits']?: Json };

function fieldsOf(typed: FieldOptions): Fields {
  const scopes = listOf(typed.scope ?? []);
  const plugins = typed.plugin === undefined ? null : listOf(typed.plugin);
  for (const scope of scopes) requireForm(scope, { as: '/keys/x/scopes/0', what: 'scope', hint: 'Write a capability (llm.chat), a right (config.read), all of a kind (llm.*), or everything (*).' });
  for (const plugin of plugins ?? []) requireName('name of a plugin', plugin);
  if (typed.name !== undefined) requireForm(typed.name, { as: '/keys/x/name', what: 'name for a key', hint: 'Write up to 100 letters, or leave --name out.' });
  const limits = limitsOf(typed);
  return {
    ...(typed.name === undefined ? {} : { name: typed.name }), ...(scopes.length === 0 ? {} : { scopes }), ...(plugins === null ? {} : { plugins }),
    ...(typed.expires === undefined ? {} : { expires: expiryOf(typed.expires) }), ...(Object.keys(limits).length === 0 ? {} : { limits }),
  };
}

export async function mintKey(context: Context, typed: MintOptions): Promise<number> {
  const fields = fieldsOf(typed);
  if (fields.scopes === undefined) throw told('Without a scope the key could do nothing.', 'Say what it is for: --scope llm.chat llm.embed. `bkg key mint --help` tells more.');
  if (typed.id !== undefined) requireName('id of a key', typed.id);
  const door = await openDoor(context);
  const user = ownerOf(typed.user, await namesOf(door));
  const exists = told(`There is a key ${typed.id} already.`, `bkg key rotate ${typed.id} gives it a new secret; for another key choose another --id.`);
  if (door.client !== null) {
    const made = await send<WithSecret>(door.client, KEYS, { method: 'POST', body: { ...(typed.id === undefined ? {} : { id: typed.id }), user, ...fields }, words: { KeyExists: exists } });
    return sayNew(context, door, { made, warnings: (await door.client.get<{ readonly file: FileView }>('/api/status')).file.problems });
  }
  if (typed.id !== undefined && Object.hasOwn(door.file.keys, typed.id)) throw exists;
  const id = typed.id ?? idFor(typed.name, door.file.keys);
  const secret = await secretFor(id);
  const key = { user, ...fields, hash: secret.hash };
  const { revision, problems } = await door.file.edit([{ op: 'add', path: pointerOf(['keys', id]), value: key }]);
  return sayNew(context, door, { made: { ...viewOf(id, key as unknown as Key), key: secret.token, revision, operation: null }, warnings: problems });
}

/** Whose it is, when nobody says: the only one there is. */
function ownerOf(named: string | undefined, names: readonly string[]): string {
  if (named !== undefined && !names.includes(named)) throw noUser(named, names);
  const owner = named ?? (names.length === 1 ? names[0] : undefined);
  if (owner !== undefined) return owner;
  throw names.length === 0 ? told('A key belongs to a user, and none is declared.', 'Add one first: bkg user add NAME') : told('A key belongs to a user, and more than one is declared.', `Say whose it is: --user ${names.join(' or --user ')}`);
}

/** The name in the letters of an id, or one by chance. */
function idFor(name: string | undefined, keys: DeclaredFile['keys']): string {
  const slug = (name ?? '').toLowerCase().replace(/[^a-z0-9]+/g, '-').slice(0, ID_MAX - 2 * ID_BYTES - 1).replace(/^-+|-+$/g, '');
  return slug !== '' && !Object.hasOwn(keys, slug) ? slug : `${slug === '' ? 'key' : slug}-${randomBytes(ID_BYTES).toString('hex')}`;
}

async function secretFor(id: string): Promise<{ readonly token: string; readonly hash: string }> {
  const secret = await (await import('../../api/auth/keys.ts')).makeSecret(id);
  if (secret === null) throw new Error('one hash was too many');
  return secret;
}

function viewOf(id: string, key: Key): KeyView {
  const { requestsPerMinute = null, tokensPerMinute = null, concurrent = null } = key.limits ?? {};
  return {
    id, name: key.name ?? null, user: key.user, scopes: key.scopes, plugins: key.plugins ?? null, limits: { requestsPerMinute, tokensPerMinute, concurrent },
    expires: key.expires ?? null, expired: key.expires !== undefined && Date.parse(key.expires) <= Date.now(),
    previousUntil: key.previous !== undefined && Date.parse(key.previous.until) > Date.now() ? key.previous.until : null, createdAt: null, lastUsedAt: null,
  };
}

/** The secret alone on stdout, so that `KEY=$(bkg key mint …)` works; all that is said of it goes beside it. */
function sayNew(context: Context, door: Door, o: { readonly made: WithSecret; readonly warnings: readonly Problem[]; readonly rotated?: boolean }): number {
  const { made } = o;
  const warnings = about(made.id, o.warnings);
  if (context.json) {
    writeJson({ ...made, problems: warnings });
    return 0;
  }
  write(`${made.key}\n`);
  note(`${o.rotated === true ? 'A new secret for the key' : 'Key'} ${wordsOf(made, process.stderr)}.\nKeep it now: it is never shown again, and bkg.yaml holds only a hash of it.\n`);
  if (o.rotated === true) note(made.previousUntil === null ? 'The secret before is refused from now on.\n' : `The secret before is good until ${shortMoment(made.previousUntil)}.\n`);
  if (made.ended != null) note(`The one before that, which was good until ${shortMoment(made.ended)}, is refused from now on.\n`);
  if (made.expired) note(`The key itself has expired: it is refused until that is changed: bkg key set ${made.id} --expires DAY\n`);
  for (const warning of warnings) note(problemLine(warning, context.config, process.cwd()));
  if (door.client === null) sayOffline();
  return 0;
}

/** What `--clear` takes away. */
const CLEARED = ['name', 'plugins', 'expires', 'limits'] as const;

export async function setKey(context: Context, id: string, typed: SetOptions): Promise<number> {
  requireName('id of a key', id);
  const cleared = listOf(typed.clear ?? []);
  const odd = cleared.find((name) => !(CLEARED as readonly string[]).includes(name));
  if (odd !== undefined) throw told(`--clear ${odd}: a key has no such part that can be cleared.`, `Write ${CLEARED.join(', ')}.`);
  const change = { ...fieldsOf(typed), ...Object.fromEntries(cleared.map((name) => [name, null])) };
  if (Object.keys(change).length === 0) throw told('Nothing to change was named.', '`bkg key set --help` tells what a key has.');
  const { client, file } = await openDoor(context);
  let done: KeyView & { readonly problems: readonly Problem[] };
  if (client !== null) done = await send(client, at(id), { method: 'PATCH', body: change, words: { KeyUnknown: noKey(id) } });
  else {
    const now = Object.hasOwn(file.keys, id) ? file.keys[id] : undefined;
    if (now === undefined) throw noKey(id);
    const place = pointerOf(['keys', id]);
    const { problems } = await file.edit(Object.entries(change).flatMap(([name, value]): readonly PatchOperation[] => {
      if (value === null) return Object.hasOwn(now, name) ? [{ op: 'remove', path: `${place}/${name}` }] : [];
      // One limit says nothing of the others.
      return [{ op: 'add', path: `${place}/${name}`, value: name === 'limits' ? { ...now.limits, ...(value as JsonObject) } : value }];
    }));
    done = { ...viewOf(id, withChange(now, change)), problems };
  }
  if (context.json) writeJson(done);
  else {
    write(`${wordsOf(done, process.stdout)}.\n`);
    for (const warning of about(id, done.problems)) note(problemLine(warning, context.config, process.cwd()));
    if (client === null) sayOffline();
  }
  return 0;
}

const withChange = (key: Key, change: Readonly<Record<string, Json>>): Key => {
  const next = { ...key, ...change, ...(isMap(change['limits']) ? { limits: { ...key.limits, ...change['limits'] } } : {}) };
  return Object.fromEntries(Object.entries(next).filter(([, value]) => value !== null)) as unknown as Key;
};
const isMap = (value: Json | undefined): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Of a file those that are about this key. */
function about(id: string, problems: readonly Problem[]): readonly Problem[] {
  const own = pointerOf(['keys', id]);
  return problems.filter(({ pointer }) => pointer === own || pointer.startsWith(`${own}/`));
}

const wordsOf = (key: KeyView, stream: NodeJS.WriteStream): string =>
  `${paint('bold', key.id, stream)} of ${key.user}: ${key.scopes.join(', ')}${key.plugins === null ? '' : `, on ${key.plugins.join(', ') || 'no plugin'}`}${key.expires === null ? '' : `, until ${shortMoment(key.expires)}`}`;

export async function listKeys(context: Context): Promise<number> {
  const { client, file } = await openDoor(context);
  const keys = client !== null ? (await client.get<{ readonly keys: readonly KeyView[] }>(KEYS)).keys : Object.entries(file.keys).map(([id, key]) => viewOf(id, key));
  if (context.json) writeJson({ keys });
  else {
    if (keys.length === 0) write('The file declares no API key. Make one: bkg key mint --scope llm.chat\n');
    else write(table(['key', 'name', 'user', 'scopes', 'plugins', 'limits', 'ends', 'last used'], keys.map((key) => [key.id, key.name ?? '', key.user, key.scopes.join(', '), key.plugins?.join(', ') ?? 'all', limitsCell(key), endsCell(key), shortMoment(key.lastUsedAt)])));
    if (client === null) sayOfFile();
  }
  return 0;
}

function limitsCell({ limits: { requestsPerMinute, tokensPerMinute, concurrent } }: KeyView): string {
  return [...(requestsPerMinute === null ? [] : [`${requestsPerMinute} requests/min`]), ...(tokensPerMinute === null ? [] : [`${tokensPerMinute} tokens/min`]), ...(concurrent === null ? [] : [`${concurrent} at once`])].join(', ');
}

const endsCell = ({ expires, expired, previousUntil }: KeyView): string => [...(expires === null ? [] : [expired ? paint('yellow', `ended ${shortMoment(expires)}`) : shortMoment(expires)]), ...(previousUntil === null ? [] : [`earlier secret until ${shortMoment(previousUntil)}`])].join(', ');

const noKey = (id: string): Told => told(`There is no key ${id}.`, 'bkg key list shows the keys there are.');
const at = (id: string): string => `${KEYS}/${encodeURIComponent(id)}`;

export async function rotateKey(context: Context, o: { readonly id: string; readonly overlap: string }): Promise<number> {
  const { id } = o;
  const overlap_ms = overlapOf(o.overlap);
  requireName('id of a key', id);
  const door = await openDoor(context);
  // The api knows no days.
  if (door.client !== null) return sayNew(context, door, { made: await send<WithSecret>(door.client, `${at(id)}/rotate?overlap=${overlap_ms / 1_000}s`, { method: 'POST', words: { KeyUnknown: noKey(id) } }), warnings: [], rotated: true });
  const now = Object.hasOwn(door.file.keys, id) ? door.file.keys[id] : undefined;
  if (now === undefined) throw noKey(id);
  const secret = await secretFor(id);
  const { previous: before, ...kept } = now;
  const previous = { hash: now.hash, until: new Date(Date.now() + overlap_ms).toISOString() };
  const place = pointerOf(['keys', id]);
  // Of a key without `previous` there is nothing to remove.
  const end: readonly PatchOperation[] = before === undefined ? [] : [{ op: 'remove', path: `${place}/previous` }];
  const { revision } = await door.file.edit([{ op: 'add', path: `${place}/hash`, value: secret.hash }, ...(overlap_ms > 0 ? [{ op: 'add' as const, path: `${place}/previous`, value: previous }] : end)]);
  return sayNew(context, door, { made: { ...viewOf(id, { ...kept, ...(overlap_ms > 0 ? { previous } : {}) }), key: secret.token, revision, operation: null, ended: before !== undefined && Date.parse(before.until) > Date.now() ? before.until : null }, warnings: [], rotated: true });
}

export async function revokeKey(context: Context, id: string): Promise<number> {
  requireName('id of a key', id);
  const { client, file } = await openDoor(context);
  let done: { readonly id: string; readonly revoked: boolean } & NotWritten;
  if (client !== null) done = await send(client, at(id), { method: 'DELETE', words: { KeyUnknown: noKey(id) } });
  else {
    if (!Object.hasOwn(file.keys, id)) throw noKey(id);
    const { revision } = await file.edit([{ op: 'remove', path: pointerOf(['keys', id]) }]);
    done = { id, revoked: true, ...{ revision, operation: null } };
  }
  if (context.json) writeJson(done);
  else {
    write(`${id} is revoked${client === null ? '' : ': its next request is refused'}.\n`);
    sayNotWritten(done);
    if (client === null) sayOffline();
  }
  return 0;
}
