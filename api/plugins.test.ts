// Plugin routes: views, logs, start, stop, restart, settings, and calls that are passed on.
import type { RequestListener } from 'node:http';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LogRecord, ModelView } from '../reconciler/index.ts';
import { type Doors, openDoors, openPlugin, send, until } from './testing/doors.ts';
import { capability, type PluginSpec } from './testing/house.ts';

const TEXT = 'version: 1\nplugins:\n  echo:\n  sleepy: { state: ondemand }\n  off: { state: stopped }\n';
const PLUGINS: readonly PluginSpec[] = [
  { id: 'echo', capabilities: [capability('demo.echo')] }, { id: 'sleepy', state: 'ondemand', status: 'stopped', route: 'asleep' }, { id: 'off', state: 'stopped', status: 'stopped' },
];
const MODEL: ModelView = { id: 'mini', source: 'file:mini.gguf', state: 'present', phase: 'present', sha256: null, bytes: 5, bytesTotal: 5, usedBy: ['echo'], about: null, commit: null, verified: null, checking: null, conditions: [] };

let doors: Doors;
test.before.each(async () => { doors = await openDoors({ text: TEXT, plugins: PLUGINS, models: [MODEL] }); });
test.after.each(() => doors.close());

const post = (path: string, body?: unknown): ReturnType<Doors['send']> =>
  doors.send(path, { method: 'POST', ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }) });

test('views, under the older name too', async () => {
  const { body } = await doors.send('/api/plugins');
  const [echo] = body['plugins'] as Record<string, unknown>[];
  for (const key of ['id', 'use', 'state', 'status', 'pid', 'port', 'uptime', 'capabilities', 'conditions', 'telemetry']) assert.ok(key in echo!, key);
  assert.equal((await doors.send('/api/core/plugins')).body, body);
  assert.equal((await doors.send('/api/plugins/echo')).body, echo);
  assert.is((await doors.send('/api/core/plugins/echo/status')).body['status'], 'running');
  assert.is(((await doors.send('/api/plugins/echo/capabilities')).body['capabilities'] as unknown[]).length, 1);
  assert.is((await doors.send('/api/plugins/echo/telemetry')).body['cpu'], 1.5);
  const unknown = await doors.send('/api/plugins/nobody');
  assert.equal([unknown.status, unknown.body['code']], [404, 'PluginUnknown']);
  assert.match(String(unknown.body['detail']), 'echo, sleepy, off');
  assert.is((await doors.send('/api/models/mini')).body['bytes'], 5);
  assert.is((await doors.send('/api/models/maxi')).body['code'], 'ModelUnknown');
});

const line = (offset: number, level: LogRecord['level']): LogRecord =>
  ({ plugin: 'echo', incarnation: 'inc-echo', stream: 'stdout', offset, at: '2026-01-01T00:00:00.000Z', level, message: `line ${offset}`, fields: null });

test('logs: limit, level, text, and a place to go on from', async () => {
  doors.answers.logs = [line(0, 'info'), line(10, 'error'), line(20, 'debug')];
  const asked: unknown[] = [];
  const { logs } = doors.reconciler;
  doors.reconciler.logs = (query) => { asked.push(query.after); return logs(query); };
  const all = await doors.send('/api/plugins/echo/logs');
  assert.equal((all.body['logs'] as { offset: number }[]).map((record) => record.offset), [0, 10, 20]);
  assert.is(all.body['next'], 'inc-echo:stdout:20');
  assert.is(((await doors.send('/api/plugins/echo/logs?limit=1')).body['logs'] as unknown[]).length, 1);
  const errors = await doors.send('/api/plugins/echo/logs?level=warn&limit=1&after=inc-echo:stdout:20');
  assert.equal((errors.body['logs'] as { offset: number }[]).map((record) => record.offset), [10]);
  assert.equal(asked.at(-1), { incarnation: 'inc-echo', stream: 'stdout', offset: 20 });
  assert.is((await doors.send('/api/plugins/echo/logs?format=text&level=error')).text, '2026-01-01T00:00:00.000Z ERROR line 10\n');
  for (const query of ['limit=-1', 'limit=1e9', 'level=loud', 'after=here']) assert.is((await doors.send(`/api/plugins/echo/logs?${query}`)).body['code'], 'BadQuery', query);
});

test('start and stop are edits of the file', async () => {
  doors.show({ text: TEXT, plugins: [{ id: 'off', state: 'stopped', status: 'running' }] });
  const started = await post('/api/plugins/off/start');
  assert.equal([started.status, started.body['id'], started.body['status']], [200, 'off', 'running']);
  assert.equal(doors.patches[0]?.change, { operations: [{ op: 'add', path: '/plugins/off/state', value: 'running' }] });
  assert.is(doors.patches[0]?.ifRevision, null);
  doors.show({ text: TEXT, plugins: [{ id: 'echo', status: 'stopped' }] });
  assert.is((await post('/api/core/plugins/echo/stop')).status, 200);
  assert.equal(doors.patches[1]?.change, { operations: [{ op: 'add', path: '/plugins/echo/state', value: 'stopped' }] });
});

test('starting what is on demand wakes it and leaves the file alone', async () => {
  doors.answers.ask = () => doors.show({ text: TEXT, plugins: [{ id: 'sleepy', state: 'ondemand' }] });
  const reply = await post('/api/plugins/sleepy/start');
  assert.equal([reply.status, doors.patches.length, doors.asks.map((ask) => ask.kind)], [200, 0, ['wake']]);
});

test('starting what has failed asks for another try', async () => {
  doors.show({ text: TEXT, plugins: [{ id: 'echo', status: 'error' }] });
  doors.answers.ask = () => doors.show({ text: TEXT, plugins: [{ id: 'echo' }] });
  assert.is((await post('/api/plugins/echo/start')).status, 200);
  assert.equal([doors.asks.map((ask) => ask.kind), doors.patches.length], [['retry'], 0]);
});

test('what does not come about is said with its reason', async () => {
  doors.show({ text: TEXT, plugins: [{ id: 'echo', status: 'error', why: 'It failed 5 times.' }] });
  doors.answers.settled = { outcome: 'failed', message: 'echo: It failed 5 times.' };
  const failed = await post('/api/plugins/echo/start');
  assert.equal([failed.status, failed.body['code']], [503, 'Down']);
  assert.match(String(failed.body['detail']), 'It failed 5 times');
  doors.answers.settled = { outcome: 'converged', message: '' };
  assert.is((await post('/api/plugins/echo/start')).status, 503, 'converged, yet not running');
  doors.answers.settled = { outcome: 'timeout', message: 'still loading' };
  const slow = await post('/api/plugins/echo/start?timeout=1s');
  assert.equal([slow.status, slow.body['operation'], doors.asks.at(-1)?.kind], [202, 'ask-3', 'retry']);
  assert.is((await doors.send('/api/operations/ask-3')).body['outcome'], 'running');
  assert.is((await doors.send('/api/operations/edit-2')).body['outcome'], 'running');
  assert.is((await doors.send('/api/operations/edit-99')).status, 404);
  assert.is((await doors.send('/api/operations/nonsense')).status, 404);
});

test('a restart is done when a newer process runs', async () => {
  assert.is((await post('/api/plugins/echo/restart')).status, 503, 'the same incarnation is no restart');
  doors.answers.ask = () => doors.show({ text: TEXT, plugins: [{ id: 'echo', incarnation: 'inc-2' }, ...PLUGINS.slice(1)] });
  const done = await post('/api/plugins/echo/restart');
  assert.equal([done.status, done.body['incarnation'], doors.patches.length], [200, 'inc-2', 0]);
  assert.equal([(await post('/api/plugins/off/restart')).body['code'], (await post('/api/plugins/sleepy/restart')).body['code']], ['Stopped', 'Asleep']);
});

test('settings are merged into the file', async () => {
  assert.is((await post('/api/plugins/echo/config', { size: 4 })).status, 200);
  assert.equal(doors.patches[0]?.change, { operations: [{ op: 'add', path: '/plugins/echo/config', value: { size: 4 } }] });
  assert.is((await post('/api/plugins/echo/config', [1])).status, 422);
});

const answers: RequestListener = (request, response) => {
  let text = '';
  request.on('data', (chunk: Buffer) => { text += chunk.toString(); });
  request.on('end', () => {
    if (request.url === '/broken') { response.writeHead(500).end('{"error":"mine"}'); return; }
    if (request.url === '/cut') { response.writeHead(200, { 'content-length': '100' }); response.write('half'); setImmediate(() => response.destroy()); return; }
    response.writeHead(200, { 'content-type': 'application/json', 'x-inner': 'kept inside' });
    response.end(JSON.stringify({ url: request.url, authorization: request.headers.authorization, body: text === '' ? null : JSON.parse(text) as unknown }));
  });
};

test('a call is checked, counted, passed on with the plugin’s own bearer, and its answer comes back', async () => {
  const plugin = await openPlugin(answers);
  const input = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'], additionalProperties: false };
  doors.show({ plugins: [{ id: 'echo', port: plugin.port, capabilities: [capability('demo.echo', { input }), capability('demo.get', { method: 'GET' }), capability('demo.broken', { path: '/broken' }), capability('demo.cut', { path: '/cut' })] }] });
  const reply = await post('/api/plugins/echo/invoke', { capability: 'demo.echo', input: { n: 1 } });
  assert.equal(reply.body, { url: '/demo.echo', authorization: 'Bearer inbound-of-echo', body: { n: 1 } });
  assert.is(reply.headers['x-inner'], undefined);
  assert.is((await post('/api/plugins/echo/invoke', { capability: 'demo.get', input: { q: 'a b' } })).body['url'], '/demo.get?q=a+b');
  const wrong = await post('/api/plugins/echo/invoke', { capability: 'demo.echo', input: { n: 'x' } });
  assert.equal([wrong.status, wrong.body['code']], [422, 'InputInvalid']);
  assert.is((await post('/api/plugins/echo/invoke', { capability: 'demo.none' })).body['code'], 'CapabilityUnknown');
  assert.is((await post('/api/plugins/echo/invoke', { input: {} })).body['code'], 'BodyInvalid');
  const broken = await post('/api/plugins/echo/invoke', { capability: 'demo.broken' });
  assert.equal([broken.status, broken.text], [500, '{"error":"mine"}']);
  const cut = await post('/api/plugins/echo/invoke', { capability: 'demo.cut' }).then(() => 'whole', () => 'cut');
  assert.is(cut, 'cut');
  await until(() => doors.leases.length === 4 && doors.leases.every((lease) => lease.outcome !== null), 'every lease ended');
  assert.equal(doors.leases.map((lease) => lease.outcome?.error === null), [true, true, false, false]);
  await plugin.close();
  const gone = await post('/api/plugins/echo/invoke', { capability: 'demo.echo', input: { n: 1 } });
  assert.equal([gone.status, gone.body['code']], [502, 'PluginUnreachable']);
});

test('streams are passed on as they come; a client that leaves ends the work', async () => {
  let ended = false;
  const plugin = await openPlugin((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: one\n\n');
    response.on('close', () => { ended = true; });
  });
  doors.show({ plugins: [{ id: 'echo', port: plugin.port, capabilities: [capability('demo.stream', { stream: true })] }] });
  const controller = new AbortController();
  const response = await fetch(`http://127.0.0.1:${doors.ports.api}/api/plugins/echo/invoke`, {
    method: 'POST', signal: controller.signal, headers: { authorization: 'Bearer the-admin-token-of-this-test', 'content-type': 'application/json' }, body: '{"capability":"demo.stream"}',
  });
  assert.is(response.headers.get('content-type'), 'text/event-stream');
  const { value } = await response.body!.getReader().read();
  assert.is(new TextDecoder().decode(value), 'data: one\n\n');
  controller.abort();
  await until(() => ended, 'the plugin saw the client leave');
  await until(() => doors.leases[0]?.outcome !== null, 'the lease ended');
  assert.is(doors.leases[0]?.outcome?.error, null, 'a client that leaves is no error of the plugin');
  await plugin.close();
});

test('a sleeping plugin is woken and waited for; a broken one is not', async () => {
  const plugin = await openPlugin(answers);
  const capabilities = [capability('demo.echo')];
  doors.show({ plugins: [{ id: 'nap', state: 'ondemand', status: 'stopped', route: 'asleep', capabilities }] });
  doors.answers.lease = () => { setTimeout(() => doors.show({ plugins: [{ id: 'nap', state: 'ondemand', port: plugin.port, capabilities }] }), 20); };
  assert.is((await post('/api/plugins/nap/invoke', { capability: 'demo.echo' })).status, 200);
  assert.equal(doors.leases[0]?.at, [null, 'inc-nap'], 'what waits wakes it, then counts where it goes');
  doors.answers.lease = () => undefined;
  doors.show({ plugins: [{ id: 'nap', status: 'error', route: 'down', capabilities, why: 'It crashes.' }] });
  const down = await post('/api/plugins/nap/invoke', { capability: 'demo.echo' });
  assert.equal([down.status, down.body['code'], down.headers['retry-after']], [503, 'PluginNotReady', '5']);
  assert.match(String(down.body['detail']), 'It crashes.');
  await plugin.close();
});

test('limits of a capability bind', async () => {
  const plugin = await openPlugin(answers);
  doors.show({ plugins: [{ id: 'limited', port: plugin.port, capabilities: [capability('demo.twice', { limits: { requestsPerMinute: 2, concurrent: null } })] }] });
  const statuses: number[] = [];
  for (let count = 0; count < 3; count += 1) statuses.push((await post('/api/plugins/limited/invoke', { capability: 'demo.twice' })).status);
  assert.equal(statuses, [200, 200, 429]);
  const refused = await send(doors.ports.api, '/api/plugins/limited/invoke', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"capability":"demo.twice"}' });
  assert.ok(Number(refused.headers['retry-after']) > 0);
  await plugin.close();
});

test.run();
