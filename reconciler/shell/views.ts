// Builds the snapshot that the api, the CLI and the UI see from what the tick found.
import { explainModel, explainPlugins, type ExplainInput } from '../core/explain.ts';
import { slotOf } from '../core/names.ts';
import { servingOf } from '../core/serving.ts';
import { memoryOfPlugin } from '../core/room.ts';
import { settleConditions } from '../core/settle.ts';
import type { Condition, DesiredPlugin, Drift, ObservedProcess, Plan, Serving } from '../core/types.ts';
import type { ModelView, PlanView, PluginView, Route, Snapshot, Telemetry } from './door.ts';
import type { Figures } from './local.ts';
import type { TrafficFigures } from './traffic.ts';

export type ViewSources = {
  readonly figures: (incarnation: string) => Figures;
  readonly traffic: (plugin: string) => TrafficFigures;
  readonly inbound: (incarnation: string) => string;
};

export type ViewInput = ExplainInput & {
  readonly seq: number;
  readonly at: string;
  readonly file: Snapshot['file'];
  readonly ports: Snapshot['ports'];
  readonly conditions: readonly Omit<Condition, 'since' | 'revision'>[];
};

/** Remembers the conditions of the last snapshot, so that `since` holds. */
export function openViews(sources: ViewSources) {
  let before = new Map<string, readonly Condition[]>();
  return {
    snapshot(input: ViewInput): Snapshot {
      const now = new Map<string, readonly Condition[]>();
      const stamp = { at: input.at, revision: input.desired.revision };
      const settle = (unit: string, found: readonly Omit<Condition, 'since' | 'revision'>[]): readonly Condition[] => {
        const settled = settleConditions(before.get(unit) ?? [], found, stamp);
        now.set(unit, settled);
        return settled;
      };
      const explained = explainPlugins(input);
      const processes = new Map(input.observed.processes.map((process) => [process.slot, process]));
      const plugins: PluginView[] = [];
      const routes: Route[] = [];
      for (const plugin of input.desired.plugins) {
        const explanation = explained.get(plugin.id)!;
        const process = processes.get(slotOf(plugin.id));
        const conditions = settle(`plugin/${plugin.id}`, explanation.conditions);
        plugins.push(pluginView({ plugin, process, memory: memoryOfPlugin(plugin, { observed: input.observed, processes: process === undefined ? [] : [process] }), status: explanation.status, conditions, telemetry: telemetry(sources, { input, plugin, process }) }));
        routes.push(routeOf(sources, { plugin, process, conditions, status: explanation.status, models: input.observed.models }));
      }
      const models = input.desired.models.map((model): ModelView => {
        const found = input.observed.models[model.name];
        const own = found?.sourceHash === model.sourceHash ? found : undefined;
        return {
          id: model.name, source: model.sourceText, state: model.state, phase: own?.phase ?? 'absent', sha256: own?.sha256 ?? model.sha256, bytes: own?.bytes ?? 0, bytesTotal: own?.bytesTotal ?? null, about: own?.about ?? null, commit: own?.commit ?? null, verified: own?.verified ?? null, checking: own?.checking ?? null,
          usedBy: input.desired.plugins.filter((plugin) => plugin.models.some((role) => role.model === model.name)).map((plugin) => plugin.id),
          conditions: settle(`model/${model.name}`, explainModel(input, model)),
        };
      });
      const conditions = settle('house', input.conditions);
      before = now;
      return { seq: input.seq, at: input.at, file: input.file, desired: input.desired, plugins, models, routes, plan: planView(input.plan), drifts: input.plan.drifts, conditions, ports: input.ports };
    },
  };
}

/** Stops that a start follows: one is as declared, only the process is another. */
const FOLLOWED: ReadonlySet<Drift['kind']> = new Set(['SpecChanged', 'RestartAsked', 'StartTimeout', 'LimitExceeded', 'LivenessLost']);

export const planView = (plan: Plan): PlanView => ({
  revision: plan.revision, converged: plan.actions.length === 0,
  actions: plan.actions.map((action) => ({ do: action.do === 'stop' && FOLLOWED.has(action.drift) ? 'restart' : action.do, unit: action.unit, because: action.because })),
});

const isUp = (process: ObservedProcess | undefined): process is ObservedProcess => process !== undefined && process.pid > 0;

function telemetry(sources: ViewSources, subject: { readonly input: ViewInput; readonly plugin: DesiredPlugin; readonly process: ObservedProcess | undefined }): Telemetry {
  const { input, plugin, process } = subject;
  const traffic = sources.traffic(plugin.id);
  const figures = isUp(process) ? sources.figures(process.incarnation) : null;
  return {
    cpu: figures?.cpu === null || figures === null ? null : Math.round(figures.cpu * 10) / 10,
    mem: process?.rss_bytes ?? null,
    throughput: traffic.throughput,
    uptime: process?.ready == null ? null : Math.round((input.now - process.ready) / 1000),
    requests: traffic.requests, inFlight: traffic.inFlight, errors: traffic.errors, lastError: traffic.lastError,
    restarts: input.observed.histories[slotOf(plugin.id)]?.restarts ?? 0,
    own: figures?.own ?? {},
  };
}

function pluginView(subject: { readonly plugin: DesiredPlugin; readonly process: ObservedProcess | undefined; readonly memory: number | null; readonly status: PluginView['status']; readonly conditions: readonly Condition[]; readonly telemetry: Telemetry }): PluginView {
  const { plugin, process } = subject;
  const up = isUp(process) ? process : null;
  const manifest = plugin.package.manifest;
  return {
    id: plugin.id, use: plugin.use, version: manifest.version ?? null, description: manifest.description ?? null, state: plugin.state, status: subject.status,
    pid: up?.pid ?? null, port: up?.port ?? null, incarnation: up?.incarnation ?? null, uptime: subject.telemetry.uptime,
    models: Object.fromEntries(plugin.models.flatMap((role) => (role.model === null ? [] : [[role.role, role.model]]))),
    memory: subject.memory, capabilities: plugin.capabilities, conditions: subject.conditions, telemetry: subject.telemetry,
  };
}

/** A process goes on with its models until another one can take over: it answers for these, and not yet for those of the file. */
function routedModels(running: readonly Serving[] | null, declared: readonly Serving[], models: ViewInput['observed']['models']): Route['models'] {
  const served = running ?? declared;
  const later = declared.filter((model) => !served.some((one) => one.name === model.name && one.role === model.role));
  return [
    ...served.map((model) => ({ ...model, state: 'served' as const })),
    ...later.map((model) => ({ ...model, state: models[model.name]?.phase === 'present' ? 'coming' as const : 'missing' as const })),
  ];
}

function routeOf(sources: ViewSources, subject: { readonly plugin: DesiredPlugin; readonly process: ObservedProcess | undefined; readonly conditions: readonly Condition[]; readonly status: PluginView['status']; readonly models: ViewInput['observed']['models'] }): Route {
  const { plugin, process, status } = subject;
  const ready = process?.phase === 'ready' ? process : null;
  const why = subject.conditions.find((condition) => condition.type === 'Ready');
  return {
    plugin: plugin.id,
    // A process that is being replaced, or has just failed and is tried at once, is worth waiting for; a broken one is not.
    state: ready !== null ? 'ready' : status === 'stopping' && plugin.state !== 'stopped' ? 'starting' : status === 'starting' ? 'starting' : status === 'stopped' && plugin.state === 'ondemand' ? 'asleep' : 'down',
    incarnation: ready?.incarnation ?? null, port: ready?.port ?? null, inbound: ready === null ? null : sources.inbound(ready.incarnation),
    capabilities: plugin.capabilities,
    models: routedModels(ready?.models ?? null, servingOf(plugin), subject.models),
    limits: plugin.limits, timeout_ms: plugin.timeout_ms, grants: plugin.grants,
    why: ready !== null || why === undefined ? null : why.message,
  };
}
