// Where a model comes from: the text of its source taken apart.
import type { Model } from '../../schema/bkg.gen.ts';
import { canonical } from './resolve-hash.ts';
import type { DesiredModel, ModelSource } from './types.ts';

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

/** The source behind its text; null when it is of no known form. */
export function parseSource(text: string, base: Base): ModelSource | null {
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
  const source = parseSource(input.model.source, base);
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
