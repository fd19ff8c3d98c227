// The local Runtime: starts, watches and stops incarnations on this machine. One writer per slot.
import { randomUUID } from 'node:crypto';
import type { DesiredPlugin, Exit, History, Observed, ObservedProcess, Serving } from '../core/types.ts';
import { servingOf } from '../core/serving.ts';
import { afterExit, emptyHistory } from '../core/settle.ts';
import { begin } from './begin.ts';
import { openHealth } from './health.ts';
import { prepareLaunch, writeConfig, type LaunchPlace } from './launch.ts';
import { describeEnd, newLive, observed, type Live } from './live.ts';
import { pickPort } from './ports.ts';
import { endLeftovers, hostBoot, isSame, monotonic_ms, sampleGroups, spawnProcess, stopGroup, TICKS_PER_S } from './process.ts';
import type { IncarnationRow, Store } from './store.ts';
import type { Traffic } from './traffic.ts';

/** Faults of a start that only a change can mend; others (no memory, no descriptor) pass. */
const STALLING_FAULTS = new Set(['ENOENT', 'EACCES', 'ENOEXEC', 'ENOTDIR']);
const KILL_GRACE_MS = 500;
/** What could not be looked after is tried again after this long. */
const AGAIN_MS = 500;
/** An end of which nobody saw how. */
const UNSEEN = { code: null, signal: null, error: null, lasting: false } as const;

/** What apply may ask of any runtime; a cluster's would stand beside this one. */
export type Runtime = {
  /** Returns at once; what comes of it is observed. */
  start(order: StartOrder): void;
  stop(incarnation: string, order: { readonly plugin: DesiredPlugin | null; readonly failure: string | null }): void;
  configure(incarnation: string, plugin: DesiredPlugin): void;
  observe(): readonly ObservedProcess[];
  histories(): Readonly<Record<string, History>>;
  figures(incarnation: string): Figures;
  /** Figures a plugin reported of itself. */
  tell(incarnation: string, own: Readonly<Record<string, number>>): void;
  /** Looks at every process: gone ones, memory, CPU time. Called each second. */
  heartbeat(): void;
  close(mode: 'stop' | 'leave'): Promise<void>;
};

export type StartOrder = { readonly slot: string; readonly plugin: DesiredPlugin; readonly specHash: string; readonly models: Observed['models']; readonly installed: string | null };
export type Figures = { readonly cpu: number | null; readonly own: Readonly<Record<string, number>> };

export type LocalOptions = LaunchPlace & {
  readonly store: Store;
  readonly traffic: Traffic;
  readonly poke: () => void;
  /** Ends once nobody is sent to a process that has begun to stop. */
  readonly unrouted: () => Promise<void>;
  /** A mistake of our own: it is told, and nothing else ends by it. */
  readonly broken: (error: unknown) => void;
  readonly event: (reason: string, plugin: string, message: string) => void;
  readonly declaredOf: (plugin: string) => DesiredPlugin | null;
  readonly random: () => number;
};

export function openLocal(options: LocalOptions): Runtime {
  const { store, poke, event } = options;
  const lives = new Map<string, Live>();
  const health = openHealth({ ...options, inbound: options.secrets.inbound });
  const bootId = hostBoot().bootId;
  let closing = false;
  /** The processes are the next bkg's: nothing of them is touched or noted any more. */
  let left = false;

  // ─── Beginning ───────────────────────────────────────────────────────────────────────────────────────────────────────

  function start(order: StartOrder): void {
    const live = newLive({ slot: order.slot, plugin: order.plugin.id, incarnation: randomUUID(), specHash: order.specHash, models: servingOf(order.plugin), started: monotonic_ms(), adopted: false, configHash: order.plugin.configHash });
    live.declared = order.plugin;
    lives.set(live.incarnation, live);
    begin(() => spawn(live, order), (error) => gone(live, { ...UNSEEN, error: `it could not be started: ${messageOf(error)}`, at: monotonic_ms() }));
  }

  async function spawn(live: Live, order: StartOrder): Promise<void> {
    const avoid = new Set([...lives.values()].map((other) => other.port).filter((port) => port > 0));
    live.port = await pickPort({ preferred: store.lastPort(live.slot), avoid, host: '127.0.0.1' });
    const launch = prepareLaunch(options, { plugin: order.plugin, incarnation: live.incarnation, port: live.port, models: order.models, installed: order.installed });
    // The row comes first: should bkg die between the two, the next one finds the process by its incarnation.
    store.begin({ incarnation: live.incarnation, slot: live.slot, plugin: live.plugin, port: live.port, specHash: live.specHash, configHash: live.configHash, models: live.models, started: live.started });
    const spawned = await spawnProcess({ ...launch, onExit: (exit) => gone(live, { ...UNSEEN, ...exit, at: monotonic_ms() }) });
    if (!spawned.ok) return gone(live, { ...UNSEEN, error: spawned.message, lasting: STALLING_FAULTS.has(spawned.code), at: monotonic_ms() });
    live.pid = spawned.pid;
    live.startTicks = spawned.startTicks;
    if (left) return;
    store.spawned(live.incarnation, spawned.pid, spawned.startTicks);
    if (live.exit !== null) return;
    event('PluginStarted', live.plugin, `process ${live.pid} on port ${live.port}`);
    poke();
    if (live.stop !== null) ending(live);
    else health.follow(live);
  }

  /** Takes over what an earlier bkg left running, ends what cannot be told apart, counts what died unseen. */
  function adopt(row: IncarnationRow): void {
    const identity = row.pid === null || row.start_ticks === null ? null : { pid: row.pid, startTicks: row.start_ticks };
    if (row.boot_id === bootId && identity !== null && isSame(identity)) {
      const live = newLive({ slot: row.slot, plugin: row.plugin, incarnation: row.incarnation, specHash: row.spec_hash, models: row.models === null ? null : JSON.parse(row.models) as readonly Serving[], started: row.started_ms, adopted: true, configHash: row.config_hash });
      Object.assign(live, identity, { port: row.port, ready: row.ready_ms, phase: row.ready_ms === null ? 'starting' : 'ready', awaited: monotonic_ms() });
      lives.set(live.incarnation, live);
      event('PluginAdopted', live.plugin, `process ${live.pid} was found running and taken over`);
      health.follow(live);
      return;
    }
    // By its mark alone: the number of what died unseen may be another group's by now.
    endLeftovers({ pid: 0, startTicks: 0, incarnation: row.incarnation });
    store.end(row.incarnation);
    if (row.boot_id !== bootId) return;
    const now = monotonic_ms();
    remember({ slot: row.slot, plugin: row.plugin, specHash: row.spec_hash, started: row.started_ms }, { exit: { ...UNSEEN, at: now }, expected: false, failure: null, readyFor_ms: row.ready_ms === null ? null : now - row.ready_ms });
  }

  // ─── Measuring ───────────────────────────────────────────────────────────────────────────────────────────────────────

  function heartbeat(): void {
    const running = [...lives.values()].filter((live) => live.pid > 0 && live.exit === null);
    for (const live of running) {
      // A child's exit comes as an event; that of an adopted process can only be seen here.
      if (live.adopted && !isSame(live)) gone(live, { ...UNSEEN, at: monotonic_ms() });
    }
    const samples = sampleGroups(running.map((live) => live.pid));
    const now = monotonic_ms();
    for (const live of running) {
      const sample = samples.get(live.pid);
      if (sample === undefined) continue;
      if (live.cpuTicks !== null && now > live.cpuAt) live.cpu = Math.max(0, ((sample.cpu_ticks - live.cpuTicks) / TICKS_PER_S) * 1000 / (now - live.cpuAt) * 100);
      live.cpuTicks = sample.cpu_ticks;
      live.cpuAt = now;
      live.rss_bytes = sample.rss_bytes;
    }
  }

  // ─── Ending ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  function stop(incarnation: string, order: { readonly plugin: DesiredPlugin | null; readonly failure: string | null }): void {
    const live = lives.get(incarnation);
    if (live === undefined || live.stop !== null) return;
    live.stop = { failure: order.failure };
    if (live.timer !== null) clearTimeout(live.timer);
    live.phase = 'draining';
    if (live.pid > 0) ending(live);
  }

  /** What keeps it from ending (no descriptor left to look at processes) passes: it is tried again until it has ended. */
  function ending(live: Live): void {
    begin(() => end(live), (error) => {
      options.broken(error);
      later(() => ending(live));
    });
  }

  /** Waits until nobody is sent there and what is in flight has ended, asks the group to finish, ends what does not. */
  async function end(live: Live): Promise<void> {
    const how = (options.declaredOf(live.plugin) ?? live.declared)?.stop ?? { signal: 'SIGTERM' as const, drain_ms: 0, grace_ms: 10_000 };
    await options.unrouted();
    if (live.stop?.failure === null) await drained(live, how.drain_ms);
    live.phase = 'stopping';
    poke();
    const result = await stopGroup({ pid: live.pid, startTicks: live.startTicks, incarnation: live.incarnation, signal: how.signal, grace_ms: how.grace_ms });
    if (result.killed) event('PluginKilled', live.plugin, `it did not finish within ${how.grace_ms / 1000} s of ${how.signal} and was killed`);
    // A child's exit event may come a moment later than its disappearance.
    setTimeout(() => gone(live, { ...UNSEEN, signal: result.killed ? 'SIGKILL' : how.signal, at: monotonic_ms() }), live.adopted ? 0 : KILL_GRACE_MS).unref();
  }

  async function drained(live: Live, drain_ms: number): Promise<void> {
    const until = monotonic_ms() + drain_ms;
    while (options.traffic.inFlight(live.incarnation) > 0 && monotonic_ms() < until && live.exit === null) await pause(20);
  }

  /** An incarnation ends once, also when it cannot be looked after at once. */
  function gone(live: Live, exit: Exit): void {
    begin(async () => conclude(live, exit), (error) => {
      options.broken(error);
      later(() => gone(live, exit));
    });
  }

  /** The one place where it ends. Its children go with it before another may start in the slot. */
  function conclude(live: Live, exit: Exit): void {
    // What this bkg has left to the next one is no longer its own.
    if (live.exit !== null || left) return;
    const children = endLeftovers(live);
    live.exit = exit;
    if (live.timer !== null) clearTimeout(live.timer);
    lives.delete(live.incarnation);
    const failure = live.stop?.failure ?? null;
    const expected = live.stop !== null && failure === null;
    remember(live, { exit, expected, failure, readyFor_ms: live.ready === null ? null : exit.at - live.ready });
    event(expected ? 'PluginStopped' : 'PluginFailed', live.plugin, describeEnd(exit, failure) + (children === 0 ? '' : `; ${children} ${children === 1 ? 'process' : 'processes'} it had left behind were ended`));
    store.end(live.incarnation);
    if (!closing) poke();
  }

  function remember(of: { readonly slot: string; readonly plugin: string; readonly specHash: string; readonly started: number }, facts: { readonly exit: Exit; readonly expected: boolean; readonly failure: string | null; readonly readyFor_ms: number | null }): void {
    const history = histories.get(of.slot) ?? emptyHistory(of.slot);
    const restart = options.declaredOf(of.plugin)?.restart ?? { first_ms: 1_000, max_ms: 60_000 };
    const next = afterExit(history, { ...facts, specHash: of.specHash, started: of.started, restart, random: options.random() });
    histories.set(of.slot, next);
    store.saveHistory(next);
  }

  /** Whether one that still lives needs it: what is in flight there may call it. */
  const isNeeded = (plugin: string): boolean =>
    [...lives.values()].some((other) => other.plugin !== plugin && (options.declaredOf(other.plugin) ?? other.declared)?.needs.includes(plugin) === true);

  const later = (work: () => void): void => { setTimeout(work, AGAIN_MS).unref(); };

  const histories = new Map(store.histories().map((history) => [history.slot, history]));
  for (const row of store.incarnations()) adopt(row);

  return {
    start, stop, heartbeat,
    histories: () => Object.fromEntries(histories),
    configure(incarnation, plugin) {
      const live = lives.get(incarnation);
      if (live === undefined) return;
      writeConfig(options.home, plugin);
      live.configHash = plugin.configHash;
      live.declared = plugin;
      store.configured(incarnation, plugin.configHash);
      event('PluginConfigured', plugin.id, 'its live settings were handed over');
      poke();
    },
    observe: () => [...lives.values()].map(observed),
    figures: (incarnation) => ({ cpu: lives.get(incarnation)?.cpu ?? null, own: lives.get(incarnation)?.own ?? {} }),
    tell(incarnation, own) {
      const live = lives.get(incarnation);
      if (live !== undefined) live.own = { ...live.own, ...own };
    },
    async close(mode) {
      closing = true;
      for (const live of lives.values()) if (live.timer !== null) clearTimeout(live.timer);
      left = mode === 'leave';
      while (lives.size > 0 && !left) {
        for (const live of lives.values()) if (!isNeeded(live.plugin)) stop(live.incarnation, { plugin: live.declared, failure: null });
        await pause(10);
      }
    },
  };
}

const pause = (within_ms: number): Promise<void> => new Promise((resolve) => { setTimeout(resolve, within_ms); });

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
