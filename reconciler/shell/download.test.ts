// Downloads from a real server on this machine that cuts, stalls, redirects, refuses and lies.
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ModelSource } from '../core/types.ts';
import { fetchModel, type Fetched } from './download.ts';

const bytes = Buffer.concat([Buffer.from('GGUF'), randomBytes(3_000_000)]);
const sha256 = createHash('sha256').update(bytes).digest('hex');
const CUT_AT = 1_000_000;

type Seen = { readonly url: string; readonly range: string | undefined; readonly authorization: string | undefined };
type World = { readonly folder: string; readonly seen: Seen[]; readonly port: number; readonly servers: readonly Server[]; cut: boolean; changed: boolean; ranges: boolean };

const listen = (server: Server): Promise<number> => new Promise((resolve) => {
  server.listen(0, '127.0.0.1', () => resolve((server.address() as { readonly port: number }).port));
});

async function world(): Promise<World> {
  const state = { folder: mkdtempSync(join(tmpdir(), 'download-')), seen: [] as Seen[], cut: false, changed: false, ranges: true };
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    state.seen.push({ url: request.url ?? '', range: request.headers.range, authorization: request.headers.authorization });
    if (request.url?.endsWith('/gone.gguf') === true) return void response.writeHead(404).end();
    if (request.url?.endsWith('/gated.gguf') === true) return void response.writeHead(401).end();
    if (request.url?.endsWith('/moved.gguf') === true) return void response.writeHead(302, { location: `http://127.0.0.1:${other}/m.gguf` }).end();
    const etag = state.changed ? '"two"' : '"one"';
    const from = state.ranges && request.headers['if-range'] === etag ? Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0) : 0;
    response.writeHead(from > 0 ? 206 : 200, { etag, 'content-length': bytes.length - from });
    if (!state.cut) return void response.end(bytes.subarray(from));
    response.write(bytes.subarray(from, CUT_AT), () => setTimeout(() => response.destroy(), 20));
  };
  const servers = [createServer(answer), createServer(answer)];
  const other = await listen(servers[1]!);
  const port = await listen(servers[0]!);
  return Object.assign(state, { port, servers });
}

const end = (of: World): void => {
  for (const server of of.servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(of.folder, { recursive: true });
};

const fetching = (of: World, source: ModelSource, more: { readonly sha256?: string | null; readonly signal?: AbortSignal; readonly env?: Record<string, string>; readonly onProgress?: (bytes: number, total: number | null) => void } = {}): Promise<Fetched> =>
  fetchModel({ source, sha256: null, folder: of.folder, env: {}, signal: new AbortController().signal, onProgress: () => undefined, ...more });
const from = (of: World, name = 'm.gguf'): ModelSource => ({ kind: 'http', url: `http://127.0.0.1:${of.port}/${name}` });
const reason = (fetched: Fetched): string => (fetched.ok ? 'ok' : fetched.reason);

const download = suite('download');

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
  end(of);
});

download('a cut connection goes on from where it was; a file that changed meanwhile begins again', async () => {
  const of = await world();
  of.cut = true;
  assert.is(reason(await fetching(of, from(of))), 'Network');
  of.cut = false;
  assert.ok((await fetching(of, from(of), { sha256 })).ok);
  assert.is(of.seen[1]?.range, `bytes=${CUT_AT}-`);
  of.cut = true;
  assert.is(reason(await fetching(of, from(of, 'again/m.gguf'))), 'Network');
  Object.assign(of, { cut: false, changed: true });
  assert.ok((await fetching(of, from(of, 'again/m.gguf'), { sha256: null })).ok);
  end(of);
});

download('stopped in the middle it keeps what it has', async () => {
  const of = await world();
  const stop = new AbortController();
  const stopped = await fetching(of, from(of), { signal: stop.signal, onProgress: () => stop.abort() });
  assert.is(reason(stopped), 'Aborted');
  assert.ok((await fetching(of, from(of), { sha256 })).ok);
  end(of);
});

download('a wrong hash is put apart and never served', async () => {
  const of = await world();
  assert.is(reason(await fetching(of, from(of), { sha256: 'a'.repeat(64) })), 'HashMismatch');
  assert.ok(existsSync(join(of.folder, 'quarantine', `${sha256}.gguf`)));
  assert.equal(readdirSync(join(of.folder, 'sha256')), []);
  end(of);
});

download('a token goes to its hub and nowhere else', async () => {
  const of = await world();
  const env = { HF_ENDPOINT: `http://127.0.0.1:${of.port}`, HF_TOKEN: 'hf_secret' };
  const fetched = await fetching(of, { kind: 'hf', org: 'o', repo: 'r', path: 'sub/moved.gguf', revision: 'main' }, { env, sha256: null });
  assert.ok(fetched.ok);
  assert.equal(of.seen.map((seen) => [seen.url, seen.authorization]), [['/o/r/resolve/main/sub/moved.gguf', 'Bearer hf_secret'], ['/m.gguf', undefined]]);
  end(of);
});

download('says what is wrong: nothing there, no access, nobody listens', async () => {
  const of = await world();
  assert.is(reason(await fetching(of, from(of, 'gone.gguf'))), 'NotFound');
  assert.is(reason(await fetching(of, from(of, 'gated.gguf'))), 'Unauthorized');
  end(of);
  assert.is(reason(await fetchModel({ source: { kind: 'http', url: `http://127.0.0.1:${of.port}/m.gguf` }, sha256: null, folder: mkdtempSync(join(tmpdir(), 'download-')), env: {}, signal: new AbortController().signal, onProgress: () => undefined })), 'Network');
});

download('a file of the owner\'s is used where it lies, if it is what it should be', async () => {
  const of = await world();
  const path = join(of.folder, 'own.gguf');
  writeFileSync(path, bytes);
  assert.equal(await fetching(of, { kind: 'file', path }, { sha256 }), { ok: true, path, sha256, bytes: bytes.length });
  assert.is(reason(await fetching(of, { kind: 'file', path }, { sha256: 'b'.repeat(64) })), 'HashMismatch');
  writeFileSync(path, 'no model at all');
  assert.is(reason(await fetching(of, { kind: 'file', path })), 'Invalid');
  assert.is(reason(await fetching(of, { kind: 'file', path: `${path}.nowhere` })), 'NotFound');
  end(of);
});

download.run();
