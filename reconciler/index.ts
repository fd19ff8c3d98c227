// The only door of the reconciler: opens the house, runs the loop, and lets others look, wish and change.
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { busHost, inUrl } from '../schema/addresses.ts';
import { diff } from './core/diff.ts';
import { houseConditions, houseDrifts } from './core/house.ts';
import type { Desired, Observed, Plan } from './core/types.ts';
import { apply } from './shell/apply.ts';
import { begin } from './shell/begin.ts';
import { readDeclared } from './shell/change.ts';
import { replayJournal } from './shell/commit.ts';
import { desire } from './shell/desire.ts';
import { revisionOf } from './shell/declare.ts';
import { unifiedDiff } from './shell/diff.ts';
import type { LogRecord, OpenOptions, Ports, Reconciler, ReconcilerEvent, ShownCertificate, Snapshot } from './shell/door.ts';
import { openEdits } from './shell/edits.ts';
import { openEvents } from './shell/events.ts';
import { openHistory } from './shell/history.ts';
import { openInForce } from './shell/inforce.ts';
import { openLocal } from './shell/local.ts';
import { lockHome } from './shell/lock.ts';
import { openLogbook } from './shell/logbook.ts';
import { openLoop } from './shell/loop.ts';
import { memoryForPlugins } from './shell/machine.ts';
import { hostBoot, monotonic_ms } from './shell/process.ts';
import { forgetPorts, writePorts } from './shell/portsfile.ts';
import { openSecrets } from './shell/secrets.ts';
import { settled } from './shell/settled.ts';
import { insist } from './shell/store-later.ts';
import { openStore } from './shell/store.ts';
import { openSupplies } from './shell/supplies.ts';
import { openTraffic } from './shell/traffic.ts';
import { openViews, planView } from './shell/views.ts';
import { watchFile } from './shell/watch.ts';

export type * from './shell/door.ts';
export type { Holder } from './shell/lock.ts';
export type { PortsFile } from './shell/portsfile.ts';
export type { ModelFormat } from './core/format.ts';
export type { Capability, Condition, Desired, DesiredKey, DesiredUser, Drift, ExtraFile, Json, JsonObject, Limits, Problem } from './core/types.ts';
export { begin } from './shell/begin.ts';
export { examine, patchOffline } from './shell/offline.ts';
export { pickPort } from './shell/ports.ts';
export { openTraffic } from './shell/traffic.ts';
export { unifiedDiff } from './shell/diff.ts';
export { installAhead } from './shell/ahead.ts';
export { HUB, openHubLine, type HubAnswer, type HubLine } from './shell/hub.ts';
export { revisionOf } from './shell/declare.ts';
export { mergePatchToOperations } from './shell/splice.ts';
export { differences, type Place } from './core/changes.ts';

/** The truth about processes is looked at this often, events or not. */
const HEARTBEAT_MS = 1_000;
/** Events that somebody may have to do something about. */
const TROUBLE = /Failed|Rejected|Missing|Unreadable|Held|Unhealthy|Killed|Vanished|NotRemoved/;

/** `$BKG_HOME` is in use by another bkg. */
export type HomeInUse = Error & { readonly code: 'HomeInUse' };

/**
 * Opens an appliance: takes the home's lock, mends what a crash left, reads the file, takes over running processes.
 * Nothing is started before `start`. Throws `HomeInUse`; everything else wrong with the file is in the snapshot.
 */
export async function open(options: OpenOptions): Promise<Reconciler> {
  const { config, home, installation, env, log } = options;
  for (const folder of ['', 'run', 'logs', 'models', 'data']) mkdirSync(join(home, folder), { recursive: true, mode: 0o700 });
  const lock = await lockHome(home);
  if (!lock.ok) throw Object.assign(new Error(lock.message), { code: 'HomeInUse' as const });
  forgetPorts(home);
  const journalFolder = join(home, 'run', 'journal');
  mkdirSync(journalFolder, { recursive: true, mode: 0o700 });
  await replayJournal(journalFolder);

  const secrets = openSecrets(home);
  const store = openStore(join(home, 'bkg.db'), { bootId: hostBoot().bootId, secrets });
  const broken = (error: unknown): void => log.error({ err: error }, 'bkg made a mistake; the next look tries again');
  const listeners = new Set<(event: ReconcilerEvent) => void>();
  // A listener that breaks keeps nothing else from being told or done.
  const publish = (event: ReconcilerEvent): void => { for (const listener of listeners) begin(async () => listener(event), broken); };
  const events = openEvents((event) => {
    publish({ type: 'event', event });
    log[TROUBLE.test(event.reason) ? 'warn' : 'info']({ unit: event.unit, reason: event.reason }, event.message);
  });
  const place = { config, installation, env, seal: secrets.seal };
  const inForce = openInForce({ ...place, store, event: events.add });
  await inForce.boot();

  const closing = new AbortController();
  let ports: Ports = { web: null, api: null, bus: null };
  let certificate: ShownCertificate | null = null;
  // Two loops: a large file is read and checked while processes are looked after.
  const loop = openLoop(tick, broken);
  const reading = openLoop(readFile, broken);
  const traffic = openTraffic(monotonic_ms, loop.poke);
  const pluginEvent = (reason: string, plugin: string, message: string): void => events.add(reason, `plugin/${plugin}#0`, message);
  const declaredOf = (id: string): Desired['plugins'][number] | null => inForce.current().desired.plugins.find((plugin) => plugin.id === id) ?? null;
  const runtime = openLocal({ home, secrets, busUrl: () => (opened === null || ports.bus === null ? null : `http://${inUrl(busHost(opened.host))}:${ports.bus}`), store, traffic, poke: loop.poke, unrouted: loop.turn, broken, event: pluginEvent, declaredOf, random: Math.random });
  const supplies = openSupplies({ home, installs: env['BKG_INSTALLS'] ?? join(home, 'plugins'), env, downloads: () => inForce.current().desired.downloads, store, poke: loop.poke, event: events.add, mended });
  /** Who has loaded bytes that were damaged gets a new process. */
  function mended(model: string): void {
    for (const process of runtime.observe()) {
      if (process.models?.some(({ name }) => name === model) === true) begin(async () => { await insist(() => store.ask({ kind: 'restart', plugin: process.plugin, at: monotonic_ms() }, 'bkg')); }, broken);
    }
  }
  const logbook = openLogbook({ home, tell: (record: LogRecord) => publish({ type: 'log', record }) });
  const memory_bytes = memoryForPlugins();
  const views = openViews({ figures: runtime.figures, traffic: traffic.figures, inbound: secrets.inbound });
  let opened: Desired['server'] | null = null;
  let current = look().snapshot;

  function observe(desired: Desired): Observed {
    for (const plugin of desired.plugins) supplies.recall(plugin);
    return {
      processes: runtime.observe(), histories: runtime.histories(), installs: supplies.observedInstalls(), models: supplies.observedModels(), extras: supplies.extras(),
      asks: store.asks(), traffic: traffic.observed(), memory_bytes,
    };
  }

  function look(): { readonly plan: Plan; readonly observed: Observed; readonly snapshot: Snapshot } {
    const { desired, denied, seq, file, partial } = inForce.current();
    const now = monotonic_ms();
    const observed = observe(desired);
    const plan = diff({ desired, observed, now, leaveUndeclared: partial });
    const found = views.snapshot({ desired, observed, plan, now, seq, file, ports, at: new Date().toISOString(), conditions: houseConditions(file, { store: store.fault(), certificate: certificate?.trouble() ?? null }) });
    const snapshot = { ...found, drifts: [...houseDrifts({ file, server: desired.server, opened, denied, policies: desired.drift }), ...found.drifts] };
    return { plan, observed, snapshot };
  }

  async function readFile(): Promise<void> {
    const before = inForce.current();
    const now = await inForce.read();
    if (now.lookAgain !== null) reading.lookIn(now.lookAgain - monotonic_ms());
    if (now !== before) loop.poke();
  }

  async function tick(): Promise<void> {
    const { plan, observed, snapshot } = look();
    current = snapshot;
    publish({ type: 'snapshot', snapshot });
    if (opened !== null) carryOut(plan, observed, opened.host);
    if (plan.next !== null) loop.lookIn(plan.next - monotonic_ms());
  }

  function carryOut(plan: Plan, observed: Observed, host: string): void {
    apply(plan, observed, { runtime, supplies, attempt });
    const { desired, partial } = inForce.current();
    if (!partial) supplies.abandon((name) => desired.models.some((model) => model.name === name));
    attempt('house', () => {
      logbook.follow(observed.processes);
      writePorts(home, { host, certificate: certificate?.shown() ?? null, ...ports }, observed.processes);
    });
  }

  /** What fails keeps nothing else from being done; it is told once and tried again at the next look. */
  const failures = new Map<string, string>();
  function attempt(unit: string, work: () => void): void {
    try {
      work();
      failures.delete(unit);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (failures.get(unit) !== message) events.add('ActionFailed', unit, `${message}; it is tried again each second`);
      failures.set(unit, message);
    }
  }

  const edits = openEdits({
    ...place, journalFolder, inForce, textOf: store.textOf, audit: store.audit,
    plan: (desired, leaveUndeclared) => diff({ desired, observed: observe(desired), now: monotonic_ms(), leaveUndeclared }),
    async taken() {
      reading.poke();
      await loop.turn();
    },
  });
  const history = openHistory({ store, place });
  let heartbeat: NodeJS.Timeout | null = null;
  let watcher: { close(): void | Promise<void> } | null = null;

  return {
    snapshot: () => current,
    subscribe(listener) {
      listeners.add(listener);
      return () => { listeners.delete(listener); };
    },
    read: () => readDeclared(config),
    async plan(text) {
      if (text === undefined) return { plan: current.plan, problems: current.file.problems, diff: '' };
      const found = await desire(text, revisionOf(text), place);
      const plan = found.desired === null ? current.plan : planView(edits.planOf(found.desired));
      return { plan, problems: found.problems, diff: unifiedDiff(inForce.current().text, text, { from: 'in force', to: 'proposed' }) };
    },
    patch: edits.patch,
    async verify(model, actor) {
      if (!inForce.current().desired.models.some(({ name }) => name === model)) throw Object.assign(new Error(`there is no model ${model}`), { code: 'ModelUnknown' });
      // Who asks how it comes on begins nothing.
      if (!supplies.isChecking(model)) store.audit({ actor: actor.name, source: actor.source, address: actor.address ?? null, action: 'model.verify', target: model });
      return supplies.verify(model);
    },
    async prune({ actor, dryRun }) {
      const pruned = await supplies.prune({ dryRun });
      if (!dryRun) for (const { name } of pruned.removed) store.audit({ actor: actor.name, source: actor.source, address: actor.address ?? null, action: 'model.prune', target: name });
      return pruned;
    },
    async ask(request) {
      if (declaredOf(request.plugin) === null) throw Object.assign(new Error(`there is no plugin ${request.plugin}`), { code: 'PluginUnknown' });
      if (request.kind !== 'wake') {
        const [problem] = await inForce.again(request.plugin);
        if (problem !== undefined) throw Object.assign(new Error(problem.message), { code: problem.code, problem });
      }
      const id = await insist(() => store.ask({ kind: request.kind, plugin: request.plugin, at: monotonic_ms() }, request.actor.name));
      store.audit({ actor: request.actor.name, source: request.actor.source, address: request.actor.address ?? null, action: `plugin.${request.kind}`, target: request.plugin });
      await loop.turn();
      return { operation: `ask-${id}` };
    },
    async fetch({ model: name, actor }) {
      const model = inForce.current().desired.models.find((one) => one.name === name);
      const found = supplies.observedModels()[name];
      if (model === undefined || model.state === 'absent' || (found?.sourceHash === model.sourceHash && found.phase !== 'failed')) return false;
      store.audit({ actor: actor.name, source: actor.source, address: actor.address ?? null, action: 'model.fetch', target: name });
      supplies.fetch(model);
      await loop.turn();
      return true;
    },
    operation(id) {
      const found = /^(edit|ask)-(\d{1,12})$/.exec(id);
      const number = Number(found?.[2]);
      const units = edits.unitsOf(number);
      if (found?.[1] === 'edit') return units === undefined ? null : { units, seq: number };
      const ask = store.asks().find((known) => known.id === number);
      return ask === undefined ? null : { units: [`plugin/${ask.plugin}`], seq: current.seq };
    },
    settled: (query) => settled(query, {
      closing: closing.signal,
      snapshot: () => current,
      subscribe: (listener) => {
        const hear = (event: ReconcilerEvent): void => { if (event.type === 'snapshot') listener(event.snapshot); };
        listeners.add(hear);
        return () => { listeners.delete(hear); };
      },
    }),
    history: history.list,
    revision: history.find,
    manifests: history.manifests,
    events: events.list,
    logs: logbook.read,
    lease: traffic.lease,
    caller(token) {
      const incarnation = secrets.incarnationOf(token);
      const process = incarnation === null ? undefined : runtime.observe().find((candidate) => candidate.incarnation === incarnation);
      return process === undefined ? null : { plugin: process.plugin, incarnation: process.incarnation };
    },
    report(incarnation, report) {
      if (report.telemetry !== undefined) runtime.tell(incarnation, report.telemetry);
      if (report.log !== undefined) logbook.add(incarnation, report.log);
    },
    audit: store.audit,
    audits: store.audits,
    auditFault: store.auditFault,
    account: store.account,
    usage(query) {
      store.flushUsage();
      return store.usage(query);
    },
    derive: secrets.derive,
    sessions: store.sessions,
    saveSessions: store.saveSessions,
    seen: store.seen,
    used: (what, id) => store.used(what, id, new Date().toISOString()),
    start(listening, shown) {
      ports = listening;
      certificate = shown ?? null;
      opened = inForce.current().desired.server;
      heartbeat = setInterval(() => {
        for (const beat of [reading.poke, loop.poke, store.flush, store.flushUsage, supplies.look, runtime.heartbeat]) begin(async () => beat(), broken);
      }, HEARTBEAT_MS);
      watcher = watchFile(config, reading.poke);
      reading.poke();
      loop.poke();
    },
    async close(mode) {
      if (heartbeat !== null) clearInterval(heartbeat);
      await watcher?.close();
      await reading.close();
      await loop.close();
      // Nothing becomes ready any more: who waits is told so, not cut off.
      closing.abort();
      current = { ...current, routes: current.routes.map((route) => (route.state === 'ready' ? route : { ...route, state: 'down', why: 'bkg is ending; it answers again once it runs.' })) };
      publish({ type: 'snapshot', snapshot: current });
      supplies.close();
      await runtime.close(mode);
      await logbook.close();
      store.close();
      if (mode === 'stop') forgetPorts(home);
      await lock.release();
    },
  };
}

export const homeOf = (config: string): string => join(dirname(config), '.bkg');
