// Desired follows from the file, the manifests and the environment; what is wrong is said at its place.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ResolveInput, usesOf } from './resolve.ts';
import { bundled, codes, good, onlyPlugin, pluginOf, run, x } from './resolve-sample.ts';
import type { DesiredPlugin, Json, Manifest, Problem } from './types.ts';

test('a small file, complete', () => {
  const desired = good({
    version: 1,
    models: {
      mini: { source: 'bundled:models/mini.gguf', sha256: 'a'.repeat(64) },
      qwen: { source: 'hf://Qwen/R/sub/q.gguf@v2', state: 'ondemand' },
    },
    plugins: {
      llmserver: {
        models: { chat: 'mini' },
        config: { size: 4096 },
        limits: { memory: '2GiB', cpu: '150%', requestsPerMinute: 5, capabilities: { 'llm.chat': { requestsPerMinute: 3 } } },
        grants: ['repo.read'],
      },
    },
  });
  const plugin = pluginOf(desired, 'llmserver');
  assert.equal(desired.server, { host: '127.0.0.1', names: [], ports: { web: 43117, api: 43119, bus: 43121 }, tls: null, origins: [], rateLimit: { requestsPerMinute: 600 } });
  assert.equal(
    desired.models.map(({ name, source, state }) => [name, source, state]),
    [
      ['mini', { kind: 'file', path: '/inst/models/mini.gguf' }, 'present'],
      ['qwen', { kind: 'hf', org: 'Qwen', repo: 'R', path: 'sub/q.gguf', revision: 'v2' }, 'ondemand'],
    ],
  );
  assert.equal(plugin.config, { size: 4096, temperature: 0.7, live: {} });
  assert.equal(
    [plugin.use, plugin.state, plugin.idle_ms, plugin.memory_bytes, plugin.cpu_percent, plugin.timeout_ms],
    ['llmserver', 'running', 600_000, 2 ** 31, 150, 300_000],
  );
  assert.equal(plugin.ready, { path: '/health', timeout_ms: 300_000 });
  assert.equal(plugin.stop, { signal: 'SIGTERM', drain_ms: 30_000, grace_ms: 10_000 });
  assert.equal(plugin.restart, { first_ms: 1000, max_ms: 60_000 });
  assert.equal(plugin.models, [
    { role: 'chat', model: 'mini', required: false, format: 'gguf', serves: ['llm.chat', 'llm.embed'] },
    { role: 'embed', model: null, required: false, format: 'any', serves: ['llm.embed'] },
  ]);
  assert.equal(plugin.capabilities[0], {
    id: 'llm.chat',
    method: 'POST',
    path: '/v1/chat/completions',
    description: '',
    stream: true,
    input: null,
    output: null,
    limits: { requestsPerMinute: 3, concurrent: 2 },
  });
  assert.equal(
    [plugin.limits, plugin.grants, plugin.calls],
    [{ requestsPerMinute: 5, concurrent: null }, ['repo.read'], ['repo.read', 'repo.write']],
  );
});

test('usesOf takes anything', () => {
  assert.equal(usesOf({ plugins: { a: null, b: { use: './f' }, c: { manifest: { run: ['x'] } }, d: { use: '${env:U:-e}' }, f: 3 } }), {
    a: { use: null, manifest: null },
    b: { use: './f', manifest: null },
    c: { use: null, manifest: { run: ['x'] } },
    d: { use: 'e', manifest: null },
    f: { use: null, manifest: null },
  });
  fc.assert(fc.property(fc.jsonValue(), (value) => assert.type(usesOf(value as Json), 'object')));
});

test('an empty plugin runs with every default', () => {
  assert.equal(onlyPlugin(null).config, { size: 2048, temperature: 0.7, live: {} });
});

test('references, also in settings and inline manifests, by the type of their schema', () => {
  const env = { SIZE: '99', TOKEN: 't', BIN: '/bin/raw', P: '0.5' };
  assert.is(onlyPlugin({ config: { size: '${env:SIZE}', temperature: '${env:P}' } }, { env }).config['size'], 99);
  assert.equal(onlyPlugin({ env: { T: '${env:TOKEN}' } }, { env }).env, { T: 't' });
  const raw = onlyPlugin({ manifest: { run: ['${env:BIN}', '{port}'], ready: { timeout: '9s' } } }, { env });
  assert.equal([raw.run, raw.ready.timeout_ms, raw.package.folder], [['/bin/raw', '{port}'], 9000, null]);
});

test('a missing reference is one problem, wherever it stands', () => {
  assert.equal(codes(run(x({ config: { size: '${env:NONE}' }, env: { A: '${env:GONE}' } }))), [
    'MissingReference /plugins/x/env/A',
    'MissingReference /plugins/x/config/size',
  ]);
  assert.equal(codes(run(x({ manifest: { run: ['${env:BIN}'] } }))), ['MissingReference /plugins/x/manifest/run/0']);
  assert.equal(codes(run({ version: 1, server: { ports: { web: '${env:NONE}' } } })), ['MissingReference /server/ports/web']);
});

test('a value out of the environment is not shown', () => {
  const { problems } = run(x({ config: { size: '${env:A}' }, idle: '5m' }), { env: { A: 'geheim' } });
  assert.equal(
    problems.map((problem) => problem.code),
    ['WrongType'],
  );
  const top = run({ version: 1, server: { ports: { web: '${env:A}' } } }, { env: { A: 'geheim' } });
  assert.is(top.problems.length, 1);
  assert.not.match(JSON.stringify([problems, top.problems]), 'geheim');
});

test('mistakes of several plugins come in one go, each at its place', () => {
  const result = run({
    version: 1,
    models: { mini: { source: 'file:m.gguf' }, gone: { source: 'file:g', state: 'absent' } },
    plugins: {
      a: { models: { chta: 'mini', embed: 'mni', chat: 'gone' } },
      b: { config: { sise: 1 } },
      c: { grants: ['repo.raed'], limits: { capabilities: { 'llm.cat': {} } } },
      d: { env: { BKG_PORT: '1', API_TOKEN: 'abc', OTHER_KEY: '${env:K:-}', PLAIN: 'x' } },
      e: { state: 'runing' },
      f: { needs: ['g'] },
      g: { needs: ['f', 'h'] },
    },
  });
  assert.is(result.desired, null);
  assert.equal([...codes(result)].sort(), [
    'LiteralSecret /plugins/d/env/API_TOKEN',
    'ModelAbsent /plugins/a/models/chat',
    'NeedsCycle /plugins/f/needs/0',
    'NotAllowed /plugins/e/state',
    'ReservedName /plugins/d/env/BKG_PORT',
    'UnknownCapability /plugins/c/limits/capabilities/llm.cat',
    'UnknownGrant /plugins/c/grants/0',
    'UnknownKey /plugins/b/config/sise',
    'UnknownModel /plugins/a/models/embed',
    'UnknownPlugin /plugins/g/needs/1',
    'UnknownRole /plugins/a/models/chta',
  ]);
  assert.equal(
    result.problems.filter((problem) => problem.hint === null),
    [],
  );
  assert.not.match(JSON.stringify(result.problems), '"abc"');
});

test('warnings do not make the file invalid', () => {
  const result = run(
    x({ env: { API_KEY: 'abc' } }, { keys: { k: { user: 'nobody', scopes: [], hash: `$2b$04$${'a'.repeat(53)}`, plugins: ['y'] } } }),
  );
  assert.ok(result.desired);
  assert.equal(codes(result), ['LiteralSecret /plugins/x/env/API_KEY', 'UnknownUser /keys/k/user', 'NoScope /keys/k/scopes', 'UnknownPlugin /keys/k/plugins/0']);
});

test('keys and people who can do less than was meant are told, and refused by nobody', () => {
  const hash = `$2b$04$${'a'.repeat(53)}`;
  const told = (users: Json, keys: Json = {}): readonly string[] => {
    const result = run(x({}, { users, keys }));
    assert.ok(result.desired);
    return codes(result);
  };
  const password = { hash };
  const admin = { role: 'admin', password };
  const key = (more: object): Json => ({ k: { user: 'a', scopes: ['*'], hash, ...more } });
  assert.equal(told({ a: admin }, key({ scopes: ['*', 'capability.*', 'config.read', 'config.*', 'house.log', 'llm.chat', 'llm.*'] })), []);
  assert.equal(told({ a: admin }, key({ scopes: ['config.raed', 'llm.chta', 'lmm.*'] })), ['UnknownScope /keys/k/scopes/0', 'UnknownScope /keys/k/scopes/1', 'UnknownScope /keys/k/scopes/2']);
  assert.equal(told({ a: admin }, key({ expires: '2025-12-31' })), ['KeyEnded /keys/k/expires']);
  assert.equal(told({ a: admin }, key({ expires: '2026-01-02' })), []);
  assert.equal(told({ a: { role: 'developer', password }, b: { role: 'admin' } }), ['NoAdmin /users']);
  assert.equal(told({ a: { role: 'developer' } }), [], 'nobody signs in here at all');
  assert.equal(told({ a: { role: 'admin', password: { env: 'SOME_PASSWORD' } } }), []);
  const { problems } = run(x({}, { users: { a: { role: 'admin', password: { env: 'no name' } } } }));
  assert.match(problems[0]?.hint ?? '', 'letters, digits and _');
});

test('secrets in plain text: what the API refuses, the file is warned of', () => {
  const config = { type: 'object', properties: { pin: { type: 'string', 'x-secret': true }, size: { type: 'integer' } } };
  const plugin = (more: object): Json => x({ manifest: { run: ['x'], config }, ...more });
  const literals = (more: object, env: Record<string, string> = {}): readonly string[] => codes(run(plugin(more), { env }));
  assert.equal(literals({ env: { LOG_LEVEL: 'debug', MAX_TOKENS: '5', PASSWORD_FILE: '/run/p' } }), []);
  assert.equal(literals({ env: { api_key: 'abc', KEY_ID: 'abc', T_TOKEN: 'a ${env:A}', U_TOKEN: '${env:A}', V_TOKEN: '${env:B:-abc}', W_TOKEN: '' } }, { A: 'x' }), [
    'LiteralSecret /plugins/x/env/api_key', 'LiteralSecret /plugins/x/env/KEY_ID', 'LiteralSecret /plugins/x/env/T_TOKEN', 'LiteralSecret /plugins/x/env/V_TOKEN',
  ]);
  assert.equal(literals({ config: { pin: '1234', size: 3 } }), ['LiteralSecret /plugins/x/config/pin']);
  assert.equal(literals({ config: { pin: '${env:A}' } }, { A: 'x' }), []);
  assert.not.match(JSON.stringify(run(plugin({ env: { api_key: 'geheim' }, config: { pin: 'geheim' } })).problems), 'geheim');
});

test('a role, a setting that the command needs', () => {
  const inline = (more: Json): Json => x({ manifest: { run: ['x', '{models.chat}'], models: { chat: {} }, ...(more as object) } });
  assert.equal(codes(run(inline({}))), ['MissingModel /plugins/x/models']);
  assert.equal(codes(run(inline({ models: { chat: { required: true } } }))), ['MissingModel /plugins/x/models']);
  assert.equal(codes(run(inline({ run: ['x', '{config.a}'], config: { type: 'object', properties: { a: { type: 'string' } } } }))), [
    'MissingSetting /plugins/x/config',
  ]);
  assert.equal(codes(run(inline({ run: ['x', '{prot}'] }))), ['UnknownPlaceholder /plugins/x/manifest/run/1']);
  assert.equal(codes(run(inline({ run: ['x', ['{config.a}']] }))), ['UnknownPlaceholder /plugins/x/manifest/run/1/0']);
  assert.match(run(inline({ run: ['x', '{prot}'] })).problems[0]?.hint ?? '', /Did you mean "port"\? .*\{\{prot\}\}/);
  assert.equal(codes(run(inline({ run: ['x'], models: { chat: { serves: ['a.b'] } } }))), [
    'UnknownCapability /plugins/x/manifest/models/chat/serves/0',
  ]);
  assert.ok(run(inline({ run: ['x', ['{models.chat}']] })).desired);
});

test('a plugin without a package, and one with a bad manifest', () => {
  const missing: Problem = {
    code: 'UnknownPackage',
    pointer: '/plugins/x',
    line: null,
    column: null,
    message: 'no such plugin',
    hint: null,
    severity: 'error',
  };
  assert.equal(run(x({}), { packages: { x: missing } }).problems, [missing]);
  const bad = run(x({ use: './p' }), { packages: { x: { ...bundled, manifest: { rum: ['x'] } as unknown as Manifest } } });
  assert.ok(bad.problems.length === 2 && bad.problems.every((problem) => problem.pointer === '/plugins/x/use'));
  assert.match(bad.problems[0]?.message ?? '', /^In the manifest of \.\/p, at /);
  assert.throws(() => run(x({}), { packages: {} }), /no package/);
});

test('ports in the environment win', () => {
  assert.equal(good({ version: 1 }, { env: { BKG_WEB_PORT: '1234', BKG_API_PORT: '0', BKG_PLUGIN_BUS_PORT: '' } }).server.ports, {
    web: 1234,
    api: 0,
    bus: 43121,
  });
  assert.equal(codes(run({ version: 1 }, { env: { BKG_WEB_PORT: 'eighty' } })), ['WrongEnvironment /server/ports/web']);
});

test('grants by pattern become names', () => {
  assert.equal(onlyPlugin({ grants: ['repo.*'] }).grants, ['repo.read', 'repo.write']);
});

test('what begins with house. is bkg’s own', () => {
  const offering = (id: string): Json => x({ manifest: { run: ['x'], capabilities: { [id]: { http: 'POST /' } } } });
  assert.equal(codes(run(offering('house.createKey'))), ['ReservedName /plugins/x/manifest/capabilities/house.createKey']);
  assert.equal(codes(run(x({ use: './p' }), { packages: { x: { ...bundled, manifest: { run: ['x'], capabilities: { 'house.any': { http: 'POST /' } } } } } })), ['ReservedName /plugins/x/use']);
  assert.ok(run(offering('housekeeping.do')).desired);
  assert.equal(good({ version: 1, plugins: { x: { manifest: { run: ['x'], calls: ['house.createKey', 'house.login'] }, grants: ['house.*'] } } }).plugins[0]?.grants, ['house.createKey', 'house.login']);
});

test('secrets are in the hashes only sealed', () => {
  const plain: string[] = [];
  const desired = good(x({ env: { A: 'geheim' }, config: { size: 7 } }), {
    hash: (text) => {
      plain.push(text);
      return 'h';
    },
    seal: () => 's',
  });
  assert.not.match(plain.join('\n'), 'geheim');
  assert.equal([pluginOf(desired, 'x').launchHash, pluginOf(desired, 'x').configHash], ['s', 's']);
});

test('what restarts and what does not', () => {
  const before = onlyPlugin({ models: { chat: 'mini' } });
  const after = (plugin: Json, more: Partial<ResolveInput> = {}): DesiredPlugin =>
    onlyPlugin({ models: { chat: 'mini' }, ...(plugin as object) }, more);
  for (const plugin of [
    { config: { size: 1 } },
    { env: { A: '1' } },
    { models: { chat: 'mini', embed: 'mini' } },
    { models: {} },
    { config: { live: { fixed: 1 } } },
  ] as Json[]) {
    assert.is.not(after(plugin).launchHash, before.launchHash, JSON.stringify(plugin));
  }
  assert.is.not(after({}, { packages: { x: { ...bundled, contentHash: 'new' } } }).launchHash, before.launchHash);
  for (const plugin of [
    { state: 'stopped' },
    { idle: '1m' },
    { limits: { memory: '1GiB' } },
    { restart: { max: '9s' } },
    { grants: ['repo.read'] },
    { config: { temperature: 1 } },
    { config: { size: 2048 } },
  ] as Json[]) {
    assert.is(after(plugin).launchHash, before.launchHash, JSON.stringify(plugin));
  }
});

test.run();
