// What a hub's answer says of its repositories, as rows with sources to choose from; nothing of it is believed unseen.

export const FORMATS = ['gguf', 'safetensors', 'onnx'] as const;
export type Format = (typeof FORMATS)[number];

export type HubSource = {
  /** As it goes into bkg.yaml: hf://org/repo/path. */
  readonly source: string;
  /** Q4_K_M …; null where the name tells none. */
  readonly quantization: string | null;
  readonly bytes: number | null;
  readonly sha256: string | null;
};

export type HubRow = {
  /** org/repo. */
  readonly id: string;
  /** The best first; empty where the repository has no model of the format. */
  readonly sources: readonly HubSource[];
  readonly downloads: number | null;
  readonly likes: number | null;
  /** Whether its bytes come only with a token of somebody who has agreed to its terms. */
  readonly gated: boolean;
  readonly licence: string | null;
  readonly updatedAt: string | null;
};

/** More than these nobody compares. */
const SOURCES_MAX = 4;
const PATH_MAX = 300;

/** Small enough for the machine at hand and still good first; what is larger or coarser after. */
const QUANTISATIONS = ['Q4_K_M', 'Q5_K_M', 'Q8_0', 'Q6_K', 'Q4_K_S', 'Q4_0', 'Q5_K_S', 'IQ4_XS', 'IQ4_NL', 'MXFP4', 'Q5_0', 'Q3_K_M', 'Q3_K_L', 'BF16', 'F16'];
const QUANTISATION = /(?:^|[-._/])(I?Q\d(?:_[A-Z0-9]{1,2}){0,2}|MXFP4|BF16|F16|FP16|F32)(?=[-._/]|$)/gi;
/** What only another model can use. */
const NO_MODEL = /(?:^|\/)(?:mmproj|imatrix)[^/]*$|(?:^|\/)adapter_model\./i;
/** A part of a model in many files, as a source may name it; and any other. */
const SHARD = /^(.*)-(\d{5})-of-(\d{5})\.(?:gguf|safetensors)$/;
const ANY_SHARD = /-\d{5}-of-\d{5}\./;
/** What a source cannot name: its last @ begins the revision. Nor does it lead elsewhere. */
const UNFIT = /[\s@\p{C}]|(?:^|\/)\.{1,2}(?:\/|$)/u;
const REPOSITORY = /^(?!\.+\/)[\w.-]{1,100}\/(?!\.+$)[\w.-]{1,100}$/;

type Open = Readonly<Record<string, unknown>>;

const isMap = (value: unknown): value is Open => typeof value === 'object' && value !== null && !Array.isArray(value);
const countOf = (value: unknown): number | null => (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null);
const wordOf = (value: unknown): string | null => (typeof value === 'string' && /^[\w.:+/-]{1,80}$/.test(value) ? value : null);

export function quantizationOf(path: string): string | null {
  return [...path.slice(path.lastIndexOf('/') + 1).matchAll(QUANTISATION)].at(-1)?.[1]?.toUpperCase() ?? null;
}

type File = { readonly path: string; readonly bytes: number | null; readonly sha256: string | null };

/** Files of the format. */
function filesOf(siblings: unknown, format: Format): readonly File[] {
  if (!Array.isArray(siblings)) return [];
  return siblings.flatMap((sibling: unknown): readonly File[] => {
    const path = isMap(sibling) ? sibling['rfilename'] : undefined;
    if (!isMap(sibling) || typeof path !== 'string' || path.length > PATH_MAX || UNFIT.test(path) || !path.toLowerCase().endsWith(`.${format}`) || NO_MODEL.test(path)) return [];
    const large = isMap(sibling['lfs']) ? sibling['lfs'] : {};
    const sha256 = large['sha256'];
    return [{ path, bytes: countOf(sibling['size']) ?? countOf(large['size']), sha256: typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256) ? sha256 : null }];
  });
}

/** Weights that are read with what lies beside them are named by their folder, which brings all of them; other models in many files by the first, which stands for all. */
function wholesOf(files: readonly File[], format: Format): readonly File[] {
  const sharded = files.filter(({ path }) => SHARD.test(path));
  const alone = files.filter(({ path }) => !SHARD.test(path) && !ANY_SHARD.test(path));
  const sum = (some: readonly File[]): number | null => (some.every(({ bytes }) => bytes !== null) ? some.reduce((total, { bytes }) => total + bytes!, 0) : null);
  const firsts = sharded.filter(({ path }) => SHARD.exec(path)![2] === '00001');
  if (format === 'safetensors') {
    const folders = new Set(firsts.map(({ path }) => path.slice(0, path.lastIndexOf('/') + 1)));
    return [...alone, ...[...folders].map((path): File => ({ path, bytes: sum(files.filter((file) => file.path.startsWith(path))), sha256: null }))];
  }
  return [...alone, ...firsts.flatMap(({ path }): readonly File[] => {
    const [, head = '', , total = ''] = SHARD.exec(path)!;
    const parts = sharded.filter((file) => { const found = SHARD.exec(file.path)!; return found[1] === head && found[3] === total; });
    // Without one of its files it is none.
    return parts.length === Number(total) ? [{ path, bytes: sum(parts), sha256: null }] : [];
  })];
}

function rankOf({ path }: File): number {
  const known = QUANTISATIONS.indexOf(quantizationOf(path) ?? '');
  if (known >= 0) return known;
  // Of a format without quantisations the file that has the model's own name.
  return /^model(?:_quantized)?\./.test(path.slice(path.lastIndexOf('/') + 1)) ? 0 : QUANTISATIONS.length;
}

/** One for each quantisation that is named, the best first. */
export function sourcesOf(id: string, siblings: unknown, format: Format): readonly HubSource[] {
  const ranked = [...wholesOf(filesOf(siblings, format), format)].sort((one, other) => rankOf(one) - rankOf(other) || one.path.length - other.path.length);
  const seen = new Set<string>();
  return ranked.flatMap(({ path, bytes, sha256 }): readonly HubSource[] => {
    const quantization = quantizationOf(path);
    if (quantization !== null && seen.has(quantization)) return [];
    if (quantization !== null) seen.add(quantization);
    return [{ source: path === '' ? `hf://${id}` : `hf://${id}/${path}`, quantization, bytes, sha256 }];
  }).slice(0, SOURCES_MAX);
}

/** Null for what is no list of repositories. */
export function rowsOf(answer: unknown, format: Format): readonly HubRow[] | null {
  if (!Array.isArray(answer)) return null;
  return answer.flatMap((found: unknown): readonly HubRow[] => {
    const id = isMap(found) ? found['id'] ?? found['modelId'] : undefined;
    if (!isMap(found) || typeof id !== 'string' || !REPOSITORY.test(id)) return [];
    const tags = Array.isArray(found['tags']) ? found['tags'] : [];
    const licence: unknown = tags.find((tag: unknown) => typeof tag === 'string' && tag.startsWith('license:'));
    const changed = typeof found['lastModified'] === 'string' ? Date.parse(found['lastModified']) : Number.NaN;
    return [{
      id, sources: sourcesOf(id, found['siblings'], format), downloads: countOf(found['downloads']), likes: countOf(found['likes']), gated: found['gated'] === 'auto' || found['gated'] === 'manual' || found['gated'] === true,
      licence: typeof licence === 'string' ? wordOf(licence.slice('license:'.length)) : null, updatedAt: Number.isNaN(changed) ? null : new Date(changed).toISOString(),
    }];
  });
}
