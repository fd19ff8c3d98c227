// The plugin bus: tokens, grants, providers, calls between plugins, and JSON-RPC over the socket.
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { covers } from '../schema/scopes.ts';
import { type Doors, type Reply, openDoors, openPlugin, send, until } from './testing/doors.ts';
import { capability, type PluginSpec } from './testing/house.ts';

const UPGRADE = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': randomBytes(16).toString('base64') };
const chat = capability('llm.chat', { input: { type: 'object', required: ['text'], properties: { text: { type: 'string' } } } });

let doors: Doors;
let plugin: Awaited<ReturnType<typeof openPlugin>>;
const seen: { readonly url: string | undefined; readonly authorization: string | undefined }[] = [];

const plugins = (grants: readonly string[], more: readonly PluginSpec[] = []): readonly PluginSpec[] =>
  [{ id: 'caller', grants, capabilities: [capability('llm.chat')] }, { id: 'echo', port: plugin.port, capabilities: [chat] }, ...more];

test.before(async () => {
  plugin = await openPlugin((request, response) => {
    seen.push({ url: request.url, authorization: request.headers.authorization });
    request.resume();
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"said":"hello"}');
  });
  doors = await openDoors({ plugins: plugins(['llm.chat']) });
});
test.after(async () => {
  await doors.close();
  await plugin.close();
});
test.before.each(() => { doors.show({ plugins: plugins(['llm.chat']) }); seen.length = 0; });

const call = (path: string, o: { readonly token?: string | null; readonly body?: string; readonly method?: string } = {}): Promise<Reply> =>
  send(doors.ports.bus, path, { method: o.method ?? 'POST', token: o.token === undefined ? 'token-of-caller' : o.token, headers: { 'content-type': 'application/json' }, body: o.body ?? '{"text":"hi"}' });

test('only the token of a running plugin opens the bus', async () => {
  assert.is((await call('/invoke/llm.chat', { token: null })).body['code'], 'TokenMissing');
  assert.is((await call('/invoke/llm.chat', { token: 'old' })).body['code'], 'TokenWrong');
  assert.is((await call('/invoke/llm.chat', { token: 'the-admin-token-of-this-test' })).status, 401);
  assert.is((await send(doors.ports.bus, '/', { headers: UPGRADE, token: 'old' })).status, 401);
  assert.is((await send(doors.ports.bus, '/', { headers: { ...UPGRADE, origin: 'http://localhost' }, token: 'token-of-caller' })).status, 403);
  assert.is((await send(doors.ports.bus, '/elsewhere', { headers: UPGRADE, token: 'token-of-caller' })).status, 404);
  assert.is((await call('/elsewhere')).status, 404);
  assert.is((await call('/invoke/llm.chat', { method: 'PUT' })).status, 405);
  assert.is((await send(doors.ports.bus, '/health', { token: null })).status, 200);
});

test('a call goes to another plugin, with that plugin’s bearer', async () => {
  const reply = await call('/invoke/llm.chat');
  assert.equal([reply.status, reply.body], [200, { said: 'hello' }]);
  assert.equal(seen, [{ url: '/llm.chat', authorization: 'Bearer inbound-of-echo' }]);
  assert.is(doors.leases.at(-1)?.plugin, 'echo');
  assert.is((await call('/invoke/llm.chat', { body: '{"text":1}' })).body['code'], 'InputInvalid');
  assert.is((await call('/invoke/llm.chat', { body: '{' })).body['code'], 'MalformedJson');
});

test('a plugin that is bound to a key asks no more often than the key may', async () => {
  const key = { id: 'slow', name: null, user: 'anna', scopes: ['llm.chat'], within: [], hash: 'h', previous: null, expires: null, limits: { requestsPerMinute: 1, tokensPerMinute: null, concurrent: null }, plugins: null };
  const [caller, ...others] = plugins(['llm.chat']);
  doors.show({ plugins: [{ ...caller!, key: 'slow' }, ...others], users: [{ name: 'anna', role: 'admin', password: null }], keys: [key] });
  assert.is((await call('/invoke/llm.chat')).status, 200);
  const second = await call('/invoke/llm.chat');
  assert.equal([second.status, second.body['code'], second.headers['retry-after'] !== undefined], [429, 'RateLimited', true]);
});

test('what is not granted names the line that grants it', async () => {
  doors.show({ plugins: plugins(['repo.read']) });
  const reply = await call('/invoke/llm.chat');
  assert.equal([reply.status, reply.body['code']], [403, 'NotGranted']);
  assert.match(String(reply.body['detail']), 'plugins.caller.grants: [repo.read, llm.chat]');
  assert.is(seen.length, 0);
  assert.equal([covers('repo.*', 'repo.read'), covers('repo.*', 'repository.read'), covers('llm.chat', 'llm.chat'), covers('llm', 'llm.chat')], [true, false, true, false]);
});

test('the provider is named, or the readiest', async () => {
  doors.show({ plugins: plugins(['llm.chat', 'x.y'], [{ id: 'lazy', state: 'ondemand', status: 'stopped', route: 'asleep', capabilities: [chat] }]).toReversed() });
  assert.is((await call('/invoke/llm.chat')).status, 200);
  assert.is(doors.leases.at(-1)?.plugin, 'echo');
  doors.answers.lease = (id, at) => { if (id === 'lazy' && at === null) setImmediate(() => doors.show({ plugins: plugins(['llm.chat'], [{ id: 'lazy', port: plugin.port, capabilities: [chat] }]) })); };
  assert.is((await call('/invoke/llm.chat?plugin=lazy')).status, 200);
  assert.equal([doors.leases.at(-1)?.plugin, doors.leases.at(-1)?.at], ['lazy', [null, 'inc-lazy']]);
  doors.answers.lease = () => undefined;
  assert.is((await call('/invoke/llm.chat?plugin=nobody')).body['code'], 'CapabilityUnknown');
  doors.show({ plugins: plugins(['x.y']) });
  assert.is((await call('/invoke/x.y')).status, 404);
});

test('what a plugin says of itself reaches the reconciler under its incarnation', async () => {
  const socket = await doors.socket('/', { door: 'bus', token: 'token-of-caller' });
  socket.say({ jsonrpc: '2.0', id: 1, method: 'register' });
  const { result } = await socket.next((message) => message['id'] === 1);
  assert.equal(result, { plugin: 'caller', incarnation: 'inc-caller', revision: doors.reconciler.snapshot().desired.revision });
  doors.reports.length = 0;
  socket.say({ jsonrpc: '2.0', method: 'log', params: { level: 'warn', message: 'careful' } });
  socket.say({ jsonrpc: '2.0', method: 'telemetry', params: { tokens: 12 } });
  socket.say({ jsonrpc: '2.0', id: 'h', method: 'health', params: { ok: false, message: 'low on memory' } });
  assert.equal((await socket.next((message) => message['id'] === 'h'))['result'], { ok: true });
  assert.equal(doors.reports, [
    { incarnation: 'inc-caller', report: { log: { level: 'warn', message: 'careful' } } }, { incarnation: 'inc-caller', report: { telemetry: { tokens: 12 } } },
    { incarnation: 'inc-caller', report: { log: { level: 'warn', message: 'health: low on memory' } } },
  ]);
  socket.close();
});

test('mistakes are answered as JSON-RPC has it', async () => {
  const socket = await doors.socket('/', { door: 'bus', token: 'token-of-caller' });
  socket.say('{');
  assert.equal((await socket.next((message) => message['id'] === null))['error'], { code: -32_700, message: 'A message must be JSON text.' });
  socket.say({ jsonrpc: '2.0', id: 7, method: 'telemetry', params: { tokens: 'many' } });
  const { error } = await socket.next((message) => message['id'] === 7);
  assert.is((error as { readonly code: number }).code, -32_600);
  socket.close();
});

test('an event reaches the other plugins, a live change of settings its own', async () => {
  const caller = await doors.socket('/', { door: 'bus', token: 'token-of-caller' });
  const echo = await doors.socket('/', { door: 'bus', token: 'token-of-echo' });
  caller.say({ jsonrpc: '2.0', id: 1, method: 'event', params: { name: 'index.ready', data: { documents: 3 } } });
  assert.equal((await caller.next((message) => message['id'] === 1))['result'], { told: 1 });
  const heard = await echo.next((message) => message['method'] === 'event');
  assert.equal(heard['params'], { plugin: 'caller', name: 'index.ready', data: { documents: 3 } });
  const changed = (config: { readonly size: number }, launchHash = 'l'): void => doors.show({ plugins: [{ id: 'caller', grants: ['llm.chat'] }, { id: 'echo', port: plugin.port, capabilities: [chat], config, launchHash }] });
  changed({ size: 2 });
  const told = await echo.next((message) => message['method'] === 'config.changed');
  assert.equal((told['params'] as { readonly config: unknown }).config, { size: 2 });
  changed({ size: 3 }, 'another');
  caller.say({ jsonrpc: '2.0', id: 2, method: 'event', params: { name: 'after' } });
  await until(() => echo.frames.some((frame) => (frame['params'] as { readonly name?: string }).name === 'after'), 'the later event');
  assert.is(echo.frames.filter((frame) => frame['method'] === 'config.changed').length, 1, 'a change that needs a new process is not told');
  assert.not.ok(caller.frames.some((frame) => frame['method'] === 'config.changed'));
  caller.close();
  echo.close();
});

test.run();
