// What a download is to its callers: kept under its hash, shared, told about, used where it lies, and its faults in words.
import { appendFileSync, existsSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileSource } from '../core/types.ts';
import { lookNow } from './download-bytes.ts';
import { hf, http, inWorld, messageOf, reasonOf, sha256Of } from './fixtures/downloads.ts';
import { modelBytes } from './fixtures/hub.ts';

const bytes = modelBytes(3_000_000);
const sha256 = sha256Of(bytes);

test('keeps bytes under their hash, tells its progress, and fetches a known hash only once', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const told: (readonly [number, number | null])[] = [];
  const first = await world.fetch(http(hub.url('m.gguf')), { sha256, onProgress: (...now) => told.push(now) });
  assert.ok(first.ok && first.sha256 === sha256 && first.path === join(world.folder, 'sha256', `${sha256}.gguf`));
  assert.ok(readFileSync(first.path).equals(bytes));
  assert.equal(told[0], [0, bytes.length]);
  assert.equal(told.at(-1), [bytes.length, bytes.length]);
  const asked = hub.seen.length;
  assert.equal(await world.fetch(http(hub.url('m.gguf')), { sha256 }), first);
  assert.is(hub.seen.length, asked);
  assert.equal(world.names('partial'), []);
}));

test('a small file comes with one question', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const fetched = await world.fetch(http(hub.url('m.gguf')), { block_bytes: undefined as never });
  assert.ok(fetched.ok && fetched.sha256 === sha256);
  assert.is(hub.seen.length, 1);
}));

test('a wrong hash is put apart and never served', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const wrong = await world.fetch(http(hub.url('m.gguf')), { sha256: 'a'.repeat(64) });
  assert.is(reasonOf(wrong), 'HashMismatch');
  assert.not.ok(!wrong.ok && wrong.transient);
  assert.ok(existsSync(join(world.folder, 'quarantine', `${sha256}.gguf`)));
  assert.equal([world.names('sha256'), world.names('partial')], [[], []]);
}));

test('of wrong bytes the last few are kept, and not more than a disk can bear', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const wrong = async (turn: number): Promise<string> => {
    hub.manners.bytes = modelBytes(1_000 + turn);
    assert.is(reasonOf(await world.fetch(http(hub.url(`${turn}/m.gguf`)), { sha256: 'a'.repeat(64) })), 'HashMismatch');
    return `${sha256Of(hub.manners.bytes)}.gguf`;
  };
  const came: string[] = [];
  for (let turn = 0; turn < 6; turn += 1) came.push(await wrong(turn));
  assert.equal([...world.names('quarantine')].sort(), came.slice(-4).sort());
  for (const name of came.slice(-4)) rmSync(join(world.folder, 'quarantine', name));
  // A file of holes: it takes no room here.
  const large = join(world.folder, 'quarantine', 'large.gguf');
  writeFileSync(large, '');
  truncateSync(large, 8 * 1024 ** 3);
  utimesSync(large, Date.now() / 1000 - 0.5, Date.now() / 1000 - 0.5);
  const last = await wrong(7);
  assert.ok(existsSync(join(world.folder, 'quarantine', last)) && !existsSync(large));
}));

test('what is no model is not taken for one', inWorld(async (world) => {
  const hub = await world.hub(Buffer.from('<html>Please sign in</html>'));
  const page = await world.fetch(http(hub.url('m.gguf')));
  assert.is(reasonOf(page), 'Invalid');
  assert.match(messageOf(page), /is no GGUF file/);
}));

test('stopped in the middle it keeps what it has', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  hub.manners.stalls = [2_000_000];
  const stop = new AbortController();
  const stopped = await world.fetch(http(hub.url('m.gguf')), { signal: stop.signal, connections: 1, stall_ms: 60_000, onProgress: (now) => { if (now > 0) stop.abort(); } });
  assert.is(reasonOf(stopped), 'Aborted');
  const before = hub.sent();
  assert.ok((await world.fetch(http(hub.url('m.gguf')), { sha256 })).ok);
  assert.ok(hub.sent() - before < bytes.length, 'not all came again');
}));

test('one that was stopped before it began asks nobody', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  assert.is(reasonOf(await world.fetch(http(hub.url('m.gguf')), { signal: AbortSignal.abort() })), 'Aborted');
  assert.is(hub.seen.length, 0);
  // Or as it begins, before its thread knows of it.
  const stop = new AbortController();
  const stopped = world.fetch(http(hub.url('m.gguf')), { sha256, signal: stop.signal });
  stop.abort();
  assert.is(reasonOf(await stopped), 'Aborted');
}));

test('a file of the owner\'s is used where it lies, if it is what it should be', inWorld(async (world) => {
  const path = join(world.folder, 'own.gguf');
  for (const size of [bytes.length, 100]) {
    const own = bytes.subarray(0, size);
    writeFileSync(path, own);
    let told = 0;
    assert.equal(await world.fetch({ kind: 'file', path }, { sha256: sha256Of(own), onProgress: (now) => { told = now; } }), { ok: true, path, sha256: sha256Of(own), bytes: size, mtime_ms: lookNow(path)?.mtime_ms, commit: null });
    assert.is(told, size);
  }
  assert.is(reasonOf(await world.fetch({ kind: 'file', path }, { sha256: 'b'.repeat(64) })), 'HashMismatch');
  writeFileSync(path, 'no model at all');
  assert.is(reasonOf(await world.fetch({ kind: 'file', path })), 'Invalid');
  const missing = await world.fetch({ kind: 'file', path: `${path}.nowhere` });
  assert.is(reasonOf(missing), 'NotFound');
  assert.ok(!missing.ok && missing.transient, 'it may appear');
}));

test('bytes in the store are believed only while they have their hash; then they need not come again, also without a declared one', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const source = http(hub.url('m.gguf'));
  const first = await world.fetch(source, { sha256 });
  assert.ok(first.ok);
  utimesSync(first.path, 1, 1);
  const asked = hub.seen.length;
  assert.ok((await world.fetch(source, { had: sha256 })).ok);
  assert.is(hub.seen.length, asked, 'another time, the same bytes');
  for (const more of [{ sha256 }, { had: sha256 }]) {
    writeFileSync(first.path, Buffer.concat([bytes.subarray(0, -1), Buffer.from('?')]));
    const before = hub.sent();
    assert.ok((await world.fetch(source, more)).ok);
    assert.ok(readFileSync(first.path).equals(bytes));
    assert.is(hub.sent() - before, bytes.length);
  }
  // Here only the hub tells the hash.
  hub.manners.headers = { 'x-linked-etag': `"${sha256}"` };
  writeFileSync(first.path, 'GGUF, but another');
  assert.ok((await world.fetch(source)).ok);
  assert.ok(readFileSync(first.path).equals(bytes));
}));

test('a file that is being written is not taken for what it was at first', inWorld(async (world) => {
  const path = join(world.folder, 'own.gguf');
  writeFileSync(path, bytes);
  assert.match(messageOf(await world.fetch({ kind: 'file', path }, { onProgress: () => appendFileSync(path, 'more') })), /changed while it was read/);
  assert.ok((await world.fetch({ kind: 'file', path })).ok);
}));

test('a file or a folder that cannot be used is named, not a host', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  writeFileSync(join(world.folder, 'taken'), 'no folder');
  const unwritable = await world.fetch(http(hub.url('m.gguf')), { folder: join(world.folder, 'taken') });
  assert.is(reasonOf(unwritable), 'Unwritable');
  assert.match(messageOf(unwritable), /taken.*ENOTDIR.*let bkg's user write there/);
  // Nobody may read this one, whoever he is.
  const unreadable = await world.fetch({ kind: 'file', path: '/proc/self/mem' });
  assert.is(reasonOf(unreadable), 'Unreadable');
  assert.match(messageOf(unreadable), /EIO/);
  assert.not.match(messageOf(unreadable), /huggingface/);
}));

test('what cannot pass by itself is told from what can', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const of = async (status: number): Promise<readonly [string, boolean]> => {
    hub.manners.refusals = [{ status }];
    const result = await world.fetch(http(hub.url('m.gguf')));
    if (result.ok) throw new Error('it was to fail');
    return [result.reason, result.transient];
  };
  for (const status of [404, 410]) assert.equal(await of(status), ['NotFound', false]);
  for (const status of [401, 403]) assert.equal(await of(status), ['Unauthorized', false]);
  for (const status of [408, 429, 500, 502, 503]) assert.equal(await of(status), ['Network', true]);
  for (const status of [204, 400, 405]) assert.equal(await of(status), ['Network', false]);
  assert.equal(world.names('partial'), [], 'nothing is left behind by them');
}));

test('two models of one source share one download, also when one of them is no longer wanted', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const source = http(hub.url('m.gguf'));
  const both = await Promise.all([world.fetch(source), world.fetch(source, { sha256 })]);
  assert.ok(both.every((one) => one.ok));
  assert.is(hub.sent(), bytes.length);
  rmSync(join(world.folder, 'sha256'), { recursive: true });
  hub.manners.stalls = [1_000_000];
  const stop = new AbortController();
  const first = world.fetch(source, { signal: stop.signal, connections: 1, stall_ms: 60_000, onProgress: (now) => { if (now > 0) stop.abort(); } });
  const second = world.fetch(source, { sha256 });
  assert.is(reasonOf(await first), 'Aborted');
  assert.ok((await second).ok);
}));

test('two models that declare the same wrong hash of one source fetch it once', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const wrong = { sha256: 'a'.repeat(64) };
  const [one, other] = await Promise.all([world.fetch(http(hub.url('m.gguf')), wrong), world.fetch(http(hub.url('m.gguf')), wrong)]);
  assert.equal([reasonOf(one), reasonOf(other)], ['HashMismatch', 'HashMismatch']);
  assert.is(hub.sent(), bytes.length);
  // By another word on the same source it is right.
  const both = await Promise.all([world.fetch(http(hub.url('m.gguf')), wrong), world.fetch(http(hub.url('m.gguf')), { sha256 })]);
  assert.equal(both.map(reasonOf), ['HashMismatch', 'ok']);
}));

test('the hash and the length a hub tells are held against the bytes, its commit is passed on, and a known hash is not fetched again', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const env = { HF_ENDPOINT: `http://${hub.host}/` };
  const commit = '0123456789abcdef0123456789abcdef01234567';
  const linked = (hash: string, size = bytes.length): void => { hub.manners.headers = { 'x-linked-etag': `"${hash}"`, 'x-linked-size': String(size), 'x-repo-commit': commit }; };
  linked('c'.repeat(64));
  const wrong = await world.fetch(hf('m.gguf'), { env });
  assert.is(reasonOf(wrong), 'HashMismatch');
  assert.match(messageOf(wrong), /the hub says c{64}/);
  linked(sha256, bytes.length + 1);
  assert.match(messageOf(await world.fetch(hf('m.gguf'), { env })), new RegExp(`the hub says that the file has ${bytes.length + 1} bytes, its host says ${bytes.length}`));
  linked(sha256);
  const first = await world.fetch(hf('m.gguf'), { env });
  assert.ok(first.ok && first.commit === commit);
  let most = 0;
  assert.equal(await world.fetch({ ...hf('m.gguf'), revision: 'other' } as FileSource, { env, onProgress: (now) => { most = Math.max(most, now); } }), first);
  assert.is(most, 0, 'no byte of it came again');
}));

test('an address that is none, and a user in an address, are treated well', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  assert.is(reasonOf(await world.fetch(hf('m.gguf'), { env: { HF_ENDPOINT: 'not an address' } })), 'Invalid');
  hub.manners.refusals = [{ status: 404 }];
  const refused = await world.fetch(http(hub.url('gone.gguf').replace('//', '//me:hidden@')));
  assert.is(hub.seen[0]?.authorization, `Basic ${Buffer.from('me:hidden').toString('base64')}`);
  assert.is(reasonOf(refused), 'NotFound');
  assert.not.match(messageOf(refused), /hidden/);
}));

test.run();
