// What was done and what was used: the audit log and the usage of the data plane.
import type { UsageQuery } from '../../reconciler/index.ts';
import { may } from '../auth/somebody.ts';
import { failure } from '../problem.ts';
import { ANY, type Answer, type Call, type Route, ROWS, TEXT, json, limitOf, list, numberOf, object, route } from '../route.ts';

const HOUR_MS = 3_600_000;
const DAYS_SHOWN = 30;
const GROUPS: readonly UsageQuery['by'][] = ['key', 'user', 'plugin', 'model', 'capability', 'hour', 'day', 'total'];

function audit(call: Call): Answer {
  const rows = call.house.reconciler.audits({
    limit: limitOf(call), before: numberOf(call.query, 'before', { otherwise: Number.MAX_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }),
    action: call.query.get('action'), actor: call.query.get('actor'),
  });
  return json({ audit: rows.map((row) => ({ ...row, detail: row.detail === null ? null : (JSON.parse(row.detail) as unknown) })), next: rows.at(-1)?.seq ?? null });
}

async function verify(call: Call): Promise<Answer> {
  const fault = await call.house.reconciler.auditFault();
  return json(fault === null ? { intact: true } : { intact: false, ...fault });
}

const DAY = /^\d{4}-\d{2}-\d{2}$/;

/** A moment of the query. */
function momentOf(call: Call, name: string, otherwise: number): number {
  const text = call.query.get(name);
  const at = text === null ? otherwise : Date.parse(text);
  if (Number.isNaN(at)) throw failure({ status: 400, code: 'BadQuery', detail: `?${name}= must be a day or a moment like 2027-01-31 or 2027-01-31T12:00:00Z, but is ${JSON.stringify(text)}.` });
  return at;
}

function usage(call: Call): Answer {
  const { who } = call;
  const by = (call.query.get('by') ?? 'key') as UsageQuery['by'];
  if (!GROUPS.includes(by)) throw failure({ status: 400, code: 'BadQuery', detail: `?by= must be one of ${GROUPS.join(', ')}, but is ${JSON.stringify(by)}.` });
  const now = Date.now();
  const from = momentOf(call, 'from', now - DAYS_SHOWN * 24 * HOUR_MS);
  // A day is meant with all its hours.
  const to = momentOf(call, 'to', now) + (DAY.test(call.query.get('to') ?? '') ? 24 * HOUR_MS : 0);
  const named = { key: call.query.get('key'), user: call.query.get('user'), plugin: call.query.get('plugin'), model: call.query.get('model') };
  // Without the right to see everybody's, one's own.
  const own = may(who, 'analytics.read') ? {} : who.key === null ? { user: who.user ?? who.name } : { key: who.key.id };
  const query: UsageQuery = { ...named, ...own, by, from: from - (from % HOUR_MS), to: Math.ceil(to / HOUR_MS) * HOUR_MS };
  return json({ by, from: new Date(query.from).toISOString(), to: new Date(query.to).toISOString(), usage: call.house.reconciler.usage(query) });
}

export const recordRoutes: readonly Route[] = [
  route({
    method: 'GET', path: '/admin/audit', scope: 'audit.read', summary: 'Who did what, the newest first.', output: object({ audit: list(ANY), next: ANY }), run: audit,
    query: { limit: `At most so many, ${ROWS} when absent.`, before: 'Only rows with a smaller seq: the `next` of an earlier answer.', action: 'key.create, or key. for all about keys.', actor: 'Only what this one did.' },
  }),
  route({ method: 'GET', path: '/admin/audit/verify', scope: 'audit.read', summary: 'Whether the audit log is as it was written: a changed or missing row is named.', output: object({ intact: ANY }), run: verify }),
  route({
    method: 'GET', path: '/api/usage', scope: 'self', summary: 'Requests, errors, tokens and latency of /v1; without analytics.read those of oneself.', output: object({ by: TEXT, usage: list(ANY) }), run: usage,
    query: { by: `${GROUPS.join(', ')}; key when absent.`, from: `Since when, whole hours; the last ${DAYS_SHOWN} days when absent.`, to: 'Until when; a day with all its hours.', key: 'Of one key.', user: 'Of one user.', plugin: 'Of one plugin.', model: 'Of one model.' },
  }),
];
