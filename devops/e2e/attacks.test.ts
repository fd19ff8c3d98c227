// Everything a stranger, a thief or a climber might try at the doors of a real appliance; which routes are tried comes from the document about them.
import { readFileSync } from 'node:fs';
import { WebSocket } from 'undici';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { RIGHTS } from '../../schema/scopes.ts';
import { appliance, reaches, type Answer, type Appliance } from './appliance.ts';

const PASSWORDS = { root: 'correct horse battery staple', dev: 'dev-password-of-a-test', ro: 'ro-password-of-a-test' } as const;
type Name = keyof typeof PASSWORDS;

const yaml = `version: 1
plugins:
  one: { use: ./plugins/echo }
  two: { use: ./plugins/echo }
users:
  root: { role: admin, password: { env: ROOT_PASSWORD } }
  dev: { role: developer, password: { env: DEV_PASSWORD } }
  ro: { role: readonly, password: { env: RO_PASSWORD } }
`;

let house: Appliance;
const text = (): string => readFileSync(house.config, 'utf8');
const codeOf = (answer: Answer): unknown => (answer.body as { readonly code?: unknown } | null)?.code;

type Wish = { readonly method?: string; readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> };
const as = (token: string | null, path: string, wish: Wish = {}): Promise<Answer> => house.ask(path, { ...wish, headers: { ...(token === null ? { authorization: '' } : { authorization: `Bearer ${token}` }), ...wish.headers } });

const login = (user: string, password: string): Promise<Answer> => as(null, '/auth/login', { method: 'POST', body: { user, password } });
async function session(user: Name): Promise<{ readonly access_token: string; readonly refresh_token: string }> {
  const answer = await login(user, PASSWORDS[user]);
  assert.is(answer.status, 200, JSON.stringify(answer.body));
  return answer.body as { readonly access_token: string; readonly refresh_token: string };
}
async function mint(scopes: readonly string[], more: Readonly<Record<string, unknown>> = {}): Promise<{ readonly id: string; readonly key: string }> {
  const answer = await house.ask('/admin/api-keys', { method: 'POST', body: { user: 'root', scopes, ...more } });
  assert.is(answer.status, 201, JSON.stringify(answer.body));
  return answer.body as { readonly id: string; readonly key: string };
}

type Row = { readonly method: string; readonly path: string; readonly scope: string };

/** Every route the appliance says it has, with the scope it says it needs. */
async function rows(): Promise<readonly Row[]> {
  const { body } = await house.ask('/openapi.json');
  const { paths } = body as { readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly 'x-scope'?: string }>>>> };
  return Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).flatMap(([method, about]) => {
    const scope = about['x-scope'];
    // The data plane and live sockets answer in words of their own; gateway and live have their suites.
    return scope === undefined || path.startsWith('/v1/') || path.startsWith('/ws/') ? [] : [{ method: method.toUpperCase(), path, scope }];
  }));
}

const filled = (path: string): string => path.replace('{pointer}', 'plugins/one').replace('/plugins/{id}', '/plugins/one').replaceAll(/\{\w+\}/g, 'nothing');
/** Enough of a body to get past its reading; nothing of it is ever carried out. */
const wishFor = ({ method, path }: Row): Wish => (method === 'GET' ? {} : {
  method, headers: { 'if-match': '*', 'content-type': method === 'PATCH' && path.startsWith('/api/config') ? 'application/merge-patch+json' : 'application/json' },
  body: path.endsWith('/invoke') ? { capability: 'test.echo', input: {} } : path.endsWith('{pointer}') ? { state: 'stopped' } : path === '/api/config' ? { version: 1 } : {},
});

test.before(async () => {
  house = await appliance({ yaml, env: { ROOT_PASSWORD: PASSWORDS.root, DEV_PASSWORD: PASSWORDS.dev, RO_PASSWORD: PASSWORDS.ro } });
  for (const id of ['one', 'two']) await reaches(house, id, 'running');
});
test.after(async () => { assert.equal(await house.dispose(), []); });

test('every route names a scope that is one, and lets nobody in without a token', async () => {
  const all = await rows();
  assert.ok(all.length > 40, 'the table is read');
  const known = new Set([...Object.keys(RIGHTS), 'public', 'self', 'places', 'capability']);
  for (const row of all) {
    assert.ok(known.has(row.scope), `${row.method} ${row.path}: ${row.scope}`);
    if (row.scope === 'public') continue;
    const answer = await as(null, filled(row.path), wishFor(row));
    assert.is(answer.status, 401, `${row.method} ${row.path} without a token`);
  }
});

test('no route but those about oneself lets a key in that has no scope, or every right but the one it needs', async () => {
  const before = text();
  const all = (await rows()).filter(({ scope }) => !['public', 'self'].includes(scope));
  const none = await mint([]);
  const others = new Map<string, string>();
  for (const right of Object.keys(RIGHTS)) others.set(right, (await mint(Object.keys(RIGHTS).filter((other) => other !== right))).key);
  const after = text();
  for (const row of all) {
    const tokens = [none.key, ...(others.has(row.scope) ? [others.get(row.scope)!] : [])];
    for (const token of tokens) {
      const answer = await as(token, filled(row.path), wishFor(row));
      assert.is(answer.status, 403, `${row.method} ${row.path}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 200)}`);
      assert.is(codeOf(answer), 'ScopeMissing', `${row.method} ${row.path}`);
    }
  }
  assert.is(text(), after, 'nothing was written');
  assert.is.not(after, before);
  assert.ok((await house.plugins()).every((plugin) => plugin.status === 'running'));
});

test('a developer climbs nowhere, whatever words the edit is sent in', async () => {
  const { access_token: dev } = await session('dev');
  const before = text();
  const patch = (body: unknown): Wish => ({ method: 'PATCH', body, headers: { 'if-match': '*', 'content-type': 'application/json-patch+json' } });
  const merge = (body: unknown): Wish => ({ method: 'PATCH', body, headers: { 'if-match': '*', 'content-type': 'application/merge-patch+json' } });
  const put = (body: unknown, type = 'application/json'): Wish => ({ method: 'PUT', body, headers: { 'if-match': '*', 'content-type': type } });
  const tries: readonly (readonly [path: string, wish: Wish])[] = [
    ['/api/config', patch([{ op: 'add', path: '/users/dev/role', value: 'admin' }])],
    ['/api/config', patch([{ op: 'copy', from: '/users/root/role', path: '/users/dev/role' }])],
    ['/api/config', patch([{ op: 'move', from: '/users/root', path: '/users/dev' }])],
    ['/api/config', patch([{ op: 'test', path: '/users/dev/role', value: 'developer' }, { op: 'replace', path: '/users/dev', value: { role: 'admin' } }])],
    ['/api/config', merge({ users: { dev: { role: 'admin' } } })],
    ['/api/config/users', merge({ dev: { role: 'admin' } })],
    ['/api/config/users/dev', put({ role: 'admin' })],
    ['/api/config/users%2Fdev', put({ role: 'admin' })],
    ['/api/config/%75sers/dev', put({ role: 'admin' })],
    ['/api/config/plugins/..%2F..%2Fusers/dev', put({ role: 'admin' })],
    ['/api/config/plugins/../users/dev', put({ role: 'admin' })],
    ['/api/config//users/dev', put({ role: 'admin' })],
    ['/api/config/users/dev/role', put('"admin"')],
    ['/api/config', put(yaml.replace('role: developer', 'role: admin'), 'application/yaml')],
    ['/api/config', put(yaml.replace('users:\n', 'users: &everybody\n').replace('dev: { role: developer', 'dev: { role: "admin"'), 'application/yaml')],
    ['/api/config/plugins/one/env', merge({ LD_PRELOAD: './x.so' })],
    ['/api/config/plugins/evil', put({ manifest: { run: ['sh', '-c', 'id'] } })],
    ['/api/config/plugins/one', merge({ use: './plugins/trouble' })],
    ['/api/config/plugins/one/config', merge({ secret: '${env:ROOT_PASSWORD}' })],
    ['/api/plugins/one/config', { method: 'POST', body: { secret: '${env:ROOT_PASSWORD}' } }],
    ['/api/config/models', merge({ shadow: { source: 'file:/etc/shadow' } })],
    ['/api/config/server', merge({ host: '0.0.0.0' })],
    ['/admin/users', { method: 'POST', body: { name: 'evil', role: 'admin', password: 'a password of a test' } }],
    ['/admin/users/dev', { method: 'PUT', body: { role: 'admin' } }],
    ['/admin/users/root', { method: 'DELETE' }],
    ['/admin/api-keys', { method: 'POST', body: { user: 'root', scopes: ['llm.chat'] } }],
    ['/admin/api-keys', { method: 'POST', body: { scopes: ['users.write'] } }],
    ['/admin/api-keys', { method: 'POST', body: { scopes: ['*'] } }],
    ['/admin/audit', {}],
  ];
  for (const [path, wish] of tries) {
    const answer = await as(dev, path, wish);
    assert.ok([403, 404, 422].includes(answer.status), `${wish.method ?? 'GET'} ${path} ${JSON.stringify(wish.body)}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 200)}`);
    assert.is(text(), before, `${path} wrote nothing`);
  }
  const seen = (await as(dev, '/api/config')).body as Readonly<Record<string, unknown>>;
  assert.is('users' in seen, false, 'whoever may not see people sees none');
  assert.is((await as(dev, '/api/config', { headers: { accept: 'application/yaml' } })).status, 403);
});

test('what a developer may do works, in a key of their own, too', async () => {
  const { access_token: dev } = await session('dev');
  assert.is((await as(dev, '/api/plugins/two/stop', { method: 'POST' })).status, 200);
  assert.is((await as(dev, '/api/plugins/two/start', { method: 'POST' })).status, 200);
  const own = await as(dev, '/admin/api-keys', { method: 'POST', body: { id: 'devs-own', scopes: ['plugins.control'], plugins: ['two'] } });
  assert.is(own.status, 201, JSON.stringify(own.body));
  const { key } = own.body as { readonly key: string };
  assert.is((await as(key, '/api/plugins/two/restart', { method: 'POST' })).status, 200);
  const other = await as(key, '/api/plugins/one/restart', { method: 'POST' });
  assert.equal([other.status, codeOf(other)], [403, 'PluginNotAssigned']);
  assert.is((await as(dev, '/admin/api-keys/devs-own', { method: 'DELETE' })).status, 200);
  assert.is((await as(key, '/api/plugins/two/restart', { method: 'POST' })).status, 401);
});

test('names of prototypes are names like any other', async () => {
  const { access_token: root } = await session('root');
  const headers = { 'if-match': '*', 'content-type': 'application/merge-patch+json' };
  for (const body of ['{"__proto__": {"polluted": true}}', '{"plugins": {"__proto__": {"polluted": true}}}', '{"users": {"constructor": {"prototype": {"polluted": true}}}}', '{"plugins": {"one": {"config": {"__proto__": {"polluted": true}}}}}']) {
    const answer = await as(root, '/api/config', { method: 'PATCH', body, headers });
    assert.is(answer.status, 422, `${body}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 200)}`);
  }
  const patch = await as(root, '/api/config', { method: 'PATCH', body: [{ op: 'add', path: '/__proto__/polluted', value: true }], headers: { ...headers, 'content-type': 'application/json-patch+json' } });
  assert.is(patch.status, 422);
  assert.is((await as('bkg___proto___' + 'a'.repeat(43), '/v1/models')).status, 401);
  assert.is((await login('__proto__', 'x')).status, 401);
  assert.is((await login('constructor', 'x')).status, 401);
  assert.is('polluted' in ((await as(root, '/auth/me')).body as object), false);
});

test('unknown user, wrong password, a user without one: the same words', async () => {
  const answers = await Promise.all([login('nobody', PASSWORDS.root), login('root', 'wrong'), login('root', PASSWORDS.root.toUpperCase()), login('root', 'x'.repeat(100))]);
  for (const answer of answers) assert.equal([answer.status, (answer.body as { readonly detail: string }).detail], [401, (answers[0]!.body as { readonly detail: string }).detail]);
  for (const body of [{}, { user: 'root' }, { user: { $ne: null }, password: { $ne: null } }, { user: 'root', password: '' }, { user: 'root', password: PASSWORDS.root, admin: true }]) assert.is((await as(null, '/auth/login', { method: 'POST', body })).status, 422, JSON.stringify(body));
});

test('a cookie counts only from a page of the appliance, and for a write only with its csrf', async () => {
  const own = house.url;
  const signedIn = await fetch(`${own}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json', origin: own }, body: JSON.stringify({ user: 'root', password: PASSWORDS.root, cookie: true }) });
  assert.is(signedIn.status, 200);
  const set = signedIn.headers.getSetCookie();
  assert.ok(set.length === 2 && set.every((cookie) => /; HttpOnly; SameSite=Strict/.test(cookie)), String(set));
  const cookie = set.map((one) => one.split(';')[0]).join('; ');
  const { csrf } = (await signedIn.json()) as { readonly csrf: string };
  const write = (headers: Readonly<Record<string, string>>): Promise<Answer> => as(null, '/admin/users', { method: 'POST', body: { name: 'eve', role: 'readonly' }, headers: { cookie, ...headers } });
  const foreign = ['https://evil.example', 'null', own.replace('127.0.0.1', 'localhost'), own.replace(/\d+$/, '1'), `${own}.evil.example`];
  assert.is(codeOf(await write({ 'x-bkg-csrf': csrf })), 'OriginForeign', 'without an Origin');
  for (const origin of foreign) assert.is(codeOf(await write({ origin, 'x-bkg-csrf': csrf })), 'OriginForeign', origin);
  assert.is(codeOf(await write({ origin: own })), 'CsrfMissing');
  assert.is(codeOf(await write({ origin: own, 'x-bkg-csrf': `${csrf}x` })), 'CsrfMissing');
  const other = await fetch(`${own}/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json', origin: 'https://evil.example' }, body: JSON.stringify({ user: 'root', password: PASSWORDS.root, cookie: true }) });
  assert.is(other.status, 403, 'no cookie is set for a foreign page');
  assert.is((await write({ origin: own, 'x-bkg-csrf': csrf })).status, 201);
  assert.is((await as(null, '/auth/me', { headers: { cookie } })).status, 200);
  assert.is((await as(null, '/auth/logout', { method: 'POST', headers: { cookie, origin: own, 'x-bkg-csrf': csrf } })).status, 200);
  assert.is((await as(null, '/auth/me', { headers: { cookie } })).status, 401, 'signed out at once');
});

/** What becomes of a socket: `open`, or the code it is closed with; `refused` when it never opens. */
async function socket(headers: Readonly<Record<string, string>>, protocols: readonly string[] = []): Promise<{ readonly opened: boolean; readonly socket: WebSocket; readonly closed: Promise<number> }> {
  const made = new WebSocket(`${house.url.replace('http', 'ws')}/ws/plugins`, { headers, protocols: [...protocols] });
  const closed = new Promise<number>((resolve) => { made.addEventListener('close', (event) => resolve(event.code)); });
  const opened = await new Promise<boolean>((resolve) => {
    made.addEventListener('open', () => resolve(true));
    made.addEventListener('error', () => resolve(false));
  });
  return { opened, socket: made, closed };
}

test('a live socket needs a token that may look, and ends with it', async () => {
  const { access_token: ro } = await session('ro');
  const chat = await mint(['llm.chat']);
  for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: `Bearer ${chat.key}` }, { authorization: `Bearer ${ro}`, origin: 'https://evil.example' }] as readonly Readonly<Record<string, string>>[]) assert.is((await socket(headers)).opened, false, JSON.stringify(headers));
  const open = await socket({ authorization: `Bearer ${ro}` });
  assert.is(open.opened, true);
  assert.is((await as(ro, '/auth/logout', { method: 'POST' })).status, 200);
  assert.is(await open.closed, 1008);
});

test('a refresh token is good once; whoever uses an old one ends the session', async () => {
  const first = await session('ro');
  const renew = (refresh_token: string): Promise<Answer> => as(null, '/auth/refresh', { method: 'POST', body: { refresh_token } });
  const second = await renew(first.refresh_token);
  assert.is(second.status, 200);
  const tokens = second.body as { readonly access_token: string; readonly refresh_token: string };
  assert.is((await as(tokens.access_token, '/auth/me')).status, 200);
  assert.is(codeOf(await renew(first.refresh_token)), 'RefreshReused');
  assert.is((await as(tokens.access_token, '/auth/me')).status, 401);
  assert.is(codeOf(await renew(tokens.refresh_token)), 'SessionEnded');
});

test.run();
