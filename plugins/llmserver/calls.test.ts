// Calls of tools in answers of models, however the pieces are cut.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCallReader, openForcedReader, type CallReader, type CallTeller } from './calls.ts';

type Told = { text: string; calls: { name: string; args: string }[] };

/** What is told when the answer comes in pieces of so many characters. */
function told(answer: string, size: number, open: (tell: CallTeller) => CallReader): Told {
  const sum: Told = { text: '', calls: [] };
  const reader = open({ text: (piece) => { sum.text += piece; }, begin: ({ name }) => { sum.calls.push({ name, args: '' }); }, args: (piece) => { sum.calls.at(-1)!.args += piece; } });
  for (let at = 0; at < answer.length; at += size) reader.push(answer.slice(at, at + size));
  reader.end();
  return sum;
}

const free = (tell: CallTeller): CallReader => openCallReader(tell, new Set(['a', 'b']));

const FREE: readonly (readonly [string, Told])[] = [
  ['just text < with <tool marks', { text: 'just text < with <tool marks', calls: [] }],
  ['<tool_call>\n{"name": "a", "arguments": {"x": 1}}\n</tool_call>', { text: '', calls: [{ name: 'a', args: '{"x":1}' }] }],
  ['Let me see. <tool_call>{"name": "a", "arguments": {}}</tool_call><tool_call>{"name": "b"}</tool_call>', { text: 'Let me see. ', calls: [{ name: 'a', args: '{}' }, { name: 'b', args: '{}' }] }],
  ['<tool_call>{"name": "a", "arguments": {}}', { text: '', calls: [{ name: 'a', args: '{}' }] }],
  ['<tool_call>not JSON</tool_call> and on', { text: '<tool_call>not JSON</tool_call> and on', calls: [] }],
  ['<tool_call>never closed', { text: '<tool_call>never closed', calls: [] }],
  ['{"name": "a", "parameters": {"x": "}"}}', { text: '', calls: [{ name: 'a', args: '{"x":"}"}' }] }],
  ['[TOOL_CALLS][{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}]', { text: '', calls: [{ name: 'a', args: '{}' }, { name: 'b', args: '{}' }] }],
  ['{"name": "Lily", "age": 3}', { text: '{"name": "Lily", "age": 3}', calls: [] }],
  ['{ begins like JSON and is none', { text: '{ begins like JSON and is none', calls: [] }],
  ['', { text: '', calls: [] }],
];

for (const [answer, expected] of FREE) {
  test(`free: ${answer.slice(0, 50)}`, () => {
    for (const size of [1, 2, 3, 7, 1_000]) assert.equal(told(answer, size, free), expected, `in pieces of ${size}`);
  });
}

test('forced: arguments end where their object ends, whatever stands in strings', () => {
  const args = '{"a": "}]\\"{", "b": [{"c": {}}], "d": "\\\\"}';
  for (const size of [1, 2, 5, 1_000]) {
    assert.equal(told(`{ "name" : "a\\"b", "arguments" : ${args} }`, size, openForcedReader), { text: '', calls: [{ name: 'a"b', args }] }, `in pieces of ${size}`);
  }
});

test('forced: an answer that was cut short keeps what came', () => {
  assert.equal(told('{"name": "a", "arguments": {"x": "y', 4, openForcedReader), { text: '', calls: [{ name: 'a', args: '{"x": "y' }] });
  assert.equal(told('{"name": "a', 4, openForcedReader), { text: '', calls: [] });
});

test.run();
