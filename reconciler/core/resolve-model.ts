// Where a model comes from: the text of its source taken apart.
import type { Model } from '../../schema/bkg.gen.ts';
import { canonical } from './resolve-hash.ts';
import type { DesiredModel, FileSource, ModelSource } from './types.ts';

export type Base = {
  /** Folder bkg.yaml stands in, absolute. */
  readonly configFolder: string;
  /** Folder of the installation, absolute. */
  readonly installation: string;
};

/** Branch that a Hugging Face address without `@revision` means. */
const HF_REVISION = 'main';

/** Joins a path to an absolute folder; an absolute path stays. By hand, since core knows no node. */
export function joinPath(folder: string, path: string): string {
  const kept: string[] = [];
  for (const part of (path.startsWith('/') ? path : `${folder}/${path}`).split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') kept.pop();
    else kept.push(part);
  }
  return `/${kept.join('/')}`;
}

/** What engines want of a folder on the hub: weights in the form that loads nothing but numbers, and what tells how to read them. */
const WANTED_FILES = ['**/*.safetensors', '**/*.json', '**/*.txt', '**/*.model', '**/*.jinja'];
/** `model-00001-of-00003.gguf`: the parts of one model. */
const SHARD = /^(.*-)(\d{5})-of-(\d{5})(\.(?:gguf|safetensors))$/;
const SHARDS_MAX = 1_000;

/**
 * The source behind its text; null when it is of no known form. `files`: of a folder, which of them; on the hub patterns, elsewhere names. A shard stands for
 * all of its model.
 */
export function parseSource(text: string, base: Base, files: readonly string[] | null = null): ModelSource | null {
  const folder = /^hf:\/\/([^/\s@]+)\/([^/\s@]+)(?:\/((?:\S+\/)?))?(?:@([^@\s/]*))?$/.exec(text);
  if (folder !== null) {
    const [, org = '', repo = '', path = '', revision = ''] = folder;
    return { kind: 'hub', org, repo, folder: path.replace(/\/+$/, ''), revision: revision === '' ? HF_REVISION : revision, files: files ?? WANTED_FILES };
  }
  if (/^https?:\/\/[^?#]*\/$/.test(text)) return files === null ? null : { kind: 'list', files: files.map((name) => ({ name, source: { kind: 'http', url: `${text}${name.split('/').map(encodeURIComponent).join('/')}` } })) };
  const source = parseFile(text, base);
  return source === null ? null : allShards(source);
}

/** The one that is named, or all of which it is a part. */
function allShards(source: FileSource): ModelSource {
  const [, host = '', place = '', query = ''] = source.kind === 'http' ? /^(https?:\/\/[^/?#]*)([^?#]*)(.*)$/.exec(source.url) ?? [] : ['', '', source.path];
  const found = SHARD.exec(place);
  const count = Number(found?.[3]);
  if (found === null || count < 2 || count > SHARDS_MAX) return source;
  const [, head = '', , total = '', ending = ''] = found;
  const places = Array.from({ length: count }, (_, index) => `${head}${String(index + 1).padStart(5, '0')}-of-${total}${ending}`);
  return { kind: 'list', files: places.map((path) => ({ name: path.slice(path.lastIndexOf('/') + 1), source: source.kind === 'http' ? { kind: 'http', url: `${host}${path}${query}` } : { ...source, path } })) };
}

function parseFile(text: string, base: Base): FileSource | null {
  if (text.startsWith('file:'))
    return { kind: 'file', path: joinPath(base.configFolder, text.slice('file:'.length).replace(/^\/\/(?=\/)/, '')) };
  if (text.startsWith('bundled:')) return { kind: 'file', path: joinPath(base.installation, text.slice('bundled:'.length)) };
  if (/^https?:\/\//.test(text)) return { kind: 'http', url: text };
  const hf = /^hf:\/\/([^/\s]+)\/([^/\s]+)\/(\S+?)(?:@([^@\s]*))?$/.exec(text);
  if (hf === null) return null;
  const [, org = '', repo = '', path = '', revision = ''] = hf;
  return { kind: 'hf', org, repo, path, revision: revision === '' ? HF_REVISION : revision };
}

/** A source for people: an address may carry a name and a password in front of the host, or a token behind it. */
function harmless(text: string): string {
  return text
    .replace(/^(https?:\/\/)[^/@\s]*@/, '$1***@')
    .replace(/([?&][^=&#\s]*(?:token|key|secret|password|signature)[^=&#\s]*=)(?!\$\{)[^&#\s]+/gi, '$1***');
}

export type ModelInput = {
  readonly name: string;
  readonly model: Model & { readonly state: NonNullable<Model['state']> };
  readonly typed: string;
};

/** One desired model; null when its source is of no known form (validation has said so). */
export function resolveModel(input: ModelInput, base: Base, hash: (text: string) => string): DesiredModel | null {
  const source = parseSource(input.model.source, base, input.model.files ?? null);
  if (source === null) return null;
  const sha256 = input.model.sha256 ?? null;
  return {
    name: input.name,
    source,
    sourceText: harmless(input.typed),
    sha256,
    state: input.model.state,
    sourceHash: hash(canonical({ v: 1, source, sha256 })),
  };
}
