// Live connections on web and api: path and rights first, then the handshake, so that a refused one gets an HTTP answer.
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { begin, type Reconciler } from '../reconciler/index.ts';
import { socketTokenOf, type Access } from './access.ts';
import { lacking, may, outOfReach, reaches } from './auth/somebody.ts';
import { isOwnOrigin, type Own } from './hosts.ts';
import type { Live } from './live.ts';
import { failure, refusalOf } from './problem.ts';
import type { Door } from './server.ts';
import { type Sockets, refuseUpgrade } from './sockets.ts';

export type UpgradeOptions = { readonly reconciler: Reconciler; readonly access: Access; readonly log: Logger; readonly sockets: Sockets; readonly live: Live; readonly own: () => Own };

export function controlUpgrade(o: UpgradeOptions): Door['upgrade'] {
  return (request, socket, head) => {
    // Nobody else listens until it is a WebSocket.
    socket.on('error', () => undefined);
    const refuse = (error: unknown): void => refuseUpgrade(socket, refusalOf(error, o.log));
    begin(async () => {
      const url = new URL(request.url ?? '/', 'http://api');
      const found = /^\/ws\/plugins(?:\/([^/]+))?\/?$/.exec(url.pathname);
      if (found === null) throw failure({ status: 404, code: 'NotFound', detail: `There is no WebSocket at ${url.pathname}; it is at /ws/plugins.` });
      const own = o.own();
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
      o.sockets.upgrade(request, socket, { head, connect: o.live.connect({ plugin, who: identity, topics: plugin === null ? [] : ['status', 'telemetry', 'models', 'logs', 'events'] }) });
    }, refuse);
  };
}
