// Processes of this host: start one in its own group, tell it apart, measure it, end it with all it left behind.
import { execa, type Options } from 'execa';
import { accessSync, closeSync, constants, mkdirSync, openSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, delimiter, isAbsolute, join } from 'node:path';

/** How often a process that should end is looked at. */
const END_POLL_MS = 20;
/** Longest wait for a killed process to leave the table; an uninterruptible one is given up. */
const KILLED_WITHIN_MS = 5_000;
/** Reading the table of processes may take this part of the time, one in so many, while something ends. */
const TABLE_SHARE = 5;
/** /proc counts CPU time in these on every Linux, whatever the kernel's own tick is. */
export const TICKS_PER_S = 100;
/** Key of the page size among the facts a kernel hands to every process. */
const AT_PAGESZ = 6n;
const PAGE_BYTES = pageBytes();

/** Milliseconds since boot: the same clock for every process of this boot. */
export const monotonic_ms = (): number => ORIGIN_MS + performance.now();
/** When this process began, on the host's clock: counting from there costs a tenth of asking for big integers each time. */
const ORIGIN_MS = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Names this boot: times and pids of another one mean nothing. */
export const hostBoot = (): { readonly bootId: string } => ({ bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim() });

/** 4 KiB on x64; arm64 kernels have 4, 16 or 64. */
function pageBytes(): number {
  const facts = readFileSync('/proc/self/auxv');
  for (let at = 0; at + 16 <= facts.length; at += 16) if (facts.readBigUInt64LE(at) === AT_PAGESZ) return Number(facts.readBigUInt64LE(at + 8));
  throw new Error('/proc/self/auxv names no page size; is /proc mounted?');
}

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
    table = null;
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
  if (found.length === 0) return { ok: false, code: 'ENOENT', message: `its command "${file}" was not found (${file.includes('/') ? candidates[0] : `looked in the ${candidates.length} folders of its PATH`}); install it or correct \`run\`` };
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

type Stat = { readonly state: string; readonly pgid: number; readonly session: number; readonly ticks: number; readonly startTicks: number; readonly rss_bytes: number };

/** /proc/PID/stat; the name in parentheses may hold spaces and parentheses itself. */
function statOf(pid: number): Stat | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (!isGone(error)) throw error;
    return null;
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const number = (index: number): number => Number(fields[index]);
  return { state: fields[0] ?? '', pgid: number(2), session: number(3), ticks: number(11) + number(12), startTicks: number(19), rss_bytes: number(21) * PAGE_BYTES };
}

/** Other faults (no descriptor left) say nothing of the process: it must not be taken for dead. */
const isGone = (error: unknown): boolean => ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');

export function identify(pid: number): { readonly startTicks: number; readonly zombie: boolean } | null {
  const stat = statOf(pid);
  return stat === null ? null : { startTicks: stat.startTicks, zombie: isDead(stat) };
}

const isDead = (stat: Stat): boolean => stat.state === 'Z' || stat.state === 'X';

/** Whether this very process still runs: a pid used again has other start ticks, a zombie is dead. */
export function isSame(process: { readonly pid: number; readonly startTicks: number }): boolean {
  const found = identify(process.pid);
  return found !== null && !found.zombie && found.startTicks === process.startTicks;
}

const allPids = (): readonly number[] => readdirSync('/proc').filter((name) => name.charCodeAt(0) >= 48 && name.charCodeAt(0) <= 57).map(Number);

export type GroupSample = { readonly cpu_ticks: number; readonly rss_bytes: number; readonly pids: readonly number[] };

/** CPU time and resident bytes per process group, in one pass over /proc. What left its group is not counted; the dead hold nothing. */
export function sampleGroups(groups: readonly number[]): ReadonlyMap<number, GroupSample> {
  const wanted = new Set(groups);
  const samples = new Map<number, { cpu_ticks: number; rss_bytes: number; pids: number[] }>();
  if (wanted.size === 0) return samples;
  for (const pid of allPids()) {
    const stat = statOf(pid);
    if (stat === null || !wanted.has(stat.pgid) || isDead(stat)) continue;
    const sample = samples.get(stat.pgid) ?? { cpu_ticks: 0, rss_bytes: 0, pids: [] };
    sample.cpu_ticks += stat.ticks;
    sample.rss_bytes += stat.rss_bytes;
    sample.pids.push(pid);
    samples.set(stat.pgid, sample);
  }
  return samples;
}

// ─── Ending ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

type Row = { readonly pid: number; readonly pgid: number; readonly session: number; readonly startTicks: number; readonly incarnation: string | null };

let table: { readonly rows: readonly Row[]; readonly at: number; readonly cost_ms: number } | null = null;

/**
 * Every live process. Many that end together share one reading: whoever had no process left in it has none now, because
 * only one of its own could have made another, and a start makes the reading void.
 */
function readTable(): readonly Row[] {
  const now = monotonic_ms();
  if (table !== null && now - table.at < Math.max(END_POLL_MS, table.cost_ms * TABLE_SHARE)) return table.rows;
  const rows = allPids().flatMap((pid): Row[] => {
    const stat = statOf(pid);
    return stat === null || isDead(stat) || pid === process.pid ? [] : [{ pid, pgid: stat.pgid, session: stat.session, startTicks: stat.startTicks, incarnation: markOf(pid) }];
  });
  table = { rows, at: now, cost_ms: monotonic_ms() - now };
  return rows;
}

function markOf(pid: number): string | null {
  try {
    return /(?:^|\0)BKG_INCARNATION=([^\0]*)/.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))?.[1] ?? null;
  } catch (error) {
    // It has gone meanwhile, or is another user's (EACCES), which only root may read.
    if (!isGone(error) && !['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return null;
  }
}

/** Live processes that carry this incarnation's mark, however they left its group; none when empty. */
export function survivors(incarnation: string): readonly number[] {
  table = null;
  return readTable().filter((row) => row.incarnation === incarnation).map((row) => row.pid);
}

type Leader = { readonly pid: number; readonly startTicks: number };
export type StopOrder = Leader & { readonly incarnation: string; readonly signal: 'SIGTERM' | 'SIGINT' | 'SIGQUIT'; readonly grace_ms: number };

/**
 * Asks the group to finish and waits for all of it; what has not after the grace is killed, then whatever else carries
 * the incarnation's mark. `killed` tells whether the grace ran out.
 */
export async function stopGroup(order: StopOrder): Promise<{ readonly killed: boolean }> {
  if (isSame(order)) send(-order.pid, order.signal);
  const end = monotonic_ms() + order.grace_ms;
  const finished = (await until(() => !isSame(order), end)) && (await until(() => isEmpty(order), end));
  await until(() => {
    const left = leftOf(order, (row) => row.incarnation === order.incarnation);
    for (const row of left) if (isSame(row)) send(row.pid, 'SIGKILL');
    return left.length === 0;
  }, monotonic_ms() + KILLED_WITHIN_MS);
  return { killed: !finished };
}

/** Kills whatever a process that has gone left behind, marked or only of its group. Returns how many there were. */
export function endLeftovers(gone: Leader & { readonly incarnation: string }): number {
  const left = (): readonly Row[] => leftOf(gone, (row) => row.incarnation === gone.incarnation);
  // A table that is older than its end holds itself, and not what it made last.
  if (left().length > 0) table = null;
  const rows = left();
  for (const row of rows) send(row.pid, 'SIGKILL');
  return rows.length;
}

/** Asks the kernel before it reads the table. A zombie nobody reaps keeps its group's number, so the table has the last word. */
const isEmpty = (leader: Leader): boolean => !send(-leader.pid, 0) || leftOf(leader, () => false).length === 0;

/** Who lives in the group, also when its leader has gone and also with an environment wiped clean, and who else is meant. Pid 0: it never had a group. */
function leftOf(leader: Leader, isMeant: (row: Row) => boolean): readonly Row[] {
  // The leader's number may have been given to another process: then the group of that number is not ours.
  const now = identify(leader.pid);
  const isOurs = leader.pid > 0 && (now === null || now.startTicks === leader.startTicks);
  return readTable().filter((row) => (isOurs && row.pgid === leader.pid && row.session === leader.pid && row.startTicks >= leader.startTicks) || isMeant(row));
}

/** Signals a pid, or a group when negative. False when there is none; one of another user (EPERM) is there. */
function send(target: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(target, signal);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ESRCH' && code !== 'EPERM') throw error;
    return code === 'EPERM';
  }
}

async function until(done: () => boolean, end: number): Promise<boolean> {
  while (!done()) {
    if (monotonic_ms() >= end) return false;
    await new Promise((resolve) => { setTimeout(resolve, END_POLL_MS); });
  }
  return true;
}
