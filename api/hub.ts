// Looks for models on a Hugging Face hub, or on the mirror that HF_ENDPOINT names; what it says is bounded, cached for a minute, and never believed unseen.
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { EnvHttpProxyAgent, fetch, type Dispatcher, type Response } from 'undici';
import { rowsOf, sourcesOf, type Format, type HubRow } from './hub-rows.ts';
import { failure, refusalIn } from './problem.ts';

const HUB = 'https://huggingface.co';
/** A person waits for it. */
const LIST_WITHIN_MS = 15_000;
/** Sizes are worth a moment more, never the answer. */
const SIZES_WITHIN_MS = 5_000;
/** 50 repositories with a thousand files each have about 4 MB. */
const ANSWER_MAX_BYTES = 8 * 2 ** 20;
/** Asked for sizes at once: hubs count requests. */
const SIZES_AT_ONCE = 4;
/** People search, look, and search again. */
const KEPT_MS = 60_000;
const KEPT_MAX = 100;
const COME_AGAIN_S = 30;

/** What of each repository is asked for. */
const FIELDS = ['downloads', 'likes', 'gated', 'lastModified', 'tags', 'siblings'];

export type HubQuery = { readonly words: string; readonly limit: number; readonly format: Format };
/** Refuses, as a failure that ends a request, when the hub cannot be reached or answers what is no list. */
export type Hub = { search(query: HubQuery, signal: AbortSignal): Promise<readonly HubRow[]> };

export function openHub(env: Readonly<Record<string, string | undefined>>): Hub {
  const kept = new Map<string, { readonly at_ms: number; readonly rows: readonly HubRow[] }>();
  return {
    async search(query, signal) {
      const key = JSON.stringify([query.words, query.limit, query.format]);
      const known = kept.get(key);
      if (known !== undefined && performance.now() - known.at_ms < KEPT_MS) return known.rows;
      const rows = await asked(env, query, signal);
      kept.delete(key);
      kept.set(key, { at_ms: performance.now(), rows });
      for (const oldest of kept.keys()) if (kept.size > KEPT_MAX) kept.delete(oldest);
      return rows;
    },
  };
}

/** The hub of one search: where it is, and how it is asked. */
type Wire = { readonly base: URL; readonly headers: Readonly<Record<string, string>>; readonly dispatcher: Dispatcher; readonly signal: AbortSignal };

async function asked(env: Readonly<Record<string, string | undefined>>, query: HubQuery, signal: AbortSignal): Promise<readonly HubRow[]> {
  const base = baseOf(env);
  if (base.protocol === 'https:') trustSystem();
  const [proxy, token] = [(name: string): string => env[name] ?? env[name.toUpperCase()] ?? '', env['HF_TOKEN'] ?? ''];
  const dispatcher = new EnvHttpProxyAgent({ httpProxy: proxy('http_proxy'), httpsProxy: proxy('https_proxy'), noProxy: proxy('no_proxy') });
  // A redirect to another origin goes without the token: fetch sees to that.
  const headers = { accept: 'application/json', 'user-agent': 'bkg', ...(token === '' ? {} : { authorization: `Bearer ${token}` }) };
  try {
    const parameters = new URLSearchParams({ ...(query.words === '' ? {} : { search: query.words }), filter: query.format, sort: 'downloads', direction: '-1', limit: String(query.limit) });
    for (const field of FIELDS) parameters.append('expand', field);
    const wire = { base, headers, dispatcher };
    const found = await get({ ...wire, signal: AbortSignal.any([signal, AbortSignal.timeout(LIST_WITHIN_MS)]) }, `api/models?${parameters}`);
    const rows = rowsOf(found, query.format);
    if (rows === null) throw unexpected(base, 'its answer is no list of models');
    return await withSizes({ ...wire, signal: AbortSignal.any([signal, AbortSignal.timeout(SIZES_WITHIN_MS)]) }, rows.slice(0, query.limit), query.format);
  } finally {
    void dispatcher.destroy();
  }
}

function baseOf(env: Readonly<Record<string, string | undefined>>): URL {
  const named = env['HF_ENDPOINT'] ?? '';
  const base = URL.canParse(named === '' ? HUB : named) ? new URL(`${(named === '' ? HUB : named).replace(/\/+$/, '')}/`) : null;
  if (base === null || !/^https?:$/.test(base.protocol)) throw failure({ status: 503, code: 'HubUnreachable', detail: `HF_ENDPOINT is ${JSON.stringify(named)}, which is no address. Set it to one like ${HUB} in bkg's environment, or unset it, and start bkg anew.` });
  return base;
}

let trusted = false;

/** Node brings its own list of authorities; a company's proxy or mirror is known to the machine's. Read once, when first needed: it takes 70 ms. */
function trustSystem(): void {
  if (trusted) return;
  trusted = true;
  setDefaultCACertificates([...new Set([...getCACertificates('default'), ...getCACertificates('system')])]);
}

/** A list names files; only the repository itself tells how large they are. What does not come in time stays unknown. */
async function withSizes(wire: Wire, rows: readonly HubRow[], format: Format): Promise<readonly HubRow[]> {
  const sized = [...rows];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let place = next++; place < rows.length; place = next++) {
      const row = rows[place]!;
      if (row.sources.every(({ bytes }) => bytes !== null)) continue;
      const found = await get(wire, `api/models/${row.id}?blobs=true&expand=siblings`).catch(() => null);
      const sources = typeof found === 'object' && found !== null && 'siblings' in found ? sourcesOf(row.id, found.siblings, format) : [];
      if (sources.length > 0) sized[place] = { ...row, sources };
    }
  };
  await Promise.all(Array.from({ length: SIZES_AT_ONCE }, work));
  return sized;
}

async function get({ base, headers, dispatcher, signal }: Wire, path: string): Promise<unknown> {
  try {
    const response = await fetch(new URL(path, base), { headers: { ...headers }, dispatcher, signal });
    if (!response.ok) {
      await response.body?.cancel();
      throw refused(base, response);
    }
    return JSON.parse(await bounded(base, response)) as unknown;
  } catch (error) {
    if (refusalIn(error) !== null) throw error;
    if (error instanceof SyntaxError) throw unexpected(base, 'its answer is no JSON');
    throw unreachable(base, error);
  }
}

async function bounded(base: URL, response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += (chunk as Uint8Array).length;
    if (size > ANSWER_MAX_BYTES) throw unexpected(base, `its answer is larger than ${ANSWER_MAX_BYTES} bytes`);
    chunks.push(chunk as Uint8Array);
  }
  return Buffer.concat(chunks).toString('utf8');
}

// ─── What goes wrong ────────────────────────────────────────────────────────────────────────────────────────────────────

const WITHOUT = 'A model can be declared without it: its source is then file:PATH (relative to bkg.yaml) or https://….';

function unreachable(base: URL, error: unknown): Error {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
  const why = cause instanceof Error && cause.name === 'TimeoutError' ? `it did not answer within ${LIST_WITHIN_MS / 1000} s` : cause instanceof Error && cause.message !== '' ? cause.message : 'the connection failed';
  return failure({
    status: 503, code: 'HubUnreachable', headers: { 'retry-after': String(COME_AGAIN_S) },
    detail: `${base.host} cannot be reached: ${why}${why.includes(code.slice(2, -1)) && code !== '' ? '' : code}. Set HTTPS_PROXY in bkg's environment where a proxy leads out, or HF_ENDPOINT to a mirror. ${WITHOUT}`,
  });
}

function refused(base: URL, { status, headers }: Response): Error {
  const wait = headers.get('retry-after');
  if (status === 429) return failure({ status: 503, code: 'HubBusy', detail: `${base.host} takes no more questions from here for now (429). Try again in a moment; with HF_TOKEN set in bkg's environment it takes more.`, headers: { 'retry-after': wait !== null && /^\d{1,5}$/.test(wait) ? wait : String(COME_AGAIN_S) } });
  if (status === 401 || status === 403) return failure({ status: 502, code: 'HubRefused', detail: `${base.host} refuses the search (${status}). Check HF_TOKEN in bkg's environment: it may be wrong, or have expired.` });
  if (status >= 500) return failure({ status: 503, code: 'HubUnreachable', detail: `${base.host} answered ${status}: it is in trouble itself. Try again later. ${WITHOUT}`, headers: { 'retry-after': String(COME_AGAIN_S) } });
  return unexpected(base, `it answered ${status}`);
}

const unexpected = (base: URL, why: string): Error =>
  failure({ status: 502, code: 'HubUnexpected', detail: `${base.host} does not answer as a hub does: ${why}. Check HF_ENDPOINT in bkg's environment. ${WITHOUT}` });
