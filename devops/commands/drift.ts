// `bkg drift`: every difference between the file and the machine, in words.
import { requireRunning } from '../client.ts';
import type { Context } from '../context.ts';
import type { Drift } from '../../reconciler/index.ts';
import { table, write, writeJson } from '../show.ts';

/** With `--exit-code` a difference is no error, and not nothing either. */
const DRIFT_EXIT = 2;

export async function drift(context: Context, options: { readonly exitCode: boolean }): Promise<number> {
  const found = await requireRunning(context).get<{ readonly drifts: readonly Drift[] }>('/api/drift');
  if (context.json) writeJson(found);
  else if (found.drifts.length === 0) write('No drift: the machine is as the file says.\n');
  else write(table(['kind', 'unit', 'want', 'have', 'policy'], found.drifts.map((one) => [one.kind, one.unit, one.want, one.have, one.policy])));
  // Files that nobody uses are told, and no trouble.
  return options.exitCode && found.drifts.some(({ kind }) => kind !== 'ModelExtra') ? DRIFT_EXIT : 0;
}
