// Masks on their way back, secrets in plain text, and texts and diffs that may be shown.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import type { Json, PatchOperation } from '../reconciler/index.ts';
import { declaredSchema } from '../schema/walk.ts';
import { lookUp, operationsTo, unmask } from './mask.ts';
import { maskedText, unmaskedText } from './masking.ts';
import { otherSide, redactDiff } from './redact-diff.ts';
import { redactText, unmaskText } from './redact-text.ts';

const HASH = `$2b$04$${'a'.repeat(53)}`;
const TEXT = `version: 1 # first
plugins:
  echo:
    env: { TOKEN: hunter2, PLAIN: "\${env:PLAIN}" }   # beside
    config:
      size: 3
  other:
    env:
      LOG_LEVEL: debug # shown
      LONG_KEY: |
        line one
        line two
      KEY: 'it''s secret'
users:
  ann: { role: admin, password: { env: ANN } }
keys:
  ci: { user: ann, scopes: [], hash: "${HASH}" }
`;
const value = parse(TEXT) as Json;
const ops = (...operations: PatchOperation[]): ReturnType<typeof unmask> => unmask(operations, value, declaredSchema);

test('no way of copies within one patch, and no test, tells what a sensitive place holds', () => {
  const copies = ops(
    { op: 'add', path: '/plugins/zz', value: {} }, { op: 'copy', from: '/keys/ci', path: '/plugins/zz/env' }, { op: 'copy', from: '/plugins/zz', path: '/models/zz' },
    { op: 'copy', from: '/models/zz/env/hash', path: '/keys/ci/name' }, { op: 'remove', path: '/models/zz' }, { op: 'remove', path: '/plugins/zz' },
  );
  assert.ok(copies.problems.length > 0 && copies.problems.every(({ code }) => code === 'SecretMoved'), JSON.stringify(copies.problems));
  assert.is(ops({ op: 'test', path: '/plugins/echo/env/TOKEN', value: 'hunter2' }).problems[0]?.code, 'SecretMoved');
  assert.is(ops({ op: 'test', path: '/plugins/echo/env', value: { TOKEN: 'hunter2', PLAIN: '***' } }).problems[0]?.code, 'SecretMoved');
  assert.equal(ops({ op: 'test', path: '/plugins/echo/config/size', value: 3 }).problems, []);
});

test('a masked value keeps what stands there', () => {
  assert.equal(ops({ op: 'replace', path: '/plugins/echo/env/TOKEN', value: '***' }), { operations: [], problems: [] });
  assert.equal(ops({ op: 'add', path: '/plugins/echo/env', value: { TOKEN: '***', NEW: '${env:NEW}' } }).operations, [
    { op: 'remove', path: '/plugins/echo/env/PLAIN' }, { op: 'add', path: '/plugins/echo/env/NEW', value: '${env:NEW}' },
  ]);
  assert.equal(ops({ op: 'test', path: '/plugins/echo/env/TOKEN', value: '***' }).operations, []);
});

test('three stars are a mask at sensitive places only', () => {
  assert.equal(ops({ op: 'add', path: '/plugins/echo/config/title', value: '***' }).operations, [{ op: 'add', path: '/plugins/echo/config/title', value: '***' }]);
  assert.is(ops({ op: 'add', path: '/plugins/echo/env/NO_TOKEN', value: '***' }).problems[0]?.code, 'MaskWithoutValue');
});

test('a secret in plain text is refused, a reference, a hash and what stands there are not', () => {
  const found = ops({ op: 'add', path: '/plugins/echo/env/TOKEN', value: 'hunter3' });
  assert.is(found.problems[0]?.code, 'LiteralSecret');
  assert.not.match(JSON.stringify(found.problems), 'hunter3');
  assert.is(ops({ op: 'add', path: '/plugins/new', value: { env: { A_KEY: 'x' } } }).problems[0]?.pointer, '/plugins/new/env/A_KEY');
  assert.is(ops({ op: 'add', path: '/plugins/echo/env/TOKEN', value: '${env:T:-hunter3}' }).problems.length, 1, 'the default could be the secret');
  for (const good of ['${env:T}', '${env:T:-}', HASH, 'hunter2', '']) assert.is(ops({ op: 'add', path: '/plugins/echo/env/TOKEN', value: good }).problems.length, 0, good);
});

test('a variable whose name leaves no doubt is a plain setting', () => {
  for (const path of ['/plugins/echo/env/LOG_LEVEL', '/plugins/other/env/LOG_LEVEL']) {
    assert.equal(ops({ op: 'add', path, value: 'info' }), { operations: [{ op: 'add', path, value: 'info' }], problems: [] });
  }
  assert.equal(ops({ op: 'replace', path: '/plugins/other/env/LOG_LEVEL', value: '***' }).operations.length, 1, 'three stars are a text there');
  const shared = 'plugins:\n  a: { env: { LOG_MODE: &s hunter2, API_KEY: *s } }\n  b: { env: { LOG_MODE: hunter3, A_KEY: &t hunter4, B: *t } }\n';
  assert.is(redactText(shared, declaredSchema), shared.replace('hunter2', '"***"').replace('hunter4', '"***"'));
});

test('a variable that may hold a secret is masked, and may stand in plain text all the same', () => {
  const path = '/plugins/other/env/DATABASE_URL';
  assert.equal(ops({ op: 'add', path, value: 'postgres://db' }), { operations: [{ op: 'add', path, value: 'postgres://db' }], problems: [] });
  const text = 'plugins:\n  a: { env: { DATABASE_URL: "postgres://u:p@db" } }\n';
  assert.is(redactText(text, declaredSchema), 'plugins:\n  a: { env: { DATABASE_URL: "***" } }\n');
});

test('a plain value does not become a secret in plain text by a move', () => {
  for (const op of ['copy', 'move'] as const) {
    const found = ops({ op, from: '/plugins/other/env/LOG_LEVEL', path: '/plugins/other/env/API_KEY' });
    assert.equal(found.problems.map((one) => [one.code, one.pointer]), [['LiteralSecret', '/plugins/other/env/API_KEY']]);
  }
  assert.is(ops({ op: 'move', from: '/plugins/other/env/LOG_LEVEL', path: '/plugins/other/env/LOG_MODE' }).problems.length, 0);
  assert.is(ops({ op: 'move', from: '/plugins/echo/env/TOKEN', path: '/plugins/echo/env/LOG_MODE' }).problems[0]?.code, 'SecretMoved');
});

test('a secret cannot be moved to where it shows', () => {
  assert.is(ops({ op: 'copy', from: '/plugins/echo/env/TOKEN', path: '/plugins/echo/config/t' }).problems[0]?.code, 'SecretMoved');
  assert.is(ops({ op: 'move', from: '/plugins/echo/env', path: '/plugins/echo/config/t' }).problems[0]?.code, 'SecretMoved');
  assert.is(ops({ op: 'move', from: '/plugins/echo', path: '/plugins/renamed' }).problems.length, 0);
});

test('settings a plugin marks as secret count too', () => {
  const root = { type: 'object', properties: { a: { type: 'object', properties: { pin: { type: 'string', 'x-secret': true } } } } };
  assert.is(unmask([{ op: 'add', path: '/a', value: { pin: '1234' } }], {}, root).problems[0]?.pointer, '/a/pin');
});

test('after an earlier operation on the same place, a map is written whole', () => {
  const { operations } = ops({ op: 'add', path: '/plugins/echo/config/size', value: 4 }, { op: 'add', path: '/plugins/echo/config', value: { size: 5 } });
  assert.equal(operations.at(-1), { op: 'add', path: '/plugins/echo/config', value: { size: 5 } });
});

test('a masked text has the same lines, shows no secret, and means the same elsewhere', () => {
  const shown = redactText(TEXT, declaredSchema)!;
  for (const secret of ['hunter2', 'line one', 'line two', "it''s", HASH]) assert.not.match(shown, secret);
  assert.is(shown.split('\n').length, TEXT.split('\n').length);
  assert.match(shown, '# beside');
  assert.match(shown, '${env:PLAIN}');
  assert.match(shown, 'password: { env: ANN }');
  assert.match(shown, 'LOG_LEVEL: debug # shown');
  const masked = parse(shown) as Json;
  assert.is(lookUp(masked, '/plugins/other/env/LONG_KEY'), '***');
  assert.equal(lookUp(masked, '/plugins/echo/config'), { size: 3 });
});

test('a masked text that comes back is the text', () => {
  const back = unmaskText(redactText(TEXT, declaredSchema)!, { current: TEXT, value, root: declaredSchema });
  assert.equal(back.problems, []);
  assert.equal(parse(back.text), value);
  const edited = unmaskText(redactText(TEXT, declaredSchema)!.replace('size: 3', 'size: 4'), { current: TEXT, value, root: declaredSchema });
  assert.match(edited.text, 'env: { TOKEN: hunter2, PLAIN: "${env:PLAIN}" }   # beside');
  const wrong = unmaskText(TEXT.replace('hunter2', 'hunter3'), { current: TEXT, value, root: declaredSchema });
  assert.equal([wrong.problems[0]?.code, wrong.problems[0]?.line], ['LiteralSecret', 4]);
});

test('aliases, anchors, CRLF and broken YAML', () => {
  const aliased = 'version: 1\nplugins:\n  a: { config: { x: &s hunter2 } }\n  b: { env: { T_KEY: *s } }\n';
  assert.not.match(redactText(aliased, declaredSchema)!, 'hunter2');
  assert.match(redactText(aliased, declaredSchema)!, '&s "***"');
  const crlf = TEXT.replaceAll('\n', '\r\n');
  assert.is(redactText(crlf, declaredSchema)!.split('\r\n').length, crlf.split('\r\n').length);
  assert.is(redactText('plugins: [', declaredSchema), null);
  const circle = 'plugins: &a\n  x: { env: { T_KEY: hunter2 }, config: *a }\n';
  assert.not.match(redactText(circle, declaredSchema)!, 'hunter2');
  const many = Array.from({ length: 30 }, (_item, index) => `  k${index + 1}: &a${index + 1} { env: { X_KEY: *a${index}, Y: *a${index} } }`).join('\n');
  assert.not.match(redactText(`plugins:\n  k0: { config: { t: &a0 hunter2 } }\n${many}\n`, declaredSchema)!, 'hunter2', 'aliases of aliases end');
  const twice = 'plugins:\n  a: { config: { x: &s first } }\n  b: { config: { x: &s hunter2 } }\n  c: { env: { T_KEY: *s } }\n';
  const shown = redactText(twice, declaredSchema)!;
  assert.match(shown, '&s first');
  assert.not.match(shown, 'hunter2');
});

test('a diff is masked on both sides', () => {
  const after = TEXT.replace('hunter2', 'hunter9').replace('size: 3', 'size: 4');
  const diff = ['--- a', '+++ b', '@@ -2,5 +2,5 @@', ' plugins:', '   echo:', `-${TEXT.split('\n')[3]}`, `+${after.split('\n')[3]}`, '     config:', '-      size: 3', '+      size: 4'].join('\n');
  assert.is(otherSide(diff, TEXT, 'before'), after);
  assert.is(otherSide(diff, after, 'after'), TEXT);
  const shown = redactDiff(diff, TEXT, (text) => redactText(text, declaredSchema))!;
  assert.not.match(shown, 'hunter');
  assert.match(shown, '+      size: 4');
  assert.match(shown, 'TOKEN: "***"');
  assert.is(redactDiff(diff, `x\n${TEXT}`, (text) => text), null, 'a diff of another text is not shown');
  assert.is(redactDiff(diff, TEXT, () => null), null);
});

test('a large text is masked in a thread, with the same outcome', async () => {
  const large = `${TEXT}# ${'x'.repeat(100_000)}\n`;
  assert.is(await maskedText(large, declaredSchema), redactText(large, declaredSchema));
  assert.equal(await unmaskedText(large, { current: large, value, root: declaredSchema }), unmaskText(large, { current: large, value, root: declaredSchema }));
});

const anyJson = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof({ depthSize: 'small' }, fc.constant(null), fc.boolean(), fc.integer(), fc.string(), fc.array(tie('value'), { maxLength: 3 }), fc.dictionary(fc.constantFrom('a', 'b', 'c/d', '~e'), tie('value'), { maxKeys: 3, noNullPrototype: true })),
})).value;

/** RFC 6902 for what operationsTo makes. */
function applied(data: Json, operations: readonly PatchOperation[]): Json {
  let root = structuredClone(data) as Json;
  for (const operation of operations) {
    if (operation.path === '') { root = (operation as { readonly value: Json }).value; continue; }
    const cut = operation.path.lastIndexOf('/');
    const parent = lookUp(root, operation.path.slice(0, cut)) as Record<string, Json>;
    const key = operation.path.slice(cut + 1).replaceAll('~1', '/').replaceAll('~0', '~');
    if (operation.op === 'remove') delete parent[key];
    else parent[key] = (operation as { readonly value: Json }).value;
  }
  return root;
}

test('operationsTo leads from any value to any other, and does nothing where nothing differs', () => {
  fc.assert(fc.property(anyJson, anyJson, (from, to) => {
    assert.equal(applied(from, operationsTo(from, to, '')), to);
    assert.equal(operationsTo(from, structuredClone(from), ''), []);
  }));
});

test('of sections that who asks may not see a diff keeps the name and the lines, in every style', () => {
  const people = 'version: 1\nusers:\n  # a secret about anna\n  anna: { role: admin } # the first\nkeys: { ci: { user: anna } }\nplugins:\n  a: {}\n';
  for (const text of [people, people.replaceAll('\n', '\r\n')]) {
    const shown = redactText(text, declaredSchema, ['users', 'keys'])!;
    assert.is(shown.replaceAll('\r', ''), 'version: 1\nusers: …\n\n\nkeys: …\nplugins:\n  a: {}\n');
    assert.is(shown.split('\n').length, text.split('\n').length);
  }
  assert.is(redactText('{ users: { anna: {} }, version: 1 }', declaredSchema, ['users']), '{ users: …, version: 1 }');
  assert.is(redactText('keys:\nversion: 1\n', declaredSchema, ['keys']), 'keys: …\nversion: 1\n');
});

test.run();
