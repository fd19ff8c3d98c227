// Frames of the live socket out of what the reconciler knows.
import type { HouseEvent, LogRecord, ModelView, PlanView, PluginView } from '../reconciler/index.ts';
import type { ErrorFrame, EventFrame, LogFrame, ModelFrame, PlanFrame, StatusFrame, TelemetryFrame } from '../schema/wire.gen.ts';

/** The condition that says most: why it is not ready, else that it is crash looping or not as declared, else nothing. */
function messageOf(plugin: PluginView): string | null {
  const bad = plugin.conditions.find((condition) => condition.type === 'Ready' && condition.status !== 'True')
    ?? plugin.conditions.find((condition) => condition.type === 'CrashLooping' && condition.status === 'True')
    ?? plugin.conditions.find((condition) => condition.type === 'Synced' && condition.status === 'False');
  return bad?.message ?? null;
}

export const statusFrame = (plugin: PluginView): StatusFrame =>
  ({ topic: 'status', id: plugin.id, status: plugin.status, uptime: plugin.uptime, state: plugin.state, pid: plugin.pid, port: plugin.port, message: messageOf(plugin) });

/** For a plugin that has left the file. */
export const goneFrame = (id: string): StatusFrame =>
  ({ topic: 'status', id, status: 'stopped', uptime: null, state: 'stopped', pid: null, port: null, message: 'It is no longer declared.' });

export const logFrame = (record: LogRecord): LogFrame => ({
  topic: 'logs', id: record.plugin, level: record.level, message: record.message, ts: record.at, incarnation: record.incarnation, stream: record.stream,
  // A line that came over the bus has no place in a file.
  ...(record.offset < 0 ? {} : { offset: record.offset }),
  ...(record.fields === null ? {} : { fields: { ...record.fields } }),
});

/** Stands where lines were left out because the client did not read fast enough. */
export const gapFrame = (id: string, gap: { readonly dropped: number; readonly at: string }): LogFrame =>
  ({ topic: 'logs', id, level: 'warn', message: `${gap.dropped} lines left out: this connection does not read fast enough. GET /api/plugins/${id}/logs has them.`, ts: gap.at, fields: { gap: gap.dropped } });

export function telemetryFrame(plugin: PluginView): TelemetryFrame {
  const { cpu, mem, throughput, uptime, requests, inFlight, errors, lastError, restarts, own } = plugin.telemetry;
  return { topic: 'telemetry', id: plugin.id, cpu, mem, throughput, uptime, requests, inFlight, errors, lastError, restarts, own: { ...own } };
}

export const modelFrame = (model: ModelView): ModelFrame =>
  ({ topic: 'models', id: model.id, phase: model.phase, bytes: model.bytes, bytesTotal: model.bytesTotal, message: model.conditions[0]?.message ?? null });

/** For a model that has left the file. */
export const goneModelFrame = (id: string): ModelFrame =>
  ({ topic: 'models', id, phase: 'absent', bytes: 0, bytesTotal: null, message: 'It is no longer declared.' });

export const planFrame = (plan: PlanView): PlanFrame =>
  ({ topic: 'plan', revision: plan.revision, converged: plan.converged, actions: plan.actions.map((action) => ({ ...action })) });

export const eventFrame = (event: HouseEvent): EventFrame => ({ topic: 'events', ...event });

export const errorFrame = (code: string, message: string): ErrorFrame => ({ topic: 'error', code, message });
