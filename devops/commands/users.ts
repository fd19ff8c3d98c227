// `bkg user`: the people of the appliance. Each change is an edit of the file: by the running bkg, or here when none runs.
import type { Json, PatchOperation, PatchResult, Problem } from '../../reconciler/index.ts';
import type { Key, User } from '../../schema/bkg.gen.ts';
import { pointerOf } from '../../schema/pointer.ts';
import { schemaAt } from '../../schema/walk.ts';
import { connect, refusal, type Ask, type Client } from '../client.ts';
import { requireConfig, type Context } from '../context.ts';
import { note, table, write, writeJson } from '../show.ts';
import { codeOf, messageOf, told, type Told } from '../told.ts';
import { writeDiff } from './plan.ts';

export type Role = User['role'];
type UserView = {
  readonly name: string; readonly role: Role; readonly password: string | null; readonly canSignIn: boolean | null; readonly sessions: number | null;
  readonly keys: readonly string[]; readonly createdAt: string | null; readonly lastUsedAt: string | null;
};

// ─── What `bkg key` and `bkg model` need as well ───────────────────────────────────────────────────────────────────────

/** The file while no bkg runs: what it declares, the people in it, and an edit of the very bytes they were read from. */
export type DeclaredFile = {
  readonly value: Json;
  readonly users: Readonly<Record<string, User>>;
  readonly keys: Readonly<Record<string, Key>>;
  edit(operations: readonly PatchOperation[]): Promise<{ readonly revision: string; readonly problems: readonly Problem[] }>;
};

/** Who makes the edit: the bkg that runs, else this command. */
export type Door = { readonly client: Client; readonly file: null } | { readonly client: null; readonly file: DeclaredFile };

export async function openDoor(context: Context): Promise<Door> {
  const client = connect(context);
  return client === null ? { client, file: await declaredFile(context) } : { client, file: null };
}

async function declaredFile(context: Context): Promise<DeclaredFile> {
  requireConfig(context);
  // To load the reconciler takes longer than what most commands do with a bkg that runs.
  const { patchOffline } = await import('../../reconciler/index.ts');
  const { config, home, installation, env } = context;
  let value: Json = {};
  const patch = async (operations: readonly PatchOperation[], o: { readonly ifRevision: string | null; readonly dryRun: boolean; readonly wrong: string }): Promise<Extract<PatchResult, { readonly ok: true }>> => {
    const judge = (before: Json): readonly Problem[] => { value = before; return []; };
    const result = await patchOffline({ config, home, installation, env }, { actor: { name: 'cli', source: 'cli' }, change: { operations }, ifRevision: o.ifRevision, dryRun: o.dryRun, judge }).catch(worldly);
    if (result.ok) return result;
    if (result.code === 'Stale') throw told('The file changed while it was edited.', 'Run the command again.');
    if (result.code === 'ReadOnlyFile') throw readOnly(result.message);
    throw Object.assign(told(o.wrong), { problems: result.problems });
  };
  // An edit of nothing reads the file as every edit does, with its problems.
  const { revision } = await patch([], { ifRevision: null, dryRun: true, wrong: 'The file is not valid as it stands; nothing was written.' });
  const { users, keys } = value as { readonly users?: DeclaredFile['users'] | null; readonly keys?: DeclaredFile['keys'] | null };
  return { value, users: users ?? {}, keys: keys ?? {}, edit: (operations) => patch(operations, { ifRevision: revision, dryRun: false, wrong: 'The file would not be valid; nothing was written.' }) };
}

/** What the disk refuses is told; a mistake of ours goes on as one. */
function worldly(error: unknown): never {
  if (!/^(E[A-Z]+|File[A-Za-z]+)$/.test(codeOf(error))) throw error;
  throw told(messageOf(error).replace(/[.]?$/, '.'), 'bkg needs a file and a home that it may read and write: name others with --config and --home, or run this command as the user that runs bkg.');
}

/** Without the diff that others are shown: it holds the hash of a secret that nobody was told. */
const readOnly = (message: string): Told => told(message.replace(/ Apply the diff by hand, or make it writable\.$/, ''), 'Make the file writable, or run the command where it is.');

/** What a removal comes with that binds though the file cannot be written. */
export type NotWritten = { readonly message?: string; readonly diff?: string | null };
export function sayNotWritten({ message, diff }: NotWritten): void {
  if (message !== undefined) note(`${message}\n`);
  writeDiff(diff ?? '');
}

export const sayOffline = (): void => note('No bkg runs here: the file was edited, the next start follows it.\n');
export const sayOfFile = (): void => note('No bkg runs here: this is what the file declares.\n');

/** The body of a 2xx answer. `words`: what the CLI says instead where the server's words are for callers of its routes; made of them, or others. */
export async function send<T>(client: Client, path: string, o: Ask & { readonly words?: Readonly<Record<string, Told | ((said: string) => Told)>> }): Promise<T> {
  const { words = {}, ...ask } = o;
  const answer = await client.request(path, ask);
  if (answer.status < 400) return answer.body as T;
  const refused = refusal(answer);
  const other = words[refused.code];
  if (other !== undefined) throw typeof other === 'function' ? other(refused.message) : other;
  throw refused.code === 'ReadOnlyFile' ? readOnly(refused.message) : refused;
}

/** Said before anything is asked for or made: the schema's own rule for such a text. */
export function requireForm(text: string, o: { readonly as: string; readonly what: string; readonly hint: string }): void {
  const { pattern = '', minLength = 0, maxLength = Infinity } = (schemaAt(o.as) ?? {}) as { readonly pattern?: string; readonly minLength?: number; readonly maxLength?: number };
  if (!new RegExp(pattern, 'u').test(text) || text.length < minLength || text.length > maxLength) throw told(`${JSON.stringify(text)} is no ${o.what}.`, o.hint);
}

export const requireName = (what: string, name: string): void => requireForm(name, { as: '/keys/x/user', what, hint: 'Take lower-case letters, digits and hyphens, 63 at most, with no hyphen at either end.' });

/** To the second: nobody reads more. */
export const shortMoment = (at: string | null): string => at?.replace(/\.\d+Z$/, 'Z') ?? '';

export const noUser = (name: string, names: readonly string[]): Told => told(`There is no user ${name}.`, names.length === 0 ? `None is declared; add one: bkg user add ${name}` : `Declared: ${names.join(', ')}.`);

export const namesOf = async ({ client, file }: Door): Promise<readonly string[]> => (file === null ? (await client.get<{ readonly users: readonly UserView[] }>('/admin/users')).users.map(({ name }) => name) : Object.keys(file.users));

// ─── The commands ───────────────────────────────────────────────────────────────────────────────────────────────────────

const USERS = '/admin/users';
const at = (name: string): string => `${USERS}/${encodeURIComponent(name)}`;

const askPassword = async (name: string): Promise<string> => (await import('../password.ts')).newPassword(name);

async function hashOf(password: string): Promise<string> {
  const { hash, PASSWORD_COST } = await import('../../api/auth/bcrypt.ts');
  const { isBusy } = await import('../../api/auth/turns.ts');
  const made = await hash(password, PASSWORD_COST);
  if (isBusy(made)) throw new Error('one hash was too many');
  return made;
}

export async function addUser(context: Context, o: { readonly name: string; readonly role: Role; readonly password: boolean }): Promise<number> {
  const { name, role } = o;
  requireName('name of a user', name);
  const door = await openDoor(context);
  const exists = told(`There is a user ${name} already.`, `bkg user passwd ${name} sets another password, bkg user role ${name} ROLE another role.`);
  // Before anybody types a password for nothing.
  if ((await namesOf(door)).includes(name)) throw exists;
  const password = o.password ? await askPassword(name) : null;
  let done: object;
  if (door.client !== null) done = await send(door.client, USERS, { method: 'POST', body: { name, role, ...(password === null ? {} : { password }) }, words: { UserExists: exists } });
  else {
    const { revision } = await door.file.edit([{ op: 'add', path: pointerOf(['users', name]), value: { role, ...(password === null ? {} : { password: { hash: await hashOf(password) } }) } }]);
    done = { name, role, password: password === null ? null : 'hash', keys: [], revision, operation: null };
  }
  if (context.json) writeJson(done);
  else {
    write(`${name} is declared, with the role ${role}${password === null ? '. Nobody can sign in as them; their keys work' : ''}.\n`);
    if (door.client === null) sayOffline();
  }
  return 0;
}

export async function setPassword(context: Context, name: string): Promise<number> {
  requireName('name of a user', name);
  const door = await openDoor(context);
  const names = await namesOf(door);
  if (!names.includes(name)) throw noUser(name, names);
  const password = await askPassword(name);
  let done: object;
  if (door.client !== null) done = await send(door.client, at(name), { method: 'PATCH', body: { password }, words: { UserUnknown: noUser(name, names) } });
  else {
    const { revision } = await door.file.edit([{ op: 'add', path: pointerOf(['users', name, 'password']), value: { hash: await hashOf(password) } }]);
    done = { name, role: door.file.users[name]?.role, password: 'hash', revision, operation: null };
  }
  if (context.json) writeJson(done);
  else {
    write(`${name} has another password; whoever was signed in as them signs in anew.\n`);
    if (door.client === null) sayOffline();
  }
  return 0;
}

export async function setRole(context: Context, o: { readonly name: string; readonly role: Role; readonly force: boolean }): Promise<number> {
  const { name, role, force } = o;
  requireName('name of a user', name);
  const door = await openDoor(context);
  const names = await namesOf(door);
  if (!names.includes(name)) throw noUser(name, names);
  let done: object;
  if (door.client !== null) done = await send(door.client, `${at(name)}${force ? '?force=true' : ''}`, { method: 'PATCH', body: { role }, words: { LastAdmin: lastAdmin(name), UserUnknown: noUser(name, names) } });
  else {
    if (!force && role !== 'admin' && isLastAdmin(door.file, name)) throw lastAdmin(name);
    const { revision } = await door.file.edit([{ op: 'add', path: pointerOf(['users', name, 'role']), value: role }]);
    done = { name, role, revision, operation: null };
  }
  if (context.json) writeJson(done);
  else {
    write(`${name} has the role ${role}${door.client === null ? '' : ', from the next request on'}.\n`);
    if (door.client === null) sayOffline();
  }
  return 0;
}

const lastAdmin = (name: string): Told => told(`${name} is the last admin who can sign in.`, 'Make another one first (bkg user add NAME --role admin), or say --force: then only the commands of bkg on this machine are left.');

type Removed = { readonly name: string; readonly removed: boolean; readonly keysWithoutUser: readonly string[] } & NotWritten;

export async function removeUser(context: Context, o: { readonly name: string; readonly force: boolean }): Promise<number> {
  const { name, force } = o;
  requireName('name of a user', name);
  const { client, file } = await openDoor(context);
  let done: Removed;
  if (client !== null) done = await send<Removed>(client, `${at(name)}${force ? '?force=true' : ''}`, { method: 'DELETE', words: { LastAdmin: lastAdmin(name), UserUnknown: told(`There is no user ${name}.`, 'bkg user list shows who is declared.') } });
  else {
    if (!Object.hasOwn(file.users, name)) throw noUser(name, Object.keys(file.users));
    if (!force && isLastAdmin(file, name)) throw lastAdmin(name);
    const { revision } = await file.edit([{ op: 'remove', path: pointerOf(['users', name]) }]);
    done = { name, removed: true, keysWithoutUser: Object.entries(file.keys).flatMap(([id, key]) => (key.user === name ? [id] : [])), ...{ revision, operation: null } };
  }
  if (context.json) writeJson(done);
  else {
    write(`${name} is removed.\n`);
    sayNotWritten(done);
    if (done.keysWithoutUser.length > 0) note(`Keys of theirs that nobody can use now: ${done.keysWithoutUser.join(', ')}. bkg key revoke ID removes them from the file.\n`);
    if (client === null) sayOffline();
  }
  return 0;
}

/** By the file alone: what the environment of the next start will hold nobody knows here. */
function isLastAdmin({ users }: DeclaredFile, name: string): boolean {
  const admins = Object.entries(users).flatMap(([admin, user]) => (user.role === 'admin' && user.password !== undefined ? [admin] : []));
  return admins.length === 1 && admins[0] === name;
}

export async function listUsers(context: Context): Promise<number> {
  const { client, file } = await openDoor(context);
  const users = client !== null ? (await client.get<{ readonly users: readonly UserView[] }>(USERS)).users : Object.entries(file.users).map(([name, user]): UserView => ({
    name, role: user.role, password: Object.keys(user.password ?? {})[0] ?? null, canSignIn: null, sessions: null,
    keys: Object.entries(file.keys).flatMap(([id, key]) => (key.user === name ? [id] : [])), createdAt: null, lastUsedAt: null,
  }));
  if (context.json) writeJson({ users });
  else {
    if (users.length === 0) write('The file declares no user. Add one: bkg user add NAME --role admin\n');
    else write(table(['user', 'role', 'password', 'sessions', 'keys', 'last seen'], users.map((user) => [user.name, user.role, passwordCell(user), user.sessions === null ? '' : String(user.sessions), user.keys.join(', '), shortMoment(user.lastUsedAt)])));
    if (client === null) sayOfFile();
  }
  return 0;
}

const passwordCell = ({ password, canSignIn }: UserView): string => (password === null ? 'none' : canSignIn === false ? `${password}, which holds none` : password);
