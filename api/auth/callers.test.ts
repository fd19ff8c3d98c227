// The name that stands for who called: for how long, for whom it is good, and what a plugin may do with it.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { answering, type Asking, openAsking, said } from '../testing/asking.ts';
import { type Reply, TOKEN, until } from '../testing/doors.ts';

const test = suite('callers');
let here: Asking;
test.before(async () => { here = await openAsking(); });
test.after(() => here.close());
test.before.each(() => here.begin());

test('behind several plugins each of them must hold what is done', async () => {
  const anna = await here.key('boss', 'anna', ['*']);
  const chain = (scopes: readonly string[]): Promise<Reply> => {
    here.state.work = (name, plugin) => (plugin === 'caller' ? here.ask('other.do', {}, { name }) : here.ask('house.createKey', { id: 'far', scopes }, { name, token: 'token-of-echo' }));
    return here.invoke(anna);
  };
  const refused = await chain(['llm.chat']);
  assert.equal(said(refused), [403, 'ScopeMissing']);
  assert.match(String(refused.body['detail']), 'keys.write, which plugin caller does not have');
  here.grant({ caller: ['other.do', 'keys.write', 'llm.chat'] });
  const beyond = await chain(['repo.read']);
  assert.equal(said(beyond), [403, 'ScopeMissing']);
  assert.match(String(beyond.body['detail']), 'key boss through caller');
  assert.is((await chain(['llm.chat'])).status, 201);
  assert.is(here.doors.patches.at(-1)!.actor.name, 'key boss');
  // And the first of three: it comes back to the one it began with.
  here.grant({ caller: ['other.do', 'work.do', 'house.createKey'], echo: ['work.do', 'keys.write', 'llm.chat'] });
  const ways = ['other.do', 'work.do', 'house.createKey'];
  here.state.work = (name, plugin) => here.ask(ways.shift()!, ways.length === 0 ? { id: 'third', scopes: ['llm.chat'] } : {}, { name, token: `token-of-${plugin}` });
  assert.match(String((await here.invoke(anna)).body['detail']), 'keys.write, which plugin caller does not have');
  assert.equal([ways.length, here.state.people.keys['third']], [0, undefined]);
});

test('a name stands for somebody while their call lasts, for the process it was given to', async () => {
  let kept = '';
  here.state.work = async (name) => {
    kept = name!;
    return here.ask('house.createKey', { id: 'a', user: 'anna', scopes: ['llm.chat'] }, { name, token: 'token-of-echo' });
  };
  assert.equal(said(await here.invoke(TOKEN)), [401, 'CallerUnknown']);
  assert.match(kept, /^[\w-]{32}$/);
  for (const name of [kept, '', 'made-up', `${kept}, ${kept}`]) assert.equal(said(await here.ask('house.listKeys', {}, { name })), [401, 'CallerUnknown'], name);
  assert.equal(said(await here.ask('llm.chat', {}, { name: kept })), [401, 'CallerUnknown']);
  const first = kept;
  await here.invoke(TOKEN);
  assert.is.not(kept, first);
});

test('who is revoked while the plugin works is nobody for it at once', async () => {
  const anna = await here.key('boss', 'anna', ['*']);
  let heard: Reply | null = null;
  here.state.work = async (name) => {
    here.revoke('boss');
    return (heard = await here.ask('house.createKey', { id: 'a', scopes: ['*'] }, { name }));
  };
  await here.invoke(anna);
  assert.equal(said(heard!), [401, 'KeyWrong']);
  assert.is(here.doors.patches.length, 0);
});

test('a call between plugins runs with what caller and plugin both may', async () => {
  const onward = (token: string, pass = true): Promise<Reply> => {
    here.state.work = (name, plugin) => (plugin === 'caller' ? here.ask('llm.chat', {}, { name: pass ? name : undefined }) : Promise.resolve(answering('{"said":"hello"}')));
    return here.invoke(token);
  };
  const poor = await here.key('poor', 'anna', ['work.do']);
  const refused = await onward(poor);
  assert.equal(said(refused), [403, 'ScopeMissing']);
  assert.match(String(refused.body['detail']), 'llm.chat, which key poor does not have');
  assert.is((await onward(poor, false)).status, 200, 'without a name the plugin calls for itself');
  const able = await here.key('able', 'anna', ['work.do', 'llm.chat'], { limits: { concurrent: 1 } });
  here.doors.accounts.length = 0;
  assert.is((await onward(able)).status, 200, 'the call on is part of the one it is for');
  await until(() => here.doors.accounts.length === 2, 'both are accounted for');
  assert.equal(here.doors.accounts.map(({ key: id, plugin }) => [id, plugin]), [['able', 'echo'], ['able', 'caller']]);
  const frugal = await here.key('frugal', 'anna', ['work.do', 'llm.chat'], { limits: { tokensPerMinute: 10 } });
  here.state.work = async (name, plugin) => {
    const text = '{"usage":{"prompt_tokens":8,"completion_tokens":70,"total_tokens":78}}';
    if (plugin === 'echo') return answering(text);
    const { status } = await here.ask('llm.chat', {}, { name });
    return answering('{}', status);
  };
  assert.equal([(await here.invoke(frugal)).status, (await here.invoke(frugal)).status], [200, 429], 'what it takes is owed by who called');
  assert.equal(said(await onward(await here.key('near', 'anna', ['work.do', 'llm.chat'], { plugins: ['caller'] }))), [403, 'PluginNotAssigned']);
  here.grant({ caller: [] });
  assert.equal(said(await onward(able)), [403, 'NotGranted']);
});

test.run();
