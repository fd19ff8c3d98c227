// The plugin bus on its own port: plugins call each other's capabilities by their own token and within their grants.
import { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { begin, type Json, type Reconciler, type Route, type Snapshot } from '../reconciler/index.ts';
import { covers, HOUSE } from '../schema/scopes.ts';
import { bearerOf, socketTokenOf } from './access.ts';
import { type Behind, type Caller, CALLER_HEADER } from './auth/callers.ts';
import { lacking, may, outOfReach, reaches } from './auth/somebody.ts';
import { INVOKE_BODY_MAX_BYTES, jsonOf, mediaTypeOf, readBody } from './body.ts';
import type { BusTalk } from './bus-talk.ts';
import { isOwnOrigin } from './hosts.ts';
import { answerHouseCall, houseRoute } from './house-calls.ts';
import { invoke } from './invoke.ts';
import type { Live } from './live.ts';
import { type Refusal, failure, refusalOf, writeRefusal } from './problem.ts';
import type { House } from './route.ts';
import { type Sockets, refuseUpgrade } from './sockets.ts';

export type BusOptions = {
  readonly house: House;
  readonly sockets: Sockets;
  readonly live: Live;
  readonly talk: BusTalk;
};

export type Bus = {
  readonly request: RequestListener;
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
};

const NO_TOKEN: Refusal = {
  status: 401, code: 'TokenMissing', detail: 'The bus is for plugins: send "Authorization: Bearer $BKG_TOKEN". The token is good for one process and ends with it.',
  headers: { 'www-authenticate': 'Bearer realm="bkg bus"' },
};

function callerOf(reconciler: Reconciler, token: string | null): Caller {
  const caller = token === null ? null : reconciler.caller(token);
  if (caller === null) throw failure(token === null ? NO_TOKEN : { ...NO_TOKEN, code: 'TokenWrong', detail: 'This token belongs to no running plugin. Each process gets its own in BKG_TOKEN.' });
  return caller;
}

/** Throws unless the owner has granted it; the message says which line to add. */
export function checkGrant(snapshot: Snapshot, caller: string, capability: string): void {
  const grants = snapshot.routes.find((route) => route.plugin === caller)?.grants ?? [];
  if (grants.some((grant) => covers(grant, capability))) return;
  const line = `plugins.${caller}.grants: [${[...grants, capability].join(', ')}]`;
  const asks = snapshot.desired.plugins.find((plugin) => plugin.id === caller)?.calls.some((call) => covers(call, capability)) === true;
  const first = asks ? '' : `Its manifest does not ask for it: write \`calls: [${capability}]\` in plugin.yaml. Then, to`;
  throw failure({ status: 403, code: 'NotGranted', detail: `${caller} may not call ${capability}. ${asks ? 'To' : first} allow it, write in bkg.yaml: ${line}`, more: { grant: line } });
}

const ORDER: readonly Route['state'][] = ['ready', 'starting', 'asleep', 'down'];

/** Who answers: the named plugin, else the readiest one in the order of the file, another than the caller where there is one. */
export function providerOf(snapshot: Snapshot, capability: string, o: { readonly caller: string; readonly named: string | null }): string {
  const able = snapshot.routes.filter((route) => route.capabilities.some((own) => own.id === capability));
  if (o.named !== null) {
    if (able.some((route) => route.plugin === o.named)) return o.named;
    const others = able.map((route) => route.plugin).join(', ') || 'nobody';
    throw failure({ status: 404, code: 'CapabilityUnknown', detail: `${o.named} does not offer ${capability}; ${others} does.` });
  }
  const others = able.filter((route) => route.plugin !== o.caller);
  const [best] = (others.length > 0 ? others : able).toSorted((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
  if (best === undefined) throw failure({ status: 404, code: 'CapabilityUnknown', detail: `No declared plugin offers ${capability}.` });
  return best.plugin;
}

export function openBus(o: BusOptions): Bus {
  return {
    request(request, response) {
      void answer(o, request, response).catch((error: unknown) => writeRefusal(response, refusalOf(error, o.house.log)));
    },
    upgrade(request, socket, head) {
      // Nobody else listens until it is a WebSocket.
      socket.on('error', () => undefined);
      begin(() => upgrade(o, { request, socket, head }), (error) => refuseUpgrade(socket, refusalOf(error, o.house.log)));
    },
  };
}

async function answer(o: BusOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://bus');
  if (url.pathname === '/health' && request.method === 'GET') {
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"ok"}');
    return;
  }
  const found = /^\/invoke\/([\w.]{1,200})$/.exec(url.pathname);
  if (found === null) throw failure({ status: 404, code: 'NotFound', detail: `There is nothing at ${url.pathname} on the bus: POST /invoke/{capability}, or a WebSocket at /.` });
  if (request.method !== 'POST') throw failure({ status: 405, code: 'MethodNotAllowed', detail: 'A capability is called by POST.', headers: { allow: 'POST' } });
  const { reconciler, access } = o.house;
  const capability = found[1]!;
  const named = url.searchParams.get('plugin');
  const controller = new AbortController();
  response.once('close', () => controller.abort());
  judged(o, request, { capability, named });
  const input = await inputOf(request);
  // The input may have taken a minute to come: grants and people may be others since.
  const { caller, behind, provider } = judged(o, request, { capability, named });
  if (provider === null) return answerHouseCall({ house: o.house, capability, plugin: caller.plugin, behind, input, signal: controller.signal }, response);
  const { identity, through, address } = behind ?? { identity: null, through: [], address: null };
  await invoke({ reconciler, access, behind: { identity, address, through: [...through, caller.plugin] }, plugin: provider, capability, input, headers: request.headers, signal: controller.signal }, response);
}

type Judged = { readonly caller: Caller; readonly behind: Behind | null; /** Null: bkg itself answers. */ readonly provider: string | null };

/** Who calls, for whom, and who answers. Throws a refusal. */
function judged(o: BusOptions, request: IncomingMessage, { capability, named }: { readonly capability: string; readonly named: string | null }): Judged {
  const { reconciler } = o.house;
  const caller = callerOf(reconciler, bearerOf(request));
  const behind = behindOf(o, request, caller);
  const snapshot = reconciler.snapshot();
  if (capability.startsWith(HOUSE)) {
    if (named !== null) throw failure({ status: 404, code: 'CapabilityUnknown', detail: `${named} does not offer ${capability}; bkg itself answers it.` });
    houseRoute(capability);
    checkGrant(snapshot, caller.plugin, capability);
    return { caller, behind, provider: null };
  }
  if (!snapshot.routes.some((route) => route.capabilities.some((own) => own.id === capability))) throw failure({ status: 404, code: 'CapabilityUnknown', detail: `No declared plugin offers ${capability}.` });
  checkGrant(snapshot, caller.plugin, capability);
  return { caller, behind, provider: providerOf(snapshot, capability, { caller: caller.plugin, named }) };
}

/** Whose call the plugin is answering with this one; null when it calls for itself. */
function behindOf(o: BusOptions, request: IncomingMessage, caller: Caller): Behind | null {
  const name = request.headers[CALLER_HEADER];
  return name === undefined ? null : o.house.access.callers.of(String(name), caller);
}

async function inputOf(request: IncomingMessage): Promise<Json> {
  const bytes = await readBody(request, INVOKE_BODY_MAX_BYTES);
  if (bytes.length > 0 && mediaTypeOf(request.headers['content-type']) !== 'application/json') throw failure({ status: 415, code: 'MediaTypeUnknown', detail: 'Send the input as application/json.' });
  return bytes.length === 0 ? {} : (jsonOf(bytes) as Json);
}

async function upgrade(o: BusOptions, { request, socket, head }: { readonly request: IncomingMessage; readonly socket: Duplex; readonly head: Buffer }): Promise<void> {
  const { reconciler, access } = o.house;
  const url = new URL(request.url ?? '/', 'http://bus');
  // Plugins are no web pages, and no page is served here.
  if (!isOwnOrigin(request.headers, { host: '', ports: [] })) throw failure({ status: 403, code: 'OriginForeign', detail: 'The bus takes no connections from web pages.' });
  const token = socketTokenOf(request, url.searchParams);
  const older = /^\/ws\/core\/plugins\/([^/]+)\/(logs|telemetry)$/.exec(url.pathname);
  if (older !== null) {
    const identity = await access.of(token, request.socket.remoteAddress);
    if (identity.kind === 'nobody') throw failure(identity.refusal);
    const plugin = older[1]!;
    if (!may(identity.who, 'config.read')) throw failure(lacking(identity.who, 'config.read'));
    if (!reaches(identity.who, plugin)) throw failure(outOfReach(identity.who, plugin));
    if (!reconciler.snapshot().plugins.some((known) => known.id === plugin)) throw failure({ status: 404, code: 'PluginUnknown', detail: `There is no plugin ${plugin} in bkg.yaml.` });
    o.sockets.upgrade(request, socket, { head, connect: o.live.connect({ plugin, who: identity, topics: [older[2] as 'logs' | 'telemetry'] }) });
    return;
  }
  if (url.pathname !== '/') throw failure({ status: 404, code: 'NotFound', detail: `There is no WebSocket at ${url.pathname} on the bus; it is at /.` });
  o.sockets.upgrade(request, socket, { head, connect: o.talk.connect(callerOf(reconciler, token)) });
}
