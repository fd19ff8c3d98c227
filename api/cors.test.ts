// Pages elsewhere: what server.cors opens to them, and what it never does.
import bcrypt from 'bcrypt';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Doors, type Reply, type Send, openDoors } from './testing/doors.ts';

const APP = 'https://app.example';
const corsOf = ({ headers }: Reply): readonly string[] => Object.keys(headers).filter((name) => name.startsWith('access-control-')).toSorted();
const varies = ({ headers }: Reply): readonly string[] => String(headers['vary'] ?? '').split(',').map((name) => name.trim().toLowerCase());
const preflight = (doors: Doors, path: string, origin: string, o: Send = {}): Promise<Reply> =>
  doors.send(path, { method: 'OPTIONS', token: null, ...o, headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization, content-type', ...o.headers } });

const open = (origins: readonly string[]): Promise<Doors> => openDoors({ plugins: [{ id: 'echo' }], server: { origins } }, { dataPlane: (request, response) => {
  if (request.url !== '/v1/models') return false;
  // As the data plane writes.
  response.writeHead(200, ['content-type', 'application/json', 'content-length', '2']);
  response.end('{}');
} });

test('without server.cors nothing is said to pages elsewhere', async () => {
  const doors = await open([]);
  for (const path of ['/v1/models', '/api/plugins', '/health', '/auth/me']) {
    const reply = await doors.send(path, { headers: { origin: APP } });
    assert.equal([corsOf(reply), varies(reply).includes('origin')], [[], false], path);
  }
  assert.is((await preflight(doors, '/api/plugins', APP)).status, 401);
  assert.equal(corsOf(await preflight(doors, '/api/plugins', APP)), []);
  await doors.close();
});

test('a declared origin may call /v1 and /api with a token, and read also why it is refused', async () => {
  const doors = await open([APP, 'http://localhost:3000']);
  for (const door of ['web', 'api'] as const) {
    for (const path of ['/v1/models', '/api/plugins', '/api/core/plugins', '/api/no-such', '/v1/no-such']) {
      for (const token of [undefined, null]) {
        const reply = await doors.send(path, { door, headers: { origin: APP }, ...(token === null ? { token } : {}) });
        assert.is(reply.headers['access-control-allow-origin'], APP, path);
        assert.is(reply.headers['access-control-expose-headers'], '*');
        assert.equal(corsOf(reply), ['access-control-allow-origin', 'access-control-expose-headers'], 'never credentials');
        assert.ok(varies(reply).includes('origin'), path);
      }
    }
  }
  assert.equal(varies(await doors.send('/api/config', { headers: { origin: APP } })).toSorted(), ['accept', 'origin'], 'what varies otherwise goes on to');
  assert.is((await doors.send('/api/plugins', { headers: { origin: 'http://localhost:3000' } })).headers['access-control-allow-origin'], 'http://localhost:3000');
  await doors.close();
});

test('others, and other paths, get nothing', async () => {
  const doors = await open([APP]);
  for (const origin of ['https://evil.example', 'https://app.example.evil', 'https://app.example:8443', 'http://app.example', 'https://APP.example', 'null', '', '*']) {
    const reply = await doors.send('/api/plugins', { headers: { origin } });
    assert.equal([corsOf(reply), varies(reply).includes('origin')], [[], true], `${origin}: a cache must not mix the two`);
    assert.equal(corsOf(await preflight(doors, '/v1/models', origin)), [], origin);
  }
  for (const path of ['/auth/login', '/admin/users', '/health', '/metrics', '/openapi.json', '/', '/apix', '/v1x']) assert.equal(corsOf(await doors.send(path, { door: 'web', headers: { origin: APP } })), [], path);
  assert.equal(corsOf(await doors.send('/health', { door: 'bus', headers: { origin: APP } })), []);
  assert.is((await doors.send('/api/plugins', { headers: { origin: APP, host: 'evil.example' } })).status, 421);
  assert.equal(corsOf(await doors.send('/api/plugins', { headers: { origin: APP, host: 'evil.example' } })), []);
  await doors.close();
});

test('a preflight is answered without a token, and says what may be sent', async () => {
  const doors = await open([APP]);
  for (const path of ['/v1/chat/completions', '/api/config/plugins/echo']) {
    const reply = await preflight(doors, path, APP, { headers: { 'access-control-request-headers': 'Authorization,X-Stainless-OS,openai-organization,x-stainless-retry-count,X-Forwarded-For,cookie' } });
    assert.is(reply.status, 204);
    assert.is(reply.text, '');
    assert.is(reply.headers['access-control-allow-methods'], 'GET, HEAD, POST, PUT, PATCH, DELETE');
    assert.equal(String(reply.headers['access-control-allow-headers']).split(', '), ['authorization', 'content-type', 'accept', 'if-match', 'x-bkg-source', 'x-bkg-csrf', 'x-stainless-os', 'openai-organization', 'x-stainless-retry-count']);
    assert.is(reply.headers['access-control-max-age'], '600');
    assert.equal(varies(reply), ['origin', 'access-control-request-headers']);
    assert.is(reply.headers['access-control-allow-credentials'], undefined);
  }
  // OPTIONS that is no preflight is as before.
  const plain = await doors.send('/api/plugins', { method: 'OPTIONS', headers: { origin: APP } });
  assert.is(plain.status, 200);
  assert.match(String(plain.headers['allow']), 'GET');
  await doors.close();
});

test('anywhere means anywhere, and a change counts from the next request on', async () => {
  const doors = await open(['*']);
  for (const origin of ['https://evil.example', 'null', 'chrome-extension://abc']) {
    const reply = await doors.send('/v1/models', { token: null, headers: { origin } });
    assert.equal([reply.headers['access-control-allow-origin'], reply.headers['access-control-allow-credentials']], ['*', undefined]);
  }
  assert.is((await preflight(doors, '/v1/models', 'https://evil.example')).headers['access-control-allow-origin'], '*');
  doors.show({ server: { origins: [APP] } });
  assert.equal(corsOf(await doors.send('/v1/models', { headers: { origin: 'https://evil.example' } })), []);
  doors.show({});
  assert.equal(corsOf(await doors.send('/v1/models', { headers: { origin: APP } })), []);
  await doors.close();
});

test('a cookie from elsewhere is nobody\'s, to read and to write, whatever server.cors says', async () => {
  const spec = { plugins: [{ id: 'echo' }], users: [{ name: 'ana', role: 'admin' as const, password: { kind: 'hash' as const, hash: bcrypt.hashSync('a long password', 4) } }] };
  const doors = await openDoors({ ...spec, server: { origins: ['*', APP] } });
  const own = `http://127.0.0.1:${doors.ports.api}`;
  const signedIn = await doors.send('/auth/login', { method: 'POST', token: null, headers: { 'content-type': 'application/json', origin: own }, body: '{"user":"ana","password":"a long password","cookie":true}' });
  assert.is(signedIn.status, 200);
  const cookie = (signedIn.headers['set-cookie'] ?? []).map((line) => line.split(';')[0]).join('; ');
  const ask = (headers: Record<string, string>, method = 'GET'): Promise<Reply> => doors.send('/api/plugins', { token: null, method, headers: { cookie, ...headers } });
  assert.is((await ask({})).status, 200, 'a page of ours reads without an Origin');
  assert.is((await ask({ origin: own })).status, 200);
  for (const origin of [APP, 'http://localhost:3000', `http://127.0.0.1:${doors.ports.bus}`, 'null']) {
    assert.equal([(await ask({ origin })).status, (await ask({ origin })).body['code']], [403, 'OriginForeign'], origin);
  }
  await doors.close();
});

test('pages elsewhere open no live connection', async () => {
  const doors = await open(['*', APP]);
  await doors.socket('/ws/plugins', { headers: { origin: APP } }).then(() => assert.unreachable('it was opened'), () => undefined);
  await doors.close();
});

test.run();
