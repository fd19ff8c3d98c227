// Opens the way to a host: plain or with TLS, straight or through the proxy that the environment names, with the authorities this machine trusts.
import { connect, isIP, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls, getCACertificates, setDefaultCACertificates } from 'node:tls';
import { ofWire } from './download-faults.ts';
import { HEAD_MAX_BYTES, notHttp, parseHead } from './download-framing.ts';

/** Until a connection stands, with proxy and TLS: as long as browsers and undici wait. */
const CONNECT_MS = 10_000;
const HEAD_END = '\r\n\r\n';

export type Proxies = { readonly http: string; readonly https: string; readonly none: string };
export type Way = { readonly proxies: Proxies; readonly stall_ms: number; readonly signal: AbortSignal };
/** Takes bytes as they come; answers false when no more are wanted for now. */
export type Hear = (bytes: Buffer) => boolean;
type Buffered = { readonly buffer: Buffer; readonly hear: Hear };

let trusted = false;

/** Node brings its own list of authorities; a company's proxy or hub is known to the machine's. Read once a thread, when first needed: it takes 70 ms. */
function trustSystem(): void {
  if (trusted) return;
  trusted = true;
  setDefaultCACertificates([...getCACertificates('default'), ...getCACertificates('system')]);
}

const broken = (): Error => Object.assign(new Error('it broke the connection off'), { code: 'ECONNRESET' });
const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '');
const portOf = (url: URL): number => (url.port !== '' ? Number(url.port) : url.protocol === 'https:' ? 443 : 80);
/** A certificate is looked up by name; an address has none. */
const nameOf = (url: URL): { readonly servername?: string } => (isIP(hostOf(url)) === 0 ? { servername: hostOf(url) } : {});

/** Throws what went wrong, with its code and the host that was asked. */
export async function openSocket(url: URL, way: Way, into: Buffered): Promise<Socket> {
  const proxy = proxyOf(url, way.proxies);
  const within = AbortSignal.any([way.signal, AbortSignal.timeout(Math.min(CONNECT_MS, way.stall_ms))]);
  try {
    if (proxy === null) return await straight(url, within, into);
    // Plain requests go to the proxy as they are; with TLS nobody between may read along.
    return url.protocol === 'http:' ? await straight(proxy, within, into) : await tunnel(url, { proxy, within, into });
  } catch (error) {
    if (way.signal.aborted) throw error;
    throw ofWire(within.aborted ? Object.assign(new Error('it did not answer in time'), { code: 'ETIMEDOUT' }) : (error as Error), (proxy ?? url).host);
  }
}

/** Bytes of a socket of our own come in one buffer that is used again and again: a new one for each read costs more than all else together. */
function straight(url: URL, within: AbortSignal, into: Buffered | null): Promise<Socket> {
  const onread: OnReadOpts | undefined = into === null ? undefined : { buffer: into.buffer, callback: (count, buffer) => into.hear((buffer as Buffer).subarray(0, count)) };
  const place = { host: hostOf(url), port: portOf(url), ...(onread === undefined ? {} : { onread }) };
  if (url.protocol !== 'https:') return opened(connect({ ...place, noDelay: true }), 'connect', within);
  trustSystem();
  return opened(connectTls({ ...place, ...nameOf(url), ALPNProtocols: ['http/1.1'] }), 'secureConnect', within);
}

function opened(socket: Socket, event: 'connect' | 'secureConnect', within: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const settle = (end: () => void): void => {
      within.removeEventListener('abort', stop);
      socket.off(event, stand).off('error', fail).off('close', close);
      // What comes later is told to whoever reads; without a listener it would end bkg.
      socket.on('error', () => undefined);
      end();
    };
    const stand = (): void => settle(() => resolve(socket));
    const fail = (error: Error): void => settle(() => reject(error));
    const close = (): void => fail(broken());
    const stop = (): void => { socket.destroy(within.reason as Error); };
    socket.once(event, stand).once('error', fail).once('close', close);
    within.addEventListener('abort', stop, { once: true });
    if (within.aborted) stop();
  });
}

/** Basic credentials that stand in a proxy's address. */
export const proxyAuthorization = (proxy: URL): Readonly<Record<string, string>> =>
  (proxy.username === '' ? {} : { 'proxy-authorization': `Basic ${Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString('base64')}` });

async function tunnel(url: URL, through: { readonly proxy: URL; readonly within: AbortSignal; readonly into: Buffered }): Promise<Socket> {
  const { proxy, within, into } = through;
  const carrier = await straight(proxy, within, null);
  try {
    const place = `${url.hostname}:${portOf(url)}`;
    const headers = Object.entries({ host: place, ...proxyAuthorization(proxy) }).map(([name, value]) => `${name}: ${value}\r\n`).join('');
    carrier.write(`CONNECT ${place} HTTP/1.1\r\n${headers}\r\n`);
    const { status } = parseHead(await headOf(carrier, within));
    if (status < 200 || status >= 300) throw Object.assign(new Error(`the proxy ${proxy.host} refuses the way to ${url.host} (${status})`), { code: 'PROXY_REFUSED' });
    trustSystem();
    const socket = await opened(connectTls({ socket: carrier, ...nameOf(url), host: hostOf(url), ALPNProtocols: ['http/1.1'] }), 'secureConnect', within);
    socket.on('data', (bytes: Buffer) => { if (!into.hear(bytes)) socket.pause(); });
    return socket;
  } catch (error) {
    carrier.destroy();
    throw error;
  }
}

/** What a proxy answers; nothing follows it, for the other end of the tunnel does not talk first. */
function headOf(carrier: Socket, within: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const settle = (): void => {
      within.removeEventListener('abort', stop);
      carrier.off('data', hear).off('error', fail).off('close', close).pause();
    };
    const fail = (error: Error): void => {
      settle();
      reject(error);
    };
    const close = (): void => fail(broken());
    const stop = (): void => fail(within.reason as Error);
    const hear = (bytes: Buffer): void => {
      text += bytes.toString('latin1');
      const end = text.indexOf(HEAD_END);
      if (end === -1 && text.length > HEAD_MAX_BYTES) return fail(notHttp('its answer has no end'));
      if (end === -1) return;
      settle();
      resolve(text.slice(0, end));
    };
    carrier.on('data', hear).once('error', fail).once('close', close);
    within.addEventListener('abort', stop, { once: true });
    if (within.aborted) stop();
  });
}

// ─── Proxies ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Small letters win, as everywhere. */
export function proxiesOf(env: Readonly<Record<string, string | undefined>>): Proxies {
  const named = (name: string): string => env[name] ?? env[name.toUpperCase()] ?? '';
  return { http: named('http_proxy'), https: named('https_proxy'), none: named('no_proxy') };
}

/** Null when the address is asked for itself. Throws when what is named is no proxy. */
export function proxyOf(url: URL, proxies: Proxies): URL | null {
  const named = url.protocol === 'https:' ? proxies.https : proxies.http;
  if (named === '' || isExcepted(url, proxies.none)) return null;
  const text = named.includes('://') ? named : `http://${named}`;
  if (!URL.canParse(text) || !['http:', 'https:'].includes(new URL(text).protocol)) throw ofWire(Object.assign(new Error('the proxy that the environment names is none; it begins with http:// or https://'), { code: 'NO_PROXY' }), url.host);
  return new URL(text);
}

/** A name stands for itself and all names below it, with a port for that port only, `*` for all. */
function isExcepted(url: URL, none: string): boolean {
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return none.toLowerCase().split(/[\s,]+/).filter((entry) => entry !== '').some((entry) => {
    if (entry === '*') return true;
    // An IPv6 address has colons of its own; a port follows its bracket.
    const [, name = entry, only = port] = /^([^:]*|\[.*\]):([0-9]+)$/.exec(entry) ?? [];
    const bare = name.replace(/^\*?\./, '').replace(/^\[|\]$/g, '');
    return only === port && (host === bare || host.endsWith(`.${bare}`));
  });
}
