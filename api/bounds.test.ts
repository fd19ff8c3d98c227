// The doors against clients that are slow or large, where they stand, what they answer to, and what every answer carries.
import { once } from 'node:events';
import { type Socket, connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { pino } from 'pino';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Patience } from './server.ts';
import { type Doors, TOKEN, openDoors, send } from './testing/doors.ts';
import { dataPlane, type Gateway } from './v1/gateway.ts';

let doors: Doors;
/** As `doors`, but quick to lose patience. */
let hasty: Doors;
const gateways: Gateway[] = [];
const PATIENCE = { headers_ms: 250, request_ms: 600, look_ms: 50 };

async function withDataPlane(patience?: Patience): Promise<Doors> {
  let gateway: Gateway | null = null;
  const open: Doors = await openDoors({ plugins: [{ id: 'echo' }], server: { names: ['mybox.lan'] } }, { ...(patience === undefined ? {} : { patience }), dataPlane: (request, response) => gateway!.listener(request, response) });
  gateway = dataPlane({ reconciler: open.reconciler, access: open.access, own: () => ({ host: '127.0.0.1', ports: [] }), log: pino({ level: 'silent' }) });
  gateways.push(gateway);
  return open;
}

test.before(async () => {
  doors = await withDataPlane();
  hasty = await withDataPlane(PATIENCE);
});
test.after(async () => {
  await Promise.all([doors.close(), hasty.close()]);
  await Promise.all(gateways.map((gateway) => gateway.close()));
});

/** Sends bytes, gathers what comes until the other side closes. */
async function raw(port: number, bytes: string, o: { readonly onOpen?: (socket: Socket) => void } = {}): Promise<{ readonly text: string; readonly took_ms: number }> {
  const socket = connect(port, '127.0.0.1');
  // A break is an end like others: what came before it is what counts.
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => { socket.once('close', resolve); });
  let text = '';
  socket.on('data', (chunk: Buffer) => { text += chunk.toString('latin1'); });
  await once(socket, 'connect');
  const begun = performance.now();
  socket.write(bytes);
  o.onOpen?.(socket);
  await closed;
  return { text, took_ms: performance.now() - begun };
}

const statusOf = (text: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0);

test('headers of more than 16 KiB are 431, of a little less are fine', async () => {
  for (const door of ['web', 'api', 'bus'] as const) {
    const request = (filler: number): string => `GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-a: ${'a'.repeat(filler)}\r\n\r\n`;
    assert.is(statusOf((await raw(doors.ports[door], request(17 * 1024))).text), 431, door);
    assert.is.not(statusOf((await raw(doors.ports[door], request(15 * 1024))).text), 431, door);
  }
  const many = Array.from({ length: 3_000 }, (_, index) => `x-${index}: ${index}\r\n`).join('');
  assert.is(statusOf((await raw(doors.ports.api, `GET /health HTTP/1.1\r\nhost: localhost\r\n${many}\r\n`)).text), 431, 'many small ones');
  assert.is(statusOf((await raw(doors.ports.api, `GET /${'a'.repeat(17 * 1024)} HTTP/1.1\r\nhost: localhost\r\n\r\n`)).text), 431, 'a long path');
});

test('who sends headers or a body slowly is cut, who is quick is not', async () => {
  const drip = (each_ms: number) => ({ onOpen: (socket: Socket): void => {
    const timer = setInterval(() => socket.write('a'), each_ms);
    socket.once('close', () => clearInterval(timer));
  } });
  for (const door of ['web', 'api', 'bus'] as const) {
    const headers = await raw(hasty.ports[door], 'GET /health HTTP/1.1\r\nhost: localhost\r\nx-a: ', drip(20));
    assert.equal([statusOf(headers.text), headers.took_ms >= PATIENCE.headers_ms], [408, true], door);
  }
  const body = await raw(hasty.ports.api, `POST /api/config HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n`, drip(50));
  assert.ok(body.took_ms >= PATIENCE.request_ms && body.took_ms < 10_000, String(body.took_ms));
  const chat = await raw(hasty.ports.api, `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${TOKEN}\r\ncontent-length: 1000\r\n\r\n`, drip(50));
  assert.ok(chat.took_ms >= PATIENCE.request_ms && chat.took_ms < 10_000, String(chat.took_ms));
  assert.is((await hasty.send('/health/live')).status, 200);
});

test('bodies beyond their bound are 413, whether they say so or not', async () => {
  const head = (path: string, how: string): string => `PATCH ${path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${TOKEN}\r\ncontent-type: application/merge-patch+json\r\nif-match: *\r\n${how}\r\n\r\n`;
  assert.is(statusOf((await raw(doors.ports.api, head('/api/config', `content-length: ${9 * 2 ** 20}`))).text), 413, 'at once, before a byte of it');
  const chunk = `${(2 ** 20).toString(16)}\r\n${' '.repeat(2 ** 20)}\r\n`;
  const chunked = await raw(doors.ports.api, head('/api/config', 'transfer-encoding: chunked'), { onOpen: (socket) => { for (let count = 0; count < 9; count += 1) socket.write(chunk); } });
  assert.is(statusOf(chunked.text), 413);
  assert.is((await doors.send('/v1/chat/completions', { method: 'POST', body: ' '.repeat(33 * 2 ** 20) })).status, 413);
  // A megabyte of extensions of a chunk is no body, and is read no further.
  assert.is(statusOf((await raw(doors.ports.api, head('/api/config', 'transfer-encoding: chunked') + `1;${'a'.repeat(64 * 1024)}`)).text), 413);
});

test('every answer carries what keeps browsers from misusing it', async () => {
  for (const [path, o] of [
    ['/', { door: 'web', token: null }], ['/health', {}], ['/api/plugins', {}], ['/api/plugins', { token: null }], ['/no-such', {}], ['/api/plugins', { method: 'DELETE' }], ['/health', { door: 'bus' }], ['/invoke/a.b', { door: 'bus', method: 'POST' }],
    ['/v1/models', {}], ['/v1/models', { token: null }], ['/v1/none', {}], ['/health', { headers: { host: 'evil.example' } }], ['/v1/models', { headers: { host: 'evil.example' } }],
  ] as const) {
    const { headers, status } = await doors.send(path, o);
    assert.equal([headers['x-content-type-options'], headers['referrer-policy'], headers['x-frame-options'], headers['cross-origin-resource-policy'], headers['strict-transport-security']], ['nosniff', 'no-referrer', 'DENY', 'same-origin', undefined], `${status} ${path} ${JSON.stringify(o)}`);
  }
  const refused = await raw(doors.ports.api, 'GET /ws/none HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
  assert.match(refused.text, /^HTTP\/1\.1 404 [\s\S]*x-content-type-options: nosniff\r\n/);
});

test('an offer of another protocol is passed over, not followed', async () => {
  const h2c = await raw(doors.ports.api, 'GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQBAAAAAAIAAAAA\r\n\r\n');
  assert.is(statusOf(h2c.text), 200);
  assert.is(statusOf((await raw(doors.ports.api, 'CONNECT localhost:22 HTTP/1.1\r\nhost: localhost:22\r\n\r\n')).text), 0, 'no tunnel');
});

test('names of the file are answered to, as soon as they stand there', async () => {
  const host = async (name: string, door: 'web' | 'api' | 'bus' = 'api'): Promise<number> => (await doors.send('/health/live', { door, headers: { host: name } })).status;
  for (const name of ['mybox.lan', 'MyBox.LAN:80', 'mybox.lan.']) assert.is(await host(name), 200, name);
  for (const name of ['mybox', 'a.mybox.lan', 'mybox.lan.evil.example']) assert.is(await host(name), 421, name);
  const refused = await doors.send('/health', { headers: { host: 'other.lan' } });
  assert.match(String(refused.body['detail']), 'server.names');
  doors.show({ plugins: [{ id: 'echo' }], server: { names: ['other.lan'] } });
  assert.equal([await host('other.lan'), await host('mybox.lan')], [200, 421]);
  doors.show({ plugins: [{ id: 'echo' }], server: { names: ['mybox.lan'] } });
});

const lan = Object.values(networkInterfaces()).flatMap((own) => own ?? []).find((own) => !own.internal && own.family === 'IPv4')?.address;

test('on one address of the network the machine itself comes in as well, and the bus stays with it', async () => {
  if (lan === undefined) return void console.log('skipped: this machine has no address but loopback');
  const open = await openDoors({}, { host: lan });
  const reaches = (host: string, port: number): Promise<boolean> => new Promise((resolve) => {
    const socket = connect(port, host, () => { socket.destroy(); resolve(true); }).on('error', () => resolve(false));
  });
  try {
    for (const door of ['web', 'api'] as const) assert.equal([await reaches(lan, open.ports[door]), await reaches('127.0.0.1', open.ports[door]), await reaches('127.0.0.2', open.ports[door])], [true, true, false], door);
    assert.equal([await reaches(lan, open.ports.bus), await reaches('127.0.0.1', open.ports.bus)], [false, true]);
    assert.is((await send(open.ports.api, '/api/plugins')).status, 200, 'the admin token is good here');
  } finally {
    await open.close();
  }
  assert.equal([await reaches(lan, open.ports.api), await reaches('127.0.0.1', open.ports.api)], [false, false]);
});

test('on every address; the bus is not', async () => {
  for (const host of ['0.0.0.0', '::']) {
    const open = await openDoors({}, { host }).catch((error: NodeJS.ErrnoException) => error.code);
    if (typeof open === 'string' || open === undefined) {
      assert.is(open, 'EAFNOSUPPORT');
      console.log('skipped: this machine has no IPv6');
      continue;
    }
    try {
      assert.is((await open.send('/api/plugins')).status, 200);
      assert.is((await open.send('/health', { door: 'bus' })).status, 200);
      if (lan !== undefined) {
        const socket = connect(open.ports.bus, lan);
        const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
        assert.is(error.code, 'ECONNREFUSED');
      }
    } finally {
      await open.close();
    }
  }
});

test('a port that is taken on one of the two addresses gives way on both', async () => {
  if (lan === undefined) return void console.log('skipped: this machine has no address but loopback');
  const holder = await openDoors({}, { host: '127.0.0.1' });
  const open = await openDoors({}, { host: lan, ports: { web: 0, api: holder.ports.api, bus: 0 } });
  try {
    assert.is.not(open.ports.api, holder.ports.api);
    assert.is((await open.send('/health/live')).status, 200);
  } finally {
    await open.close();
    await holder.close();
  }
});

test('the page of the first password lets its form be sent with its origin, and its link go nowhere else', async () => {
  const own = await openDoors();
  const { status, headers, text } = await own.send('/setup?code=x', { door: 'web', token: null });
  assert.match(text, /not the link of this start/);
  assert.not.match(text, /<form/);
  assert.equal([status, headers['referrer-policy']], [200, 'same-origin']);
  await own.close();
});

test.run();
