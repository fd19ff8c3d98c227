// The composed schema knows each plugin's settings and roles, stands alone, and lets editors write references.
import { Ajv, type ValidateFunction } from 'ajv';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { composedSchema } from './compose.ts';
import type { Manifest } from './plugin.gen.ts';
import { declaredSchema, type Schema } from './walk.ts';

const manifest: Manifest = {
  run: ['x'],
  description: 'A server.',
  models: { chat: { format: 'gguf', required: true } },
  config: {
    $id: 'own',
    type: 'object',
    additionalProperties: false,
    definitions: { size: { type: 'integer', minimum: 1 } },
    properties: { contextSize: { $ref: '#/definitions/size' }, tree: { $ref: '#/properties/contextSize' }, mode: { enum: ['a', 'b'] } },
  },
};

const compile = (schema: Schema): ValidateFunction => {
  const ajv = new Ajv({ strict: true, strictRequired: false, allErrors: true });
  ajv.addVocabulary(['x-apply', 'x-secret']);
  return ajv.compile(schema);
};
const file = (plugin: object): object => ({ version: 1, plugins: { llm: plugin } });

test('without plugins it accepts what the base schema accepts', () => {
  const check = compile(composedSchema({}));
  assert.ok(check({ version: 1, plugins: { any: { config: { x: 1 } } } }));
  assert.not(check({ version: 1, plugin: {} }));
});

test('settings and roles of a declared plugin are checked; other plugins stay open', () => {
  const schema = composedSchema({ llm: manifest });
  const check = compile(schema);
  assert.ok(check(file({ models: { chat: 'm' }, config: { contextSize: 4, tree: 2, mode: 'a' } })), JSON.stringify(check.errors));
  assert.not(check(file({ models: { chat: 'm' }, config: { contextSize: 0 } })));
  assert.not(check(file({ models: { chat: 'm' }, config: { tree: 'x' } })), 'a reference inside the settings still leads home');
  assert.not(check(file({ models: { chat: 'm' }, config: { other: 1 } })));
  assert.not(check(file({ models: { embed: 'm' } })));
  assert.not(check(file({ models: {} })), 'the required role is missing');
  assert.ok(check({ version: 1, plugins: { other: { config: { anything: 1 } } } }));
  const settings = ((((schema['properties'] as Schema)['plugins'] as Schema)['properties'] as Schema)['llm'] as Schema)[
    'properties'
  ] as Schema;
  assert.is(((settings['config'] as Schema)['properties'] as Record<string, Schema>)['mode']?.['enum'] instanceof Array, true);
});

test('inline manifests are checked too', () => {
  const check = compile(composedSchema({}));
  assert.ok(check(file({ manifest: { run: ['x', ['-m', '{models.chat}']], ready: { timeout: '5m' } } })), JSON.stringify(check.errors));
  assert.not(check(file({ manifest: { rum: ['x'] } })));
});

test('for editors, references stand wherever a scalar does, and names stay names', () => {
  const plain = compile(composedSchema({ llm: manifest }));
  const editor = compile(composedSchema({ llm: manifest }, { references: true }));
  const text = {
    version: 1,
    server: { ports: { web: '${env:PORT:-80}' } },
    models: { m: { source: '${env:M:-hf://a/b/c}' } },
    plugins: { llm: { state: '${env:S}', models: { chat: 'm' }, config: { contextSize: '${env:N}' } } },
  };
  assert.not(plain(text));
  assert.ok(editor(text), JSON.stringify(editor.errors));
  assert.not(editor({ version: 1, plugins: { 'Not A Name': {} } }));
  assert.not(editor({ version: 1, plugins: { '${env:X}': {} } }));
  assert.not(editor(file({ models: { chat: 'm' }, config: { mode: 'c' } })));
});

test('the base schema is left as it is', () => {
  const before = JSON.stringify(declaredSchema);
  composedSchema({ llm: manifest }, { references: true });
  assert.is(JSON.stringify(declaredSchema), before);
});

test.run();
