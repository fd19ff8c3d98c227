// The revisions that were seen: whose they are, and what they said.
import { dirname } from 'node:path';
import type { Manifest } from '../core/types.ts';
import { revisionOf } from './declare.ts';
import type { DesirePlace } from './desire.ts';
import { readPackages } from './packages.ts';
import { parseFile } from './parsing.ts';
import { monotonic_ms } from './process.ts';
import type { Manifests, Revision, RevisionText } from './records.ts';
import type { Store } from './store.ts';

/** A revision's number has at most so many digits; what is longer is the beginning of its hash. */
const SEQ = /^\d{1,7}$/;
const HASH = /^[0-9a-f]{8,64}$/;
/** Reading a large file takes seconds, and people look at the same few revisions again and again. */
const KEPT_MS = 60_000;
const KEPT_MAX = 32;

export function openHistory({ store, place }: { readonly store: Pick<Store, 'revisions' | 'revisionAt' | 'revisionLike' | 'textOf'>; readonly place: DesirePlace }) {
  const base = { configFolder: dirname(place.config), installation: place.installation, env: place.env };
  const kept = new Map<string, { readonly until: number; readonly manifests: Promise<Manifests> }>();

  async function read(text: string): Promise<Manifests> {
    const { value } = await parseFile(text);
    if (value === null) return {};
    return Object.fromEntries(Object.entries(await readPackages(value, base)).map(([id, found]): [string, Manifest | null] => [id, 'manifest' in found ? found.manifest : null]));
  }

  /** Of every plugin that a text declares, as it can be had now. */
  function manifests(text: string): Promise<Manifests> {
    const revision = revisionOf(text);
    const known = kept.get(revision);
    if (known !== undefined && monotonic_ms() < known.until) return known.manifests;
    const found = read(text);
    kept.delete(revision);
    kept.set(revision, { until: monotonic_ms() + KEPT_MS, manifests: found });
    for (const oldest of kept.keys()) if (kept.size > KEPT_MAX) kept.delete(oldest);
    return found;
  }

  return {
    list: ({ limit }: { readonly limit: number }): readonly Revision[] => store.revisions(limit),
    manifests,
    /** By its number, or by its hash or at least eight digits of it: then the newest. Null when there is none. */
    async find(id: string): Promise<RevisionText | null> {
      const row = SEQ.test(id) ? store.revisionAt(Number(id)) : HASH.test(id) ? store.revisionLike(id) : null;
      if (row === null) return null;
      const text = store.textOf(row.revision);
      return { ...row, text, manifests: text === null ? {} : await manifests(text) };
    },
  };
}
