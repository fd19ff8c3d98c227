// `bkg model`: models as the file declares them and as they are here. To pull or remove one is an edit of the file, by the running bkg or here when none runs.
import { existsSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import type { Json, ModelView, Problem } from '../../reconciler/index.ts';
import type { Model } from '../../schema/bkg.gen.ts';
import { requireRunning } from '../client.ts';
import { openComing } from '../coming.ts';
import type { Context } from '../context.ts';
import { note, paint, problemLine, size, status, table, write, writeJson } from '../show.ts';
import { told, type Told } from '../told.ts';
import { COLUMNS, watchComing } from '../watch-coming.ts';
import { openDoor, requireForm, requireName, sayOffline, sayOfFile, send, type DeclaredFile, type Door } from './users.ts';

export const MODELS = '/api/models';
const SHORT_HASH = 12;
/** As shells tell an end by Ctrl-C. */
const INTERRUPTED_EXIT = 130;

// ─── list ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What nobody runs nobody can say more of: `phase` and `bytes` are null then. */
type Row = Omit<ModelView, 'phase' | 'bytes' | 'bytesTotal' | 'conditions'> & { readonly phase: ModelView['phase'] | null; readonly bytes: number | null; readonly bytesTotal: number | null; readonly conditions: ModelView['conditions'] };

export async function listModels(context: Context): Promise<number> {
  const { client, file } = await openDoor(context);
  const models: readonly Row[] = client !== null ? (await client.get<{ readonly models: readonly ModelView[] }>(MODELS)).models : await declaredRows(file);
  if (context.json) writeJson({ models });
  else {
    if (models.length === 0) write('The file declares no model. Get one: bkg model search WORDS, then bkg model pull SOURCE\n');
    else write(table(['model', 'declared', 'is', 'size', 'sha256', 'used by', 'source'], models.map((model) => [model.id, model.state, phaseCell(model), sizeCell(model), model.sha256?.slice(0, SHORT_HASH) ?? '', model.usedBy.join(', '), model.source])));
    const failed = models.filter(({ phase }) => phase === 'failed');
    if (failed.length > 0) write(`\n${failed.map(troubleLine).join('')}`);
    if (client === null) sayOfFile();
  }
  return 0;
}

async function declaredRows({ value }: DeclaredFile): Promise<readonly Row[]> {
  const { modelsIn, usesOf } = await import('../../api/model-edits.ts');
  return Object.entries(modelsIn(value)).map(([id, model]): Row => {
    const { source, state = 'present', sha256 = null } = model as unknown as Model;
    return { id, source, state, sha256, phase: null, bytes: null, bytesTotal: null, usedBy: [...new Set(usesOf(value, id).map(({ plugin }) => plugin))], about: null, commit: null, verified: null, checking: null, conditions: [] };
  });
}

function phaseCell({ phase, bytes, bytesTotal }: Row): string {
  if (phase === null) return '';
  const share = phase === 'fetching' && bytes !== null && bytesTotal !== null && bytesTotal > 0 ? ` ${Math.floor((100 * bytes) / bytesTotal)} %` : '';
  return status(phase) + share;
}

const sizeCell = ({ bytes, bytesTotal }: Row): string => { const known = bytesTotal ?? bytes; return known === null || known === 0 ? '' : size(known); };

function troubleLine({ id, conditions }: Pick<ModelView, 'id' | 'conditions'>): string {
  const said = conditions.find(({ type }) => type === 'Available');
  return `${paint('bold', id)} ${paint('yellow', said?.reason ?? 'Failed')}: ${said?.message ?? ''}\n`;
}

// ─── pull ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

export type PullOptions = { readonly name?: string; readonly sha256?: string; readonly for?: string; readonly wait: boolean };
type Wish = { readonly source: string; readonly name: string | null; readonly sha256: string | null; readonly use: { readonly plugin: string; readonly role: string | null } | null };
type Begun = { readonly operation: string | null; readonly model: ModelView | null; readonly revision: string; readonly changed: boolean; readonly problems: readonly Problem[]; readonly plugin?: string; readonly role?: string };

export async function pullModel(context: Context, typed: string, o: PullOptions): Promise<number> {
  const source = sourceOf(context, typed);
  if (o.name !== undefined) requireName('name of a model', o.name);
  if (o.sha256 !== undefined) requireForm(o.sha256, { as: '/models/x/sha256', what: 'sha256', hint: 'It has 64 characters of 0-9 and a-f; `sha256sum FILE` tells that of a file.' });
  const wish: Wish = { source, name: o.name ?? null, sha256: o.sha256 ?? null, use: o.for === undefined ? null : useOf(o.for) };
  const { client, file } = await openDoor(context);
  if (client === null) return pullOffline(context, file, wish);
  const begun = await begin(client, wish);
  const { model } = begun;
  if (model === null) throw told('bkg has not taken the edit in.', 'bkg status tells why.');
  if (!context.json) sayBegun(context, model.id, begun);
  if (o.wait && model.phase !== 'present') return waitFor(context, client, { name: model.id, begun });
  if (context.json) writeJson(begun);
  else if (model.phase === 'present') sayHere(model);
  else write(`${model.id} is on its way; bkg model list shows how it comes on.\n`);
  return 0;
}

function sayBegun(context: Context, name: string, { plugin, role, changed, problems }: Begun): void {
  note(`${changed ? `The file declares ${name} now` : `The file declares ${name} already`}${plugin === undefined ? '' : `, for ${plugin} (${role})`}.\n`);
  for (const problem of problems.filter(({ pointer }) => pointer.startsWith(`/models/${name}`) || (plugin !== undefined && pointer.startsWith(`/plugins/${plugin}/models`)))) note(problemLine(problem, context.config, process.cwd()));
}

const sayHere = ({ id, bytes, sha256 }: ModelView): void => write(`${id} is here: ${size(bytes)}, sha256 ${sha256}\n`);

/** A page of the hub, as copied from a browser, is the file it shows. */
function sourceOf(context: Context, typed: string): string {
  const page = /^https:\/\/(?:huggingface\.co|hf\.co)\/([^/\s]+)\/([^/\s]+)\/(?:blob|resolve)\/([^/\s]+)\/([^?#\s]+)/.exec(typed);
  const source = page === null ? typed : `hf://${page[1]}/${page[2]}/${page[4]}${page[3] === 'main' ? '' : `@${page[3]}`}`;
  const path = resolve(typed);
  const here = existsSync(path) ? `For this file: file:${fileFrom(dirname(context.config), path)}` : 'bkg model search WORDS finds some.';
  requireForm(source, { as: '/models/x/source', what: 'source of a model', hint: `Write hf://org/repo/path, https://…, or file:path, relative to bkg.yaml. ${here}` });
  return source;
}

function fileFrom(folder: string, path: string): string {
  const near = relative(folder, path);
  return near.startsWith('..') ? path : near;
}

function useOf(text: string): NonNullable<Wish['use']> {
  const [plugin = '', role = null, ...more] = text.split(':');
  requireName('name of a plugin', plugin);
  if (role === '' || more.length > 0) throw told(`--for ${text} is neither a plugin nor PLUGIN:ROLE.`, 'Write --for llmserver, or --for llmserver:chat where a plugin has more than one role.');
  return { plugin, role };
}

function begin(client: NonNullable<Door['client']>, { source, name, sha256, use }: Wish): Promise<Begun> {
  const words = {
    ModelExists: (said: string): Told => exists(said.replace(/ Choose another name.*$/s, ''), /^There is a model (\S+)/.exec(said)?.[1] ?? 'NAME'),
    RoleMissing: (said: string): Told => told(said, `--for ${use?.plugin}:ROLE`), RoleUnknown: (said: string): Told => told(said),
  };
  const hash = sha256 === null ? {} : { sha256 };
  if (use === null) return send(client, `${MODELS}/download`, { method: 'POST', body: { source, ...hash, ...(name === null ? {} : { name }) }, words });
  const body = { source, ...hash, ...(use.role === null ? {} : { role: use.role }), ...(name === null ? {} : { model: name }) };
  return send(client, `/api/plugins/${encodeURIComponent(use.plugin)}/models/download`, { method: 'POST', body, words });
}

const exists = (said: string, name: string): Told => told(said, `Take another --name, or change that one: bkg patch /models/${name}/source SOURCE`);

async function pullOffline(context: Context, file: DeclaredFile, wish: Wish): Promise<number> {
  const { assignModel, declareModel } = await import('../../api/model-edits.ts');
  const { source, name, sha256, use } = wish;
  const found = declareModel(file.value, { source, name, sha256, state: null });
  if (!found.ok) throw exists(`There is a model ${found.name} already, with another ${found.differs}.`, found.name);
  const role = use === null ? null : await roleOffline(file.value, use);
  const operations = [...found.operations, ...(use === null || role === null ? [] : assignModel(file.value, { plugin: use.plugin, role }, found.name))];
  const { revision, problems } = await file.edit(operations);
  const begun: Begun = { operation: null, model: null, revision, changed: operations.length > 0, problems, ...(use === null || role === null ? {} : { plugin: use.plugin, role }) };
  if (context.json) writeJson({ ...begun, name: found.name });
  else {
    write(`${found.name} is declared${use === null ? '' : `, for ${use.plugin} (${role})`}.\n`);
    note(begun.changed ? 'No bkg runs here: the file was edited, the next start fetches the model.\n' : 'No bkg runs here, and the file says so already: the next start fetches the model.\n');
  }
  return 0;
}

/** The roles stand in a manifest, which only a bkg that runs has read; the file shows those that are filled. */
async function roleOffline(value: Json, { plugin, role }: NonNullable<Wish['use']>): Promise<string> {
  const { rolesIn } = await import('../../api/model-edits.ts');
  const { plugins } = value as { readonly plugins?: Readonly<Record<string, Json>> | null };
  const names = Object.keys(plugins ?? {});
  if (!names.includes(plugin)) throw told(`There is no plugin ${plugin} in the file.`, names.length === 0 ? 'It declares none.' : `Declared: ${names.join(', ')}.`);
  const filled = Object.keys(rolesIn(value, plugin));
  if (role === null && filled.length !== 1) throw told(`Which role of ${plugin} the model is for is not known while no bkg runs.`, `Say it: --for ${plugin}:ROLE`);
  return role ?? filled[0]!;
}

async function waitFor(context: Context, client: NonNullable<Door['client']>, o: { readonly name: string; readonly begun: Begun }): Promise<number> {
  const { name, begun } = o;
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort();
  process.once('SIGINT', interrupt);
  const ended = await watchComing(client, name, { quiet: context.json, interrupted: interrupted.signal }).finally(() => process.off('SIGINT', interrupt));
  if (context.json) writeJson({ ...begun, model: ended.view });
  switch (ended.kind) {
    case 'here': if (!context.json) sayHere(ended.view); return 0;
    case 'later': if (!context.json) write(`${name} is declared on demand: it is fetched when it is first wanted.\n`); return 0;
    case 'failed':
      if (!context.json) note(`${troubleLine(ended.view)}The file declares it yet, and bkg goes on trying. bkg patch /models/${name}/source SOURCE corrects it, bkg model remove ${name} takes it out.\n`);
      return 1;
    case 'interrupted': note(`The download goes on without this command: bkg model list shows it, bkg model remove ${name} ends it.\n`); return INTERRUPTED_EXIT;
  }
}

// ─── verify ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Asked again after so long, for the bar. */
const CHECK_LOOK = '1s';
type Checked = { readonly id: string; readonly ok?: boolean; readonly sha256?: string; readonly bytes: number | null; readonly bytesTotal?: number | null; readonly message?: string };

/** All that are here, when none is named. */
export async function verifyModels(context: Context, names: readonly string[]): Promise<number> {
  for (const name of names) requireName('name of a model', name);
  const client = requireRunning(context);
  const { models } = await client.get<{ readonly models: readonly ModelView[] }>(MODELS);
  // What was found damaged before is damaged until good bytes are here.
  const damage = new Map(models.flatMap(({ id, conditions }) => { const bad = conditions.find(({ type, status: is }) => type === 'Verified' && is === 'False'); return bad === undefined ? [] : [[id, bad.message] as const]; }));
  const here = models.filter(({ id, phase }) => phase === 'present' || damage.has(id)).map(({ id }) => id);
  const found: Checked[] = [];
  for (const name of names.length > 0 ? names : here) {
    const known = damage.get(name);
    const checked = known === undefined ? await checkOne(client, name, context.json) : { id: name, ok: false, bytes: null, message: known };
    found.push(checked);
    if (!context.json) write(`${paint('bold', name)} ${checked.ok === true ? `${status('verified')}: all ${size(checked.bytes)} have the sha256 ${checked.sha256 ?? ''}` : `${paint('red', 'damaged')}: ${checked.message ?? ''}`}\n`);
  }
  if (context.json) writeJson({ models: found });
  else if (found.length === 0) write('No model is here.\n');
  return found.every(({ ok }) => ok === true) ? 0 : 1;
}

async function checkOne(client: NonNullable<Door['client']>, name: string, quiet: boolean): Promise<Checked> {
  const coming = openComing(name, { terminal: process.stderr.isTTY, columns: () => process.stderr.columns || COLUMNS, write: quiet ? () => undefined : note });
  try {
    for (;;) {
      const checked = await send<Checked>(client, `${MODELS}/${encodeURIComponent(name)}/validate?timeout=${CHECK_LOOK}`, { method: 'POST', words: { ModelUnknown: told(`There is no model ${name}.`, 'bkg model list shows those that are declared.') } });
      if (checked.ok !== undefined) return checked;
      coming.show({ bytes: checked.bytes ?? 0, total: checked.bytesTotal ?? null }, performance.now());
    }
  } finally {
    coming.clear();
  }
}

// ─── prune ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

type Pruned = { readonly removed: readonly { readonly name: string; readonly bytes: number }[]; readonly failed: readonly { readonly name: string; readonly message: string }[]; readonly bytes: number };

export async function pruneModels(context: Context, o: { readonly dryRun: boolean }): Promise<number> {
  const done = await send<Pruned>(requireRunning(context), `${MODELS}/prune${o.dryRun ? '?dryRun=true' : ''}`, { method: 'POST' });
  if (context.json) writeJson({ dryRun: o.dryRun, ...done });
  else if (done.removed.length + done.failed.length === 0) write('Every file in the store belongs to a declared model.\n');
  else {
    if (done.removed.length > 0) write(table([o.dryRun ? 'would go' : 'removed', 'size'], done.removed.map(({ name, bytes }) => [name, size(bytes)])));
    note(`${size(done.bytes)} ${o.dryRun ? 'would be free; nothing was removed' : 'are free'}.\n`);
    for (const { name, message } of done.failed) note(`${paint('red', 'not removed', process.stderr)} ${name}: ${message}.\n`);
  }
  return done.failed.length === 0 ? 0 : 1;
}

// ─── remove ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

type Removed = { readonly id: string; readonly removed: boolean; readonly unassigned: readonly { readonly plugin: string; readonly role: string }[]; readonly message: string };

export async function removeModel(context: Context, o: { readonly name: string; readonly force: boolean }): Promise<number> {
  const { name, force } = o;
  requireName('name of a model', name);
  const { client, file } = await openDoor(context);
  const done = client === null ? await removeOffline(file, o) : await send<Removed>(client, `${MODELS}/${encodeURIComponent(name)}${force ? '?force=true' : ''}`, {
    method: 'DELETE', words: { ModelInUse: (said) => inUse(said.replace(/ Give these.*$/s, '')), ModelUnknown: told(`There is no model ${name}.`, 'bkg model list shows those that are declared.') },
  });
  if (context.json) writeJson(done);
  else {
    write(`${name} is removed from the file${done.unassigned.length === 0 ? '' : `, and from ${rolesOf(done.unassigned)}`}.\n`);
    note(`${done.message}\n`);
    if (client === null) sayOffline();
  }
  return 0;
}

const rolesOf = (uses: Removed['unassigned']): string => uses.map(({ plugin, role }) => `${plugin} (${role})`).join(', ');
const inUse = (said: string): Told => told(said, 'Give these another model first (bkg model pull SOURCE --for PLUGIN:ROLE), or say --force: then they are left without one.');

async function removeOffline(file: DeclaredFile, { name, force }: { readonly name: string; readonly force: boolean }): Promise<Removed & { readonly revision: string }> {
  const { modelsIn, removeModel: operationsTo, usesOf } = await import('../../api/model-edits.ts');
  const names = Object.keys(modelsIn(file.value));
  if (!names.includes(name)) throw told(`There is no model ${name}.`, names.length === 0 ? 'The file declares none.' : `Declared: ${names.join(', ')}.`);
  const uses = usesOf(file.value, name);
  if (uses.length > 0 && !force) throw inUse(`${name} fills a role of ${rolesOf(uses)}.`);
  const { revision } = await file.edit(operationsTo(file.value, name, uses));
  return { id: name, removed: true, unassigned: uses, message: 'What of it was downloaded stays on the disk; `bkg model prune` removes what no declared model uses.', revision };
}
