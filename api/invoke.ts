// Calls a capability of a plugin for somebody: input checked, limits kept, the plugin woken, its answer passed on as it comes.
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { Agent, request } from 'undici';
import type { Capability, Json, Lease, Reconciler, Route } from '../reconciler/index.ts';
import { validateConfig } from '../schema/validate.ts';
import type { Access } from './access.ts';
import { CALLER_HEADER, type Behind } from './auth/callers.ts';
import { asPlugin, lacking, may, outOfReach, reaches } from './auth/somebody.ts';
import { admit, type Admission } from './limits.ts';
import { type Refusal, failure } from './problem.ts';
import { type ReadyRoute, whenReady } from './ready.ts';
import { openTally, type Usage } from './v1/stream.ts';

export type InvokeOrder = {
  readonly reconciler: Reconciler;
  readonly access: Pick<Access, 'quotas' | 'watch' | 'callers'>;
  /** Who calls: all of them must be allowed to. */
  readonly behind: Behind;
  readonly plugin: string;
  readonly capability: string;
  readonly input: Json;
  /** Of the caller; only what the plugin may need of them is passed on. */
  readonly headers: IncomingHttpHeaders;
  readonly signal: AbortSignal;
};

/** Headers of a caller that mean something to a plugin. Credentials never are among them. */
const PASSED_ON = ['accept', 'accept-language', 'x-request-id', 'traceparent'];
/** Headers of a plugin's answer that mean something to the caller; the others are about the connection between us. */
const PASSED_BACK = ['content-type', 'content-length', 'content-encoding', 'cache-control', 'retry-after', 'x-request-id'];

// Unbounded on purpose: with a bound, stream N+1 would queue unseen behind the others. `admit` bounds.
const agent = new Agent({ keepAliveTimeout: 10_000 });

/** Where a capability of a plugin is; throws what a client should hear when there is none. */
export function capabilityOf(route: Route, id: string): Capability {
  const found = route.capabilities.find((capability) => capability.id === id);
  if (found !== undefined) return found;
  const known = route.capabilities.map((capability) => capability.id).join(', ') || 'none at all';
  throw failure({ status: 404, code: 'CapabilityUnknown', detail: `${route.plugin} has no capability ${id}. It has: ${known}.` });
}

/** Passes the call on and writes the plugin's answer. Throws a refusal while nothing of the answer is written. */
export async function invoke(order: InvokeOrder, response: ServerResponse): Promise<void> {
  const { reconciler, plugin } = order;
  const route = reconciler.snapshot().routes.find((candidate) => candidate.plugin === plugin);
  if (route === undefined) throw failure({ status: 404, code: 'PluginUnknown', detail: `There is no plugin ${plugin} in bkg.yaml.` });
  const { callers } = order.access;
  for (const one of callers.everybody(order.behind)) if (!may(one, order.capability)) throw failure(lacking(one, order.capability));
  const { who } = callers.standing(order.behind);
  if (!reaches(who, plugin)) throw failure(outOfReach(who, plugin));
  const capability = capabilityOf(route, order.capability);
  const problems = capability.input === null ? [] : validateConfig(capability.input, order.input, '');
  if (problems.length > 0) throw failure({ status: 422, code: 'InputInvalid', detail: `The input of ${order.capability} is not what ${plugin} takes: ${problems[0]!.message}`, problems });
  // Whoever began is counted; whom a plugin calls on for is counted in with the call that it answers, and may have no second one at once.
  const begins = order.behind.through.length === (order.behind.identity === null ? 1 : 0);
  const quota = begins ? order.access.quotas.admit(who.key) : order.access.quotas.within(who.key);
  if (!quota.ok) throw tooMany(quota);
  // A plugin that calls for somebody does so within the limits of the key it is bound to, too.
  const last = order.behind.through.at(-1);
  const bound = begins || last === undefined ? null : asPlugin(last, reconciler.snapshot()).key;
  const own = order.access.quotas.admit(bound === null || bound.id === who.key?.id ? null : bound);
  if (!own.ok) {
    quota.release();
    throw tooMany(own);
  }
  const admission = admit({ plugin, capability, limits: route.limits });
  if (!admission.ok) {
    quota.release();
    own.release();
    throw tooMany(admission);
  }
  const begun = performance.now();
  const gone = new AbortController();
  const unwatched = order.access.watch.add({ now: () => callers.again(order.behind), capability: order.capability, plugin, cut: (refusal) => { gone.abort(failure(refusal)); } });
  try {
    // Held from here on: a plugin that is waiting for its first request must not fall asleep over it.
    const lease = reconciler.lease(plugin, route.state === 'ready' ? route.incarnation : null);
    const signal = AbortSignal.any([order.signal, gone.signal]);
    const outcome = await forward({ ...order, signal }, { capability, lease, headers: Object.fromEntries([...admission.headers, ...quota.headers]) }, response)
      .catch((error: unknown) => ({ error: signal.aborted ? null : messageOf(error), usage: NO_USAGE, status: FAILED, thrown: gone.signal.aborted ? gone.signal.reason as unknown : error }));
    lease.end({ error: outcome.error });
    for (const one of [quota, own]) one.spend(outcome.usage.promptTokens + outcome.usage.completionTokens);
    reconciler.account({ at: Date.now(), key: who.key?.id ?? null, user: who.user ?? who.name, plugin, model: '', capability: order.capability, status: outcome.status, ...outcome.usage, latency_ms: performance.now() - begun });
    if ('thrown' in outcome) throw outcome.thrown;
  } finally {
    unwatched();
    quota.release();
    own.release();
    admission.release();
  }
}

const tooMany = (refused: Extract<Admission, { readonly ok: false }>): Error =>
  failure({ status: 429, code: 'RateLimited', detail: refused.message, headers: { ...Object.fromEntries(refused.headers), 'retry-after': String(refused.retryAfter_s) } });

const NO_USAGE: Usage = { promptTokens: 0, completionTokens: 0 };
/** Of a call that got no answer. */
const FAILED = 502;

type Outcome = { readonly error: string | null; readonly status: number; /** As the answer tells, where it does. */ readonly usage: Usage };
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function forward(order: InvokeOrder, about: { readonly capability: Capability; readonly lease: Lease; readonly headers: OutgoingHttpHeaders }, response: ServerResponse): Promise<Outcome> {
  const { capability } = about;
  const ready = await whenReady(order.reconciler, order.plugin, order.signal);
  about.lease.at(ready.incarnation);
  const caller = order.access.callers.begin(order.behind, { plugin: order.plugin, incarnation: ready.incarnation });
  try {
    return await passOn(order, { capability, ready, headers: about.headers, caller: caller.name }, response);
  } finally {
    caller.end();
  }
}

async function passOn(order: InvokeOrder, about: { readonly capability: Capability; readonly ready: ReadyRoute; readonly headers: OutgoingHttpHeaders; readonly caller: string }, response: ServerResponse): Promise<Outcome> {
  const { capability, ready } = about;
  const hasBody = capability.method !== 'GET' && capability.method !== 'DELETE';
  const headers: Record<string, string> = { authorization: `Bearer ${ready.inbound}`, [CALLER_HEADER]: about.caller };
  for (const name of PASSED_ON) if (typeof order.headers[name] === 'string') headers[name] = order.headers[name];
  if (hasBody) headers['content-type'] = 'application/json';
  const sent = hasBody ? JSON.stringify(order.input) : null;
  const upstream = await request(`http://127.0.0.1:${ready.port}${capability.path}${hasBody ? '' : queryOf(order.input, capability)}`, {
    method: capability.method as 'GET', dispatcher: agent, headers, headersTimeout: ready.timeout_ms, bodyTimeout: ready.timeout_ms, signal: order.signal,
    body: sent,
  }).catch((error: unknown) => { throw unreachable(order, error); });
  // Without a listener of its own an aborted body would end the process.
  let broke: string | null = null;
  // Asked now: when the answer breaks off, the caller's connection is cut next, and then it would look as if the caller had gone.
  upstream.body.on('error', (error) => { broke = order.signal.aborted ? null : `its answer broke off: ${messageOf(error)}`; });
  const back: Record<string, string | string[]> = {};
  for (const name of PASSED_BACK) if (upstream.headers[name] !== undefined) back[name] = upstream.headers[name];
  response.writeHead(upstream.statusCode, { ...about.headers, ...back });
  response.flushHeaders();
  const inEvents = String(upstream.headers['content-type'] ?? '').includes('event-stream');
  const tally = openTally(sent?.length ?? 0);
  upstream.body.on('data', (chunk: Buffer) => tally.see(chunk, inEvents));
  const ended = (error: string | null): Outcome => ({ error, status: upstream.statusCode, usage: tally.usage(inEvents && upstream.statusCode < 400) });
  try {
    await pipeline(upstream.body, response);
  } catch {
    // The answer has begun: the connection is cut, so that nobody takes half an answer for a whole one.
    response.destroy();
    return ended(broke);
  }
  return ended(upstream.statusCode >= 500 ? `it answered ${upstream.statusCode} to ${capability.id}` : null);
}

function unreachable(order: InvokeOrder, error: unknown): Error {
  if (order.signal.aborted) return failure({ status: 499, code: 'ClientGone', detail: 'The client went away.' });
  const code = error instanceof Error && 'code' in error ? error.code : null;
  const slow = code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT';
  const refusal: Refusal = slow
    ? { status: 504, code: 'PluginTimeout', detail: `${order.plugin} did not answer in time; limits.timeout of the plugin sets how long that is.` }
    : { status: 502, code: 'PluginUnreachable', detail: `${order.plugin} could not be reached: ${messageOf(error)}. Its log (GET /api/plugins/${order.plugin}/logs) may say why.` };
  return failure(refusal);
}

/** Input of a capability without a body: its scalars as query parameters. */
function queryOf(input: Json, capability: Capability): string {
  if (input === null || typeof input !== 'object' || Array.isArray(input)) return '';
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(input)) {
    if (typeof value === 'object' && value !== null) throw failure({ status: 422, code: 'InputInvalid', detail: `${capability.id} is called by ${capability.method} and takes plain values only; ${key} is none.` });
    query.set(key, String(value));
  }
  const text = query.toString();
  return text === '' ? '' : `${capability.path.includes('?') ? '&' : '?'}${text}`;
}

