// The data plane: OpenAI's routes on bare node:http, from the key check to the engine and back.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { begin, type Lease, type Reconciler, type Route } from '../../reconciler/index.ts';
import type { Access, Identity } from '../access.ts';
import { CALLER_HEADER } from '../auth/callers.ts';
import type { Quota } from '../auth/quota.ts';
import { lacking, may, outOfReach, reaches } from '../auth/somebody.ts';
import type { Own } from '../hosts.ts';
import { admit, type Admission } from '../limits.ts';
import { COME_AGAIN_S, READY_WITHIN_MS, SUCCESSOR_WITHIN_MS, untilReady } from '../ready.ts';
import { outgoing, readBody, type Asked } from './body.ts';
import { inOpenAiWords, writeError, type ApiError } from './errors.ts';
import { forward, type Upstream } from './forward.ts';
import { listModels, unknownModel } from './models.ts';
import { openPools } from './pools.ts';
import type { Usage } from './stream.ts';
import { addressName, tables, type Choice } from './table.ts';

const CAPABILITY_OF: Readonly<Record<string, string>> = {
  '/v1/chat/completions': 'llm.chat',
  '/v1/completions': 'llm.complete',
  '/v1/embeddings': 'llm.embed',
};

export type GatewayOptions = { readonly reconciler: Reconciler; readonly access: Pick<Access, 'ofRequest' | 'again' | 'quotas' | 'watch' | 'callers'>; /** Where our own pages come from. */ readonly own: () => Own; readonly log: Logger };
export type Gateway = {
  /** For every request whose path begins with /v1/. */
  listener(request: IncomingMessage, response: ServerResponse): void;
  close(): Promise<void>;
};

type Somebodys = Extract<Identity, { readonly kind: 'somebody' }>;

const NO_USAGE: Usage = { promptTokens: 0, completionTokens: 0 };
/** As nginx names a client that went away. */
const CLIENT_LEFT = 499;

const tooMany = (refused: Extract<Admission, { readonly ok: false }>): ApiError =>
  ({ status: 429, code: 'rate_limit_exceeded', message: refused.message, retryAfter_s: refused.retryAfter_s, headers: refused.headers });

const notReady = (route: Route): ApiError =>
  ({ status: 503, code: 'plugin_not_ready', message: `${route.plugin} cannot answer now. ${route.why ?? ''}`.trim(), retryAfter_s: COME_AGAIN_S });

export function dataPlane(options: GatewayOptions): Gateway {
  const { reconciler } = options;
  const table = tables(reconciler.snapshot);
  const pools = openPools();
  const { quotas, watch, callers } = options.access;
  const forget = reconciler.subscribe((event) => {
    if (event.type === 'snapshot') pools.keep(new Set(event.snapshot.routes.map(addressName)));
  });

  function listener(request: IncomingMessage, response: ServerResponse): void {
    const found = options.access.ofRequest(request, options.own());
    if (!(found instanceof Promise)) return admitted(request, response, found);
    begin(async () => admitted(request, response, await found), (error: unknown) => {
      options.log.error({ err: error }, 'a key could not be checked');
      writeError(response, { status: 500, code: 'internal', message: 'bkg made a mistake. Its log has the cause.' });
    });
  }

  function admitted(request: IncomingMessage, response: ServerResponse, identity: Identity): void {
    if (identity.kind === 'nobody') return writeError(response, inOpenAiWords(identity.refusal));
    const url = request.url ?? '';
    const query = url.indexOf('?');
    const path = query < 0 ? url : url.slice(0, query);
    if (path === '/v1/models' || path.startsWith('/v1/models/')) return listModels(request, response, { path, table: table(), who: identity.who });
    const capability = CAPABILITY_OF[path];
    if (capability === undefined) return writeError(response, { status: 404, code: 'unknown_url', message: `There is no ${path} here. Known: ${Object.keys(CAPABILITY_OF).join(', ')}, /v1/models.` });
    if (request.method !== 'POST') return writeError(response, { status: 405, code: 'method_not_allowed', message: `${path} takes POST.`, headers: [['allow', 'POST']] });
    if (!may(identity.who, capability)) return writeError(response, inOpenAiWords(lacking(identity.who, capability)));
    readBody(request, (read) => {
      if (read === null) return response.destroy();
      if (!read.ok) return writeError(response, read.error);
      // The body may have taken a minute to come: who was let in with its head may have been shut out since.
      const now = options.access.again(identity);
      if (now.kind === 'nobody') return writeError(response, inOpenAiWords(now.refusal));
      if (!may(now.who, capability)) return writeError(response, inOpenAiWords(lacking(now.who, capability)));
      serve({ request, response, asked: read.asked, capability, identity: now });
    });
  }

  type Serving = { readonly request: IncomingMessage; readonly response: ServerResponse; readonly asked: Asked; readonly capability: string; readonly identity: Somebodys };
  type Handed = {
    readonly serving: Serving;
    readonly choice: Choice;
    readonly admitted: Extract<Admission, { readonly ok: true }>;
    readonly quota: Extract<Quota, { readonly ok: true }>;
    readonly lease: Lease;
    /** It was sent once, and nobody was there. */
    readonly retried: boolean;
  };

  const find = (serving: Serving): Choice | null => table().find(serving.capability, serving.asked.model, serving.identity.who.plugins);

  function serve(serving: Serving): void {
    const choice = find(serving);
    if (choice === null) return writeError(serving.response, unknown(serving));
    const { route } = choice;
    const { who } = serving.identity;
    if (!reaches(who, route.plugin)) return writeError(serving.response, inOpenAiWords(outOfReach(who, route.plugin)));
    const quota = quotas.admit(who.key);
    if (!quota.ok) return writeError(serving.response, tooMany(quota));
    const admitted = admit({ plugin: route.plugin, capability: choice.capability, limits: route.limits });
    if (!admitted.ok) {
      quota.release();
      return writeError(serving.response, tooMany(admitted));
    }
    const handed = { serving, choice, admitted, quota, lease: reconciler.lease(route.plugin, choice.upstream === null ? null : route.incarnation), retried: false };
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
    const unwatched = watched(handed, (error) => {
      writeError(response, error);
      leave();
    });
    begin(async () => {
      const waited = await untilReady({ ...o, subscribe: reconciler.subscribe, route: () => find(serving)?.route ?? null, signal: gone.signal });
      unwatched();
      response.off('close', leave);
      const choice = waited.kind === 'ready' ? find(serving) : null;
      if (choice?.upstream != null) return follow(handed, choice, choice.upstream);
      if (waited.kind === 'gone') return end(handed, null);
      const error = waited.kind === 'undeclared' ? unknown(serving) : notReady('route' in waited ? waited.route : handed.choice.route);
      end(handed, error.message);
      note(handed, { status: error.status, usage: NO_USAGE, latency_ms: performance.now() - begun });
      writeError(response, error);
    }, (error: unknown) => {
      unwatched();
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
    handed.quota.release();
  }

  function send(handed: Handed, upstream: Upstream): void {
    const { serving, choice: { route, engineModel } } = handed;
    const { response } = serving;
    const begun = performance.now();
    const body = outgoing(serving.asked, engineModel);
    const headers = handed.quota.headers.length === 0 ? handed.admitted.headers : [...handed.admitted.headers, ...handed.quota.headers];
    // Only who may call on is told for whom it answers: it costs a name per request.
    const caller = route.grants.length === 0 || route.incarnation === null ? null
      : callers.begin({ identity: serving.identity, through: [], address: serving.request.socket.remoteAddress ?? null }, { plugin: route.plugin, incarnation: route.incarnation });
    const to = caller === null ? upstream : { ...upstream, headers: [...upstream.headers, CALLER_HEADER, caller.name] };
    let over = false;
    let unwatched = (): void => undefined;
    const cut = forward(pools.of(upstream), { upstream: to, body: body.bytes, accept: serving.request.headers.accept, stripUsage: body.stripUsage, response, headers }, (how) => {
      over = true;
      unwatched();
      caller?.end();
      // Nobody listens there any more, and nothing was lost: the successor answers. Still the same request, counted once.
      if (how.kind === 'failed' && how.unsent && !handed.retried && !response.headersSent) return wait({ ...handed, retried: true }, { not: route.incarnation, timeout_ms: SUCCESSOR_WITHIN_MS });
      end(handed, how.kind === 'failed' ? how.error.message : how.kind === 'done' && how.status >= 500 ? `answered ${how.status}` : null);
      const status = how.kind === 'done' ? how.status : how.kind === 'left' ? CLIENT_LEFT : how.error.status;
      note(handed, { status, usage: how.usage, latency_ms: performance.now() - begun });
      if (how.kind === 'failed' || how.kind === 'cut') writeError(response, how.error, how.inEvents);
    });
    // It may have ended already, before anybody could watch it.
    if (!over) unwatched = watched(handed, cut);
  }

  const watched = ({ serving, choice }: Handed, cut: (error: ApiError) => void): (() => void) =>
    watch.add({ now: () => options.access.again(serving.identity), capability: serving.capability, plugin: choice.route.plugin, cut: (refusal) => cut(inOpenAiWords(refusal)) });

  function note({ serving, choice, quota }: Handed, what: { readonly status: number; readonly usage: Usage; readonly latency_ms: number }): void {
    const { who } = serving.identity;
    quota.spend(what.usage.promptTokens + what.usage.completionTokens);
    reconciler.account({
      at: Date.now(), key: who.key?.id ?? null, user: who.user ?? who.name, plugin: choice.route.plugin, model: choice.engineModel ?? '', capability: serving.capability,
      status: what.status, promptTokens: what.usage.promptTokens, completionTokens: what.usage.completionTokens, latency_ms: what.latency_ms,
    });
  }

  const unknown = ({ asked: { model }, capability, identity }: Serving): ApiError => unknownModel(table(), { model, capability, who: identity.who });

  return {
    listener,
    async close() {
      forget();
      await pools.close();
    },
  };
}
