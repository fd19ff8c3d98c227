// Servers that lie: about lengths, ranges, names and ends. Each ends in the right bytes or in the right words, never in wrong bytes.
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Fetched } from './download.ts';
import { BLOCK_BYTES, http, inWorld, messageOf, reasonOf, sha256Of, SILENCE_MS } from './fixtures/downloads.ts';
import { modelBytes, openRaw, type Hub } from './fixtures/hub.ts';

const bytes = modelBytes(2_000_000);
const sha256 = sha256Of(bytes);
const other = modelBytes(bytes.length);

const isWhole = (fetched: Fetched, of: Buffer = bytes): void => {
  assert.is(messageOf(fetched), '');
  assert.ok(fetched.ok && readFileSync(fetched.path).equals(of) && fetched.sha256 === sha256Of(of));
};
const ranged = (hub: Hub): number => hub.seen.filter((one) => one.range !== undefined).length;
/** Leaves a part behind that a next fetch would go on from. */
async function half(hub: Hub, fetch: () => Promise<Fetched>): Promise<void> {
  hub.manners.instead = (request, response) => !/^bytes=0-/.test(request.headers.range ?? '') && (response.writeHead(404).end(), true);
  assert.is(reasonOf(await fetch()), 'NotFound');
  Object.assign(hub.manners, { instead: null });
  hub.seen.length = 0;
}

test('ranges that are ignored: the whole comes at once', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.ranges = false;
  isWhole(await world.fetch(http(hub.url('m.gguf'))));
  assert.is(hub.seen.length, 1);
}));

test('another range than was asked for is not taken', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.instead = ({ headers: { range } }, response) => {
    if (range === undefined) return false;
    const from = Number(/=([0-9]+)/.exec(range)?.[1]) + 1;
    response.writeHead(206, { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`, etag: '"one"' }).end(bytes.subarray(from));
    return true;
  };
  isWhole(await world.fetch(http(hub.url('m.gguf'))));
  assert.is(hub.seen.at(-1)?.range, undefined, 'in the end without a range');
}));

test('another range than was asked for in the middle: the whole comes at once', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  for (const [index, contentRange] of [`bytes 0-${bytes.length - 1}/${bytes.length}`, `bytes 5-1/${bytes.length}`, 'bytes */*', null].entries()) {
    hub.manners.instead = ({ headers: { range } }, response) => {
      if (range === undefined || range.startsWith('bytes=0-')) return false;
      response.on('error', () => undefined).writeHead(206, { ...(contentRange === null ? {} : { 'content-range': contentRange }), etag: '"one"' }).end(bytes);
      return true;
    };
    isWhole(await world.fetch(http(hub.url('m.gguf')), { folder: `${world.folder}/${index}` }));
    assert.is(hub.seen.at(-1)?.range, undefined);
  }
}));

test('a server that refuses every range gives the whole', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  for (const headers of [{}, { 'content-range': `bytes */${bytes.length}` }]) {
    hub.manners.instead = ({ headers: { range } }, response) => range !== undefined && (response.writeHead(416, headers).end(), true);
    isWhole(await world.fetch(http(hub.url(`${Object.keys(headers).length}/m.gguf`))));
  }
}));

test('a length that is longer than the file: parts are taken by their range, a whole is not taken', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.headers = { 'content-length': bytes.length + 1000 };
  isWhole(await world.fetch(http(hub.url('m.gguf')), { sha256 }));
  hub.manners.ranges = false;
  const whole = await world.fetch(http(hub.url('again/m.gguf')), { stall_ms: SILENCE_MS });
  assert.is(reasonOf(whole), 'Network');
  assert.ok(!whole.ok && whole.transient);
}));

test('a length that is shorter than the file: parts are asked for again, a whole has the wrong hash', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.headers = { 'content-length': BLOCK_BYTES - 1000 };
  isWhole(await world.fetch(http(hub.url('m.gguf'))));
  Object.assign(hub.manners, { ranges: false, headers: { 'content-length': bytes.length - 1000 } });
  assert.is(reasonOf(await world.fetch(http(hub.url('again/m.gguf')), { sha256: 'd'.repeat(64) })), 'HashMismatch');
}));

test('a part that is promised and never comes is not asked for for ever', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.instead = ({ headers: { range } }, response) => {
    const [, from, to] = /=([0-9]+)-([0-9]+)/.exec(range ?? '') ?? [];
    if (from === '0') return false;
    response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${bytes.length}`, etag: '"one"', 'content-length': 0 }).end();
    return true;
  };
  const empty = await world.fetch(http(hub.url('m.gguf')), { connections: 2 });
  assert.equal([reasonOf(empty), !empty.ok && empty.transient], ['Network', true]);
  assert.match(messageOf(empty), /it sent less than it said/);
}));

test('more than was asked for is not taken', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.instead = ({ headers: { range } }, response) => {
    const from = Number(/=([0-9]+)/.exec(range ?? '')?.[1]);
    response.on('error', () => undefined).writeHead(206, { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`, etag: '"one"' }).end(bytes.subarray(from));
    return true;
  };
  isWhole(await world.fetch(http(hub.url('m.gguf'))));
}));

test('a file that changes between two parts is begun anew, whatever tells it', inWorld(async (world) => {
  for (const way of ['if-range', 'etag', 'total', 'modified'] as const) {
    const hub = await world.hub(bytes);
    if (way === 'modified') Object.assign(hub.manners, { etag: null, modified: 'Wed, 21 Oct 2015 07:28:00 GMT' });
    const longer = way === 'total' ? Buffer.concat([other, Buffer.from('more')]) : other;
    hub.manners.onPiece = (at) => {
      if (at < BLOCK_BYTES * 3) return;
      hub.manners.onPiece = null;
      hub.manners.bytes = longer;
      if (way === 'if-range') hub.manners.etag = '"two"';
      if (way === 'modified') hub.manners.modified = 'Wed, 21 Oct 2016 07:28:00 GMT';
      // Such a server looks at the range and not at the condition.
      if (way === 'etag' || way === 'total') hub.manners.instead = ({ headers }) => { delete headers['if-range']; return false; };
      if (way === 'etag') hub.manners.headers = { etag: '"two"' };
    };
    if (way === 'etag' || way === 'total') hub.manners.instead = ({ headers }) => { delete headers['if-range']; return false; };
    isWhole(await world.fetch(http(hub.url('m.gguf'))), longer);
  }
}));

test('a file that changed before the fetch goes on is begun anew', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const fetch = (): Promise<Fetched> => world.fetch(http(hub.url('m.gguf')));
  await half(hub, fetch);
  Object.assign(hub.manners, { bytes: other, etag: '"two"' });
  isWhole(await fetch(), other);
  assert.is(hub.seen[0]?.ifRange, '"one"');
}));

test('a file that changes under the same name has the wrong hash, and is right at the next try', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const fetch = (): Promise<Fetched> => world.fetch(http(hub.url('m.gguf')), { sha256 });
  await half(hub, fetch);
  hub.manners.bytes = other;
  assert.is(reasonOf(await fetch()), 'HashMismatch');
  assert.equal([world.names('sha256'), world.names('partial'), world.names('quarantine').length], [[], [], 1]);
  hub.manners.bytes = bytes;
  isWhole(await fetch());
}));

test('a file that never stays the same is given up in words', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  let turn = 0;
  hub.manners.ranges = true;
  hub.manners.instead = () => { turn += 1; hub.manners.etag = `"${turn}"`; hub.manners.cuts = [BLOCK_BYTES * 2]; return false; };
  const never = await world.fetch(http(hub.url('m.gguf')));
  assert.is(reasonOf(never), 'Network');
  assert.ok(!never.ok && never.transient, messageOf(never));
}));

test('parts without a name that tells them apart are not mixed, unless a hash decides', inWorld(async (world) => {
  for (const etag of [null, 'W/"one"']) {
    const hub = await world.hub(bytes);
    hub.manners.etag = etag;
    isWhole(await world.fetch(http(hub.url('m.gguf'))));
    assert.equal(hub.seen.map((one) => one.range === undefined), [false, true]);
    isWhole(await world.fetch(http(hub.url('declared/m.gguf')), { sha256, folder: `${world.folder}/${etag?.length}` }));
    assert.is(ranged(hub), 1 + Math.ceil(bytes.length / BLOCK_BYTES));
  }
}));

test('a whole that nobody could tell from a part is not taken, unless a hash decides', inWorld(async (world) => {
  const raw = await openRaw((socket) => socket.end(Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\n\r\n'), bytes])));
  try {
    const open = await world.fetch(http(raw.url));
    assert.is(reasonOf(open), 'Invalid');
    assert.match(messageOf(open), /declare its sha256/);
    isWhole(await world.fetch(http(raw.url), { sha256 }));
  } finally {
    raw.close();
  }
}));

test('a file in chunks has an end of its own; a cut before it is noticed', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  Object.assign(hub.manners, { ranges: false, headers: { 'content-length': null, 'transfer-encoding': 'chunked' } });
  isWhole(await world.fetch(http(hub.url('m.gguf'))));
  hub.manners.cuts = [bytes.length - 1];
  assert.is(reasonOf(await world.fetch(http(hub.url('again/m.gguf')))), 'Network');
  // A hub tells how long it should be.
  Object.assign(hub.manners.headers, { 'x-linked-size': bytes.length - 10 });
  assert.match(messageOf(await world.fetch(http(hub.url('hub/m.gguf')))), /more than the hub says/);
}));

test('a file that comes packed, though nobody asked for that, is not taken for the file', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.headers = { 'content-encoding': 'gzip' };
  const packed = await world.fetch(http(hub.url('m.gguf')));
  assert.equal([reasonOf(packed), !packed.ok && packed.transient], ['Network', false]);
  assert.match(messageOf(packed), /sends the file packed \(gzip\)/);
}));

test('an empty file is a file', inWorld(async (world) => {
  const hub = await world.hub(Buffer.alloc(0));
  isWhole(await world.fetch(http(hub.url('m.bin'))), Buffer.alloc(0));
}));

test('heads that break off, have no end or are none are told', inWorld(async (world) => {
  const cases: readonly (readonly [(socket: Socket) => void, RegExp])[] = [
    [(socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Le'), /it broke the connection off/],
    [(socket) => socket.destroy(), /it broke the connection off/],
    [(socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n\r\n'), /does not speak HTTP/],
    [(socket) => { const timer = setInterval(() => socket.write(`x-${'y'.repeat(8000)}: z\r\n`), 1); socket.write('HTTP/1.1 200 OK\r\n'); socket.on('close', () => clearInterval(timer)); }, /has no end/],
    [(socket) => { const timer = setInterval(() => socket.write('x'), 100); socket.write('HTTP/1.1 200 OK\r\nx: '); socket.on('close', () => clearInterval(timer)); }, /no byte came for 0.6 s/],
    [(socket) => { socket.write('HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n'); }, /does not exist/],
  ];
  for (const [act, words] of cases) {
    const raw = await openRaw(act);
    try {
      const fetched = await world.fetch(http(raw.url), { stall_ms: SILENCE_MS });
      assert.match(messageOf(fetched), words);
      assert.match(reasonOf(fetched), /^(Network|NotFound)$/);
    } finally {
      raw.close();
    }
  }
}));

test.run();
