// Asks a server for a file or a part of it, follows redirects, tells a changed file from the same one, and never takes a credential along to another host.
import type { Head } from './download-framing.ts';
import type { Span } from './download-spans.ts';
import { askFor, type Reply, type Wire } from './download-wire.ts';

const MAX_REDIRECTS = 5;
/** Refusals that pass by themselves. */
const PASSING = new Set([408, 425, 429]);
/** How hosts say that a signed address has run out. */
const RUN_OUT = new Set([400, 401, 403, 404, 410]);
/** A server that asks for more patience than this is asked again all the same. */
const PATIENCE_MAX_MS = 60 * 60_000;
/** Within the same second a file may change without its time changing. */
const SETTLED_MS = 1_000;

/** Asked first. The credential is for this origin only. */
export type Target = { readonly url: URL; readonly authorization: string | null };
export type Refusal = { readonly reason: 'NotFound' | 'Unauthorized' | 'Network'; readonly transient: boolean; readonly message: string; readonly retryAfter_ms?: number };

/** What a file is known by, so that parts of it are never mixed with parts of another. */
export type Identity = {
  /** Only a strong one. */
  readonly etag: string | null;
  readonly modified: string | null;
  readonly total: number | null;
  /** What a hub says of the file behind its redirect. */
  readonly linkedSha256: string | null;
  readonly linkedBytes: number | null;
  readonly commit: string | null;
};

export type Answer =
  /** `to` and `from` bound what comes; `to` is null when it ends with the answer. `ranged`: parts may be asked for. */
  | { readonly kind: 'bytes'; readonly reply: Reply; readonly from: number; readonly to: number | null; readonly identity: Identity; readonly ranged: boolean }
  /** The file is another than it was. */
  | { readonly kind: 'changed' }
  /** What came is not what was asked for. */
  | { readonly kind: 'unfit' }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** `sentOn`: where the target sent us last, for all who ask there; it may run out. */
export type Site = { readonly target: Target; readonly wire: Wire; readonly sentOn: { to: URL | null } };
/** `range` null asks for the whole; `known` is what earlier bytes belong to. */
export type Question = { readonly range: Span | null; readonly known: Identity | null };

type Linked = Pick<Identity, 'linkedSha256' | 'linkedBytes' | 'commit'>;

export async function ask(site: Site, question: Question): Promise<Answer> {
  const direct = site.sentOn.to;
  if (direct === null) return follow(site, { ...question, url: site.target.url });
  const answer = await follow(site, { ...question, url: direct });
  if (answer.kind !== 'refused' || !RUN_OUT.has(answer.status)) return answer;
  if (site.sentOn.to === direct) site.sentOn.to = null;
  return follow(site, { ...question, url: site.target.url });
}

type Followed = Exclude<Answer, { kind: 'refused' }> | (Extract<Answer, { kind: 'refused' }> & { readonly status: number });

async function follow(site: Site, question: Question & { readonly url: URL }): Promise<Followed> {
  const { target } = site;
  let { url } = question;
  let linked: Linked = { linkedSha256: null, linkedBytes: null, commit: null };
  const refused = (refusal: Refusal, status: number): Followed => ({ kind: 'refused', refusal, status });
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const reply = await askFor(site.wire, url, headersOf(target, url, { ...question, linked }));
    const { status } = reply.head;
    const told = toldBy(reply.head);
    linked = linkedOf(told, linked);
    const location = told('location');
    if (status >= 300 && status < 400 && location !== null) {
      reply.close();
      const next = URL.canParse(location, url.href) ? new URL(location, url) : null;
      if (next === null || !['http:', 'https:'].includes(next.protocol)) return refused({ reason: 'Network', transient: false, message: `${url.host} redirects to an address that is none; check the source` }, status);
      url = next;
      continue;
    }
    const packed = told('content-encoding') ?? 'identity';
    if (status < 300 && packed !== 'identity') {
      reply.close();
      return refused({ reason: 'Network', transient: false, message: `${url.host} sends the file packed (${packed.slice(0, 40)}) though it was asked not to; check the source` }, status);
    }
    const answer = status === 200 || status === 206 ? judge(question, { reply, linked }) : null;
    if (answer?.kind !== 'bytes') reply.close();
    if (answer === null) return status === 416 ? { kind: 'unfit' } : refused(refusalOf(reply.head, url), status);
    if (answer.kind === 'bytes' && url.href !== target.url.href) site.sentOn.to = url;
    return answer;
  }
  return refused({ reason: 'Network', transient: false, message: `${target.url.host} redirected more than ${MAX_REDIRECTS} times; check the source` }, 0);
}

/** A credential is for where it was meant: another host, port or plain http goes without. */
function headersOf(target: Target, url: URL, question: Question & { readonly linked: Linked }): Readonly<Record<string, string>> {
  const headers: Record<string, string> = { 'user-agent': 'bkg', accept: '*/*', 'accept-encoding': 'identity' };
  if (target.authorization !== null && url.origin === target.url.origin) headers['authorization'] = target.authorization;
  const { range, known, linked } = question;
  if (range === null) return headers;
  headers['range'] = `bytes=${range.from}-${Number.isFinite(range.to) ? range.to - 1 : ''}`;
  // Hosts behind a hub name the same bytes differently; its hash is the better name.
  const validator = known === null || isSameByHash(known, linked) ? null : known.etag ?? known.modified;
  if (validator !== null) headers['if-range'] = validator;
  return headers;
}

const isSameByHash = (known: Identity, linked: Linked): boolean => linked.linkedSha256 !== null && linked.linkedSha256 === known.linkedSha256;

type Told = (name: string) => string | null;

const toldBy = ({ headers }: Head): Told => (name) => headers.get(name) ?? null;

/** A hub tells the hash and the length of the file behind a redirect, and the commit its revision stands for. */
function linkedOf(told: Told, before: Linked): Linked {
  return {
    linkedSha256: before.linkedSha256 ?? /^"?([0-9a-f]{64})"?$/.exec(told('x-linked-etag') ?? '')?.[1] ?? null,
    linkedBytes: before.linkedBytes ?? numberOf(told('x-linked-size')),
    commit: before.commit ?? /^[0-9a-f]{40,64}$/.exec(told('x-repo-commit') ?? '')?.[0] ?? null,
  };
}

function judge(question: Question, got: { readonly reply: Reply; readonly linked: Linked }): Exclude<Answer, { kind: 'refused' }> {
  const { range, known } = question;
  const { reply, linked } = got;
  const { status, length } = reply.head;
  const told = toldBy(reply.head);
  const names = namesOf(told);
  if (known !== null && known.linkedSha256 !== null && linked.linkedSha256 !== null && known.linkedSha256 !== linked.linkedSha256) return { kind: 'changed' };
  if (status === 200) {
    // To a question for a part of something known it means: that is no more, here is the whole.
    if (known !== null) return { kind: 'changed' };
    return { kind: 'bytes', reply, from: 0, to: null, identity: { ...names, ...linked, total: length }, ranged: range === null && told('accept-ranges') === 'bytes' };
  }
  const said = /^bytes ([0-9]+)-([0-9]+)\/([0-9]+)$/i.exec(told('content-range') ?? '');
  const [from, to, total] = [Number(said?.[1]), Number(said?.[2]) + 1, Number(said?.[3])];
  if (range === null || said === null || from !== range.from || to <= from || to > total) return { kind: 'unfit' };
  if (known !== null && known.total !== null && known.total !== total) return { kind: 'changed' };
  // A server may look at the range and not at the condition.
  const isOther = known !== null && !isSameByHash(known, linked) && ((known.etag !== null && names.etag !== null && known.etag !== names.etag) || (known.etag === null && known.modified !== null && names.modified !== null && known.modified !== names.modified));
  if (isOther) return { kind: 'changed' };
  return { kind: 'bytes', reply, from, to: Math.min(to, range.to), identity: { ...names, ...linked, total }, ranged: true };
}

/** Names that are the same only for the same bytes. One of great length is none: it has to be kept. */
function namesOf(told: Told): Pick<Identity, 'etag' | 'modified'> {
  const etag = told('etag');
  const modified = told('last-modified');
  const age = Date.parse(told('date') ?? '') - Date.parse(modified ?? '');
  return { etag: etag !== null && /^"[^"]{1,500}"$/.test(etag) ? etag : null, modified: modified !== null && age >= SETTLED_MS ? modified : null };
}

const numberOf = (text: string | null): number | null => (text !== null && /^[0-9]{1,15}$/.test(text) ? Number(text) : null);

function refusalOf({ status, headers }: Head, url: URL): Refusal {
  if (status === 404 || status === 410) return { reason: 'NotFound', transient: false, message: `${url.origin}${url.pathname} does not exist (${status}); check the source` };
  if (status === 401 || status === 403) return { reason: 'Unauthorized', transient: false, message: `${url.host} refuses access (${status}); it may be gated: set HF_TOKEN in bkg's environment` };
  const transient = status >= 500 || PASSING.has(status);
  const wait_ms = transient ? patienceOf(headers.get('retry-after') ?? '') : null;
  return { reason: 'Network', transient, message: `${url.host} answered ${status}${wait_ms === null ? '' : ` and asks for ${Math.ceil(wait_ms / 1000)} s of patience`}`, ...(wait_ms === null ? {} : { retryAfter_ms: wait_ms }) };
}

/** Seconds, or a date. */
function patienceOf(text: string): number | null {
  const wait_ms = /^[0-9]+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isNaN(wait_ms) ? null : Math.min(PATIENCE_MAX_MS, Math.max(0, wait_ms));
}
