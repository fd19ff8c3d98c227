// `bkg start`, `stop` and `restart`: the first two are edits of the file, the third is a one-time wish.
import { setTimeout as pause } from 'node:timers/promises';
import { refusal, requireRunning, type Client } from '../client.ts';
import type { Context } from '../context.ts';
import { note, status, write, writeJson } from '../show.ts';

/** As short as this nobody asks what it waits for. */
const TELL_EVERY_MS = 1000;

type Answered = { readonly status?: string; readonly message?: string; readonly detail?: string; readonly operation?: string };
type Plugin = { readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string; readonly message: string }[] };

export async function control(context: Context, verb: 'start' | 'stop' | 'restart', plugin: string): Promise<number> {
  const client = requireRunning(context);
  if (!context.json) note(`${verb} ${plugin} …\n`);
  const path = `/api/plugins/${encodeURIComponent(plugin)}`;
  const asked = client.request(`${path}/${verb}`, { method: 'POST' });
  if (!context.json) await tellMeanwhile(client, path, asked);
  const answer = await asked;
  if (answer.status >= 400) throw refusal(answer);
  const found = answer.body as Answered;
  if (context.json) writeJson(found);
  else if (answer.status === 202) write(`${plugin}: still under way; bkg status ${found.operation === undefined ? '' : `(${found.operation}) `}tells how it goes on.\n`);
  else write(`${plugin}: ${status(found.status ?? 'done')}${found.message === undefined ? '' : `, ${found.message}`}\n`);
  return 0;
}

/** Until it has its answer: what the plugin waits for, whenever that is something else. A look that fails changes nothing. */
async function tellMeanwhile(client: Client, path: string, asked: Promise<unknown>): Promise<void> {
  const ended = asked.then(() => null, () => null);
  for (let told = ''; ; ) {
    if ((await Promise.race([ended, pause(TELL_EVERY_MS, 'go on', { ref: false })])) === null) return;
    const seen = await Promise.race([ended, client.request(path).catch(() => undefined)]);
    if (seen === null) return;
    const open = seen?.status === 200 ? (seen.body as Plugin).conditions.find(({ type, status: is }) => (type === 'Ready' || type === 'Synced') && is !== 'True') : undefined;
    if (open === undefined || open.reason === told) continue;
    told = open.reason;
    note(`  ${open.message}\n`);
  }
}
