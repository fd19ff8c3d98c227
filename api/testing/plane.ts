// Opens the data plane over a house in memory for one test: routes set by the test, leases counted, a real server in front.
import { createServer, request as httpRequest, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import * as assert from 'uvu/assert';
import type { Reconciler, Route, Snapshot } from '../../reconciler/index.ts';
import { openAccess } from '../access.ts';
import { dataPlane, type Gateway } from '../v1/gateway.ts';
import { openPlugin, TOKEN } from './doors.ts';
import { capability, makeHouse, type TestHouse } from './house.ts';

export const chat = capability('llm.chat', { path: '/v1/chat/completions', stream: true });

let planes = 0;

/** A plugin's name no other test of this process has: limits are remembered by name. */
export const freshName = (): string => `engine-${(planes += 1)}`;

export const routeTo = (port: number | null, more: Partial<Route> = {}): Route => ({
  plugin: freshName(), state: 'ready', incarnation: 'inc', port, inbound: 'inbound-token', capabilities: [chat],
  models: [{ name: 'small', role: 'chat', serves: ['llm.chat'], state: 'served' }], limits: { requestsPerMinute: null, concurrent: null }, timeout_ms: 10_000, grants: [], why: null, ...more,
});

export type CountedLease = { readonly plugin: string; /** Where it was, in turn; null: waiting. */ readonly at: (string | null)[]; ends: number; error: string | null };
export type Account = { readonly key: string; readonly plugin: string; requests: number; errors: number; promptTokens: number; completionTokens: number; latency_ms: number };
export type Plane = {
  readonly house: TestHouse;
  readonly gateway: Gateway;
  readonly port: number;
  /** Every lease taken, and how often it was ended. */
  readonly leases: CountedLease[];
  /** What was used, by whom and of which plugin. */
  usage(): readonly Account[];
  show(routes: readonly Route[]): void;
  close(): Promise<void>;
};

export async function openPlane(first: readonly Route[]): Promise<Plane> {
  const house = makeHouse();
  const leases: CountedLease[] = [];
  let snapshot: Snapshot = { ...house.reconciler.snapshot(), routes: first };
  const reconciler: Reconciler = {
    ...house.reconciler,
    snapshot: () => snapshot,
    lease(plugin, at) {
      const lease: CountedLease = { plugin, at: [at], ends: 0, error: null };
      leases.push(lease);
      return {
        at(incarnation) {
          if (lease.at.at(-1) !== incarnation) lease.at.push(incarnation);
        },
        end(outcome) {
          lease.ends += 1;
          lease.error = outcome.error;
        },
      };
    },
  };
  const access = await openAccess({ reconciler, adminToken: TOKEN, env: {} });
  const gateway = dataPlane({ reconciler, access, own: () => ({ host: '127.0.0.1', ports: [] }), log: pino({ level: 'silent' }) });
  const server = createServer((request, response) => gateway.listener(request, response));
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    house, gateway, leases, port: (server.address() as AddressInfo).port,
    usage() {
      const accounts = new Map<string, Account>();
      for (const event of house.accounts) {
        const key = event.key ?? event.user;
        const account = accounts.get(`${key} ${event.plugin}`) ?? { key, plugin: event.plugin, requests: 0, errors: 0, promptTokens: 0, completionTokens: 0, latency_ms: 0 };
        accounts.set(`${key} ${event.plugin}`, account);
        account.requests += 1;
        if (event.status >= 500) account.errors += 1;
        account.promptTokens += event.promptTokens;
        account.completionTokens += event.completionTokens;
        account.latency_ms += event.latency_ms;
      }
      return [...accounts.values()];
    },
    show(routes) {
      snapshot = { ...snapshot, seq: snapshot.seq + 1, routes };
      house.publish({ type: 'snapshot', snapshot });
    },
    async close() {
      const closed = new Promise<void>((resolve) => { server.close(() => resolve()); });
      server.closeAllConnections();
      await closed;
      await gateway.close();
    },
  };
}

export type Seen = { readonly authorization: string | undefined; readonly path: string; readonly text: string; readonly body: Record<string, unknown> };
export type Engine = Awaited<ReturnType<typeof openEngine>>;

/** An engine that writes down what it was asked and answers as the test says. */
export async function openEngine(answer: (response: ServerResponse, seen: Seen, request: IncomingMessage) => void) {
  const seen: Seen[] = [];
  const plugin = await openPlugin((request, response) => {
    let text = '';
    request.setEncoding('utf8');
    request.on('data', (chunk: string) => { text += chunk; });
    request.on('end', () => {
      const one = { authorization: request.headers.authorization, path: request.url ?? '', text, body: JSON.parse(text) as Record<string, unknown> };
      seen.push(one);
      answer(response, one, request);
    });
  });
  return { ...plugin, seen };
}

export const answerJson = (response: ServerResponse, body: unknown, status = 200): void => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
};

export type Heard = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly bytes: Buffer; /** The connection ended before the answer did. */ readonly broken: boolean };

/** Asks with exactly this body; a broken answer is told, not thrown. */
export function say(port: number, body: unknown, o: { readonly path?: string; readonly onRequest?: (request: ClientRequest) => void; readonly onChunk?: (chunk: Buffer) => void } = {}): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ host: '127.0.0.1', port, path: o.path ?? '/v1/chat/completions', method: 'POST', agent: false, headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' } }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        o.onChunk?.(chunk);
      });
      // The break itself is told by `complete`.
      response.on('error', () => undefined);
      response.on('close', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes: Buffer.concat(chunks), broken: !response.complete }));
    });
    sent.on('error', reject);
    o.onRequest?.(sent);
    sent.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
}

export const parsed = (heard: Heard): Record<string, unknown> => JSON.parse(heard.bytes.toString('utf8')) as Record<string, unknown>;

export const QUESTION = { messages: [{ role: 'user', content: 'hello' }] };
export const model = (name: string, serves = ['llm.chat'], state: Route['models'][number]['state'] = 'served'): Route['models'][number] => ({ name, role: 'chat', serves, state });
export const errorOf = (text: string): Record<string, unknown> => (JSON.parse(text) as { error: Record<string, unknown> }).error;

type Made = { readonly engine: Engine; readonly plane: Plane };
type Wanted = { readonly routes: (port: number) => readonly Route[]; readonly answer?: Parameters<typeof openEngine>[0] };

/** An engine that says who was asked for what, unless told otherwise; everything is closed after the test. */
export async function withPlane(wanted: Wanted, run: (made: Made) => Promise<void>): Promise<void> {
  const engine = await openEngine(wanted.answer ?? ((response, seen) => answerJson(response, { model: seen.body['model'] ?? null, as: seen.authorization, usage: { prompt_tokens: 3, completion_tokens: 4 } })));
  const plane = await openPlane(wanted.routes(engine.port));
  try {
    await run({ engine, plane });
    assert.ok(plane.leases.every((lease) => lease.ends === 1), `every lease is ended once: ${JSON.stringify(plane.leases)}`);
  } finally {
    await plane.close();
    await engine.close();
  }
}
