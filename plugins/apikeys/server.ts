// The HTTP server: one route for each thing to be done, each done by bkg over the bus for whoever called.
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { log } from './log.ts';

/** A key with every setting it can have is a few kilobytes. */
const BODY_MAX_BYTES = 256 * 1024;
/** bkg's own answer takes milliseconds, a password half a second; a file on a slow disk more. */
const ANSWER_WITHIN_MS = 60_000;
const COME_AGAIN_S = 1;
/** Stands for whoever called, while their call lasts. */
const CALLER = 'x-bkg-caller';

export type Bus = { readonly url: string; readonly token: string };
type Input = Readonly<Record<string, unknown>>;
type Failure = Error & { readonly status: number; readonly code: string };

const fail = (status: number, code: string, detail: string): Failure => Object.assign(new Error(detail), { status, code });
const isFailure = (error: unknown): error is Failure => error instanceof Error && 'status' in error;

/** Route → what bkg is asked for, and the input where it is not passed on as it comes. */
const ROUTES: ReadonlyMap<string, { readonly call: string; readonly input?: (input: Input) => Input }> = new Map([
  ['/login', { call: 'house.login' }],
  ['/create', { call: 'house.createKey' }],
  ['/rotate', { call: 'house.rotateKey' }],
  ['/revoke', { call: 'house.revokeKey' }],
  ['/list', { call: 'house.listKeys' }],
  ['/validate', { call: 'house.validate' }],
  // The audit log has much else in it.
  ['/audit', { call: 'house.audit', input: (input: Input): Input => ({ action: 'key.', ...input }) }],
]);

export function openServer(bus: Bus, inbound: string): Server {
  const server = createServer((request, response) => {
    answer(request, response, { bus, inbound }).catch((error: unknown) => {
      if (response.destroyed) return;
      // Neither what was sent nor what came back is written down: both hold secrets.
      if (!isFailure(error)) log('error', 'a request failed', { url: request.url, error: String(error) });
      writeFailure(response, isFailure(error) ? error : fail(500, 'Internal', 'apikeys made a mistake; its log says more.'));
    });
    // Told to finish, a connection that is done must not be kept for a next request.
    response.on('close', () => { if (!server.listening) setImmediate(() => server.closeIdleConnections()); });
  });
  return server;
}

async function answer(request: IncomingMessage, response: ServerResponse, { bus, inbound }: { readonly bus: Bus; readonly inbound: string }): Promise<void> {
  const path = (request.url ?? '').split('?')[0] ?? '';
  if (path === '/health') return void response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"ok"}');
  if (!isRight(request.headers.authorization, inbound)) throw fail(401, 'TokenWrong', 'This port answers its appliance only. Ask the gateway.');
  const route = ROUTES.get(path);
  if (route === undefined) throw fail(404, 'NotFound', `There is no ${path} here.`);
  if (request.method !== 'POST') throw fail(405, 'MethodNotAllowed', `${path} takes POST.`);
  const input = await readInput(request);
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const caller = request.headers[CALLER];
  const reply = await ask(bus, route.call, { input: route.input?.(input) ?? input, caller: typeof caller === 'string' ? caller : null, signal: gone.signal });
  response.writeHead(reply.status, reply.headers).end(reply.body);
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
const isRight = (header: string | undefined, inbound: string): boolean => timingSafeEqual(digest(header ?? ''), digest(`Bearer ${inbound}`));

type Reply = { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: Buffer };
type Question = { readonly input: Input; readonly caller: string | null; readonly signal: AbortSignal };

/** What bkg answers, as it is: its refusals say more than words of ours would. */
async function ask(bus: Bus, call: string, o: Question): Promise<Reply> {
  try {
    return await post(bus, call, o);
  } catch (error) {
    if (!o.signal.aborted) log('warn', 'bkg did not answer on its bus', { call, error: String(error) });
    // Nothing is guessed: a key that cannot be looked at is neither right nor wrong.
    throw fail(503, 'BusUnreachable', 'bkg did not answer on its bus, so nothing can be said or done. Try again in a moment.');
  }
}

// Not fetch: it refuses ports that browsers take for other protocols, and the bus may be on one of them.
function post(bus: Bus, call: string, { input, caller, signal }: Question): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${bus.token}`, 'content-type': 'application/json', ...(caller === null ? {} : { [CALLER]: caller }) };
    // A connection of its own: a kept one may have died with the bkg before.
    const sent = httpRequest(`${bus.url}/invoke/${call}`, { method: 'POST', agent: false, headers, signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_WITHIN_MS)]) }, (reply) => {
      const chunks: Buffer[] = [];
      reply.on('data', (chunk: Buffer) => { chunks.push(chunk); });
      reply.on('error', reject);
      reply.on('end', () => {
        const passed = ['content-type', 'retry-after'].flatMap((name) => { const value = reply.headers[name]; return typeof value === 'string' ? [[name, value] as const] : []; });
        resolve({ status: reply.statusCode ?? 0, headers: { ...Object.fromEntries(passed), 'cache-control': 'no-store' }, body: Buffer.concat(chunks) });
      });
    });
    sent.on('error', reject);
    sent.end(JSON.stringify(input));
  });
}

async function readInput(request: IncomingMessage): Promise<Input> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_MAX_BYTES) throw fail(413, 'BodyTooLarge', `The body may have ${BODY_MAX_BYTES} bytes at most.`);
    chunks.push(chunk);
  }
  let value: unknown = {};
  try {
    if (size > 0) value = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw fail(400, 'MalformedJson', 'The body is not valid JSON.');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw fail(422, 'InputInvalid', 'The body must be a JSON object.');
  return value as Input;
}

function writeFailure(response: ServerResponse, { status, code, message }: Failure): void {
  if (response.headersSent) return void response.destroy();
  const headers = { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...(status === 503 ? { 'retry-after': String(COME_AGAIN_S) } : {}), ...(status === 413 ? { connection: 'close' } : {}) };
  response.writeHead(status, headers).end(JSON.stringify({ type: 'about:blank', status, code, detail: message }));
}
