// The table of routes: what each one takes, answers and does; the router and /openapi.json are made from it.
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Actor, Problem, Reconciler, SessionRow } from '../reconciler/index.ts';
import { validateConfig } from '../schema/validate.ts';
import type { Schema } from '../schema/walk.ts';
import type { Right } from '../schema/scopes.ts';
import type { Access } from './access.ts';
import { OWNER, type Somebody } from './auth/somebody.ts';
import type { Hub } from './hub.ts';
import { failure } from './problem.ts';

/** What routes work with. */
export type House = {
  readonly reconciler: Reconciler;
  readonly access: Access;
  readonly hub: Hub;
  /** Whether its doors speak TLS: then cookies go over nothing else. */
  readonly secure: boolean;
  readonly log: Logger;
  readonly version: string;
};

/**
 * The scope a route asks for. `public`: none, not even a name. `self`: whoever it is, about themselves. `places`: of every place of the file that
 * the edit touches, judged when it is made. `capability`: the one that is called.
 */
export type Scope = 'public' | 'self' | 'places' | 'capability' | Right;

/** A call whose edit is bkg's own: what is written follows from who asks about themselves. */
export const asOwner = (call: Call): Call => ({ ...call, who: OWNER, now: () => OWNER });

/** What a body of one media type must be. `check` beats `schema`, which then only documents. */
export type BodyRule = { readonly schema: Schema; readonly text?: boolean; readonly check?: (value: unknown) => readonly Problem[] };

export type Call = {
  readonly house: House;
  readonly actor: Actor;
  readonly who: Somebody;
  /** The same as of now: somebody may have lost rights while a request waited. Of who is nobody any more one who may nothing. */
  readonly now: () => Somebody;
  /** Of who has signed in. */
  readonly session: SessionRow | null;
  /** Whether a page of this appliance sent it: its Origin is one of ours. */
  readonly fromOwnPage: boolean;
  readonly path: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Media type of the body; empty when the route takes none. */
  readonly type: string;
  /** Parsed and checked; a string where the rule says text. */
  readonly body: unknown;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
};

export type Answer =
  | { readonly kind: 'json'; readonly status: number; readonly body: unknown; readonly headers?: OutgoingHttpHeaders }
  | { readonly kind: 'text'; readonly status: number; readonly type: string; readonly text: string; readonly headers?: OutgoingHttpHeaders }
  /** Writes the answer itself: for streams that are passed on. */
  | { readonly kind: 'raw'; readonly write: (response: ServerResponse) => Promise<void> };

export type Route = {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  /** As in OpenAPI: `/api/plugins/{id}`. `{pointer}` at the end takes the rest of the path. */
  readonly path: string;
  readonly scope: Scope;
  readonly summary: string;
  /** Query parameter → what it does. */
  readonly query?: Readonly<Record<string, string>>;
  /** Media type → rule. Absent: a body is not read. */
  readonly input?: Readonly<Record<string, BodyRule>>;
  /** Without a body it is as with one of `{}`. */
  readonly bodyOptional?: true;
  readonly max_bytes?: number;
  readonly output?: Schema;
  /** Of what it has begun and not ended; 200 when absent. */
  readonly status?: 202;
  /** An older name of the same route. */
  readonly deprecated?: boolean;
  readonly run: (call: Call) => Answer | Promise<Answer>;
};

/** One row of the table. */
export const route = (row: Route): Route => row;

export const json = (body: unknown, o: { readonly status?: number; readonly headers?: OutgoingHttpHeaders } = {}): Answer =>
  ({ kind: 'json', status: o.status ?? 200, body, ...(o.headers === undefined ? {} : { headers: o.headers }) });

export const plain = (text: string, o: { readonly status?: number; readonly type?: string; readonly headers?: OutgoingHttpHeaders } = {}): Answer =>
  ({ kind: 'text', status: o.status ?? 200, type: o.type ?? 'text/plain; charset=utf-8', text, ...(o.headers === undefined ? {} : { headers: o.headers }) });

/** Throws what is wrong with a body. */
export function checkBody(rule: BodyRule, body: unknown): void {
  const problems = rule.check === undefined ? validateConfig(rule.schema, body, '') : rule.check(body);
  if (problems.length > 0) throw failure({ status: 422, code: 'BodyInvalid', detail: `The body is not what this route takes: ${problems[0]!.message}`, problems });
}

/** A whole number of the query within its bounds, or what stands for it when absent. */
export function numberOf(query: URLSearchParams, name: string, o: { readonly otherwise: number; readonly max: number }): number {
  const text = query.get(name);
  if (text === null) return o.otherwise;
  if (!/^\d{1,15}$/.test(text) || Number(text) > o.max) throw failure({ status: 400, code: 'BadQuery', detail: `?${name}= must be a whole number from 0 to ${o.max}, but is ${JSON.stringify(text)}.` });
  return Number(text);
}

/** Rows of a list when nothing is said, and at most. */
export const ROWS = 100;
const ROWS_MAX = 1_000;
export const limitOf = (call: Call): number => numberOf(call.query, 'limit', { otherwise: ROWS, max: ROWS_MAX });

/** `?name=true` or `?name=false`; absent is false. */
export function flagOf(query: URLSearchParams, name: string): boolean {
  const text = query.get(name);
  if (text === null || text === 'false') return false;
  if (text === 'true' || text === '') return true;
  throw failure({ status: 400, code: 'BadQuery', detail: `?${name}= must be true or false, but is ${JSON.stringify(text)}.` });
}

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A duration with its unit out of the query. */
export function durationOf(query: URLSearchParams, name: string, o: { readonly otherwise_ms: number; readonly max_ms: number }): number {
  const text = query.get(name);
  if (text === null) return o.otherwise_ms;
  const found = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/.exec(text);
  const span_ms = found === null ? Number.NaN : Number(found[1]) * UNITS_MS[found[2]!]!;
  if (!(span_ms <= o.max_ms)) throw failure({ status: 400, code: 'BadQuery', detail: `?${name}= must be a duration like 30s or 2m, ${o.max_ms / 60_000}m at most, but is ${JSON.stringify(text)}.` });
  return span_ms;
}

/** Schemas for the document, short. */
export const object = (properties: Readonly<Record<string, Schema>>): Schema => ({ type: 'object', properties, required: Object.keys(properties) });
export const list = (items: Schema): Schema => ({ type: 'array', items });
export const TEXT: Schema = { type: 'string' };
export const ANY: Schema = {};
