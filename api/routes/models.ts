// Models over HTTP: what is declared and how its bytes come on; to download, assign or remove one is an edit of the file.
import type { Json, JsonObject, ModelView, PatchOperation } from '../../reconciler/index.ts';
import { inlined, schemaAt, type Schema } from '../../schema/walk.ts';
import { may } from '../auth/somebody.ts';
import { WAIT_MAX_MS, commit, etagOf, waitOf, workedOut, type Declared } from '../edit.ts';
import { FORMATS, type Format } from '../hub-rows.ts';
import { assignModel, declareModel, modelsIn, removeModel, usesOf, type Declaring, type Use, type Wanted } from '../model-edits.ts';
import { failure } from '../problem.ts';
import { ANY, type Answer, type Call, type Route, TEXT, durationOf, flagOf, json, list, numberOf, object, route } from '../route.ts';
import { viewOf } from './plugins.ts';

const FOUND = 20;
/** Of so many rows a person looks at no more; each may cost one more question for its sizes. */
const FOUND_MAX = 50;
const WORDS_MAX = 200;
/** A model of some GB is read in this time. */
const CHECK_MS = 30_000;

const declared = (pointer: string, description: string): Schema => ({ ...inlined(schemaAt(pointer) ?? {}), description });
const NAME = declared('/plugins/x/models/x', 'Name of the model. Absent: the one that has this source, else one made of the file name.');
const SOURCE = declared('/models/x/source', 'hf://org/repo/path@revision, https://…, file:path (relative to bkg.yaml) or bundled:path.');
const SHA256 = declared('/models/x/sha256', 'What its bytes must hash to; any others are refused.');
const DOWNLOAD: Schema = { type: 'object', required: ['source'], additionalProperties: false, properties: { name: NAME, source: SOURCE, sha256: SHA256, state: { enum: ['present', 'ondemand'], description: 'present (default): fetched now; ondemand: when it is first wanted.' } } };
const ASSIGN: Schema = {
  type: 'object', additionalProperties: false, anyOf: [{ required: ['model'] }, { required: ['source'] }],
  properties: {
    role: { type: 'string', minLength: 1, maxLength: 63, description: 'Role of the plugin that it fills; absent: the only one there is.' },
    model: { ...NAME, description: 'Name of a declared model, or with source the name to declare it under.' }, source: SOURCE, sha256: SHA256,
  },
};

// ─── Looking ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const viewNow = (call: Call, name: string): ModelView | null => call.house.reconciler.snapshot().models.find((model) => model.id === name) ?? null;

function unknown(name: string, names: readonly string[]): Error {
  return failure({ status: 404, code: 'ModelUnknown', detail: `There is no model ${name} in bkg.yaml. ${names.length === 0 ? 'It declares none' : `It declares ${names.slice(0, 20).join(', ')}${names.length > 20 ? ' …' : ''}`}.` });
}

function modelOf(call: Call): ModelView {
  const id = call.params['id'] ?? '';
  const found = viewNow(call, id);
  if (found === null) throw unknown(id, call.house.reconciler.snapshot().models.map((model) => model.id));
  return found;
}

async function search(call: Call): Promise<Answer> {
  const words = (call.query.get('q') ?? '').trim();
  const format = (call.query.get('format') ?? 'gguf') as Format;
  if (words.length > WORDS_MAX) throw failure({ status: 400, code: 'BadQuery', detail: `?q= may have ${WORDS_MAX} letters at most.` });
  if (!FORMATS.includes(format)) throw failure({ status: 400, code: 'BadQuery', detail: `?format= must be one of ${FORMATS.join(', ')}, but is ${JSON.stringify(format)}.` });
  const limit = numberOf(call.query, 'limit', { otherwise: FOUND, max: FOUND_MAX });
  return json({ query: words, format, models: limit === 0 ? [] : await call.house.hub.search({ words, limit, format }, call.signal) });
}

// ─── Changing ───────────────────────────────────────────────────────────────────────────────────────────────────────────

type Outcome = { readonly outcome: 'converged' | 'failed' | 'timeout'; readonly message: string };

/** Waits until the bytes are here, cannot come, or time is up. What is fetched when first wanted is as declared at once. */
function untilHere(call: Call, name: string, timeout_ms: number): Promise<Outcome> {
  const look = (): Outcome | null => {
    const view = viewNow(call, name);
    const said = view?.conditions[0]?.message ?? '';
    if (view === null) return { outcome: 'failed', message: `${name} is not declared any more.` };
    if (view.phase === 'present' || (view.phase === 'absent' && view.state !== 'present')) return { outcome: 'converged', message: said };
    return view.phase === 'failed' ? { outcome: 'failed', message: `${name}: ${said}` } : null;
  };
  const first = look();
  if (first !== null) return Promise.resolve(first);
  return new Promise((resolve) => {
    const finish = (how: Outcome): void => {
      clearTimeout(timer);
      stop();
      call.signal.removeEventListener('abort', late);
      resolve(how);
    };
    const late = (): void => finish({ outcome: 'timeout', message: viewNow(call, name)?.conditions[0]?.message ?? '' });
    const timer = setTimeout(late, timeout_ms);
    const stop = call.house.reconciler.subscribe((event) => {
      const how = event.type === 'snapshot' ? look() : null;
      if (how !== null) finish(how);
    });
    call.signal.addEventListener('abort', late);
  });
}

type Change = {
  readonly read: Declared;
  readonly operations: readonly PatchOperation[];
  readonly name: string;
  /** It is wanted now: a next try that is far off is made at once. */
  readonly hurry: boolean;
  readonly more: JsonObject;
  readonly wait: (done: { readonly seq: number; readonly units: readonly string[] }, timeout_ms: number) => Promise<Outcome>;
};

/** Makes the edit where there is one to make, then answers 202 at once, or with `?wait=converged` when the bytes are here. */
async function begun(call: Call, change: Change): Promise<Answer> {
  const { name, operations, read } = change;
  const dryRun = flagOf(call.query, 'dryRun');
  const timeout_ms = waitOf(call);
  // An edit of nothing still is one of whoever may do it.
  const done = await commit(call, { read, change: { operations }, ifRevision: read.revision }, dryRun);
  if (dryRun) return json({ ...change.more, dryRun, operation: null, model: viewNow(call, name), revision: done.revision, diff: done.shown, plan: done.plan, changed: done.changed, problems: done.problems });
  if (change.hurry) await call.house.reconciler.fetch({ model: name, actor: call.actor });
  const settled = timeout_ms === null ? null : await change.wait(done, timeout_ms);
  const body = {
    ...change.more, operation: done.changed ? `edit-${done.seq}` : null, model: viewNow(call, name), revision: done.revision, changed: done.changed, diff: done.shown, plan: done.plan, problems: done.problems,
    ...(settled === null ? {} : settled),
  };
  const headers = { location: `/api/models/${name}`, etag: etagOf(done.revision) };
  if (settled?.outcome === 'failed') throw failure({ status: 409, code: 'NotConverged', detail: `bkg.yaml says so, but the machine could not follow: ${settled.message}`, headers, more: body });
  return json(body, { status: settled?.outcome === 'converged' ? 200 : 202, headers });
}

function declaring(call: Call, read: Declared, wanted: Wanted): Extract<Declaring, { readonly ok: true }> {
  const found = declareModel(read.value, wanted);
  if (found.ok) return found;
  // As it is shown to everybody: an address may hold a password.
  const source = viewNow(call, found.name)?.source;
  throw failure({
    status: 409, code: 'ModelExists', more: { model: found.name },
    detail: `There is a model ${found.name} already, with another ${found.differs}${found.differs === 'source' && source !== undefined ? ` (${source})` : ''}. Choose another name, or change that one: PATCH /api/config/models/${found.name}.`,
  });
}

async function download(call: Call): Promise<Answer> {
  const { name = null, source, sha256 = null, state = null } = call.body as { readonly name?: string; readonly source: string; readonly sha256?: string; readonly state?: 'present' | 'ondemand' };
  const read = await call.house.reconciler.read();
  const found = declaring(call, read, { name, source, sha256, state });
  return begun(call, { read, ...found, hurry: state !== 'ondemand', more: {}, wait: (_done, timeout_ms) => untilHere(call, found.name, timeout_ms) });
}

function roleOf(call: Call, plugin: string, named: string | undefined): string {
  const roles = call.house.reconciler.snapshot().desired.plugins.find(({ id }) => id === plugin)?.models.map(({ role }) => role) ?? [];
  const role = named ?? (roles.length === 1 ? roles[0] : undefined);
  if (role !== undefined && roles.includes(role)) return role;
  const known = roles.length === 0 ? `${plugin} takes no models.` : `${named === undefined ? 'Say which: it' : 'It'} has ${roles.join(', ')}.`;
  throw failure({ status: 422, code: named === undefined && roles.length > 0 ? 'RoleMissing' : 'RoleUnknown', detail: `${named === undefined ? `${plugin} has ${roles.length === 0 ? 'no' : 'more than one'} role for a model.` : `${plugin} has no role ${JSON.stringify(named)}.`} ${known}`, more: { roles } });
}

async function assign(call: Call): Promise<Answer> {
  const { reconciler } = call.house;
  const { id } = viewOf(reconciler.snapshot(), call.params['id'] ?? '');
  const { role: named, model, source, sha256 = null } = call.body as { readonly role?: string; readonly model?: string; readonly source?: string; readonly sha256?: string };
  const role = roleOf(call, id, named);
  const read = await reconciler.read();
  const names = Object.keys(modelsIn(read.value));
  if (source === undefined && sha256 !== null) throw failure({ status: 422, code: 'BodyInvalid', detail: 'sha256 belongs to a source; send both.' });
  if (source === undefined && !names.includes(model!)) throw failure({ status: 422, code: 'ModelUnknown', detail: `There is no model ${model} in bkg.yaml. ${names.length === 0 ? 'It declares none' : `It declares ${names.join(', ')}`}; with a source it is declared.` });
  const found = source === undefined ? { name: model!, operations: [] } : declaring(call, read, { name: model ?? null, source, sha256, state: null });
  return begun(call, {
    read, name: found.name, hurry: may(call.who, 'models.write'), operations: [...found.operations, ...assignModel(read.value, { plugin: id, role }, found.name)], more: { plugin: id, role },
    async wait(done, timeout_ms) {
      const here = await untilHere(call, found.name, timeout_ms);
      // One that sleeps takes it when it wakes.
      return here.outcome === 'converged' && done.units.length > 0 ? reconciler.settled({ units: done.units, seq: done.seq, timeout_ms }) : here;
    },
  });
}

/** By the file as it is typed, and by what it means: a reference names a model, too. */
function usesNow(call: Call, value: Json, name: string): readonly Use[] {
  const typed = usesOf(value, name);
  const meant = call.house.reconciler.snapshot().desired.plugins.flatMap(({ id, models }) => models.flatMap(({ role, model }) => (model === name ? [{ plugin: id, role }] : [])));
  return [...typed, ...meant.filter((use) => !typed.some(({ plugin, role }) => plugin === use.plugin && role === use.role))];
}

/** What is left of it, in words. */
function leftOf(view: ModelView | null): { readonly bytes: 'kept' | 'none' | 'own'; readonly message: string } {
  if (view !== null && /^(?:file|bundled):/.test(view.source)) return { bytes: 'own', message: 'Its file is the owner\'s own and stays where it is.' };
  if (view === null || view.phase === 'absent') return { bytes: 'none', message: 'Nothing of it was here.' };
  const [stay, goes] = view.phase === 'present' ? ['Its bytes stay', 'removes what no declared model uses'] : [`${view.phase === 'fetching' ? 'Its download ends; what' : 'What'} has come of it stays`, 'removes it once it has lain there for a week'];
  return { bytes: 'kept', message: `${stay} on the disk, for when it is declared again; \`bkg model prune\` ${goes}.` };
}

async function remove(call: Call): Promise<Answer> {
  const name = call.params['id'] ?? '';
  const [dryRun, force] = [flagOf(call.query, 'dryRun'), flagOf(call.query, 'force')];
  const read = await call.house.reconciler.read();
  const names = Object.keys(modelsIn(read.value));
  if (!names.includes(name)) throw unknown(name, names);
  const uses = usesNow(call, read.value, name);
  if (uses.length > 0 && !force) {
    throw failure({ status: 409, code: 'ModelInUse', detail: `${name} fills a role of ${uses.map(({ plugin, role }) => `${plugin} (${role})`).join(', ')}. Give these another model first, or remove it from them as well with ?force=true.`, more: { uses } });
  }
  const left = leftOf(viewNow(call, name));
  const done = await commit(call, { read, change: { operations: removeModel(read.value, name, uses) }, ifRevision: read.revision }, dryRun);
  const body = { id: name, removed: !dryRun, unassigned: uses, ...left, revision: done.revision, operation: dryRun ? null : `edit-${done.seq}`, diff: done.shown, problems: done.problems };
  return json(dryRun ? { ...body, dryRun, plan: done.plan } : body, { headers: dryRun ? {} : { etag: etagOf(done.revision) } });
}

/** Waits for the check, at most for so long; it goes on all the same. */
async function validate(call: Call): Promise<Answer> {
  const { id } = modelOf(call);
  const { reconciler, log } = call.house;
  const timeout_ms = durationOf(call.query, 'timeout', { otherwise_ms: CHECK_MS, max_ms: WAIT_MAX_MS });
  const checking = reconciler.verify(id, call.actor);
  const late = new Promise<null>((resolve) => { setTimeout(() => resolve(null), timeout_ms).unref(); });
  const verdict = await Promise.race([checking, late]);
  if (verdict === null) {
    checking.catch((error: unknown) => log.error({ err: error }, `the check of the model ${id} failed`));
    const { checking: bytes, bytes: total } = viewNow(call, id) ?? { checking: null, bytes: 0 };
    return json({ id, bytes, bytesTotal: total, message: `It is being checked; GET /api/models/${id} tells how it comes on, in \`checking\` and its condition Verified.` }, { status: 202 });
  }
  if (!verdict.ok && verdict.reason === 'NotPresent') throw failure({ status: 409, code: 'ModelNotPresent', detail: `There is nothing to check of ${id}: ${verdict.message}.` });
  return json(verdict.ok ? { id, ...verdict } : { id, ok: false, message: `${id} is damaged: ${verdict.message}.` });
}

async function prune(call: Call): Promise<Answer> {
  const dryRun = flagOf(call.query, 'dryRun');
  const { removed, failed } = await call.house.reconciler.prune({ actor: call.actor, dryRun });
  return json({ dryRun, removed, failed, bytes: removed.reduce((sum, { bytes }) => sum + bytes, 0) });
}

const MODEL: Schema = {
  type: 'object', required: ['id', 'source', 'state', 'phase', 'sha256', 'bytes', 'bytesTotal', 'usedBy', 'about', 'commit', 'verified', 'checking', 'conditions'],
  properties: {
    id: TEXT, source: { type: 'string', description: 'As declared, without passwords and tokens.' }, state: { enum: ['present', 'ondemand', 'absent'] }, phase: { enum: ['absent', 'fetching', 'present', 'failed'] },
    sha256: { type: ['string', 'null'] }, bytes: { type: 'number' }, bytesTotal: { type: ['number', 'null'] }, usedBy: list(TEXT), about: { type: ['object', 'null'], description: 'What its file says of itself; null until it is here.' },
    commit: { type: ['string', 'null'], description: 'What the revision of an hf:// source stood for when its bytes came.' },
    verified: { type: ['string', 'null'], description: 'When all its bytes were hashed last, ISO.' }, checking: { type: ['integer', 'null'], description: 'Bytes that the check under way has hashed.' }, conditions: list(ANY),
  },
};
const COUNT: Schema = { type: ['integer', 'null'] };
const FOUND_ROW: Schema = object({
  id: TEXT, sources: list(object({ source: TEXT, quantization: { type: ['string', 'null'] }, bytes: COUNT, sha256: { type: ['string', 'null'] } })), downloads: COUNT, likes: COUNT,
  gated: { type: 'boolean', description: 'Its bytes come only with HF_TOKEN of somebody who has agreed to its terms.' }, licence: { type: ['string', 'null'] }, updatedAt: { type: ['string', 'null'] },
});
const BEGUN: Schema = { type: 'object', required: ['operation', 'model', 'revision'], properties: { operation: { type: ['string', 'null'], description: 'For GET /api/operations/{id}; null where nothing had to be written.' }, model: { anyOf: [MODEL, { type: 'null' }] }, revision: TEXT, changed: { type: 'boolean' }, diff: { type: ['string', 'null'] }, problems: list(ANY), outcome: { enum: ['converged', 'timeout'] }, message: TEXT } };
const WAITING = { dryRun: 'true: say what would happen, write nothing.', wait: 'converged: answer when its bytes are here, or cannot come.', timeout: `Longest wait, e.g. 30s (default), ${WAIT_MAX_MS / 60_000}m at most; then 202.` };
const ONE = '/api/models/{id}';

export const modelRoutes: readonly Route[] = [
  route({ method: 'GET', path: '/api/models', scope: 'models.read', summary: 'Every declared model and its progress.', output: object({ models: list(MODEL) }), run: (call) => json({ models: call.house.reconciler.snapshot().models }) }),
  // Before the one with a name in its place: a model called `search` is seen in the list only.
  route({
    method: 'GET', path: '/api/models/search', scope: 'models.read', summary: 'Looks on the Hugging Face hub (or HF_ENDPOINT) for models, the most downloaded first, with sources to declare. Cached for a minute.', output: object({ query: TEXT, format: { enum: FORMATS }, models: list(FOUND_ROW) }),
    query: { q: 'Words of its name; absent: any.', limit: `Rows at most, ${FOUND} when absent, up to ${FOUND_MAX}.`, format: `${FORMATS.join(', ')}; gguf when absent.` }, run: search,
  }),
  route({ method: 'GET', path: ONE, scope: 'models.read', summary: 'One model.', output: MODEL, run: (call) => json(modelOf(call)) }),
  route({
    method: 'POST', path: '/api/models/download', scope: 'models.write', status: 202, summary: 'Declares a model in the file, which begins its download; GET /api/models/{id} and the topic models tell how it comes on. One that is declared alike is tried again at once.',
    query: WAITING, output: BEGUN, input: { 'application/json': { schema: DOWNLOAD } }, run: (call) => workedOut(() => download(call)),
  }),
  route({
    method: 'DELETE', path: ONE, scope: 'models.write', summary: 'Removes a model from the file. `bytes` tells what becomes of its bytes: kept, own (a file of the owner\'s) or none.', query: { dryRun: WAITING.dryRun, force: 'true: also from the roles of plugins that it fills.' },
    output: object({ id: TEXT, removed: { type: 'boolean' }, unassigned: list(object({ plugin: TEXT, role: TEXT })), bytes: { enum: ['kept', 'none', 'own'] }, message: TEXT, revision: TEXT, operation: { type: ['string', 'null'] } }), run: (call) => workedOut(() => remove(call)),
  }),
  route({
    method: 'POST', path: `${ONE}/validate`, scope: 'models.write', summary: 'Hashes all bytes of a model and looks into it. What is damaged is put aside and fetched again. 202 when it takes longer.', query: { timeout: `Longest wait, e.g. ${CHECK_MS / 1000}s (default), ${WAIT_MAX_MS / 60_000}m at most.` },
    output: { type: 'object', required: ['id'], properties: { id: TEXT, ok: { type: 'boolean' }, sha256: TEXT, bytes: COUNT, bytesTotal: COUNT, verified: { type: 'string', description: 'When, ISO.' }, message: TEXT } }, run: validate,
  }),
  route({
    method: 'POST', path: '/api/models/prune', scope: 'models.write', summary: 'Removes downloaded files that no declared model uses; never what bkg did not put there.', query: { dryRun: WAITING.dryRun },
    output: object({ dryRun: { type: 'boolean' }, removed: list(object({ name: TEXT, bytes: { type: 'integer' } })), failed: list(object({ name: TEXT, message: TEXT })), bytes: { type: 'integer' } }), run: prune,
  }),
  route({
    method: 'POST', path: '/api/plugins/{id}/models/download', scope: 'plugins.control', status: 202, summary: 'Puts a model into a role of the plugin, declared in the same edit where a source comes; the plugin starts anew once the bytes are here.',
    query: WAITING, output: BEGUN, input: { 'application/json': { schema: ASSIGN } }, run: (call) => workedOut(() => assign(call)),
  }),
];
