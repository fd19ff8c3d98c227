// From bytes of bkg.yaml to Desired: parse, manifests, resolve; every mistake comes back with its line.
import { dirname } from 'node:path';
import { resolve } from '../core/resolve.ts';
import type { Desired, Json, Problem } from '../core/types.ts';
import { parseFile, place } from './parsing.ts';
import { readPackages } from './packages.ts';
import { sha256 } from './secrets.ts';

export type DesirePlace = {
  readonly config: string;
  readonly installation: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly seal: (text: string) => string;
};

export type Desire = { readonly value: Json | null; readonly desired: Desired | null; readonly sound: Desired | null; /** Of a file that parses: its values with references resolved as far as they can be. */ readonly told: Json | null; readonly problems: readonly Problem[] };

/** Pure but for reading manifests. `desired` is null when a problem of severity error stands; `sound` is what resolves all the same. */
export async function desire(text: string, revision: string, from: DesirePlace): Promise<Desire> {
  const parsed = await parseFile(text);
  if (hasErrors(parsed.problems)) return { value: parsed.value, desired: null, sound: null, told: null, problems: parsed.problems };
  if (parsed.value === null) return { value: null, desired: null, sound: null, told: null, problems: [EMPTY] };
  const base = { configFolder: dirname(from.config), installation: from.installation };
  const packages = await readPackages(parsed.value, { ...base, env: from.env });
  const resolved = resolve({ declared: parsed.value, revision, packages, env: from.env, now: Date.now(), hash: sha256, seal: from.seal, base });
  const problems = [...parsed.problems, ...(await place(resolved.problems, text))];
  return { value: parsed.value, desired: hasErrors(problems) ? null : resolved.desired, sound: resolved.sound, told: resolved.told, problems };
}

/** Half a save, or a slip of the hand: never the wish to stop everything. */
const EMPTY: Problem = { code: 'FileEmpty', pointer: '', line: 1, column: 1, severity: 'error', message: 'The file declares nothing.', hint: 'An appliance without plugins is `version: 1`.' };

export const hasErrors = (problems: readonly Problem[]): boolean => problems.some((problem) => problem.severity === 'error');
