// Edits of a running appliance: checked against what is in force, taken in at once, and remembered by the units they touch.
import type { Desired, Plan } from '../core/types.ts';
import { openChange, type Running } from './change.ts';
import type { DesirePlace } from './desire.ts';
import type { AuditEntry, PatchRequest, PatchResult } from './door.ts';
import type { openInForce } from './inforce.ts';
import { monotonic_ms } from './process.ts';

/** Edits whose operation can still be asked about. */
const EDITS_KEPT = 1_000;

/** Enough of a revision to tell it from others. */
const TARGET_LENGTH = 12;

export type EditsOptions = DesirePlace & {
  readonly journalFolder: string;
  readonly inForce: ReturnType<typeof openInForce>;
  readonly textOf: (revision: string) => string | null;
  readonly audit: (entry: AuditEntry) => void;
  /** What a declaration would lead to now. */
  readonly plan: (desired: Desired, leaveUndeclared: boolean) => Plan;
  /** Ends once the machine has been looked at with what was taken in. */
  readonly taken: () => Promise<void>;
};

export function openEdits(options: EditsOptions) {
  const { inForce } = options;
  const units = new Map<number, readonly string[]>();
  const running: Running = {
    outlook: (desired, partial = false) => ({ desired, plan: options.plan(desired, partial) }),
    async inForce() {
      for (;;) {
        const now = await inForce.read();
        if (now.file.problems[0]?.code !== 'ConfigHeld') return now;
        await new Promise((resolve) => { setTimeout(resolve, Math.max(1, (now.lookAgain ?? 0) - monotonic_ms())); });
      }
    },
    async deny(told, actor, before) {
      const denied = inForce.deny(told, before);
      await options.taken();
      for (const denial of denied) options.audit({ actor: actor.name, source: actor.source, address: actor.address ?? null, action: `${denial.kind}.deny`, target: denial.id });
      return denied;
    },
    async take(checked, actor, write) {
      const found = await inForce.write(checked, { actor: actor.name, source: actor.source, address: actor.address ?? null }, write);
      if (found !== null) await options.taken();
      return found;
    },
  };
  const change = openChange({ ...options, running });
  return {
    async patch(request: PatchRequest): Promise<PatchResult> {
      const result = await change(request);
      if (!result.ok || !result.changed || request.dryRun) return result;
      units.set(result.seq, result.units);
      if ('rollback' in request.change) options.audit({ actor: request.actor.name, source: request.actor.source, address: request.actor.address ?? null, action: 'config.rollback', target: request.change.rollback.slice(0, TARGET_LENGTH), revision: result.revision });
      for (const seq of units.keys()) if (units.size > EDITS_KEPT) units.delete(seq);
      return result;
    },
    planOf: (desired: Desired): Plan => options.plan(desired, false),
    /** Of the edit that became this revision-seq; undefined when it is long over, or was none of ours. */
    unitsOf: (seq: number): readonly string[] | undefined => units.get(seq),
  };
}
