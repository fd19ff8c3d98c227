// Installs every declared plugin without starting one: for images, for slow lines, for a quick first start.
import { join } from 'node:path';
import { desire } from './desire.ts';
import { readDeclared } from './change.ts';
import { install } from './install.ts';
import type { Problem } from '../core/types.ts';

export type AheadPlace = { readonly config: string; readonly home: string; readonly installation: string; readonly env: Readonly<Record<string, string | undefined>>; readonly signal: AbortSignal };
export type AheadResult = { readonly plugin: string; readonly outcome: 'installed' | 'nothing to install' | 'failed'; readonly message: string };

/** One after another, so that progress can be read; the same content is installed once. Problems, when the file is not valid. */
export async function installAhead(place: AheadPlace, tell: (plugin: string, line: string) => void): Promise<{ readonly results: readonly AheadResult[]; readonly problems: readonly Problem[] }> {
  const { text, revision } = await readDeclared(place.config);
  const found = await desire(text, revision, { ...place, seal: (sealed) => sealed });
  if (found.desired === null) return { results: [], problems: found.problems };
  const results: AheadResult[] = [];
  for (const plugin of found.desired.plugins) {
    if (plugin.install === null || plugin.package.folder === null) {
      results.push({ plugin: plugin.id, outcome: 'nothing to install', message: '' });
      continue;
    }
    const done = await install({
      name: plugin.use.replace(/[^a-z0-9-]+/gi, '-'), folder: plugin.package.folder, contentHash: plugin.package.contentHash, argv: plugin.install,
      store: place.env['BKG_INSTALLS'] ?? join(place.home, 'plugins'), env: place.env, signal: place.signal, onProgress: (line) => tell(plugin.id, line),
    });
    results.push(done.ok ? { plugin: plugin.id, outcome: 'installed', message: done.folder } : { plugin: plugin.id, outcome: 'failed', message: done.message });
  }
  return { results, problems: found.problems };
}
