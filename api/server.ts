// One server of the house, HTTP or HTTPS: the names it answers to, and its bounds against clients that are slow, large or malformed.
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerOptions } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { type Called, refuseHost } from './hosts.ts';
import { type Refusal, writeRefusal } from './problem.ts';
import { secure } from './security.ts';
import { refuseUpgrade } from './sockets.ts';
import type { Certificate } from './tls.ts';

/** Cookies and long bearer tokens fit; more is an attack on memory. */
const HEADER_MAX_BYTES = 16 * 1024;
/** Longer than what load balancers keep, so that they end a connection, not we under their request. */
const KEEP_ALIVE_MS = 65_000;

/** How long clients may take. */
export type Patience = {
  /** For the handshake, and again for the headers. */
  readonly headers_ms: number;
  /** For the whole request. */
  readonly request_ms: number;
  /** How late it may be noticed. */
  readonly look_ms: number;
};
/** Headers are some hundred bytes: ten seconds are enough for every line. 32 MiB take two minutes at 2 Mbit/s. */
export const PATIENCE: Patience = { headers_ms: 10_000, request_ms: 120_000, look_ms: 2_000 };

export type Door = { readonly request: RequestListener; readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void };
export type ServerWishes = { readonly called: () => Called; readonly certificate: Certificate | null; readonly patience: Patience };

export function serverFor(door: Door, o: ServerWishes): Server {
  const server = made(o);
  const refuse = (request: IncomingMessage): Refusal | null => refuseForm(request) ?? refuseHost(request.headers, o.called());
  server.on('request', (request, response) => {
    if (!server.listening) response.setHeader('connection', 'close');
    const refusal = refuse(request);
    if (refusal === null) return door.request(request, response);
    secure(request, response, { tls: o.certificate !== null, bare: false });
    writeRefusal(response, refusal);
  });
  server.on('upgrade', (request, socket, head) => {
    const refusal = refuse(request);
    if (refusal === null) door.upgrade(request, socket, head);
    else refuseUpgrade(socket, refusal);
  });
  return server;
}

/** What node's parser lets through although another one before or behind it may read it otherwise. */
function refuseForm(request: IncomingMessage): Refusal | null {
  const encoding = request.headers['transfer-encoding'];
  const wrong = request.httpVersionMajor !== 1 ? `HTTP/${request.httpVersion} is not spoken here`
    : encoding !== undefined && (encoding.toLowerCase() !== 'chunked' || request.httpVersionMinor === 0) ? 'of transfer encodings only chunked is known, from HTTP/1.1 on'
    : hasTwoHosts(request.rawHeaders) ? 'it names more than one host' : null;
  // What follows on the connection may be part of it.
  return wrong === null ? null : { status: 400, code: 'RequestMalformed', detail: `The request is not one: ${wrong}.`, headers: { connection: 'close' } };
}

/** Of several node keeps the first and says nothing. */
function hasTwoHosts(raw: readonly string[]): boolean {
  let found = 0;
  for (let at = 0; at < raw.length; at += 2) if (raw[at]!.length === 4 && raw[at]!.toLowerCase() === 'host') found += 1;
  return found > 1;
}

function made({ certificate, patience }: ServerWishes): Server {
  const options: ServerOptions = {
    maxHeaderSize: HEADER_MAX_BYTES, headersTimeout: patience.headers_ms, requestTimeout: patience.request_ms, connectionsCheckingInterval: patience.look_ms, keepAliveTimeout: KEEP_ALIVE_MS, noDelay: true,
    // Whatever NODE_OPTIONS says: what two parsers read differently is a request within a request.
    insecureHTTPParser: false, requireHostHeader: true,
    // Java's client offers h2c with each first request: it gets its answer in HTTP/1.1, and no tunnel.
    shouldUpgradeCallback: (request) => request.headers.upgrade?.toLowerCase() === 'websocket',
  };
  if (certificate === null) return createServer(options);
  const server = createSecureServer({ ...options, ...certificate.now(), ALPNProtocols: ['http/1.1'], handshakeTimeout: patience.headers_ms });
  certificate.keep(server);
  return server;
}
