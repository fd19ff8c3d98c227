// Doors over a house with people, keys and two plugins that call on over the bus as a test says; edits of keys come about.
import type { DesiredKey, DesiredUser, Json } from '../../reconciler/index.ts';
import { tokensOf } from '../../schema/pointer.ts';
import type { Role } from '../../schema/scopes.ts';
import { hash } from '../auth/bcrypt.ts';
import { makeSecret } from '../auth/keys.ts';
import { type Doors, type Reply, openDoors, openPlugin, send } from './doors.ts';
import { capability, type PluginSpec } from './house.ts';

export const PASSWORD = 'a password of this test';
const HASH_COST = 4;
const ALL_OF_CALLER = ['house.login', 'house.createKey', 'house.rotateKey', 'house.revokeKey', 'house.listKeys', 'house.validate', 'house.audit', 'other.do', 'llm.chat'];

type DeclaredKey = { readonly user: string; readonly scopes: readonly string[]; readonly hash: string; readonly plugins?: readonly string[]; readonly limits?: { readonly concurrent?: number; readonly tokensPerMinute?: number } };
type People = { users: Record<string, { readonly role: Role }>; keys: Record<string, DeclaredKey> };
type Grants = { caller: readonly string[]; echo: readonly string[] };
type Asked = { readonly name?: string | undefined; readonly token?: string; readonly path?: string };

const desiredKey = ([id, key]: readonly [string, DeclaredKey]): DesiredKey =>
  ({ id, name: null, user: key.user, scopes: key.scopes, within: [], hash: key.hash, previous: null, expires: null, limits: { requestsPerMinute: null, tokensPerMinute: key.limits?.tokensPerMinute ?? null, concurrent: key.limits?.concurrent ?? null }, plugins: key.plugins ?? null });

export const said = (reply: Reply): readonly unknown[] => [reply.status, reply.body['code']];
export const answering = (text: string, status = 200): Reply => ({ status, headers: {}, text, body: {} });

export type Asking = Awaited<ReturnType<typeof openAsking>>;

export async function openAsking() {
  const password = { kind: 'hash' as const, hash: String(await hash(PASSWORD, HASH_COST)) };
  /** `work`: what the plugins do when they are called; `name` is what stands for who called. */
  const state: { people: People; grants: Grants; work: (name: string | undefined, plugin: 'caller' | 'echo') => Promise<Reply> } =
    { people: { users: {}, keys: {} }, grants: { caller: [], echo: [] }, work: async () => answering('{}') };
  const worker = await openPlugin((request, response) => {
    request.resume();
    const { authorization, 'x-bkg-caller': name } = request.headers;
    void state.work(name as string | undefined, authorization === 'Bearer inbound-of-echo' ? 'echo' : 'caller').then((reply) => response.writeHead(reply.status, { 'content-type': 'application/json' }).end(reply.text));
  });
  const doors = await openDoors();

  function show(): void {
    const { people, grants } = state;
    const plugins: readonly PluginSpec[] = [
      { id: 'caller', port: worker.port, grants: grants.caller, capabilities: [capability('work.do')] },
      { id: 'echo', port: worker.port, grants: grants.echo, capabilities: [capability('other.do'), capability('llm.chat')] },
    ];
    const users = Object.entries(people.users).map(([name, { role }]): DesiredUser => ({ name, role, password }));
    doors.show({ plugins, users, keys: Object.entries(people.keys).map(desiredKey), text: JSON.stringify({ version: 1, ...people }) });
  }

  /** Makes the edits of keys that the reconciler would make. */
  function edit(request: Parameters<Doors['answers']['patch']>[0]): ReturnType<Doors['answers']['patch']> {
    const after = structuredClone(state.people) as unknown as Record<string, Record<string, Record<string, Json>>>;
    for (const operation of 'operations' in request.change ? request.change.operations : []) {
      const [section = '', id = '', field] = tokensOf(operation.path);
      if (operation.op === 'remove') delete after[section]![id];
      else if (operation.op === 'add' && field === undefined) after[section]![id] = operation.value as Record<string, Json>;
      else if (operation.op === 'add') after[section]![id]![field!] = operation.value;
    }
    const problems = request.judge?.({ version: 1, ...state.people } as unknown as Json, { version: 1, ...after } as unknown as Json) ?? [];
    if (problems.length > 0) return { ok: false, code: 'Forbidden', problems };
    state.people = after as unknown as People;
    show();
    return null;
  }
  doors.answers.patch = edit;

  const ask = (id: string, input: unknown, o: Asked = {}): Promise<Reply> =>
    send(doors.ports.bus, o.path ?? `/invoke/${id}`, { method: 'POST', token: o.token ?? 'token-of-caller', headers: { 'content-type': 'application/json', ...(o.name === undefined ? {} : { 'x-bkg-caller': o.name }) }, body: JSON.stringify(input) });
  const invoke = (token: string): Promise<Reply> =>
    doors.send('/api/plugins/caller/invoke', { method: 'POST', token, headers: { 'content-type': 'application/json' }, body: JSON.stringify({ capability: 'work.do', input: {} }) });

  return {
    doors, state, ask, invoke, show,
    /** Two people and no key; everything granted. */
    begin(): void {
      state.people = { users: { anna: { role: 'admin' }, dev: { role: 'developer' } }, keys: {} };
      state.grants = { caller: ALL_OF_CALLER, echo: ['house.createKey'] };
      for (const list of [doors.patches, doors.audited, doors.accounts]) list.length = 0;
      show();
    },
    grant(grants: Partial<Grants>): void {
      state.grants = { ...state.grants, ...grants };
      show();
    },
    async key(id: string, user: string, scopes: readonly string[], more: Partial<DeclaredKey> = {}): Promise<string> {
      const made = (await makeSecret(id))!;
      state.people.keys[id] = { user, scopes, hash: made.hash, ...more };
      show();
      return made.token;
    },
    revoke(id: string): void {
      delete state.people.keys[id];
      show();
    },
    /** Somebody calls the plugin, which asks on for them. */
    through(token: string, id: string, input: unknown): Promise<Reply> {
      state.work = (name) => ask(id, input, { name });
      return invoke(token);
    },
    async close(): Promise<void> {
      await doors.close();
      await worker.close();
    },
  };
}
