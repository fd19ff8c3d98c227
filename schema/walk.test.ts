// The schema answers for a place: its type, whether it is secret, what a change costs; and fills defaults in.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { validateDeclared } from './validate.ts';
import { MASK, applyOf, declaredSchema, deref, fillDefaults, isSecret, literalSecrets, redact, scalarTypeAt, schemaAt } from './walk.ts';

test('follows references and names', () => {
  assert.is(schemaAt('/plugins/any/idle')?.['type'], 'string');
  assert.is(schemaAt('/plugins/any/idle')?.['default'], '10m', 'the default stands beside the reference');
  assert.is(schemaAt('/plugins/any/needs/3')?.['type'], 'string');
  assert.is(schemaAt('/nowhere/at/all'), null);
  assert.is(schemaAt('/plugins/any/config/whatever'), null);
  assert.is(schemaAt('')?.['title'], 'Declared');
});

test('a reference in a circle ends', () => {
  const root = { definitions: { a: { $ref: '#/definitions/b' }, b: { $ref: '#/definitions/a' } }, $ref: '#/definitions/a' };
  assert.type(deref(root, root), 'object');
});

test('the nearest mark counts', () => {
  assert.is(applyOf('/plugins/a/limits/memory'), 'live');
  assert.is(applyOf('/plugins/a/config/b/c'), 'restart');
  assert.is(applyOf('/plugins/a/state'), 'live');
  assert.is(applyOf('/version'), null);
  const settings = {
    type: 'object',
    'x-apply': 'live',
    properties: { a: { type: 'object', 'x-apply': 'restart', properties: { b: { type: 'string' } } } },
  };
  assert.is(applyOf('/a/b', settings), 'restart');
  assert.is(applyOf('/z', settings), 'live');
});

test('scalar types', () => {
  assert.is(scalarTypeAt('/server/ports/web'), 'integer');
  assert.is(scalarTypeAt('/plugins/a/state'), 'string');
  assert.is(scalarTypeAt('/version'), 'integer');
  assert.is(scalarTypeAt('/plugins'), null);
  assert.is(scalarTypeAt('/a', { properties: { a: { type: ['boolean', 'null'] } } }), 'boolean');
  assert.is(scalarTypeAt('/a', { properties: { a: { type: ['boolean', 'string'] } } }), null);
});

test('secrets are masked by schema; references and where a password stands are not', () => {
  assert.ok(isSecret('/plugins/a/env/X_TOKEN') && isSecret('/keys/k/hash') && isSecret('/users/u/password/hash'));
  assert.not(isSecret('/plugins/a/env/LOG_LEVEL'));
  assert.not(isSecret('/users/u/password/env'));
  assert.not(isSecret('/plugins/a/config/x'));
  const value = {
    version: 1,
    plugins: {
      a: {
        env: { A_KEY: '${env:A}', B_KEY: 'plain', C_KEY: '${env:C:-inside}', D_KEY: 'x ${env:D}', E_KEY: '${env:E:-}', LOG_LEVEL: 'debug' },
        config: { B_KEY: 'plain' },
      },
    },
    users: { u: { role: 'admin', password: { hash: '$2b$…' } }, v: { role: 'admin', password: { file: 'p.txt' } } },
  };
  assert.equal(redact(value), {
    version: 1,
    plugins: {
      a: {
        env: { A_KEY: '${env:A}', B_KEY: MASK, C_KEY: MASK, D_KEY: MASK, E_KEY: '${env:E:-}', LOG_LEVEL: 'debug' },
        config: { B_KEY: 'plain' },
      },
    },
    users: { u: { role: 'admin', password: { hash: MASK } }, v: { role: 'admin', password: { file: 'p.txt' } } },
  });
});

test('what is no environment of names and texts is masked whole', () => {
  const masked = (env: unknown): string => JSON.stringify(redact({ plugins: { p: { env } } }));
  for (const env of ['hunter2', ['LOG=hunter2'], { LOG: { X: 'hunter2' } }, { LOG: ['hunter2'] }, { 'not a name': 'hunter2' }, [{ LOG: 'hunter2' }]]) assert.not.match(masked(env), 'hunter2');
  assert.ok(isSecret('/plugins/p/env/0') && isSecret('/plugins/p/env/LOG/X'));
});

test('no secret of the environment outlives redaction, wherever the same text also stands', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.stringMatching(/^[A-Z]{1,8}_(TOKEN|KEY|PASSWORD)$/), fc.stringMatching(/^[a-z]{9,20}$/)), (env) => {
      const text = JSON.stringify(redact({ plugins: { p: { env } } }));
      for (const secret of Object.values(env)) assert.not.match(text, secret);
    }),
  );
});

test('secrets in plain text are found by the same rule', () => {
  const schema = { properties: { env: schemaAt('/plugins/a/env'), config: { properties: { pin: { 'x-secret': true } } } } };
  const value = { env: { API_KEY: 'abc', B_KEY: '${env:B}', C_KEY: '${env:C:-abc}', D_KEY: '', LOG_LEVEL: 'debug' }, config: { pin: 1234, 'a/b': 'x' } };
  assert.equal([...literalSecrets(value, schema, { root: declaredSchema, at: '/x' })], ['/x/env/API_KEY', '/x/env/C_KEY', '/x/config/pin']);
});

test('defaults: filled to the leaves, the input untouched, twice is once', () => {
  const input = { version: 1, plugins: { a: null, b: { idle: '1s' } }, keys: null };
  const before = JSON.stringify(input);
  const filled = fillDefaults(input, declaredSchema) as unknown as {
    plugins: Record<string, { idle: string; state: string; limits: { timeout: string } }>;
    keys: object;
    server: { ports: { web: number } };
  };
  assert.is(JSON.stringify(input), before);
  assert.is(filled.plugins['a']?.state, 'running');
  assert.is(filled.plugins['a']?.limits.timeout, '5m');
  assert.is(filled.plugins['b']?.idle, '1s');
  assert.equal(filled.keys, {});
  assert.is(filled.server.ports.web, 43117);
  assert.equal(fillDefaults(filled, declaredSchema), filled);
  assert.equal(validateDeclared(filled), []);
});

test('defaults: a key named __proto__ stays data', () => {
  const filled = fillDefaults(JSON.parse('{"version":1,"drift":{"__proto__":"heal"}}') as { drift: object }, declaredSchema);
  assert.ok(Object.hasOwn(filled.drift, '__proto__'));
  assert.is(Object.getPrototypeOf(filled.drift), Object.prototype);
});

test('defaults of lists and of any value keep what is there', () => {
  const schema = {
    type: 'object',
    properties: { list: { type: 'array', items: { type: 'object', properties: { n: { default: 1 } } } }, seen: { default: true } },
  };
  assert.equal(fillDefaults({ list: [{}, { n: 2 }] }, schema), { list: [{ n: 1 }, { n: 2 }], seen: true });
  fc.assert(fc.property(fc.jsonValue(), (value) => assert.equal(fillDefaults(value, {}), value)));
});

test.run();
