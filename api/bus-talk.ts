// JSON-RPC 2.0 with plugins over the bus socket: what they say of themselves, and what they are told.
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';
import type { Desired, JsonObject, Reconciler, Snapshot } from '../reconciler/index.ts';
import { validateWire } from '../schema/validate.ts';
import type { BusMessage, RpcId } from '../schema/wire.gen.ts';
import { endSocket, type Connect } from './sockets.ts';

/** Above this many unsent bytes a plugin does not read at all: it is cut off and may come again. */
const UNSENT_MAX_BYTES = 2 ** 20;
/** Codes of JSON-RPC 2.0. */
const PARSE_ERROR = -32_700;
const INVALID_REQUEST = -32_600;

export type BusTalk = {
  readonly connect: (caller: { readonly plugin: string; readonly incarnation: string }) => Connect;
  readonly close: () => void;
};

type Peer = {
  readonly socket: WebSocket;
  readonly plugin: string;
  readonly incarnation: string;
  /** What the peer runs with, so that it is told of news only. */
  launchHash: string | null;
  configHash: string | null;
};

const desiredOf = (snapshot: Snapshot, plugin: string): Desired['plugins'][number] | undefined => snapshot.desired.plugins.find((known) => known.id === plugin);

export function openBusTalk(reconciler: Reconciler, log: Logger): BusTalk {
  const peers = new Set<Peer>();
  const stop = reconciler.subscribe((event) => {
    if (event.type === 'snapshot') for (const peer of peers) keepUp(peer, event.snapshot);
  });

  /** Tells a peer of settings it does not have yet. */
  function keepUp(peer: Peer, snapshot: Snapshot): void {
    const plugin = desiredOf(snapshot, peer.plugin);
    const changed = plugin !== undefined && plugin.configHash !== peer.configHash;
    // A change that needs a new process is not told: the process ends over it.
    if (changed && plugin.launchHash === peer.launchHash) notify(peer, 'config.changed', { revision: snapshot.desired.revision, config: plugin.config });
    if (plugin === undefined || !changed) return;
    peer.configHash = plugin.configHash;
    peer.launchHash = plugin.launchHash;
  }

  return {
    connect: (caller) => (socket) => {
      const plugin = desiredOf(reconciler.snapshot(), caller.plugin);
      const peer: Peer = { socket, ...caller, launchHash: plugin?.launchHash ?? null, configHash: plugin?.configHash ?? null };
      peers.add(peer);
      return {
        message: (text) => hear(text, peer),
        closed: () => { peers.delete(peer); },
      };
    },
    close: stop,
  };

  function hear(text: string, peer: Peer): void {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return send(peer, { jsonrpc: '2.0', id: null, error: { code: PARSE_ERROR, message: 'A message must be JSON text.' } });
    }
    const problems = validateWire('busMessage', value);
    if (problems.length > 0) {
      return send(peer, { jsonrpc: '2.0', id: idOf(value), error: { code: INVALID_REQUEST, message: problems[0]!.message, data: problems } });
    }
    const message = value as BusMessage;
    const result = obey(message, peer);
    if (message.id !== undefined) send(peer, { jsonrpc: '2.0', id: message.id, result });
  }

  function obey(message: BusMessage, peer: Peer): JsonObject {
    switch (message.method) {
      case 'register': return { plugin: peer.plugin, incarnation: peer.incarnation, revision: reconciler.snapshot().desired.revision };
      case 'log':
        reconciler.report(peer.incarnation, { log: { level: message.params.level ?? 'info', message: message.params.message } });
        return { ok: true };
      case 'telemetry':
        reconciler.report(peer.incarnation, { telemetry: message.params });
        return { ok: true };
      case 'health': {
        // The ready probe alone decides on routing; what a plugin says of its health is for people.
        const said = message.params.message ?? (message.params.ok ? 'healthy' : 'not healthy');
        reconciler.report(peer.incarnation, { log: { level: message.params.ok ? 'debug' : 'warn', message: `health: ${said}` } });
        return { ok: true };
      }
      case 'event': {
        let told = 0;
        for (const other of peers) {
          if (other.plugin === peer.plugin) continue;
          notify(other, 'event', { plugin: peer.plugin, name: message.params.name, data: (message.params.data ?? null) as JsonObject });
          told += 1;
        }
        return { told };
      }
    }
  }

  function notify(peer: Peer, method: string, params: JsonObject): void {
    send(peer, { jsonrpc: '2.0', method, params });
  }

  function send(peer: Peer, message: unknown): void {
    if (peer.socket.readyState !== peer.socket.OPEN) return;
    if (peer.socket.bufferedAmount > UNSENT_MAX_BYTES) {
      log.warn({ plugin: peer.plugin }, 'a plugin does not read its bus socket; it is cut off');
      endSocket(peer.socket, 1013, 'not reading fast enough');
      return;
    }
    peer.socket.send(JSON.stringify(message));
  }
}

function idOf(value: unknown): RpcId {
  const id = typeof value === 'object' && value !== null && 'id' in value ? value.id : null;
  return typeof id === 'string' || typeof id === 'number' ? id : null;
}
