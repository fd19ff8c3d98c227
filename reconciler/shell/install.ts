// Runs a plugin's install once per content of its folder, in a copy of it, and keeps the result by that hash.
import { spawn } from 'node:child_process';
import { existsSync, createWriteStream } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { copyContent } from './install-content.ts';
import { lockFile, type FileLock } from './lock.ts';
import { pluginEnvironment, survivors } from './process.ts';

export { contentHash } from './install-content.ts';

/** A Rust release build on two slow cores takes long; what takes longer hangs. */
const INSTALL_TIMEOUT_MS = 60 * 60_000;
/** Last lines of the output that go into the failure's message. */
const TAIL_LINES = 6;
/** Longer lines are progress bars without an end. */
const LINE_CHARS = 2_000;
/** What a build may leave in its log. */
const LOG_BYTES = 10 * 1024 * 1024;
/** After its end the output is read to its end; whoever still holds it is not waited for longer. */
const CLOSE_WITHIN_MS = 1_000;
/** While another bkg runs the same install, it is asked this often. */
const WAIT_POLL_MS = 250;
/** Written last: a folder without it is not complete. */
const DONE = '.bkg-installed';
/** Faults that another folder does not mend. */
const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: make room',
  EDQUOT: "bkg's user has used up its share of the disk: make room",
  EMFILE: 'bkg has too many files open: raise its limit (ulimit -n)',
  ENFILE: 'the machine has too many files open: end what holds them',
};
/** What package managers need of the surroundings to reach their registries and caches; none of it is a secret of bkg's. */
const PASSED_ON = /^(npm_config_(?!local_prefix$|global_prefix$).+|(https?|no|all|ftp)_proxy|SSL_CERT_(FILE|DIR)|NODE_(EXTRA_CA_CERTS|USE_SYSTEM_CA)|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE|(CARGO|RUSTUP|PIP|UV)_\w+|GOPROXY|GOPATH|XDG_CACHE_HOME)$/i;

/** npm on a node that knows only its own authorities fails behind a company's proxy, after a minute of silence. */
const TRUST = { NODE_USE_SYSTEM_CA: '1' };

export type InstallOrder = {
  readonly name: string;
  readonly folder: string;
  readonly contentHash: string;
  readonly argv: readonly string[];
  /** Folder of all installs. */
  readonly store: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly onProgress: (line: string) => void;
  /** For tests; an install that takes longer is given up. */
  readonly timeout_ms?: number;
};

export type Installed = { readonly ok: true; readonly folder: string } | { readonly ok: false; readonly message: string };

const folderOf = (store: string, name: string, hash: string): string => join(store, name, hash.slice(0, 16));

/** Where the finished install of this content lies; null when there is none. */
export function installedFolder(store: string, name: string, hash: string): string | null {
  const folder = folderOf(store, name, hash);
  return existsSync(join(folder, DONE)) ? folder : null;
}

/**
 * Installs in the folder where the result will lie, because many tools write that path into what they make; it counts
 * once its mark is written, last. Two that install the same content at once: the second waits and takes the first's.
 * What is wrong with the world comes back as a message; nothing is thrown.
 */
export async function install(order: InstallOrder): Promise<Installed> {
  try {
    return await installInTurn(order, folderOf(order.store, order.name, order.contentHash));
  } catch (error) {
    return { ok: false, message: faultText(order, error as NodeJS.ErrnoException) };
  }
}

async function installInTurn(order: InstallOrder, folder: string): Promise<Installed> {
  const lock = await waitForTurn(order, `${folder}.lock`);
  if (lock === null) return installedFolder(order.store, order.name, order.contentHash) === null ? { ok: false, message: 'bkg is stopping; it is installed at the next start' } : { ok: true, folder };
  try {
    if (installedFolder(order.store, order.name, order.contentHash) !== null) return { ok: true, folder };
    // What an earlier bkg left when it was killed: its lock is ours now, so nobody waits for it.
    endAll(markOf(order));
    await rm(folder, { recursive: true, force: true });
    await copyContent(order.folder, folder);
    const fault = await runInstall(order, folder);
    if (fault === null) await writeFile(join(folder, DONE), `${new Date().toISOString()}\n`, { flush: true });
    else await rm(folder, { recursive: true, force: true });
    return fault === null ? { ok: true, folder } : { ok: false, message: fault };
  } catch (error) {
    // Without its mark it does not count; the first fault is the one to tell, and the next try clears the folder anyway.
    await rm(folder, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  } finally {
    lock.release();
  }
}

/** Where, what the system said, and what the owner can do about it. */
function faultText(order: InstallOrder, error: NodeJS.ErrnoException): string {
  const said = error.code === undefined || error.message.startsWith(error.code) ? error.message : `${error.message} (${error.code})`;
  const known = REMEDIES[error.code ?? ''];
  if (isInside(order.folder, error.path)) return `${order.folder} could not be copied to ${join(order.store, order.name)}: ${said}; ${known ?? "let bkg's user read it"}`;
  const remedy = known ?? (isInside(order.store, error.path) ? "let bkg's user write there, or name another folder in BKG_INSTALLS and start bkg anew" : null);
  return `it cannot be installed in ${order.store}: ${said}${remedy === null ? '' : `; ${remedy}`}`;
}

const isInside = (folder: string, path: string | undefined): boolean => path !== undefined && (path === folder || path.startsWith(folder + sep));

/** Null once another has finished it, or bkg stops. */
async function waitForTurn(order: InstallOrder, path: string): Promise<Extract<FileLock, { ok: true }> | null> {
  for (let told = false; !order.signal.aborted; told = true) {
    if (installedFolder(order.store, order.name, order.contentHash) !== null) return null;
    const lock = await lockFile(path);
    if (lock.ok) return lock;
    if (!told) order.onProgress(`waits: process ${lock.holder?.pid ?? 'of another bkg'} installs the same`);
    await new Promise((resolve) => { setTimeout(resolve, WAIT_POLL_MS); });
  }
  return null;
}

const markOf = (order: InstallOrder): string => `install-${order.name}-${order.contentHash.slice(0, 16)}`;

function endAll(mark: string): void {
  for (const pid of survivors(mark)) kill(pid);
}

/** Null when it went well, else what to tell. */
async function runInstall(order: InstallOrder, cwd: string): Promise<string | null> {
  const [file, ...rest] = order.argv;
  if (file === undefined) return '`install` of its manifest is empty; name a command or leave it out';
  if (order.signal.aborted) return 'bkg is stopping; it is installed at the next start';
  const passed = Object.fromEntries(Object.entries(order.env).filter((entry): entry is [string, string] => PASSED_ON.test(entry[0]) && entry[1] !== undefined));
  await mkdir(dirname(cwd), { recursive: true });
  const output = openOutput(`${cwd}.log`, order.onProgress);
  const timeout_ms = order.timeout_ms ?? INSTALL_TIMEOUT_MS;
  const end = await new Promise<string | null>((resolve) => {
    const child = spawn(file, rest, { cwd, env: pluginEnvironment({ ...TRUST, ...passed }, { BKG_INCARNATION: markOf(order) }), stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    // Without a descriptor left there are no pipes, and what is wrong comes as an event.
    const pipes = [child.stdout, child.stderr] as readonly (typeof child.stdout | undefined)[];
    for (const stream of pipes) stream?.setEncoding('utf8').on('data', output.taker());
    let why: string | null = null;
    const giveUp = (reason: string) => (): void => { why ??= reason; if (child.pid !== undefined) kill(-child.pid); };
    const stopped = giveUp('bkg is stopping; it is installed at the next start');
    const timer = setTimeout(giveUp(`it was given up after ${Math.ceil(timeout_ms / 1000)} s`), timeout_ms);
    order.signal.addEventListener('abort', stopped, { once: true });
    child.once('error', (error: NodeJS.ErrnoException) => { why ??= error.code === 'ENOENT' ? `"${file}" was not found; install it, then restart the plugin` : error.message; });
    child.once('exit', (code, signal) => {
      if (code !== 0) why ??= `it ended with ${signal ?? `exit code ${code}`}`;
      if (child.pid !== undefined) kill(-child.pid);
      try {
        endAll(markOf(order));
      } catch (error) {
        why ??= `what it may have left running could not be looked for: ${(error as Error).message}`;
      }
      setTimeout(() => { for (const stream of pipes) stream?.destroy(); }, CLOSE_WITHIN_MS).unref();
    });
    child.once('close', () => {
      clearTimeout(timer);
      order.signal.removeEventListener('abort', stopped);
      resolve(why);
    });
  });
  const tail = await output.close();
  return end === null ? null : `\`${order.argv.join(' ')}\`: ${end}${tail === '' ? '' : `. Its last words: ${tail}`} (all of them: ${cwd}.log)`;
}

/** Keeps the bytes in a log up to its bound, tells each line, and remembers the last ones. */
function openOutput(path: string, onLine: (line: string) => void) {
  const log = createWriteStream(path, { mode: 0o600 });
  // A full disk ends the install by itself; the log is not worth more.
  log.on('error', () => undefined);
  const tail: string[] = [];
  const rests: (() => void)[] = [];
  let bytes = 0;
  const hear = (text: string): void => {
    const line = stripVTControlCharacters(text).trim().slice(0, LINE_CHARS);
    if (line === '') return;
    tail.push(line);
    if (tail.length > TAIL_LINES) tail.shift();
    onLine(line);
  };
  return {
    /** One for each stream: what one has begun, the other does not end. */
    taker(): (text: string) => void {
      let rest = '';
      rests.push(() => hear(rest));
      return (text) => {
        bytes += Buffer.byteLength(text);
        if (bytes <= LOG_BYTES) log.write(text);
        const lines = (rest + text).split(/[\r\n]+/);
        rest = (lines.pop() ?? '').slice(-LINE_CHARS);
        lines.forEach(hear);
      };
    },
    async close(): Promise<string> {
      for (const last of rests) last();
      await new Promise<void>((resolve) => { log.end(() => resolve()); });
      return tail.join(' | ');
    },
  };
}

/** Kills a pid, or a group when negative. */
function kill(target: number): void {
  try {
    process.kill(target, 'SIGKILL');
  } catch {
    // It has ended by itself: that is what was wanted.
  }
}
