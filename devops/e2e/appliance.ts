// Starts a real bkg on a folder of its own for tests and benches, and leaves nothing behind.
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PluginView } from '../../reconciler/index.ts';
import { killCarriers } from '../sweep.ts';

/** Generous: a loaded build machine is ten times slower than a quiet one. */
const WITHIN_MS = 60_000;
const LOOK_MS = 25;

const root = fileURLToPath(new URL('../..', import.meta.url));
const bkg = fileURLToPath(new URL('../bin.mjs', import.meta.url));
const testPlugins = fileURLToPath(new URL('plugins', import.meta.url));

/** The file that `npm start` uses, good in any folder: its model is named by its whole path. */
export const bundled = (): string => readFileSync(join(root, 'bkg.yaml'), 'utf8').replace('file:models/', `file:${root}models/`);

/** Installs of the house's own plugins, as `npm start` in this folder keeps them: nothing is fetched twice. */
export const INSTALLS: Readonly<Record<string, string>> = { BKG_INSTALLS: join(root, '.bkg/plugins') };

export type ApplianceOptions = {
  readonly yaml: string;
  readonly env?: Readonly<Record<string, string>>;
  /** More files beside bkg.yaml: path → text. */
  readonly files?: Readonly<Record<string, string>>;
  readonly arguments?: readonly string[];
};

export type Answer = { readonly status: number; readonly headers: Headers; readonly body: unknown };

export type Appliance = {
  readonly folder: string;
  readonly config: string;
  readonly home: string;
  readonly url: string;
  readonly bus: string;
  readonly token: string;
  readonly child: ChildProcess;
  /** Everything bkg has printed. */
  output(): string;
  /** JSON in, JSON out, with the admin token. */
  ask(path: string, options?: { readonly method?: string; readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> }): Promise<Answer>;
  plugins(): Promise<readonly PluginView[]>;
  plugin(id: string): Promise<PluginView>;
  /** Atomic save, as editors do. */
  save(yaml: string): void;
  /** Ends bkg with a signal and waits; the exit code. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
  /** Starts bkg again on the same folder. */
  again(argv?: readonly string[]): Promise<Appliance>;
  /** Ends it, kills what is left, removes the folder. Returns what had to be killed. */
  dispose(): Promise<readonly string[]>;
};

export const sleep = (ms: number): Promise<void> => new Promise((done) => { setTimeout(done, ms); });

/** Looks until the answer is neither null, undefined nor false; fails with the words after a generous time. */
export async function until<T>(what: string, look: () => Promise<T | null | undefined | false> | T | null | undefined | false): Promise<T> {
  const end_ms = performance.now() + WITHIN_MS;
  for (;;) {
    const found = await look();
    if (found !== null && found !== undefined && found !== false) return found;
    if (performance.now() > end_ms) throw new Error(`not within ${WITHIN_MS / 1000} s: ${what}`);
    await sleep(LOOK_MS);
  }
}

/** A folder with the yaml, the test plugins and a home; no bkg runs yet. */
export function layOut(options: ApplianceOptions): string {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-e2e-'));
  cpSync(testPlugins, join(folder, 'plugins'), { recursive: true });
  writeFileSync(join(folder, 'bkg.yaml'), options.yaml);
  for (const [path, text] of Object.entries(options.files ?? {})) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

/** The environment of a bkg under test: any free ports, nothing of the caller's bkg. */
export function environment(folder: string, more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('BKG_')));
  return { ...own, BKG_WEB_PORT: '0', BKG_API_PORT: '0', BKG_PLUGIN_BUS_PORT: '0', BKG_CONFIG: join(folder, 'bkg.yaml'), BKG_HOME: join(folder, 'home'), TMPDIR: folder, NO_COLOR: '1', ...more };
}

/** Starts bkg and waits until it takes requests. */
export async function appliance(options: ApplianceOptions): Promise<Appliance> {
  return start(layOut(options), options);
}

async function start(folder: string, options: ApplianceOptions): Promise<Appliance> {
  const home = join(folder, 'home');
  const child = spawn(process.execPath, [bkg, 'up', ...(options.arguments ?? [])], { cwd: folder, env: environment(folder, options.env), stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString(); });
  child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString(); });
  const exited = new Promise<number | null>((done) => { child.once('exit', (code) => done(code)); });
  const ports = await until('bkg listens', async () => {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`bkg ended with ${child.exitCode ?? child.signalCode}:\n${output}`);
    const found = portsOf(home);
    if (found?.pid !== child.pid || found?.api === null || found === null) return null;
    const live = await fetch(`http://127.0.0.1:${found.api}/health/live`).catch(() => null);
    await live?.arrayBuffer();
    return live?.status === 200 ? found : null;
  }).catch((error: unknown) => {
    child.kill('SIGKILL');
    killCarriers(folder);
    rmSync(folder, { recursive: true, force: true });
    throw error;
  });
  const url = `http://127.0.0.1:${ports.api}`;
  const token = readFileSync(join(home, 'admin.token'), 'utf8').trim();
  const config = join(folder, 'bkg.yaml');

  const ask: Appliance['ask'] = async (path, { method = 'GET', body, headers = {} } = {}) => {
    const response = await fetch(url + path, {
      method, headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: /json/.test(response.headers.get('content-type') ?? '') && text !== '' ? JSON.parse(text) as unknown : text };
  };
  const plugins = async (): Promise<readonly PluginView[]> => ((await ask('/api/plugins')).body as { readonly plugins: readonly PluginView[] }).plugins;
  const end = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> => {
    child.kill(signal);
    return exited;
  };
  return {
    folder, config, home, url, bus: `http://127.0.0.1:${ports.bus}`, token, child, ask, plugins, end,
    output: () => output,
    async plugin(id) {
      const found = (await plugins()).find((plugin) => plugin.id === id);
      if (found === undefined) throw new Error(`no plugin ${id}`);
      return found;
    },
    save(yaml) {
      writeFileSync(`${config}.save`, yaml);
      renameSync(`${config}.save`, config);
    },
    again: (argv) => start(folder, argv === undefined ? options : { ...options, arguments: argv }),
    async dispose() {
      if (child.exitCode === null && child.signalCode === null) {
        const patience = setTimeout(() => child.kill('SIGKILL'), WITHIN_MS);
        await end();
        clearTimeout(patience);
      }
      const left = killCarriers(folder);
      rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
      return left;
    },
  };
}

type PortsFile = { readonly web: number | null; readonly api: number | null; readonly bus: number | null; readonly pid: number; readonly plugins: Readonly<Record<string, number>> };

export function portsOf(home: string): PortsFile | null {
  try {
    return JSON.parse(readFileSync(join(home, 'run', 'ports.json'), 'utf8')) as PortsFile;
  } catch {
    return null;
  }
}

/** A plugin once it has the status; its view. */
export const reaches = (house: Appliance, id: string, status: PluginView['status']): Promise<PluginView> => until(`${id} is ${status}`, async () => {
  const found = await house.plugin(id);
  return found.status === status ? found : null;
});

/** Nothing is under way and the file on disk is in force. */
export const settles = (house: Appliance): Promise<unknown> => until('everything is as declared', async () => {
  const { body } = await house.ask('/api/status');
  const { converged, file } = body as { readonly converged: boolean; readonly file: { readonly revision: string; readonly inForce: string } };
  return converged && file.revision === file.inForce;
});
