// `bkg history`, `bkg diff`, `bkg rollback`: which revisions of the file there were, what they said, and back to one of them.
import type { Revision } from '../../reconciler/index.ts';
import { refusal, requireRunning, type Client } from '../client.ts';
import type { Context } from '../context.ts';
import { paint, table, write, writeJson } from '../show.ts';
import { told } from '../told.ts';
import { type Done, queryOf, writeDone } from './patch.ts';
import { writeDiff } from './plan.ts';

/** As the api allows. */
const LINES_MAX = 1_000;
const SHORT = 12;

/** All of them, or the text of one. */
export async function history(context: Context, o: { readonly revision: string | null; readonly lines: string }): Promise<number> {
  const client = requireRunning(context);
  if (o.revision !== null) return text(context, client, o.revision);
  if (!/^[1-9]\d{0,3}$/.test(o.lines) || Number(o.lines) > LINES_MAX) throw told(`-n ${o.lines}: a whole number from 1 to ${LINES_MAX} is wanted.`);
  const found = await client.get<{ readonly history: readonly Revision[] }>(`/api/history?limit=${o.lines}`);
  if (context.json) {
    writeJson(found);
    return 0;
  }
  const { file } = await client.get<{ readonly file: { readonly inForce: string } }>('/api/status');
  // The same bytes may have come more than once: in force they are as they came last.
  const current = found.history.find(({ revision, valid }) => valid && revision === file.inForce)?.seq;
  const note = (row: Revision): string => (row.seq === current ? paint('green', 'in force') : !row.valid ? paint('yellow', 'not valid') : row.kept ? '' : 'text not kept');
  write(table(['seq', 'when', 'who', 'from', 'revision', ''], found.history.toReversed().map((row) => [String(row.seq), row.at.replace(/\.\d+Z$/, 'Z'), row.actor, row.source, row.revision.slice(0, SHORT), note(row)])));
  return 0;
}

async function text(context: Context, client: Client, revision: string): Promise<number> {
  const found = await client.get<Revision & { readonly text: string | null }>(`/api/history/${encodeURIComponent(revision)}`);
  if (context.json) writeJson(found);
  else if (found.text === null) throw told(found.kept ? `Revision ${revision} cannot be shown: it is no valid YAML, so that its secrets cannot be told apart, or was written with another house.key.` : `The text of revision ${revision} is not kept any more.`, 'bkg history lists the revisions there are.');
  else write(found.text.endsWith('\n') ? found.text : `${found.text}\n`);
  return 0;
}

export async function diff(context: Context, o: { readonly from: string; readonly to: string | null }): Promise<number> {
  const query = o.to === null ? '' : `?to=${encodeURIComponent(o.to)}`;
  const found = await requireRunning(context).get<{ readonly diff: string }>(`/api/history/${encodeURIComponent(o.from)}/diff${query}`);
  if (context.json) writeJson(found);
  else if (found.diff === '') write('They say the same, byte for byte.\n');
  else writeDiff(found.diff);
  return 0;
}

export async function rollBack(context: Context, o: { readonly revision: string; readonly dryRun: boolean; readonly wait: boolean }): Promise<number> {
  const answer = await requireRunning(context).request(`/api/history/${encodeURIComponent(o.revision)}/rollback?${queryOf(o)}`, { method: 'POST' });
  if (answer.status >= 400) throw refusal(answer);
  writeDone(context, answer.body as Done, { ...o, pointer: '' });
  return 0;
}
