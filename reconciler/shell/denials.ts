// What is taken from users and keys beside the file in force: kept over every revision, until a valid file has its say.
import { isDeepStrictEqual } from 'node:util';
import { inWords, lasting, takenAway, type Denial, type Denied, type People } from '../core/people.ts';
import type { Base } from '../core/resolve-model.ts';
import type { Json } from '../core/types.ts';
import type { Store } from './store.ts';

export type DenialsOptions = {
  readonly store: Pick<Store, 'denials' | 'saveDenials'>;
  readonly base: Base;
  readonly event: (reason: string, unit: string, message: string) => void;
};

export type Denials = ReturnType<typeof openDenials>;

export function openDenials({ store, base, event }: DenialsOptions) {
  let denied = store.denials();
  const keep = (next: readonly Denied[]): void => {
    denied = next;
    store.saveDenials(next);
  };
  return {
    all: (): readonly Denied[] => denied,
    /** What a file that is not in force takes from the people that are: all of it, or what it takes more than `before`. What is new is told. */
    take(people: People, told: Json, source: Denied['source'], before: Json | null = null): readonly Denial[] {
      // Values as typed take what stands there as a reference; only what the edit itself takes is meant.
      const already = before === null ? [] : takenAway(people, before, base);
      const taken = takenAway(people, told, base).filter((denial) => !already.some((one) => isDeepStrictEqual(one, denial)));
      const fresh = taken.map((denial): Denied => ({ ...denial, source })).filter((denial) => !denied.some((known) => isDeepStrictEqual(known, denial)));
      if (fresh.length > 0) keep([...denied, ...fresh]);
      for (const denial of fresh) event('Denied', `${denial.kind}/${denial.id}`, `${inWords(denial)}, though the file in force says otherwise`);
      return taken;
    },
    /** A valid file is in force, with these people. */
    lift(people: People): void {
      const left = lasting(denied, people);
      if (left.length < denied.length) keep(left);
    },
  };
}
