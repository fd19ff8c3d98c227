// Downloads from a real server on this machine that cuts, stalls, redirects, refuses and lies.
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileSource } from '../core/types.ts';
import { lookNow } from './download-bytes.ts';
import { fetchModel, type Fetched } from './download.ts';

const bytes = Buffer.concat([Buffer.from('GGUF'), randomBytes(3_000_000)]);
const sha256 = createHash('sha256').update(bytes).digest('hex');
const CUT_AT = 1_000_000;

type Seen = { readonly url: string; readonly range: string | undefined; readonly authorization: string | undefined };
type World = { readonly folder: string; readonly seen: Seen[]; readonly port: number; readonly servers: readonly Server[]; cut: boolean; changed: boolean; ranges: boolean; stalls: boolean; liesAboutRange: boolean; linked: string | null };

const listen = (server: Server): Promise<number> => new Promise((resolve) => {
  server.listen(0, '127.0.0.1', () => resolve((server.address() as { readonly port: number }).port));
});

const worlds: World[] = [];

async function world(): Promise<World> {
  const state = { folder: mkdtempSync(join(tmpdir(), 'download-')), seen: [] as Seen[], cut: false, changed: false, ranges: true, stalls: false, liesAboutRange: false, linked: null as string | null };
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    state.seen.push({ url: request.url ?? '', range: request.headers.range, authorization: request.headers.authorization });
    if (request.url?.endsWith('/gone.gguf') === true) return void response.writeHead(404).end();
    if (request.url?.endsWith('/gated.gguf') === true) return void response.writeHead(401).end();
    if (request.url?.endsWith('/broken.gguf') === true) return void response.writeHead(503).end();
    if (request.url?.endsWith('/moved.gguf') === true) return void response.writeHead(302, { location: `http://127.0.0.1:${other}/m.gguf` }).end();
    const etag = state.changed ? '"two"' : '"one"';
    const from = state.ranges && request.headers['if-range'] === etag ? Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0) : 0;
    const linked = state.linked === null ? {} : { 'x-linked-etag': `"${state.linked}"` };
    if (from >= bytes.length) return void response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
    // A server may answer another range than was asked for.
    const at = state.liesAboutRange ? from + 1 : from;
    response.writeHead(from > 0 ? 206 : 200, { etag, ...linked, 'content-length': bytes.length - at, ...(from > 0 ? { 'content-range': `bytes ${at}-${bytes.length - 1}/${bytes.length}` } : {}) });
    if (state.stalls) return void response.write(bytes.subarray(at, CUT_AT));
    if (state.liesAboutRange) return void response.end(bytes.subarray(at));
    if (!state.cut) return void response.end(bytes.subarray(from));
    response.write(bytes.subarray(from, CUT_AT), () => setTimeout(() => response.destroy(), 20));
  };
  const servers = [createServer(answer), createServer(answer)];
  const other = await listen(servers[1]!);
  const port = await listen(servers[0]!);
  const made = Object.assign(state, { port, servers });
  worlds.push(made);
  return made;
}

const end = (of: World): void => {
  for (const server of of.servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(of.folder, { recursive: true, force: true });
};

const fetching = (of: World, source: FileSource, more: { readonly sha256?: string | null; readonly had?: string; readonly folder?: string; readonly signal?: AbortSignal; readonly env?: Record<string, string>; readonly stall_ms?: number; readonly onProgress?: (bytes: number, total: number | null) => void } = {}): Promise<Fetched> =>
  fetchModel({ source, sha256: null, folder: of.folder, env: {}, signal: new AbortController().signal, onProgress: () => undefined, ...more });
const from = (of: World, name = 'm.gguf'): FileSource => ({ kind: 'http', url: `http://127.0.0.1:${of.port}/${name}` });
const reason = (fetched: Fetched): string => (fetched.ok ? 'ok' : fetched.reason);

const download = suite('download');
// Also after a failure: what listens on would keep the process alive.
download.after.each(() => worlds.splice(0).forEach(end));

download('keeps bytes under their hash, tells its progress, and fetches a known hash only once', async () => {
  const of = await world();
  let told: readonly [number, number | null] = [0, null];
  const first = await fetching(of, from(of), { sha256, onProgress: (...now) => { told = now; } });
  assert.ok(first.ok && first.sha256 === sha256 && first.path === join(of.folder, 'sha256', `${sha256}.gguf`));
  assert.ok(readFileSync(first.path).equals(bytes));
  assert.equal(told, [bytes.length, bytes.length]);
  assert.equal(await fetching(of, from(of), { sha256 }), first);
  assert.is(of.seen.length, 1);
  assert.equal(readdirSync(join(of.folder, 'partial')), []);
});

download('a cut connection goes on from where it was; a file that changed meanwhile begins again', async () => {
  const of = await world();
  of.cut = true;
  assert.is(reason(await fetching(of, from(of))), 'Network');
  of.cut = false;
  assert.ok((await fetching(of, from(of), { sha256 })).ok);
  // What was on its way when the connection broke is lost.
  const from_bytes = Number(/^bytes=(\d+)-$/.exec(of.seen[1]?.range ?? '')?.[1]);
  assert.ok(from_bytes > 0 && from_bytes <= CUT_AT, of.seen[1]?.range);
  assert.is(of.seen.length, 2);
  of.cut = true;
  assert.is(reason(await fetching(of, from(of, 'again/m.gguf'))), 'Network');
  Object.assign(of, { cut: false, changed: true });
  assert.ok((await fetching(of, from(of, 'again/m.gguf'), { sha256: null })).ok);
});

download('stopped in the middle it keeps what it has', async () => {
  const of = await world();
  const stop = new AbortController();
  const stopped = await fetching(of, from(of), { signal: stop.signal, onProgress: () => stop.abort() });
  assert.is(reason(stopped), 'Aborted');
  assert.ok((await fetching(of, from(of), { sha256 })).ok);
});

download('a wrong hash is put apart and never served', async () => {
  const of = await world();
  assert.is(reason(await fetching(of, from(of), { sha256: 'a'.repeat(64) })), 'HashMismatch');
  assert.ok(existsSync(join(of.folder, 'quarantine', `${sha256}.gguf`)));
  assert.equal(readdirSync(join(of.folder, 'sha256')), []);
});

download('a token goes to its hub and nowhere else', async () => {
  const of = await world();
  const env = { HF_ENDPOINT: `http://127.0.0.1:${of.port}`, HF_TOKEN: 'hf_secret' };
  const fetched = await fetching(of, { kind: 'hf', org: 'o', repo: 'r', path: 'sub/moved.gguf', revision: 'main' }, { env, sha256: null });
  assert.ok(fetched.ok);
  assert.equal(of.seen.map((seen) => [seen.url, seen.authorization]), [['/o/r/resolve/main/sub/moved.gguf', 'Bearer hf_secret'], ['/m.gguf', undefined]]);
});

download('says what is wrong: nothing there, no access, nobody listens', async () => {
  const of = await world();
  assert.is(reason(await fetching(of, from(of, 'gone.gguf'))), 'NotFound');
  assert.is(reason(await fetching(of, from(of, 'gated.gguf'))), 'Unauthorized');
  // The host that was asked last is the one that is named, once.
  of.servers[1]!.close();
  const moved = await fetching(of, from(of, 'moved.gguf'));
  assert.match(moved.ok ? '' : moved.message, new RegExp(`^127\\.0\\.0\\.1:(?!${of.port}:)\\d+: it takes no connections \\(ECONNREFUSED\\)`));
  const other = await world();
  end(of);
  const nobody = await fetching(other, from(of));
  assert.is(reason(nobody), 'Network');
  assert.match(nobody.ok ? '' : nobody.message, new RegExp(`^127\\.0\\.0\\.1:${of.port}: it takes no connections \\(ECONNREFUSED\\)`));
  const unknown = await fetching(other, { kind: 'http', url: 'http://no-such-host.invalid/m.gguf' });
  assert.match(unknown.ok ? '' : unknown.message, /^no-such-host\.invalid: (no such host|its name could not be looked up)/);
});

download('a file of the owner\'s is used where it lies, if it is what it should be', async () => {
  const of = await world();
  const path = join(of.folder, 'own.gguf');
  writeFileSync(path, bytes);
  assert.equal(await fetching(of, { kind: 'file', path }, { sha256 }), { ok: true, path, sha256, bytes: bytes.length, mtime_ms: lookNow(path)?.mtime_ms });
  assert.is(reason(await fetching(of, { kind: 'file', path }, { sha256: 'b'.repeat(64) })), 'HashMismatch');
  writeFileSync(path, 'no model at all');
  assert.is(reason(await fetching(of, { kind: 'file', path })), 'Invalid');
  assert.is(reason(await fetching(of, { kind: 'file', path: `${path}.nowhere` })), 'NotFound');
});

download('bytes in the store are believed only while they have their hash; then they need not come again, also without a declared one', async () => {
  const of = await world();
  const first = await fetching(of, from(of), { sha256 });
  assert.ok(first.ok);
  utimesSync(first.path, 1, 1);
  assert.ok((await fetching(of, from(of), { had: sha256 })).ok);
  assert.is(of.seen.length, 1, 'another time, the same bytes');
  for (const more of [{ sha256 }, { had: sha256 }]) {
    writeFileSync(first.path, Buffer.concat([bytes.subarray(0, -1), Buffer.from('?')]));
    of.seen.length = 0;
    assert.ok((await fetching(of, from(of), more)).ok);
    assert.ok(readFileSync(first.path).equals(bytes));
    assert.is(of.seen.length, 1);
  }
  // Here only the hub tells the hash.
  of.linked = sha256;
  writeFileSync(first.path, 'GGUF, but another');
  assert.ok((await fetching(of, from(of))).ok);
  assert.ok(readFileSync(first.path).equals(bytes));
});

download('a file that is being written is not taken for what it was at first', async () => {
  const of = await world();
  const path = join(of.folder, 'own.gguf');
  writeFileSync(path, bytes);
  const early = await fetching(of, { kind: 'file', path }, { onProgress: () => appendFileSync(path, 'more') });
  assert.match(early.ok ? '' : early.message, /changed while it was read/);
  assert.ok((await fetching(of, { kind: 'file', path })).ok);
});

download('a file or a folder that cannot be used is named, not a host', async () => {
  const of = await world();
  writeFileSync(join(of.folder, 'taken'), 'no folder');
  const unwritable = await fetching(of, from(of), { folder: join(of.folder, 'taken') });
  assert.is(reason(unwritable), 'Unwritable');
  assert.match(unwritable.ok ? '' : unwritable.message, /taken.*ENOTDIR.*let bkg's user write there/);
  // Nobody may read this one, whoever he is.
  const unreadable = await fetching(of, { kind: 'file', path: '/proc/self/mem' });
  assert.is(reason(unreadable), 'Unreadable');
  assert.match(unreadable.ok ? '' : unreadable.message, /EIO/);
  assert.not.match(unreadable.ok ? '' : unreadable.message, /huggingface/);
});

download('a connection that gives no byte is given up, what came is kept', async () => {
  const of = await world();
  of.stalls = true;
  const stalled = await fetching(of, from(of), { stall_ms: 1500 });
  assert.is(reason(stalled), 'Network');
  assert.ok(!stalled.ok && stalled.transient && stalled.message.includes(`127.0.0.1:${of.port}`), stalled.ok ? '' : stalled.message);
  of.stalls = false;
  assert.ok((await fetching(of, from(of), { sha256 })).ok);
  // What was on its way when the connection broke is lost.
  const from_bytes = Number(/^bytes=(\d+)-$/.exec(of.seen[1]?.range ?? '')?.[1]);
  assert.ok(from_bytes > 0 && from_bytes <= CUT_AT, of.seen[1]?.range);
});

download('a part that is the whole already is taken; one that is longer, or answered by another range, is begun anew', async () => {
  const of = await world();
  const partOf = (): string => {
    const name = readdirSync(join(of.folder, 'partial')).find((file) => file.endsWith('.part'));
    if (name === undefined) throw new Error('there is no part');
    return join(of.folder, 'partial', name);
  };
  of.cut = true;
  const make = async (part: Buffer): Promise<void> => {
    of.cut = true;
    assert.is(reason(await fetching(of, from(of))), 'Network');
    of.cut = false;
    writeFileSync(partOf(), part);
    of.seen.length = 0;
  };
  await make(bytes);
  assert.is((await fetching(of, from(of))).ok, true);
  assert.equal(of.seen.map((seen) => seen.range), [`bytes=${bytes.length}-`], 'not a byte came twice');
  rmSync(join(of.folder, 'sha256'), { recursive: true });
  await make(Buffer.concat([bytes, Buffer.from('more')]));
  const longer = await fetching(of, from(of));
  assert.ok(longer.ok && longer.sha256 === sha256);
  rmSync(join(of.folder, 'sha256'), { recursive: true });
  await make(bytes.subarray(0, CUT_AT));
  of.liesAboutRange = true;
  const lied = await fetching(of, from(of));
  of.liesAboutRange = false;
  // Asked without a range it sends from the second byte on: that is no GGUF, and not taken for one.
  assert.is(reason(lied), 'Invalid');
  assert.ok((await fetching(of, from(of), { sha256 })).ok);
});

download('what cannot pass by itself is told from what can', async () => {
  const of = await world();
  const transient = async (source: FileSource, more = {}): Promise<boolean> => {
    const result = await fetching(of, source, more);
    if (result.ok) throw new Error('it was to fail');
    return result.transient;
  };
  assert.equal([await transient(from(of, 'gone.gguf')), await transient(from(of, 'gated.gguf')), await transient(from(of), { sha256: 'a'.repeat(64) })], [false, false, false]);
  assert.equal([await transient(from(of, 'broken.gguf')), await transient({ kind: 'file', path: join(of.folder, 'later.gguf') })], [true, true]);
});

download('two models of one source share one download', async () => {
  const of = await world();
  const both = await Promise.all([fetching(of, from(of)), fetching(of, from(of), { sha256 })]);
  assert.ok(both.every((one) => one.ok));
  assert.is(of.seen.length, 1);
  rmSync(join(of.folder, 'sha256'), { recursive: true });
  // One of them is no longer wanted: the other goes on.
  const stop = new AbortController();
  const first = fetching(of, from(of), { signal: stop.signal, onProgress: () => stop.abort() });
  const second = fetching(of, from(of), { sha256 });
  assert.is(reason(await first), 'Aborted');
  assert.is((await second).ok, true);
});

download('the hash a hub tells is held against the bytes, and a known one is not fetched again', async () => {
  const of = await world();
  const env = { HF_ENDPOINT: `http://127.0.0.1:${of.port}` };
  const source: FileSource = { kind: 'hf', org: 'o', repo: 'r', path: 'm.gguf', revision: 'main' };
  of.linked = 'c'.repeat(64);
  const wrong = await fetching(of, source, { env });
  assert.is(reason(wrong), 'HashMismatch');
  assert.match(wrong.ok ? '' : wrong.message, /the hub says c{64}/);
  of.linked = sha256;
  const first = await fetching(of, source, { env });
  assert.ok(first.ok);
  let most = 0;
  assert.equal(await fetching(of, { ...source, revision: 'other' }, { env, onProgress: (now) => { most = Math.max(most, now); } }), first);
  assert.is(most, 0, 'no byte of it came again');
});

download('an address that is none, and a user in an address, are treated well', async () => {
  const of = await world();
  assert.is(reason(await fetching(of, { kind: 'hf', org: 'o', repo: 'r', path: 'm.gguf', revision: 'main' }, { env: { HF_ENDPOINT: 'not an address' } })), 'Invalid');
  const refused = await fetching(of, { kind: 'http', url: `http://me:hidden@127.0.0.1:${of.port}/gone.gguf` });
  assert.is(of.seen[0]?.authorization, `Basic ${Buffer.from('me:hidden').toString('base64')}`);
  assert.not.match(refused.ok ? '' : refused.message, /hidden/);
});

/** A certificate for 127.0.0.1 that nobody but this machine's own list knows. */
function ownCertificate(folder: string): { readonly key: Buffer; readonly cert: Buffer; readonly path: string } | null {
  const [key, cert] = [join(folder, 'tls.key'), join(folder, 'tls.crt')];
  const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=own', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]);
  return made.status === 0 ? { key: readFileSync(key), cert: readFileSync(cert), path: cert } : null;
}

download('an authority the machine trusts is trusted', async () => {
  const of = await world();
  const own = ownCertificate(of.folder);
  if (own === null) console.log('no openssl here: the test of own authorities is left out');
  else {
    // Read when the first https address is asked for, which is this one.
    process.env['SSL_CERT_FILE'] = own.path;
    const server = createSecureServer({ key: own.key, cert: own.cert }, (_, response) => response.end(bytes));
    const port = await listen(server);
    assert.is(reason(await fetching(of, { kind: 'http', url: `https://127.0.0.1:${port}/m.gguf` })), 'ok');
    const other = await fetching(of, { kind: 'http', url: `https://localhost:${port}/m.gguf` });
    assert.match(other.ok ? '' : other.message, /certificate is not trusted here \(ERR_TLS_CERT_ALTNAME_INVALID\)/);
    assert.not(other.ok || other.transient, 'nothing changes by trying again');
    server.closeAllConnections();
    server.close();
  }
});

download.run();
