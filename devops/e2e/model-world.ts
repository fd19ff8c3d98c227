// What tests of models have around the appliance: a server of files and of a hub's api on this machine, and `bkg model` as people run it.
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import type { ModelView } from '../../reconciler/index.ts';
import { appliance, environment, type Appliance, type ApplianceOptions } from './appliance.ts';

const bin = fileURLToPath(new URL('../bin.mjs', import.meta.url));
const mini = fileURLToPath(new URL('../../models/mini/bkg-mini.gguf', import.meta.url));
export const bytes = readFileSync(mini);
export const sha256 = createHash('sha256').update(bytes).digest('hex');
/** As good a file, and another one: the last number of its last tensor differs. */
export const otherBytes = Buffer.from(bytes);
otherBytes[otherBytes.length - 1]! ^= 1;
export const otherSha256 = createHash('sha256').update(otherBytes).digest('hex');
const HALF = Math.floor(bytes.length / 2);
/** Whatever proxy this machine has, it is not for this machine. */
const NEAR = { no_proxy: '127.0.0.1', NO_PROXY: '127.0.0.1' };

export const yaml = `version: 1   # the house
models:
  # what came along
  here: { source: "file:${mini}" }   # kept
plugins:
  one: { use: ./plugins/echo, models: { chat: here } }   # kept, too
`;

export type Seen = { readonly path: string; readonly query: URLSearchParams; readonly authorization: string | undefined };
export type Web = { readonly url: string; readonly seen: Seen[]; readonly gone: Set<string>; /** Lets what waits after its first half go on. */ release(): void; close(): Promise<void> };

const LISTED = [
  { id: 'org/small-gguf', downloads: 12_345, likes: 6, gated: false, lastModified: '2026-03-04T00:00:00.000Z', tags: ['license:mit'], siblings: [{ rfilename: 'small-Q8_0.gguf' }, { rfilename: 'small-Q4_K_M.gguf' }] },
  { id: 'org/closed', downloads: 7, likes: 0, gated: 'manual', tags: [], siblings: [{ rfilename: 'closed-00001-of-00002.gguf' }] },
];

/** Files by name: `…changed…` is the other file, `slow…` waits after its first half, `cut…` breaks there the first time, what is in `gone` is not there. Beside them the hub's api, and a door to the other server. */
export async function openWeb(other: () => Web | null = () => null): Promise<Web> {
  const seen: Seen[] = [];
  const gone = new Set<string>();
  const cut = new Set<string>();
  let waiting: (() => void)[] = [];
  const hub = (path: string, response: ServerResponse): void => {
    const body = path === '/api/models' ? LISTED : { siblings: [{ rfilename: 'small-Q4_K_M.gguf', size: bytes.length, lfs: { sha256, size: bytes.length } }, { rfilename: 'small-Q8_0.gguf', size: 2 * bytes.length }] };
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://web');
    const name = url.pathname.slice(url.pathname.lastIndexOf('/') + 1);
    seen.push({ path: url.pathname, query: url.searchParams, authorization: request.headers.authorization });
    if (url.pathname.startsWith('/api/models')) return hub(url.pathname, response);
    if (url.pathname.includes('/resolve/') && other() !== null) return void response.writeHead(302, { location: `${other()!.url}/${name}` }).end();
    if (gone.has(name)) return void response.writeHead(404).end();
    const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const [content, etag] = name.includes('changed') ? [otherBytes, '"two"'] : [bytes, '"one"'];
    response.writeHead(from > 0 ? 206 : 200, { etag, 'content-length': bytes.length - from, ...(from > 0 ? { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {}) });
    if (name.startsWith('cut') && !cut.has(name)) {
      cut.add(name);
      return void response.write(content.subarray(from, HALF), () => setTimeout(() => response.destroy(), 20));
    }
    if (!name.startsWith('slow') || from >= HALF) return void response.end(content.subarray(from));
    response.write(content.subarray(from, HALF));
    waiting.push(() => response.end(content.subarray(HALF)));
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    seen, gone, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    release() {
      for (const go of waiting) go();
      waiting = [];
    },
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}

export type Ran = { readonly code: number | null; readonly stdout: string; readonly stderr: string };
export type Running = { readonly child: ChildProcess; /** What it has said so far, beside its answer. */ readonly said: () => string; readonly ended: Promise<Ran> };

export function running(folder: string, argv: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
  const child = spawn(process.execPath, [bin, 'model', ...argv], { cwd: folder, env: environment(folder, { ...NEAR, ...env }), stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => { stdout += chunk.toString(); });
  child.stderr.on('data', (chunk: Buffer) => { stderr += chunk.toString(); });
  return { child, said: () => stderr, ended: new Promise((resolve) => { child.once('close', (code) => resolve({ code, stdout, stderr })); }) };
}

export const bkg = (folder: string, ...argv: string[]): Promise<Ran> => running(folder, argv).ended;

export async function done(folder: string, ...argv: string[]): Promise<Ran> {
  const ran = await bkg(folder, ...argv);
  assert.is(ran.code, 0, `${argv.join(' ')}: ${ran.stderr}`);
  return ran;
}

export async function refused(folder: string, argv: readonly string[], words: RegExp): Promise<void> {
  const ran = await bkg(folder, ...argv);
  assert.equal([ran.code, ran.stdout], [1, ''], `${argv.join(' ')}: ${ran.stderr}`);
  assert.match(ran.stderr, words);
  assert.not.match(ran.stderr, /\n\s+at /);
}

export const openHouse = (o: Partial<ApplianceOptions> = {}): Promise<Appliance> => appliance({ yaml, ...o, env: { ...NEAR, ...o.env } });

export const declared = (house: Appliance): string => readFileSync(house.config, 'utf8');
export const model = async (house: Appliance, id: string): Promise<ModelView> => (await house.ask(`/api/models/${id}`)).body as ModelView;

/** What one test opens; `close` ends all of it, and says when something was left behind. */
export function openings() {
  const [webs, houses]: [Web[], Appliance[]] = [[], []];
  return {
    async web(other?: () => Web | null): Promise<Web> {
      const made = await openWeb(other);
      webs.push(made);
      return made;
    },
    async open(o: Partial<ApplianceOptions> = {}): Promise<Appliance> {
      const house = await openHouse(o);
      houses.push(house);
      return house;
    },
    /** The next start of one that has ended. */
    async again(house: Appliance): Promise<Appliance> {
      const next = await house.again();
      houses.push(next);
      return next;
    },
    async close(): Promise<void> {
      for (const one of webs.splice(0)) await one.close();
      for (const house of houses.splice(0)) assert.equal(await house.dispose(), []);
    },
  };
}
