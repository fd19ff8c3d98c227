// The Koa app of the control plane: who may, how often, and the table's routes.
import Router from '@koa/router';
import Koa, { type Context, type Next } from 'koa';
import type { Actor } from '../reconciler/index.ts';
import { validateConfig } from '../schema/validate.ts';
import { bearerOf, identify } from './access.ts';
import { CONTROL_BODY_MAX_BYTES, jsonOf, mediaTypeOf, readBody, textOf } from './body.ts';
import type { Meter } from './meter.ts';
import { failure, problemEdge } from './problem.ts';
import type { Verdict } from './rate.ts';
import type { Answer, House, Route } from './route.ts';

export type AppOptions = {
  readonly house: House;
  readonly adminToken: string;
  readonly table: readonly Route[];
  readonly meter: Meter;
  readonly rate: (address: string | undefined, requestsPerMinute: number) => Promise<Verdict>;
};

/** Monitoring must get its answer, however busy the others on its address are; the answer costs a look at memory. */
const isHealth = (path: string): boolean => path === '/health' || path.startsWith('/health/');

export function makeApp(o: AppOptions): Koa {
  const app = new Koa();
  app.silent = true;
  app.on('error', (error: unknown) => o.house.log.debug({ err: error }, 'a connection of the control plane broke'));
  app.use(securityHeaders);
  app.use(o.meter.middleware);
  app.use(problemEdge(o.house.log));
  app.use(gate(o));
  const router = makeRouter(o);
  app.use(router.routes());
  app.use(router.allowedMethods());
  return app;
}

async function securityHeaders(context: Context, next: Next): Promise<void> {
  context.set('x-content-type-options', 'nosniff');
  context.set('referrer-policy', 'no-referrer');
  context.set('x-frame-options', 'DENY');
  await next();
}

/** Credentials first, so that the owner on the machine is never locked out by the limit. */
function gate(o: AppOptions) {
  const open = new Set(o.table.filter((row) => row.scope === 'public').map((row) => row.path));
  return async (context: Context, next: Next): Promise<void> => {
    const peer = context.req.socket.remoteAddress;
    const identity = identify(bearerOf(context.req), { adminToken: o.adminToken, peer });
    if (identity.kind === 'nobody') {
      if (!isHealth(context.path)) await limit(o, context, peer);
      const isOpen = open.has(context.path) && (context.method === 'GET' || context.method === 'HEAD');
      if (!isOpen) throw failure(identity.refusal);
    }
    await next();
  };
}

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

function makeRouter(o: AppOptions): Router {
  const router = new Router();
  for (const row of o.table) {
    router.register(koaPath(row.path), [row.method], async (context) => {
      const { type, body } = await bodyOf(row, context as unknown as Context);
      const answer = await row.run({
        house: o.house, actor: { name: 'admin', source: sourceOf(context.get('x-bkg-source')) }, path: context.path, params: context.params as Record<string, string>,
        query: context.URL.searchParams, headers: context.headers, type, body, signal: signalOf(context as unknown as Context),
      });
      await send(answer, context as unknown as Context);
    });
  }
  return router;
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
  const problems = rule.check === undefined ? validateConfig(rule.schema, body, '') : rule.check(body);
  if (problems.length > 0) throw failure({ status: 422, code: 'BodyInvalid', detail: `The body is not what this route takes: ${problems[0]!.message}`, problems });
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
  for (const [name, value] of Object.entries(answer.headers ?? {})) if (value !== undefined) context.set(name, String(value));
  if (context.response.get('cache-control') === '') context.set('cache-control', 'no-store');
  if (answer.kind === 'text') {
    context.type = answer.type;
    context.body = answer.text;
    return;
  }
  context.type = 'application/json; charset=utf-8';
  context.body = JSON.stringify(answer.body);
}
