// A world for the tests of the core: does what actions ask, in memory, with a clock of its own; well-behaved unless told otherwise.
import { servingOf } from './serving.ts';
import { afterExit, emptyHistory } from './settle.ts';
import type { Action, Desired, DesiredModel, DesiredPlugin, History, Observed, ObservedInstall, ObservedModel, ObservedProcess, Plan } from './types.ts';

const RETRY_MS = 5_000;

export type World = { now: number; processes: ObservedProcess[]; histories: Record<string, History>; installs: Record<string, ObservedInstall>; models: Record<string, ObservedModel>; asks: Observed['asks']; traffic: Record<string, Observed['traffic'][string]>; memory_bytes: number; born: number };

export const emptyWorld = (): World => ({ now: 0, processes: [], histories: {}, installs: {}, models: {}, asks: [], traffic: {}, memory_bytes: 2 ** 40, born: 0 });

export const observe = (world: World): Observed =>
  ({ processes: world.processes, histories: world.histories, installs: world.installs, models: world.models, extras: [], asks: world.asks, traffic: world.traffic, memory_bytes: world.memory_bytes });

/** Does what one action asks; slow things take until the next `pass`. */
export function obey(world: World, action: Action): void {
  switch (action.do) {
    case 'wait': return;
    case 'install': world.installs[action.plugin.package.contentHash] = { contentHash: action.plugin.package.contentHash, phase: 'installing', folder: null, message: '', failed: -1, retry: null }; return;
    case 'download': world.models[action.model.name] = modelOf(action.model, 'fetching'); return;
    case 'prune': return;
    case 'remove': delete world.models[action.model]; return;
    case 'start': world.processes.push(processOf(world, action)); return;
    case 'configure': change(world, action.incarnation, { configHash: action.plugin.configHash }); return;
    case 'stop': change(world, action.incarnation, { phase: 'stopping' }); return;
  }
}

/** How something that was begun comes out at the next look. */
export type Luck = 'done' | 'not yet' | 'fails';

/** Time passes: a second in which what was begun is finished, goes on or fails; without luck all that the plan waits for, and all goes well. */
export function pass(world: World, plan: Plan, drawn?: () => Luck): void {
  const luck = drawn ?? ((): Luck => 'done');
  world.now = Math.max(world.now + 1_000, drawn === undefined ? plan.next ?? 0 : 0);
  world.processes = world.processes.flatMap((process): ObservedProcess[] => {
    if (process.phase !== 'starting' && process.phase !== 'stopping') return [process];
    const how = luck();
    if (how === 'not yet') return [process];
    if (process.phase === 'starting' && how === 'done') return [{ ...process, phase: 'ready', ready: world.now }];
    end(world, process);
    return [];
  });
  for (const install of Object.values(world.installs)) {
    if (install.phase !== 'installing') continue;
    const how = luck();
    if (how === 'done') world.installs[install.contentHash] = { ...install, phase: 'done', folder: '/installed' };
    if (how === 'fails') world.installs[install.contentHash] = { ...install, phase: 'failed', failed: world.now, retry: world.now + RETRY_MS };
  }
  for (const model of Object.values(world.models)) {
    if (model.phase !== 'fetching') continue;
    const how = luck();
    if (how === 'done') world.models[model.name] = { ...model, phase: 'present', path: `/models/${model.name}`, sha256: `sha-${model.sourceHash}` };
    if (how === 'fails') world.models[model.name] = { ...model, phase: 'failed', retry: world.now + RETRY_MS };
  }
}

/** A process goes: as it was asked to, or by itself. */
export function end(world: World, process: ObservedProcess): void {
  const expected = process.phase === 'stopping';
  const exit = { code: expected ? 0 : 1, signal: null, error: null, lasting: false, at: world.now };
  const readyFor_ms = process.ready === null ? null : world.now - process.ready;
  world.histories[process.slot] = afterExit(world.histories[process.slot] ?? emptyHistory(process.slot), { exit, started: process.started, failure: null, expected, readyFor_ms, specHash: process.specHash, restart: { first_ms: 1_000, max_ms: 60_000 }, random: 0.5 });
  world.processes = world.processes.filter((other) => other !== process);
}

/** Another bkg takes over what runs. */
export function takeOver(world: World): void {
  world.processes = world.processes.filter((process) => process.phase !== 'stopping').map((process) => ({ ...process, adopted: true, awaited: world.now }));
  world.traffic = {};
}

function processOf(world: World, action: Extract<Action, { readonly do: 'start' }>): ObservedProcess {
  world.born += 1;
  return {
    slot: action.slot, plugin: action.plugin.id, incarnation: `i${world.born}`, pid: 1_000 + world.born, port: 40_000 + world.born, phase: 'starting', models: servingOf(action.plugin), specHash: action.specHash,
    configHash: action.plugin.configHash, started: world.now, awaited: world.now, ready: null, probe: null, adopted: false, limitsEnforcedBy: 'watch', rss_bytes: 1, liveFailures: 0,
  };
}

const change = (world: World, incarnation: string, part: Partial<ObservedProcess>): void => {
  world.processes = world.processes.map((process) => (process.incarnation === incarnation ? { ...process, ...part } : process));
};

export const modelOf = (model: DesiredModel, phase: ObservedModel['phase']): ObservedModel =>
  ({ name: model.name, sourceHash: model.sourceHash, phase, path: null, sha256: null, bytes: 0, files: [], bytesTotal: null, message: '', reason: '', retry: null, about: null, verified: null, damaged: null, checking: null });

export function pluginOf(id: string, part: Partial<DesiredPlugin> = {}): DesiredPlugin {
  return {
    id, use: id, package: { folder: `/plugins/${id}`, contentHash: `content-${id}`, manifest: { run: ['x'] } }, state: 'running', idle_ms: 600_000, run: ['x'], install: null, models: [],
    config: {}, env: {}, needs: [], memory_bytes: null, cpu_percent: null, timeout_ms: 300_000, limits: { requestsPerMinute: null, concurrent: null }, restart: { first_ms: 1_000, max_ms: 60_000 },
    ready: { path: '/health', timeout_ms: 300_000 }, live: null, stop: { signal: 'SIGTERM', drain_ms: 30_000, grace_ms: 10_000 }, capabilities: [], calls: [], grants: [], key: null, telemetryPath: null,
    launchHash: `launch-${id}`, configHash: `config-${id}`, ...part,
  };
}

export const modelNamed = (name: string, part: Partial<DesiredModel> = {}): DesiredModel =>
  ({ name, source: { kind: 'file', path: `/${name}` }, sourceText: `file:/${name}`, sha256: null, state: 'present', sourceHash: `source-${name}`, ...part });

export const desiredOf = (plugins: readonly DesiredPlugin[], models: readonly DesiredModel[] = []): Desired =>
  ({ revision: 'r', server: { host: '127.0.0.1', names: [], ports: { web: 1, api: 2, bus: 3 }, tls: null, origins: [], rateLimit: { requestsPerMinute: 600 } }, drift: {}, memory_bytes: null, downloads: { connections: 4, bandwidth_bytes: null, verifyEvery_ms: 0 }, plugins, models, users: [], keys: [] });
