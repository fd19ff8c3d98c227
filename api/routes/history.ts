// The revisions of bkg.yaml: which there were, what they said, what differs between two, and back to one of them.
import { type Desired, type RevisionText, unifiedDiff } from '../../reconciler/index.ts';
import type { Schema } from '../../schema/walk.ts';
import { hiddenFrom } from '../auth/somebody.ts';
import { composedOf } from '../composed.ts';
import { commitAndAnswer, EDITED, EDIT_QUERY, ifMatchOf } from '../edit.ts';
import { maskedDiff, maskedText } from '../masking.ts';
import { failure } from '../problem.ts';
import { ANY, type Answer, type Call, type Route, ROWS, TEXT, json, limitOf, list, object, route } from '../route.ts';

const named = (id: string): string => (/^\d+$/.test(id) ? id : id.slice(0, 12));

type Kept = RevisionText & { readonly text: string };

async function found(call: Call, id: string): Promise<RevisionText> {
  const revision = await call.house.reconciler.revision(id);
  if (revision === null) throw failure({ status: 404, code: 'RevisionUnknown', detail: `There is no revision ${id}. Name one by its seq, or by its hash or at least eight digits of it: GET /api/history lists them.` });
  return revision;
}

/** Throws where only the row is left. */
async function kept(call: Call, id: string): Promise<Kept> {
  const revision = await found(call, id);
  if (revision.text === null) throw failure({ status: 410, code: 'RevisionForgotten', detail: `The text of revision ${named(id)} is not kept any more: only who wrote it, and when. GET /api/history says which are kept.` });
  return { ...revision, text: revision.text };
}

/** What is secret in texts of several days: every plugin of any of them says so of its own settings, the newest first. */
function rootOf(...days: readonly (Desired | null)[]): Schema {
  const plugins = new Map(days.toReversed().flatMap((day) => day?.plugins ?? []).map((plugin) => [plugin.id, plugin]));
  const [newest] = days.filter((day) => day !== null);
  return composedOf({ ...newest!, plugins: [...plugins.values()] });
}

async function show(call: Call): Promise<Answer> {
  const { desired, text, ...row } = await found(call, call.params['revision'] ?? '');
  const root = rootOf(call.house.reconciler.snapshot().desired, desired);
  return json({ ...row, text: text === null ? null : await maskedText(text, root, hiddenFrom(call.who)) });
}

async function differ(call: Call): Promise<Answer> {
  const { reconciler } = call.house;
  const to = call.query.get('to');
  const [one, other] = [await kept(call, call.params['revision'] ?? ''), to === null ? { ...(await reconciler.read()), desired: null } : await kept(call, to)];
  const diff = unifiedDiff(one.text, other.text, { from: one.revision.slice(0, 12), to: other.revision.slice(0, 12) });
  const shown = await maskedDiff(diff, one.text, { root: rootOf(reconciler.snapshot().desired, other.desired, one.desired), sections: hiddenFrom(call.who) });
  if (shown === null) throw failure({ status: 409, code: 'YamlSyntax', detail: 'One of the two is not valid YAML, so its secrets cannot be told apart and nothing of it is shown.' });
  return json({ from: one.revision, to: other.revision, diff: shown });
}

async function rollBack(call: Call): Promise<Answer> {
  const { reconciler } = call.house;
  const revision = await kept(call, call.params['revision'] ?? '');
  const read = await reconciler.read();
  const ifRevision = call.headers['if-match'] === undefined ? null : ifMatchOf(call, read.revision);
  return commitAndAnswer(call, { read, change: { rollback: revision.revision }, ifRevision, root: rootOf(reconciler.snapshot().desired, revision.desired) });
}

const ROW = { seq: ANY, revision: TEXT, at: TEXT, actor: TEXT, source: TEXT, valid: ANY, kept: ANY };

export const historyRoutes: readonly Route[] = [
  route({
    method: 'GET', path: '/api/history', scope: 'config.read', summary: 'Revisions that were seen, the newest first: who wrote them, whether they were valid, whether their text is kept.', query: { limit: `At most so many, ${ROWS} when absent.` }, output: object({ history: list(object(ROW)) }),
    run: (call) => json({ history: call.house.reconciler.history({ limit: limitOf(call) }) }),
  }),
  route({ method: 'GET', path: '/api/history/{revision}', scope: 'config.read', summary: 'One revision, by its seq or its hash, with its text, secrets masked; null where that is not kept, or is no YAML.', output: object({ ...ROW, text: ANY }), run: show }),
  route({
    method: 'GET', path: '/api/history/{revision}/diff', scope: 'config.read', summary: 'What differs from this revision to another one, as a unified diff with secrets masked.', query: { to: 'The other one; what stands in the file now when absent.' },
    output: object({ from: TEXT, to: TEXT, diff: TEXT }), run: differ,
  }),
  route({
    method: 'POST', path: '/api/history/{revision}/rollback', scope: 'config.write', query: EDIT_QUERY, output: EDITED, run: rollBack,
    summary: 'Writes the bytes of that revision as a new edit, with the users and keys of today: what was revoked stays revoked. Needs the scope of every place that differs. If-Match may be sent.',
  }),
];
