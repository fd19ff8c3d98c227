// Puts servers on their ports and takes them off again: the wanted port or a free one, and this machine always among those who reach it.
import type { Server } from 'node:http';
import { createServer, type AddressInfo, type Server as Gate } from 'node:net';
import { isAnyHost, isLoopbackHost, nearHost } from '../schema/addresses.ts';

/** Requests in flight may finish for so long when bkg goes down. */
const CLOSE_WITHIN_MS = 10_000;
/** A free port of one address is rarely taken on another; so often in a row never. */
const TRIES = 8;

export type Bound = { readonly port: number; readonly close: () => Promise<void> };

/**
 * Listens on `host`. The admin token is good on loopback only, so a server on one address of the network is there as well: at the same
 * port, through a gate that hands its connections over.
 */
export async function bind(server: Server, preferred: number, host: string): Promise<Bound> {
  const gate = isLoopbackHost(host) || isAnyHost(host) ? null : createServer({ noDelay: true, allowHalfOpen: true }, (socket) => { server.emit('connection', socket); });
  for (let tried = 1; ; tried += 1) {
    // The wanted port once, then any.
    const wanted = tried === 1 ? preferred : 0;
    try {
      const port = gate === null ? wanted : await attempt(gate, wanted, nearHost(host));
      return { port: await attempt(server, port, host), close: async () => { await Promise.all([gate === null ? null : closeGate(gate), closeServer(server)]); } };
    } catch (error) {
      if (gate !== null) await closeGate(gate);
      const taken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE' && (wanted !== 0 || gate !== null);
      if (!taken || tried === TRIES) throw error;
    }
  }
}

function attempt(server: Server | Gate, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host, exclusive: true }, () => {
      server.removeListener('error', reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/** Its connections are the server's, which ends them. */
function closeGate(gate: Gate): Promise<void> {
  return new Promise((resolve) => {
    if (!gate.listening) return resolve();
    gate.close(() => resolve());
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
