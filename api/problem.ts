// Errors for people and scripts: RFC 9457 problem+json with a stable code, and the one place where a failed request ends.
import { randomUUID } from 'node:crypto';
import { STATUS_CODES, type OutgoingHttpHeaders, type ServerResponse } from 'node:http';
import type { Context, Next } from 'koa';
import type { Logger } from 'pino';
import type { Problem } from '../reconciler/index.ts';
import type { ProblemDetails } from '../schema/wire.gen.ts';
import { SECURITY_LINES } from './security.ts';

export const PROBLEM_TYPE = 'application/problem+json';

/** What a request is refused with. `headers` go beside the body; members beyond the known ones belong to the code. */
export type Refusal = {
  readonly status: number;
  /** For machines, stable, CamelCase. */
  readonly code: string;
  /** For people: what, where, remedy. */
  readonly detail: string;
  readonly problems?: readonly Problem[];
  readonly headers?: OutgoingHttpHeaders;
  readonly more?: Readonly<Record<string, unknown>>;
};

type Failure = Error & { readonly refusal: Refusal };

/** An error that ends the request with exactly this answer. */
export function failure(refusal: Refusal): Error {
  return Object.assign(new Error(refusal.detail), { refusal });
}

const isFailure = (error: unknown): error is Failure => error instanceof Error && 'refusal' in error;
/** What an error refuses with; null for one that is a fault. */
export const refusalIn = (error: unknown): Refusal | null => (isFailure(error) ? error.refusal : null);
const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : null);

const DISK_FAULTS: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT']);

/** What the client gets to see of an error. Our own mistakes show an id that stands in the log, never a stack. */
export function refusalOf(error: unknown, log: Logger): Refusal {
  if (isFailure(error)) return error.refusal;
  const text = error instanceof Error ? error.message : String(error);
  if (codeOf(error) === 'FileMissing') return { status: 404, code: 'FileMissing', detail: text };
  if (codeOf(error) === 'FileUnreadable') return { status: 503, code: 'FileUnreadable', detail: text };
  if (codeOf(error) === 'StoreUnwritable') return { status: 503, code: 'StoreUnwritable', detail: text, headers: { 'retry-after': '1' } };
  if (error instanceof Error && 'problem' in error) return { status: 422, code: String(codeOf(error)), detail: text, problems: [error.problem as Problem] };
  if (DISK_FAULTS.has(codeOf(error))) return { status: 507, code: 'DiskFull', detail: `${text}. Make room on the disk, then try again; nothing was changed.` };
  if (codeOf(error) === 'PluginUnknown') return { status: 404, code: 'PluginUnknown', detail: `${text}.` };
  const id = randomUUID();
  log.error({ err: error, id }, 'a request failed by a mistake of bkg');
  return { status: 500, code: 'Internal', detail: `bkg made a mistake. Its log has the cause under id ${id}.`, more: { id } };
}

/** The body of the answer. */
export function detailsOf(refusal: Refusal): ProblemDetails {
  return {
    type: 'about:blank', title: STATUS_CODES[refusal.status] ?? 'Error', status: refusal.status, code: refusal.code, detail: refusal.detail,
    ...(refusal.problems === undefined ? {} : { problems: [...refusal.problems] }),
    ...refusal.more,
  };
}

/** Answers a bare node:http request with a problem; where the answer has already begun, the connection ends. */
export function writeRefusal(response: ServerResponse, refusal: Refusal): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.writeHead(refusal.status, { ...refusal.headers, 'content-type': PROBLEM_TYPE, 'cache-control': 'no-store' });
  response.end(JSON.stringify(detailsOf(refusal)));
}

/** For sockets that are refused before they become WebSockets. */
export function rawRefusal(refusal: Refusal): string {
  const body = JSON.stringify(detailsOf(refusal));
  return `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status] ?? 'Error'}\r\nConnection: close\r\nContent-Type: ${PROBLEM_TYPE}\r\n${SECURITY_LINES}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

/** The error edge of the control plane: every request ends with an answer. */
export function problemEdge(log: Logger) {
  return async (context: Context, next: Next): Promise<void> => {
    try {
      await next();
      const empty = context.body === null || context.body === undefined;
      if (context.respond !== false && empty && context.status >= 400) throw failure(unanswered(context));
    } catch (error) {
      const refusal = refusalOf(error, log);
      if (context.respond === false) {
        writeRefusal(context.res, refusal);
        return;
      }
      for (const [name, value] of Object.entries(refusal.headers ?? {})) if (value !== undefined) context.set(name, Array.isArray(value) ? value : String(value));
      context.status = refusal.status;
      context.set('cache-control', 'no-store');
      context.body = JSON.stringify(detailsOf(refusal));
      context.type = PROBLEM_TYPE;
    }
  };
}

function unanswered(context: Context): Refusal {
  const allow = context.response.get('allow');
  if (context.status === 405 || context.status === 501) {
    return { status: 405, code: 'MethodNotAllowed', detail: `${context.path} does not know ${context.method}; it knows ${allow}.`, headers: { allow } };
  }
  return { status: 404, code: 'NotFound', detail: `There is nothing at ${context.path}. GET /openapi.json lists every route.` };
}
