// An edit of bkg.yaml from a request: masks, revision, dry run, commit, waiting, and the answer with a diff that may be shown.
import { failure, refusalIn } from './problem.ts';
import { judgeEdit } from './auth/edits.ts';
import { hiddenFrom, lacking, may, type Somebody } from './auth/somebody.ts';
import { composedOf, composedOfTexts } from './composed.ts';
import { lookUp, unmask } from './mask.ts';
import { maskedDiff, unmaskedText } from './masking.ts';
import { otherSide } from './redact-diff.ts';
import { type Answer, type Call, TEXT, durationOf, flagOf, json, list, object } from './route.ts';
import type { Json, PatchOperation, PatchResult, Problem } from '../reconciler/index.ts';
import { tokensOf } from '../schema/pointer.ts';
import type { Schema } from '../schema/walk.ts';

/** Longest wait for convergence: a model of some GB over a good line. Beyond it, ask again. */
export const WAIT_MAX_MS = 600_000;
const WAIT_MS = 30_000;

export type Declared = { readonly text: string; readonly revision: string; readonly value: Json };

/** Operations, a whole text, or back to a revision; `ifRevision` null writes over whatever stands there. */
export type Change = { readonly operations: readonly PatchOperation[] } | { readonly text: string } | { readonly rollback: string };
export type Edit = { readonly read: Declared; readonly change: Change; readonly ifRevision: string | null; /** As in the reconciler's patch; true when absent. */ readonly denies?: boolean; /** What is secret before and after it; as what is in force says when absent. */ readonly root?: Schema; /** A place where nothing may stand; else it is refused as PlaceTaken. */ readonly free?: string };

type Done = Extract<PatchResult, { readonly ok: true }>;

/** Query and answer of every route that edits the file. */
export const EDIT_QUERY = {
  dryRun: 'true: say what would happen, write nothing.',
  wait: 'converged: answer when the machine has followed, or cannot.',
  timeout: 'Longest wait, e.g. 30s (default), 10m at most; then 202.',
};
export const EDITED = object({ revision: TEXT, operation: { type: ['string', 'null'] }, plan: object({ revision: TEXT, actions: list(object({ do: TEXT, unit: TEXT, because: TEXT })) }), diff: { type: ['string', 'null'] } });

/** The ETag of every place of the file is the revision of its bytes. */
export const etagOf = (revision: string): string => `"${revision}"`;

/**
 * The revision the caller saw: null for `*`. Missing is 428: an edit that does not say what it is based on may undo
 * somebody else's.
 */
export function ifMatchOf(call: Call, now: string): string | null {
  const header = call.headers['if-match'];
  if (header === undefined) {
    throw failure({ status: 428, code: 'IfMatchMissing', detail: 'Send If-Match with the ETag of the GET this edit is based on, or If-Match: * to write over whatever stands there.', headers: { etag: etagOf(now) } });
  }
  if (header.trim() === '*') return null;
  const tags = header.split(',').map((tag) => /^(?:"([^"]*)"|([0-9a-f]{64}))$/.exec(tag.trim())).flatMap((found) => (found === null ? [] : [found[1] ?? found[2]!]));
  if (tags.length === 0) throw failure({ status: 400, code: 'IfMatchMalformed', detail: `If-Match: ${header} names no revision. Send the ETag of a GET as it came, in quotes.` });
  return tags.includes(now) ? now : tags[0]!;
}

/** Makes the edit; a refusal throws. Returns what the reconciler made of it, the diff masked. */
export async function commit(call: Call, edit: Edit, dryRun: boolean): Promise<Done & { readonly shown: string | null }> {
  const { reconciler } = call.house;
  if ('operations' in edit.change) keepHidden(call.who, edit.change.operations);
  const root = edit.root ?? composedOf(reconciler.snapshot().desired);
  const change = await unmasked(edit, root);
  const result = await reconciler.patch({ actor: call.actor, change, ifRevision: edit.ifRevision, dryRun, denies: edit.denies ?? true, judge: (before, after) => [...takenAt(before, edit.free), ...judgeEdit(call.now(), before, after)] });
  if (result.ok) return { ...result, shown: await shownTo(call.who, result.diff, { before: edit.read.text, root }) };
  throw failure(await refusalOf(call, { result, read: edit.read, root, isRollback: 'rollback' in edit.change }));
}

/** What the edits of one moment come to, each of which makes the others begin anew. */
const AGAIN_MAX = 100;

/** For an edit that was worked out from what stood in the file, and names its revision: worked out anew where that has changed meanwhile. */
export async function workedOut<Result>(work: () => Promise<Result>): Promise<Result> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await work();
    } catch (error) {
      if (refusalIn(error)?.code !== 'RevisionStale' || tried === AGAIN_MAX) throw error;
    }
  }
}

/** Asked of the very bytes that the edit is made to. */
const takenAt = (before: Json, pointer: string | undefined): readonly Problem[] =>
  (pointer === undefined || lookUp(before, pointer) === undefined ? [] : [{ code: 'PlaceTaken', pointer, line: null, column: null, severity: 'error', message: `Something stands at ${pointer} already.`, hint: null }]);

/** What the edit means: where it says a mask, what stands there. */
async function unmasked({ change, read }: Edit, root: Schema): Promise<Change> {
  if ('rollback' in change) return change;
  const meant = 'text' in change ? await unmaskedText(change.text, { current: read.text, value: read.value, root }) : unmask(change.operations, read.value, root);
  if (meant.problems.length > 0) throw failure({ status: 422, code: meant.problems[0]!.code, detail: meant.problems[0]!.message, problems: meant.problems });
  return 'text' in meant ? { text: meant.text } : { operations: meant.operations };
}

/** What one may not see is not told by a copy of it, nor by a test whether it is so. */
function keepHidden(who: Somebody, operations: readonly PatchOperation[]): void {
  const hidden = hiddenFrom(who);
  for (const operation of operations) {
    const read = operation.op === 'test' ? operation.path : 'from' in operation ? operation.from : null;
    const section = read === null ? undefined : hidden.find((one) => read === '' || tokensOf(read)[0] === one);
    if (section !== undefined) throw failure(lacking(who, `${section}.read`));
  }
}

/** A diff for who asks: around a change stand lines that are about others. */
const shownTo = async (who: Somebody, diff: string, o: { readonly before: string; readonly root: Schema }): Promise<string | null> =>
  (may(who, 'config.read') ? maskedDiff(diff, o.before, { root: o.root, sections: hiddenFrom(who) }) : null);

/** What counts all the same. */
const deniedBy = (result: { readonly denied?: readonly string[] }): { readonly denied?: readonly string[] } => (result.denied === undefined || result.denied.length === 0 ? {} : { denied: result.denied });

type Refused = { readonly result: Exclude<PatchResult, { readonly ok: true }>; readonly read: Declared; readonly root: Schema; readonly isRollback: boolean };

async function refusalOf(call: Call, { result, read, root, isRollback }: Refused): Promise<Parameters<typeof failure>[0]> {
  const inForce = { revision: call.house.reconciler.snapshot().file.inForce };
  switch (result.code) {
    case 'Invalid': return { status: 422, code: 'ConfigInvalid', detail: `${isRollback ? 'That revision is not valid today' : call.house.reconciler.snapshot().file.valid ? 'With this edit bkg.yaml would not be valid' : 'bkg.yaml is not valid as it stands; correct that first'}, so nothing was changed: ${result.problems.find((one) => one.severity === 'error')?.message ?? ''}`, problems: result.problems, more: { ...inForce, ...deniedBy(result) } };
    case 'Forbidden': return { status: 403, code: result.problems[0]?.code ?? 'Forbidden', detail: result.problems[0]?.message ?? 'The edit needs more rights.', problems: result.problems };
    case 'Refused': return { status: 422, code: result.problems[0]?.code ?? 'EditRefused', detail: result.problems[0]?.message ?? 'The edit was refused.', problems: result.problems, more: { ...inForce, ...deniedBy(result) } };
    case 'ReadOnlyFile': return { status: 409, code: 'ReadOnlyFile', detail: result.message, more: { ...inForce, diff: await shownTo(call.who, result.diff, { before: read.text, root }), denied: result.denied } };
    case 'Stale': {
      // Both diffs start from the base, which is rebuilt from what stands there now.
      const now = read.revision === result.revision ? read : await call.house.reconciler.read();
      const base = result.theirs === null || now.revision !== result.revision ? null : otherSide(result.theirs, now.text, 'after');
      const secrets = base === null ? root : composedOfTexts(await call.house.reconciler.manifests(base), await call.house.reconciler.manifests(now.text));
      const shown = async (diff: string | null): Promise<string | null> => (diff === null || base === null ? null : shownTo(call.who, diff, { before: base, root: secrets }));
      return {
        status: 412, code: 'RevisionStale', detail: 'bkg.yaml has changed since the revision in If-Match. Read it again, or merge: `theirs` is what changed meanwhile, `yours` what this edit wanted.',
        headers: { etag: etagOf(result.revision) }, more: { revision: result.revision, base: result.base, yours: await shown(result.yours), theirs: await shown(result.theirs) },
      };
    }
  }
}

/** How long `?wait=converged&timeout=` waits; null without it. */
export function waitOf(call: Call): number | null {
  const wait = call.query.get('wait');
  if (wait !== null && wait !== 'converged') throw failure({ status: 400, code: 'BadQuery', detail: `?wait= knows only converged, not ${JSON.stringify(wait)}.` });
  const timeout_ms = durationOf(call.query, 'timeout', { otherwise_ms: WAIT_MS, max_ms: WAIT_MAX_MS });
  return wait === null ? null : timeout_ms;
}

/** Commits with `?dryRun=`, `?wait=converged&timeout=` and answers `{revision, operation, plan, …}`. */
export async function commitAndAnswer(call: Call, edit: Edit): Promise<Answer> {
  const dryRun = flagOf(call.query, 'dryRun');
  const timeout_ms = waitOf(call);
  const done = await commit(call, edit, dryRun);
  const body = {
    revision: done.revision, operation: dryRun ? null : `edit-${done.seq}`, plan: done.plan, changed: done.changed, dryRun, diff: done.shown, problems: done.problems,
  };
  const headers = dryRun ? {} : { etag: etagOf(done.revision) };
  if (dryRun || timeout_ms === null) return json(body, { headers });
  // An empty list of units would mean all of them, also those this edit has nothing to do with.
  const { units } = done;
  if (units.length === 0) return json({ ...body, outcome: 'converged', message: 'No process had to change.' }, { headers });
  const settled = await call.house.reconciler.settled({ units, seq: done.seq, timeout_ms });
  if (settled.outcome === 'failed') throw failure({ status: 409, code: 'NotConverged', detail: `bkg.yaml is changed, but the machine could not follow: ${settled.message}`, headers, more: { ...body } });
  return json({ ...body, outcome: settled.outcome, message: settled.message }, { status: settled.outcome === 'timeout' ? 202 : 200, headers });
}
