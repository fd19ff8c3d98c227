// Looks for models on a Hugging Face hub, or on the mirror that HF_ENDPOINT names; what it says is bounded, cached for a minute, and never believed unseen.
import { HUB, openHubLine, type HubAnswer, type HubLine } from '../reconciler/index.ts';
import { rowsOf, sourcesOf, type Format, type HubRow } from './hub-rows.ts';
import { failure } from './problem.ts';

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

async function asked(env: Readonly<Record<string, string | undefined>>, query: HubQuery, signal: AbortSignal): Promise<readonly HubRow[]> {
  const line = openHubLine(env);
  if (line === null) throw failure({ status: 503, code: 'HubUnreachable', detail: `HF_ENDPOINT is ${JSON.stringify(env['HF_ENDPOINT'] ?? '')}, which is no address. Set it to one like ${HUB} in bkg's environment, or unset it, and start bkg anew.` });
  try {
    const parameters = new URLSearchParams({ ...(query.words === '' ? {} : { search: query.words }), filter: query.format, sort: 'downloads', direction: '-1', limit: String(query.limit) });
    for (const field of FIELDS) parameters.append('expand', field);
    const found = await line.ask({ path: `api/models?${parameters}`, within_ms: LIST_WITHIN_MS, max_bytes: ANSWER_MAX_BYTES, signal });
    if (found.kind !== 'json') throw refusalOf(line.host, found);
    const rows = rowsOf(found.body, query.format);
    if (rows === null) throw unexpected(line.host, 'its answer is no list of models');
    return await withSizes(line, { rows: rows.slice(0, query.limit), format: query.format, signal: AbortSignal.any([signal, AbortSignal.timeout(SIZES_WITHIN_MS)]) });
  } catch (error) {
    throw signal.aborted ? failure({ status: 499, code: 'ClientGone', detail: 'The client went away while the hub was asked.' }) : error;
  } finally {
    line.close();
  }
}

/** A list names files; only the repository itself tells how large they are. What does not come in time stays unknown. */
async function withSizes(line: HubLine, { rows, format, signal }: { readonly rows: readonly HubRow[]; readonly format: Format; readonly signal: AbortSignal }): Promise<readonly HubRow[]> {
  const sized = [...rows];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let place = next++; place < rows.length; place = next++) {
      const row = rows[place]!;
      if (row.sources.every(({ bytes }) => bytes !== null)) continue;
      const found = await line.ask({ path: `api/models/${row.id}?blobs=true&expand=siblings`, within_ms: SIZES_WITHIN_MS, max_bytes: ANSWER_MAX_BYTES, signal }).catch(() => null);
      const body = found?.kind === 'json' ? found.body : null;
      const sources = typeof body === 'object' && body !== null && 'siblings' in body ? sourcesOf(row.id, body.siblings, format) : [];
      if (sources.length > 0) sized[place] = { ...row, sources };
    }
  };
  await Promise.all(Array.from({ length: SIZES_AT_ONCE }, work));
  return sized;
}

// ─── What goes wrong ────────────────────────────────────────────────────────────────────────────────────────────────────

const WITHOUT = 'A model can be declared without it: its source is then file:PATH (relative to bkg.yaml) or https://….';

function refusalOf(host: string, answer: Exclude<HubAnswer, { readonly kind: 'json' }>): Error {
  switch (answer.kind) {
    case 'unfit': return unexpected(host, answer.why);
    case 'unreachable': return failure({
      status: 503, code: 'HubUnreachable', headers: { 'retry-after': String(COME_AGAIN_S) },
      detail: `${host} cannot be reached: ${answer.why}. Set HTTPS_PROXY in bkg's environment where a proxy leads out, or HF_ENDPOINT to a mirror. ${WITHOUT}`,
    });
    case 'refused': return refused(host, answer);
  }
}

function refused(host: string, { status, retryAfter }: Extract<HubAnswer, { readonly kind: 'refused' }>): Error {
  if (status === 429) return failure({ status: 503, code: 'HubBusy', detail: `${host} takes no more questions from here for now (429). Try again in a moment; with HF_TOKEN set in bkg's environment it takes more.`, headers: { 'retry-after': retryAfter !== null && /^\d{1,5}$/.test(retryAfter) ? retryAfter : String(COME_AGAIN_S) } });
  if (status === 401 || status === 403) return failure({ status: 502, code: 'HubRefused', detail: `${host} refuses the search (${status}). Check HF_TOKEN in bkg's environment: it may be wrong, or have expired.` });
  if (status >= 500) return failure({ status: 503, code: 'HubUnreachable', detail: `${host} answered ${status}: it is in trouble itself. Try again later. ${WITHOUT}`, headers: { 'retry-after': String(COME_AGAIN_S) } });
  return unexpected(host, `it answered ${status}`);
}

const unexpected = (host: string, why: string): Error =>
  failure({ status: 502, code: 'HubUnexpected', detail: `${host} does not answer as a hub does: ${why}. Check HF_ENDPOINT in bkg's environment. ${WITHOUT}` });
