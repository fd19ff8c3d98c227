// Differences that belong to no unit: a file that is not in force, a server that listens elsewhere than declared.
import type { DesiredServer, Drift, Problem } from './types.ts';

export type HouseInput = {
  readonly file: { readonly valid: boolean; readonly revision: string | null; readonly inForce: string; readonly problems: readonly Problem[] };
  /** As declared now. */
  readonly server: DesiredServer;
  /** As declared when the doors were opened; null before that. */
  readonly opened: DesiredServer | null;
  readonly policies: Readonly<Record<string, 'heal' | 'report' | 'ignore'>>;
};

const short = (revision: string): string => revision.slice(0, 12);
const addressOf = (server: DesiredServer): string => `${server.host}, web ${server.ports.web}, api ${server.ports.api}, bus ${server.ports.bus}`;

/** None of them can be healed by bkg: they wait for the owner, or for the next start. */
export function houseDrifts(input: HouseInput): readonly Drift[] {
  const { file, server, opened, policies } = input;
  const drift = (kind: Drift['kind'], unit: string, words: { readonly want: string; readonly have: string }): Drift => ({ kind, unit, ...words, policy: policies[kind] ?? 'report' });
  const drifts: Drift[] = [];
  const first = file.problems.find((problem) => problem.severity === 'error');
  const have = `revision ${short(file.inForce)} is in force`;
  if (file.revision === null) drifts.push(drift('FileMissing', 'file', { want: 'bkg.yaml', have: `no file; ${have}` }));
  else if (!file.valid && first !== undefined) {
    const where = first.line === null ? '' : `line ${first.line}: `;
    drifts.push(drift(first.code === 'ConfigHeld' ? 'ConfigHeld' : 'ConfigInvalid', 'file', { want: `revision ${short(file.revision)}`, have: `${have}; ${where}${first.message}` }));
  }
  if (opened !== null && addressOf(opened) !== addressOf(server)) drifts.push(drift('ServerChanged', 'server', { want: addressOf(server), have: `${addressOf(opened)}; the next start of bkg changes it` }));
  return drifts.filter((found) => found.policy !== 'ignore');
}
