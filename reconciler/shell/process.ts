// Processes of this host: start one in its own group, tell it apart, measure it, end it with all it left behind.
import { execa, type Options } from 'execa';
import { accessSync, closeSync, constants, mkdirSync, openSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, delimiter, isAbsolute, join } from 'node:path';

/** How often a process that should end is looked at. */
const END_POLL_MS = 20;
/** Longest wait for a killed process to leave the table; an uninterruptible one is given up. */
const KILLED_WITHIN_MS = 5_000;
const PAGE_BYTES = 4096;

/** Milliseconds since boot: the same clock for every process of this boot. */
export const monotonic_ms = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

/** Names this boot: times and pids of another one mean nothing. */
export const hostBoot = (): { readonly bootId: string } => ({ bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim() });

// ─── Starting ───────────────────────────────────────────────────────────────────────────────────────────────────────────

export type SpawnOrder = {
  readonly argv: readonly string[];
  readonly cwd: string;
  /** The whole environment: nothing of bkg's own is added. */
  readonly env: Readonly<Record<string, string>>;
  /** Log files, appended to. */
  readonly stdout: string;
  readonly stderr: string;
  readonly onExit: (exit: { readonly code: number | null; readonly signal: string | null }) => void;
};

export type Spawned = { readonly ok: true; readonly pid: number; readonly startTicks: number } | { readonly ok: false; readonly code: string; readonly message: string };

/** Starts a process that outlives bkg: own group, plain descriptors. `onExit` is called once, never before this returns. */
export async function spawnProcess(order: SpawnOrder): Promise<Spawned> {
  const [file, ...rest] = order.argv;
  if (file === undefined) return { ok: false, code: 'ENOENT', message: 'its command is empty' };
  const fault = faultOf(file, order);
  if (fault !== null) return fault;
  mkdirSync(dirname(order.stdout), { recursive: true });
  const out = openSync(order.stdout, 'a', 0o600);
  const err = openSync(order.stderr, 'a', 0o600);
  try {
    // Plain descriptors, never pipes: with a pipe the child would die of SIGPIPE when bkg is killed.
    // execa's types know the descriptors of the parent's own streams only; it takes any open one.
    const options: Options = { cwd: order.cwd, env: { ...order.env }, extendEnv: false, stdio: ['ignore', out as 1, err as 2], detached: true, cleanup: false, buffer: false, reject: false };
    const child = execa(file, [...rest], options);
    if (child.pid === undefined) {
      const result = await child;
      return { ok: false, code: result.code ?? 'EUNKNOWN', message: `it could not be started: ${result.shortMessage ?? file}` };
    }
    const identity = identify(child.pid);
    void child.then((result) => { order.onExit({ code: result.exitCode ?? null, signal: result.signal ?? null }); });
    return { ok: true, pid: child.pid, startTicks: identity?.startTicks ?? 0 };
  } finally {
    closeSync(out);
    closeSync(err);
  }
}

/** Looks for the command as execvp would, so that the message can say what is missing. */
function faultOf(file: string, order: SpawnOrder): Extract<Spawned, { readonly ok: false }> | null {
  if (statSync(order.cwd, { throwIfNoEntry: false })?.isDirectory() !== true) return { ok: false, code: 'ENOENT', message: `its folder ${order.cwd} does not exist` };
  const candidates = file.includes('/') ? [isAbsolute(file) ? file : join(order.cwd, file)] : (order.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, file));
  const found = candidates.filter((candidate) => statSync(candidate, { throwIfNoEntry: false })?.isFile() === true);
  if (found.length === 0) return { ok: false, code: 'ENOENT', message: `its command "${file}" was not found (${file.includes('/') ? candidates[0] : `looked in ${order.env['PATH'] ?? 'an empty PATH'}`}); install it or correct \`run\`` };
  if (!found.some(isExecutable)) return { ok: false, code: 'EACCES', message: `its command ${found[0]} may not be executed; chmod +x it` };
  return null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** What a plugin sees: a path to find programs, a home, a language, a place for temporary files, and what is declared. */
export function pluginEnvironment(declared: Readonly<Record<string, string>>, extra: Readonly<Record<string, string>>): Record<string, string> {
  const path = `${dirname(process.execPath)}${delimiter}${process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'}`;
  return { PATH: path, HOME: homedir(), LANG: process.env['LANG'] ?? 'C.UTF-8', TMPDIR: tmpdir(), ...declared, ...extra };
}

// ─── Telling apart ──────────────────────────────────────────────────────────────────────────────────────────────────────

type Stat = { readonly state: string; readonly pgid: number; readonly ticks: number; readonly startTicks: number; readonly rss_bytes: number };

/** /proc/PID/stat; the name in parentheses may hold spaces and parentheses itself. */
function statOf(pid: number): Stat | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const number = (index: number): number => Number(fields[index]);
  return { state: fields[0] ?? '', pgid: number(2), ticks: number(11) + number(12), startTicks: number(19), rss_bytes: number(21) * PAGE_BYTES };
}

export function identify(pid: number): { readonly startTicks: number; readonly zombie: boolean } | null {
  const stat = statOf(pid);
  return stat === null ? null : { startTicks: stat.startTicks, zombie: stat.state === 'Z' || stat.state === 'X' };
}

/** Whether this very process still runs: a pid used again has other start ticks, a zombie is dead. */
export function isSame(process: { readonly pid: number; readonly startTicks: number }): boolean {
  const found = identify(process.pid);
  return found !== null && !found.zombie && found.startTicks === process.startTicks;
}

const allPids = (): readonly number[] => readdirSync('/proc').filter((name) => name.charCodeAt(0) >= 48 && name.charCodeAt(0) <= 57).map(Number);

export type GroupSample = { readonly cpu_ticks: number; readonly rss_bytes: number; readonly pids: readonly number[] };

/** CPU time and resident bytes per process group, in one pass over /proc. */
export function sampleGroups(groups: readonly number[]): ReadonlyMap<number, GroupSample> {
  const wanted = new Set(groups);
  const samples = new Map<number, { cpu_ticks: number; rss_bytes: number; pids: number[] }>();
  if (wanted.size === 0) return samples;
  for (const pid of allPids()) {
    const stat = statOf(pid);
    if (stat === null || !wanted.has(stat.pgid)) continue;
    const sample = samples.get(stat.pgid) ?? { cpu_ticks: 0, rss_bytes: 0, pids: [] };
    sample.cpu_ticks += stat.ticks;
    sample.rss_bytes += stat.rss_bytes;
    sample.pids.push(pid);
    samples.set(stat.pgid, sample);
  }
  return samples;
}

// ─── Ending ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Live processes that carry this incarnation's mark, however they left its group. */
export function survivors(incarnation: string): readonly number[] {
  const mark = `BKG_INCARNATION=${incarnation}`;
  const own = process.getuid?.() ?? 0;
  return allPids().filter((pid) => {
    if (pid === process.pid) return false;
    try {
      if (statSync(`/proc/${pid}`).uid !== own) return false;
      return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(mark) && identify(pid)?.zombie === false;
    } catch {
      // It has gone meanwhile, or is a zombie (ESRCH).
      return false;
    }
  });
}

export type StopOrder = { readonly pid: number; readonly startTicks: number; readonly incarnation: string; readonly signal: 'SIGTERM' | 'SIGINT' | 'SIGQUIT'; readonly grace_ms: number };

/** Asks the group to finish, ends what has not after the grace, then whatever else carries the incarnation's mark. */
export async function stopGroup(order: StopOrder): Promise<{ readonly killed: boolean }> {
  signalGroup(order, order.signal);
  const finished = await until(() => !isSame(order), order.grace_ms);
  signalGroup({ pid: order.pid, startTicks: order.startTicks, force: !finished }, 'SIGKILL');
  await until(() => !isSame(order) && endAll(survivors(order.incarnation)) === 0, KILLED_WITHIN_MS);
  return { killed: !finished };
}

function signalGroup(target: { readonly pid: number; readonly startTicks: number; readonly force?: boolean }, signal: NodeJS.Signals): void {
  // Once its leader is gone the group's number may name another's group: then only marks tell.
  if (target.force === false || !isSame(target)) return;
  send(-target.pid, signal);
}

function endAll(pids: readonly number[]): number {
  for (const pid of pids) send(pid, 'SIGKILL');
  return pids.length;
}

/** Signals a pid, or a group when negative; one that is gone is what was wanted. */
function send(target: number, signal: NodeJS.Signals): void {
  try {
    process.kill(target, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function until(done: () => boolean, within_ms: number): Promise<boolean> {
  const end = monotonic_ms() + within_ms;
  while (!done()) {
    if (monotonic_ms() >= end) return false;
    await new Promise((resolve) => { setTimeout(resolve, END_POLL_MS); });
  }
  return true;
}
