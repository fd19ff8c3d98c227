// The data plane: OpenAI's routes on bare node:http, from the key check to the engine and back.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Reconciler, Route } from '../../reconciler/index.ts';
import { admit, type Admission } from '../limits.ts';
import type { Authorize } from './authorize.ts';
import { outgoing, readBody, type Asked } from './body.ts';
import { writeError, type ApiError } from './errors.ts';
import { forward, type Upstream } from './forward.ts';
import { openPools } from './pools.ts';
import type { Usage } from './stream.ts';
import { addressName, tables, type Choice } from './table.ts';

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

type Waited = { readonly ok: true } | { readonly ok: false; readonly error: ApiError };

export function dataPlane(options: GatewayOptions): Gateway {
  const { reconciler } = options;
  const table = tables(reconciler.snapshot);
  const pools = openPools();
  const accounts = new Map<string, Account>();
  const forget = reconciler.subscribe((event) => {
    if (event.type === 'snapshot') pools.keep(new Set(event.snapshot.routes.map(addressName)));
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
      serve({ request, response, asked: read.asked, capability, key: who.key });
    });
  }

  type Serving = { readonly request: IncomingMessage; readonly response: ServerResponse; readonly asked: Asked; readonly capability: string; readonly key: string };
  type Handed = { readonly serving: Serving; readonly choice: Choice; readonly admitted: Extract<Admission, { readonly ok: true }>; readonly retried: boolean };

  function serve(serving: Serving): void {
    const choice = table().find(serving.capability, serving.asked.model);
    if (choice === null) return writeError(serving.response, unknownModel(serving));
    const admitted = admit({ plugin: choice.route.plugin, capability: choice.capability, limits: choice.route.limits });
    if (!admitted.ok) return writeError(serving.response, { status: 429, code: 'rate_limit_exceeded', message: admitted.message, retryAfter_s: admitted.retryAfter_s, headers: admitted.headers });
    hand({ serving, choice, admitted, retried: false });
  }

  /** To the engine at once where it is ready; else when it is. */
  function hand(handed: Handed): void {
    const { serving, choice, admitted } = handed;
    if (choice.upstream !== null) return send(handed, choice.upstream);
    whenReady(serving, choice.route).then((ready) => {
      const again = ready.ok ? table().find(serving.capability, serving.asked.model) : null;
      if (again !== null && again.upstream !== null) return send({ ...handed, choice: again }, again.upstream);
      admitted.release();
      if (!serving.response.destroyed) writeError(serving.response, ready.ok ? notReady(choice.route) : ready.error);
    }, (error: unknown) => {
      admitted.release();
      options.log.error({ err: error }, 'waiting for a plugin failed');
      writeError(serving.response, notReady(choice.route));
    });
  }

  function send(handed: Handed, upstream: Upstream): void {
    const { serving, choice: { route, engineModel }, admitted } = handed;
    const { response } = serving;
    if (response.destroyed) return admitted.release();
    const lease = reconciler.lease(route.plugin);
    const begun = performance.now();
    const body = outgoing(serving.asked, engineModel);
    forward(pools.of(upstream), { upstream, body: body.bytes, accept: serving.request.headers.accept, stripUsage: body.stripUsage, response, headers: admitted.headers }, (how) => {
      const error = how.kind === 'failed' ? how.error.message : how.kind === 'done' && how.status >= 500 ? `answered ${how.status}` : null;
      lease.end({ error });
      if (how.kind === 'failed' && how.unsent && !handed.retried && !response.headersSent) {
        // Still counted in: the second try is of the same request.
        const again = table().find(serving.capability, serving.asked.model);
        return hand({ ...handed, choice: again ?? handed.choice, retried: true });
      }
      admitted.release();
      note(serving.key, route.plugin, { failed: error !== null, usage: how.kind === 'done' ? how.usage : null, latency_ms: performance.now() - begun });
      if (how.kind === 'failed') writeError(response, how.error, how.inEvents);
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
  function whenReady(serving: Serving, route: Route): Promise<Waited> {
    const { response } = serving;
    return new Promise((resolve, reject) => {
      let asked = false;
      const over = (): void => {
        clearTimeout(timer);
        stop();
        response.off('close', gone);
      };
      const finish = (result: Waited): void => {
        over();
        resolve(result);
      };
      const gone = (): void => finish({ ok: false, error: notReady(route) });
      const wake = (plugin: string): void => {
        reconciler.ask({ kind: 'wake', plugin, actor: { name: serving.key, source: 'api' } }).catch((error: unknown) => {
          over();
          reject(error);
        });
      };
      const look = (): void => {
        // Its close may have been told already, before anybody listened.
        if (response.destroyed) return gone();
        const now = table().find(serving.capability, serving.asked.model)?.route;
        if (now === undefined) return finish({ ok: false, error: unknownModel(serving) });
        if (now.state === 'ready') return finish({ ok: true });
        if (now.state === 'down') return finish({ ok: false, error: notReady(now) });
        // It may fall asleep under the very request that waits for it: then it is woken again.
        if (now.state === 'asleep' && !asked) wake(now.plugin);
        asked = now.state === 'asleep';
      };
      const timer = setTimeout(gone, READY_WITHIN_MS);
      const stop = reconciler.subscribe((event) => { if (event.type === 'snapshot') look(); });
      response.on('close', gone);
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
