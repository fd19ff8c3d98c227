// Errors of the data plane in OpenAI's shape, so that its clients understand them.
import type { ServerResponse } from 'node:http';
import type { Refusal } from '../problem.ts';
import { SECURITY_HEADERS } from '../security.ts';

export type ApiError = { readonly status: number; readonly code: string; readonly message: string; readonly param?: string; readonly retryAfter_s?: number; readonly headers?: readonly (readonly [string, string])[] };

const typeOf = (status: number): string =>
  status === 401 ? 'authentication_error' : status === 403 ? 'permission_error' : status === 429 ? 'rate_limit_error' : status < 500 ? 'invalid_request_error' : 'server_error';

export const errorBody = (error: ApiError): string =>
  JSON.stringify({ error: { message: error.message, type: typeOf(error.status), code: error.code, param: error.param ?? null } });

/** A client that does not read its last event is let go after this: the event is a courtesy, the break is what counts. */
const LAST_EVENT_MS = 1_000;

/**
 * Ends the response; where it has begun already, the connection is broken off, for a cut answer must never look whole.
 * `inEvents`: what has begun is an event stream, the error is its last event.
 */
export function writeError(response: ServerResponse, error: ApiError, inEvents = false): void {
  if (response.destroyed || response.writableEnded) return;
  if (response.headersSent) {
    if (!inEvents) return void response.destroy();
    const timer = setTimeout(() => response.destroy(), LAST_EVENT_MS);
    // The engine may have been cut within an event: an empty line ends it.
    response.write(`\n\ndata: ${errorBody(error)}\n\n`, () => {
      clearTimeout(timer);
      response.destroy();
    });
    return;
  }
  const body = errorBody(error);
  const headers = ['content-type', 'application/json; charset=utf-8', 'content-length', String(Buffer.byteLength(body)), ...SECURITY_HEADERS];
  for (const [name, value] of error.headers ?? []) headers.push(name, value);
  if (error.retryAfter_s !== undefined) headers.push('retry-after', String(error.retryAfter_s));
  response.writeHead(error.status, headers);
  response.end(body);
}

/** What OpenAI's clients know by another name. */
const CODES: Readonly<Record<string, string>> = {
  TokenMissing: 'missing_api_key', TokenWrong: 'invalid_api_key', KeyWrong: 'invalid_api_key', KeyExpired: 'expired_api_key', LoopbackOnly: 'loopback_only', TooManyWrongKeys: 'rate_limit_exceeded',
  ScopeMissing: 'scope_missing', PluginNotAssigned: 'plugin_not_assigned',
};

/** A refusal of the control plane in the words of OpenAI's errors. */
export function inOpenAiWords(refusal: Refusal): ApiError {
  const retryAfter = refusal.headers?.['retry-after'];
  return { status: refusal.status, code: CODES[refusal.code] ?? refusal.code, message: refusal.detail, ...(retryAfter === undefined ? {} : { retryAfter_s: Number(retryAfter) }) };
}
