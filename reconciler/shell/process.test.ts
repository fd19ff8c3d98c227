// Real processes: started with exactly their environment, told apart, measured, and ended with all they left behind.
import { closeSync, mkdtempSync, openSync, readFileSync, readdirSync, readlinkSync, rmSync, writeSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { endLeftovers, hostBoot, identify, isSame, monotonic_ms, pluginEnvironment, sampleGroups, spawnProcess, stopGroup, survivors, TICKS_PER_S } from './process.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const DEADLINE_MS = 20_000;

type Exit = { readonly code: number | null; readonly signal: string | null };

/** Waits for a state of the world. */
async function until<T>(what: string, look: () => T | null | undefined | false): Promise<T> {
  const end = monotonic_ms() + DEADLINE_MS;
  for (;;) {
    const found = look();
    if (found !== null && found !== undefined && found !== false) return found;
    if (monotonic_ms() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
}

/** A folder for logs, gone afterwards together with every process a test started. */
async function inFolder(body: (folder: string, start: (argv: readonly string[], env?: Record<string, string>) => ReturnType<typeof startIn>) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-process-'));
  const started: Awaited<ReturnType<typeof startIn>>[] = [];
  try {
    await body(folder, async (argv, env = {}) => {
      const begun = await startIn(folder, argv, env);
      started.push(begun);
      return begun;
    });
  } finally {
    // By their groups too: one of the fixtures wipes its child's environment, and no mark leads to that one.
    await Promise.all(started.filter((begun) => begun.spawned.ok).map((begun) => stopGroup({ ...running(begun), signal: 'SIGTERM', grace_ms: 0 })));
    rmSync(folder, { recursive: true, force: true });
  }
}

async function startIn(folder: string, argv: readonly string[], env: Record<string, string>) {
  const incarnation = randomUUID();
  const exits: Exit[] = [];
  const [stdout, stderr] = [join(folder, `${incarnation}.stdout`), join(folder, `${incarnation}.stderr`)];
  const spawned = await spawnProcess({ argv, cwd: folder, env: pluginEnvironment(env, { BKG_INCARNATION: incarnation }), stdout, stderr, onExit: (exit) => { exits.push(exit); } });
  return { incarnation, spawned, exits, stdout, said: () => readFileSync(stdout, 'utf8') };
}

const fixture = (name: string, ...rest: readonly string[]): readonly string[] => ['node', join(FIXTURES, name), ...rest];

/** The process, where it must have begun. */
function running(begun: Awaited<ReturnType<typeof startIn>>): { readonly pid: number; readonly startTicks: number; readonly incarnation: string } {
  if (!begun.spawned.ok) throw new Error(begun.spawned.message);
  return { pid: begun.spawned.pid, startTicks: begun.spawned.startTicks, incarnation: begun.incarnation };
}

test('the environment is PATH, HOME, LANG, TMPDIR, what is declared and what bkg adds; nothing of bkg\'s own', () => inFolder(async (_, start) => {
  process.env['BKG_TEST_CANARY'] = 'must not be passed on';
  process.env['npm_config_canary'] = 'neither';
  try {
    const begun = await start(fixture('sleeps.mjs'), { DECLARED: 'yes' });
    const { pid } = running(begun);
    await until('it is up', () => begun.said().includes('up'));
    const names = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').filter((line) => line !== '').map((line) => line.slice(0, line.indexOf('=')));
    assert.equal(names.sort(), ['BKG_INCARNATION', 'DECLARED', 'HOME', 'LANG', 'PATH', 'TMPDIR']);
    assert.not.match(readFileSync(`/proc/${pid}/environ`, 'utf8'), /canary/i);
    // `node` is the node that runs bkg, whatever else is on the machine.
    assert.is(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0], 'node');
    assert.is(process.version, await new Promise((resolve) => {
      const child = spawn('node', ['--version'], { env: pluginEnvironment({}, {}), stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      child.stdout.on('data', (chunk: Buffer) => { text += chunk.toString(); });
      child.once('close', () => resolve(text.trim()));
    }));
  } finally {
    delete process.env['BKG_TEST_CANARY'];
    delete process.env['npm_config_canary'];
  }
}));

test('it leads a group of its own, and its output goes to plain files that are appended to', () => inFolder(async (folder, start) => {
  const begun = await start(fixture('sleeps.mjs'));
  const { pid, startTicks } = running(begun);
  assert.equal(identify(pid), { startTicks, zombie: false });
  assert.ok(startTicks > 0);
  assert.equal([...sampleGroups([pid]).get(pid)?.pids ?? []], [pid]);
  await until('it is up', () => begun.said().includes('up'));
  // Bytes that somebody else appends are not overwritten: the descriptor is in append mode.
  const other = openSync(begun.stdout, 'a');
  writeSync(other, 'between\n');
  closeSync(other);
  assert.equal(await stopGroup({ ...running(begun), signal: 'SIGTERM', grace_ms: DEADLINE_MS }), { killed: false });
  assert.is(begun.said(), 'up\nbetween\nfinished\n');
  await until('its exit is told', () => begun.exits.length > 0);
  assert.equal(begun.exits, [{ code: 0, signal: null }]);
  assert.ok(folder.length > 0 && identify(pid) === null);
}));

for (const [how, exit] of [['0', { code: 0, signal: null }], ['3', { code: 3, signal: null }], ['78', { code: 78, signal: null }], ['SIGKILL', { code: null, signal: 'SIGKILL' }]] as const) {
  test(`one that ends at once with ${how} is told once`, () => inFolder(async (_, start) => {
    const begun = await start(fixture('ends.mjs', how));
    assert.equal(begun.exits, [], 'never before it is known to have begun');
    await until('its exit is told', () => begun.exits.length > 0);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    assert.equal(begun.exits, [exit]);
  }));
}

test('a command that cannot be run says what is missing and what to do', () => inFolder(async (folder, start) => {
  const fault = async (argv: readonly string[]) => {
    const { spawned, exits } = await start(argv);
    assert.is(spawned.ok, false);
    assert.equal(exits, []);
    return spawned as Extract<typeof spawned, { ok: false }>;
  };
  const missing = await fault(['no-such-program-of-bkg']);
  assert.is(missing.code, 'ENOENT');
  assert.match(missing.message, /"no-such-program-of-bkg" was not found \(looked in .+\); install it or correct/);
  assert.match((await fault(['./not-here'])).message, new RegExp(`${folder}/not-here`));
  closeSync(openSync(join(folder, 'plain'), 'w', 0o644));
  const plain = await fault(['./plain']);
  assert.is(plain.code, 'EACCES');
  assert.match(plain.message, /chmod \+x/);
  assert.is((await fault([])).code, 'ENOENT');
  const nowhere = await spawnProcess({ argv: ['true'], cwd: join(folder, 'gone'), env: {}, stdout: join(folder, 'o'), stderr: join(folder, 'e'), onExit: () => undefined });
  assert.match(nowhere.ok ? '' : nowhere.message, /gone does not exist/);
  const long = await fault(['true', 'x'.repeat(4 << 20)]);
  assert.is(long.code, 'E2BIG');
}));

/** What a process's descriptors point at. */
const readdirLinks = (pid: string): readonly string[] => readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
  try {
    return [readlinkSync(`/proc/${pid}/fd/${name}`)];
  } catch {
    // The descriptor of this very look.
    return [];
  }
});

test('no descriptor of bkg stays open or is handed on', () => inFolder(async (folder, start) => {
  const open = () => new Set(readdirLinks('self'));
  const before = open();
  const kept = openSync(join(folder, 'secret'), 'w');
  const begun = await start(fixture('sleeps.mjs'));
  await until('it is up', () => begun.said().includes('up'));
  const child = readdirLinks(String(running(begun).pid));
  assert.not.ok(child.some((target) => target.endsWith('/secret')), child.join(' '));
  closeSync(kept);
  assert.equal([...open()].filter((target) => target.startsWith(folder) && !before.has(target)), []);
}));

test('a deaf one is killed after its grace, a slow one is waited for', () => inFolder(async (_, start) => {
  const deaf = await start(fixture('sleeps.mjs', '--deaf'));
  const slow = await start(fixture('sleeps.mjs', '--slow', '300'));
  await until('both are up', () => deaf.said().includes('up') && slow.said().includes('up'));
  assert.equal(await stopGroup({ ...running(deaf), signal: 'SIGTERM', grace_ms: 200 }), { killed: true });
  assert.not.ok(isSame(running(deaf)));
  assert.equal(await stopGroup({ ...running(slow), signal: 'SIGTERM', grace_ms: DEADLINE_MS }), { killed: false });
  assert.match(slow.said(), /finished/);
  await until('the kill is told', () => deaf.exits.length > 0);
  assert.equal(deaf.exits, [{ code: null, signal: 'SIGKILL' }]);
}));

for (const how of ['--stay', '--exit']) {
  test(`children in its group, with a wiped environment, and in a session of their own are ended too (${how})`, () => inFolder(async (_, start) => {
    const begun = await start(fixture('forks.mjs', how));
    const children = JSON.parse(await until('they are up', () => begun.said().includes('\n') && begun.said())) as readonly [number, number, number];
    if (how === '--exit') await until('their parent has gone', () => begun.exits.length > 0);
    for (const pid of children) assert.is(identify(pid)?.zombie, false, 'alive before');
    assert.ok(survivors(begun.incarnation).includes(children[2]));
    assert.not.ok(survivors(begun.incarnation).includes(children[1]), 'nothing marks this one but its group');
    await stopGroup({ ...running(begun), signal: 'SIGTERM', grace_ms: 200 });
    await until('all have gone', () => children.every((pid) => identify(pid)?.zombie !== false));
    assert.equal(survivors(begun.incarnation), []);
  }));
}

test('what one that died leaves behind is ended, also what nothing marks; the others stay', () => inFolder(async (_, start) => {
  const neighbour = await start(fixture('sleeps.mjs'));
  const begun = await start(fixture('forks.mjs', '--exit'));
  const children = JSON.parse(await until('they are up', () => begun.said().includes('\n') && begun.said())) as readonly [number, number, number];
  await until('their parent has gone', () => begun.exits.length > 0);
  await until('the neighbour is up', () => neighbour.said().includes('up'));
  assert.is(endLeftovers(running(begun)), 3);
  await until('all have gone', () => children.every((pid) => identify(pid)?.zombie !== false));
  assert.is(endLeftovers(running(begun)), 0);
  assert.is(endLeftovers({ pid: 0, startTicks: 0, incarnation: randomUUID() }), 0, 'one that was never started had no group');
  assert.ok(isSame(running(neighbour)));
}));

test('a child that finishes after its parent has the same grace', () => inFolder(async (_, start) => {
  const begun = await start(['sh', '-c', `trap '' TERM; node ${join(FIXTURES, 'sleeps.mjs')} --slow 400 & wait; exit 0`]);
  await until('it is up', () => begun.said().includes('up'));
  // The shell dies first: its child has said nothing yet.
  process.kill(running(begun).pid, 'SIGKILL');
  const leader = running(begun);
  await until('the shell has gone', () => !isSame(leader));
  process.kill(-leader.pid, 'SIGTERM');
  assert.equal(await stopGroup({ ...leader, signal: 'SIGTERM', grace_ms: DEADLINE_MS }), { killed: false });
  assert.match(begun.said(), /finished/);
}));

test('a pid used again is another process, a zombie is dead, and neither is touched', () => inFolder(async (_, start) => {
  const begun = await start(fixture('sleeps.mjs'));
  await until('it is up', () => begun.said().includes('up'));
  const other = { ...running(begun), startTicks: running(begun).startTicks - 1 };
  assert.ok(isSame(running(begun)));
  assert.not.ok(isSame(other));
  await stopGroup({ ...other, incarnation: randomUUID(), signal: 'SIGTERM', grace_ms: 1000 });
  assert.ok(isSame(running(begun)), 'it was not meant');

  // A child whose parent never waits: the parent is stopped, so that it cannot.
  const parent = await start(['sh', '-c', 'sleep 0.05 & echo $!; kill -STOP $$']);
  const child = Number(await until('the child is named', () => parent.said().trim() || null));
  await until('it is a zombie', () => identify(child)?.zombie);
  assert.not.ok(isSame({ pid: child, startTicks: identify(child)?.startTicks ?? 0 }));
  assert.not.ok(survivors(parent.incarnation).includes(child));
  await stopGroup({ ...running(parent), signal: 'SIGTERM', grace_ms: 100 });
}));

test('a group\'s CPU time and memory are those of all its processes', () => inFolder(async (_, start) => {
  const begun = await start(fixture('forks.mjs'));
  const idle = await start(fixture('sleeps.mjs'));
  await until('they are up', () => begun.said().includes('\n') && idle.said().includes('up'));
  const group = running(begun).pid;
  const samples = sampleGroups([group, running(idle).pid, 2 ** 30]);
  assert.is(samples.get(group)?.pids.length, 3, 'the one in its own session is not of the group');
  assert.is(samples.has(2 ** 30), false);
  const rss = (pid: number): number => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
  const alone = samples.get(running(idle).pid);
  assert.ok(Math.abs((alone?.rss_bytes ?? 0) / rss(running(idle).pid) - 1) < 0.2, 'pages have the size that the kernel says');
  assert.ok((samples.get(group)?.rss_bytes ?? 0) > (alone?.rss_bytes ?? 0));
  const busy = await start(['sh', '-c', 'while :; do :; done']);
  await until('CPU time is counted', () => (sampleGroups([running(busy).pid]).get(running(busy).pid)?.cpu_ticks ?? 0) >= TICKS_PER_S / 10);
}));

test('this boot has a name, and its clock goes on', () => {
  assert.match(hostBoot().bootId, /^[0-9a-f-]{36}$/);
  assert.is(hostBoot().bootId, hostBoot().bootId);
  const uptime_ms = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
  assert.ok(monotonic_ms() > 0 && monotonic_ms() <= uptime_ms + 1000, 'counted since boot, for every process alike');
});

test.run();
