// How slots and units are called.
import type { UnitId } from './types.ts';

/** Where one process of a plugin runs. */
export const slotOf = (plugin: string): string => `${plugin}#0`;
export const unitOfSlot = (slot: string): UnitId => `plugin/${slot}`;
export const unitOfModel = (model: string): UnitId => `model/${model}`;
