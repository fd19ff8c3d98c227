// Keeps the schema that bkg.yaml names in its first line, so that editors complete and check while typing.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { composedOf } from '../api/composed.ts';
import type { Desired, Reconciler } from '../reconciler/index.ts';

const NAME = 'bkg.composed.schema.json';

/** Where the first line wants the composed schema; null when it names none of ours, or one outside the file's folder. */
export function wantedSchema(config: string, text: string): string | null {
  const named = /^\uFEFF?#\s*yaml-language-server:\s*\$schema=(\S+)/.exec(text)?.[1];
  if (named === undefined || basename(named) !== NAME || /^[a-z]+:/i.test(named)) return null;
  const path = resolve(dirname(config), named);
  return relative(dirname(config), path).startsWith('..') ? null : path;
}

/** Writes it again whenever another desired state comes into force. Editors can do without: a failure is only said. */
export function keepEditorSchema(config: string, reconciler: Reconciler, say: (message: string) => void): void {
  let last: Desired | null = null;
  const keep = (desired: Desired): void => {
    if (desired === last) return;
    last = desired;
    try {
      const path = wantedSchema(config, readFileSync(config, 'utf8'));
      if (path === null) return;
      const text = `${JSON.stringify(composedOf(desired, true), null, 1)}\n`;
      if (readOr(path) === text) return;
      mkdirSync(dirname(path), { recursive: true });
      const fresh = join(dirname(path), `.${NAME}.${process.pid}`);
      writeFileSync(fresh, text);
      renameSync(fresh, path);
    } catch (error) {
      say(`the schema for editors could not be written: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  reconciler.subscribe((event) => { if (event.type === 'snapshot') keep(event.snapshot.desired); });
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
