// The revisions of bkg.yaml: which there were, what they said, what differs between two, and back to one of them.
import { type Manifests, type RevisionText, unifiedDiff } from '../../reconciler/index.ts';
import { hiddenFrom, lacking } from '../auth/somebody.ts';
import { composedOfTexts } from '../composed.ts';
import { commitAndAnswer, EDITED, EDIT_QUERY, ifMatchOf } from '../edit.ts';
import { maskedDiff, maskedText } from '../masking.ts';
import { failure } from '../problem.ts';
import { ANY, type Answer, type Call, type Route, ROWS, TEXT, json, limitOf, list, object, route } from '../route.ts';

const named = (id: string): string => (/^\d+$/.test(id) ? id : id.slice(0, 12));

type Kept = RevisionText & { readonly text: string };

async function found(call: Call, id: string): Promise<RevisionText> {
  const revision = await call.house.reconciler.revision(id);
  if (revision === null) throw failure({ status: 404, code: 'RevisionUnknown', detail: `There is no revision ${id}. Name one by its seq, or by its hash or at least eight digits of it: \`bkg history\` and GET /api/history list them.` });
  return revision;
}

/** Throws where only the row is left. */
async function kept(call: Call, id: string): Promise<Kept> {
  const revision = await found(call, id);
  if (revision.text === null) throw failure({ status: 410, code: 'RevisionForgotten', detail: `The text of revision ${named(id)} is not kept any more: only who wrote it, and when. \`bkg history\` and GET /api/history say which are kept.` });
  return { ...revision, text: revision.text };
}

/** A comment may speak of people, and nobody can tell: who may not see all of the file sees none of its texts, as of the file itself. */
function mustSeeAll(call: Call): void {
  const [section] = hiddenFrom(call.who);
  if (section !== undefined) throw failure(lacking(call.who, `${section}.read`));
}

async function show(call: Call): Promise<Answer> {
  mustSeeAll(call);
  const { manifests, text, ...row } = await found(call, call.params['revision'] ?? '');
  return json({ ...row, text: text === null ? null : await maskedText(text, composedOfTexts(manifests)) });
}

async function differ(call: Call): Promise<Answer> {
  mustSeeAll(call);
  const to = call.query.get('to');
  const [one, other] = [await kept(call, call.params['revision'] ?? ''), to === null ? await standing(call) : await kept(call, to)];
  const diff = unifiedDiff(one.text, other.text, { from: one.revision.slice(0, 12), to: other.revision.slice(0, 12) });
  const shown = await maskedDiff(diff, one.text, { root: composedOfTexts(one.manifests, other.manifests), sections: [] });
  if (shown === null) throw failure({ status: 409, code: 'YamlSyntax', detail: 'One of the two is not valid YAML, so its secrets cannot be told apart and nothing of it is shown.' });
  return json({ from: one.revision, to: other.revision, diff: shown });
}

/** What stands in the file now. */
async function standing(call: Call): Promise<{ readonly text: string; readonly revision: string; readonly manifests: Manifests }> {
  const { text, revision } = await call.house.reconciler.read();
  return { text, revision, manifests: await call.house.reconciler.manifests(text) };
}

async function rollBack(call: Call): Promise<Answer> {
  const { reconciler } = call.house;
  const revision = await kept(call, call.params['revision'] ?? '');
  const read = await reconciler.read();
  const ifRevision = call.headers['if-match'] === undefined ? null : ifMatchOf(call, read.revision);
  return commitAndAnswer(call, { read, change: { rollback: revision.revision }, ifRevision, root: composedOfTexts(await reconciler.manifests(read.text), revision.manifests) });
}

const ROW = { seq: ANY, revision: TEXT, at: TEXT, actor: TEXT, source: TEXT, valid: ANY, kept: ANY };

export const historyRoutes: readonly Route[] = [
  route({
    method: 'GET', path: '/api/history', scope: 'config.read', summary: 'Revisions that were seen, the newest first: who wrote them, whether they were valid, whether their text is kept.', query: { limit: `At most so many, ${ROWS} when absent.` }, output: object({ history: list(object(ROW)) }),
    run: (call) => json({ history: call.house.reconciler.history({ limit: limitOf(call) }) }),
  }),
  route({ method: 'GET', path: '/api/history/{revision}', scope: 'config.read', summary: 'One revision, by its seq or its hash, with its text, secrets masked; null where that is not kept, or is no YAML. Needs users.read and keys.read, too.', output: object({ ...ROW, text: ANY }), run: show }),
  route({
    method: 'GET', path: '/api/history/{revision}/diff', scope: 'config.read', summary: 'What differs from this revision to another one, as a unified diff with secrets masked. Needs users.read and keys.read, too.', query: { to: 'The other one; what stands in the file now when absent.' },
    output: object({ from: TEXT, to: TEXT, diff: TEXT }), run: differ,
  }),
  route({
    method: 'POST', path: '/api/history/{revision}/rollback', scope: 'config.write', query: EDIT_QUERY, output: EDITED, run: rollBack,
    summary: 'Writes the bytes of that revision as a new edit, with the users and keys in force: what was revoked stays revoked. Needs the scope of every place that differs. If-Match may be sent.',
  }),
];
