// Which units an edit is answered for: those it declares otherwise, and those that have something else to do because of it.
import { unitOfModel, unitOfSlot, slotOf } from './names.ts';
import type { Action, Desired, Plan, UnitId } from './types.ts';

/** A declaration and what it leads to on the machine as it is; null where none is known. */
export type Outlook = { readonly desired: Desired | null; readonly plan: Plan };

/**
 * Units with work to do that the edit is about. A unit that is at work for other reasons, in both outlooks the same, is none
 * of them: an edit is not judged by it.
 */
export function touchedUnits(before: Outlook, after: Outlook): readonly UnitId[] {
  const declared = declarations(before.desired);
  const changed = new Set([...declarations(after.desired)].flatMap(([unit, text]) => (declared.get(unit) === text ? [] : [unit])));
  const known = new Set(before.plan.actions.map(wordsOf));
  const units = new Set(after.plan.actions.filter((action) => changed.has(action.unit) || !known.has(wordsOf(action))).map((action) => action.unit));
  // A plugin that runs has nothing to do until the new bytes of its model are here, and is then started anew.
  for (const plugin of after.desired?.plugins ?? []) {
    const waits = plugin.state !== 'stopped' && plugin.models.some((role) => role.model !== null && units.has(unitOfModel(role.model)));
    if (waits) units.add(unitOfSlot(slotOf(plugin.id)));
  }
  return [...units];
}

const wordsOf = (action: Action): string => `${action.unit} ${action.do} ${action.drift} ${action.because}`;

function declarations(desired: Desired | null): ReadonlyMap<UnitId, string> {
  if (desired === null) return new Map();
  return new Map([
    ...desired.plugins.map((plugin): [UnitId, string] => [unitOfSlot(slotOf(plugin.id)), JSON.stringify({ ...plugin, package: plugin.package.contentHash })]),
    ...desired.models.map((model): [UnitId, string] => [unitOfModel(model.name), JSON.stringify(model)]),
  ]);
}
