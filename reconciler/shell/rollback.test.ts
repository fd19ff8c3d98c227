// Back to an earlier text with today's people: its own bytes elsewhere, their own lines there.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { TypedPeople } from '../core/people-kept.ts';
import type { JsonObject } from '../core/types.ts';
import { parseText } from './declare.ts';
import { rolledBack } from './rollback.ts';

const peopleOf = (text: string): TypedPeople => {
  const value = parseText(text).value as JsonObject;
  return { users: (value['users'] ?? {}) as JsonObject, keys: (value['keys'] ?? {}) as JsonObject };
};
function back(earlier: string, now: string, people: TypedPeople = peopleOf(now)): string {
  const made = rolledBack(earlier, now, people);
  assert.ok(made.ok, made.ok ? '' : made.problem.message);
  return made.text;
}

const EARLIER = `# my appliance
version: 1
plugins:
  one: { use: ./one }   # first
users:
  anna: { role: admin }
keys:            # of the first day
  old: { user: anna, scopes: [llm.chat], hash: "$2b$04$old" }
drift: { x: report }
# the end
`;

test('with the same people it is the earlier text, byte for byte', () => {
  assert.is(back(EARLIER, EARLIER.replace('./one', './two').replace('# of the first day', '# today')), EARLIER);
});

test('sections that differ come with their own lines and comments, nothing else is touched', () => {
  const now = `version: 1
keys:            # today
  # for the pipeline
  new: { user: anna, scopes: [ llm.chat ], hash: '$2b$04$new' }
  # the end of the keys
plugins: {}
users:
  anna: { role: admin }
`;
  assert.is(back(EARLIER, now), EARLIER.replace(/keys: +# of the first day\n.*\n/, now.slice(now.indexOf('keys:'), now.indexOf('plugins:'))));
});

test('a section that was not there yet comes behind the last one; one that is gone is empty', () => {
  const bare = 'version: 1\nplugins: {}\n# the end\n';
  assert.is(back(bare, EARLIER), `version: 1\nplugins: {}\n${EARLIER.slice(EARLIER.indexOf('users:'), EARLIER.indexOf('drift:'))}# the end\n`);
  assert.equal(parseText(back(EARLIER, bare)).value, { ...(parseText(EARLIER).value as JsonObject), users: {}, keys: {} });
  assert.match(back(EARLIER, bare), /one: \{ use: \.\/one \} {3}# first\n/);
});

test('who has been denied since is left out, of their section only that', () => {
  const now = EARLIER.replace('anna: { role: admin }', 'anna: { role: admin }  # the boss\n  ben: { role: readonly }');
  const { users, keys } = peopleOf(now);
  const made = back(EARLIER.replace('role: admin', 'role: developer'), now, { users: { anna: users['anna']! }, keys: {} });
  assert.match(made, /anna: \{ role: admin \} {2}# the boss\n/);
  assert.not.match(made, /ben/);
  assert.not.match(made, /old/);
  assert.ok(Object.keys(keys).length > 0);
});

test('lines that lean on others are written out; in braces and with other line ends it works as well', () => {
  const leaning = 'version: 1\nmodels: { m: &scopes [llm.chat] }\nusers: { anna: { role: admin } }\nkeys: { ci: { user: anna, scopes: *scopes, hash: h } }\n';
  assert.equal(parseText(back(EARLIER, leaning)).value, { ...(parseText(EARLIER).value as JsonObject), keys: { ci: { user: 'anna', scopes: ['llm.chat'], hash: 'h' } } });
  const crlf = EARLIER.replaceAll('\n', '\r\n');
  assert.not.match(back(crlf, EARLIER.replace('old:', 'new:')), /(?<!\r)\n/);
  const flow = '{ version: 1, users: { ben: { role: readonly } } }\n';
  assert.equal(parseText(back(flow, EARLIER)).value, { version: 1, ...peopleOf(EARLIER) });
  assert.equal(parseText(back(EARLIER, flow)).value, { ...(parseText(EARLIER).value as JsonObject), users: { ben: { role: 'readonly' } }, keys: {} });
  assert.equal(parseText(back('version: 1\nusers: {}', EARLIER)).value, { version: 1, ...peopleOf(EARLIER) });
});

test('a file of one line with many people is written at once; an indented one loses no comment of others', () => {
  const people = (head: string): JsonObject => Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`${head}-${index}`, { user: 'anna', scopes: ['llm.chat'], hash: `$2b$04$${head}${index}` }]));
  const [was, now] = [JSON.stringify({ version: 1, users: { anna: { role: 'admin' } }, keys: people('a') }), JSON.stringify({ version: 1, users: { anna: { role: 'admin' } }, keys: people('b') })];
  assert.equal(parseText(back(was, now)).value, parseText(now).value);
  const indented = EARLIER.replace('keys: ', '# about the keys\nkeys: ').split('\n').map((line) => (line === '' ? '' : `  ${line}`)).join('\n');
  assert.match(back(indented.replace('role: admin', 'role: developer'), indented), /# about the keys/);
});

test('a text that is no YAML is refused with its place', () => {
  const made = rolledBack('version: [1\n', EARLIER, peopleOf(EARLIER));
  assert.ok(!made.ok);
  assert.is(made.problem.code, 'YamlSyntax');
  assert.is.not(made.problem.line, null);
});

test('whatever the two texts are, the result is the earlier one with the people that were wanted', () => {
  const id = fc.constantFrom('anna', 'ben', 'ci', 'x-1', 'true', '42');
  const line = (indent: string) => fc.tuple(id, fc.constantFrom('{ role: admin }', '{role: readonly} # why', '\n' + indent + '  role: developer', '{}')).map(([name, rest]) => `${indent}"${name}": ${rest}`);
  const section = (name: string) => fc.tuple(fc.constantFrom('', '   # people', ''), fc.uniqueArray(line('  '), { selector: (text) => /"(.*?)"/.exec(text)![1], maxLength: 4 }), fc.constantFrom('', '\n  # behind', '\n# at the edge'))
    .map(([comment, lines, tail]) => (lines.length === 0 ? `${name}: {}${comment}` : `${name}:${comment}\n${lines.join('\n')}${tail}`));
  const text = fc.tuple(fc.shuffledSubarray(['users', 'keys', 'a', 'b']), fc.constantFrom('\n', '\r\n'), fc.constantFrom('', '\n', '\n\n# end\n'))
    .chain(([names, newline, end]) => fc.tuple(...names.map(section)).map((sections) => ['version: 1', ...sections].join('\n').concat(end).replaceAll('\n', newline)));
  fc.assert(fc.property(text, text, fc.infiniteStream(fc.boolean()), (earlier, now, coins) => {
    const all = peopleOf(now);
    const some = (people: JsonObject): JsonObject => Object.fromEntries(Object.entries(people).filter(() => coins.next().value));
    const wanted = { users: some(all.users), keys: some(all.keys) };
    const made = parseText(back(earlier, now, wanted)).value as JsonObject;
    const { users = {}, keys = {}, ...rest } = made;
    assert.equal({ users, keys }, wanted);
    const { users: _users, keys: _keys, ...before } = parseText(earlier).value as JsonObject;
    assert.equal(rest, before);
  }), { numRuns: 500 });
});

test.run();
