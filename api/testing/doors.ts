// Opens the doors over a house in memory for one test, speaks HTTP and WebSocket to them, and closes everything.
import { createServer, request as httpRequest, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { WebSocket } from 'undici';
import { openAccess, type Access } from '../access.ts';
import { type ListenOptions, listen } from '../listen.ts';
import { type HouseSpec, type TestHouse, makeHouse } from './house.ts';

export const TOKEN = 'the-admin-token-of-this-test';
/** Generous: the machine may be busy with other tests. */
const ANSWER_WITHIN_MS = 20_000;

export type Reply = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string; readonly body: Record<string, unknown> };
export type Send = { readonly method?: string; readonly headers?: Readonly<Record<string, string>>; readonly body?: string; readonly token?: string | null; readonly door?: 'web' | 'api' | 'bus' };

export type Doors = TestHouse & {
  readonly ports: { readonly web: number; readonly api: number; readonly bus: number };
  readonly access: Access;
  /** Lines bkg logged, as JSON. */
  readonly logged: string[];
  send(path: string, o?: Send): Promise<Reply>;
  socket(path: string, o?: { readonly token?: string | null; readonly door?: 'web' | 'api' | 'bus'; readonly headers?: Readonly<Record<string, string>>; readonly protocols?: readonly string[] }): Promise<TestSocket>;
  /** What web and api show, as PEM. */
  certificate(): string | null;
  trouble(): string | null;
  retire(): void;
  close(): Promise<void>;
};

export type TestSocket = {
  readonly frames: Record<string, unknown>[];
  say(frame: unknown): void;
  /** The first frame that fits; waits for it. */
  next(fits: (frame: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>;
  readonly closed: Promise<number>;
  readonly protocol: string;
  close(): void;
};

/** Sends one request on a connection of its own, with exactly these headers. */
export function send(port: number, path: string, o: Send = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const authorization = o.token === null ? {} : { authorization: `Bearer ${o.token ?? TOKEN}` };
    const sent = httpRequest({ host: '127.0.0.1', port, path, method: o.method ?? 'GET', agent: false, headers: { ...authorization, ...o.headers } }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => { text += chunk; });
      response.on('error', reject);
      response.on('end', () => {
        const isJson = /json/.test(response.headers['content-type'] ?? '');
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, body: isJson && text !== '' ? (JSON.parse(text) as Record<string, unknown>) : {} });
      });
    });
    sent.on('error', reject);
    sent.setTimeout(ANSWER_WITHIN_MS, () => sent.destroy(new Error(`no answer from ${path}`)));
    sent.end(o.body);
  });
}

export async function openDoors(spec: HouseSpec = {}, more: Partial<ListenOptions> = {}): Promise<Doors> {
  const house = makeHouse(spec);
  const logged: string[] = [];
  const access = await openAccess({ reconciler: house.reconciler, adminToken: TOKEN, env: {} });
  const listening = await listen({
    reconciler: house.reconciler, host: '127.0.0.1', ports: { web: 0, api: 0, bus: 0 }, access, hub: { search: () => Promise.resolve([]) }, version: '9.9.9', dataPlane: () => false,
    log: pino({ level: 'info' }, { write: (line: string) => { logged.push(line); } }), ...more,
  });
  const ports = listening.ports as Doors['ports'];
  return {
    ...house, access, ports, logged, certificate: () => listening.certificate?.shown() ?? null, trouble: () => listening.certificate?.trouble() ?? null, retire: listening.retire, close: listening.close,
    send: (path, o = {}) => send(ports[o.door ?? 'api'], path, o),
    socket: (path, o = {}) => openSocket(`ws://127.0.0.1:${ports[o.door ?? 'api']}${path}`, o),
  };
}

async function openSocket(url: string, o: { readonly token?: string | null; readonly headers?: Readonly<Record<string, string>>; readonly protocols?: readonly string[] }): Promise<TestSocket> {
  const authorization = o.token === null ? {} : { authorization: `Bearer ${o.token ?? TOKEN}` };
  const socket = new WebSocket(url, { headers: { ...authorization, ...o.headers }, protocols: [...(o.protocols ?? [])] });
  const frames: Record<string, unknown>[] = [];
  const waiting = new Set<() => void>();
  const closed = new Promise<number>((resolve) => { socket.addEventListener('close', (event) => resolve(event.code)); });
  socket.addEventListener('message', (event) => {
    frames.push(JSON.parse(String(event.data)) as Record<string, unknown>);
    for (const look of waiting) look();
  });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve());
    socket.addEventListener('error', () => reject(new Error(`${url} was refused`)));
  });
  return {
    frames, closed, protocol: socket.protocol,
    say: (frame) => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    next: (fits) => new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no such frame among ${JSON.stringify(frames.slice(-10))}`)), ANSWER_WITHIN_MS);
      const look = (): void => {
        const found = frames.find(fits);
        if (found === undefined) return;
        clearTimeout(timer);
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
    }),
    close: () => socket.close(),
  };
}

/** A plugin's process, as far as the doors see it: an HTTP server on loopback. */
export async function openPlugin(listener: RequestListener): Promise<{ readonly port: number; readonly server: Server; close(): Promise<void> }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    server, port: (server.address() as AddressInfo).port,
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}

/** Waits until something holds. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  const end = performance.now() + ANSWER_WITHIN_MS;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`it never came about: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
