// Hands one request to an engine and its answer to the client, chunk by chunk, without holding anything back.
import type { ServerResponse } from 'node:http';
import type { Dispatcher, Pool } from 'undici';
import { SECURITY_HEADERS } from '../security.ts';
import type { ApiError } from './errors.ts';
import type { Address } from './pools.ts';
import { openTally, usageStripper, type Usage } from './stream.ts';

/** Made once per route, not per request. `headers`: name and value in turn, as undici takes them. */
export type Upstream = Address & { readonly method: string; readonly path: string; readonly timeout_ms: number; readonly headers: readonly string[] };
export type ForwardOrder = {
  readonly upstream: Upstream;
  readonly body: Buffer;
  readonly accept: string | undefined;
  readonly stripUsage: boolean;
  readonly response: ServerResponse;
  readonly headers: readonly (readonly [string, string])[];
};
export type ForwardEnd =
  | { readonly kind: 'done'; readonly status: number; readonly usage: Usage }
  /** The client went away: nobody's fault. */
  | { readonly kind: 'left'; readonly usage: Usage }
  /** Whoever asked may no longer. */
  | { readonly kind: 'cut'; readonly error: ApiError; readonly inEvents: boolean; readonly usage: Usage }
  /** The engine failed, before its answer or within it. `unsent`: nobody was listening, another try is safe. `inEvents`: an event stream had begun. */
  | { readonly kind: 'failed'; readonly error: ApiError; readonly unsent: boolean; readonly inEvents: boolean; readonly usage: Usage };

/** Headers of the engine that mean something to the client; the rest is between the two of them and us. */
const PASSED = new Set(['content-type', 'content-length', 'cache-control', 'content-encoding', 'retry-after', 'openai-processing-ms', 'x-request-id']);
const NOT_LISTENING = new Set(['ECONNREFUSED', 'ENOENT', 'UND_ERR_CONNECT_TIMEOUT']);
const SILENT = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);

/** `end` is called exactly once. What comes back ends it early, with this error for the client. */
export function forward(pool: Pool, order: ForwardOrder, end: (how: ForwardEnd) => void): (error: ApiError) => void {
  const { response, upstream } = order;
  const tally = openTally(order.body.length);
  const stripper = order.stripUsage ? usageStripper() : null;
  let controller: Dispatcher.DispatchController | null = null;
  let status = 0;
  let inEvents = false;
  let remaining_bytes = Infinity;
  let lastChunk: Buffer | null = null;
  let over = false;
  /** Of an answer that whoever asked did not wait for. */
  const soFar = (): Usage => tally.usage(controller !== null);
  const finish = (how: ForwardEnd): void => {
    if (over) return;
    over = true;
    end(how);
  };
  const left = (): void => {
    if (over || response.writableFinished) return;
    finish({ kind: 'left', usage: soFar() });
    controller?.abort(new Error('the client went away'));
  };
  const resume = (): void => controller?.resume();
  response.once('close', left);

  const headers = order.accept === undefined ? (upstream.headers as string[]) : [...upstream.headers, 'accept', order.accept];
  const write = (chunk: Buffer | null): void => {
    if (over || chunk === null || response.write(chunk)) return;
    controller?.pause();
    response.once('drain', resume);
  };
  pool.dispatch({ path: upstream.path, method: upstream.method as Dispatcher.HttpMethod, headers, body: order.body, headersTimeout: upstream.timeout_ms, bodyTimeout: upstream.timeout_ms }, {
    onRequestStart(started) {
      controller = started;
      if (over || response.destroyed) started.abort(new Error('nobody waits for it any more'));
    },
    onResponseStart(_controller, statusCode, received) {
      status = statusCode;
      if (statusCode < 200) return;
      inEvents = isEvents(received);
      remaining_bytes = inEvents ? Infinity : Number(received['content-length'] ?? Infinity);
      response.writeHead(statusCode, headersFor(order, received));
    },
    onResponseData(_controller, chunk) {
      tally.see(chunk, inEvents);
      remaining_bytes -= chunk.length;
      // The end follows in the same turn: both leave in one write.
      if (remaining_bytes === 0) lastChunk = chunk;
      else write(stripper === null ? chunk : stripper.pass(chunk));
    },
    onResponseEnd() {
      write(stripper?.end() ?? null);
      if (lastChunk === null) response.end();
      else response.end(lastChunk);
      finish({ kind: 'done', status, usage: tally.usage(inEvents && status < 400) });
    },
    onResponseError(_controller, error) {
      if (!over) finish({ kind: 'failed', inEvents, usage: tally.usage(false), ...failed(error, upstream) });
    },
  });
  return (error) => {
    finish({ kind: 'cut', error, inEvents, usage: soFar() });
    controller?.abort(new Error('it was ended'));
  };
}

type Received = Readonly<Record<string, string | string[] | undefined>>;

const isEvents = (received: Received): boolean => String(received['content-type'] ?? '').includes('event-stream');

function headersFor(order: ForwardOrder, received: Received): string[] {
  const headers: string[] = [...SECURITY_HEADERS];
  const streams = isEvents(received);
  for (const name in received) {
    if (!PASSED.has(name) || (name === 'content-length' && streams)) continue;
    headers.push(name, String(received[name]));
  }
  for (const [name, value] of order.headers) headers.push(name, value);
  return headers;
}

function failed(error: Error, upstream: Upstream): { readonly unsent: boolean; readonly error: ApiError } {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (SILENT.has(code)) {
    return { unsent: false, error: { status: 504, code: 'upstream_timeout', message: `The plugin was silent for ${upstream.timeout_ms / 1000} s and the request was given up. limits.timeout in bkg.yaml sets how long it may be.` } };
  }
  return { unsent: NOT_LISTENING.has(code), error: { status: 502, code: 'upstream_failed', message: `The plugin broke off: ${error.message}. Its log says why.` } };
}
