// Requests within requests: whatever two parsers could read differently is refused, and a connection gives nobody the rights of who spoke before.
import { connect } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Doors, TOKEN, openDoors, until } from './testing/doors.ts';

/** No answer comes later on an idle loopback. */
const QUIET_MS = 120;
const AUTH = `authorization: Bearer ${TOKEN}\r\n`;
/** What an attacker wants to be taken for the next request. */
const INNER = 'GET /api/plugins HTTP/1.1\r\nhost: localhost\r\n\r\n';

let doors: Doors;
/** What reached the data plane. */
const reached: { readonly url: string | undefined; readonly authorization: string | undefined; readonly body: string }[] = [];

test.before(async () => {
  doors = await openDoors({ plugins: [{ id: 'echo' }] }, { dataPlane: (request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => { body += chunk.toString('latin1'); });
    request.on('end', () => {
      reached.push({ url: request.url, authorization: request.headers.authorization, body });
      response.end(`${request.url} ${body}`);
    });
  } });
});
test.before.each(() => { reached.length = 0; });
test.after(() => doors.close());

type Heard = { readonly statuses: readonly number[]; readonly closed: boolean; readonly text: string };

/** Writes the pieces one after another and hears what comes until it is quiet. */
async function say(port: number, ...pieces: readonly string[]): Promise<Heard> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  let closed = false;
  let last = performance.now();
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    last = performance.now();
  });
  socket.on('error', () => undefined);
  socket.on('close', () => { closed = true; });
  for (const piece of pieces) {
    socket.write(Buffer.from(piece, 'latin1'));
    if (pieces.length > 1) await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
  await until(() => closed || (text !== '' && performance.now() - last > QUIET_MS), 'it is quiet');
  socket.destroy();
  return { text, closed, statuses: [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((found) => Number(found[1])) };
}

const post = (headers: string, body: string): string => `POST /v1/x HTTP/1.1\r\nhost: localhost\r\n${AUTH}${headers}\r\n\r\n${body}`;
const get = (headers: string): string => `GET /v1/x HTTP/1.1\r\nhost: localhost\r\n${headers}\r\n`;
const chunked = (body: string): string => post('transfer-encoding: chunked', body);

const MALFORMED: Readonly<Record<string, string>> = {
  'a length and chunks': post('content-length: 4\r\ntransfer-encoding: chunked', `0\r\n\r\n${INNER}`),
  'chunks and a length': post('transfer-encoding: chunked\r\ncontent-length: 4', `0\r\n\r\n${INNER}`),
  'chunks and no length at all': post(`transfer-encoding: chunked\r\ncontent-length: 0`, `0\r\n\r\n${INNER}`),
  'two lengths': post(`content-length: 0\r\ncontent-length: ${INNER.length}`, INNER),
  'the same length twice': post('content-length: 2\r\ncontent-length: 2', '{}'),
  'lengths in a list': post('content-length: 2, 2', '{}'),
  'a length with a sign': post('content-length: +2', '{}'),
  'a negative length': post('content-length: -1', '{}'),
  'a length in hex': post('content-length: 0x2', '{}'),
  'a length with a gap': post('content-length: 2 3', '{}'),
  'a length beyond 64 bits': post('content-length: 18446744073709551618', '{}'),
  'a gap before the colon of the length': post('content-length : 2', '{}'),
  'a gap before the colon of the encoding': post('transfer-encoding : chunked', '0\r\n\r\n'),
  'a folded header': get('x-a: b\r\n c\r\n'),
  'a folded encoding': post('transfer-encoding:\r\n\tchunked', `0\r\n\r\n${INNER}`),
  'a folded token': get(`x-a: b\r\n ${AUTH}`),
  'a first header that is folded': `GET /v1/x HTTP/1.1\r\n host: localhost\r\n${AUTH}\r\n`,
  'a bare LF after the request line': `GET /v1/x HTTP/1.1\nhost: localhost\r\n${AUTH}\r\n`,
  'a bare LF after a header': get(`x-a: b\n${AUTH}`),
  'a bare LF at the end of the headers': `GET /v1/x HTTP/1.1\r\nhost: localhost\r\n${AUTH}\n`,
  'LF alone throughout': get(AUTH).replaceAll('\r\n', '\n'),
  'a bare CR within a header': get(`x-a: b\rc: d\r\n${AUTH}`),
  'a NUL within a header': get(`x-a: b\0\r\n${AUTH}`),
  'a chunk whose size is no number': chunked(`xyz\r\n{}\r\n0\r\n\r\n${INNER}`),
  'a chunk of negative size': chunked(`-1\r\n{}\r\n0\r\n\r\n${INNER}`),
  'a chunk whose size says 0x': chunked('0x2\r\n{}\r\n0\r\n\r\n'),
  'a chunk beyond 64 bits': chunked('10000000000000002\r\n{}\r\n0\r\n\r\n'),
  'a chunk longer than its size': chunked(`1\r\n{}\r\n0\r\n\r\n${INNER}`),
  'a size with a gap': chunked('2 \r\n{}\r\n0\r\n\r\n'),
  'a bare LF after a size': chunked(`2\n{}\r\n0\r\n\r\n${INNER}`),
  'a bare LF after a chunk': chunked(`2\r\n{}\n0\r\n\r\n${INNER}`),
  'a bare LF after an extension': chunked(`2;a\n{}\r\n0\r\n\r\n${INNER}`),
  'an encoding of another name': post('transfer-encoding: xchunked', `2\r\n{}\r\n0\r\n\r\n${INNER}`),
  'an encoding behind chunks': post('transfer-encoding: chunked, identity', `0\r\n\r\n${INNER}`),
  'an encoding before chunks': post('transfer-encoding: gzip, chunked', '2\r\n{}\r\n0\r\n\r\n'),
  'no encoding by name': post('transfer-encoding: identity', INNER),
  'two encodings': post('transfer-encoding: identity\r\ntransfer-encoding: chunked', `2\r\n{}\r\n0\r\n\r\n${INNER}`),
  'two encodings, the other way': post('transfer-encoding: chunked\r\ntransfer-encoding: identity', `2\r\n{}\r\n0\r\n\r\n${INNER}`),
  'chunks of chunks': post('transfer-encoding: chunked, chunked', '2\r\n{}\r\n0\r\n\r\n'),
  'an encoding in quotes': post('transfer-encoding: "chunked"', `0\r\n\r\n${INNER}`),
  'an encoding behind a control character': post('transfer-encoding: \x0bchunked', `0\r\n\r\n${INNER}`),
  'chunks in HTTP/1.0': post('transfer-encoding: chunked', `0\r\n\r\n${INNER}`).replace('HTTP/1.1', 'HTTP/1.0'),
  'another version': get(AUTH).replace('HTTP/1.1', 'HTTP/2.0'),
  'two hosts': get(`host: evil.example\r\n${AUTH}`),
  'no host': `GET /v1/x HTTP/1.1\r\n${AUTH}\r\n`,
  'a gap in the path': get(AUTH).replace('/v1/x', '/v1/x y'),
};

/** Ends with 400 and a cut. Before it may stand the refusal of a route that needs no body; never an answer to what came inside. */
function refused({ statuses, closed, text }: Heard, what: string): void {
  assert.equal([statuses.at(-1), closed, statuses.length <= 2], [400, true, true], `${what}: ${statuses.join()}`);
  assert.ok(statuses.every((status) => status >= 400) && !statuses.includes(401), `${what}: ${statuses.join()}`);
  assert.not.match(text, '"plugins"', what);
}

for (const door of ['web', 'api', 'bus'] as const) {
  test(`what could be read in two ways is refused and ends the connection: ${door}`, async () => {
    await Promise.all(Object.entries(MALFORMED).map(async ([what, bytes]) => {
      refused(await say(doors.ports[door], bytes), what);
    }));
    assert.equal(reached, [], 'nothing of it gets anywhere');
  });
}

test('the same on the control plane, in pieces, and behind a good request', async () => {
  for (const [what, bytes] of Object.entries(MALFORMED)) {
    refused(await say(doors.ports.api, bytes.replace('/v1/x', '/api/config')), what);
  }
  for (const what of ['a length and chunks', 'two lengths', 'a chunk longer than its size', 'an encoding of another name', 'two encodings'] as const) {
    const bytes = MALFORMED[what]!;
    const pieces = await say(doors.ports.api, ...(bytes.match(/[\s\S]{1,40}/g) ?? []));
    assert.equal([pieces.statuses.at(-1), pieces.closed], [400, true], what);
    const behind = await say(doors.ports.api, INNER.replace('\r\n\r\n', `\r\n${AUTH}\r\n`) + bytes);
    assert.equal([behind.statuses.length <= 2, behind.statuses.at(-1), behind.closed], [true, 400, true], what);
  }
});

test('each request on a connection is answered by its own rights', async () => {
  const own = INNER.replace('\r\n\r\n', `\r\n${AUTH}\r\n`);
  const wrong = INNER.replace('\r\n\r\n', '\r\nauthorization: Bearer wrong\r\n\r\n');
  assert.equal((await say(doors.ports.api, own + INNER)).statuses, [200, 401]);
  assert.equal((await say(doors.ports.api, INNER + own)).statuses, [401, 200]);
  assert.equal((await say(doors.ports.api, own + wrong + own + INNER)).statuses, [200, 401, 200, 401]);
  assert.equal((await say(doors.ports.api, own, INNER)).statuses, [200, 401]);
  // Across the planes: the data plane's answer lies between two of the other.
  const { statuses } = await say(doors.ports.api, own + get(AUTH) + INNER);
  assert.equal(statuses, [200, 200, 401]);
  assert.equal((await say(doors.ports.api, `${get('')}${INNER}`)).statuses, [200, 401]);
  assert.is(reached.at(-1)?.authorization, undefined);
  assert.equal((await say(doors.ports.web, own + INNER)).statuses, [200, 401]);
});

test('what looks like a request within a body stays a body', async () => {
  const secret = INNER.replace('\r\n\r\n', `\r\n${AUTH}\r\n`);
  const carried = `POST /v1/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${secret.length}\r\n\r\n${secret}`;
  const one = await say(doors.ports.api, carried);
  assert.equal(one.statuses, [200]);
  assert.equal(reached.map(({ url, body }) => [url, body]), [['/v1/x', secret]]);
  // Nobody reads the body of a refused request, nor of a GET: it is no request either.
  for (const line of ['POST /api/config', 'GET /api/plugins', 'DELETE /api/config/plugins', 'POST /no-such', 'OPTIONS /api/plugins']) {
    const refused = await say(doors.ports.api, `${carried.replace('POST /v1/x', line)}${INNER}`);
    assert.equal(refused.statuses, [401, 401], line);
  }
  const trailer = await say(doors.ports.api, `POST /api/config HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n${AUTH}\r\n`);
  assert.equal(trailer.statuses, [401], 'a token behind the body is none');
  const upgrade = await say(doors.ports.api, `GET /ws/plugins HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\ncontent-length: ${secret.length}\r\n\r\n${secret}`);
  assert.equal([upgrade.statuses, upgrade.closed], [[401], true]);
});

test('two tokens are never the better of the two', async () => {
  for (const headers of [`authorization: Bearer wrong\r\n${AUTH}`, `authorization: Basic eDp5\r\n${AUTH}`]) assert.equal((await say(doors.ports.api, INNER.replace('\r\n\r\n', `\r\n${headers}\r\n`))).statuses, [401]);
});

test.run();
