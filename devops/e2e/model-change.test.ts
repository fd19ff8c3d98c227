// Another source or another hash of a model, by an edit of the file: who serves it goes on with the bytes of before until those declared are here and verified, and nobody else moves.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { reaches, settles, until, type Appliance } from './appliance.ts';
import { bytes, model, openings, otherSha256, sha256 } from './model-world.ts';

const { web, open, close } = openings();
const WRONG = 'f'.repeat(64);

const change = suite('change');
change.after.each(close);

const asked = async (house: Appliance, plugin: string): Promise<number> => (await house.ask('/v1/chat/completions', { method: 'POST', body: { model: plugin, messages: [] } })).status;
const pids = async (house: Appliance): Promise<readonly (number | null)[]> => (await house.plugins()).map(({ pid }) => pid);
const set = async (house: Appliance, fields: Readonly<Record<string, string>>): Promise<void> => {
  const answer = await house.ask('/api/config/models/m', { method: 'PATCH', body: fields, headers: { 'if-match': '*', 'content-type': 'application/merge-patch+json' } });
  assert.is(answer.status, 200, JSON.stringify(answer.body));
};

change('only who uses it begins anew, once the new bytes are verified; until then, and after wrong ones, the old go on', async () => {
  const outside = await web();
  const house = await open({
    yaml: `version: 1
models:
  m: { source: "${outside.url}/first.gguf", sha256: ${sha256} }
  other: { source: "${outside.url}/second.gguf" }
plugins:
  one: { use: ./plugins/echo, models: { chat: m } }
  two: { use: ./plugins/echo, models: { chat: other } }
  three: { use: ./plugins/echo }
`,
  });
  for (const id of ['one', 'two', 'three']) await reaches(house, id, 'running');
  await settles(house);
  const [first, ...others] = await pids(house);

  /** Until `over`, everybody has the process of before and answers. Returns how often it was looked. */
  const unmoved = async (over: () => Promise<boolean>): Promise<number> => {
    for (let looks = 1; ; looks += 1) {
      const isOver = await over();
      const [now, answers] = [await pids(house), [await asked(house, 'one'), await asked(house, 'two')]];
      if (isOver) return looks;
      assert.equal([now, answers], [[first, ...others], [200, 200]]);
    }
  };

  // Another source, with a hash that is not its own.
  await set(house, { source: `${outside.url}/slow-changed.gguf`, sha256: WRONG });
  await until('half of it has come', async () => { const view = await model(house, 'm'); return view.phase === 'fetching' && view.bytes >= Math.floor(bytes.length / 2); });
  let looks = 0;
  await unmoved(async () => (looks += 1) > 20);
  outside.release();
  await unmoved(async () => (await model(house, 'm')).phase === 'failed');
  const failed = await model(house, 'm');
  assert.is(failed.conditions[0]?.reason, 'HashMismatch');
  assert.equal([await pids(house), await asked(house, 'one')], [[first, ...others], 200], 'wrong bytes move nobody');

  // The right hash: now it is brought again, and taken.
  await set(house, { sha256: otherSha256 });
  await until('half of it has come again', async () => { const view = await model(house, 'm'); return view.phase === 'fetching' && view.bytes >= Math.floor(bytes.length / 2); });
  looks = 0;
  await unmoved(async () => (looks += 1) > 20);
  outside.release();
  const next = await until('one runs on it', async () => { const view = await house.plugin('one'); return view.pid !== first && view.status === 'running' ? view : null; });
  await settles(house);
  assert.is((await model(house, 'm')).sha256, otherSha256);
  assert.equal([await pids(house), await asked(house, 'one')], [[next.pid, ...others], 200], 'nobody else has moved');
  const events = ((await house.ask('/api/events?limit=1000')).body as { readonly events: readonly { readonly reason: string; readonly unit: string; readonly seq: number }[] }).events;
  const seqOf = (reason: string, unit: string): number => events.findLast((event) => event.reason === reason && event.unit === unit)!.seq;
  assert.ok(seqOf('ModelPresent', 'model/m') < seqOf('PluginStopped', 'plugin/one#0'), 'verified before the old process is ended');

  // The same bytes from elsewhere are the same model: nobody moves at all.
  const before = await pids(house);
  await set(house, { source: `${outside.url}/changed-too.gguf`, sha256: otherSha256 });
  await settles(house);
  assert.equal(await pids(house), before);
});

change.run();
