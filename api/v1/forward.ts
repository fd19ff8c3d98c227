// Hands one request to an engine and its answer to the client, chunk by chunk, without holding anything back.
import type { ServerResponse } from 'node:http';
import { Pool, type Dispatcher } from 'undici';
import type { ApiError } from './errors.ts';
import { usageReader, usageStripper, type Usage } from './stream.ts';

export type Upstream = { readonly port: number; readonly inbound: string; readonly method: string; readonly path: string; readonly timeout_ms: number };
export type ForwardOrder = {
  readonly upstream: Upstream;
  readonly body: Buffer;
  readonly accept: string | undefined;
  readonly stripUsage: boolean;
  readonly response: ServerResponse;
  readonly headers: readonly (readonly [string, string])[];
};
export type ForwardEnd =
  | { readonly kind: 'done'; readonly status: number; readonly usage: Usage | null }
  /** The client went away: nobody's fault. */
  | { readonly kind: 'left' }
  /** The engine failed, before its answer or within it. `unsent`: nobody was listening, another try is safe. `inEvents`: an event stream had begun. */
  | { readonly kind: 'failed'; readonly error: ApiError; readonly unsent: boolean; readonly inEvents: boolean };

/** Pools per port; the one of a process that has gone is closed with it. */
export function openPools() {
  const pools = new Map<number, Pool>();
  return {
    of(port: number): Pool {
      const known = pools.get(port);
      if (known !== undefined) return known;
      // Timeouts are set with each request; connections are bounded by the limits, not here: a queue inside the pool is invisible.
      const made = new Pool(`http://127.0.0.1:${port}`, { connections: null, pipelining: 1 });
      pools.set(port, made);
      return made;
    },
    /** Lets go of ports that no longer belong to a running plugin. */
    keep(ports: ReadonlySet<number>): void {
      for (const [port, pool] of pools) {
        if (ports.has(port)) continue;
        pools.delete(port);
        void pool.close();
      }
    },
    async close(): Promise<void> {
      await Promise.all([...pools.values()].map((pool) => pool.destroy()));
      pools.clear();
    },
  };
}

/** Headers of the engine that mean something to the client; the rest is between the two of them and us. */
const PASSED = new Set(['content-type', 'content-length', 'cache-control', 'content-encoding', 'retry-after', 'openai-processing-ms', 'x-request-id']);
const NOT_LISTENING = new Set(['ECONNREFUSED', 'ENOENT', 'UND_ERR_CONNECT_TIMEOUT']);
const SILENT = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);

/** `end` is called exactly once. */
export function forward(pool: Pool, order: ForwardOrder, end: (how: ForwardEnd) => void): void {
  const { response, upstream } = order;
  const reader = usageReader();
  const stripper = order.stripUsage ? usageStripper() : null;
  let controller: Dispatcher.DispatchController | null = null;
  let status = 0;
  let inEvents = false;
  let over = false;
  const finish = (how: ForwardEnd): void => {
    if (over) return;
    over = true;
    response.off('close', left);
    response.off('drain', resume);
    end(how);
  };
  const left = (): void => {
    if (response.writableFinished) return;
    finish({ kind: 'left' });
    controller?.abort(new Error('the client went away'));
  };
  const resume = (): void => controller?.resume();
  response.on('close', left);
  response.on('drain', resume);

  const headers = ['authorization', `Bearer ${upstream.inbound}`, 'content-type', 'application/json'];
  if (order.accept !== undefined) headers.push('accept', order.accept);
  const write = (chunk: Buffer | null): void => {
    if (chunk !== null && !response.write(chunk)) controller?.pause();
  };
  pool.dispatch({ path: upstream.path, method: upstream.method as Dispatcher.HttpMethod, headers, body: order.body, headersTimeout: upstream.timeout_ms, bodyTimeout: upstream.timeout_ms }, {
    onRequestStart(started) {
      controller = started;
      if (response.destroyed) started.abort(new Error('the client went away'));
    },
    onResponseStart(_controller, statusCode, received) {
      status = statusCode;
      if (statusCode < 200) return;
      inEvents = isEvents(received);
      response.writeHead(statusCode, headersFor(order, received));
    },
    onResponseData(_controller, chunk) {
      reader.see(chunk);
      write(stripper === null ? chunk : stripper.pass(chunk));
    },
    onResponseEnd() {
      write(stripper?.end() ?? null);
      response.end();
      finish({ kind: 'done', status, usage: reader.usage() });
    },
    onResponseError(_controller, error) {
      if (!over) finish({ kind: 'failed', inEvents, ...failed(error, upstream) });
    },
  });
}

type Received = Readonly<Record<string, string | string[] | undefined>>;

const isEvents = (received: Received): boolean => String(received['content-type'] ?? '').includes('event-stream');

function headersFor(order: ForwardOrder, received: Received): string[] {
  const headers: string[] = [];
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
