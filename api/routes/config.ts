// The declared state over HTTP: read, patch, put and delete any place of bkg.yaml.
import { mergePatchToOperations } from '../../reconciler/index.ts';
import type { Json, PatchOperation } from '../../reconciler/index.ts';
import { pointerOf, tokensOf } from '../../schema/pointer.ts';
import { validateWire } from '../../schema/validate.ts';
import { redact } from '../../schema/walk.ts';
import wire from '../../schema/wire.schema.json' with { type: 'json' };
import { hiddenFrom, lacking } from '../auth/somebody.ts';
import { composedOf, composedOfTexts } from '../composed.ts';
import { commitAndAnswer, EDITED, EDIT_QUERY, etagOf, ifMatchOf } from '../edit.ts';
import { lookUp, operationsTo } from '../mask.ts';
import { maskedText } from '../masking.ts';
import { failure } from '../problem.ts';
import { ANY, type Answer, type BodyRule, type Call, type Route, TEXT, flagOf, json, plain, route } from '../route.ts';

const ROOT = '/api/config';
const YAML = 'application/yaml';

/** Pointer of `/api/config/plugins/coder`: each part of the path is one key, `~1` is a slash in it. */
export function pointerOfPath(path: string): string {
  const parts = path.slice(ROOT.length).split('/').filter((part, index, all) => index > 0 && !(part === '' && index === all.length - 1));
  try {
    return pointerOf(parts.flatMap((part) => tokensOf(`/${decodeURIComponent(part).replaceAll('/', '~1')}`)));
  } catch {
    throw failure({ status: 400, code: 'BadPointer', detail: `${path} is not a valid path: its %-escapes are broken.` });
  }
}

function shownTo(call: Call, value: Json): Json {
  const sections = hiddenFrom(call.who);
  if (sections.length === 0 || typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([section]) => !sections.includes(section)));
}

const wantsYaml = (call: Call): boolean => /\byaml\b/.test(call.headers.accept ?? '');

async function get(call: Call): Promise<Answer> {
  const { reconciler } = call.house;
  const pointer = pointerOfPath(call.path);
  const read = await reconciler.read();
  const { desired, file } = reconciler.snapshot();
  // Of plugins that are not in force yet only their manifests know what is secret.
  const root = read.revision === file.inForce ? composedOf(desired) : composedOfTexts(await reconciler.manifests(read.text));
  const headers = { etag: etagOf(read.revision), 'x-bkg-in-force': file.inForce, vary: 'accept' };
  if (call.headers['if-none-match']?.includes(etagOf(read.revision)) === true) return plain('', { status: 304, headers });
  if (wantsYaml(call)) {
    if (pointer !== '') throw failure({ status: 406, code: 'YamlOfTheWholeOnly', detail: `As YAML there is only the whole file: GET ${ROOT}. Parts come as JSON.` });
    const [section] = hiddenFrom(call.who);
    if (section !== undefined) throw failure(lacking(call.who, `${section}.read`));
    const text = await maskedText(read.text, root);
    if (text === null) throw failure({ status: 409, code: 'YamlSyntax', detail: 'bkg.yaml is not valid YAML now, so its secrets cannot be told apart and it is not shown. GET /api/status names the line.', problems: file.problems });
    return plain(text, { type: `${YAML}; charset=utf-8`, headers });
  }
  const value = lookUp(shownTo(call, redact(read.value, root)), pointer);
  if (value === undefined) throw failure({ status: 404, code: 'PathMissing', detail: `bkg.yaml has nothing at ${pointer}. What is not declared has its default, see GET /api/schema.` });
  return json(value, { headers });
}

const under = (pointer: string, operation: PatchOperation): PatchOperation =>
  'from' in operation ? { ...operation, from: pointer + operation.from, path: pointer + operation.path } : { ...operation, path: pointer + operation.path };

/**
 * In a map `add` and `replace` do the same where something stands; but `add` also fits the revision the caller saw, so that
 * a 412 can show what the edit wanted. In a list `add` would insert.
 */
function asAdds(operations: readonly PatchOperation[], value: Json): readonly PatchOperation[] {
  return operations.map((operation) => {
    const inMap = operation.path !== '' && !Array.isArray(lookUp(value, operation.path.slice(0, operation.path.lastIndexOf('/'))));
    return operation.op === 'replace' && inMap ? { ...operation, op: 'add' } : operation;
  });
}

async function patch(call: Call): Promise<Answer> {
  const pointer = pointerOfPath(call.path);
  const read = await call.house.reconciler.read();
  const ifRevision = ifMatchOf(call, read.revision);
  const operations = call.type === 'application/json-patch+json'
    ? (call.body as readonly PatchOperation[]).map((operation) => under(pointer, operation))
    : asAdds(mergePatchToOperations(lookUp(read.value, pointer), call.body as Json, pointer), read.value);
  return commitAndAnswer(call, { read, change: { operations }, ifRevision });
}

async function put(call: Call): Promise<Answer> {
  const pointer = pointerOfPath(call.path);
  const read = await call.house.reconciler.read();
  const ifRevision = ifMatchOf(call, read.revision);
  if (call.type === 'application/json') {
    const operations = asAdds(operationsTo(lookUp(read.value, pointer), call.body as Json, pointer), read.value);
    return commitAndAnswer(call, { read, change: { operations }, ifRevision });
  }
  if (pointer !== '') throw failure({ status: 415, code: 'YamlOfTheWholeOnly', detail: `As YAML only the whole file can be put: PUT ${ROOT}. Send parts as application/json.` });
  return commitAndAnswer(call, { read, change: { text: call.body as string }, ifRevision });
}

async function remove(call: Call): Promise<Answer> {
  const pointer = pointerOfPath(call.path);
  const read = await call.house.reconciler.read();
  const ifRevision = ifMatchOf(call, read.revision);
  if (lookUp(read.value, pointer) === undefined) throw failure({ status: 404, code: 'PathMissing', detail: `bkg.yaml has nothing at ${pointer}, so there is nothing to delete.` });
  return commitAndAnswer(call, { read, change: { operations: [{ op: 'remove', path: pointer }] }, ifRevision });
}

const ANY_JSON: BodyRule = { schema: ANY };

/** Every verb at the whole file and at any place in it. */
const verbs = (path: string, what: string): readonly Route[] => [
  route({ method: 'GET', path, scope: 'config.read', summary: `${capital(what)} as declared, secrets masked${path === ROOT ? `; as YAML with Accept: ${YAML}` : ''}. ETag is the revision.`, output: ANY, run: get }),
  route({
    method: 'PATCH', path, scope: 'places', summary: `Edits ${what} by JSON Patch (RFC 6902) or merge patch (RFC 7396); everything else keeps its bytes. Needs If-Match.`, query: EDIT_QUERY, output: EDITED, run: patch,
    input: { 'application/json-patch+json': { schema: wire.definitions.patch, check: (value) => validateWire('patch', value) }, 'application/merge-patch+json': ANY_JSON },
  }),
  route({
    method: 'PUT', path, scope: 'places', summary: `Sets ${what}. Needs If-Match.`, query: EDIT_QUERY, output: EDITED, run: put,
    input: { 'application/json': ANY_JSON, [YAML]: { schema: TEXT, text: true } },
  }),
  ...(path === ROOT ? [] : [route({ method: 'DELETE', path, scope: 'places', summary: `Removes ${what}. Needs If-Match.`, query: EDIT_QUERY, output: EDITED, run: remove })]),
];

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

export const configRoutes: readonly Route[] = [
  ...verbs(ROOT, 'the whole file'),
  ...verbs(`${ROOT}/{pointer}`, 'one place of the file'),
  route({
    method: 'GET', path: '/api/schema', scope: 'config.read', summary: 'JSON Schema (draft-07) of bkg.yaml with the settings of every declared plugin.', output: { type: 'object' },
    query: { references: 'true: also allows ${env:NAME} for any scalar, for editors.' },
    run: (call) => json(composedOf(call.house.reconciler.snapshot().desired, flagOf(call.query, 'references'))),
  }),
];
