// A rollback beside an editor's save: whatever moment the save falls into, what it takes from people is not written back.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PatchResult } from './door.ts';
import { openEdits } from './edits.ts';
import { PLAIN } from './fixtures/plain.ts';
import { openInForce } from './inforce.ts';
import { openStore } from './store.ts';

const key = (id: string): string => `  ${id}: { user: anna, scopes: [llm.chat], hash: "$2b$04$${'a'.repeat(53)}" }\n`;
const FIRST = `version: 1\nmemory: 1GiB\nusers:\n  anna: { role: admin }\nkeys:\n${key('gone')}${key('kept')}`;
const NOW = FIRST.replace('1GiB', '2GiB');
const WITHOUT = NOW.replace(key('gone'), '');
const NOTHING_TO_DO = { revision: '', actions: [], drifts: [], next: null };

/** Rolls back to FIRST while NOW is in force; `before` and `after` come between the looks at the file, counted from 1. */
async function raced(save: (o: { readonly look: number; readonly when: 'before' | 'after'; readonly write: (text: string) => void }) => void): Promise<{ readonly result: PatchResult; readonly text: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-change-'));
  const config = join(folder, 'bkg.yaml');
  const journalFolder = join(folder, 'journal');
  mkdirSync(journalFolder);
  const write = (text: string): void => writeFileSync(config, text);
  const store = openStore(join(folder, 'bkg.db'), { bootId: 'boot', secrets: PLAIN });
  const place = { config, installation: folder, env: {}, seal: (text: string): string => text };
  const inForce = openInForce({ ...place, store, event: () => undefined });
  try {
    write(FIRST);
    const { desired: { revision } } = await inForce.boot();
    write(NOW);
    await inForce.read();
    let look = 0;
    const read = async (): ReturnType<typeof inForce.read> => {
      look += 1;
      save({ look, when: 'before', write });
      const found = await inForce.read();
      save({ look, when: 'after', write });
      return found;
    };
    const edits = openEdits({ ...place, journalFolder, inForce: { ...inForce, read }, textOf: store.textOf, audit: () => undefined, plan: () => NOTHING_TO_DO, taken: async () => undefined });
    const result = await edits.patch({ actor: { name: 'admin', source: 'api' }, change: { rollback: revision }, ifRevision: null, dryRun: false });
    return { result, text: readFileSync(config, 'utf8') };
  } finally {
    store.close();
    rmSync(folder, { recursive: true });
  }
}

test('without a save in between the earlier bytes are back', async () => {
  const { result, text } = await raced(() => undefined);
  assert.ok(result.ok, JSON.stringify(result));
  assert.is(text, FIRST);
});

for (const look of [1, 2]) {
  for (const when of ['before', 'after'] as const) {
    test(`a key that a save removes ${when} look ${look} stays removed`, async () => {
      let saved = false;
      const { result, text } = await raced((moment) => {
        if (saved || moment.look !== look || moment.when !== when) return;
        saved = true;
        moment.write(WITHOUT);
      });
      assert.ok(saved, 'the moment came');
      assert.ok(result.ok, JSON.stringify(result));
      assert.is(text, FIRST.replace(key('gone'), ''));
    });
  }
}

test.run();
