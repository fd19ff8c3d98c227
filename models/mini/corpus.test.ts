// The training text: every phrase reads and draws, the same seed gives the same text, calls fit their tools, no answer is long.
import { Ajv } from 'ajv';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { corpus, type Talk } from './corpus.ts';
import { readForeign } from './foreign.ts';
import { LANGUAGES, readKnowledge } from './knowledge.ts';
import { draw, parsePhrase, randomFrom, type Phrase } from './phrase.ts';
import { readMaterial, toolTalk } from './tasks.ts';

const FEW = 2;
const LISTS_MIN = 25;
/** An answer is a short text: what is longer is no answer for a small model. */
const ANSWER_MAX_WORDS = 90;

const said = (talks: readonly Talk[]): readonly string[] => talks.flat().filter((message) => message.role === 'assistant').map((message) => message.content);

test('a phrase stands for its sentences, and a bracket that is missing is told', () => {
  const random = randomFrom(1);
  const lexicon = { list: () => [parsePhrase('x|y')], slot: (name: string) => name.toUpperCase() };
  const found = new Set(Array.from({ length: 200 }, () => draw(parsePhrase('(a|b) [very ]<l> {plugin}, \\(c\\) .bkg ?'), lexicon, random)));
  assert.is(found.size, 8);
  assert.ok(found.has('a very x PLUGIN, (c) .bkg?'));
  assert.throws(() => parsePhrase('a (b|c'), /a \) is missing/);
  assert.throws(() => parsePhrase('a <b'), /not closed/);
  assert.throws(() => parsePhrase('a ) b'), /closes nothing/);
});

test('the same seed gives the same text, another seed another', () => {
  assert.equal(corpus(1, FEW), corpus(1, FEW));
  assert.is.not(JSON.stringify(corpus(1, FEW)), JSON.stringify(corpus(2, FEW)));
});

test('every topic is known once, in both languages, and every way to ask for it draws', () => {
  const { topics, lists } = readKnowledge();
  const ids = topics.map((topic) => `${topic.id} ${topic.language}`);
  assert.is(new Set(ids).size, ids.length);
  const random = randomFrom(3);
  for (const topic of topics) {
    const list = (name: string): readonly Phrase[] => {
      const found = lists[topic.language].get(name);
      if (found === undefined) throw new Error(`${topic.id} ${topic.language}: there is no list <${name}>`);
      return found;
    };
    const lexicon = { list, slot: (name: string) => name };
    for (const phrase of topic.ask) assert.ok(draw(phrase, lexicon, random).length > 0, topic.id);
  }
});

test('no question leads to two answers of one language', () => {
  const answers = new Map<string, Set<string>>();
  for (const talk of corpus(4, 8)) {
    const [first, second] = talk.filter((message) => message.role !== 'system');
    if (talk[0]?.role === 'system' || first === undefined || second === undefined || second.content.startsWith('{')) continue;
    const key = first.content.toLowerCase().replace(/[^\p{L}\p{N} ]/gu, '').trim();
    answers.set(key, (answers.get(key) ?? new Set()).add(second.content));
  }
  const split = [...answers].filter(([, found]) => found.size > 1);
  // The same word may be asked in both languages ("status"), and one answer may be worded in several ways.
  assert.ok(split.length < answers.size * 0.02, split.slice(0, 10).map(([question]) => question).join(' | '));
});

test('what was not taught has one answer per language, and words enough of its own', () => {
  const foreign = readForeign();
  for (const language of LANGUAGES) assert.match(foreign[language].say, /qwen2-0_5b-instruct-q5_k_m\.gguf/);
  assert.ok(new Set(corpus(5, FEW).map((talk) => talk[0]?.content)).size > LISTS_MIN);
});

test('every call fits the parameters of a tool that is offered, and every result is JSON', () => {
  const material = readMaterial();
  const random = randomFrom(6);
  for (const tool of material.tools) {
    const fits = new Ajv({ strict: false }).compile(tool.definition.parameters);
    for (const language of LANGUAGES) {
      for (let round = 0; round < 50; round += 1) {
        const [system, , call, response] = toolTalk(material, tool, { language, random });
        const found = JSON.parse(/^<tool_call>(.*)<\/tool_call>$/s.exec(call?.content ?? '')?.[1] ?? 'null') as { name: string; arguments: unknown };
        assert.is(found.name, tool.definition.name);
        assert.ok(fits(found.arguments), `${found.name} ${JSON.stringify(found.arguments)}`);
        assert.ok(system?.content.includes(JSON.stringify(tool.definition)));
        if (response !== undefined) JSON.parse(/^<tool_response>(.*)<\/tool_response>$/s.exec(response.content)?.[1] ?? '');
      }
    }
  }
});

test('no answer is long', () => {
  for (const answer of new Set(said(corpus(7, FEW)))) assert.ok(answer.split(/\s+/).length <= ANSWER_MAX_WORDS, answer);
});

test.run();
