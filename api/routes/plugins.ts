// Plugins over HTTP: lists and views, their status, capabilities, telemetry and logs.
import type { LogRecord, PluginView, Snapshot } from '../../reconciler/index.ts';
import { failure } from '../problem.ts';
import { ANY, type Answer, type Call, type Route, TEXT, json, list, numberOf, object, plain, route } from '../route.ts';
import { logFrame } from '../frames.ts';

const LOG_LINES = 200;
const LOG_LINES_MAX = 5_000;
/** Of a filtered log so many more lines are looked through: errors are rare among lines. */
const LOOK_THROUGH = 10;
const LEVELS: readonly LogRecord['level'][] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];

/** The view of a plugin by the `{id}` of the path. */
export function viewOf(snapshot: Snapshot, id: string): PluginView {
  const found = snapshot.plugins.find((plugin) => plugin.id === id);
  if (found !== undefined) return found;
  const known = snapshot.plugins.map((plugin) => plugin.id);
  const names = known.length === 0 ? 'It declares none' : `It declares ${known.slice(0, 20).join(', ')}${known.length > 20 ? ' …' : ''}`;
  throw failure({ status: 404, code: 'PluginUnknown', detail: `There is no plugin ${id} in bkg.yaml. ${names}.` });
}

const view = (call: Call): PluginView => viewOf(call.house.reconciler.snapshot(), call.params['id'] ?? '');

const cursorOf = (record: LogRecord): string => `${record.incarnation}:${record.stream}:${record.offset}`;

function afterOf(call: Call): Parameters<Call['house']['reconciler']['logs']>[0]['after'] {
  const text = call.query.get('after');
  if (text === null) return null;
  const found = /^([\w-]{1,64}):(stdout|stderr):(\d{1,15})$/.exec(text);
  if (found === null) throw failure({ status: 400, code: 'BadQuery', detail: `?after= must be the "next" of an earlier answer, but is ${JSON.stringify(text)}.` });
  return { incarnation: found[1]!, stream: found[2] as 'stdout' | 'stderr', offset: Number(found[3]) };
}

function levelOf(call: Call): number {
  const text = call.query.get('level') ?? 'trace';
  const rank = LEVELS.findIndex((level) => level === text);
  if (rank === -1) throw failure({ status: 400, code: 'BadQuery', detail: `?level= must be one of ${LEVELS.join(', ')}, but is ${JSON.stringify(text)}.` });
  return rank;
}

async function logs(call: Call): Promise<Answer> {
  const { id } = view(call);
  const limit = numberOf(call.query, 'limit', { otherwise: LOG_LINES, max: LOG_LINES_MAX });
  const rank = levelOf(call);
  const records = await call.house.reconciler.logs({ plugin: id, limit: rank === 0 ? limit : Math.min(limit * LOOK_THROUGH, LOG_LINES_MAX * LOOK_THROUGH), after: afterOf(call) });
  const kept = limit === 0 ? [] : records.filter((record) => LEVELS.indexOf(record.level) >= rank).slice(-limit);
  if (call.query.get('format') === 'text') return plain(kept.map((record) => `${record.at} ${record.level.toUpperCase().padEnd(5)} ${record.message}\n`).join(''));
  // Of everything read, so that a filter does not read the same lines again.
  const last = records.findLast((record) => record.offset >= 0);
  const lines = kept.map((record) => { const { topic: _topic, ...line } = logFrame(record); return line; });
  return json({ id, logs: lines, next: last === undefined ? call.query.get('after') : cursorOf(last) });
}

const VIEW = object({ id: TEXT, use: TEXT, state: TEXT, status: TEXT, pid: ANY, port: ANY, uptime: ANY, capabilities: list(ANY), conditions: list(ANY), telemetry: ANY });
const AT = '/api/plugins/{id}';

export const pluginRoutes: readonly Route[] = [
  route({ method: 'GET', path: '/api/plugins', scope: 'config.read', summary: 'Every declared plugin with its status.', output: object({ plugins: list(VIEW) }), run: (call) => json({ plugins: call.house.reconciler.snapshot().plugins }) }),
  route({ method: 'GET', path: AT, scope: 'config.read', summary: 'One plugin.', output: VIEW, run: (call) => json(view(call)) }),
  route({
    method: 'GET', path: `${AT}/status`, scope: 'config.read', summary: 'How one plugin is doing, and why.', output: object({ id: TEXT, status: TEXT, conditions: list(ANY) }),
    run: (call) => {
      const { id, state, status, pid, port, uptime, conditions } = view(call);
      return json({ id, state, status, pid, port, uptime, conditions });
    },
  }),
  route({
    method: 'GET', path: `${AT}/capabilities`, scope: 'config.read', summary: 'What one plugin can do, with the schemas of input and output.', output: object({ id: TEXT, capabilities: list(ANY) }),
    run: (call) => { const { id, capabilities } = view(call); return json({ id, capabilities }); },
  }),
  route({
    method: 'GET', path: `${AT}/telemetry`, scope: 'config.read', summary: 'Figures of one plugin: CPU, memory, throughput, requests, errors, its own.', output: object({ id: TEXT, cpu: ANY, mem: ANY, throughput: ANY, uptime: ANY, requests: ANY, inFlight: ANY, errors: ANY, lastError: ANY }),
    run: (call) => { const { id, telemetry } = view(call); return json({ id, ...telemetry }); },
  }),
  route({
    method: 'GET', path: `${AT}/logs`, scope: 'config.read', summary: 'Log lines of one plugin, the newest; ?format=text for people.', output: object({ id: TEXT, logs: list(ANY), next: ANY }),
    query: { limit: `Lines at most, ${LOG_LINES} when absent, up to ${LOG_LINES_MAX}.`, after: 'Only lines after this place: the `next` of an earlier answer.', level: 'Lowest level: trace, debug, info, warn, error or fatal.', format: 'text: plain lines.' },
    run: logs,
  }),
];
