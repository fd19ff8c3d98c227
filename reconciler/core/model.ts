// Models as data: where one comes from, how it is declared, and what of it is here.
import type { ModelFormat } from './format.ts';
import type { Monotonic_ms } from './types.ts';

/** Of one file; `file` may be a folder of the owner's. */
export type FileSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'http'; readonly url: string }
  | { readonly kind: 'hf'; readonly org: string; readonly repo: string; readonly path: string; readonly revision: string };

export type ModelSource =
  | FileSource
  /** A model in several files whose names are known. */
  | { readonly kind: 'list'; readonly files: readonly { readonly name: string; readonly source: FileSource }[] }
  /** A folder on the hub, which says what lies in it; `folder` is empty for the whole repository. `files`: patterns of those that are taken. */
  | { readonly kind: 'hub'; readonly org: string; readonly repo: string; readonly folder: string; readonly revision: string; readonly files: readonly string[] };

export type DesiredModel = {
  readonly name: string;
  readonly source: ModelSource;
  /** The source as typed, for people; never holds a secret. */
  readonly sourceText: string;
  readonly sha256: string | null;
  readonly state: 'present' | 'ondemand' | 'absent';
  /** Hash of source + sha256: another one means the bytes at hand answer another declaration. */
  readonly sourceHash: string;
};

/** `bandwidth_bytes`: a second, all downloads together; null: all there is. `verifyEvery_ms` 0: only when somebody asks. */
export type Downloads = { readonly connections: number; readonly bandwidth_bytes: number | null; readonly verifyEvery_ms: number };

export type ObservedModel = {
  readonly name: string;
  readonly sourceHash: string;
  readonly phase: 'fetching' | 'present' | 'failed';
  /** What a plugin gets: its file, the first of its shards, or its folder. */
  readonly path: string | null;
  /** Of one file its hash; of several that of the lines that sha256sum prints of them, by name. */
  readonly sha256: string | null;
  readonly bytes: number;
  /** Those that are here. */
  readonly files: readonly ObservedFile[];
  readonly bytesTotal: number | null;
  readonly message: string;
  readonly reason: string;
  readonly retry: Monotonic_ms | null;
  /** What its file says of itself; null while nobody has looked. */
  readonly about: ModelFormat | null;
  /** ISO time when all of its bytes were hashed last; null while they were not. */
  readonly verified: string | null;
  /** What was wrong with its bytes at the last check, until good ones are here. */
  readonly damaged: string | null;
  /** The owner's file that was damaged, as it lay there: nobody takes it so. Absent where it was none of the owner's. */
  readonly spoiled?: { readonly path: string; readonly stamp: string };
  /** Its path is the owner's folder, with all that is in it. */
  readonly isFolder?: true;
  /** What the revision of a hub's source stood for when its bytes came; absent of any other source. */
  readonly commit?: string;
  /** So many of its bytes have been hashed by the check under way; null while none is. */
  readonly checking: number | null;
};

/** One file of a model that is here. */
export type ObservedFile = {
  /** Within the model: `model.safetensors`, `tokenizer/vocab.json`. */
  readonly name: string;
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
  /** When it was last changed, in the file system's own time: with `bytes` it tells that these are still the bytes that were hashed. */
  readonly mtime_ms: number;
};

/** A file in the store that no declared model uses. */
export type ExtraFile = { readonly name: string; readonly bytes: number };
