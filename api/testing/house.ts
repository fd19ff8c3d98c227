// A reconciler in memory for tests of the doors: what it shows is set by the test, what it is asked is written down.
import { createHash } from 'node:crypto';
import { parse } from 'yaml';
import type {
  AskRequest, AuditEntry, Capability, Desired, DesiredKey, DesiredUser, HouseEvent, Json, JsonObject, LogRecord, ModelView, PatchRequest, PatchResult, PluginView, Reconciler, ReconcilerEvent, Route, SessionRow, Snapshot, UsageEvent,
} from '../../reconciler/index.ts';

type DesiredPlugin = Desired['plugins'][number];

export const revisionOf = (text: string): string => createHash('sha256').update(text).digest('hex');

export const TOKENS: Readonly<Record<string, { readonly plugin: string; readonly incarnation: string }>> = {
  'token-of-caller': { plugin: 'caller', incarnation: 'inc-caller' },
  'token-of-echo': { plugin: 'echo', incarnation: 'inc-echo' },
};

export const capability = (id: string, more: Partial<Capability> = {}): Capability =>
  ({ id, method: 'POST', path: `/${id}`, description: '', stream: false, input: null, output: null, limits: { requestsPerMinute: null, concurrent: null }, ...more });

export type PluginSpec = {
  readonly id: string;
  readonly state?: PluginView['state'];
  readonly status?: PluginView['status'];
  readonly capabilities?: readonly Capability[];
  readonly grants?: readonly string[];
  readonly key?: string;
  /** Where it answers; null: nowhere. */
  readonly port?: number | null;
  readonly route?: Route['state'];
  readonly config?: JsonObject;
  readonly launchHash?: string;
  readonly configSchema?: JsonObject;
  readonly incarnation?: string;
  readonly why?: string;
  readonly roles?: DesiredPlugin['models'];
};

const NO_LIMITS = { requestsPerMinute: null, concurrent: null };

function viewOf(spec: PluginSpec): PluginView {
  const status = spec.status ?? 'running';
  const up = status === 'running';
  const ready = { type: 'Ready', status: up ? 'True' as const : 'False' as const, reason: up ? 'Ready' : 'Down', message: spec.why ?? (up ? 'It answers.' : 'It is down.'), since: '2026-01-01T00:00:00.000Z', revision: 'r' };
  return {
    id: spec.id, use: spec.id, version: '1.0.0', description: null, state: spec.state ?? 'running', status, pid: up ? 4_711 : null, port: spec.port ?? null, incarnation: spec.incarnation ?? (up ? `inc-${spec.id}` : null),
    uptime: up ? 12 : null, models: {}, memory: null, capabilities: spec.capabilities ?? [], conditions: [ready],
    telemetry: { cpu: up ? 1.5 : null, mem: up ? 1_000 : null, throughput: 0.5, uptime: up ? 12 : null, requests: 7, inFlight: 0, errors: 1, lastError: null, restarts: 2, own: { tokens: 3 } },
  };
}

const routeOf = (spec: PluginSpec): Route => ({
  plugin: spec.id, state: spec.route ?? ((spec.status ?? 'running') === 'running' ? 'ready' : 'down'), incarnation: `inc-${spec.id}`, port: spec.port ?? null, inbound: `inbound-of-${spec.id}`,
  capabilities: spec.capabilities ?? [], models: [], limits: NO_LIMITS, timeout_ms: 5_000, grants: spec.grants ?? [], why: spec.why ?? null,
});

function desiredPluginOf(spec: PluginSpec): DesiredPlugin {
  const config = spec.config ?? {};
  return {
    id: spec.id, use: spec.id, state: spec.state ?? 'running', idle_ms: 600_000, run: ['true'], install: null, models: spec.roles ?? [], config, env: {}, needs: [], memory_bytes: null, cpu_percent: null, timeout_ms: 5_000,
    package: { folder: null, contentHash: 'c', manifest: { run: ['true'], ...(spec.configSchema === undefined ? {} : { config: spec.configSchema as { [key: string]: unknown } }) } },
    limits: NO_LIMITS, restart: { first_ms: 1, max_ms: 2 }, ready: { path: '/health', timeout_ms: 1_000 }, live: null, stop: { signal: 'SIGTERM', drain_ms: 1, grace_ms: 1 },
    capabilities: spec.capabilities ?? [], calls: [], grants: spec.grants ?? [], key: spec.key ?? null, telemetryPath: null, launchHash: spec.launchHash ?? 'l', configHash: JSON.stringify(config),
  };
}

export type HouseSpec = { readonly plugins?: readonly PluginSpec[]; readonly users?: readonly DesiredUser[]; readonly keys?: readonly DesiredKey[]; readonly models?: readonly ModelView[]; readonly text?: string; readonly requestsPerMinute?: number; readonly server?: Partial<Desired['server']> };

export type TestHouse = {
  readonly reconciler: Reconciler;
  readonly publish: (event: ReconcilerEvent) => void;
  /** Shows another state, and tells everybody. */
  readonly show: (spec: HouseSpec) => void;
  readonly patches: PatchRequest[];
  readonly asks: AskRequest[];
  /** Models that were to be brought here now. */
  readonly fetches: string[];
  readonly audited: AuditEntry[];
  readonly accounts: UsageEvent[];
  readonly sessions: Map<string, SessionRow>;
  readonly reports: { readonly incarnation: string; readonly report: Parameters<Reconciler['report']>[1] }[];
  /** `at`: where each was, in turn; null: waiting. */
  readonly leases: { readonly plugin: string; readonly at: (string | null)[]; outcome: { readonly error: string | null } | null }[];
  /** Answers of the reconciler that a test wants otherwise. */
  readonly answers: {
    patch: (request: PatchRequest) => PatchResult | null;
    settled: Awaited<ReturnType<Reconciler['settled']>>;
    ask: (request: AskRequest) => void;
    lease: (plugin: string, at: string | null) => void;
    logs: readonly LogRecord[];
    events: readonly HouseEvent[];
  };
};

function snapshotOf(spec: HouseSpec, text: string, seq: number): Snapshot {
  const plugins = spec.plugins ?? [];
  const revision = revisionOf(text);
  return {
    seq, at: '2026-01-01T00:00:00.000Z', file: { path: 'bkg.yaml', revision, inForce: revision, valid: true, problems: [] },
    desired: {
      revision, drift: {}, memory_bytes: null, downloads: { connections: 4, bandwidth_bytes: null, verifyEvery_ms: 0 }, plugins: plugins.map(desiredPluginOf), models: [], users: spec.users ?? [], keys: spec.keys ?? [],
      server: { host: '127.0.0.1', names: [], ports: { web: 1, api: 2, bus: 3 }, tls: null, origins: [], rateLimit: { requestsPerMinute: spec.requestsPerMinute ?? 600 }, ...spec.server },
    },
    plugins: plugins.map(viewOf), routes: plugins.map(routeOf), models: spec.models ?? [],
    plan: { revision, converged: true, actions: [] }, drifts: [], conditions: [], ports: { web: 1, api: 2, bus: 3 },
  };
}

/** A house that believes every edit and has nothing to do. */
export function makeHouse(first: HouseSpec = {}): TestHouse {
  const listeners = new Set<(event: ReconcilerEvent) => void>();
  let text = first.text ?? 'version: 1\n';
  let seq = 1;
  let snapshot = snapshotOf(first, text, seq);
  const publish = (event: ReconcilerEvent): void => { for (const listener of listeners) listener(event); };
  const answers: TestHouse['answers'] = { patch: () => null, settled: { outcome: 'converged', message: 'done' }, ask: () => undefined, lease: () => undefined, logs: [], events: [] };
  const house: Omit<TestHouse, 'reconciler'> = {
    publish, answers, patches: [], asks: [], fetches: [], reports: [], leases: [], audited: [], accounts: [], sessions: new Map(),
    show(spec) {
      text = spec.text ?? text;
      snapshot = snapshotOf(spec, text, (seq += 1));
      publish({ type: 'snapshot', snapshot });
    },
  };
  const reconciler: Reconciler = {
    snapshot: () => snapshot,
    subscribe(listener) {
      listeners.add(listener);
      return () => { listeners.delete(listener); };
    },
    read: async () => ({ text, revision: revisionOf(text), value: parse(text) as Json }),
    plan: async () => ({ plan: snapshot.plan, problems: [], diff: '' }),
    async patch(request) {
      house.patches.push(request);
      const before = revisionOf(text);
      const given = answers.patch(request);
      if (given !== null) return given;
      if (request.ifRevision !== null && request.ifRevision !== before) return { ok: false, code: 'Stale', revision: before, base: request.ifRevision, yours: null, theirs: null };
      return { ok: true, revision: revisionOf(text), seq, changed: true, diff: '', plan: snapshot.plan, units: snapshot.plan.actions.map((action) => action.unit), problems: [] };
    },
    verify: async () => ({ ok: true, sha256: 'a'.repeat(64), bytes: 5, verified: '2026-01-01T00:00:00.000Z' }),
    prune: async () => ({ removed: [], failed: [] }),
    async ask(request) {
      house.asks.push(request);
      answers.ask(request);
      return { operation: `ask-${house.asks.length}` };
    },
    fetch: async ({ model }) => {
      house.fetches.push(model);
      return true;
    },
    operation: (id) => (id === 'edit-2' || house.asks.some((_ask, index) => id === `ask-${index + 1}`) ? { units: ['plugin/echo#0'], seq: 2 } : null),
    settled: async () => answers.settled,
    history: () => [{ seq: 1, revision: revisionOf(text), at: '2026-01-01T00:00:00.000Z', actor: 'file', source: 'file', valid: true, kept: true }],
    revision: async (id) => (id === '1' ? { seq: 1, revision: revisionOf(text), at: '2026-01-01T00:00:00.000Z', actor: 'file', source: 'file', valid: true, kept: true, text, manifests: {} } : null),
    manifests: async () => Object.fromEntries(snapshot.desired.plugins.map((plugin) => [plugin.id, plugin.package.manifest])),
    events: (query) => answers.events.filter((event) => event.seq > query.after).slice(-query.limit),
    logs: async (query) => answers.logs.filter((record) => record.plugin === query.plugin).slice(-query.limit),
    lease(plugin, at) {
      const lease: TestHouse['leases'][number] = { plugin, at: [at], outcome: null };
      house.leases.push(lease);
      answers.lease(plugin, at);
      return {
        at: (incarnation) => {
          if (lease.at.at(-1) !== incarnation) lease.at.push(incarnation);
        },
        end(outcome) { lease.outcome ??= outcome; },
      };
    },
    caller: (token) => (Object.hasOwn(TOKENS, token) ? TOKENS[token]! : null),
    report: (incarnation, report) => { house.reports.push({ incarnation, report }); },
    audit: (entry) => { house.audited.push(entry); },
    audits: () => [],
    auditFault: () => Promise.resolve(null),
    account: (event) => { house.accounts.push(event); },
    usage: () => [],
    derive: (purpose) => createHash('sha256').update(purpose).digest(),
    sessions: () => [...house.sessions.values()],
    saveSessions: (rows) => { for (const row of rows) house.sessions.set(row.family, row); },
    seen: () => [],
    used: () => undefined,
    start: () => undefined,
    close: async () => undefined,
  };
  return { ...house, reconciler };
}
