// How the house is doing: plan, drift, status, events and health.
import type { Snapshot } from '../../reconciler/index.ts';
import { failure } from '../problem.ts';
import { ANY, type Answer, type Call, type Route, ROWS, TEXT, json, limitOf, list, numberOf, object, route } from '../route.ts';

type Health = { readonly status: 'ok' | 'starting' | 'degraded' | 'failing'; readonly http: 200 | 503 };

/**
 * 200 while everything declared running answers. A broken bkg.yaml alone is `degraded` and 200: what runs goes on running,
 * and nobody should restart the appliance over a typo.
 */
export function healthOf(snapshot: Snapshot): Health {
  if (snapshot.plugins.some((plugin) => plugin.status === 'error')) return { status: 'failing', http: 503 };
  const waiting = snapshot.plugins.some((plugin) => plugin.state === 'running' && plugin.status !== 'running');
  if (waiting) return { status: 'starting', http: 503 };
  return snapshot.file.valid && snapshot.file.revision !== null ? { status: 'ok', http: 200 } : { status: 'degraded', http: 200 };
}

/** Open to everybody, so it holds counts and no names. */
function health(call: Call): Answer {
  const snapshot = call.house.reconciler.snapshot();
  const { status, http } = healthOf(snapshot);
  const counts: Record<string, number> = {};
  for (const plugin of snapshot.plugins) counts[plugin.status] = (counts[plugin.status] ?? 0) + 1;
  return json({ status, plugins: counts, converged: snapshot.plan.converged, configValid: snapshot.file.valid }, { status: http });
}

function ready(call: Call): Answer {
  const { ports } = call.house.reconciler.snapshot();
  const up = ports.api !== null;
  return json({ status: up ? 'ready' : 'starting' }, { status: up ? 200 : 503 });
}

async function status(call: Call): Promise<Answer> {
  const { seq, at, file, ports, plan, drifts, conditions, plugins, models } = call.house.reconciler.snapshot();
  return json({
    version: call.house.version, status: healthOf(call.house.reconciler.snapshot()).status, seq, at, file, ports, converged: plan.converged, actions: plan.actions.length, // Files that nobody uses are no trouble.
    drifts: drifts.filter(({ kind }) => kind !== 'ModelExtra').length, adminCanSignIn: (await call.house.access.setup.code()) === null, conditions,
    plugins: plugins.map(({ id, state, status: now, pid, port, uptime }) => ({ id, state, status: now, pid, port, uptime })),
    models: models.map(({ id, state, phase, bytes, bytesTotal }) => ({ id, state, phase, bytes, bytesTotal })),
  });
}

/** `edit-12` has ended when revision-seq 12 has converged, an ask when its plugin has. */
async function operation(call: Call): Promise<Answer> {
  const id = call.params['id'] ?? '';
  const { reconciler } = call.house;
  const about = reconciler.operation(id);
  if (about === null) throw failure({ status: 404, code: 'OperationUnknown', detail: `There is no operation ${id}, or a newer one has taken its place. Edits are named edit-<seq>, asks ask-<number>.` });
  // An edit that gave nobody anything to do has ended; an empty list would ask about the whole house.
  const settled = about.units.length === 0 ? { outcome: 'converged' as const, message: 'No process had to change.' } : await reconciler.settled({ ...about, timeout_ms: 0 });
  return json({ operation: id, outcome: settled.outcome === 'timeout' ? 'running' : settled.outcome, message: settled.message });
}

const ACTIONS = list(object({ do: TEXT, unit: TEXT, because: TEXT }));

export const statusRoutes: readonly Route[] = [
  route({ method: 'GET', path: '/health', scope: 'public', summary: '200 while everything declared running answers, else 503.', output: object({ status: TEXT, plugins: ANY, converged: ANY, configValid: ANY }), run: health }),
  route({ method: 'GET', path: '/health/live', scope: 'public', summary: '200 while bkg itself answers.', output: object({ status: TEXT }), run: () => json({ status: 'live' }) }),
  route({ method: 'GET', path: '/health/ready', scope: 'public', summary: '200 once bkg takes requests and reconciles.', output: object({ status: TEXT }), run: ready }),
  route({ method: 'GET', path: '/api/status', scope: 'config.read', summary: 'The house at a glance: file, ports, plan, conditions, plugins, models.', output: ANY, run: status }),
  route({ method: 'GET', path: '/api/plan', scope: 'config.read', summary: 'What is being done about differences; empty means converged.', output: object({ revision: TEXT, actions: ACTIONS }), run: (call) => json(call.house.reconciler.snapshot().plan) }),
  route({
    method: 'GET', path: '/api/drift', scope: 'config.read', summary: 'Every difference between what is declared and what is.', output: object({ drifts: list(object({ kind: TEXT, unit: TEXT, want: TEXT, have: TEXT, policy: TEXT })) }),
    run: (call) => json({ drifts: call.house.reconciler.snapshot().drifts }),
  }),
  route({
    method: 'GET', path: '/api/events', scope: 'config.read', summary: 'What happened, the newest last.', query: { limit: `At most so many, ${ROWS} when absent.`, after: 'Only events with a greater seq.' }, output: object({ events: list(ANY) }),
    run: (call) => json({ events: call.house.reconciler.events({ limit: limitOf(call), after: numberOf(call.query, 'after', { otherwise: 0, max: Number.MAX_SAFE_INTEGER }) }) }),
  }),
  route({ method: 'GET', path: '/api/operations/{id}', scope: 'config.read', summary: 'Whether an operation that was answered with 202 has ended.', output: object({ operation: TEXT, outcome: TEXT, message: TEXT }), run: operation }),
];
