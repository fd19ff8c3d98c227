// What fails is tried again: cuts, stalls, refusals, crawling hosts, and fetches that were ended and go on.
import { openSync, readdirSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Fetched, FetchOrder } from './download.ts';
import { openPart } from './download-part.ts';
import { BLOCK_BYTES, http, inWorld, messageOf, reasonOf, sha256Of, SILENCE_MS, type World } from './fixtures/downloads.ts';
import { modelBytes, type Hub } from './fixtures/hub.ts';

const bytes = modelBytes(3_000_000);
const sha256 = sha256Of(bytes);
const BLOCKS = Math.ceil(bytes.length / BLOCK_BYTES);

const isWhole = (fetched: Fetched): void => {
  assert.is(messageOf(fetched), '');
  assert.ok(fetched.ok && readFileSync(fetched.path).equals(bytes));
};
const partOf = (world: World): string => join(world.folder, 'partial', readdirSync(join(world.folder, 'partial')).find((name) => name.endsWith('.part')) ?? '');

test('parts come side by side, and no byte twice', inWorld(async (world) => {
  for (const connections of [1, 3, 4]) {
    const hub = await world.hub(bytes);
    let [now, most] = [0, 0];
    const waiting: (() => void)[] = [];
    hub.manners.instead = (_, response) => {
      now += 1;
      most = Math.max(most, now);
      response.on('close', () => { now -= 1; });
      return false;
    };
    // All that may come at once do: none is answered before they are there.
    hub.manners.before = ({ from }) => new Promise((resolve) => {
      waiting.push(resolve);
      if (from === 0 || waiting.length === connections) for (const go of waiting.splice(0)) go();
      if (most === connections) hub.manners.before = null;
    });
    isWhole(await world.fetch(http(hub.url('m.gguf')), { connections, folder: `${world.folder}/${connections}` }));
    assert.is(most, connections);
    assert.is(hub.sent(), bytes.length);
    assert.equal(hub.seen.map((one) => one.from).sort((a, b) => a - b), Array.from({ length: BLOCKS }, (_none, index) => index * BLOCK_BYTES));
  }
}));

test('cuts at any byte cost a question each, within the same fetch', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.cuts = [0, 1, 4, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 1_234_567, bytes.length - 1];
  isWhole(await world.fetch(http(hub.url('m.gguf')), { sha256 }));
  assert.equal(hub.manners.cuts, []);
}));

test('connections that fall silent are given up, others go on', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.stalls = [BLOCK_BYTES * 2 + 5, BLOCK_BYTES * 5];
  isWhole(await world.fetch(http(hub.url('m.gguf')), { stall_ms: SILENCE_MS }));
  assert.equal(hub.manners.stalls, []);
}));

test('a host that is silent for good is told, what came is kept', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.stalls = Array.from({ length: 60 }, () => 1_000_000);
  const silent = await world.fetch(http(hub.url('m.gguf')), { stall_ms: SILENCE_MS / 2, connections: 1 });
  assert.is(reasonOf(silent), 'Network');
  assert.ok(!silent.ok && silent.transient);
  assert.match(messageOf(silent), new RegExp(`${hub.host}: no byte came for 0.3 s`));
  hub.manners.stalls = [];
  const before = hub.sent();
  isWhole(await world.fetch(http(hub.url('m.gguf')), { sha256 }));
  assert.ok(hub.sent() - before < bytes.length, 'not all came again');
}));

test('without ranges a cut is told at once, and the next fetch begins anew', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  Object.assign(hub.manners, { ranges: false, cuts: [1_000_000] });
  const cut = await world.fetch(http(hub.url('m.gguf')));
  assert.is(reasonOf(cut), 'Network');
  assert.match(messageOf(cut), /it broke the connection off/);
  assert.is(hub.seen.length, 1);
  isWhole(await world.fetch(http(hub.url('m.gguf'))));
}));

test('a drip is a stream, too', inWorld(async (world) => {
  const few = bytes.subarray(0, 2_000);
  const hub = await world.hub(few);
  hub.manners.drip = { bytes: 7, every_ms: 1 };
  const fetched = await world.fetch(http(hub.url('m.gguf')), { block_bytes: 500 });
  assert.ok(fetched.ok && readFileSync(fetched.path).equals(few));
}));

test('one connection that crawls does not hold up the whole', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  let crawls = true;
  hub.manners.instead = ({ headers: { range } }, response) => {
    if (!crawls || range?.startsWith(`bytes=${BLOCK_BYTES}-`) !== true) return false;
    crawls = false;
    response.writeHead(206, { 'content-range': `bytes ${BLOCK_BYTES}-${BLOCK_BYTES * 2 - 1}/${bytes.length}`, etag: '"one"' });
    // At this pace it would take days.
    const timer = setInterval(() => response.write('?'), 400);
    response.on('error', () => undefined).on('close', () => clearInterval(timer));
    return true;
  };
  const fetched = await world.fetch(http(hub.url('m.gguf')), { sha256: null });
  assert.ok(fetched.ok, messageOf(fetched));
  const there = hub.seen.filter((one) => one.from >= BLOCK_BYTES && one.from < BLOCK_BYTES * 2);
  assert.is(there.length, 2, 'another connection brought the rest of it');
}));

test('refusals that pass are waited out within the fetch, others end it at once', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  let turn = 0;
  hub.manners.instead = (_, response) => {
    turn += 1;
    if (turn % 2 === 1) return false;
    response.writeHead([503, 429, 500, 408][turn % 4] ?? 503, { 'retry-after': '0', 'content-length': 0 }).end();
    return true;
  };
  isWhole(await world.fetch(http(hub.url('m.gguf')), { connections: 1 }));
  for (const [status, reason] of [[404, 'NotFound'], [401, 'Unauthorized'], [400, 'Network']] as const) {
    hub.manners.instead = ({ headers }, response) => headers.range?.startsWith('bytes=0-') !== true && (response.writeHead(status, { 'content-length': 0 }).end(), true);
    const fetched = await world.fetch(http(hub.url(`${status}/m.gguf`)), { connections: 1 });
    assert.equal([reasonOf(fetched), !fetched.ok && fetched.transient], [reason, false]);
    assert.is(hub.seen.filter((one) => one.path.startsWith(`/${status}/`)).length, 2);
  }
}));

test('a server that lets only some connections in is served by those', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  let now = 0;
  hub.manners.instead = (_, response) => {
    if (now >= 1) return response.writeHead(429, { 'content-length': 0 }).end(), true;
    now += 1;
    response.on('close', () => { now -= 1; });
    return false;
  };
  isWhole(await world.fetch(http(hub.url('m.gguf')), { sha256 }));
}));

test('how long a server asks to wait is passed on, within bounds', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const after = async (value: string, more: Partial<FetchOrder> = {}): Promise<number | undefined> => {
    const fetched = await world.fetch(http(hub.url('m.gguf')), more);
    assert.is(reasonOf(fetched), 'Network', value);
    return fetched.ok || !fetched.transient ? undefined : fetched.retryAfter_ms;
  };
  const refuse = (value: string): void => { hub.manners.refusals = [{ status: 429, headers: { 'retry-after': value } }]; };
  for (const [value, wait_ms] of [['120', 120_000], ['0', 0], ['99999999', 3_600_000], ['Wed, 21 Oct 2015 07:28:00 GMT', 0], ['soon', undefined]] as const) {
    refuse(value);
    assert.is(await after(value), wait_ms, value);
  }
  const date = new Date(Date.now() + 600_000).toUTCString();
  refuse(date);
  const wait_ms = await after(date);
  assert.ok(wait_ms !== undefined && wait_ms > 0 && wait_ms <= 600_000);
  // In the middle, too: more patience than a fetch has.
  hub.manners.instead = ({ headers }, response) => headers.range?.startsWith('bytes=0-') !== true && (response.writeHead(503, { 'retry-after': '60', 'content-length': 0 }).end(), true);
  assert.is(await after('60'), 60_000);
}));

test('a host that goes away is told after a few tries', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.onPiece = (at) => { if (at > 1_000_000) hub.close(); };
  const gone = await world.fetch(http(hub.url('m.gguf')));
  assert.is(reasonOf(gone), 'Network');
  assert.match(messageOf(gone), new RegExp(`${hub.host}: it (takes no connections|broke the connection off)`));
}));

/** Stops a fetch once so much is here. */
async function stopAt(world: World, hub: Hub, most: number): Promise<void> {
  const stop = new AbortController();
  hub.manners.onPiece = (at) => { if (at >= most) stop.abort(); };
  assert.is(reasonOf(await world.fetch(http(hub.url('m.gguf')), { signal: stop.signal })), 'Aborted');
  hub.manners.onPiece = null;
  hub.seen.length = 0;
}

test('bytes that the note does not cover are not believed, whatever the part holds', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const spoil = async (what: (part: string) => void, isAnew: boolean): Promise<void> => {
    hub.manners.drip = { bytes: 16 * 1024, every_ms: 1 };
    await stopAt(world, hub, 1_000_000);
    hub.manners.drip = null;
    what(partOf(world));
    const fetched = await world.fetch(http(hub.url('m.gguf')));
    assert.ok(fetched.ok && fetched.sha256 === sha256, messageOf(fetched));
    assert.is(hub.sent() === bytes.length, isAnew);
  };
  const boot = (part: string): string => /"boot":"([^"]+)"/.exec(readFileSync(`${part}.state`, 'utf8'))?.[1] ?? '';
  // Garbage wherever the note claims nothing, and behind the end.
  await spoil((path) => {
    const have = openPart(path, { boot: boot(path), reserve_bytes: 0 }).have();
    const fd = openSync(path, 'r+');
    for (const [index, { to }] of have.entries()) writeSync(fd, Buffer.alloc((have[index + 1]?.from ?? bytes.length + 999) - to, '?'), 0, undefined, to);
  }, false);
  await spoil((path) => truncateSync(path, 100_000), false);
  await spoil((path) => writeFileSync(path, ''), true);
  await spoil((path) => writeFileSync(`${path}.state`, 'half of a no'), true);
  await spoil((path) => writeFileSync(`${path}.state`, '{"etag":"\\"one\\"","linkedSha256":null}'), true);
  // A note whose checksum is not its own.
  await spoil((path) => writeFileSync(`${path}.state`, notes(path).replaceAll('"have":[0,', '"have":[0,9')), true);
  // After a crash of the machine, which nothing was synced before.
  await spoil((path) => {
    const part = openPart(path, { boot: boot(path), reserve_bytes: 0 });
    const identity = part.identity();
    assert.ok(identity !== null && part.have().length > 0);
    const later = openPart(path, { boot: 'another', reserve_bytes: 0 });
    assert.equal([later.identity(), later.have()], [identity, []]);
    later.note();
  }, true);
}));

const notes = (part: string): string => readFileSync(`${part}.state`, 'utf8');

test('what was synced is believed after a crash of the machine, the rest is not', inWorld(async (world) => {
  const path = join(world.folder, 'x.part');
  const identity = { etag: '"one"', modified: null, total: 100, linkedSha256: null, linkedBytes: null, commit: null };
  const part = openPart(path, { boot: 'one', reserve_bytes: 0 });
  part.begin(identity, true);
  part.write(Buffer.alloc(10, 'a'), 0);
  part.write(Buffer.alloc(10, 'b'), 50);
  await part.finish(60);
  part.write(Buffer.alloc(10, 'c'), 10);
  await part.close();
  const of = (boot: string) => openPart(path, { boot, reserve_bytes: 0 });
  assert.equal(of('one').have(), [{ from: 0, to: 20 }, { from: 50, to: 60 }]);
  assert.equal([of('two').have(), of('two').identity(), of('two').ranged()], [[{ from: 0, to: 10 }, { from: 50, to: 60 }], identity, true]);
  // Another file under the same address: not a byte of the old one counts from here on.
  const anew = of('one');
  // Also when a sync of the old one ends only now.
  const late = anew.finish(60);
  anew.begin({ ...identity, etag: '"two"' }, true);
  await late;
  anew.write(Buffer.alloc(10, 'd'), 5_000);
  anew.note();
  assert.equal([of('one').have(), of('two').have(), of('one').identity()?.etag], [[{ from: 5_000, to: 5_010 }], [], '"two"']);
  // More gaps than a note holds: it covers less, and never more.
  for (let at = 0; at < 2_000; at += 2) anew.write(Buffer.from('x'), at);
  anew.note();
  const few = of('one').have();
  assert.ok(few.length > 50 && few.length < 1_000 && few.every(({ from, to }, index) => from === index * 2 && to === from + 1));
}));

test('a part that is whole already needs no question', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  await stopAt(world, hub, 1_000_000);
  const path = partOf(world);
  const boot = /"boot":"([^"]+)"/.exec(notes(path))?.[1] ?? '';
  const part = openPart(path, { boot, reserve_bytes: 0 });
  part.write(bytes, 0);
  await part.close();
  isWhole(await world.fetch(http(hub.url('m.gguf'))));
  assert.is(hub.seen.length, 0);
}));

test('a cap on the bandwidth takes time, and nothing else', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  isWhole(await world.fetch(http(hub.url('m.gguf')), { bandwidth_bytes: 6_000_000, sha256 }));
  assert.is(hub.sent(), bytes.length);
}));

test.run();
