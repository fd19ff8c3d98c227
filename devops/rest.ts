// Gives memory back while nobody asks for anything: what a start or a busy hour took is not kept for days.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Reconciler, Snapshot } from '../reconciler/index.ts';

/** Without a request for this long bkg is at rest. */
const CALM_MS = 10_000;

/**
 * Once after the start, then once after each busy time. It takes about 0.1 s, in which no request is with a plugin; V8 itself gives the
 * space of young objects back only when memory is short. Returns how to end it.
 */
export function restWhenCalm(reconciler: Reconciler): () => void {
  const collect = collector();
  let before = '';
  let rested = false;
  const timer = setInterval(() => {
    const now = businessOf(reconciler.snapshot());
    if (now !== before) rested = false;
    else if (!rested) {
      rested = true;
      collect();
    }
    before = now;
  }, CALM_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Another text as long as something goes on that a pause could hold up. */
function businessOf({ seq, plugins }: Snapshot): string {
  let requests = 0;
  let inFlight = 0;
  for (const { telemetry } of plugins) {
    requests += telemetry.requests;
    inFlight += telemetry.inFlight;
  }
  return inFlight > 0 ? `busy at ${performance.now()}` : `${seq} ${requests}`;
}

/** V8's own collection, down to what cannot be freed; it is there without a flag on the command line. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as NodeJS.GCFunction;
  return () => gc({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
