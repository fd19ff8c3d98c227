// Opens the doors of the house: web, api and bus ports, and closes them gracefully.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Ports, Reconciler } from '../reconciler/index.ts';
import { busHost } from '../schema/addresses.ts';
import type { Access } from './access.ts';
import { makeApp } from './app.ts';
import { type Bound, bind } from './bind.ts';
import { openBus } from './bus.ts';
import { openBusTalk } from './bus-talk.ts';
import { answerCors } from './cors.ts';
import { WAIT_MAX_MS } from './edit.ts';
import type { Own } from './hosts.ts';
import type { Hub } from './hub.ts';
import { openLive } from './live.ts';
import { openMeter } from './meter.ts';
import { writeRefusal } from './problem.ts';
import { openRate } from './rate.ts';
import type { House } from './route.ts';
import { secure } from './security.ts';
import { type Door, PATIENCE, type Patience, serverFor } from './server.ts';
import { openSockets } from './sockets.ts';
import { tableOf } from './routes/table.ts';
import { type Certificate, openCertificate, type TlsFiles } from './tls.ts';
import { controlUpgrade } from './upgrade.ts';
import { writeError } from './v1/errors.ts';

/** Without a byte in either direction for longer than any answer of the control plane may take, the client is gone. */
const SILENT_MAX_MS = WAIT_MAX_MS + 60_000;
/** A restart of bkg takes about so long. */
const BACK_AFTER_S = 5;

export type ListenOptions = {
  readonly reconciler: Reconciler;
  /** Of web and api; the bus is for this machine. */
  readonly host: string;
  /** Web and api speak HTTPS with what these files hold, and with what those hold that are declared later. Null or absent: HTTP. */
  readonly tls?: TlsFiles | null;
  /** Preferred; a taken one, or 0, becomes a free one. */
  readonly ports: { readonly web: number; readonly api: number; readonly bus: number };
  readonly access: Access;
  /** Where models are looked for. */
  readonly hub: Hub;
  /** Answers what begins with /v1/; false: not one of its paths. */
  readonly dataPlane: (request: IncomingMessage, response: ServerResponse) => boolean | void;
  readonly log: Logger;
  readonly version: string;
  /** With clients that are slow. */
  readonly patience?: Patience;
  /** How often a new certificate is looked for. */
  readonly look_ms?: number;
};

export type Listening = {
  readonly ports: Ports;
  /** What web and api show; null without TLS. */
  readonly certificate: Pick<Certificate, 'shown' | 'trouble'> | null;
  /** From now on new requests of people get 503; health answers and the bus goes on, for what is in flight may still need both. */
  retire(): void;
  close(): Promise<void>;
};

/** Opens all three ports. They are listening when this resolves. Throws `TlsUnusable` without a certificate to speak TLS with. */
export async function listen(o: ListenOptions): Promise<Listening> {
  const { reconciler, access, log } = o;
  const tls = o.tls ?? null;
  const declared = (): ReturnType<Reconciler['snapshot']>['desired']['server'] => reconciler.snapshot().desired.server;
  const certificate = tls === null ? null : await openCertificate({ files: () => declared().tls ?? tls, log, ...(o.look_ms === undefined ? {} : { look_ms: o.look_ms }) });
  const house: House = { reconciler, access, hub: o.hub, secure: tls !== null, log, version: o.version };
  const meter = openMeter(reconciler);
  const rate = openRate();
  const sockets = openSockets(log);
  const live = openLive(reconciler, { log, access });
  const talk = openBusTalk(reconciler, log);
  const ports: { -readonly [name in keyof Ports]: number | null } = { web: null, api: null, bus: null };
  const own = (): Own => ({ host: o.host, names: declared().names, ports: [ports.web, ports.api], secure: house.secure });
  const appFor = (page: boolean): RequestListener => {
    const callback = makeApp({ house, own, table: tableOf(house, { meter, page }), meter, rate }).callback();
    return (request, response) => void callback(request, response);
  };
  const upgrade = controlUpgrade({ reconciler, access, log, sockets, live, own });
  const bus = openBus({ house, sockets, live, talk });
  const bound: Bound[] = [];
  let retired = false;
  const open = async (name: keyof Ports, door: Door): Promise<void> => {
    const forPlugins = name === 'bus';
    const server = serverFor(door, { called: own, certificate: forPlugins ? null : certificate, patience: o.patience ?? PATIENCE });
    const found = await bind(server, o.ports[name], forPlugins ? busHost(o.host) : o.host);
    bound.push(found);
    ports[name] = found.port;
  };
  const close = async (): Promise<void> => {
    certificate?.close();
    live.close();
    talk.close();
    await Promise.all([sockets.close(), ...bound.map((one) => one.close())]);
    meter.close();
  };
  const control = (page: boolean): Door => ({ request: controlRequests({ ...o, app: appFor(page), tls: house.secure, isRetired: () => retired }), upgrade });
  try {
    await open('web', control(true));
    await open('api', control(false));
    await open('bus', { ...bus, request: (request, response) => {
      secure(request, response, { tls: false, bare: false });
      bus.request(request, response);
    } });
  } catch (error) {
    await close();
    throw error;
  }
  return { ports, certificate, retire: () => { retired = true; }, close };
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

type Control = Pick<ListenOptions, 'reconciler' | 'dataPlane'> & { readonly app: RequestListener; readonly tls: boolean; readonly isRetired: () => boolean };

/** The data plane does not pass through Koa: it costs more than the rest of the way together. */
function controlRequests({ reconciler, dataPlane, app, tls, isRetired }: Control): RequestListener {
  return (request, response) => {
    const bare = isDataPlane(request.url ?? '');
    secure(request, response, { tls, bare });
    // A page elsewhere must be able to read also why it is refused.
    if (answerCors(request, response, reconciler.snapshot().desired.server.origins)) return;
    if (isRetired() && !isHealth(request.url ?? '')) return refuseLate(request, response);
    if (bare) {
      // Its answers may be silent for as long as a model thinks; it keeps its own time.
      request.socket.setTimeout(0);
      if (dataPlane(request, response) !== false) return;
      secure(request, response, { tls, bare: false });
    }
    // Node cuts a silent connection nobody listens to; a listener of our own would be one more with each request on it.
    request.socket.setTimeout(SILENT_MAX_MS);
    app(request, response);
  };
}
