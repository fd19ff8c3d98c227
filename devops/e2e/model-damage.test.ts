// A bit that flips on the disk, on a real appliance: found by the next full check, told by the model and by the plugin that uses it, and mended.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Condition, ModelView, PluginView } from '../../reconciler/index.ts';
import { reaches, until, type Appliance } from './appliance.ts';
import { bkg, bytes, declared, done, model, openHouse, openWeb, sha256, yaml, type Web } from './model-world.ts';

let web: Web;
let house: Appliance;
const damage = suite('model damage');
damage.before(async () => {
  web = await openWeb();
  house = await openHouse();
  await reaches(house, 'one', 'running');
});
damage.after(async () => {
  await web.close();
  assert.equal(await house.dispose(), []);
});

/** Under the old time, to the nanosecond. */
function flip(path: string): void {
  const like = `${path}.time`;
  execFileSync('touch', ['-r', path, like]);
  const held = readFileSync(path);
  held[held.length - 1]! ^= 1;
  writeFileSync(path, held);
  execFileSync('touch', ['-r', like, path]);
  rmSync(like);
}
const plugin = async (): Promise<PluginView> => (await house.plugins()).find(({ id }) => id === 'one') as unknown as PluginView;
const condition = (of: { readonly conditions: readonly Condition[] }, type: string): Condition | undefined => of.conditions.find((one) => one.type === type);
const conditionOf = async (type: string): Promise<Condition | undefined> => condition((await model(house, 'm')) as ModelView, type);

damage('what is whole is verified; a flipped bit is found, the plugin says so, good bytes come again and a new process takes them', async () => {
  await done(house.folder, 'pull', `${web.url}/m.gguf`, '--name', 'm', '--for', 'one:chat');
  await until('the plugin has it', async () => { const one = await plugin(); return one.status === 'running' && one.models['chat'] === 'm'; });
  assert.match((await done(house.folder, 'verify', 'm')).stdout, new RegExp(`^m verified: all 2\\.4 MiB have the sha256 ${sha256}\\n$`));
  assert.equal([(await conditionOf('Verified'))?.status, condition(await plugin(), 'ModelsVerified')], ['True', undefined]);
  const before = await plugin();
  // It is not there to be fetched for now.
  web.gone.add('m.gguf');
  const path = join(house.home, 'models', 'sha256', `${sha256}.gguf`);
  flip(path);
  const found = await bkg(house.folder, 'verify');
  assert.is(found.code, 1);
  assert.match(found.stdout, /^m damaged: m is damaged: the bytes of .* have changed although its date has not: .*\.$/m);
  await until('the model says so', async () => (await conditionOf('Verified'))?.reason === 'Damaged');
  const sad = await plugin();
  assert.equal([condition(sad, 'ModelsVerified')?.reason, sad.pid], ['ModelDamaged', before.pid], 'what runs goes on');
  assert.is(existsSync(path), false);
  assert.is(readdirSync(join(house.home, 'models', 'quarantine')).length, 1);
  web.gone.delete('m.gguf');
  await done(house.folder, 'pull', `${web.url}/m.gguf`);
  await until('a new process has it', async () => { const one = await plugin(); return one.status === 'running' && one.incarnation !== before.incarnation; });
  assert.equal(readFileSync(path), bytes);
  assert.equal([(await conditionOf('Verified'))?.status, condition(await plugin(), 'ModelsVerified')], ['True', undefined]);
});

damage('prune takes what no declared model uses, and says before what it would take', async () => {
  await done(house.folder, 'pull', `${web.url}/other.gguf`, '--name', 'other', '--no-wait');
  await until('it is here', async () => (await model(house, 'other')).phase === 'present');
  await done(house.folder, 'remove', 'm', '--force');
  assert.match((await done(house.folder, 'prune')).stdout, /^Every file in the store belongs to a declared model\.\n$/, 'the other one has the same bytes');
  await done(house.folder, 'remove', 'other');
  const would = await done(house.folder, 'prune', '--dry-run');
  assert.match(would.stdout, new RegExp(`^would go +size\\nsha256/${sha256}\\.gguf +2\\.4 MiB\\n$`));
  const path = join(house.home, 'models', 'sha256', `${sha256}.gguf`);
  assert.ok(existsSync(path));
  const gone = await done(house.folder, 'prune');
  assert.equal([existsSync(path), /2\.4 MiB are free\.\n$/.test(gone.stderr)], [false, true]);
  assert.is(declared(house), yaml.replace(', models: { chat: here }', ''));
});

damage.run();
