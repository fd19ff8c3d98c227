// `bkg patch`: one edit of the file, through the running bkg, or by the same splice when none runs.
import { mkdirSync } from 'node:fs';
import { patchOffline, type Json, type PatchOperation, type PlanView, type Problem } from '../../reconciler/index.ts';
import { connect, refusal, type Client } from '../client.ts';
import { requireConfig, type Context } from '../context.ts';
import { note, problemLine, writeJson } from '../show.ts';
import { messageOf, told } from '../told.ts';
import { writeDiff, writePlan } from './plan.ts';

export type PatchOptions = { readonly pointer: string; readonly value: string | null; readonly remove: boolean; readonly dryRun: boolean; readonly wait: boolean };
export type Done = { readonly revision: string; readonly diff: string | null; readonly plan: PlanView | null; readonly changed?: boolean; readonly outcome?: string; readonly problems: readonly Problem[] };

export async function patch(context: Context, options: PatchOptions): Promise<number> {
  requireConfig(context);
  const operation = operationOf(options);
  const client = connect(context);
  const done = client === null ? await offline(context, operation, options) : await online(client, operation, options);
  writeDone(context, done, options);
  return 0;
}

/** What an edit did or would do, and what the file is warned of there. */
export function writeDone(context: Context, done: Done, options: Pick<PatchOptions, 'pointer' | 'dryRun'>): void {
  if (context.json) {
    writeJson(done);
    return;
  }
  writeDiff(done.diff ?? '');
  if (done.plan !== null) {
    if (done.plan.actions.length > 0) writePlan(done.plan);
    note(`${verdict(done, options)}\n`);
  } else note(options.dryRun ? 'No bkg runs here; nothing was written.\n' : 'No bkg runs here: the file was edited, the next start follows it.\n');
  for (const problem of done.problems.filter(({ pointer }) => isAbout(pointer, options.pointer))) note(problemLine(problem, context.config, process.cwd()));
}

/** Whether one of the places holds the other. */
const isAbout = (one: string, other: string): boolean => `${one}/`.startsWith(`${other}/`) || `${other}/`.startsWith(`${one}/`);

function verdict(done: Done, options: Pick<PatchOptions, 'dryRun'>): string {
  if (options.dryRun) return 'Nothing was written: this is what it would lead to.';
  if (done.changed === false) return 'It stands there already: nothing was written.';
  const written = `The file is changed (revision ${done.revision.slice(0, 12)})`;
  return done.outcome === undefined ? `${written}; bkg follows.` : done.outcome === 'converged' ? `${written}, and the machine has followed.` : `${written}; the machine has not followed yet.`;
}

/** What reads as JSON is JSON, anything else is text; "add" sets a place whether or not something stands there. */
export function operationOf(options: Pick<PatchOptions, 'pointer' | 'value' | 'remove'>): PatchOperation {
  const { pointer, value, remove } = options;
  if (!/^(\/([^~/]|~[01])*)+$/.test(pointer)) throw told(`${pointer} is no JSON Pointer.`, 'Write it like /plugins/llmserver/state; a slash inside a name is ~1.');
  if (remove && value !== null) throw told('A value and --remove exclude each other.');
  if (remove) return { op: 'remove', path: pointer };
  if (value === null) throw told('The value is missing.', 'bkg patch POINTER VALUE, or bkg patch POINTER --remove.');
  return { op: 'add', path: pointer, value: jsonOrText(value) };
}

function jsonOrText(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}

/** What `--dry-run` and `--wait` are for the api. */
export const queryOf = (o: Pick<PatchOptions, 'dryRun' | 'wait'>): URLSearchParams => new URLSearchParams({ ...(o.dryRun ? { dryRun: 'true' } : {}), ...(o.wait ? { wait: 'converged', timeout: '10m' } : {}) });

async function online(client: Client, operation: PatchOperation, options: PatchOptions): Promise<Done> {
  const answer = await client.request(`/api/config?${queryOf(options)}`, { method: 'PATCH', body: [operation], type: 'application/json-patch+json', headers: { 'if-match': '*' } });
  if (answer.status >= 400) throw refusal(answer);
  return answer.body as Done;
}

async function offline(context: Context, operation: PatchOperation, options: PatchOptions): Promise<Done> {
  if (options.wait) throw told(`No bkg runs on ${context.home}, so there is nothing to wait for.`);
  try {
    mkdirSync(context.home, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw told(`${context.home} cannot be made: ${messageOf(error)}.`, 'Name another folder with --home or BKG_HOME.');
  }
  const place = { config: context.config, home: context.home, installation: context.installation, env: context.env };
  const result = await patchOffline(place, { actor: { name: 'cli', source: 'cli' }, change: { operations: [operation] }, ifRevision: null, dryRun: options.dryRun });
  if (result.ok) return { revision: result.revision, diff: result.diff, plan: null, problems: result.problems };
  if (result.code === 'Stale') throw told('The file changed while it was edited.', 'Run the command again.');
  if (result.code === 'ReadOnlyFile') throw told(result.message, `The change that was not written:\n${result.diff}`);
  throw Object.assign(told('The file would not be valid; nothing was written.'), { problems: result.problems });
}
