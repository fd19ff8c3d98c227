// Looks again whether those who are being answered may still be: a revoked key ends its streams, too.
import type { Identity } from '../access.ts';
import type { Refusal } from '../problem.ts';
import { lacking, may, outOfReach, reaches } from './somebody.ts';

/** Well within the second that a revocation may take. */
const LOOK_EVERY_MS = 250;

export type Watched = {
  /** Who is being answered, as of now. */
  readonly now: () => Identity;
  readonly capability: string;
  /** Of the plugin that answers. */
  readonly plugin: string;
  readonly cut: (refusal: Refusal) => void;
};

/** Why somebody may no longer be answered; null while they may. */
function why(watched: Watched): Refusal | null {
  let now: Identity;
  try {
    now = watched.now();
  } catch (error) {
    return { status: 500, code: 'Internal', detail: `Whether you still may could not be told: ${error instanceof Error ? error.message : String(error)}.` };
  }
  if (now.kind === 'nobody') return now.refusal;
  if (!may(now.who, watched.capability)) return lacking(now.who, watched.capability);
  return reaches(now.who, watched.plugin) ? null : outOfReach(now.who, watched.plugin);
}

export type Watch = ReturnType<typeof openWatch>;

export function openWatch() {
  const all = new Set<Watched>();
  const timer = setInterval(() => {
    for (const watched of all) {
      const refusal = why(watched);
      if (refusal === null) continue;
      all.delete(watched);
      watched.cut(refusal);
    }
  }, LOOK_EVERY_MS);
  timer.unref();
  return {
    /** Until what comes back is called. */
    add(watched: Watched): () => void {
      all.add(watched);
      return () => { all.delete(watched); };
    },
    close: (): void => clearInterval(timer),
  };
}
