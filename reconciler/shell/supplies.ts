// What plugins need before they can start, brought here in the background: installs and model files.
import type { Downloads } from '../core/types.ts';
import { monotonic_ms } from './process.ts';
import type { Store } from './store.ts';
import { openInstalls } from './supplies-installs.ts';
import { openModels } from './supplies-models.ts';

/** Back-off of failed installs and fetches: doubled from the first to the longest. */
const RETRY_FIRST_MS = 5_000;
const RETRY_MAX_MS = 10 * 60_000;
/** Progress is published at most this often. */
const PROGRESS_MS = 250;

export type SuppliesOptions = {
  readonly home: string;
  /** Folder of finished installs; several homes may share one. */
  readonly installs: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** As declared now. */
  readonly downloads: () => Downloads;
  readonly store: Pick<Store, 'models' | 'saveModel' | 'dropModel'>;
  readonly poke: () => void;
  readonly event: (reason: string, unit: string, message: string) => void;
  /** Good bytes have taken the place of damaged ones: what has loaded those begins anew. */
  readonly mended: (model: string) => void;
};

export type Supplies = ReturnType<typeof openSupplies>;

export function openSupplies(options: SuppliesOptions) {
  const stopping = new AbortController();
  const pace = openPace(options.poke);
  const installs = openInstalls({ ...options, pace, signal: stopping.signal });
  const models = openModels({ ...options, pace, signal: stopping.signal });
  return {
    install: installs.install,
    recall: installs.recall,
    fetch: models.fetch,
    drop: models.drop,
    abandon: models.abandon,
    look: models.look,
    observedInstalls: installs.observed,
    observedModels: models.observed,
    extras: models.extras,
    verify: models.verify,
    prune: models.prune,
    pruneLater: models.pruneLater,
    isChecking: models.isChecking,
    /** Stops what is under way; a fetch resumes where it was. */
    close: (): void => { stopping.abort(); },
  };
}

export type Pace = ReturnType<typeof openPace>;

/** How often the same thing is tried again, and how often its progress is told. */
function openPace(poke: () => void) {
  const tries = new Map<string, number>();
  let lastPoke = 0;
  return {
    /** When what failed is due again. */
    retryAfter(hash: string): number {
      const count = tries.get(hash) ?? 0;
      tries.set(hash, count + 1);
      return monotonic_ms() + Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** count);
    },
    succeeded: (hash: string): void => { tries.delete(hash); },
    progress(): void {
      if (monotonic_ms() - lastPoke < PROGRESS_MS) return;
      lastPoke = monotonic_ms();
      poke();
    },
  };
}
