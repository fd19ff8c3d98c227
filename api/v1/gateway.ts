// The data plane: OpenAI's routes on bare node:http, from the key check to the engine and back.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Reconciler, Route } from '../../reconciler/index.ts';
import { admit } from '../limits.ts';
import type { Authorize } from './authorize.ts';
import { outgoing, readBody, type Asked } from './body.ts';
import { writeError, type ApiError } from './errors.ts';
import { forward, openPools } from './forward.ts';
import type { Usage } from './stream.ts';
import { tables, type Choice } from './table.ts';

/** A request waits this long for a plugin that starts or wakes; then it is told to come again. */
export const READY_WITHIN_MS = 120_000;
const COME_AGAIN_S = 5;

/** Null for a broken escape. */
function unescaped(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

const CAPABILITY_OF: Readonly<Record<string, string>> = {
  '/v1/chat/completions': 'llm.chat',
  '/v1/completions': 'llm.complete',
  '/v1/embeddings': 'llm.embed',
};

/** What was used, per key and plugin, since the start. */
export type Account = { readonly key: string; readonly plugin: string; requests: number; errors: number; promptTokens: number; completionTokens: number; latency_ms: number };

export type GatewayOptions = { readonly reconciler: Reconciler; readonly authorize: Authorize; readonly log: Logger };
export type Gateway = {
  /** For every request whose path begins with /v1/. */
  listener(request: IncomingMessage, response: ServerResponse): void;
  usage(): readonly Account[];
  close(): Promise<void>;
};

export function dataPlane(options: GatewayOptions): Gateway {
  const { reconciler } = options;
  const table = tables(reconciler.snapshot);
  const pools = openPools();
  const accounts = new Map<string, Account>();
  const forget = reconciler.subscribe((event) => {
    if (event.type === 'snapshot') pools.keep(new Set(event.snapshot.routes.flatMap((route) => (route.port === null ? [] : [route.port]))));
  });

  function listener(request: IncomingMessage, response: ServerResponse): void {
    const who = options.authorize(request);
    if (!who.ok) return writeError(response, who);
    const url = request.url ?? '';
    const query = url.indexOf('?');
    const path = query < 0 ? url : url.slice(0, query);
    if (path === '/v1/models' || path.startsWith('/v1/models/')) return listModels(request, response, path);
    const capability = CAPABILITY_OF[path];
    if (capability === undefined) return writeError(response, { status: 404, code: 'unknown_url', message: `There is no ${path} here. Known: ${Object.keys(CAPABILITY_OF).join(', ')}, /v1/models.` });
    if (request.method !== 'POST') return writeError(response, { status: 405, code: 'method_not_allowed', message: `${path} takes POST.`, headers: [['allow', 'POST']] });
    readBody(request, (read) => {
      if (read === null) return response.destroy();
      if (!read.ok) return writeError(response, read.error);
      serve({ request, response, asked: read.asked, capability, key: who.key, retried: false });
    });
  }

  type Serving = { readonly request: IncomingMessage; readonly response: ServerResponse; readonly asked: Asked; readonly capability: string; readonly key: string; readonly retried: boolean };

  function serve(serving: Serving): void {
    const choice = table().find(serving.capability, serving.asked.model);
    if (choice === null) return writeError(serving.response, unknownModel(serving));
    const admitted = admit({ plugin: choice.route.plugin, capability: choice.capability, limits: choice.route.limits });
    if (!admitted.ok) return writeError(serving.response, { status: 429, code: 'rate_limit_exceeded', message: admitted.message, retryAfter_s: admitted.retryAfter_s, headers: admitted.headers });
    if (choice.route.state === 'ready') return send(serving, choice, admitted);
    whenReady(serving, choice.route).then((ready) => {
      const again = ready.ok ? table().find(serving.capability, serving.asked.model) : null;
      if (again?.route.state === 'ready') return send(serving, again, admitted);
      admitted.release();
      if (!serving.response.destroyed) writeError(serving.response, ready.ok ? notReady(choice.route) : ready.error);
    }, (error: unknown) => {
      admitted.release();
      options.log.error({ err: error }, 'waiting for a plugin failed');
      writeError(serving.response, notReady(choice.route));
    });
  }

  function send(serving: Serving, choice: Choice, admitted: Extract<ReturnType<typeof admit>, { readonly ok: true }>): void {
    const { route } = choice;
    if (serving.response.destroyed) return admitted.release();
    const lease = reconciler.lease(route.plugin);
    const begun = performance.now();
    const body = outgoing(serving.asked, choice.engineModel);
    const upstream = { port: route.port ?? 0, inbound: route.inbound ?? '', method: choice.capability.method, path: choice.capability.path, timeout_ms: route.timeout_ms };
    forward(pools.of(upstream.port), { upstream, body: body.bytes, accept: serving.request.headers.accept, stripUsage: body.stripUsage, response: serving.response, headers: admitted.headers }, (how) => {
      admitted.release();
      const error = how.kind === 'failed' ? how.error.message : how.kind === 'done' && how.status >= 500 ? `answered ${how.status}` : null;
      lease.end({ error });
      note(serving.key, route.plugin, { failed: error !== null, usage: how.kind === 'done' ? how.usage : null, latency_ms: performance.now() - begun });
      if (how.kind !== 'failed') return;
      if (how.unsent && !serving.retried && !serving.response.headersSent) return serve({ ...serving, retried: true });
      writeError(serving.response, how.error, how.inEvents);
    });
  }

  function note(key: string, plugin: string, what: { readonly failed: boolean; readonly usage: Usage | null; readonly latency_ms: number }): void {
    const name = `${key} ${plugin}`;
    const account = accounts.get(name) ?? { key, plugin, requests: 0, errors: 0, promptTokens: 0, completionTokens: 0, latency_ms: 0 };
    accounts.set(name, account);
    account.requests += 1;
    if (what.failed) account.errors += 1;
    account.promptTokens += what.usage?.promptTokens ?? 0;
    account.completionTokens += what.usage?.completionTokens ?? 0;
    account.latency_ms += what.latency_ms;
  }

  /** Wakes what sleeps, then waits until the route is ready or known not to become so. */
  async function whenReady(serving: Serving, route: Route): Promise<{ readonly ok: true } | { readonly ok: false; readonly error: ApiError }> {
    if (route.state === 'down') return { ok: false, error: notReady(route) };
    if (route.state === 'asleep') await reconciler.ask({ kind: 'wake', plugin: route.plugin, actor: { name: serving.key, source: 'api' } });
    return new Promise((resolve) => {
      const finish = (result: { readonly ok: true } | { readonly ok: false; readonly error: ApiError }): void => {
        clearTimeout(timer);
        stop();
        serving.response.off('close', gone);
        resolve(result);
      };
      const look = (): void => {
        // The client may have gone while the plugin was asked to wake: its close is not told twice.
        if (serving.response.destroyed) return gone();
        const now = table().find(serving.capability, serving.asked.model)?.route;
        if (now === undefined) return finish({ ok: false, error: unknownModel(serving) });
        if (now.state === 'ready') return finish({ ok: true });
        if (now.state === 'down') finish({ ok: false, error: notReady(now) });
      };
      const gone = (): void => finish({ ok: false, error: notReady(route) });
      const timer = setTimeout(() => finish({ ok: false, error: notReady(route) }), READY_WITHIN_MS);
      const stop = reconciler.subscribe((event) => { if (event.type === 'snapshot') look(); });
      serving.response.on('close', gone);
      look();
    });
  }

  const notReady = (route: Route): ApiError =>
    ({ status: 503, code: 'plugin_not_ready', message: `${route.plugin} cannot answer now. ${route.why ?? ''}`.trim(), retryAfter_s: COME_AGAIN_S });

  function unknownModel(serving: Serving): ApiError {
    const known = table().models.filter((model) => model.capabilities.includes(serving.capability)).map((model) => model.id);
    const listed = known.length === 0 ? `No declared plugin offers ${serving.capability}.` : `Known here: ${known.join(', ')}.`;
    return { status: 404, code: 'model_not_found', param: 'model', message: serving.asked.model === null ? listed : `There is no model "${serving.asked.model}". ${listed}` };
  }

  function listModels(request: IncomingMessage, response: ServerResponse, path: string): void {
    if (request.method !== 'GET') return writeError(response, { status: 405, code: 'method_not_allowed', message: `${path} takes GET.`, headers: [['allow', 'GET']] });
    request.resume();
    const data = table().models.map((model) => ({ id: model.id, object: 'model', created: 0, owned_by: model.plugin, bkg: { plugin: model.plugin, state: model.state, capabilities: model.capabilities } }));
    const asked = path.slice('/v1/models/'.length);
    const id = unescaped(asked) ?? asked;
    const one = id === '' ? undefined : data.find((model) => model.id === id);
    if (id !== '' && one === undefined) return writeError(response, { status: 404, code: 'model_not_found', param: 'model', message: `There is no model "${id}".` });
    const body = JSON.stringify(one ?? { object: 'list', data });
    response.writeHead(200, ['content-type', 'application/json; charset=utf-8', 'content-length', String(Buffer.byteLength(body))]);
    response.end(body);
  }

  return {
    listener,
    usage: () => [...accounts.values()],
    async close() {
      forget();
      await pools.close();
    },
  };
}
