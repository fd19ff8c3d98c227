// `bkg audit`: who did what, the newest last; and whether the log is as it was written.
import type { AuditRow } from '../../reconciler/index.ts';
import { requireRunning } from '../client.ts';
import type { Context } from '../context.ts';
import { paint, table, write, writeJson } from '../show.ts';
import { told } from '../told.ts';

export type AuditOptions = { readonly lines: string; readonly action?: string; readonly actor?: string };
type Row = Omit<AuditRow, 'detail'> & { readonly detail: unknown };
type Verdict = { readonly intact: true } | { readonly intact: false; readonly seq: number; readonly message: string };

/** As the api allows. */
const LINES_MAX = 1_000;

export async function audit(context: Context, o: AuditOptions): Promise<number> {
  if (!/^[1-9]\d{0,3}$/.test(o.lines) || Number(o.lines) > LINES_MAX) throw told(`-n ${o.lines}: a whole number from 1 to ${LINES_MAX} is wanted.`);
  const query = new URLSearchParams({ limit: o.lines, ...(o.action === undefined ? {} : { action: o.action }), ...(o.actor === undefined ? {} : { actor: o.actor }) });
  const found = await requireRunning(context).get<{ readonly audit: readonly Row[]; readonly next: number | null }>(`/admin/audit?${query}`);
  if (context.json) writeJson(found);
  else if (found.audit.length === 0) write(o.action === undefined && o.actor === undefined ? 'Nothing was written down yet.\n' : 'Nothing of that kind was written down.\n');
  else write(table(['row', 'when', 'who', 'from', 'what', 'of', 'outcome'], found.audit.toReversed().map((row) => [String(row.seq), row.at.replace(/\.\d+Z$/, 'Z'), row.actor, row.address === null ? row.source : `${row.source} ${row.address}`, row.action, row.target, row.outcome === 'done' ? row.outcome : paint('yellow', row.outcome)])));
  return 0;
}

export async function verifyAudit(context: Context): Promise<number> {
  const found = await requireRunning(context).get<Verdict>('/admin/audit/verify');
  if (context.json) writeJson(found);
  else if (found.intact) write(`${paint('green', 'intact')}: no row was changed and none is missing.\n`);
  else write(`${paint('red', 'not intact')}: ${found.message}.\n`);
  return found.intact ? 0 : 1;
}
