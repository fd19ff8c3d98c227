// What can be done with the file while no bkg runs: look it through, and edit it.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Desired, Problem } from '../core/types.ts';
import { openChange, readDeclared } from './change.ts';
import { desire } from './desire.ts';
import type { Reconciler } from './door.ts';

type FilePlace = { readonly config: string; readonly installation: string; readonly env: Readonly<Record<string, string | undefined>> };

/** Checks a file without an appliance: the problems of its text, with their lines, and its doors; null where they cannot be told. Reads manifests, starts nothing. */
export async function examine(place: FilePlace): Promise<{ readonly problems: readonly Problem[]; readonly server: Desired['server'] | null }> {
  const { text, revision } = await readDeclared(place.config);
  const { problems, sound } = await desire(text, revision, { ...place, seal: (sealed) => sealed });
  return { problems, server: sound?.server ?? null };
}

/** Changes the file when no bkg runs, through the same edit, checks and commit. */
export async function patchOffline(place: FilePlace & { readonly home: string }, request: Parameters<Reconciler['patch']>[0]): ReturnType<Reconciler['patch']> {
  const journalFolder = join(place.home, 'run', 'journal');
  mkdirSync(journalFolder, { recursive: true, mode: 0o700 });
  return openChange({ ...place, seal: (text) => text, journalFolder, textOf: () => null, running: null })(request);
}
