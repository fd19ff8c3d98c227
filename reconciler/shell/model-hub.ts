// What lies in a folder of a Hugging Face hub, at the commit that its revision stands for now.
import { matchesGlob } from 'node:path';
import type { FileSource, ModelSource } from '../core/types.ts';
import type { Fetched } from './download.ts';
import { openHubLine } from './hub.ts';

const WITHIN_MS = 30_000;
/** A repository with 20,000 files has about 4 MB. */
const ANSWER_MAX_BYTES = 16 * 2 ** 20;
const FILES_MAX = 2_000;
const NAMED_MAX = 5;
/** A hub that asks for more patience than this is asked again all the same. */
const PATIENCE_MAX_MS = 60 * 60_000;

type Place = Extract<ModelSource, { readonly kind: 'hub' }>;
type Fault = Extract<Fetched, { readonly ok: false }>;
export type HubFile = { readonly name: string; readonly source: FileSource; readonly sha256: string | null; readonly bytes: number | null };
/** `commit`: what the revision stands for. */
export type HubList = { readonly ok: true; readonly files: readonly HubFile[]; readonly commit: string | null } | Fault;

const fault = (reason: Fault['reason'], message: string, transient = false): Fault => ({ ok: false, reason, transient, message });

/** The files of the folder that match a pattern, by name. What is wrong with the world comes back as a fault. */
export async function listHub(place: Place, o: { readonly env: Readonly<Record<string, string | undefined>>; readonly signal: AbortSignal }): Promise<HubList> {
  const line = openHubLine(o.env);
  if (line === null) return fault('Invalid', `its address is none: HF_ENDPOINT is "${o.env['HF_ENDPOINT'] ?? ''}"`);
  const repository = `${place.org}/${place.repo}`;
  const { host } = line;
  const path = `api/models/${repository}/revision/${encodeURIComponent(place.revision)}?blobs=true`;
  const found = await line.ask({ path, within_ms: WITHIN_MS, max_bytes: ANSWER_MAX_BYTES, signal: o.signal }).finally(line.close);
  switch (found.kind) {
    case 'json': return filesOf(found.body, place);
    case 'unfit': return fault('Network', `${host} does not say as a hub does what ${repository} holds: ${found.why}; is HF_ENDPOINT a hub?`, true);
    case 'unreachable': return fault('Network', `${host} could not be asked what ${repository} holds: ${found.why}; it is tried again`, true);
    case 'refused': {
      const { status, retryAfter } = found;
      if (status === 404) return fault('NotFound', `${host} has no ${repository} at ${place.revision}; check the source`);
      if (status === 401 || status === 403) return fault('Unauthorized', `${host} does not give ${repository} to everybody (${status}); set HF_TOKEN to a token that may read it, and accept its terms there`);
      const patience = retryAfter !== null && /^\d{1,9}$/.test(retryAfter) ? { retryAfter_ms: Math.min(PATIENCE_MAX_MS, Number(retryAfter) * 1_000) } : {};
      return { ...fault('Network', `${host} answered ${status} when asked what ${repository} holds; it is tried again`, true), ...patience };
    }
  }
}

type Sibling = { readonly rfilename: string; readonly size?: number; readonly lfs?: { readonly sha256?: string; readonly oid?: string; readonly size?: number } };

const isSibling = (value: unknown): value is Sibling => typeof value === 'object' && value !== null && 'rfilename' in value && typeof value.rfilename === 'string';
/** What would lie outside of its folder is no file of a model. */
const isInside = (name: string): boolean => !name.startsWith('/') && !name.split('/').includes('..') && !name.includes('\\');

function filesOf(body: unknown, place: Place): HubList {
  const told = body as { readonly sha?: unknown; readonly siblings?: unknown };
  if (typeof body !== 'object' || body === null || !Array.isArray(told.siblings)) return fault('Network', 'the hub does not say what lies in the repository; is HF_ENDPOINT a hub?', true);
  const commit = typeof told.sha === 'string' && COMMIT.test(told.sha) ? told.sha : place.revision;
  const below = place.folder === '' ? '' : `${place.folder}/`;
  const siblings = told.siblings.filter(isSibling).filter(({ rfilename }) => isInside(rfilename));
  const inFolder = siblings.filter(({ rfilename }) => rfilename.startsWith(below));
  const files = inFolder.flatMap((sibling): readonly HubFile[] => {
    const name = sibling.rfilename.slice(below.length);
    if (!place.files.some((pattern) => matchesGlob(name, pattern))) return [];
    const sha256 = sibling.lfs?.sha256 ?? sibling.lfs?.oid ?? null;
    return [{
      name, source: { kind: 'hf', org: place.org, repo: place.repo, path: sibling.rfilename, revision: commit },
      sha256: sha256 !== null && /^[0-9a-f]{64}$/.test(sha256) ? sha256 : null, bytes: sibling.lfs?.size ?? sibling.size ?? null,
    }];
  }).sort((one, other) => (one.name < other.name ? -1 : 1));
  if (files.length > FILES_MAX) return fault('Invalid', `${files.length} files match, and a model has ${FILES_MAX} at most; name a folder, or fewer in \`files\``);
  // What tells how to read weights is no model without them.
  if (files.some(({ name }) => WEIGHTS.test(name))) return { ok: true, files, commit: COMMIT.test(commit) ? commit : null };
  const weights = inFolder.map(({ rfilename }) => rfilename).filter((name) => WEIGHTS.test(name));
  const remedy = weights.length === 0 ? 'it holds no weights (.safetensors, .gguf, .onnx, .bin); check the source'
    : `it holds ${weights.slice(0, NAMED_MAX).join(', ')}${weights.length > NAMED_MAX ? ` and ${weights.length - NAMED_MAX} more` : ''}: name one as hf://${place.org}/${place.repo}/${weights[0]!}, or patterns in \`files\``;
  return fault('NotFound', `of ${place.org}/${place.repo}${place.folder === '' ? '' : `/${place.folder}`} no weights are wanted by ${place.files.join(', ')}; ${remedy}`);
}

const COMMIT = /^[0-9a-f]{40}$/;
const WEIGHTS = /\.(?:safetensors|gguf|onnx|bin|pt|pth)$/;
