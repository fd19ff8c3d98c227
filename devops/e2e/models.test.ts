// Models by the command line and over HTTP, on a real appliance with a file server on this machine: pull, list, remove, and what is told when it goes wrong.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { WebSocket } from 'undici';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ModelView } from '../../reconciler/index.ts';
import { reaches, settles, until, type Appliance } from './appliance.ts';
import { bkg, bytes, declared, done, model, openings, refused, running, sha256, yaml } from './model-world.ts';

const { web, open, close } = openings();
const isUnderWay = (view: { readonly phase: string; readonly bytes: number; readonly bytesTotal: number | null }): boolean => view.phase === 'fetching' && view.bytes > 0 && view.bytes < bytes.length && view.bytesTotal === bytes.length;
const underWay = (house: Appliance, id: string): Promise<unknown> => until(`some of ${id} has come`, async () => isUnderWay(await model(house, id)));
const kept = (house: Appliance): boolean => existsSync(join(house.home, 'models', 'sha256', `${sha256}.gguf`));

const models = suite('models');
models.after.each(close);

models('pull declares and fetches, shows how it comes on, and ends when the bytes are here', async () => {
  const outside = await web();
  const house = await open();
  const { folder } = house;
  await reaches(house, 'one', 'running');
  const frames: { readonly topic: string; readonly id: string; readonly phase: string; readonly bytes: number; readonly bytesTotal: number | null }[] = [];
  const socket = new WebSocket(`${house.url.replace('http', 'ws')}/ws/plugins`, { headers: { authorization: `Bearer ${house.token}` } });
  socket.addEventListener('message', (message) => frames.push(JSON.parse(String(message.data)) as typeof frames[number]));
  socket.addEventListener('open', () => socket.send(JSON.stringify({ action: 'SUB', topic: 'models' })));
  await until('the models are told', () => frames.some(({ id }) => id === 'here'));

  const pulling = running(folder, ['pull', `${outside.url}/slow-One.gguf`, '--sha256', sha256]);
  await underWay(house, 'slow-one');
  await until('the command shows it', () => pulling.said().includes('slow-one: '));
  assert.match(declared(house), new RegExp(`\\n  here: .*# kept\\n {2}slow-one:[^#]*${outside.url}/slow-One\\.gguf[^#]*${sha256}`));
  assert.match((await done(folder, 'list')).stdout, new RegExp(`^slow-one +present +fetching [1-9]\\d? % +2\\.4 MiB +${sha256.slice(0, 12)} +${outside.url}/slow-One\\.gguf$`, 'm'));
  outside.release();
  const { code, stdout, stderr } = await pulling.ended;
  assert.equal([code, stdout], [0, `slow-one is here: 2.4 MiB, sha256 ${sha256}\n`], stderr);
  assert.match(stderr, /^The file declares slow-one now\.\nslow-one: \d+ %, .* of 2\.4 MiB/);
  await until('the socket told it', () => frames.some(({ id, phase }) => id === 'slow-one' && phase === 'present'));
  assert.ok(frames.some((frame) => frame.id === 'slow-one' && isUnderWay(frame)), JSON.stringify(frames));
  assert.ok(kept(house));
  assert.match((await done(folder, 'list')).stdout, /^here +present +present +2\.4 MiB +\w+ +one +file:/m);

  const again = await done(folder, 'pull', `${outside.url}/slow-One.gguf`);
  assert.match(again.stderr, /^The file declares slow-one already\.\n$/);
  assert.match(again.stdout, /^slow-one is here/);
  await refused(folder, ['pull', `${outside.url}/other.gguf`, '--name', 'slow-one'], /There is a model slow-one already, with another source \(http.*\)\.\n.*--name.*bkg patch \/models\/slow-one\/source/);
  const gone = await done(folder, 'remove', 'slow-one');
  assert.match(gone.stdout, /^slow-one is removed from the file\.\n$/);
  assert.match(gone.stderr, /bytes stay on the disk.*bkg model prune/);
  await until('the socket told that', () => frames.some(({ id, phase }) => id === 'slow-one' && phase === 'absent'));
  socket.close();
  assert.is(declared(house), yaml, 'what was added is gone again, byte for byte');
  assert.ok(kept(house), 'its bytes are for when it is declared again');
  const asked = outside.seen.length;
  await done(folder, 'pull', `${outside.url}/slow-One.gguf`, '--sha256', sha256);
  assert.is(outside.seen.length, asked, 'and then need not come again');
});

models('whoever ends the command does not end the download', async () => {
  const outside = await web();
  const house = await open();
  const pulling = running(house.folder, ['pull', `${outside.url}/slow.gguf`]);
  await underWay(house, 'slow');
  await until('the command waits', () => pulling.said().includes('slow: '));
  pulling.child.kill('SIGINT');
  const { code, stdout, stderr } = await pulling.ended;
  assert.equal([code, stdout], [130, '']);
  assert.match(stderr, /The download goes on without this command: bkg model list shows it, bkg model remove slow ends it\.\n$/);
  assert.is((await model(house, 'slow')).phase, 'fetching');
  const begun = await done(house.folder, 'pull', `${outside.url}/slow-two.gguf`, '--no-wait');
  assert.match(begun.stdout, /^slow-two is on its way/);
  await underWay(house, 'slow-two');
  assert.match((await done(house.folder, 'remove', 'slow-two')).stderr, /^Its download ends; what has come of it stays/);
  assert.is((await house.ask('/api/models/slow-two')).status, 404);
  outside.release();
  await until('it is here', async () => (await model(house, 'slow')).phase === 'present');
});

models('a pull that cannot be tells why, is tried again when it is asked for again, and a line that breaks is waited through', async () => {
  const outside = await web();
  const house = await open();
  const { folder } = house;
  outside.gone.add('gone.gguf');
  const failed = await bkg(folder, 'pull', `${outside.url}/gone.gguf`);
  assert.equal([failed.code, failed.stdout], [1, '']);
  assert.match(failed.stderr, /\ngone NotFound: .*\/gone\.gguf does not exist \(404\).*\nThe file declares it yet.*bkg patch \/models\/gone\/source.*bkg model remove gone/);
  assert.match((await done(folder, 'list')).stdout, /^gone +present +failed .*\n\ngone NotFound: /ms);
  const json = await bkg(folder, 'pull', `${outside.url}/gone.gguf`, '--json');
  const found = JSON.parse(json.stdout) as { readonly model: ModelView; readonly changed: boolean };
  assert.equal([json.code, json.stderr, found.changed, found.model.phase, found.model.conditions[0]?.reason], [1, '', false, 'failed', 'NotFound']);
  const waited = await house.ask('/api/models/download?wait=converged', { method: 'POST', body: { source: `${outside.url}/gone.gguf` } });
  assert.equal([waited.status, (waited.body as { code: string }).code], [409, 'NotConverged']);
  outside.gone.clear();
  assert.match((await done(folder, 'pull', `${outside.url}/gone.gguf`)).stdout, /^gone is here/);

  assert.match((await done(folder, 'pull', `${outside.url}/cut.gguf`)).stdout, /^cut is here/);
  await refused(folder, ['pull', 'models/x.gguf'], /"models\/x\.gguf" is no source of a model\.\n.*hf:\/\/org\/repo\/path.*file:path/);
  await refused(folder, ['pull', 'bkg.yaml'], /For this file: file:bkg\.yaml/);
  await refused(folder, ['pull', 'https://h/x', '--sha256', 'abc'], /"abc" is no sha256/);
  await refused(folder, ['remove', 'nobody'], /There is no model nobody\.\n.*bkg model list/);
});

models('for a role of a plugin: pull assigns, and what is in use stays unless it is forced', async () => {
  const outside = await web();
  const house = await open();
  const { folder } = house;
  await reaches(house, 'one', 'running');
  const made = await done(folder, 'pull', `${outside.url}/new.gguf`, '--name', 'fresh', '--for', 'one');
  assert.match(made.stderr, /^The file declares fresh now, for one \(chat\)\.\n/);
  await settles(house);
  assert.equal((await reaches(house, 'one', 'running')).models, { chat: 'fresh' });
  await refused(folder, ['pull', `${outside.url}/new.gguf`, '--for', 'one:talk'], /one has no role "talk"\. It has chat\./);
  await refused(folder, ['pull', `${outside.url}/new.gguf`, '--for', 'two'], /There is no plugin two/);
  await refused(folder, ['remove', 'fresh'], /fresh fills a role of one \(chat\)\.\n.*--force/);
  assert.match((await done(folder, 'list')).stdout, /^fresh .* one +http/m);
  const forced = await done(folder, 'remove', 'fresh', '--force', '--json');
  assert.equal((JSON.parse(forced.stdout) as { unassigned: unknown }).unassigned, [{ plugin: 'one', role: 'chat' }]);
  assert.is(declared(house), yaml.replace(', models: { chat: here }', ''));
  assert.equal((await house.plugin('one')).models, {});
});

models('two that are declared in the same moment under the same file name both stand in the file', async () => {
  const outside = await web();
  const house = await open();
  const urls = ['a', 'b', 'c'].map((folder) => `${outside.url}/${folder}/same.gguf`);
  const answers = await Promise.all(urls.map((source) => house.ask('/api/models/download', { method: 'POST', body: { source } })));
  assert.equal(answers.map(({ status }) => status), [202, 202, 202]);
  assert.equal(answers.map(({ body }) => (body as { readonly model: ModelView }).model.id).sort(), ['same', 'same-2', 'same-3']);
  for (const url of urls) assert.ok(declared(house).includes(url), url);
});

models.run();
