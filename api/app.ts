// The Koa app of the control plane: who may, how often, and the table's routes.
import Router from '@koa/router';
import Koa, { type Context, type Next } from 'koa';
import type { Actor, AuditEntry } from '../reconciler/index.ts';
import type { Right } from '../schema/scopes.ts';
import type { Identity } from './access.ts';
import { lacking, may, NOBODY, outOfReach, reaches, type Somebody } from './auth/somebody.ts';
import { CONTROL_BODY_MAX_BYTES, isEmpty, jsonOf, mediaTypeOf, readBody, textOf } from './body.ts';
import { isOwnOrigin, type Own } from './hosts.ts';
import type { Meter } from './meter.ts';
import { failure, problemEdge, refusalIn } from './problem.ts';
import type { Verdict } from './rate.ts';
import { type Answer, type House, type Route, checkBody } from './route.ts';

export type AppOptions = {
  readonly house: House;
  readonly table: readonly Route[];
  readonly meter: Meter;
  /** Where our own pages come from. */
  readonly own: () => Own;
  readonly rate: (address: string | undefined, requestsPerMinute: number) => Promise<Verdict>;
};

/** Monitoring must get its answer, however busy the others on its address are; the answer costs a look at memory. */
const isHealth = (path: string): boolean => path === '/health' || path.startsWith('/health/');

export function makeApp(o: AppOptions): Koa {
  const app = new Koa();
  app.silent = true;
  app.on('error', (error: unknown) => o.house.log.debug({ err: error }, 'a connection of the control plane broke'));
  app.use(o.meter.middleware);
  app.use(problemEdge(o.house.log));
  app.use(gate(o));
  const router = makeRouter(o);
  app.use(router.routes());
  app.use(router.allowedMethods());
  return app;
}

/** Credentials first, so that the owner on the machine is never locked out by the limit. */
function gate(o: AppOptions) {
  const open = new Set(o.table.filter((row) => row.scope === 'public').map((row) => `${row.method} ${row.path}`));
  // The data plane notes the use of keys with what they used.
  const isNews = seldom();
  return async (context: Context, next: Next): Promise<void> => {
    const peer = context.req.socket.remoteAddress;
    const identity = await o.house.access.ofRequest(context.req, o.own());
    const isOwner = identity.kind === 'somebody' && identity.who.kind === 'owner';
    if (!isOwner && !isHealth(context.path)) await limit(o, context, peer);
    const method = context.method === 'HEAD' ? 'GET' : context.method;
    if (identity.kind === 'nobody' && !open.has(`${method} ${context.path}`)) throw failure(identity.refusal);
    if (identity.kind === 'somebody' && identity.who.key !== null && isNews(identity.who.key.id)) o.house.reconciler.used('key', identity.who.key.id);
    context.state['identity'] = identity;
    await next();
  };
}

/** What is written down of who asks again and again is written once in this time. */
const NOTED_EVERY_MS = 60_000;
const NOTED_MAX = 10_000;

/** Whether something was not there lately; from then on it was. */
function seldom(): (what: string) => boolean {
  const noted = new Map<string, number>();
  return (what) => {
    const now = Date.now();
    if (now - (noted.get(what) ?? 0) < NOTED_EVERY_MS) return false;
    if (noted.size >= NOTED_MAX) noted.clear();
    noted.set(what, now);
    return true;
  };
}

/** Who asks for a route, when they may. A public one is for everybody. */
export function admitted(row: Route, identity: Identity, params: Readonly<Record<string, string>>): Somebody {
  if (identity.kind === 'nobody') return NOBODY;
  const { who } = identity;
  const named = row.scope === 'public' || row.scope === 'self' || row.scope === 'places' || row.scope === 'capability' ? null : row.scope;
  if (named !== null && !may(who, named)) throw failure(lacking(who, named));
  // What the edit touches is judged when it is made; who may touch nothing at all is not even told of the file.
  if (row.scope === 'places' && !WRITES.some((right) => may(who, right))) throw failure(lacking(who, 'config.write'));
  const plugin = row.path.includes('/plugins/{id}') ? params['id'] : undefined;
  if (plugin !== undefined && !reaches(who, plugin)) throw failure(outOfReach(who, plugin));
  return who;
}

const WRITES: readonly Right[] = ['config.write', 'plugins.control', 'models.write', 'users.write', 'keys.write'];

async function limit(o: AppOptions, context: Context, peer: string | undefined): Promise<void> {
  const { requestsPerMinute } = o.house.reconciler.snapshot().desired.server.rateLimit;
  const verdict = await o.rate(peer, requestsPerMinute);
  context.set(verdict.headers as Record<string, string>);
  if (!verdict.ok) {
    throw failure({ status: 429, code: 'RateLimited', detail: `More than ${requestsPerMinute} requests a minute from this address. Try again in ${verdict.headers['retry-after']} s; server.rateLimit in bkg.yaml sets the limit.`, headers: verdict.headers });
  }
}

/** `/api/plugins/{id}` → `/api/plugins/:id`, `{pointer}` → the rest of the path. */
const koaPath = (path: string): string => path.replace('{pointer}', '*pointer').replaceAll(/\{(\w+)\}/g, ':$1');

/** Who tried what they may not. Of the path only names are told: what else stands there may be a secret that went astray. */
function refused(row: Route, context: Context): AuditEntry {
  const { who } = identityOf(context) as Extract<Identity, { readonly kind: 'somebody' }>;
  const path = row.path.replaceAll(/\{(\w+)\}/g, (hole, name: string) => (/^[a-z0-9-]{1,63}$/.test(paramsOf(context)[name] ?? '') ? paramsOf(context)[name]! : hole));
  return { actor: who.name, source: sourceOf(context.get('x-bkg-source')), address: context.req.socket.remoteAddress ?? null, action: 'request', target: `${row.method} ${path}`, outcome: 'refused' };
}

const identityOf = (context: Context): Identity => (context.state as { readonly identity: Identity }).identity;
const paramsOf = (context: Context): Readonly<Record<string, string>> => (context as unknown as { readonly params: Readonly<Record<string, string>> }).params;

function makeRouter(o: AppOptions): Router {
  const router = new Router();
  const isNews = seldom();
  for (const row of o.table) {
    router.register(koaPath(row.path), [row.method], async (found) => {
      const context = found as unknown as Context;
      await carryOut(o, row, context).catch((error: unknown) => {
        if (refusalIn(error)?.status === 403 && row.method !== 'GET' && identityOf(context).kind === 'somebody') {
          const entry = refused(row, context);
          if (isNews(`${entry.actor} ${entry.target}`)) o.house.reconciler.audit(entry);
        }
        throw error;
      });
    });
  }
  return router;
}

async function carryOut(o: AppOptions, row: Route, context: Context): Promise<void> {
  const came = identityOf(context);
  const params = paramsOf(context);
  admitted(row, came, params);
  const { type, body } = await bodyOf(row, context);
  // A body may take minutes to come: who was let in with its headers may have been shut out since.
  const again = (): Identity => (came.kind === 'nobody' ? came : o.house.access.again(came));
  const identity = again();
  if (identity.kind === 'nobody' && came.kind !== 'nobody') throw failure(identity.refusal);
  const who = admitted(row, identity, params);
  const now = (): Somebody => {
    const found = again();
    return found.kind === 'nobody' ? NOBODY : found.who;
  };
  const actor = { name: who.name, source: sourceOf(context.get('x-bkg-source')), address: context.req.socket.remoteAddress ?? null };
  const answer = await row.run({
    house: o.house, actor, who, now, session: identity.kind === 'somebody' ? identity.session : null, fromOwnPage: context.headers.origin !== undefined && isOwnOrigin(context.headers, o.own()), path: context.path, params,
    query: context.URL.searchParams, headers: context.headers, type, body, signal: signalOf(context),
  });
  await send(answer, context);
}

/** The CLI and the UI name themselves, for the history only; it grants nothing. */
const sourceOf = (header: string): Actor['source'] => (header === 'cli' || header === 'ui' ? header : 'api');

function signalOf(context: Context): AbortSignal {
  const controller = new AbortController();
  context.res.once('close', () => controller.abort());
  return controller.signal;
}

async function bodyOf(row: Route, context: Context): Promise<{ readonly type: string; readonly body: unknown }> {
  if (row.input === undefined) return { type: '', body: undefined };
  if (row.bodyOptional === true && isEmpty(context.req)) return { type: '', body: {} };
  const type = mediaTypeOf(context.get('content-type'));
  const rule = Object.hasOwn(row.input, type) ? row.input[type] : undefined;
  if (rule === undefined) {
    const known = Object.keys(row.input).join(', ');
    throw failure({
      status: 415, code: 'MediaTypeUnknown', detail: `Send the body as ${known}, not as ${type === '' ? 'nothing' : type} (header content-type).`,
      headers: row.method === 'PATCH' ? { 'accept-patch': known } : {},
    });
  }
  const bytes = await readBody(context.req, row.max_bytes ?? CONTROL_BODY_MAX_BYTES);
  if (rule.text === true) return { type, body: textOf(bytes) };
  const body = jsonOf(bytes);
  checkBody(rule, body);
  return { type, body };
}

async function send(answer: Answer, context: Context): Promise<void> {
  if (answer.kind === 'raw') {
    context.respond = false;
    context.res.statusCode = 200;
    await answer.write(context.res);
    return;
  }
  context.status = answer.status;
  for (const [name, value] of Object.entries(answer.headers ?? {})) if (value !== undefined && name !== 'vary') context.set(name, Array.isArray(value) ? value : String(value));
  // For pages elsewhere the answer varies already.
  if (answer.headers?.['vary'] !== undefined) context.vary(String(answer.headers['vary']));
  if (context.response.get('cache-control') === '') context.set('cache-control', 'no-store');
  if (answer.kind === 'text') {
    context.type = answer.type;
    context.body = answer.text;
    return;
  }
  context.type = 'application/json; charset=utf-8';
  context.body = JSON.stringify(answer.body);
}
