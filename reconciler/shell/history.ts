// The revisions that were seen: whose they are, and what they said.
import { desire, type DesirePlace } from './desire.ts';
import type { Revision, RevisionText } from './records.ts';
import type { Store } from './store.ts';

/** A revision's number has at most so many digits; what is longer is the beginning of its hash. */
const SEQ = /^\d{1,7}$/;
const HASH = /^[0-9a-f]{8,64}$/;

export function openHistory({ store, place }: { readonly store: Pick<Store, 'revisions' | 'revisionAt' | 'revisionLike' | 'textOf'>; readonly place: DesirePlace }) {
  return {
    list: ({ limit }: { readonly limit: number }): readonly Revision[] => store.revisions(limit),
    /** By its number, or by its hash or at least eight digits of it: then the newest. Null when there is none. */
    async find(id: string): Promise<RevisionText | null> {
      const row = SEQ.test(id) ? store.revisionAt(Number(id)) : HASH.test(id) ? store.revisionLike(id) : null;
      if (row === null) return null;
      const text = store.textOf(row.revision);
      // Which of its places are secret is for the manifests of its own plugins to say.
      return { ...row, text, desired: text === null ? null : (await desire(text, row.revision, place)).sound };
    },
  };
}
