// Calls of tools in answers of models, however the pieces are cut.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCallReader, openForcedReader, type CallReader, type CallTeller, type Ended } from './calls.ts';

type Told = { text: string; calls: { name: string; args: string }[] };
type How = { readonly size: number; readonly cut?: boolean; readonly open: (tell: CallTeller) => CallReader };

/** What is told when the answer comes in pieces of so many characters. */
const told = (answer: string, size: number, open: How['open']): Told => toldAndEnded(answer, { size, open }).told;

/** The same, and what the reader says at the end. */
function toldAndEnded(answer: string, { size, cut = false, open }: How): { readonly told: Told; readonly ended: Ended } {
  const sum: Told = { text: '', calls: [] };
  const reader = open({ text: (piece) => { sum.text += piece; }, begin: ({ name }) => { sum.calls.push({ name, args: '' }); }, args: (piece) => { sum.calls.at(-1)!.args += piece; } });
  for (let at = 0; at < answer.length; at += size) reader.push(answer.slice(at, at + size));
  return { ended: reader.end(cut), told: sum };
}

const free = (tell: CallTeller): CallReader => openCallReader(tell, new Set(['a', 'b']));

const FREE: readonly (readonly [string, Told])[] = [
  ['just text < with <tool marks', { text: 'just text < with <tool marks', calls: [] }],
  ['<tool_call>\n{"name": "a", "arguments": {"x": 1}}\n</tool_call>', { text: '', calls: [{ name: 'a', args: '{"x":1}' }] }],
  ['Let me see. <tool_call>{"name": "a", "arguments": {}}</tool_call><tool_call>{"name": "b"}</tool_call>', { text: 'Let me see. ', calls: [{ name: 'a', args: '{}' }, { name: 'b', args: '{}' }] }],
  ['<tool_call>{"name": "a", "arguments": {}}', { text: '', calls: [{ name: 'a', args: '{}' }] }],
  ['<tool_call>not JSON</tool_call> and on', { text: '<tool_call>not JSON</tool_call> and on', calls: [] }],
  ['<tool_call>{"name": "a", "arguments": {"x": "</tool_call>\\""}}</tool_call>', { text: '', calls: [{ name: 'a', args: '{"x":"</tool_call>\\""}' }] }],
  ['<tool_call>{"name": "a", "arguments": {"x": "open</tool_call>', { text: '<tool_call>{"name": "a", "arguments": {"x": "open</tool_call>', calls: [] }],
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
    const wanted = { text: '', calls: [{ name: 'a"b', args }] };
    assert.equal(told(`{ "name" : "a\\"b", "arguments" : ${args} }`, size, openForcedReader), wanted, `in pieces of ${size}`);
    assert.equal(told(`<tool_call>{"name": "a\\"b", "arguments": ${args}}</tool_call>`, size, openForcedReader), wanted, `between marks, in pieces of ${size}`);
  }
});

test('forced: an answer that was cut short keeps what came', () => {
  assert.equal(told('{"name": "a", "arguments": {"x": "y', 4, openForcedReader), { text: '', calls: [{ name: 'a', args: '{"x": "y' }] });
  assert.equal(told('{"name": "a', 4, openForcedReader), { text: '', calls: [] });
});

const CUT: readonly (readonly [string, Told])[] = [
  ['Let me see. <tool_call>{"name": "a", "argu', { text: 'Let me see. ', calls: [] }],
  ['<tool_call>', { text: '', calls: [] }],
  ['<tool_call>{"name": "a", "arguments": {}}</tool_call><tool_call>{"name": "b", "arg', { text: '', calls: [{ name: 'a', args: '{}' }] }],
  ['<tool_call>{"name": "a", "arguments": {"x": 1}}', { text: '', calls: [{ name: 'a', args: '{"x":1}' }] }],
  ['{"name": "a", "parameters": {"x": "', { text: '', calls: [] }],
  ['[TOOL_CALLS][{"name": "a", "arguments": {}}, {"na', { text: '', calls: [] }],
  ['{"name": "Lily", "age"', { text: '{"name": "Lily", "age"', calls: [] }],
  ['[1, 2, 3', { text: '[1, 2, 3', calls: [] }],
  ['just text <tool', { text: 'just text <tool', calls: [] }],
];

for (const [answer, expected] of CUT) {
  test(`cut: ${answer.slice(-40)}`, () => {
    for (const size of [1, 2, 3, 7, 1_000]) assert.equal(toldAndEnded(answer, { size, cut: true, open: free }), { told: expected, ended: { calls: expected.calls.length, over: false } }, `in pieces of ${size}`);
  });
}

test('forced: only a call whose arguments have ended came whole, and nothing follows it', () => {
  const call = '{"name": "a", "arguments": {"x": "y"}';
  for (let length = 0; length <= call.length; length += 1) {
    const done = length === call.length;
    assert.equal(toldAndEnded(call.slice(0, length), { size: 3, cut: true, open: openForcedReader }).ended, { calls: done ? 1 : 0, over: done }, call.slice(0, length));
  }
});

test.run();
