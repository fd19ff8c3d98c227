// Models while no bkg runs, and on a hub: the file is edited all the same, a search finds sources, and the hub's token goes nowhere else.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { reaches, until } from './appliance.ts';
import { bkg, declared, done, model, openings, refused, running, sha256, yaml } from './model-world.ts';

const TOKEN = 'hf_canary_8c1d';

const { web, open, again, close } = openings();
const models = suite('models without a bkg, and on a hub');
models.after.each(close);

models('while no bkg runs the file is edited, and the next start fetches', async () => {
  const outside = await web();
  const house = await open();
  const { folder } = house;
  await house.end();
  const made = await done(folder, 'pull', `${outside.url}/Next%20One.gguf`, '--for', 'one');
  assert.equal([made.stdout, made.stderr], ['next-one is declared, for one (chat).\n', 'No bkg runs here: the file was edited, the next start fetches the model.\n']);
  assert.match((await done(folder, 'list')).stdout, /^here +present +file:.*\nnext-one +present +one +http/m);
  await refused(folder, ['remove', 'next-one'], /next-one fills a role of one \(chat\)\.\n.*--force/);
  await refused(folder, ['pull', `${outside.url}/x.gguf`, '--for', 'one:talk'], /would not be valid[^]*no model role "talk"/);
  await refused(folder, ['pull', `${outside.url}/x.gguf`, '--for', 'two'], /no plugin two in the file\.\n.*Declared: one/);
  await refused(folder, ['pull', `${outside.url}/x.gguf`, '--name', 'here'], /There is a model here already/);
  assert.match((await done(folder, 'pull', `${outside.url}/Next%20One.gguf`)).stderr, /the file says so already/);
  assert.equal(outside.seen, []);
  const next = await again(house);
  await until('the start has fetched it', async () => (await model(next, 'next-one')).phase === 'present');
  await reaches(next, 'one', 'running');
  await next.end();
  assert.equal((JSON.parse((await done(folder, 'remove', 'next-one', '--force', '--json')).stdout) as { removed: boolean }).removed, true);
  assert.is(declared(house), yaml.replace(', models: { chat: here }', ''));
});

models('search asks the hub that is named, the token goes nowhere else, and a hub that is away is told', async () => {
  const store = await web();
  const hub = await web(() => store);
  const env = { HF_ENDPOINT: hub.url, HF_TOKEN: TOKEN };
  const house = await open({ env });
  const { folder } = house;
  const { stdout, stderr } = await done(folder, 'search', 'small', 'one');
  assert.match(stdout, /^hf:\/\/org\/small-gguf\/small-Q4_K_M\.gguf +2\.4 MiB +12,345 +6 +mit +2026-03-04 +Q8_0 4\.9 MiB$/m);
  assert.match(stdout, /^org\/closed: no whole model +7 +0 +gated$/m);
  assert.match(stderr, /bkg model pull SOURCE[^]*gated: .*HF_TOKEN/);
  assert.is(hub.seen[0]?.query.get('search'), 'small one');
  const found = JSON.parse((await done(folder, 'search', 'small', 'one', '--json')).stdout) as { models: { id: string; sources: { sha256: string | null }[] }[] };
  assert.equal([found.models[0]?.id, found.models[0]?.sources[0]?.sha256], ['org/small-gguf', sha256]);
  assert.is(hub.seen.filter(({ path }) => path === '/api/models').length, 1, 'the same question is asked once a minute');

  // A page of the hub, as copied from a browser, is the file it shows.
  await done(folder, 'pull', 'https://huggingface.co/org/small-gguf/blob/main/small-Q4_K_M.gguf?download=true', '--name', 'small');
  assert.match(declared(house), /small:\s[^#]*hf:\/\/org\/small-gguf\/small-Q4_K_M\.gguf\n/);
  assert.ok(hub.seen.length > 0 && hub.seen.every(({ authorization }) => authorization === `Bearer ${TOKEN}`));
  assert.ok(store.seen.length > 0 && store.seen.every(({ authorization }) => authorization === undefined), 'where the hub sends on to gets no token');

  await hub.close();
  const away = await bkg(folder, 'search', 'other');
  assert.equal([away.code, away.stdout], [1, '']);
  assert.match(away.stderr, /127\.0\.0\.1:\d+ cannot be reached: .*HTTPS_PROXY.*HF_ENDPOINT.*file:/s);
  const { status, body } = await house.ask('/api/models/search?q=other');
  assert.equal([status, (body as { code: string }).code], [503, 'HubUnreachable']);
  for (const text of [stdout, stderr, away.stderr, JSON.stringify(body), house.output(), declared(house)]) assert.is(text.includes(TOKEN), false);
  await refused(folder, ['search', 'x', '--limit', '0'], /--limit 0: a whole number from 1 to 50/);

  await house.end();
  const here = running(folder, ['search', 'x', '--limit', '2'], { HF_ENDPOINT: store.url });
  assert.match((await here.ended).stdout, /^hf:\/\/org\/small-gguf\//m, 'without a bkg the command itself asks');
});

models.run();
