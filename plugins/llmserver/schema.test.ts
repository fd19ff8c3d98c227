// Grammars of schemas: their text, what they refuse, and that a real model can only answer what the schema allows.
import { Ajv } from 'ajv';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { anyObject, grammarOf } from './schema.ts';
import { MINI, openServers, type Running } from './test-server.ts';

const schemas = suite('schemas');
const servers = openServers();
let running: Running;

schemas.before(async () => {
  running = await servers.start(['--model', MINI]);
});

const node = { type: 'object', properties: { value: { type: 'boolean' }, next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } }, required: ['value', 'next'], additionalProperties: false };
const SAMPLES: readonly object[] = [
  { type: 'object', properties: { a: { type: 'boolean' }, b: { type: 'integer', minimum: 3, maximum: 9 }, c: { enum: ['x', 1, null, { k: [1] }] } }, required: ['b'], additionalProperties: false },
  { type: 'object', properties: { a: { type: 'boolean' }, b: { type: 'null' }, c: { const: 'c' } }, additionalProperties: false },
  { type: 'object', properties: { 'odd "key"\n\\é': { const: 'and "value"\n\\é' } }, required: ['odd "key"\n\\é', 'undeclared'], additionalProperties: { type: 'boolean' } },
  { type: 'object', additionalProperties: { type: 'array', items: { type: 'boolean' }, maxItems: 2 } },
  { type: 'array', items: { type: 'string', minLength: 1, maxLength: 3 }, minItems: 2, maxItems: 4 },
  { type: 'array', prefixItems: [{ type: 'boolean' }, { type: 'null' }] },
  { type: ['boolean', 'null'] },
  { type: 'string', format: 'date-time' },
  { type: 'string', maxLength: 5 },
  { anyOf: [{ type: 'boolean' }, { type: 'integer', minimum: 1, maximum: 2 }] },
  { allOf: [{ $ref: '#/$defs/a' }, { properties: { b: { type: 'boolean' } }, required: ['b'] }], $defs: { a: { type: 'object', properties: { a: { const: 1 } }, required: ['a'] } } },
  { type: 'object', properties: { kind: { const: 'k' } }, required: ['kind'], oneOf: [{ properties: { x: { type: 'boolean' } }, required: ['x'] }, { properties: { y: { type: 'null' } }, required: ['y'] }] },
  { $ref: '#/$defs/node', $defs: { node } },
];
const SEEDS = [1, 2, 3];
const TOKENS = 400;

schemas('whatever a model answers, the schema allows it', async () => {
  const { post } = running;
  let whole = 0;
  for (const schema of SAMPLES) {
    const allows = new Ajv({ strict: false, formats: { 'date-time': (text: string) => !Number.isNaN(Date.parse(text)) } }).compile(schema);
    for (const seed of SEEDS) {
      const body = { messages: [{ role: 'user', content: 'Say something' }], seed, temperature: 1.5, max_tokens: TOKENS, response_format: { type: 'json_schema', json_schema: { name: 's', schema, strict: true } } };
      const answer = (await (await post('/v1/chat/completions', body)).json()) as { readonly error?: unknown; readonly choices: readonly { readonly message: { readonly content: string }; readonly finish_reason: string }[] };
      assert.is(answer.error, undefined, `${JSON.stringify(schema)} is refused: ${JSON.stringify(answer.error)}`);
      const choice = answer.choices[0]!;
      if (choice.finish_reason === 'length') continue;
      whole += 1;
      assert.ok(allows(JSON.parse(choice.message.content)), `${JSON.stringify(schema)} does not allow ${choice.message.content}`);
    }
  }
  assert.ok(whole > SAMPLES.length * SEEDS.length * 0.8, `only ${whole} answers came to their end`);
});

schemas('any object is an object', async () => {
  assert.match(anyObject(), /^root ::= object$/m);
  const answer = (await (await running.post('/v1/chat/completions', { messages: [{ role: 'user', content: 'Sentiment as JSON: the film was great' }], temperature: 0, max_tokens: TOKENS, response_format: { type: 'json_object' } })).json()) as { readonly choices: readonly { readonly message: { readonly content: string } }[] };
  assert.type(JSON.parse(answer.choices[0]!.message.content), 'object');
});

schemas('what makes no sense is refused in words', () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [5, /5 stands where a schema should/],
    [{ type: 'nonsense' }, /no type "nonsense"/],
    [{ enum: [] }, /`enum` must be a list/],
    [{ oneOf: 5 }, /`oneOf` must be a list/],
    [{ type: 'object', properties: 5 }, /`properties` must be an object/],
    [{ type: 'object', required: [5] }, /`required` must be a list of names/],
    [{ type: 'string', minLength: -1 }, /`minLength` must be a whole number/],
    [{ type: 'string', minLength: 3, maxLength: 2 }, /`maxLength` is below `minLength`/],
    [{ type: 'integer', minimum: 3, maximum: 2 }, /`maximum` is below `minimum`/],
    [{ $ref: '#/nowhere' }, /leads nowhere/],
    [{ $ref: 'https://example.org/x' }, /leads out of the schema/],
    [{ allOf: [{ $ref: '#' }] }, /nested deeper/],
    [{ type: 'array', items: { anyOf: Array.from({ length: 3_000 }, () => true) } }, /more than 2000 parts/],
  ];
  for (const [schema, why] of cases) assert.throws(() => grammarOf(schema, false), why);
});

schemas('a promise that cannot be kept is refused when it is strict, else left to the model', () => {
  for (const schema of [{ type: 'string', pattern: '^a' }, { type: 'number', minimum: 0 }, { type: 'array', uniqueItems: true }, { type: 'string', format: 'email' }, { type: 'string', maxLength: 5_000 }]) {
    assert.throws(() => grammarOf(schema, true), /cannot be promised/);
    assert.type(grammarOf(schema, false), 'string');
  }
});

schemas.after(() => servers.close());
schemas.run();
