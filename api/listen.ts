// Opens the doors of the house: web, api and bus ports, and closes them gracefully.
import { type IncomingMessage, type RequestListener, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { begin, type Ports, type Reconciler } from '../reconciler/index.ts';
import { socketTokenOf, type Access } from './access.ts';
import { lacking, may, outOfReach, reaches } from './auth/somebody.ts';
import { makeApp } from './app.ts';
import { openBus } from './bus.ts';
import { openBusTalk } from './bus-talk.ts';
import { WAIT_MAX_MS } from './edit.ts';
import { isOwnOrigin, refuseHost } from './hosts.ts';
import { type Live, openLive } from './live.ts';
import { openMeter } from './meter.ts';
import { failure, refusalOf, writeRefusal } from './problem.ts';
import { openRate } from './rate.ts';
import type { House } from './route.ts';
import { type Sockets, openSockets, refuseUpgrade } from './sockets.ts';
import { tableOf } from './routes/table.ts';
import { writeError } from './v1/errors.ts';

/** Cookies and long bearer tokens fit; more is an attack on memory. */
const HEADER_MAX_BYTES = 16 * 1024;
const HEADERS_WITHIN_MS = 10_000;
/** 32 MiB over a line of 2 Mbit/s. */
const REQUEST_WITHIN_MS = 120_000;
/** Longer than what load balancers keep, so that they end a connection, not we under their request. */
const KEEP_ALIVE_MS = 65_000;
/** Without a byte in either direction for longer than any answer of the control plane may take, the client is gone. */
const SILENT_MAX_MS = WAIT_MAX_MS + 60_000;
/** Requests in flight may finish for so long when bkg goes down. */
const CLOSE_WITHIN_MS = 10_000;
/** A restart of bkg takes about so long. */
const BACK_AFTER_S = 5;

export type ListenOptions = {
  readonly reconciler: Reconciler;
  readonly host: string;
  /** Preferred; a taken one, or 0, becomes a free one. */
  readonly ports: { readonly web: number; readonly api: number; readonly bus: number };
  readonly access: Access;
  /** Answers what begins with /v1/; false: not one of its paths. */
  readonly dataPlane: (request: IncomingMessage, response: ServerResponse) => boolean | void;
  readonly log: Logger;
  readonly version: string;
};

export type Listening = {
  readonly ports: Ports;
  /** From now on new requests of people get 503; health answers and the bus goes on, for what is in flight may still need both. */
  retire(): void;
  close(): Promise<void>;
};

/** Opens all three ports. They are listening when this resolves. */
export async function listen(o: ListenOptions): Promise<Listening> {
  const house: House = { reconciler: o.reconciler, access: o.access, secure: false, log: o.log, version: o.version };
  const meter = openMeter(o.reconciler);
  const rate = openRate();
  const sockets = openSockets(o.log);
  const live = openLive(o.reconciler, { log: o.log, access: o.access });
  const talk = openBusTalk(o.reconciler, o.log);
  const ports: { -readonly [name in keyof Ports]: number | null } = { web: null, api: null, bus: null };
  const own = (): { readonly host: string; readonly ports: readonly (number | null)[] } => ({ host: o.host, ports: [ports.web, ports.api] });
  const appFor = (page: boolean): RequestListener => {
    const callback = makeApp({ house, own, table: tableOf(house, { meter, page }), meter, rate }).callback();
    return (request, response) => void callback(request, response);
  };
  const upgrade = controlUpgrade(o, { sockets, live, ports });
  const bus = openBus({ reconciler: o.reconciler, access: o.access, log: o.log, sockets, live, talk });
  const servers: Server[] = [];
  let retired = false;
  const open = async (name: keyof Ports, door: Door): Promise<void> => {
    const server = serverFor(o, door);
    servers.push(server);
    ports[name] = await bind(server, o.ports[name], o.host);
  };
  const close = async (): Promise<void> => {
    live.close();
    talk.close();
    await Promise.all([sockets.close(), ...servers.map(closeServer)]);
    meter.close();
  };
  try {
    await open('web', { request: controlRequests(o, appFor(true), () => retired), upgrade });
    await open('api', { request: controlRequests(o, appFor(false), () => retired), upgrade });
    await open('bus', { request: bus.request, upgrade: bus.upgrade });
  } catch (error) {
    await close();
    throw error;
  }
  return { ports, retire: () => { retired = true; }, close };
}

type Door = { readonly request: RequestListener; readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void };

function serverFor(o: ListenOptions, door: Door): Server {
  const server = createServer({
    maxHeaderSize: HEADER_MAX_BYTES, headersTimeout: HEADERS_WITHIN_MS, requestTimeout: REQUEST_WITHIN_MS, keepAliveTimeout: KEEP_ALIVE_MS, noDelay: true,
  });
  server.on('request', (request, response) => {
    const refusal = refuseHost(request.headers, o.host);
    if (!server.listening) response.setHeader('connection', 'close');
    if (refusal === null) door.request(request, response);
    else writeRefusal(response, refusal);
  });
  server.on('upgrade', (request, socket, head) => {
    const refusal = refuseHost(request.headers, o.host);
    if (refusal === null) door.upgrade(request, socket, head);
    else refuseUpgrade(socket, refusal);
  });
  return server;
}

const isDataPlane = (url: string): boolean => url.startsWith('/v1/') || url === '/v1';

const isHealth = (url: string): boolean => /^\/health(?:[/?]|$)/.test(url);

/** Whoever balances load asks the next one; whoever is a person tries again when bkg is back. */
function refuseLate(request: IncomingMessage, response: ServerResponse): void {
  const message = 'bkg is stopping and takes nothing new.';
  request.resume();
  response.setHeader('connection', 'close');
  if (isDataPlane(request.url ?? '')) writeError(response, { status: 503, code: 'stopping', message, retryAfter_s: BACK_AFTER_S });
  else writeRefusal(response, { status: 503, code: 'Stopping', detail: message, headers: { 'retry-after': String(BACK_AFTER_S) } });
}

/** The data plane does not pass through Koa: it costs more than the rest of the way together. */
function controlRequests(o: ListenOptions, app: RequestListener, isRetired: () => boolean): RequestListener {
  return (request, response) => {
    if (isRetired() && !isHealth(request.url ?? '')) return refuseLate(request, response);
    if (isDataPlane(request.url ?? '')) {
      // Its answers may be silent for as long as a model thinks; it keeps its own time.
      request.socket.setTimeout(0);
      if (o.dataPlane(request, response) !== false) return;
    }
    // Node cuts a silent connection nobody listens to; a listener of our own would be one more with each request on it.
    request.socket.setTimeout(SILENT_MAX_MS);
    app(request, response);
  };
}

/** Path and rights first, then the handshake: a refused upgrade gets an HTTP answer. */
function controlUpgrade(o: ListenOptions, about: { readonly sockets: Sockets; readonly live: Live; readonly ports: Ports }): Door['upgrade'] {
  return (request, socket, head) => {
    // Nobody else listens until it is a WebSocket.
    socket.on('error', () => undefined);
    const refuse = (error: unknown): void => refuseUpgrade(socket, refusalOf(error, o.log));
    begin(async () => {
      const url = new URL(request.url ?? '/', 'http://api');
      const found = /^\/ws\/plugins(?:\/([^/]+))?\/?$/.exec(url.pathname);
      if (found === null) throw failure({ status: 404, code: 'NotFound', detail: `There is no WebSocket at ${url.pathname}; it is at /ws/plugins.` });
      const own = { host: o.host, ports: [about.ports.web, about.ports.api] };
      if (!isOwnOrigin(request.headers, own)) throw failure({ status: 403, code: 'OriginForeign', detail: 'This page is not one of this appliance, so it may not open a live connection.' });
      const identity = await o.access.ofRequest(request, own, socketTokenOf(request, url.searchParams));
      if (identity.kind === 'nobody') throw failure(identity.refusal);
      const { who } = identity;
      if (!may(who, 'config.read')) throw failure(lacking(who, 'config.read'));
      const plugin = found[1] ?? null;
      if (plugin !== null && !o.reconciler.snapshot().plugins.some((known) => known.id === plugin)) throw failure({ status: 404, code: 'PluginUnknown', detail: `There is no plugin ${plugin} in bkg.yaml.` });
      if (plugin !== null && !reaches(who, plugin)) throw failure(outOfReach(who, plugin));
      // While it was found out who it is, the peer may have gone.
      if (socket.destroyed) return;
      (socket as Duplex & { setTimeout?: (ms: number) => void }).setTimeout?.(0);
      about.sockets.upgrade(request, socket, { head, connect: about.live.connect({ plugin, who: identity, topics: plugin === null ? [] : ['status', 'telemetry', 'models', 'logs', 'events'] }) });
    }, refuse);
  };
}

/** The port it listens on in the end. */
async function bind(server: Server, preferred: number, host: string): Promise<number> {
  const attempt = (port: number): Promise<number> => new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host, exclusive: true }, () => {
      server.removeListener('error', reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
  return attempt(preferred).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE' || preferred === 0) throw error;
    return attempt(0);
  });
}

/** Takes nothing new, lets what is in flight finish within its time, then cuts. */
function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    if (!server.listening) return resolve();
    const timer = setTimeout(() => server.closeAllConnections(), CLOSE_WITHIN_MS);
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}
