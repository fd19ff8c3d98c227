// The three proxies of the bench, each in a process of its own: bare undici dispatch, the same work in Koa, and ours.
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import Router from '@koa/router';
import Koa from 'koa';
import { pino } from 'pino';
import { Pool, request } from 'undici';
import { admit } from '../../api/limits.ts';
import { openAccess } from '../../api/access.ts';
import { dataPlane } from '../../api/v1/gateway.ts';
import { usageReader } from '../../api/v1/stream.ts';
import { openTraffic, type Reconciler, type Route, type Snapshot } from '../../reconciler/index.ts';

const [kind, upstream] = [process.argv[2], Number(process.argv[3])];
const TOKEN = 'bench-token';

/** What a proxy must do at the least: the body there, the answer back, chunk by chunk. */
function bare(): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  const pool = new Pool(`http://127.0.0.1:${upstream}`, { connections: null });
  return (incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      let control: { pause(): void; resume(): void } | null = null;
      pool.dispatch({ path: incoming.url ?? '/', method: 'POST', headers: ['content-type', 'application/json'], body: Buffer.concat(chunks) }, {
        onRequestStart(controller) { control = controller; outgoing.on('drain', () => controller.resume()); },
        onResponseStart(_controller, status, headers) { outgoing.writeHead(status, headers as Record<string, string>); },
        onResponseData(_controller, chunk) { if (!outgoing.write(chunk)) control?.pause(); },
        onResponseEnd() { outgoing.end(); },
        onResponseError() { outgoing.destroy(); },
      });
    });
  };
}

/** The same work as ours written as one writes it in Koa: router, key check, limits, parsed body, accounting from the answer's end. */
function koa(): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  const app = new Koa();
  const router = new Router();
  const accounts = new Map<string, { requests: number; tokens: number }>();
  app.use(async (context, next) => {
    const who = await access.ofRequest(context.req, OWN);
    if (who.kind === 'nobody') context.throw(who.refusal.status, who.refusal.detail);
    await next();
  });
  router.post('/v1/chat/completions', async (context) => {
    const chunks: Buffer[] = [];
    for await (const chunk of context.req) chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    const asked = JSON.parse(bytes.toString()) as { readonly model: string };
    const admitted = admit({ plugin: 'engine', capability, limits });
    if (!admitted.ok) context.throw(429, admitted.message);
    const answer = await request(`http://127.0.0.1:${upstream}${context.path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: bytes });
    context.status = answer.statusCode;
    for (const name of ['content-type', 'content-length']) if (answer.headers[name] !== undefined) context.set(name, String(answer.headers[name]));
    const reader = usageReader();
    context.body = answer.body.on('data', (chunk: Buffer) => reader.see(chunk)).on('end', () => {
      if (admitted.ok) admitted.release();
      const account = accounts.get(asked.model) ?? { requests: 0, tokens: 0 };
      accounts.set(asked.model, { requests: account.requests + 1, tokens: account.tokens + (reader.usage()?.completionTokens ?? 0) });
    });
  });
  app.use(router.routes());
  return app.callback();
}

const limits = { requestsPerMinute: 100_000_000, concurrent: 10_000 };
const capability = { id: 'llm.chat', method: 'POST', path: '/v1/chat/completions', description: '', stream: true, input: null, output: null, limits };

const OWN = { host: '127.0.0.1', ports: [] };

/** The real data plane with key check, limits and accounting on, before a world of one ready plugin. */
function ours(): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  return dataPlane({ reconciler, access, own: () => OWN, log: pino({ level: 'warn' }) }).listener;
}

function world(): Reconciler {
  const route: Route = { plugin: 'engine', state: 'ready', incarnation: 'i', port: upstream, inbound: 'inbound', capabilities: [capability], models: [{ name: 'bench', role: 'chat', serves: ['llm.chat'], state: 'served' }], limits, timeout_ms: 300_000, grants: [], why: null };
  const snapshot = { routes: [route], file: { valid: true, revision: 'r', inForce: 'r' }, desired: { users: [], keys: [] } } as unknown as Snapshot;
  return {
    snapshot: () => snapshot, subscribe: () => () => undefined, lease: openTraffic(() => performance.now(), () => undefined).lease,
    account: () => undefined, derive: () => randomBytes(32), sessions: () => [], saveSessions: () => undefined,
  } as unknown as Reconciler;
}

const reconciler = world();
const access = await openAccess({ reconciler, adminToken: TOKEN, env: {} });

const listener = kind === 'bare' ? bare() : kind === 'koa' ? koa() : ours();
const server = createServer(listener);
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as { readonly port: number }).port }));
