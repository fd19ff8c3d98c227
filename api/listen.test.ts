// The doors: who gets in, under which host, how errors look, what the document lists, how they close.
import { once } from 'node:events';
import { Agent, type ServerResponse, createServer, request } from 'node:http';
import { type AddressInfo, type Socket, connect } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Doors, TOKEN, openDoors, until } from './testing/doors.ts';

let doors: Doors;

test.before(async () => {
  doors = await openDoors({ plugins: [{ id: 'echo' }, { id: 'sleepy', state: 'ondemand', status: 'stopped', route: 'asleep' }] });
});
test.after(() => doors.close());

test('without the token there is nothing but health', async () => {
  for (const path of ['/api/plugins', '/api/config', '/openapi.json', '/metrics', '/no-such-path', '/api/core/plugins']) {
    const reply = await doors.send(path, { token: null });
    assert.is(reply.status, 401, path);
    assert.is(reply.headers['content-type'], 'application/problem+json');
    assert.is(reply.body['code'], 'TokenMissing');
    assert.match(String(reply.body['detail']), 'admin.token');
    assert.ok(reply.headers['www-authenticate']);
  }
  const wrong = await doors.send('/api/plugins', { token: `${TOKEN}x` });
  assert.is(wrong.body['code'], 'TokenWrong');
  const inQuery = await doors.send(`/api/plugins?access_token=${TOKEN}`, { token: null });
  assert.is(inQuery.status, 401);
  for (const path of ['/health', '/health/live', '/health/ready']) assert.is((await doors.send(path, { token: null })).status, 200, path);
  assert.is((await doors.send('/health', { token: null, method: 'POST' })).status, 401);
});

test('web and api serve the same; web has a page besides', async () => {
  assert.equal((await doors.send('/api/plugins', { door: 'web' })).body, (await doors.send('/api/plugins')).body);
  const page = await doors.send('/', { door: 'web', token: null });
  assert.is(page.status, 200);
  assert.match(page.text, '/openapi.json');
  assert.is((await doors.send('/', { door: 'api' })).status, 404);
});

test('a name that is not ours is refused on every door', async () => {
  for (const door of ['web', 'api', 'bus'] as const) {
    const port = doors.ports[door];
    for (const host of ['evil.example', `evil.example:${port}`, 'localhost.evil.example', '127.0.0.1.evil.example', 'a b', '[::1', 'evil.example@localhost']) {
      const reply = await doors.send('/health', { door, headers: { host } });
      assert.ok(reply.status === 421 || reply.status === 400, `${door} ${host} ${reply.status}`);
    }
    for (const host of ['localhost', `localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`, 'LocalHost', 'app.localhost']) {
      assert.is((await doors.send('/health', { door, headers: { host } })).status, 200, `${door} ${host}`);
    }
  }
});

test('what is not there, and verbs that are not known', async () => {
  const missing = await doors.send('/api/nothing');
  assert.is(missing.status, 404);
  assert.equal([missing.body['type'], missing.body['title'], missing.body['status'], missing.body['code']], ['about:blank', 'Not Found', 404, 'NotFound']);
  const verb = await doors.send('/api/plugins', { method: 'DELETE' });
  assert.is(verb.status, 405);
  assert.match(String(verb.headers['allow']), 'GET');
  assert.is(verb.body['code'], 'MethodNotAllowed');
});

test('a mistake of bkg shows an id that is in the log, and no stack', async () => {
  const own = await openDoors();
  own.reconciler.history = () => { throw new Error('secret inside'); };
  const reply = await own.send('/api/history');
  assert.is(reply.status, 500);
  assert.not.match(reply.text, 'secret inside');
  const id = String(reply.body['id']);
  assert.ok(own.logged.some((line) => line.includes(id) && line.includes('secret inside')));
  await own.close();
});

test('the document lists every route, older names too', async () => {
  const { body } = await doors.send('/openapi.json');
  const paths = body['paths'] as Record<string, Record<string, { readonly deprecated?: boolean; readonly operationId: string }>>;
  const all = Object.entries(paths).flatMap(([path, verbs]) => Object.keys(verbs).map((verb) => `${verb} ${path}`));
  for (const wanted of [
    'get /health', 'get /health/live', 'get /health/ready', 'get /metrics', 'get /openapi.json', 'get /api/schema', 'get /api/plan', 'get /api/drift', 'get /api/status', 'get /api/events', 'get /api/history',
    'get /api/config', 'patch /api/config', 'put /api/config', 'delete /api/config/{pointer}', 'get /api/plugins', 'post /api/plugins/{id}/start', 'post /api/plugins/{id}/stop', 'post /api/plugins/{id}/restart',
    'get /api/plugins/{id}/logs', 'post /api/plugins/{id}/config', 'post /api/plugins/{id}/invoke', 'get /api/models', 'get /api/models/{id}', 'delete /api/models/{id}', 'get /api/models/search', 'post /api/models/download', 'post /api/plugins/{id}/models/download', 'post /api/core/plugins/{id}/start', 'post /v1/chat/completions', 'get /ws/plugins',
  ]) assert.ok(all.includes(wanted), wanted);
  assert.is(paths['/api/core/plugins']?.['get']?.deprecated, true);
  const ids = Object.values(paths).flatMap((verbs) => Object.values(verbs).map((operation) => operation.operationId));
  assert.is(new Set(ids).size, ids.length, 'operation ids are unique');
  assert.not.match(JSON.stringify(body), '#/definitions/');
  // Every GET without parameters that is listed answers.
  for (const path of Object.keys(paths)) {
    if (path.includes('{') || /^\/(v1|ws)\//.test(path) || paths[path]?.['get'] === undefined) continue;
    assert.is((await doors.send(path)).status, 200, path);
  }
});

test('a stranger is limited, the owner and health are not', async () => {
  const own = await openDoors({ requestsPerMinute: 5 });
  for (let count = 0; count < 8; count += 1) assert.is((await own.send('/api/plan')).status, 200);
  const first = await own.send('/api/plan', { token: null });
  assert.equal([first.headers['x-ratelimit-limit'], first.headers['x-ratelimit-remaining']], ['5', '4']);
  for (let count = 0; count < 4; count += 1) assert.is((await own.send('/api/plan', { token: null })).status, 401);
  const limited = await own.send('/api/plan', { token: null });
  assert.is(limited.status, 429);
  assert.is(limited.body['code'], 'RateLimited');
  assert.ok(Number(limited.headers['retry-after']) >= 1 && Number(limited.headers['retry-after']) <= 60);
  assert.is((await own.send('/health', { token: null })).status, 200);
  assert.is((await own.send('/api/plan')).status, 200);
  own.show({ requestsPerMinute: 50 });
  assert.is((await own.send('/api/plan', { token: null })).status, 401);
  await own.close();
});

test('/v1 goes past the control plane', async () => {
  const seen: string[] = [];
  const own = await openDoors({}, { dataPlane: (request, response) => {
    seen.push(request.url ?? '');
    if (request.url === '/v1/no') return false;
    response.end('straight');
  } });
  assert.is((await own.send('/v1/models', { token: null })).text, 'straight');
  assert.is((await own.send('/v1/models', { door: 'web', token: null })).text, 'straight');
  assert.is((await own.send('/v1/no')).status, 404);
  assert.is((await own.send('/v1x')).status, 404);
  assert.is((await own.send('/v1/models', { headers: { host: 'evil.example' } })).status, 421);
  assert.equal(seen, ['/v1/models', '/v1/models', '/v1/no']);
  await own.close();
});

test('a taken port gives way to a free one', async () => {
  const holder = createServer();
  holder.listen(0, '127.0.0.1');
  await once(holder, 'listening');
  const taken = (holder.address() as AddressInfo).port;
  const own = await openDoors({}, { ports: { web: taken, api: 0, bus: 0 } });
  assert.is.not(own.ports.web, taken);
  assert.is((await own.send('/health', { door: 'web' })).status, 200);
  await own.close();
  holder.close();
});

test('closing lets what is in flight finish and frees the ports', async () => {
  const held: ServerResponse[] = [];
  const own = await openDoors({}, { dataPlane: (_request, response) => { held.push(response); } });
  const reply = own.send('/v1/slow');
  await until(() => held.length === 1, 'the request is in flight');
  const closing = own.close();
  held[0]!.end('whole');
  assert.is((await reply).text, 'whole');
  await closing;
  const refused = await new Promise<string>((resolve) => {
    const socket = connect(own.ports.api, '127.0.0.1', () => resolve('open'));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
  });
  assert.is(refused, 'ECONNREFUSED');
});

test('retired doors take nothing new but finish what they have, answer for health, and leave the bus alone', async () => {
  const held: ServerResponse[] = [];
  const own = await openDoors({}, { dataPlane: (_request, response) => { held.push(response); } });
  try {
    const reply = own.send('/v1/slow');
    await until(() => held.length === 1, 'the request is in flight');
    own.retire();
    const late = await own.send('/api/plugins');
    assert.equal([late.status, late.body['code'], late.headers['retry-after'], late.headers['connection']], [503, 'Stopping', '5', 'close']);
    const lateChat = await own.send('/v1/chat/completions', { method: 'POST', body: '{}' });
    assert.equal([lateChat.status, (lateChat.body['error'] as Record<string, unknown>)['code']], [503, 'stopping']);
    assert.is((await own.send('/health/live', { token: null })).status, 200);
    assert.is.not((await own.send('/health', { door: 'bus' })).status, 503);
    held[0]!.end('whole');
    assert.is((await reply).text, 'whole');
  } finally {
    await own.close();
  }
});

test('a connection that is kept alive gathers nothing, and is cut when it falls silent', async () => {
  const sockets = new Set<Socket>();
  const own = await openDoors({}, { dataPlane: (request, response) => {
    sockets.add(request.socket);
    if (request.url !== '/v1/models') return false;
    response.end('{}');
  } });
  const warnings: Error[] = [];
  const warned = (warning: Error): void => { warnings.push(warning); };
  process.on('warning', warned);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (path: string): Promise<number | undefined> => new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port: own.ports.api, path, agent, headers: { authorization: `Bearer ${TOKEN}` } }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode));
    }).on('error', reject).end();
  });
  const listeners = (): Readonly<Record<string, number>> => {
    const [socket] = sockets;
    return Object.fromEntries(socket!.eventNames().map((name) => [String(name), socket!.listenerCount(name)]));
  };
  try {
    // The control plane behind a glance of the data plane, the data plane, and the control plane alone.
    const round = async (): Promise<void> => { for (const path of ['/v1/none', '/v1/models', '/api/plan']) await ask(path); };
    await round();
    const before = listeners();
    for (let count = 0; count < 50; count += 1) await round();
    assert.is(sockets.size, 1, 'one connection carried them all');
    assert.equal(listeners(), before);
    assert.equal(warnings, []);
    own.reconciler.history = () => {
      const [socket] = sockets;
      assert.ok((socket!.timeout ?? 0) > 60_000);
      socket!.emit('timeout');
      return [];
    };
    assert.is(await ask('/api/history').catch((error: NodeJS.ErrnoException) => error.code), 'ECONNRESET');
  } finally {
    process.off('warning', warned);
    agent.destroy();
    await own.close();
  }
});

test('figures for Prometheus', async () => {
  const { text, headers } = await doors.send('/metrics');
  assert.match(String(headers['content-type']), 'text/plain');
  for (const line of ['bkg_plugin_requests_total{plugin="echo"} 7', 'bkg_plugin_restarts_total{plugin="echo"} 2', 'bkg_plugin_status{plugin="sleepy",status="stopped"} 1', 'bkg_plugin_own{plugin="echo",figure="tokens"} 3', 'bkg_converged 1']) {
    assert.ok(text.includes(line), line);
  }
  assert.match(text, /bkg_http_requests_total\{method="GET",route="\/api\/plugins",status="200"\} \d+/);
  assert.match(text, 'process_resident_memory_bytes');
  const again = await doors.send('/metrics');
  assert.ok(again.text.includes('bkg_plugin_requests_total{plugin="echo"} 7'), 'counters are not summed up from look to look');
});

test('health follows the plugins', async () => {
  const own = await openDoors({ plugins: [{ id: 'a' }] });
  const health = async (): Promise<unknown[]> => { const reply = await own.send('/health', { token: null }); return [reply.status, reply.body['status']]; };
  assert.equal(await health(), [200, 'ok']);
  own.show({ plugins: [{ id: 'a', status: 'starting' }] });
  assert.equal(await health(), [503, 'starting']);
  own.show({ plugins: [{ id: 'a' }, { id: 'b', status: 'error' }] });
  assert.equal(await health(), [503, 'failing']);
  own.show({ plugins: [{ id: 'a' }, { id: 'b', state: 'stopped', status: 'stopped' }, { id: 'c', state: 'ondemand', status: 'stopped' }] });
  assert.equal(await health(), [200, 'ok']);
  await own.close();
});

test.run();
