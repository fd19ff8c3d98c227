// Differences and conditions that belong to no unit: a file that is not in force, a server that listens elsewhere, a database that cannot be written.
import type { Finding } from './explain.ts';
import { inWords, type Denied } from './people.ts';
import type { DesiredServer, Drift, Problem } from './types.ts';

type HouseFile = { readonly valid: boolean; readonly revision: string | null; readonly inForce: string; readonly problems: readonly Problem[] };

export type HouseInput = {
  readonly file: HouseFile;
  /** As declared now. */
  readonly server: DesiredServer;
  /** As declared when the doors were opened; null before that. */
  readonly opened: DesiredServer | null;
  /** What is denied to users and keys that the file in force does not say. */
  readonly denied: readonly Denied[];
  readonly policies: Readonly<Record<string, 'heal' | 'report' | 'ignore'>>;
};

const short = (revision: string): string => revision.slice(0, 12);
/** What only a start changes. Another certificate or key is taken in as it comes. */
const addressOf = (server: DesiredServer): string => `${server.tls === null ? 'HTTP' : 'HTTPS'} on ${server.host}, web ${server.ports.web}, api ${server.ports.api}, bus ${server.ports.bus}`;

/** None of them can be healed by bkg: they wait for the owner, or for the next start. */
export function houseDrifts(input: HouseInput): readonly Drift[] {
  const { file, server, opened, denied, policies } = input;
  const drift = (kind: Drift['kind'], unit: string, words: { readonly want: string; readonly have: string }): Drift => ({ kind, unit, ...words, policy: policies[kind] ?? 'report' });
  const drifts: Drift[] = [];
  const first = file.problems.find((problem) => problem.severity === 'error');
  const have = `revision ${short(file.inForce)} is in force`;
  if (file.revision === null) drifts.push(drift('FileMissing', 'file', { want: 'bkg.yaml', have: `${first?.code === 'FileUnreadable' ? 'a file that cannot be read' : 'no file'}; ${have}` }));
  else if (!file.valid && first !== undefined) {
    const where = first.line === null ? '' : `line ${first.line}: `;
    drifts.push(drift(first.code === 'ConfigHeld' ? 'ConfigHeld' : 'ConfigInvalid', 'file', { want: `revision ${short(file.revision)}`, have: `${have}; ${where}${first.message}` }));
  }
  if (opened !== null && addressOf(opened) !== addressOf(server)) drifts.push(drift('ServerChanged', 'server', { want: addressOf(server), have: `${addressOf(opened)}; the next start of bkg changes it` }));
  for (const denial of denied) {
    const why = denial.source === 'api' ? 'the file could not be written' : 'a file that is not valid says so';
    drifts.push(drift('Denied', `${denial.kind}/${denial.id}`, { want: 'as the file in force declares it', have: `${inWords(denial)}: ${why}` }));
  }
  return drifts.filter((found) => found.policy !== 'ignore');
}

/** Why something waits to be written, and what is wrong with the certificate; null: nothing. */
export type HouseFaults = { readonly store: string | null; readonly certificate: string | null };

/** How the file, the database and the certificate are doing. */
export function houseConditions(file: HouseFile & { readonly path: string }, faults: HouseFaults): readonly Finding[] {
  const store: Finding = faults.store === null
    ? { type: 'StoreWritable', status: 'True', reason: 'Written', message: 'What must outlive bkg is on disk.' }
    : { type: 'StoreWritable', status: 'False', reason: 'Unwritable', message: `bkg.db could not be written: ${faults.store}. bkg goes on and tries again each second; make room on the disk of $BKG_HOME.` };
  const others: readonly Finding[] = [store, ...(faults.certificate === null ? [] : [{ type: 'CertificateGood', status: 'False' as const, reason: 'CertificateUnusable', message: faults.certificate }])];
  const first = file.problems.find((problem) => problem.severity === 'error');
  if (first === undefined) return [{ type: 'ConfigValid', status: 'True', reason: 'Valid', message: 'bkg.yaml is in force as it stands.' }, ...others];
  const where = first.line === null ? '' : ` line ${first.line}, column ${first.column}:`;
  return [{ type: 'ConfigValid', status: 'False', reason: first.code, message: `${file.path}:${where} ${first.message} The last good revision stays in force.` }, ...others];
}
