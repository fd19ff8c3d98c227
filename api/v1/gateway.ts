// The data plane: OpenAI's routes on bare node:http, from the key check to the engine and back.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { begin, type Lease, type Reconciler, type Route } from '../../reconciler/index.ts';
import { admit, type Admission } from '../limits.ts';
import { COME_AGAIN_S, READY_WITHIN_MS, SUCCESSOR_WITHIN_MS, untilReady } from '../ready.ts';
import type { Authorize } from './authorize.ts';
import { outgoing, readBody, type Asked } from './body.ts';
import { writeError, type ApiError } from './errors.ts';
import { forward, type Upstream } from './forward.ts';
import { openPools } from './pools.ts';
import type { Usage } from './stream.ts';
import { addressName, tables, type Choice } from './table.ts';

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
  type Handed = {
    readonly serving: Serving;
    readonly choice: Choice;
    readonly admitted: Extract<Admission, { readonly ok: true }>;
    readonly lease: Lease;
    /** It was sent once, and nobody was there. */
    readonly retried: boolean;
  };

  const find = (serving: Serving): Choice | null => table().find(serving.capability, serving.asked.model);

  function serve(serving: Serving): void {
    const choice = find(serving);
    if (choice === null) return writeError(serving.response, unknownModel(serving));
    const { route } = choice;
    const admitted = admit({ plugin: route.plugin, capability: choice.capability, limits: route.limits });
    if (!admitted.ok) return writeError(serving.response, { status: 429, code: 'rate_limit_exceeded', message: admitted.message, retryAfter_s: admitted.retryAfter_s, headers: admitted.headers });
    const handed = { serving, choice, admitted, lease: reconciler.lease(route.plugin, choice.upstream === null ? null : route.incarnation), retried: false };
    if (choice.upstream === null) wait(handed, { not: null, timeout_ms: READY_WITHIN_MS });
    else send(handed, choice.upstream);
  }

  /** Hands the request on once a process is ready for it: any, or a successor of one that did not answer. */
  function wait(handed: Handed, o: { readonly not: string | null; readonly timeout_ms: number }): void {
    const { serving, lease } = handed;
    const { response } = serving;
    const begun = performance.now();
    const gone = new AbortController();
    const leave = (): void => gone.abort();
    response.once('close', leave);
    // Its close may have been told already, before anybody listened.
    if (response.destroyed) leave();
    lease.at(null);
    begin(async () => {
      const waited = await untilReady({ ...o, subscribe: reconciler.subscribe, route: () => find(serving)?.route ?? null, signal: gone.signal });
      response.off('close', leave);
      const choice = waited.kind === 'ready' ? find(serving) : null;
      if (choice?.upstream != null) return follow(handed, choice, choice.upstream);
      const error = waited.kind === 'undeclared' ? unknownModel(serving) : notReady('route' in waited ? waited.route : handed.choice.route);
      if (waited.kind === 'gone') return end(handed, null);
      end(handed, error.message);
      note(serving.key, handed.choice.route.plugin, { failed: true, usage: null, latency_ms: performance.now() - begun });
      writeError(response, error);
    }, (error: unknown) => {
      options.log.error({ err: error }, 'waiting for a plugin failed');
      end(handed, 'waiting for it failed');
      writeError(response, notReady(handed.choice.route));
    });
  }

  /** To the process that is ready. While it waited, an edit may have given the model to another plugin: there it begins anew. */
  function follow(handed: Handed, choice: Choice, upstream: Upstream): void {
    if (choice.route.plugin !== handed.choice.route.plugin) {
      end(handed, null);
      return serve(handed.serving);
    }
    handed.lease.at(choice.route.incarnation);
    send({ ...handed, choice }, upstream);
  }

  function end(handed: Handed, error: string | null): void {
    handed.lease.end({ error });
    handed.admitted.release();
  }

  function send(handed: Handed, upstream: Upstream): void {
    const { serving, choice: { route, engineModel }, admitted } = handed;
    const { response } = serving;
    const begun = performance.now();
    const body = outgoing(serving.asked, engineModel);
    forward(pools.of(upstream), { upstream, body: body.bytes, accept: serving.request.headers.accept, stripUsage: body.stripUsage, response, headers: admitted.headers }, (how) => {
      // Nobody listens there any more, and nothing was lost: the successor answers. Still the same request, counted once.
      if (how.kind === 'failed' && how.unsent && !handed.retried && !response.headersSent) return wait({ ...handed, retried: true }, { not: route.incarnation, timeout_ms: SUCCESSOR_WITHIN_MS });
      const error = how.kind === 'failed' ? how.error.message : how.kind === 'done' && how.status >= 500 ? `answered ${how.status}` : null;
      end(handed, error);
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

  const notReady = (route: Route): ApiError =>
    ({ status: 503, code: 'plugin_not_ready', message: `${route.plugin} cannot answer now. ${route.why ?? ''}`.trim(), retryAfter_s: COME_AGAIN_S });

  function unknownModel(serving: Serving): ApiError {
    const known = table().models.filter((model) => model.capabilities.includes(serving.capability)).map((model) => model.id);
    const listed = known.length === 0 ? `No declared plugin offers ${serving.capability}.` : `Known here: ${known.join(', ')}.`;
    const { model } = serving.asked;
    const other = model === null ? undefined : table().models.find((one) => one.id === model || one.plugin === model);
    const why = model === null ? '' : other === undefined ? `There is no model "${model}". ` : `The model "${model}" does not do ${serving.capability}, only ${other.capabilities.join(', ')}. `;
    return { status: 404, code: 'model_not_found', param: 'model', message: `${why}${listed}` };
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
