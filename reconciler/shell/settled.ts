// Waits until units have become what was declared, cannot, or time is up.
import type { PluginView, Snapshot } from './door.ts';

export type SettledQuery = { readonly units: readonly string[]; readonly seq: number; readonly timeout_ms: number };
export type Settled = { readonly outcome: 'converged' | 'failed' | 'timeout'; readonly message: string };

/** States that mend themselves only when somebody does something, or not soon. */
const FAILED = new Set(['Stalled', 'CrashLooping', 'InstallFailed', 'ModelFailed']);

export function settled(query: SettledQuery, from: { readonly closing: AbortSignal; readonly snapshot: () => Snapshot; readonly subscribe: (listener: (snapshot: Snapshot) => void) => () => void }): Promise<Settled> {
  const first = judge(query, from.snapshot());
  if (first !== null) return Promise.resolve(first);
  return new Promise((resolve) => {
    const finish = (result: Settled): void => {
      clearTimeout(timer);
      stop();
      from.closing.removeEventListener('abort', ends);
      resolve(result);
    };
    const timer = setTimeout(() => finish({ outcome: 'timeout', message: pendingText(query, from.snapshot()) }), query.timeout_ms);
    const ends = (): void => finish({ outcome: 'timeout', message: 'bkg is ending; ask again once it runs' });
    from.closing.addEventListener('abort', ends);
    const stop = from.subscribe((snapshot) => {
      const result = judge(query, snapshot);
      if (result !== null) finish(result);
    });
  });
}

/** `plugin/x` and `x` both name all slots of plugin x. */
const names = (query: SettledQuery, unit: string): boolean =>
  query.units.length === 0 || query.units.some((name) => unit === name || unit.startsWith(`${name}#`) || unit.startsWith(`plugin/${name}#`));

function judge(query: SettledQuery, snapshot: Snapshot): Settled | null {
  if (snapshot.seq < query.seq) return null;
  const pending = snapshot.plan.actions.filter((action) => names(query, action.unit));
  if (pending.length === 0) return { outcome: 'converged', message: 'everything is as declared' };
  const broken = snapshot.plugins.find((plugin) => names(query, `plugin/${plugin.id}#0`) && readyReason(plugin) !== null && FAILED.has(readyReason(plugin)!.reason));
  if (broken !== undefined) return { outcome: 'failed', message: `${broken.id}: ${readyReason(broken)!.message}` };
  // Its process goes on as before, for there is no model for the next one.
  const starved = snapshot.plugins.find((plugin) => names(query, `plugin/${plugin.id}#0`) && snapshot.models.some((model) => model.phase === 'failed' && model.usedBy.includes(plugin.id)));
  const why = starved?.conditions.find((condition) => condition.type === 'Synced' && condition.status === 'False');
  if (starved !== undefined && why !== undefined) return { outcome: 'failed', message: `${starved.id}: ${why.message}` };
  return null;
}

const readyReason = (plugin: PluginView): PluginView['conditions'][number] | null => plugin.conditions.find((condition) => condition.type === 'Ready' && condition.status === 'False') ?? null;

const pendingText = (query: SettledQuery, snapshot: Snapshot): string =>
  snapshot.plan.actions.filter((action) => names(query, action.unit)).map((action) => `${action.unit}: ${action.because}`).join('; ') || 'the revision is not in force yet';
