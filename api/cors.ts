// Lets web pages elsewhere call /v1 and /api with a token of theirs, as far as server.cors says; never with cookies.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { CSRF_HEADER } from './access.ts';

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE';
const ALLOWED: readonly string[] = ['authorization', 'content-type', 'accept', 'if-match', 'x-bkg-source', CSRF_HEADER];
/** What OpenAI's own client for browsers sends besides; it means nothing here. */
const OPENAI = /^(x-stainless-[a-z-]{1,40}|openai-[a-z-]{1,40}|idempotency-key)$/;
/** More names than any client sends; the rest is not looked at. */
const ASKED_MAX = 40;
/** Browsers ask once for so long; a change of server.cors reaches them after it, and answers follow it at once. */
const MAX_AGE_S = 600;

const isOpen = (url: string): boolean => /^\/(?:v1|api)(?:[/?]|$)/.test(url);

/** Puts the headers on; true when it was a preflight, which is answered then. */
export function answerCors(request: IncomingMessage, response: ServerResponse, origins: readonly string[]): boolean {
  if (origins.length === 0 || !isOpen(request.url ?? '')) return false;
  response.setHeader('vary', 'Origin');
  const { origin } = request.headers;
  const allowed = origin === undefined ? null : origins.includes('*') ? '*' : origins.includes(origin) ? origin : null;
  if (allowed === null) return false;
  response.setHeader('access-control-allow-origin', allowed);
  if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] === undefined) {
    response.setHeader('access-control-expose-headers', '*');
    return false;
  }
  const asked = (request.headers['access-control-request-headers'] ?? '').toLowerCase().split(',', ASKED_MAX).map((name) => name.trim());
  request.resume();
  response.writeHead(204, {
    vary: 'Origin, Access-Control-Request-Headers', 'access-control-allow-methods': METHODS, 'access-control-max-age': String(MAX_AGE_S),
    'access-control-allow-headers': [...ALLOWED, ...asked.filter((name) => OPENAI.test(name))].join(', '),
  });
  response.end();
  return true;
}
