// Compares desired with observed and says what to do now: a pure function, called on every tick.
import { slotOf, unitOfModel, unitOfSlot } from './names.ts';
import type { Fit } from './fit.ts';
import { fitAll } from './room.ts';
import { wantedPlugins, type Wish } from './wanted.ts';
import { sizeWords } from './units.ts';
import type { Action, Desired, DesiredModel, DesiredPlugin, Drift, ExtraFile, Monotonic_ms, Observed, ObservedModel, ObservedProcess, Plan } from './types.ts';

export type DiffInput = {
  readonly desired: Desired;
  readonly observed: Observed;
  readonly now: Monotonic_ms;
  /** The declaration is known in part only: what it does not name goes on as it is. */
  readonly leaveUndeclared?: boolean;
};

/**
 * What a process of this plugin is made of: its launch hash and the bytes of its models. Null while a model is not at hand.
 */
export function specHashOf(plugin: DesiredPlugin, models: Observed['models']): string | null {
  let hash = plugin.launchHash;
  for (const role of plugin.models) {
    if (role.model === null) continue;
    const model = models[role.model];
    if (model === undefined || model.phase !== 'present' || model.sha256 === null) return null;
    hash += `:${role.role}=${model.sha256}`;
  }
  return hash;
}

/** What is decided of the memory: who leaves it and who must wait for room, each with the reason. */
type Memory = { readonly leave: ReadonlyMap<string, string>; readonly wait: ReadonlyMap<string, Fit['wait'][number]> };

const memoryOf = (decided: Fit): Memory => ({ leave: new Map(decided.leave.map((one) => [one.plugin, one.because])), wait: new Map(decided.wait.map((one) => [one.plugin, one])) });

type Draft = DiffInput & {
  readonly byPlugin: ReadonlyMap<string, readonly ObservedProcess[]>;
  readonly wanted: ReadonlyMap<string, Wish>;
  readonly actions: Action[];
  readonly drifts: Drift[];
  readonly look: (at: Monotonic_ms) => void;
};
type Context = Draft & { readonly memory: Memory };

/** One action per unit and tick; a unit that must change is stopped now and started on a later tick. */
export function diff(input: DiffInput): Plan {
  const { desired, observed, now } = input;
  let next: Monotonic_ms | null = null;
  const look = (at: Monotonic_ms): void => { next = next === null ? at : Math.min(next, at); };
  const wanted = wantedPlugins(input, look);
  const byPlugin = groupByPlugin(observed.processes);
  const draft: Draft = { ...input, byPlugin, wanted, actions: [], drifts: [], look };
  const memory = memoryOf(fitAll({ desired, observed, wanted, byPlugin, isPrepared: (plugin) => preparation(draft, plugin, 'ProcessMissing') === null && backingOff(draft, plugin) === null }));
  const context: Context = { ...draft, memory };

  const modelsInUse = new Set<string>();
  for (const plugin of desired.plugins) {
    if (!wanted.has(plugin.id)) continue;
    for (const role of plugin.models) if (role.model !== null) modelsInUse.add(role.model);
  }
  for (const model of desired.models) diffModel(context, model, modelsInUse.has(model.name));
  if (input.leaveUndeclared !== true) for (const extra of observed.extras) diffExtra(context, extra);

  const declared = new Set<string>();
  for (const plugin of desired.plugins) {
    declared.add(plugin.id);
    diffPlugin(context, plugin);
  }
  for (const process of observed.processes) {
    if (declared.has(process.plugin) || input.leaveUndeclared === true) continue;
    stopUnwanted(context, process, { plugin: null, because: 'it is no longer declared' });
  }
  for (const action of context.actions) if (action.do === 'wait' && action.until !== null) look(Math.max(action.until, now));
  return { revision: desired.revision, actions: context.actions, drifts: context.drifts, next };
}

function groupByPlugin(processes: readonly ObservedProcess[]): ReadonlyMap<string, readonly ObservedProcess[]> {
  const groups = new Map<string, ObservedProcess[]>();
  for (const process of processes) {
    const group = groups.get(process.plugin);
    if (group === undefined) groups.set(process.plugin, [process]);
    else group.push(process);
  }
  return groups;
}

/** Notes the drift and, where the policy says heal, the action that mends it. */
function drift(context: Context, found: Omit<Drift, 'policy'>, action: Action): void {
  const policy = context.desired.drift[found.kind] ?? 'heal';
  if (policy === 'ignore') return;
  context.drifts.push({ ...found, policy });
  if (policy === 'heal') context.actions.push(action);
}

// ─── Models ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function diffModel(context: Context, model: DesiredModel, inUse: boolean): void {
  const unit = unitOfModel(model.name);
  const found = context.observed.models[model.name];
  if (model.state === 'absent') {
    if (found === undefined) return;
    const because = 'it is declared absent';
    drift(context, { kind: 'ModelUnwanted', unit, want: 'absent', have: found.phase }, { do: 'remove', unit, because, drift: 'ModelUnwanted', model: model.name });
    return;
  }
  if (model.state === 'ondemand' && !inUse) return;
  if (found?.sourceHash === model.sourceHash && found.phase === 'present') return;
  const kind = found?.sourceHash !== model.sourceHash ? 'ModelMissing' : found.damaged !== null ? 'ModelDamaged' : found.reason === 'Changed' ? 'ModelChanged' : 'ModelMissing';
  drift(context, { kind, unit, want: model.sourceText, have: modelHave(model, found) }, modelAction(context, { model, found, kind }));
}

/** Told, and left alone: it may be declared again. `bkg model prune` removes it, and so does a policy of heal. */
function diffExtra(context: Context, extra: ExtraFile): void {
  const unit = `model-file/${extra.name}`;
  const policy = context.desired.drift['ModelExtra'] ?? 'report';
  if (policy === 'ignore') return;
  context.drifts.push({ kind: 'ModelExtra', unit, want: 'no model that is declared', have: sizeWords(extra.bytes), policy });
  if (policy === 'heal') context.actions.push({ do: 'prune', unit, because: 'no declared model uses it', drift: 'ModelExtra', file: extra.name });
}

function modelHave(model: DesiredModel, found: ObservedModel | undefined): string {
  if (found === undefined) return 'nothing yet';
  if (found.sourceHash !== model.sourceHash) return 'the bytes of another source';
  return found.phase === 'fetching' ? 'being fetched' : found.message;
}

function modelAction(context: Context, { model, found, kind }: { readonly model: DesiredModel; readonly found: ObservedModel | undefined; readonly kind: Drift['kind'] }): Action {
  const base = { unit: unitOfModel(model.name), drift: kind };
  const fetchAgain: Action = { ...base, do: 'download', model, because: found === undefined ? 'it is not on this machine yet' : 'its source or hash changed' };
  if (found === undefined || found.sourceHash !== model.sourceHash) return fetchAgain;
  if (found.phase === 'fetching') return { ...base, do: 'wait', until: null, because: 'it is being fetched' };
  if (found.retry !== null && found.retry <= context.now) return { ...fetchAgain, because: kind === 'ModelMissing' ? `the last try failed: ${found.message}` : found.message };
  return { ...base, do: 'wait', until: found.retry, because: found.message };
}

// ─── Plugins ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function diffPlugin(context: Context, plugin: DesiredPlugin): void {
  const slot = slotOf(plugin.id);
  const own = context.byPlugin.get(plugin.id) ?? [];
  const live = own.find((process) => process.slot === slot);
  for (const process of own) if (process !== live) stopUnwanted(context, process, { plugin, because: 'only one process may fill a slot' });
  const wanted = context.wanted.has(plugin.id);
  if (live !== undefined) {
    const leaves = context.memory.leave.get(plugin.id);
    if (leaves !== undefined) stopUnwanted(context, live, { plugin, because: leaves });
    else if (wanted) diffLive(context, plugin, live);
    else stopUnwanted(context, live, { plugin, because: plugin.state === 'stopped' ? 'it is declared stopped' : `nobody has used it for ${plugin.idle_ms / 1000} s` });
    return;
  }
  if (wanted) diffMissing(context, plugin);
}

function stopUnwanted(context: Context, process: ObservedProcess, why: { readonly plugin: DesiredPlugin | null; readonly because: string }): void {
  const unit = unitOfSlot(process.slot);
  const base = { unit, because: why.because, drift: 'ProcessUnwanted' as const };
  const found = { kind: 'ProcessUnwanted' as const, unit, want: 'stopped', have: `process ${process.pid}, ${process.phase}` };
  if (isEnding(process)) drift(context, found, { ...base, do: 'wait', until: null });
  else drift(context, found, { ...base, do: 'stop', incarnation: process.incarnation, plugin: why.plugin, failure: null });
}

const isEnding = (process: ObservedProcess): boolean => process.phase === 'draining' || process.phase === 'stopping';

function diffLive(context: Context, plugin: DesiredPlugin, live: ObservedProcess): void {
  const unit = unitOfSlot(live.slot);
  if (isEnding(live)) {
    drift(context, { kind: 'ProcessMissing', unit, want: 'running', have: live.phase }, { do: 'wait', unit, because: 'the old process is finishing', drift: 'ProcessMissing', until: null });
    return;
  }
  const change = reasonToReplace(context, plugin, live);
  if (change !== null) {
    const found = { kind: change.kind, unit, want: change.want, have: change.have };
    // Prepare before stop: the old process serves until everything the new one needs is there.
    const preparing = change.failure === null ? preparation(context, plugin, change.kind) : null;
    drift(context, found, preparing ?? { do: 'stop', unit, because: change.because, drift: change.kind, incarnation: live.incarnation, plugin, failure: change.failure });
    return;
  }
  if (live.phase === 'starting') {
    const until = live.awaited + plugin.ready.timeout_ms;
    context.look(until);
    drift(context, { kind: 'ProcessMissing', unit, want: 'ready', have: 'starting' }, { do: 'wait', unit, because: 'it is starting', drift: 'ProcessMissing', until });
    return;
  }
  if (live.configHash !== plugin.configHash) {
    drift(context, { kind: 'ConfigChanged', unit, want: 'the declared settings', have: 'earlier settings' },
      { do: 'configure', unit, because: 'a live setting changed', drift: 'ConfigChanged', incarnation: live.incarnation, plugin });
  }
}

type Replace = { readonly kind: Drift['kind']; readonly want: string; readonly have: string; readonly because: string; readonly failure: string | null };

function reasonToReplace(context: Context, plugin: DesiredPlugin, live: ObservedProcess): Replace | null {
  const { now, observed } = context;
  if (live.phase === 'starting' && now - live.awaited >= plugin.ready.timeout_ms) {
    const because = `it was not ready after ${plugin.ready.timeout_ms / 1000} s (${live.probe ?? 'no answer yet'})`;
    return { kind: 'StartTimeout', want: 'ready', have: 'starting', because, failure: 'StartTimeout' };
  }
  if (plugin.memory_bytes !== null && live.rss_bytes !== null && live.rss_bytes > plugin.memory_bytes) {
    const because = `it holds ${live.rss_bytes} bytes, its limit is ${plugin.memory_bytes}`;
    return { kind: 'LimitExceeded', want: `${plugin.memory_bytes} bytes at most`, have: `${live.rss_bytes} bytes`, because, failure: 'MemoryLimit' };
  }
  if (plugin.live !== null && live.liveFailures >= plugin.live.failures) {
    return { kind: 'LivenessLost', want: 'alive', have: live.probe ?? 'no answer', because: `${live.liveFailures} liveness probes in a row failed`, failure: 'LivenessLost' };
  }
  const asked = observed.asks.some((ask) => ask.kind === 'restart' && ask.plugin === plugin.id && ask.at > live.started);
  if (asked) return { kind: 'RestartAsked', want: 'a new process', have: `process ${live.pid}`, because: 'a restart was asked for', failure: null };
  const spec = specHashOf(plugin, observed.models);
  const sameLaunch = live.specHash === plugin.launchHash || live.specHash.startsWith(`${plugin.launchHash}:`);
  // While a model of an otherwise unchanged plugin is away, what runs keeps running.
  if (spec === null ? sameLaunch : spec === live.specHash) return null;
  return { kind: 'SpecChanged', want: 'the declared spec', have: 'an earlier spec', because: 'what it is started with changed', failure: null };
}

function diffMissing(context: Context, plugin: DesiredPlugin): void {
  const unit = unitOfSlot(slotOf(plugin.id));
  const found = { kind: 'ProcessMissing' as const, unit, want: 'running', have: 'no process' };
  drift(context, found, preparation(context, plugin, 'ProcessMissing') ?? heldBack(context, plugin) ?? {
    do: 'start', unit, because: context.wanted.get(plugin.id)?.because ?? 'it is declared running', drift: 'ProcessMissing',
    slot: slotOf(plugin.id), plugin, specHash: specHashOf(plugin, context.observed.models) ?? plugin.launchHash,
  });
}

/** What must be there before a new process can start: its install and its models. Null when all is. */
function preparation(context: Draft, plugin: DesiredPlugin, kind: Drift['kind']): Action | null {
  const base = { unit: unitOfSlot(slotOf(plugin.id)), drift: kind };
  const { observed, now } = context;
  if (plugin.install !== null) {
    const install = observed.installs[plugin.package.contentHash];
    if (install === undefined) return { ...base, do: 'install', plugin, because: 'its install has not run yet' };
    if (install.phase === 'installing') return { ...base, do: 'wait', until: null, because: 'it is being installed' };
    if (install.phase === 'failed') {
      const asked = install.retry !== null && (install.retry <= now || askedSince(context, plugin.id, install.failed));
      if (asked) return { ...base, do: 'install', plugin, because: `the last install failed: ${install.message}` };
      return { ...base, do: 'wait', until: install.retry, because: `its install failed: ${install.message}` };
    }
  }
  for (const role of plugin.models) {
    if (role.model === null) continue;
    const model = observed.models[role.model];
    const declared = context.desired.models.find((candidate) => candidate.name === role.model);
    if (model?.phase === 'present' && model.sourceHash === declared?.sourceHash) {
      const is = model.about?.format ?? role.format;
      if (role.format === 'any' || is === role.format) continue;
      return { ...base, do: 'wait', until: null, because: `its model ${role.model} is ${is === 'other' ? 'of another kind' : is}, and ${role.role} wants ${role.format}; give it another one` };
    }
    const have = model?.phase === 'failed' ? `could not be fetched: ${model.message}` : 'is not here yet';
    return { ...base, do: 'wait', until: null, because: `its model ${role.model} ${have}` };
  }
  return null;
}

const askedSince = (context: Draft, plugin: string, since: Monotonic_ms): boolean =>
  context.observed.asks.some((ask) => ask.plugin === plugin && ask.kind !== 'wake' && ask.at > since);

/** Why a process that could start must not yet: no room in memory, unmet needs, a stall, the back-off. */
function heldBack(context: Context, plugin: DesiredPlugin): Action | null {
  const base = { do: 'wait' as const, unit: unitOfSlot(slotOf(plugin.id)), drift: 'ProcessMissing' as const, until: null };
  // What has no room for itself would have none either once its needs are there.
  const room = context.memory.wait.get(plugin.id);
  if (room !== undefined) return { ...base, because: room.because, ...(room.tooLarge === true ? { inVain: true as const } : {}) };
  for (const need of plugin.needs) {
    const ready = (context.byPlugin.get(need) ?? []).some((process) => process.phase === 'ready');
    if (!ready) return { ...base, because: `it needs ${need}, which is not ready` };
  }
  return backingOff(context, plugin);
}

/** Why it must not be started again yet after what has happened to it. */
function backingOff(context: Draft, plugin: DesiredPlugin): Action | null {
  const slot = slotOf(plugin.id);
  const base = { do: 'wait' as const, unit: unitOfSlot(slot), drift: 'ProcessMissing' as const };
  const history = context.observed.histories[slot];
  if (history === undefined) return null;
  if (askedSince(context, plugin.id, history.lastExit?.at ?? -1)) return null;
  if (history.stalled !== null && history.stalled.specHash === specHashOf(plugin, context.observed.models)) {
    return { ...base, until: null, because: `${history.stalled.reason}; a new try needs a change or a restart` };
  }
  const spec = specHashOf(plugin, context.observed.models);
  const failed = history.lastFailure ?? null;
  if (history.notBefore !== null && history.notBefore > context.now && (failed === null || failed.specHash === spec)) {
    return { ...base, until: history.notBefore, because: `it failed ${history.failures.length} times within ten minutes` };
  }
  return null;
}
