// The live socket: who may open it, what comes first, what comes then, bad frames, slow readers, the end.
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makeSecret } from './auth/keys.ts';
import type { DesiredKey, DesiredUser, LogRecord, ModelView, Snapshot } from '../reconciler/index.ts';
import { validateWire } from '../schema/validate.ts';
import { type Doors, TOKEN, openDoors, send, until } from './testing/doors.ts';

let doors: Doors;
test.before.each(async () => { doors = await openDoors({ plugins: [{ id: 'echo' }, { id: 'other', status: 'starting', why: 'It is loading.' }] }); });
test.after.each(() => doors.close());

const UPGRADE = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': randomBytes(16).toString('base64') };

test('path, token and origin are checked before the handshake', async () => {
  const status = async (path: string, headers: Record<string, string> = {}, token: string | null = TOKEN): Promise<number> => (await send(doors.ports.api, path, { headers: { ...UPGRADE, ...headers }, token })).status;
  assert.is(await status('/ws/elsewhere'), 404);
  assert.is(await status('/ws/plugins', {}, null), 401);
  assert.is(await status('/ws/plugins', {}, 'wrong'), 401);
  assert.is(await status('/ws/plugins/nobody'), 404);
  assert.is(await status('/ws/plugins', { origin: 'http://evil.example' }), 403);
  assert.is(await status('/ws/plugins', { origin: 'null' }), 403);
  assert.is(await status('/ws/plugins', { origin: 'http://127.0.0.1:1' }), 403);
  assert.is(await status('/ws/plugins', { host: 'evil.example' }), 421);
  const own = await doors.socket('/ws/plugins', { headers: { origin: `http://127.0.0.1:${doors.ports.web}` } });
  own.close();
});

test('browsers may bring the token as a subprotocol or in the query', async () => {
  const named = await doors.socket('/ws/plugins', { token: null, protocols: ['bkg', `bkg.bearer.${TOKEN}`] });
  assert.is(named.protocol, 'bkg');
  named.close();
  (await doors.socket(`/ws/plugins?access_token=${TOKEN}`, { token: null, door: 'web' })).close();
});

test('first the state as it is, then what changes, each frame of the right shape', async () => {
  const socket = await doors.socket('/ws/plugins');
  for (const topic of ['status', 'telemetry', 'models', 'plan', 'events']) socket.say({ action: 'SUB', topic });
  const first = await socket.next((frame) => frame['topic'] === 'status' && frame['id'] === 'other');
  assert.equal([first['status'], first['message']], ['starting', 'It is loading.']);
  assert.is((await socket.next((frame) => frame['topic'] === 'status' && frame['id'] === 'echo'))['uptime'], 12);
  await socket.next((frame) => frame['topic'] === 'plan');
  const figures = await socket.next((frame) => frame['topic'] === 'telemetry' && frame['id'] === 'echo');
  for (const key of ['cpu', 'mem', 'throughput', 'uptime', 'requests', 'inFlight', 'errors', 'lastError']) assert.ok(key in figures, key);
  await until(() => socket.frames.filter((frame) => frame['topic'] === 'telemetry' && frame['id'] === 'echo').length >= 3, 'telemetry goes on');
  doors.show({ plugins: [{ id: 'echo', status: 'error', why: 'It crashed.' }] });
  const changed = await socket.next((frame) => frame['topic'] === 'status' && frame['id'] === 'echo' && frame['status'] === 'error');
  assert.is(changed['message'], 'It crashed.');
  await socket.next((frame) => frame['topic'] === 'status' && frame['id'] === 'other' && frame['status'] === 'stopped');
  doors.publish({ type: 'event', event: { seq: 9, at: 'now', reason: 'PluginExited', unit: 'plugin/echo#0', message: 'gone' } });
  await socket.next((frame) => frame['topic'] === 'events' && frame['reason'] === 'PluginExited');
  for (const frame of socket.frames) assert.equal(validateWire('serverFrame', frame), [], JSON.stringify(frame));
  socket.close();
});

const fetching = (id: string, more: Partial<ModelView>): ModelView =>
  ({ id, source: 'https://h/m.gguf', state: 'present', phase: 'fetching', sha256: null, bytes: 0, bytesTotal: null, usedBy: [], about: null, commit: null, verified: null, checking: null, conditions: [{ type: 'Available', status: 'False', reason: 'Fetching', message: `It is being fetched (${more.bytes ?? 0}).`, since: 'now', revision: 'r' }], ...more });

test('models: how each comes on, and that one is no longer declared', async () => {
  const plugins = [{ id: 'echo' }, { id: 'other' }];
  doors.show({ plugins, models: [fetching('a', { bytes: 1, bytesTotal: 4 })] });
  const socket = await doors.socket('/ws/plugins');
  socket.say({ action: 'SUB', topic: 'models' });
  const mine = await doors.socket('/ws/plugins');
  mine.say({ action: 'SUB', topic: 'models', pluginId: 'echo' });
  mine.say('ready?');
  await mine.next((frame) => frame['topic'] === 'error');
  assert.equal(await socket.next((frame) => frame['id'] === 'a'), { topic: 'models', id: 'a', phase: 'fetching', bytes: 1, bytesTotal: 4, message: 'It is being fetched (1).' });
  doors.show({ plugins, models: [fetching('a', { bytes: 1, bytesTotal: 4 }), fetching('b', { usedBy: ['echo'] })] });
  doors.show({ plugins, models: [fetching('a', { bytes: 3, bytesTotal: 4 }), fetching('b', { usedBy: ['echo'], bytes: 2 })] });
  doors.show({ plugins, models: [fetching('a', { phase: 'present', bytes: 4, bytesTotal: 4 })] });
  await socket.next((frame) => frame['id'] === 'b' && frame['phase'] === 'absent');
  const told = (id: string): readonly unknown[] => socket.frames.filter((frame) => frame['id'] === id).map((frame) => [frame['phase'], frame['bytes']]);
  assert.equal(told('a'), [['fetching', 1], ['fetching', 3], ['present', 4]], 'what has not changed is not told again');
  assert.equal(told('b'), [['fetching', 0], ['fetching', 2], ['absent', 0]]);
  await mine.next((frame) => frame['id'] === 'b' && frame['bytes'] === 2);
  assert.not(mine.frames.some((frame) => frame['id'] === 'a'), 'of one plugin only the models that it uses');
  for (const frame of socket.frames) assert.equal(validateWire('serverFrame', frame), []);
  socket.close();
  mine.close();
});

test('what has not changed is not told again; UNSUB ends it', async () => {
  const socket = await doors.socket('/ws/plugins');
  socket.say({ action: 'SUB', topic: 'status', pluginId: 'echo' });
  await socket.next((frame) => frame['topic'] === 'status');
  const again: Snapshot = { ...doors.reconciler.snapshot(), at: 'later' };
  doors.publish({ type: 'snapshot', snapshot: again });
  doors.show({ plugins: [{ id: 'echo', status: 'stopping' }, { id: 'other' }] });
  await socket.next((frame) => frame['status'] === 'stopping');
  assert.equal(socket.frames.map((frame) => frame['status']), ['running', 'stopping'], 'only this plugin, only changes');
  socket.say({ action: 'UNSUB', topic: 'status', pluginId: 'echo' });
  socket.say({ action: 'SUB', topic: 'plan' });
  await socket.next((frame) => frame['topic'] === 'plan');
  doors.show({ plugins: [{ id: 'echo', status: 'stopped' }, { id: 'other' }] });
  socket.say('not json');
  await socket.next((frame) => frame['topic'] === 'error');
  assert.is(socket.frames.filter((frame) => frame['topic'] === 'status').length, 2);
  socket.close();
});

test('bad frames are answered, not punished', async () => {
  const socket = await doors.socket('/ws/plugins');
  const bad: readonly (readonly [unknown, string])[] = [
    ['{', 'MalformedJson'], [{ action: 'SUB', topic: 'gossip' }, 'BadFrame'], [{ action: 'JUMP', topic: 'status' }, 'BadFrame'], [[], 'BadFrame'],
    [{ action: 'SUB', topic: 'logs', pluginId: 'nobody' }, 'PluginUnknown'],
  ];
  for (const [frame, code] of bad) {
    const before = socket.frames.length;
    socket.say(frame);
    await until(() => socket.frames.length > before, 'an answer');
    assert.equal([socket.frames.at(-1)?.['topic'], socket.frames.at(-1)?.['code']], ['error', code]);
  }
  socket.say({ action: 'SUB', topic: 'plan' });
  await socket.next((frame) => frame['topic'] === 'plan');
  socket.close();
});

const line = (offset: number, plugin = 'echo'): LogRecord =>
  ({ plugin, incarnation: 'i', stream: 'stdout', offset, at: 'now', level: 'info', message: `line ${offset}`, fields: { n: offset } });

test('logs: older lines first, none twice, none lost while they are read', async () => {
  let give = (): void => undefined;
  const held = new Promise<void>((resolve) => { give = resolve; });
  doors.reconciler.logs = async () => { await held; return [line(0), line(1), line(2)]; };
  const socket = await doors.socket('/ws/plugins');
  socket.say({ action: 'SUB', topic: 'plan' });
  socket.say({ action: 'SUB', topic: 'logs', pluginId: 'echo' });
  socket.say({ action: 'SUB', topic: 'events' });
  socket.say('answer me');
  await socket.next((frame) => frame['topic'] === 'error');
  for (const offset of [2, 3]) doors.publish({ type: 'log', record: line(offset) });
  doors.publish({ type: 'log', record: line(3, 'other') });
  give();
  await socket.next((frame) => frame['topic'] === 'logs' && frame['offset'] === 3);
  doors.publish({ type: 'log', record: line(4) });
  const last = await socket.next((frame) => frame['topic'] === 'logs' && frame['offset'] === 4);
  assert.equal(last, { topic: 'logs', id: 'echo', level: 'info', message: 'line 4', ts: 'now', incarnation: 'i', stream: 'stdout', offset: 4, fields: { n: 4 } });
  assert.equal(socket.frames.filter((frame) => frame['topic'] === 'logs').map((frame) => frame['offset']), [0, 1, 2, 3, 4]);
  socket.close();
});

test('/ws/plugins/{id} is everything of one plugin, and the older names on the bus', async () => {
  doors.answers.logs = [line(0)];
  const socket = await doors.socket('/ws/plugins/echo');
  for (const topic of ['status', 'telemetry', 'logs']) assert.is((await socket.next((frame) => frame['topic'] === topic))['id'], 'echo');
  socket.say({ action: 'SUB', topic: 'status', pluginId: 'other' });
  assert.is((await socket.next((frame) => frame['topic'] === 'error'))['code'], 'OtherPlugin');
  assert.not.ok(socket.frames.some((frame) => frame['id'] === 'other'));
  socket.close();
  const logs = await doors.socket('/ws/core/plugins/echo/logs', { door: 'bus' });
  await logs.next((frame) => frame['topic'] === 'logs' && frame['offset'] === 0);
  logs.close();
  const figures = await doors.socket('/ws/core/plugins/echo/telemetry', { door: 'bus' });
  await figures.next((frame) => frame['topic'] === 'telemetry');
  figures.close();
  assert.is((await send(doors.ports.bus, '/ws/core/plugins/echo/logs', { headers: UPGRADE, token: null })).status, 401);
  assert.is((await send(doors.ports.bus, '/ws/core/plugins/nobody/logs', { headers: UPGRADE })).status, 404);
});

test('a reader that stops loses log lines, not the house its memory', async () => {
  const slow = connect(doors.ports.api, '127.0.0.1');
  slow.write(`GET /ws/plugins HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\n${Object.entries(UPGRADE).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`);
  await new Promise((resolve) => { slow.once('data', resolve); });
  // One masked text frame: {"action":"SUB","topic":"logs"}, mask of zeros.
  const frame = Buffer.from('{"action":"SUB","topic":"logs"}');
  slow.write(Buffer.concat([Buffer.from([0x81, 0x80 | frame.length, 0, 0, 0, 0]), frame]));
  slow.pause();
  const fast = await doors.socket('/ws/plugins');
  fast.say({ action: 'SUB', topic: 'logs' });
  fast.say('ready?');
  await fast.next((answer) => answer['topic'] === 'error');
  const record: LogRecord = { ...line(0), message: 'x'.repeat(64 * 1024) };
  const received: Buffer[] = [];
  // 64 MB, far more than the system's own buffers take.
  for (let offset = 0; offset < 1_000; offset += 1) {
    doors.publish({ type: 'log', record: { ...record, offset } });
    if (offset % 20 === 19) await new Promise((resolve) => setImmediate(resolve));
  }
  slow.on('data', (chunk: Buffer) => received.push(chunk));
  slow.resume();
  await until(() => Buffer.concat(received).includes('lines left out'), 'the reader is told of the gap');
  assert.ok(Buffer.concat(received).length < 40_000_000, 'what was left out did not wait in memory');
  slow.destroy();
  fast.close();
});

test('what a key may hear is what it may now, not when it came', async () => {
  const secret = await makeSecret('ci');
  const anna: DesiredUser = { name: 'anna', role: 'admin', password: null };
  const key: DesiredKey = { id: 'ci', name: null, user: 'anna', scopes: ['config.read'], within: [], hash: secret!.hash, previous: null, expires: null, limits: { requestsPerMinute: null, tokensPerMinute: null, concurrent: null }, plugins: ['echo'] };
  const plugins = (status: 'running' | 'stopping') => [{ id: 'echo', status }, { id: 'other', status }];
  const own = await openDoors({ users: [anna], keys: [key], plugins: plugins('running') });
  const socket = await own.socket('/ws/plugins', { token: secret!.token });
  const codeOf = async (frame: unknown): Promise<unknown> => {
    const before = socket.frames.length;
    socket.say(frame);
    return (await socket.next((answer) => socket.frames.indexOf(answer) >= before))['code'];
  };
  assert.is(await codeOf({ action: 'SUB', topic: 'models' }), 'ScopeMissing');
  const whole = await own.socket('/ws/plugins/echo', { token: secret!.token });
  await whole.next((frame) => frame['topic'] === 'telemetry');
  assert.not(whole.frames.some((frame) => frame['topic'] === 'models' || frame['code'] !== undefined));
  whole.close();
  assert.is(await codeOf({ action: 'SUB', topic: 'status' }), 'PluginNotAssigned');
  assert.is(await codeOf({ action: 'SUB', topic: 'status', pluginId: 'echo' }), undefined);
  own.show({ users: [anna], keys: [{ ...key, plugins: ['other'] }], plugins: plugins('running') });
  assert.is(await codeOf({ action: 'SUB', topic: 'status', pluginId: 'echo' }), 'PluginNotAssigned');
  await new Promise((resolve) => { setTimeout(resolve, 1_200); });
  own.show({ users: [anna], keys: [{ ...key, plugins: ['other'] }], plugins: plugins('stopping') });
  assert.is(await codeOf({ action: 'SUB', topic: 'status', pluginId: 'other' }), undefined);
  assert.equal(socket.frames.filter((frame) => frame['topic'] === 'status').map((frame) => [frame['id'], frame['status']]), [['echo', 'running'], ['other', 'stopping']]);
  own.show({ users: [anna], keys: [], plugins: plugins('stopping') });
  assert.is(await socket.closed, 1008);
  await own.close();
});

test('closing says 1001', async () => {
  const own = await openDoors();
  const socket = await own.socket('/ws/plugins');
  await own.close();
  assert.is(await socket.closed, 1001);
});

test.run();
