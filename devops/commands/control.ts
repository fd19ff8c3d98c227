// `bkg start`, `stop` and `restart`: the first two are edits of the file, the third is a one-time wish.
import { refusal, requireRunning } from '../client.ts';
import type { Context } from '../context.ts';
import { note, status, write, writeJson } from '../show.ts';

type Answered = { readonly status?: string; readonly message?: string; readonly detail?: string; readonly operation?: string };

export async function control(context: Context, verb: 'start' | 'stop' | 'restart', plugin: string): Promise<number> {
  const client = requireRunning(context);
  if (!context.json) note(`${verb} ${plugin} …\n`);
  const answer = await client.request(`/api/plugins/${encodeURIComponent(plugin)}/${verb}`, { method: 'POST' });
  if (answer.status >= 400) throw refusal(answer);
  const found = answer.body as Answered;
  if (context.json) writeJson(found);
  else if (answer.status === 202) write(`${plugin}: still under way; bkg status ${found.operation === undefined ? '' : `(${found.operation}) `}tells how it goes on.\n`);
  else write(`${plugin}: ${status(found.status ?? 'done')}${found.message === undefined ? '' : `, ${found.message}`}\n`);
  return 0;
}
