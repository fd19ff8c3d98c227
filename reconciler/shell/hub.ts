// Asks a Hugging Face hub, or the mirror that HF_ENDPOINT names: through the proxies of the environment, with its token, which goes to no other host.
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { EnvHttpProxyAgent, fetch, type Response } from 'undici';

export const HUB = 'https://huggingface.co';

type Env = Readonly<Record<string, string | undefined>>;

/** What came of a question. `why` is a piece of a sentence; `retryAfter`: as the hub says it. */
export type HubAnswer =
  | { readonly kind: 'json'; readonly body: unknown }
  | { readonly kind: 'refused'; readonly status: number; readonly retryAfter: string | null }
  /** It answers, and not as a hub does. */
  | { readonly kind: 'unfit'; readonly why: string }
  | { readonly kind: 'unreachable'; readonly why: string };

export type HubQuestion = {
  /** Below the address of the hub: `api/models?search=qwen`. */
  readonly path: string;
  readonly within_ms: number;
  readonly max_bytes: number;
  /** Throws its reason when it is aborted. */
  readonly signal: AbortSignal;
};

/** Several questions one after another or at once, until it is closed. */
export type HubLine = { readonly host: string; readonly ask: (question: HubQuestion) => Promise<HubAnswer>; readonly close: () => void };

/** Null where HF_ENDPOINT is no address. */
export function openHubLine(env: Env): HubLine | null {
  const base = hubOf(env);
  if (base === null) return null;
  if (base.protocol === 'https:') trustSystem();
  const proxy = (name: string): string => env[name] ?? env[name.toUpperCase()] ?? '';
  const dispatcher = new EnvHttpProxyAgent({ httpProxy: proxy('http_proxy'), httpsProxy: proxy('https_proxy'), noProxy: proxy('no_proxy') });
  const authorization = hubAuthorizationOf(env);
  // A redirect to another origin goes without the token: fetch sees to that.
  const headers = { accept: 'application/json', 'user-agent': 'bkg', ...(authorization === null ? {} : { authorization }) };
  return {
    host: base.host,
    async ask({ path, within_ms, max_bytes, signal }) {
      try {
        return await answerOf(await fetch(new URL(path, base), { headers, dispatcher, signal: AbortSignal.any([signal, AbortSignal.timeout(within_ms)]) }), max_bytes);
      } catch (error) {
        signal.throwIfAborted();
        return { kind: 'unreachable', why: whyOf(error, within_ms) };
      }
    },
    close: () => { void dispatcher.destroy(); },
  };
}

/** Its address, with a slash at the end; null where HF_ENDPOINT is none. */
export function hubOf(env: Env): URL | null {
  const named = env['HF_ENDPOINT'] ?? '';
  const text = `${(named === '' ? HUB : named).replace(/\/+$/, '')}/`;
  const base = URL.canParse(text) && /^https?:\/\//.test(text) ? new URL(text) : null;
  // They go into a header, never into an address, which is told.
  if (base !== null) [base.username, base.password] = ['', ''];
  return base;
}

/** What the hub is shown: the token, else the name and password that stand in its address; null without either. */
export function hubAuthorizationOf(env: Env): string | null {
  // Read from a file, a token ends with a line's end.
  const token = (env['HF_TOKEN'] ?? '').trim();
  if (token !== '') return `Bearer ${token}`;
  const named = env['HF_ENDPOINT'] ?? '';
  return URL.canParse(named) ? basicOf(new URL(named)) : null;
}

/** The name and password in front of a host, as a header; null without. */
export const basicOf = ({ username, password }: URL): string | null => (username === '' ? null : `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')}`);

let trusted = false;

/** Node brings its own list of authorities; a company's proxy or mirror is known to the machine's. Read once, when first needed: it takes 70 ms. */
function trustSystem(): void {
  if (trusted) return;
  trusted = true;
  setDefaultCACertificates([...new Set([...getCACertificates('default'), ...getCACertificates('system')])]);
}

async function answerOf(response: Response, max_bytes: number): Promise<HubAnswer> {
  if (!response.ok) {
    await response.body?.cancel();
    return { kind: 'refused', status: response.status, retryAfter: response.headers.get('retry-after') };
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += (chunk as Uint8Array).length;
    if (size > max_bytes) return { kind: 'unfit', why: `its answer is larger than ${max_bytes} bytes` };
    chunks.push(chunk as Uint8Array);
  }
  try {
    return { kind: 'json', body: JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown };
  } catch {
    return { kind: 'unfit', why: 'its answer is no JSON' };
  }
}

function whyOf(error: unknown, within_ms: number): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return 'the connection failed';
  if (cause.name === 'TimeoutError') return `it did not answer within ${within_ms / 1000} s`;
  const code = 'code' in cause ? String(cause.code) : '';
  return `${cause.message === '' ? 'the connection failed' : cause.message}${code === '' || cause.message.includes(code) ? '' : ` (${code})`}`;
}
