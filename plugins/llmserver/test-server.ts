// For tests: starts the real server as a process of its own on the bundled model, or on models of others, and ends all that it started.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
export const MINI = join(here, '../../models/mini/bkg-mini.gguf');
const fixtures = process.env['BKG_FIXTURES'] ?? join(here, '../../../shared/fixtures');
export const STORIES = join(fixtures, 'text/stories260K-chat.gguf');
export const EMBEDDING = join(fixtures, 'embedding/static-bge-glove-114d/model.gguf');
export const INBOUND = 'inbound-of-the-test';
const READY_WITHIN_MS = 120_000;
const LOOK_EVERY_MS = 20;

export const haveFixtures = (): boolean => {
  const have = existsSync(STORIES) && existsSync(EMBEDDING);
  if (!have) console.log('skipped: the fixture models are not here (BKG_FIXTURES)');
  return have;
};

/** A chat that any model answers at length: with a list of so many. */
export const atLength = (count: number): object => {
  const schema = { type: 'array', items: { type: 'boolean' }, minItems: count, maxItems: count };
  return { messages: [{ role: 'user', content: 'Go on' }], response_format: { type: 'json_schema', json_schema: { name: 'list', schema } } };
};

export const pause = (): Promise<void> => new Promise((resolve) => { setTimeout(resolve, LOOK_EVERY_MS); });

const freePort = (): Promise<number> => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address() as { readonly port: number };
    server.close(() => resolve(port));
  });
});

export type Running = {
  readonly url: string;
  readonly child: ChildProcess;
  readonly output: () => string;
  /** What /health said before it was ready. */
  readonly before: readonly { readonly status: number; readonly body: unknown }[];
  readonly post: (path: string, body: unknown, signal?: AbortSignal) => Promise<Response>;
  readonly figures: () => Promise<Readonly<Record<string, number>>>;
};

/** A folder for one test file, and the servers that it starts. */
export function openServers() {
  const folder = mkdtempSync(join(tmpdir(), 'llmserver-'));
  const children: ChildProcess[] = [];

  async function start(flags: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Running> {
    const port = await freePort();
    const child = spawn(process.execPath, [join(here, 'main.ts'), '--port', String(port), ...flags], { env: { PATH: process.env['PATH'] ?? '', HOME: folder, BKG_DATA: folder, BKG_INBOUND: INBOUND, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    let output = '';
    child.stdout?.on('data', (chunk) => { output += String(chunk); });
    child.stderr?.on('data', (chunk) => { output += String(chunk); });
    const url = `http://127.0.0.1:${port}`;
    const headers = { authorization: `Bearer ${INBOUND}` };
    const before: { readonly status: number; readonly body: unknown }[] = [];
    for (const end = Date.now() + READY_WITHIN_MS; Date.now() < end && child.exitCode === null && child.signalCode === null; await pause()) {
      const health = await fetch(`${url}/health`).catch(() => null);
      if (health === null) continue;
      const body = await health.json();
      if (health.status !== 200) before.push({ status: health.status, body });
      else {
        return {
          url, child, before, output: () => output,
          post: (path, sent, signal) => fetch(url + path, { method: 'POST', body: typeof sent === 'string' ? sent : JSON.stringify(sent), headers, ...(signal === undefined ? {} : { signal }) }),
          figures: async () => (await fetch(`${url}/telemetry`, { headers })).json() as Promise<Readonly<Record<string, number>>>,
        };
      }
    }
    await ended(child);
    throw new Error(`ended with ${child.exitCode ?? child.signalCode}: ${output}`);
  }

  return {
    folder, start,
    async close(): Promise<void> {
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(children.map(ended));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export const ended = (child: ChildProcess): Promise<number | null> => new Promise((resolve) => {
  if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode);
  else child.once('exit', resolve);
});

/** Status and code of a refusal. */
export const codeOf = async (response: Response): Promise<readonly [number, string, string | null]> => {
  const { error } = (await response.json()) as { readonly error: { readonly code: string; readonly param: string | null } };
  return [response.status, error.code, error.param];
};
