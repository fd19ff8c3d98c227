// Changes bkg.yaml for the api: edits the text losslessly, shows what would happen, commits against racing editors.
import { readFile } from 'node:fs/promises';
import type { Desired, Json } from '../core/types.ts';
import { commit } from './commit.ts';
import { revisionOf } from './declare.ts';
import { desire, hasErrors, type DesirePlace } from './desire.ts';
import { unifiedDiff } from './diff.ts';
import type { PatchRequest, PatchResult, PlanView } from './door.ts';
import { editFile, parseFile } from './parsing.ts';
import type { Edited } from './splice.ts';

/** An edit that names no revision is tried again on what an editor saved meanwhile, so often. */
const RACE_TRIES = 8;

export type ChangeOptions = DesirePlace & {
  readonly journalFolder: string;
  readonly planOf: (desired: Desired) => PlanView;
  readonly textOf: (revision: string) => string | null;
  /** Called once the bytes are on disk, before anybody can see them as a revision. */
  readonly wrote: (revision: string, actor: PatchRequest['actor']) => void;
  /** Takes the new bytes in; returns the seq of the revision in force after that. */
  readonly takeIn: () => Promise<number>;
  readonly seq: () => number;
};

export type Read = { readonly text: string; readonly revision: string; readonly value: Json };

/** The file as it stands on disk. Throws with code `FileMissing`. */
export async function readDeclared(path: string): Promise<Read> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw Object.assign(new Error(`${path} is not there. Put the file back; nothing is stopped meanwhile.`), { code: 'FileMissing' });
  });
  const parsed = await parseFile(text);
  return { text, revision: revisionOf(text), value: parsed.value ?? {} };
}

/** Edits one after another: two edits of disjoint places both land. */
export function openChange(options: ChangeOptions) {
  let queue: Promise<unknown> = Promise.resolve();
  return (request: PatchRequest): Promise<PatchResult> => {
    const next = queue.then(() => change(options, request));
    queue = next.catch(() => undefined);
    return next;
  };
}

async function change(options: ChangeOptions, request: PatchRequest): Promise<PatchResult> {
  for (let tried = 1; ; tried += 1) {
    const result = await attempt(options, request);
    const raced = !result.ok && result.code === 'Stale' && request.ifRevision === null;
    if (!raced || tried === RACE_TRIES) return result;
  }
}

async function attempt(options: ChangeOptions, request: PatchRequest): Promise<PatchResult> {
  const { text, revision } = await readDeclared(options.config);
  if (request.ifRevision !== null && request.ifRevision !== revision) return stale(options, request, { text, revision });
  const edited = await textAfter(text, request);
  if (!edited.ok) return { ok: false, code: 'Refused', problems: [edited.problem] };
  const next = revisionOf(edited.text);
  const found = await desire(edited.text, next, options);
  if (found.desired === null || hasErrors(found.problems)) return { ok: false, code: 'Invalid', problems: found.problems };
  const base = { ok: true as const, revision: next, diff: unifiedDiff(text, edited.text, { from: 'bkg.yaml', to: 'bkg.yaml' }), plan: options.planOf(found.desired), problems: found.problems };
  if (request.dryRun || next === revision) return { ...base, seq: options.seq(), changed: next !== revision };
  options.wrote(next, request.actor);
  const written = await commit({ path: options.config, expectRevision: revision, text: edited.text, journalFolder: options.journalFolder });
  if (!written.ok && written.code === 'Stale') return stale(options, request, await readDeclared(options.config));
  if (!written.ok) return { ok: false, code: 'ReadOnlyFile', diff: base.diff, message: written.message };
  return { ...base, changed: true, seq: await options.takeIn() };
}

const textAfter = async (text: string, request: PatchRequest): Promise<Edited> =>
  ('text' in request.change ? { ok: true, text: request.change.text, splices: [] } : editFile(text, request.change.operations));

/** What the caller wanted and what happened meanwhile, both against the revision the caller saw. */
async function stale(options: ChangeOptions, request: PatchRequest, now: { readonly text: string; readonly revision: string }): Promise<PatchResult> {
  const base = request.ifRevision === null ? null : options.textOf(request.ifRevision);
  if (base === null) return { ok: false, code: 'Stale', revision: now.revision, base: request.ifRevision, yours: null, theirs: null };
  const wanted = await textAfter(base, request);
  return {
    ok: false, code: 'Stale', revision: now.revision, base: request.ifRevision,
    yours: wanted.ok ? unifiedDiff(base, wanted.text, { from: 'base', to: 'yours' }) : null,
    theirs: unifiedDiff(base, now.text, { from: 'base', to: 'theirs' }),
  };
}
