// Changes plugins over HTTP: start, stop and configure are edits of the file; restart and wake are asks; invoke is a call.
import type { Json, PluginView } from '../../reconciler/index.ts';
import { mergePatchToOperations } from '../../reconciler/index.ts';
import { escapeToken } from '../../schema/pointer.ts';
import { validateWire } from '../../schema/validate.ts';
import type { Invoke } from '../../schema/wire.gen.ts';
import wire from '../../schema/wire.schema.json' with { type: 'json' };
import { INVOKE_BODY_MAX_BYTES } from '../body.ts';
import { WAIT_MAX_MS, commit, commitAndAnswer, ifMatchOf } from '../edit.ts';
import { invoke } from '../invoke.ts';
import { lookUp } from '../mask.ts';
import { failure } from '../problem.ts';
import { ANY, type Answer, type BodyRule, type Call, type Route, durationOf, json, route } from '../route.ts';
import { viewOf } from './plugins.ts';

/** How long start, stop and restart wait before they answer 202. */
const DONE_WITHIN_MS = 30_000;

type Wanted = { readonly id: string; readonly seq: number; readonly operation: string; readonly done: (view: PluginView) => boolean };

/** 200 with the view once it is so, 202 when it takes longer, else a problem that says why not. */
async function whenDone(call: Call, wanted: Wanted): Promise<Answer> {
  const { reconciler } = call.house;
  const timeout_ms = durationOf(call.query, 'timeout', { otherwise_ms: DONE_WITHIN_MS, max_ms: WAIT_MAX_MS });
  const settled = await reconciler.settled({ units: [`plugin/${wanted.id}`], seq: wanted.seq, timeout_ms });
  const view = viewOf(reconciler.snapshot(), wanted.id);
  if (settled.outcome === 'timeout') return json({ operation: wanted.operation, message: settled.message, plugin: view }, { status: 202 });
  if (settled.outcome === 'converged' && wanted.done(view)) return json({ ...view, operation: wanted.operation });
  const ready = view.conditions.find((condition) => condition.type === 'Ready');
  const why = settled.outcome === 'failed' ? settled.message : `${wanted.id}: ${ready?.message ?? `its status is ${view.status}.`}`;
  throw failure({ status: 503, code: ready?.reason ?? 'NotDone', detail: why, more: { operation: wanted.operation, status_of_plugin: view.status, conditions: view.conditions } });
}

const isUp = (view: PluginView): boolean => view.status === 'running';
const isDown = (view: PluginView): boolean => view.status === 'stopped';

/** Writes `state` of the plugin into the file, everything else as it stands. */
async function declare(call: Call, id: string, state: 'running' | 'stopped'): Promise<{ readonly seq: number; readonly operation: string }> {
  const read = await call.house.reconciler.read();
  const path = `/plugins/${escapeToken(id)}/state`;
  const done = await commit(call, { read, change: { operations: [{ op: 'add', path, value: state }] }, ifRevision: null }, false);
  return { seq: done.seq, operation: `edit-${done.seq}` };
}

async function start(call: Call): Promise<Answer> {
  const { reconciler } = call.house;
  const snapshot = reconciler.snapshot();
  const { id, state, status } = viewOf(snapshot, call.params['id'] ?? '');
  if (state === 'ondemand') {
    const { operation } = await reconciler.ask({ kind: 'wake', plugin: id, actor: call.actor });
    return whenDone(call, { id, seq: snapshot.seq, operation, done: isUp });
  }
  if (state === 'running' && status === 'running') return json({ ...viewOf(snapshot, id), operation: null });
  const edit = state === 'running' ? null : await declare(call, id, 'running');
  // A person who asks for a start does not want to sit out a back-off.
  const ask = await reconciler.ask({ kind: 'retry', plugin: id, actor: call.actor });
  return whenDone(call, { id, seq: edit?.seq ?? snapshot.seq, operation: edit?.operation ?? ask.operation, done: isUp });
}

async function stop(call: Call): Promise<Answer> {
  const { id } = viewOf(call.house.reconciler.snapshot(), call.params['id'] ?? '');
  return whenDone(call, { id, ...(await declare(call, id, 'stopped')), done: isDown });
}

async function restart(call: Call): Promise<Answer> {
  const { reconciler } = call.house;
  const snapshot = reconciler.snapshot();
  const before = viewOf(snapshot, call.params['id'] ?? '');
  const { id } = before;
  if (before.state === 'stopped') throw failure({ status: 409, code: 'Stopped', detail: `${id} is declared stopped, so there is nothing to restart. \`bkg start ${id}\`, or POST /api/plugins/${id}/start, starts it.` });
  const asleep = before.state === 'ondemand' && before.status === 'stopped';
  if (asleep) throw failure({ status: 409, code: 'Asleep', detail: `${id} is asleep; its next start is a fresh process anyway. \`bkg start ${id}\`, or POST /api/plugins/${id}/start, wakes it.` });
  const { operation } = await reconciler.ask({ kind: 'restart', plugin: id, actor: call.actor });
  return whenDone(call, { id, seq: snapshot.seq, operation, done: (view) => isUp(view) && view.incarnation !== before.incarnation });
}

async function configure(call: Call): Promise<Answer> {
  const { reconciler } = call.house;
  const { id } = viewOf(reconciler.snapshot(), call.params['id'] ?? '');
  const read = await reconciler.read();
  const path = `/plugins/${escapeToken(id)}/config`;
  const operations = mergePatchToOperations(lookUp(read.value, path), call.body as Json, path);
  const ifRevision = call.headers['if-match'] === undefined ? null : ifMatchOf(call, read.revision);
  return commitAndAnswer(call, { read, change: { operations }, ifRevision });
}

function call(order: Call): Answer {
  const { id } = viewOf(order.house.reconciler.snapshot(), order.params['id'] ?? '');
  const { capability, input } = order.body as Invoke;
  return {
    kind: 'raw',
    write: (response) => invoke({ reconciler: order.house.reconciler, access: order.house.access, behind: { identity: { kind: 'somebody', who: order.who, session: order.session }, through: [], address: order.actor.address ?? null }, plugin: id, capability, input: (input ?? {}) as Json, headers: order.headers, signal: order.signal }, response),
  };
}

const AT = '/api/plugins/{id}';
const WAITING = { timeout: 'Longest wait before 202, e.g. 30s (default), 10m at most.' };
const SETTINGS: BodyRule = { schema: { type: 'object' } };

export const controlRoutes: readonly Route[] = [
  route({ method: 'POST', path: `${AT}/start`, scope: 'plugins.control', summary: 'Declares the plugin running (wakes one on demand); 200 once it is ready, a problem when it cannot, 202 when it takes longer.', query: WAITING, output: ANY, run: start }),
  route({ method: 'POST', path: `${AT}/stop`, scope: 'plugins.control', summary: 'Declares the plugin stopped; 200 once it is.', query: WAITING, output: ANY, run: stop }),
  route({ method: 'POST', path: `${AT}/restart`, scope: 'plugins.control', summary: 'A new process for the plugin, the file unchanged; 200 once it is ready.', query: WAITING, output: ANY, run: restart }),
  route({
    method: 'POST', path: `${AT}/config`, scope: 'plugins.control', summary: 'Merge patch (RFC 7396) of the settings of the plugin in the file.', output: ANY, run: configure,
    query: { dryRun: 'true: say what would happen, write nothing.', wait: 'converged: answer when the machine has followed.', timeout: 'Longest wait.' },
    input: { 'application/json': SETTINGS, 'application/merge-patch+json': SETTINGS },
  }),
  route({
    method: 'POST', path: `${AT}/invoke`, scope: 'capability', summary: 'Calls a capability of the plugin and passes its answer on, streams as streams.', output: ANY, run: call, max_bytes: INVOKE_BODY_MAX_BYTES,
    input: { 'application/json': { schema: wire.definitions.invoke, check: (value) => validateWire('invoke', value) } },
  }),
];
