// `bkg plan`: what bkg is about to do, or what a proposed file would lead to.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { refusal, requireRunning, type Client } from '../client.ts';
import type { Context } from '../context.ts';
import type { PlanView } from '../../reconciler/index.ts';
import { paint, table, write, writeJson } from '../show.ts';
import { messageOf, told } from '../told.ts';

export async function plan(context: Context, file: string | null): Promise<number> {
  const client = requireRunning(context);
  if (file !== null) return proposed(context, client, file);
  const found = await client.get<PlanView>('/api/plan');
  if (context.json) writeJson(found);
  else writePlan(found);
  return 0;
}

type Proposal = { readonly revision: string; readonly diff: string | null; readonly plan: PlanView };

/** A dry run of putting the file's text in place of the one in force. */
async function proposed(context: Context, client: Client, file: string): Promise<number> {
  const text = readText(resolve(file));
  const answer = await client.put('/api/config?dryRun=true', text);
  if (answer.status >= 400) throw Object.assign(refusal(answer), { file: resolve(file) });
  const found = answer.body as Proposal;
  if (context.json) writeJson(found);
  else {
    writeDiff(found.diff ?? '');
    writePlan(found.plan);
  }
  return 0;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw told(`${path} cannot be read: ${messageOf(error)}.`);
  }
}

export function writePlan(found: PlanView): void {
  if (found.actions.length === 0) write('Nothing to do: the machine is as the file says.\n');
  else write(table(['do', 'unit', 'because'], found.actions.map((action) => [paint('bold', action.do), action.unit, action.because])));
}

export function writeDiff(diff: string): void {
  const colour = (line: string): string => (/^[+](?!\+\+)/.test(line) ? paint('green', line) : /^-(?!--)/.test(line) ? paint('red', line) : line);
  if (diff !== '') write(`${diff.trimEnd().split('\n').map(colour).join('\n')}\n\n`);
}
