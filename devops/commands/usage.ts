// `bkg usage`: what was asked of /v1, by whom and of what: requests, errors, tokens and how long they took.
import type { UsageQuery, UsageRow } from '../../reconciler/index.ts';
import { requireRunning } from '../client.ts';
import type { Context } from '../context.ts';
import { note, table, write, writeJson } from '../show.ts';
import { told } from '../told.ts';

export type UsageOptions = { readonly by: UsageQuery['by']; readonly from?: string; readonly to?: string } & Readonly<Partial<Record<'key' | 'user' | 'plugin' | 'model', string>>>;
type Found = { readonly by: UsageQuery['by']; readonly from: string; readonly to: string; readonly usage: readonly UsageRow[] };

export async function usage(context: Context, o: UsageOptions): Promise<number> {
  const query = new URLSearchParams({
    by: o.by, ...(o.from === undefined ? {} : { from: momentOf('--from', o.from) }), ...only(o),
    ...(o.to === undefined ? {} : { to: momentOf('--to', o.to) }),
  });
  const [from, to] = [query.get('from'), query.get('to')];
  if (from !== null && to !== null && Date.parse(from) > Date.parse(to)) throw told(`--from ${o.from} is after --to ${o.to}.`);
  const found = await requireRunning(context).get<Found>(`/api/usage?${query}`);
  if (context.json) {
    writeJson(found);
    return 0;
  }
  if (found.usage.length === 0) write('No request in this time.\n');
  else write(table([o.by === 'total' ? '' : o.by, 'requests', 'errors', 'prompt tokens', 'completion tokens', 'mean latency'], found.usage.map((row) => [nameOf(row, o.by), ...[row.requests, row.errors, row.promptTokens, row.completionTokens].map(String), latency(row.latency_ms)])));
  note(`From ${hour(found.from)} to ${hour(found.to)}.\n`);
  return 0;
}

const only = (o: UsageOptions): Readonly<Record<string, string>> => Object.fromEntries((['key', 'user', 'plugin', 'model'] as const).flatMap((what) => (o[what] === undefined ? [] : [[what, o[what]]])));

function momentOf(option: string, text: string): string {
  if (/^\d{4}-\d\d-\d\d(T[\d:.]+Z)?$/.test(text) && !Number.isNaN(Date.parse(text))) return text;
  throw told(`${option} ${text} is no day.`, 'Write it like 2027-01-31, or a moment like 2027-01-31T12:00:00Z; days are those of UTC.');
}

/** Requests of people, and of the token of this machine, were made without a key; calls of capabilities name no model. */
const nameOf = ({ name }: UsageRow, by: UsageQuery['by']): string => (by === 'total' ? 'total' : name !== '' ? name : by === 'key' ? 'without a key' : 'none');
const latency = (ms: number): string => (ms >= 10_000 ? `${(ms / 1_000).toFixed(1)} s` : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`);
const hour = (at: string): string => at.replace('T', ' ').replace(/:00\.000Z$/, ' UTC');
