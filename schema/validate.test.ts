// Mistakes come back as Problems a person can act on, and no secret is in them.
import { Ajv } from 'ajv';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Problem } from './problem.ts';
import { validateConfig, validateDeclared, validateManifest, validateWire, withDefaults } from './validate.ts';
import { schemas } from './walk.ts';

const one = (problems: readonly Problem[]): Problem => {
  assert.is(problems.length, 1, JSON.stringify(problems, null, 1));
  return problems[0] as Problem;
};
const of = (rest: object): readonly Problem[] => validateDeclared({ version: 1, ...rest });
const plugin = (rest: object): readonly Problem[] => of({ plugins: { x: rest } });
const hash = `$2b$04$${'a'.repeat(53)}`;

test('the schemas of the house are strict JSON Schema', () => {
  const ajv = new Ajv({ strict: true, strictRequired: false, allowUnionTypes: true, discriminator: true });
  ajv.addVocabulary(['x-apply', 'x-secret', 'tsType']);
  for (const schema of Object.values(schemas)) ajv.addSchema(schema);
  for (const id of Object.keys(schemas)) assert.type(ajv.getSchema(id), 'function');
});

test('a whole good file', () => {
  assert.equal(
    of({
      server: { host: '127.0.0.1', ports: { web: 1 } },
      memory: '12GiB',
      drift: { ModelMissing: 'report' },
      models: { mini: { source: 'file:a.gguf' }, q: { source: 'hf://o/r/p.gguf@main', state: 'ondemand' } },
      plugins: { a: { models: { chat: 'mini' }, limits: { cpu: '150%', memory: '2GiB' } }, b: { manifest: { run: ['x'] } } },
      users: { admin: { role: 'admin', password: { env: 'P' } } },
      keys: { ci: { user: 'admin', scopes: ['llm.chat'], hash } },
    }),
    [],
  );
});

test('every mistake says where, what, and what to write', () => {
  const cases: readonly (readonly [readonly Problem[], string, string, RegExp, RegExp | null])[] = [
    [plugin({ confg: {} }), 'UnknownKey', '/plugins/x/confg', /plugins\.x has no setting "confg"/, /^Did you mean "config"\?$/],
    [plugin({ zzzzzzzzzz: 1 }), 'UnknownKey', '/plugins/x/zzzzzzzzzz', /zzz/, /^It knows: use, manifest, state/],
    [of({ Plugins: {} }), 'UnknownKey', '/Plugins', /^The file has no setting/, /"plugins"/],
    [
      plugin({ state: 'runing' }),
      'NotAllowed',
      '/plugins/x/state',
      /one of running, stopped, ondemand, but is the text "runing"/,
      /Did you mean "running"\?/,
    ],
    [of({ models: { a: {} } }), 'MissingKey', '/models/a', /models\.a needs "source"/, /Add source: …/],
    [
      of({ server: { ports: { web: '80' } } }),
      'WrongType',
      '/server/ports/web',
      /a whole number, but is the text "80"/,
      /^Write 80 without quotes/,
    ],
    [of({ server: { ports: { web: 70000 } } }), 'OutOfRange', '/server/ports/web', /must be 65535 or less, but is 70000/, null],
    [plugin({ idle: 10 }), 'WrongType', '/plugins/x/idle', /must be a text, but is 10/, /500ms, 10s/],
    [plugin({ idle: '10' }), 'WrongFormat', '/plugins/x/idle', /"10"/, /500ms, 10s/],
    [plugin({ needs: 'y' }), 'WrongType', '/plugins/x/needs', /must be a list/, /^Write \[y\]/],
    [plugin({ needs: ['y', 'y'] }), 'Repeated', '/plugins/x/needs', /twice/, /Remove one/],
    [plugin({ use: 'a', manifest: {} }), 'Conflict', '/plugins/x', /"use" and "manifest"/, /Remove "use" or "manifest"/],
    [plugin({ env: { PORT: 80 } }), 'WrongType', '/plugins/x/env/PORT', /must be a text, but is 80/, /quotes/],
    [plugin({ env: { PORT_KEY: 80 } }), 'WrongType', '/plugins/x/env/PORT_KEY', /must be a text, but is a number/, /quotes/],
    [plugin({ env: { 'a-b': 'x' } }), 'BadName', '/plugins/x/env/a-b', /"a-b"/, /match/],
    [of({ plugins: { Big: {} } }), 'BadName', '/plugins/Big', /"Big" is no name plugins allows/, /Lower-case/],
    [of({ plugins: [] }), 'WrongType', '/plugins', /must be a map/, null],
    [validateDeclared({}), 'MissingKey', '', /The file needs "version"/, /version/],
    [validateDeclared('text'), 'WrongType', '', /The file must be a map/, null],
    [validateDeclared({ version: 2 }), 'NotAllowed', '/version', /must be 1, but is 2/, null],
  ];
  for (const [problems, code, pointer, message, hint] of cases) {
    const problem = one(problems);
    assert.is(problem.code, code, message.source);
    assert.is(problem.pointer, pointer);
    assert.match(problem.message, message);
    if (hint !== null) assert.match(problem.hint ?? '', hint);
    assert.is(problem.severity, 'error');
  }
});

test('several mistakes all come back, each once', () => {
  const pointers = plugin({ state: 'x', idle: 1, limits: { concurrent: 0, memory: '1' } }).map((problem) => problem.pointer);
  assert.equal([...pointers].sort(), ['/plugins/x/idle', '/plugins/x/limits/concurrent', '/plugins/x/limits/memory', '/plugins/x/state']);
});

test('pointers of odd keys are escaped', () => {
  assert.is(one(plugin({ limits: { capabilities: { 'a/b~c': 1 } } })).pointer, '/plugins/x/limits/capabilities/a~1b~0c');
  assert.is(one(plugin({ 'a/b': 1 })).pointer, '/plugins/x/a~1b');
});

test('no secret is ever in a problem', () => {
  const secret = 'geheimnis-0815';
  const problems = [
    ...of({ users: { u: { role: 'admin', password: { hash: secret } } }, keys: { k: { user: 'u', scopes: [], hash: secret } } }),
    ...plugin({ env: { A: [secret] } }),
    ...validateDeclared({ version: 1, plugins: { x: { state: secret } } }, { hidden: (pointer) => pointer === '/plugins/x/state' }),
    ...validateConfig(
      { properties: { token: { type: 'string', pattern: '^t', 'x-secret': true } } },
      { token: secret },
      '/plugins/x/config',
    ),
    ...validateConfig({ properties: { n: { type: 'integer' } } }, { n: secret }, '/plugins/x/config', { hidden: () => true }),
  ];
  assert.is(problems.length, 6);
  assert.not.match(JSON.stringify(problems), secret);
});

test('nothing that JSON can hold makes it throw', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      for (const problem of [
        ...validateDeclared(withDefaults(value)),
        ...validateManifest(value),
        ...validateWire('patch', value),
        ...validateWire('busMessage', value),
      ]) {
        assert.ok(problem.message.length > 0 && problem.code.length > 0);
      }
    }),
    { numRuns: 300 },
  );
});

test('manifests: the exact place inside a choice, bad names, broken schemas', () => {
  assert.equal(validateManifest({ run: ['x', '{port}', ['-m', '{models.chat}']] }), []);
  assert.is(one(validateManifest({ run: ['a', ['b', 3]] }, '/plugins/x/manifest')).pointer, '/plugins/x/manifest/run/1/1');
  assert.match(one(validateManifest({ run: ['a', 3] })).message, /run\[1\] is 3, which fits none .* a text or a list/);
  assert.is(one(validateManifest({ run: ['a'], capabilities: { chat: { http: 'GET /' } } })).code, 'BadName');
  assert.is(one(validateManifest({ run: ['a'], config: { type: 'objekt' } })).pointer, '/config');
  assert.is(one(validateManifest({ run: ['a'], config: { properties: { a: { pattern: '(' } } } })).code, 'BrokenSchema');
  assert.is(
    one(validateManifest({ run: ['a'], capabilities: { 'a.b': { http: 'GET /', input: { $ref: '#/no' } } } })).pointer,
    '/capabilities/a.b/input',
  );
});

test('settings: own references, same $id twice, unknown keywords and formats are no mistake', () => {
  const schema = {
    $id: 'same',
    definitions: { n: { type: 'integer', minimum: 1 } },
    type: 'object',
    additionalProperties: false,
    'x-order': 1,
    properties: { contextSize: { $ref: '#/definitions/n' }, site: { type: 'string', format: 'uri' } },
  };
  assert.equal(validateConfig(schema, { contextSize: 2, site: 'x' }, ''), []);
  assert.equal(validateConfig({ ...schema, title: 'other' }, { contextSize: 2 }, ''), []);
  const problem = one(validateConfig(schema, { contextSzie: 2 }, '/plugins/x/config'));
  assert.equal([problem.pointer, problem.hint], ['/plugins/x/config/contextSzie', 'Did you mean "contextSize"?']);
  assert.is(one(validateConfig(schema, { contextSize: 0 }, '/p')).pointer, '/p/contextSize');
});

test('wire: patches, frames and bus messages', () => {
  assert.equal(
    validateWire('patch', [
      { op: 'add', path: '/a~1b/-', value: null },
      { op: 'remove', path: '' },
      { op: 'move', from: '/a', path: '/b' },
    ]),
    [],
  );
  assert.match(one(validateWire('patch', [{ op: 'ad', path: '/x' }])).message, /op is "ad"/);
  assert.is(one(validateWire('patch', [{ op: 'add', path: '/x' }])).code, 'MissingKey');
  assert.is(one(validateWire('patch', [{ op: 'add', path: 'x', value: 1 }])).pointer, '/0/path');
  assert.equal(validateWire('clientFrame', { action: 'SUB', topic: 'logs', pluginId: 'a' }), []);
  assert.is(one(validateWire('clientFrame', { action: 'SUB', topic: 'log' })).hint, 'Did you mean "logs"?');
  assert.equal(validateWire('busMessage', { jsonrpc: '2.0', id: 1, method: 'telemetry', params: { tokens: 3 } }), []);
  assert.is(one(validateWire('busMessage', { jsonrpc: '2.0', method: 'log', params: {} })).code, 'MissingKey');
  assert.equal(validateWire('invoke', { capability: 'llm.chat', input: [1] }), []);
  assert.equal(validateWire('problemDetails', { type: 'about:blank', title: 'x', status: 404, code: 'NotFound', extra: 1 }), []);
});

test.run();
