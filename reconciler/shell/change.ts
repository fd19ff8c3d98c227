// Changes bkg.yaml for the api: edits the text losslessly, shows what would happen, commits against racing editors.
import { readFile } from 'node:fs/promises';
import { touchedUnits, type Outlook } from '../core/touched.ts';
import { inWords, type Denial } from '../core/people.ts';
import { keptPeople } from '../core/people-kept.ts';
import type { Desired, Json } from '../core/types.ts';
import { commit, type Committed } from './commit.ts';
import { revisionOf } from './declare.ts';
import { desire, hasErrors, type DesirePlace } from './desire.ts';
import { unifiedDiff } from './diff.ts';
import type { PatchOperation, PatchRequest, PatchResult } from './door.ts';
import type { Checked, InForce } from './inforce.ts';
import { editFile, parseFile, rollBackFile } from './parsing.ts';
import { applyOperation, type Data } from './patch.ts';
import type { Edited } from './splice.ts';
import { planView } from './views.ts';

/** An edit that names no revision is tried again on what an editor saved meanwhile, so often. */
const RACE_TRIES = 8;

export type ChangeOptions = DesirePlace & {
  readonly journalFolder: string;
  readonly textOf: (revision: string) => string | null;
  /** The running appliance; null when the file is edited while none runs. */
  readonly running: Running | null;
};

export type Running = {
  /** What is in force now that the file has been looked at; a save that is held for half-written is waited for. */
  readonly inForce: () => Promise<InForce>;
  /** What this declaration would lead to now; of one that is known in part, what it does not name stays. */
  readonly outlook: (desired: Desired, partial?: boolean) => Outlook;
  /** Takes from people at once what an edit that could not be written would take. */
  readonly deny: (told: Json, actor: PatchRequest['actor'], before: Json | null) => Promise<readonly Denial[]>;
  /** Writes and takes in; null when nothing was written. Ends once the machine has been looked at with it. */
  readonly take: (checked: Checked, actor: PatchRequest['actor'], write: () => Promise<boolean>) => Promise<InForce | null>;
};

const NOTHING: Outlook = { desired: null, plan: { revision: '', actions: [], drifts: [], next: null } };

export type Read = { readonly text: string; readonly revision: string; readonly value: Json };

/** The file as it stands on disk. Throws with code `FileMissing` or `FileUnreadable`. */
export async function readDeclared(path: string): Promise<Read> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw Object.assign(new Error(`${path} is not there. Put the file back; nothing is stopped meanwhile.`), { code: 'FileMissing' });
    throw Object.assign(new Error(`${path} cannot be read: ${error.message}. It must be a file that the user of bkg may read; nothing is stopped meanwhile.`), { code: 'FileUnreadable' });
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
  const { running } = options;
  const isRollback = 'rollback' in request.change;
  const seen = running === null ? null : await running.inForce();
  const before = await readDeclared(options.config).catch(async (error: unknown) => {
    const denied = await deniedOver(options, request, seen);
    if (denied.length === 0) throw error;
    return { denied, problem: { code: 'FileUnreadable', pointer: '', line: null, column: null, severity: 'error' as const, message: error instanceof Error ? error.message : String(error), hint: null } };
  });
  if ('problem' in before) return { ok: false, code: 'Refused', problems: [before.problem], denied: before.denied };
  const { text, revision } = before;
  // Whom a rollback keeps is taken from what was in force after the file was read: whoever takes something from them later finds that nothing was written.
  const now = isRollback && running !== null ? await running.inForce() : seen;
  if (request.ifRevision !== null && request.ifRevision !== revision) return stale(options, request, { text, revision, inForce: now });
  const edited = await textAfter(options, request, { text, now });
  if (!edited.ok) return { ok: false, code: 'Refused', problems: [edited.problem], denied: await deniedOver(options, request, now) };
  const next = revisionOf(edited.text);
  const found = await desire(edited.text, next, options);
  // Of a file that is no good nobody may take what is in force by leaving it out.
  const judged = found.value === null ? [] : [before.value, ...(now === null || now.file.valid ? [] : [now.value])];
  const forbidden = judged.flatMap((value) => request.judge?.(value, found.value!) ?? []);
  if (forbidden.length > 0) return { ok: false, code: 'Forbidden', problems: forbidden };
  if (found.desired === null || hasErrors(found.problems)) return { ok: false, code: 'Invalid', problems: found.problems, denied: await deniedOver(options, request, now) };
  const outlook = running === null || now === null ? NOTHING : running.outlook(now.desired, now.partial);
  const after = running === null ? NOTHING : running.outlook(found.desired);
  const base = {
    ok: true as const, revision: next, diff: unifiedDiff(text, edited.text, { from: 'bkg.yaml', to: 'bkg.yaml' }), problems: found.problems, plan: planView(after.plan), units: touchedUnits(outlook, after),
  };
  if (request.dryRun || next === revision) return { ...base, seq: now?.seq ?? 0, changed: next !== revision };
  let written: Committed | null = null;
  const write = async (): Promise<boolean> => {
    written = await commit({ path: options.config, expectRevision: revision, text: edited.text, journalFolder: options.journalFolder });
    return written.ok;
  };
  const deny = async (): Promise<readonly string[]> => (found.told === null || running === null || request.denies === false || isRollback ? [] : await running.deny(found.told, request.actor, null)).map(said);
  const taken = running === null ? (await write(), null) : await running.take({ text: edited.text, revision: next, found }, request.actor, write).catch(async (error: unknown) => {
    // A full or broken disk keeps nobody's rights alive.
    await deny();
    throw error;
  });
  const refused = refusalOf(written);
  if (refused?.code === 'Stale') return stale(options, request, { ...(await readDeclared(options.config)), inForce: now });
  if (refused?.code === 'ReadOnlyFile') return { ok: false, code: 'ReadOnlyFile', diff: base.diff, message: refused.message, denied: await deny() };
  if (taken !== null && taken.desired.revision !== next) throw Object.assign(new Error(`bkg.yaml is written, and takes effect as soon as that can be noted down. ${taken.file.problems[0]?.message ?? ''}`), { code: 'StoreUnwritable' });
  return { ...base, changed: true, seq: taken?.seq ?? 0 };
}

const said = (denial: Denial): string => `${denial.kind} ${denial.id}: ${inWords(denial)}`;

/** Takes users or keys out, and does nothing else. */
const onlyRevokes = (operations: readonly PatchOperation[]): boolean => operations.every(({ op, path }) => op === 'remove' && /^\/(?:users|keys)\/[^/]+$/.test(path));

/** Nobody's rights live on because the file is no good, not there, or would be no good without them: what the edit takes from what is in force is taken at once. */
async function deniedOver({ running }: ChangeOptions, request: PatchRequest, now: InForce | null): Promise<readonly string[]> {
  if (request.denies === false) return [];
  if (running === null || now === null || request.dryRun || !('operations' in request.change)) return [];
  if (now.file.valid && !onlyRevokes(request.change.operations)) return [];
  let value = now.value as Data;
  for (const operation of request.change.operations) {
    const applied = applyOperation(value, operation);
    if (!applied.ok) return [];
    value = applied.value;
  }
  if ((request.judge?.(now.value, value as Json) ?? []).length > 0) return [];
  return (await running.deny(value as Json, request.actor, now.value)).map(said);
}

const refusalOf = (written: Committed | null): Exclude<Committed, { readonly ok: true }> | null => (written === null || written.ok ? null : written);

async function textAfter(options: ChangeOptions, { change }: PatchRequest, { text, now }: { readonly text: string; readonly now: InForce | null }): Promise<Edited> {
  if ('text' in change) return { ok: true, text: change.text, splices: [] };
  if ('operations' in change) return editFile(text, change.operations);
  if (now?.partial === true) return { ok: false, problem: { code: 'PeopleUncertain', pointer: '', line: null, column: null, severity: 'error', message: 'Of the revision in force not everything resolves now, so nobody can tell whose keys and users would have to stay.', hint: 'Mend what `bkg status` names (a variable, a plugin\'s folder), or save a file that is good; then roll back.' } };
  const earlier = options.textOf(change.rollback);
  if (earlier === null || now === null) return { ok: false, problem: { code: 'RevisionForgotten', pointer: '', line: null, column: null, severity: 'error', message: `The text of revision ${change.rollback.slice(0, 12)} is not kept any more.`, hint: 'Choose a newer one.' } };
  return rollBackFile(earlier, now.text, keptPeople(now.value, now.declared, now.desired));
}

/** What the caller wanted and what happened meanwhile, both against the revision the caller saw. */
async function stale(options: ChangeOptions, request: PatchRequest, now: { readonly text: string; readonly revision: string; readonly inForce: InForce | null }): Promise<PatchResult> {
  const base = request.ifRevision === null ? null : options.textOf(request.ifRevision);
  if (base === null) return { ok: false, code: 'Stale', revision: now.revision, base: request.ifRevision, yours: null, theirs: null };
  const wanted = await textAfter(options, request, { text: base, now: now.inForce });
  return {
    ok: false, code: 'Stale', revision: now.revision, base: request.ifRevision,
    yours: wanted.ok ? unifiedDiff(base, wanted.text, { from: 'base', to: 'yours' }) : null,
    theirs: unifiedDiff(base, now.text, { from: 'base', to: 'theirs' }),
  };
}
