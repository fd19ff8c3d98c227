// What bkg itself answers on the bus: routes of the admin API about keys and signing in, run for whom a plugin calls on.
import type { ServerResponse } from 'node:http';
import type { Json, JsonObject } from '../reconciler/index.ts';
import type { Schema } from '../schema/walk.ts';
import { admitted } from './app.ts';
import { type Behind, CALLER_HEADER } from './auth/callers.ts';
import { isKeyToken } from './auth/keys.ts';
import { isSessionToken } from './auth/sessions.ts';
import { mayGive, NOBODY, type Somebody } from './auth/somebody.ts';
import { failure, type Refusal } from './problem.ts';
import { ANY, type Answer, type Call, type House, type Route, checkBody, json, object, route } from './route.ts';
import { authRoutes } from './routes/auth.ts';
import { peopleRoutes } from './routes/people.ts';
import { recordRoutes } from './routes/records.ts';

/** Longer than any key or token of ours. */
const TOKEN_MAX = 4_096;
const TOKEN: Schema = { type: 'string', minLength: 1, maxLength: TOKEN_MAX, 'x-secret': true };
const EITHER: Schema = { type: 'object', minProperties: 1, maxProperties: 1, additionalProperties: false, properties: { key: { ...TOKEN, description: 'An API key.' }, token: { ...TOKEN, description: 'An API key, or the access token of a session.' } } };

/** What they really may: of a key what its user may, too. */
const scopesOf = (who: Somebody): readonly string[] => [...new Set(who.grants.flat())].filter((scope) => mayGive(who, scope));
const stamp = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString());

async function validate(call: Call): Promise<Answer> {
  const { access } = call.house;
  const { key, token } = call.body as { readonly key?: string; readonly token?: string };
  const given = key ?? token ?? '';
  // The token of the machine itself is good for callers on the machine, and none of a plugin's business.
  if (!isKeyToken(given) && !isSessionToken(given)) return json({ valid: false });
  const identity = await access.of(given, call.actor.address ?? undefined);
  if (identity.kind === 'nobody') {
    // Who is told to wait has learnt nothing of the key, so nothing is said of it.
    if (identity.refusal.status !== 401) throw failure(identity.refusal);
    return json({ valid: false });
  }
  const { who } = identity;
  const expires = who.key === null ? access.sessions.until(given) : who.key.expires;
  return json({ valid: true, kind: who.kind, name: who.name, user: who.user, scopes: scopesOf(who), plugins: who.plugins, expires: stamp(expires) });
}

const VALIDATE = route({ method: 'POST', path: '/validate', scope: 'public', summary: 'Whose an API key or a session token is, and what they may.', input: { 'application/json': { schema: EITHER } }, output: object({ valid: ANY }), run: validate });

function rowOf(method: Route['method'], path: string): Route {
  const found = [...authRoutes, ...peopleRoutes, ...recordRoutes].find((row) => row.method === method && row.path === path);
  if (found === undefined) throw new Error(`there is no route ${method} ${path}`);
  return found;
}

const KEYS = '/admin/api-keys';
const CALLS: ReadonlyMap<string, Route> = new Map([
  ['house.login', rowOf('POST', '/auth/login')],
  ['house.createKey', rowOf('POST', KEYS)],
  ['house.rotateKey', rowOf('POST', `${KEYS}/{id}/rotate`)],
  ['house.revokeKey', rowOf('DELETE', `${KEYS}/{id}`)],
  ['house.listKeys', rowOf('GET', KEYS)],
  ['house.validate', VALIDATE],
  ['house.audit', rowOf('GET', '/admin/audit')],
]);

/** The route behind one of bkg's own capabilities; throws what a plugin should hear when there is none. */
export function houseRoute(capability: string): Route {
  const row = CALLS.get(capability);
  if (row === undefined) throw failure({ status: 404, code: 'CapabilityUnknown', detail: `bkg offers no ${capability}; it offers ${[...CALLS.keys()].join(', ')}.` });
  return row;
}

export type HouseOrder = {
  readonly house: House;
  readonly capability: string;
  /** Who asks on the bus, and has the grant. */
  readonly plugin: string;
  /** For whom; null: for itself. */
  readonly behind: Behind | null;
  readonly input: Json;
  readonly signal: AbortSignal;
};

/** Runs the route and writes its answer; a refusal throws. */
export async function answerHouseCall(order: HouseOrder, response: ServerResponse): Promise<void> {
  const { behind, house, plugin } = order;
  const row = houseRoute(order.capability);
  const { params, query, body } = sorted(order, row);
  const who = whoFor(order, row, params);
  const rule = row.input?.['application/json'];
  if (rule !== undefined) checkBody(rule, body);
  // Where nobody is known to be, wrong tries are counted on the plugin they come through.
  const first = `plugin ${behind?.through[0] ?? plugin}`;
  const now = (): Somebody => {
    const found = behind === null ? null : house.access.callers.again(behind);
    return found === null ? who : found.kind === 'nobody' ? NOBODY : { ...found.who, name: who.name };
  };
  const answer = await row.run({
    house, who, now, actor: { name: behind?.identity?.who.name ?? first, source: 'plugin', address: behind?.address ?? first }, session: behind?.identity?.session ?? null, fromOwnPage: false,
    path: row.path, params, query, headers: { 'user-agent': `plugin ${plugin}` }, type: rule === undefined ? '' : 'application/json', body: rule === undefined ? undefined : body, signal: order.signal,
  });
  if (answer.kind !== 'json') throw new Error(`${order.capability} answers with ${answer.kind}`);
  response.writeHead(answer.status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' }).end(JSON.stringify(answer.body));
}

/** The grant lets the plugin ask; what is done is done with the rights of who called it, so nobody climbs by way of it. */
function whoFor({ behind, capability, house, plugin }: HouseOrder, row: Route, params: Readonly<Record<string, string>>): Somebody {
  const refusal: Refusal = { status: 403, code: 'CallerMissing', detail: `${capability} is done for somebody, never for a plugin by itself. When ${plugin} is called it gets the header ${CALLER_HEADER}: pass it on, as it came, with this call.` };
  if (row.scope === 'public') return admitted(row, { kind: 'nobody', refusal }, params);
  if (behind === null || behind.identity === null) throw failure(refusal);
  for (const one of house.access.callers.everybody(behind)) admitted(row, { kind: 'somebody', who: one, session: null }, params);
  const { who } = house.access.callers.standing(behind);
  return behind.through.length === 0 ? who : { ...who, name: `${who.name} through ${behind.through.join(', ')}` };
}

type Sorted = { readonly params: Readonly<Record<string, string>>; readonly query: URLSearchParams; readonly body: JsonObject };

/** One input: what the path names, what the query may say, the rest is the body. */
function sorted({ input, capability }: HouseOrder, row: Route): Sorted {
  const wrong = (detail: string): Error => failure({ status: 422, code: 'InputInvalid', detail: `The input of ${capability} ${detail}` });
  if (input === null || typeof input !== 'object' || Array.isArray(input)) throw wrong('must be a map (name: value).');
  const named = [...row.path.matchAll(/\{(\w+)\}/g)].map((found) => found[1]!);
  const asked = Object.keys(row.query ?? {});
  const all = Object.entries(input);
  const plain = (names: readonly string[]): Readonly<Record<string, string>> => Object.fromEntries(all.filter(([name]) => names.includes(name)).map(([name, value]) => {
    if (typeof value === 'object') throw wrong(`takes a plain value as ${name}.`);
    return [name, String(value)];
  }));
  const params = plain(named);
  const missing = named.find((name) => !Object.hasOwn(params, name));
  if (missing !== undefined) throw wrong(`needs "${missing}".`);
  const rest = all.filter(([name]) => !named.includes(name) && !asked.includes(name));
  if (row.input === undefined && rest.length > 0) throw wrong(`knows no "${rest[0]![0]}"; it takes ${[...named, ...asked].join(', ') || 'nothing'}.`);
  return { params, query: new URLSearchParams(plain(asked)), body: Object.fromEntries(rest) };
}
