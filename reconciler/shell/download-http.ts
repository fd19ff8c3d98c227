// The wire of a download: asks for the bytes from where a part ended, follows redirects, never takes a credential along to another host.
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { EnvHttpProxyAgent, request, type Dispatcher } from 'undici';

/** No byte for this long: the connection is given up and tried again later from where it stood. */
export const STALL_MS = 30_000;
const MAX_REDIRECTS = 5;
/** Refusals that pass by themselves. */
const PASSING = new Set([408, 425, 429]);

export type Target = { readonly url: URL; readonly authorization: string | null };
export type Part = { readonly bytes: number; readonly etag: string | null };
export type Refusal = { readonly reason: 'NotFound' | 'Unauthorized' | 'Network'; readonly transient: boolean; readonly message: string };

export type Answer =
  | { readonly kind: 'bytes'; readonly body: Dispatcher.ResponseData['body']; readonly start: number; readonly total: number | null; readonly etag: string | null; readonly linkedSha256: string | null }
  /** The part is the whole already. */
  | { readonly kind: 'complete' }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

export type Wire = { readonly dispatcher: Dispatcher; readonly signal: AbortSignal };

/** Proxies as the owner's environment names them. Destroy it when the download is over. */
export function openWire(env: Readonly<Record<string, string | undefined>>, stall_ms: number): Dispatcher {
  const proxy = (name: string): string => env[name] ?? env[name.toUpperCase()] ?? '';
  return new EnvHttpProxyAgent({ headersTimeout: stall_ms, bodyTimeout: stall_ms, httpProxy: proxy('http_proxy'), httpsProxy: proxy('https_proxy'), noProxy: proxy('no_proxy') });
}

let trusted = false;

/** Node brings its own list of authorities; a company's proxy or hub is known to the machine's. Read once, when first needed: it takes 70 ms. */
function trustSystem(): void {
  if (trusted) return;
  trusted = true;
  setDefaultCACertificates([...getCACertificates('default'), ...getCACertificates('system')]);
}

export async function get(wire: Wire, target: Target, from: Part): Promise<Answer> {
  let url = target.url;
  let linkedSha256: string | null = null;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const headers: Record<string, string> = { 'user-agent': 'bkg', 'accept-encoding': 'identity' };
    // A credential is for where it was meant: another host, port or plain http goes without.
    if (target.authorization !== null && url.origin === target.url.origin) headers['authorization'] = target.authorization;
    if (from.bytes > 0) Object.assign(headers, { range: `bytes=${from.bytes}-`, 'if-range': from.etag ?? '' });
    if (url.protocol === 'https:') trustSystem();
    // What fails is named by the host that was asked last, for a hub sends on to others.
    const response = await request(url, { method: 'GET', headers, dispatcher: wire.dispatcher, signal: wire.signal }).catch((error: unknown) => { throw Object.assign(error as Error, { host: url.host }); });
    const told = (name: string): string | null => { const value = response.headers[name]; return typeof value === 'string' ? value : null; };
    // A hub tells the hash of the file behind a redirect.
    linkedSha256 ??= /^"?([0-9a-f]{64})"?$/.exec(told('x-linked-etag') ?? '')?.[1] ?? null;
    const location = told('location');
    const { statusCode } = response;
    if (statusCode >= 300 && statusCode < 400 && location !== null) {
      await response.body.dump();
      url = new URL(location, url);
      continue;
    }
    const range = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(told('content-range') ?? '');
    if (statusCode === 206 && Number(range?.[1]) === from.bytes) return { kind: 'bytes', body: response.body, start: from.bytes, total: numberOf(range?.[2]), etag: told('etag'), linkedSha256 };
    if (statusCode === 200) return { kind: 'bytes', body: response.body, start: 0, total: numberOf(told('content-length')), etag: told('etag'), linkedSha256 };
    await response.body.dump();
    if (statusCode === 416 && from.bytes > 0 && numberOf(range?.[2]) === from.bytes) return { kind: 'complete' };
    // The range did not fit: the whole once more, without one.
    if ((statusCode === 416 || statusCode === 206) && from.bytes > 0) return get(wire, target, { bytes: 0, etag: null });
    return { kind: 'refused', refusal: refusalOf(statusCode, url) };
  }
  return { kind: 'refused', refusal: { reason: 'Network', transient: false, message: `${target.url.host} redirected more than ${MAX_REDIRECTS} times; check the source` } };
}

function numberOf(text: string | null | undefined): number | null {
  return text !== null && text !== undefined && /^\d+$/.test(text) ? Number(text) : null;
}

function refusalOf(status: number, url: URL): Refusal {
  if (status === 404 || status === 410) return { reason: 'NotFound', transient: false, message: `${url.origin}${url.pathname} does not exist (${status}); check the source` };
  if (status === 401 || status === 403) return { reason: 'Unauthorized', transient: false, message: `${url.host} refuses access (${status}); it may be gated: set HF_TOKEN in bkg's environment` };
  return { reason: 'Network', transient: status >= 500 || PASSING.has(status), message: `${url.host} answered ${status}` };
}
