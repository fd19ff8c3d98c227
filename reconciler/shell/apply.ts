// Carries out a plan: each action starts something and returns at once; what comes of it is observed later.
import type { Action, DesiredPlugin, Observed, Plan } from '../core/types.ts';
import type { Runtime } from './local.ts';
import type { Supplies } from './supplies.ts';

export type ApplyTargets = {
  readonly runtime: Runtime;
  readonly supplies: Supplies;
  /** Does the work of a unit; what it throws is told, and keeps no other unit from its own. */
  readonly attempt: (unit: string, work: () => void) => void;
};

export function apply(plan: Plan, observed: Observed, to: ApplyTargets): void {
  for (const action of plan.actions) to.attempt(action.unit, () => applyOne(action, observed, to));
}

function applyOne(action: Action, observed: Observed, { runtime, supplies }: ApplyTargets): void {
  switch (action.do) {
    case 'install': return supplies.install(action.plugin);
    case 'download': return supplies.fetch(action.model);
    case 'remove': return supplies.drop(action.model);
    case 'prune': return supplies.pruneLater(action.file);
    case 'start': return runtime.start({ slot: action.slot, plugin: action.plugin, specHash: action.specHash, models: observed.models, installed: installedFor(action.plugin, observed) });
    case 'stop': return runtime.stop(action.incarnation, { plugin: action.plugin, failure: action.failure === null ? null : action.because });
    case 'configure': return runtime.configure(action.incarnation, action.plugin);
    case 'wait': return;
  }
}

const installedFor = (plugin: DesiredPlugin, observed: Observed): string | null => observed.installs[plugin.package.contentHash]?.folder ?? null;
