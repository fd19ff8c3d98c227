// The plugin by itself, before a bus made for the test: what it passes on, what it answers when bkg does not, how it ends.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openServer } from './server.ts';

const INBOUND = 'inbound-of-the-test';
const main = fileURLToPath(new URL('main.ts', import.meta.url));
const manifest = readFileSync(new URL('plugin.yaml', import.meta.url), 'utf8');

type Heard = { readonly url: string | undefined; readonly headers: IncomingHttpHeaders; readonly input: unknown };
const heard: Heard[] = [];
/** What the bus answers; a promise holds its answer back. */
let say: () => { readonly status: number; readonly body: string; readonly headers?: Readonly<Record<string, string>> } | Promise<never> = () => ({ status: 200, body: '{"ok":true}' });

let bus: Server;
let server: Server;
const portOf = (one: Server): number => (one.address() as AddressInfo).port;
const listening = async (one: Server): Promise<Server> => {
  one.listen(0, '127.0.0.1');
  await once(one, 'listening');
  return one;
};
const busUrl = (): string => `http://127.0.0.1:${portOf(bus)}`;
const closed = (one: Server): Promise<void> => new Promise((resolve) => {
  one.close(() => resolve());
  one.closeAllConnections();
});

test.before(async () => {
  bus = await listening(createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => { text += String(chunk); });
    request.on('end', () => {
      heard.push({ url: request.url, headers: request.headers, input: JSON.parse(text) as unknown });
      void Promise.resolve(say()).then(({ status, body, headers }) => response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body));
    });
  }));
  server = await listening(openServer({ url: busUrl(), token: 'token-of-the-test' }, INBOUND));
});
test.after(async () => {
  await closed(server);
  await closed(bus);
});
test.before.each(() => {
  heard.length = 0;
  say = () => ({ status: 200, body: '{"ok":true}' });
});

type Sent = { readonly method?: string; readonly token?: string; readonly headers?: Readonly<Record<string, string>>; readonly body?: string };
const send = (path: string, o: Sent = {}, port = portOf(server)): Promise<Response> =>
  fetch(`http://127.0.0.1:${port}${path}`, { method: o.method ?? 'POST', headers: { authorization: `Bearer ${o.token ?? INBOUND}`, ...o.headers }, body: o.method === 'GET' ? null : o.body ?? '{}' });
const codeOf = async (response: Response): Promise<unknown> => ((await response.json()) as { readonly code?: unknown }).code;

test('every route but /health wants the bearer of the appliance', async () => {
  assert.is((await send('/health', { method: 'GET', token: '' })).status, 200);
  for (const token of ['', 'wrong', `${INBOUND}x`]) for (const path of ['/create', '/validate', '/nothing']) assert.is((await send(path, { token })).status, 401);
  assert.is((await send('/nothing')).status, 404);
  assert.is((await send('/create', { method: 'GET' })).status, 405);
  assert.is(heard.length, 0);
});

test('each capability of the manifest is a route that asks bkg for what the manifest asks to call', async () => {
  const capabilities = [...manifest.matchAll(/^ {2}(\w+\.\w+):(?: [&*](\w+))?(?:\n {4}http: POST (\/\w+))?$/gm)].map(([, id, label, path]) => ({ id, label, path }));
  assert.equal(capabilities.map(({ id }) => id), ['auth.login', 'auth.createKey', 'auth.issueKey', 'keys.issue', 'auth.rotateKey', 'keys.rotate', 'auth.revokeKey', 'auth.listKeys', 'auth.validate', 'keys.audit']);
  const calls = /^calls: \[(.*)\]$/m.exec(manifest)?.[1]?.split(', ') ?? [];
  for (const { path } of capabilities) if (path !== undefined) assert.is((await send(path)).status, 200, path);
  assert.equal(heard.map(({ url }) => url?.replace('/invoke/', '')).toSorted(), calls.toSorted());
  for (const { id, label, path } of capabilities) assert.ok(path !== undefined || capabilities.some((other) => other.label === label && other.path !== undefined), id);
});

test('who called is passed on, and nothing else of the request; the answer comes back as it is', async () => {
  say = () => ({ status: 429, body: '{"code":"Busy"}', headers: { 'content-type': 'application/problem+json', 'retry-after': '7', 'x-inner': '1' } });
  const reply = await send('/create', { headers: { 'x-bkg-caller': 'name-of-somebody', 'x-other': '1' }, body: '{"scopes":["llm.chat"]}' });
  assert.equal([reply.status, reply.headers.get('retry-after'), reply.headers.get('content-type'), reply.headers.get('cache-control'), reply.headers.get('x-inner')], [429, '7', 'application/problem+json', 'no-store', null]);
  assert.is(await codeOf(reply), 'Busy');
  assert.equal([heard[0]!.url, heard[0]!.headers.authorization, heard[0]!.headers['x-bkg-caller'], heard[0]!.headers['x-other'], heard[0]!.input], ['/invoke/house.createKey', 'Bearer token-of-the-test', 'name-of-somebody', undefined, { scopes: ['llm.chat'] }]);
  await send('/validate', { body: '{"key":"x"}' });
  assert.is(heard[1]!.headers['x-bkg-caller'], undefined);
});

test('the audit log is asked for what is about keys', async () => {
  await send('/audit');
  await send('/audit', { body: '{"action":"key.rotate","limit":3}' });
  assert.equal(heard.map(({ input }) => input), [{ action: 'key.' }, { action: 'key.rotate', limit: 3 }]);
});

test('bodies that are none', async () => {
  assert.is((await send('/create', { body: '{' })).status, 400);
  assert.is((await send('/create', { body: '[]' })).status, 422);
  assert.is((await send('/create', { body: JSON.stringify({ name: 'x'.repeat(300_000) }) })).status, 413);
  assert.is((await send('/list', { body: '' })).status, 200);
  assert.equal(heard.map(({ input }) => input), [{}]);
});

async function freePort(): Promise<number> {
  const free = await listening(createServer());
  const port = portOf(free);
  await closed(free);
  return port;
}

test('without bkg nothing is said of any key', async () => {
  const alone = await listening(openServer({ url: `http://127.0.0.1:${await freePort()}`, token: 't' }, INBOUND));
  try {
    for (const path of ['/validate', '/login', '/create']) {
      const reply = await send(path, { body: '{"key":"x"}' }, portOf(alone));
      assert.equal([reply.status, reply.headers.get('retry-after'), await codeOf(reply)], [503, '1', 'BusUnreachable']);
    }
  } finally {
    await closed(alone);
  }
});

const start = (env: Readonly<Record<string, string>>): { readonly child: ChildProcess; readonly output: () => string } => {
  const child = spawn(process.execPath, [main], { env: { PATH: process.env['PATH'] ?? '', ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => { output += String(chunk); });
  return { child, output: () => output };
};
const ended = async (child: ChildProcess): Promise<number | null> => (child.exitCode ?? ((await once(child, 'exit')) as [number | null])[0]);
const COMPLETE = { BKG_BUS_URL: 'http://127.0.0.1:1', BKG_TOKEN: 't', BKG_INBOUND: INBOUND };

test('what it needs and does not get it says, and bkg does not try again', async () => {
  for (const name of ['BKG_PORT', 'BKG_BUS_URL', 'BKG_TOKEN', 'BKG_INBOUND']) {
    const { child, output } = start({ BKG_PORT: '0', ...COMPLETE, [name]: '' });
    assert.is(await ended(child), 78);
    assert.match(output(), name);
  }
});

test('SIGTERM ends it once what it answers is answered, and its log holds no secret', async () => {
  const port = await freePort();
  const { child, output } = start({ BKG_PORT: String(port), ...COMPLETE, BKG_BUS_URL: busUrl() });
  while (!output().includes('listening')) await once(child.stdout!, 'data');
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => { release = resolve; });
  say = () => held.then(() => ({ status: 401, body: '{"code":"LoginWrong"}' })) as Promise<never>;
  const reply = send('/login', { body: '{"user":"anna","password":"hunter2-of-the-test"}' }, port);
  while (heard.length === 0) await new Promise((resolve) => { setTimeout(resolve, 10); });
  child.kill('SIGTERM');
  while (!output().includes('finishing')) await once(child.stdout!, 'data');
  release();
  assert.is((await reply).status, 401);
  assert.is(await ended(child), 0);
  assert.not.match(output(), /hunter2|token-of|inbound-of/);
});

test.run();
