// Turns upgrade requests into WebSockets: one place that wraps every callback, keeps them alive and ends them.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import Koa from 'koa';
import koaWebsocket from 'koa-websocket';
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';
import { chooseProtocol } from './access.ts';
import { rawRefusal } from './problem.ts';

/** A frame of a client is a wish or a line of log; bigger things go over HTTP. */
const FRAME_MAX_BYTES = 256 * 1024;
/** Each holds a buffer and a subscription; a browser tab opens one. */
const SOCKETS_MAX = 512;
/** Long enough for a phone, short enough to notice a dead peer before proxies do. */
const PING_EVERY_MS = 30_000;
/** A peer that does not answer the close frame is cut off. */
const CLOSE_WITHIN_MS = 2_000;

export type Connect = (socket: WebSocket) => { readonly message: (text: string) => void | Promise<void>; readonly closed: () => void };

export type Sockets = {
  readonly upgrade: (request: IncomingMessage, socket: Duplex, o: { readonly head: Buffer; readonly connect: Connect }) => void;
  /** 1001 to everybody; resolves when all are gone. */
  readonly close: () => Promise<void>;
};

/** Ends a socket: asks first, cuts off when the peer does not answer. */
export function endSocket(socket: WebSocket, code: number, reason: string): void {
  if (socket.readyState === socket.CLOSED) return;
  socket.close(code, reason);
  setTimeout(() => socket.terminate(), CLOSE_WITHIN_MS).unref();
}

export function openSockets(log: Logger): Sockets {
  const app = koaWebsocket(new Koa());
  const connects = new WeakMap<IncomingMessage, Connect>();
  app.ws.use((context) => {
    const connect = connects.get(context.req);
    if (connect !== undefined) run(context.websocket, connect, log);
  });
  app.ws.listen({ noServer: true, maxPayload: FRAME_MAX_BYTES, handleProtocols: chooseProtocol, clientTracking: true, perMessageDeflate: false });
  const server = app.ws.server;
  if (server === undefined) throw new Error('koa-websocket made no server');
  return {
    upgrade(request, socket, { head, connect }) {
      if (server.clients.size >= SOCKETS_MAX) {
        refuseUpgrade(socket, { status: 503, code: 'TooManySockets', detail: `More than ${SOCKETS_MAX} live connections. Close some.` });
        return;
      }
      connects.set(request, connect);
      server.handleUpgrade(request, socket, head, (made) => server.emit('connection', made, request));
    },
    async close() {
      const open = [...server.clients];
      await Promise.all(open.map((socket) => new Promise<void>((resolve) => {
        socket.once('close', () => resolve());
        if (socket.readyState === socket.CLOSED) resolve();
        endSocket(socket, 1001, 'bkg is going down');
      })));
      server.close();
    },
  };
}

/** Answers an upgrade with a problem and ends the connection. */
export function refuseUpgrade(socket: Duplex, refusal: Parameters<typeof rawRefusal>[0]): void {
  socket.on('error', () => undefined);
  socket.end(rawRefusal(refusal));
}

function run(socket: WebSocket, connect: Connect, log: Logger): void {
  // koa-websocket leaves a socket open when a callback throws, and an error in a listener would end the process.
  const guarded = (work: () => void | Promise<void>): void => {
    const failed = (error: unknown): void => {
      log.error({ err: error }, 'a live connection failed by a mistake of bkg');
      endSocket(socket, 1011, 'internal error');
    };
    try {
      void Promise.resolve(work()).catch(failed);
    } catch (error) {
      failed(error);
    }
  };
  let alive = true;
  const ping = setInterval(() => {
    if (!alive) socket.terminate();
    alive = false;
    if (socket.readyState === socket.OPEN) socket.ping();
  }, PING_EVERY_MS);
  ping.unref();
  socket.on('pong', () => { alive = true; });
  guarded(() => {
    const wired = connect(socket);
    socket.on('message', (data, isBinary) => guarded(() => wired.message(isBinary ? '' : String(data as Buffer))));
    socket.on('close', () => {
      clearInterval(ping);
      guarded(wired.closed);
    });
  });
}
