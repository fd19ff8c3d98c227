// The training text: every phrase reads and draws, the same seed gives the same text, calls fit their tools, no answer is long.
import { Ajv } from 'ajv';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { corpus, plainly } from './corpus.ts';
import { readForeign } from './foreign.ts';
import { LANGUAGES, readKnowledge } from './knowledge.ts';
import { draw, parsePhrase, randomFrom, spoken, type Phrase } from './phrase.ts';
import { slotValue } from './slots.ts';
import { readMaterial, toolTalk } from './tasks.ts';

const FEW = 2;
const LISTS_MIN = 25;
const WORDS_MIN = 60;
/** So many questions may be those of two topics. */
const SPLIT_MAX = 0.002;
/** An answer is a short text: what is longer is no answer for a small model. */
const ANSWER_MAX_WORDS = 90;

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

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

/** The names of lists and slots anywhere in a phrase. */
const namesIn = (phrase: Phrase, kind: 'list' | 'slot'): readonly string[] =>
  phrase.flatMap((part) => (part.kind === kind ? [part.name] : part.kind === 'choice' ? part.ways.flatMap((way) => namesIn(way, kind)) : []));
/** Those that are in it whatever is drawn. */
const slotsAlways = (phrase: Phrase): readonly string[] =>
  phrase.flatMap((part) => (part.kind === 'slot' ? [part.name] : part.kind === 'choice' ? slotsAlways(part.ways[0]!).filter((name) => part.ways.every((way) => slotsAlways(way).includes(name))) : []));

test('every topic is known once, in both languages, and every list and slot of it is there', () => {
  const { topics, lists } = readKnowledge();
  const ids = topics.map((topic) => `${topic.id} ${topic.language}`);
  assert.is(new Set(ids).size, ids.length);
  for (const topic of topics) {
    const unknown = topic.ask.flatMap((phrase) => namesIn(phrase, 'list')).filter((name) => !lists[topic.language].has(name));
    assert.equal(unknown, [], topic.id);
    for (const name of topic.ask.flatMap((phrase) => namesIn(phrase, 'slot'))) slotValue(name, topic.language, randomFrom(1));
  }
});

test('an answer is plain text, with the names of its question and no others', () => {
  for (const { id, language, ask, say } of readKnowledge().topics) {
    for (const part of say.flat()) {
      assert.ok(part.kind === 'text' || part.kind === 'slot', `${id} ${language}: an answer holds ( [ < or |, which needs a \\ before it`);
      if (part.kind === 'slot') for (const phrase of ask) assert.ok(slotsAlways(phrase).includes(part.name), `${id} ${language}: a question may lack {${part.name}}`);
    }
  }
});

test('no question leads to two answers', () => {
  const said = [
    ...LANGUAGES.map((language) => ({ id: 'foreign', text: escaped(readForeign()[language].say) })),
    ...readKnowledge().topics.flatMap(({ id, say }) => say.map((phrase) => ({ id, text: phrase.map((part) => (part.kind === 'text' ? escaped(part.text) : '.+')).join('') }))),
  ].sort((one, other) => other.text.length - one.text.length).map(({ id, text }) => ({ id, whole: new RegExp(`^${text}$`, 's') }));
  const known = new Map<string, string>();
  const topicOf = (answer: string): string => {
    const id = known.get(answer) ?? said.find(({ whole }) => whole.test(answer))?.id;
    assert.ok(id !== undefined, answer);
    known.set(answer, id);
    return id;
  };
  for (const { id, say } of readKnowledge().topics) for (const phrase of say) assert.is(topicOf(spoken(phrase, () => 'mine')), id);
  const found = new Map<string, Set<string>>();
  for (const [first, second] of corpus(4, 8)) {
    if (first?.role !== 'user' || second === undefined || /^[{<]/.test(second.content)) continue;
    const asked = plainly(first.content);
    found.set(asked, (found.get(asked) ?? new Set()).add(topicOf(second.content)));
  }
  const split = [...found].filter(([, ids]) => ids.size > 1).map(([asked, ids]) => `${asked}: ${[...ids].join(', ')}`);
  // A question that lost a word or two may be another's.
  assert.ok(split.length <= found.size * SPLIT_MAX, split.join('\n'));
});

test('what was not taught has one answer per language, out of many words', () => {
  const foreign = readForeign();
  for (const language of LANGUAGES) {
    assert.match(foreign[language].say, /qwen2-0_5b-instruct-q5_k_m\.gguf/);
    const lists = new Set(foreign[language].ask.flatMap((phrase) => namesIn(phrase, 'list')));
    assert.ok(lists.size >= LISTS_MIN, `${language}: ${lists.size} lists`);
    for (const name of lists) assert.ok(new Set(foreign[language].list(name).map((phrase) => JSON.stringify(phrase))).size >= WORDS_MIN, `${language}: <${name}>`);
  }
});

test('every call fits the parameters of a tool that is offered, and every result is JSON', () => {
  const material = readMaterial();
  const random = randomFrom(6);
  const schemas = new Map(material.tools.map(({ definition }) => [definition.name, new Ajv({ strict: false }).compile(definition.parameters)]));
  const within = (content: string, mark: string): unknown => JSON.parse(new RegExp(`^<${mark}>(.*)</${mark}>$`, 's').exec(content)?.[1] ?? 'null');
  let results = 0;
  for (const tool of material.tools) {
    for (const language of LANGUAGES) {
      for (let round = 0; round < 50; round += 1) {
        const [system, ...talk] = toolTalk(material, tool, { language, random });
        const calls = talk.filter(({ content }) => content.startsWith('<tool_call>')).map(({ content }) => within(content, 'tool_call') as { name: string; arguments: unknown });
        assert.is(calls[0]?.name, tool.definition.name);
        for (const { name, arguments: values } of calls) {
          assert.ok(schemas.get(name)?.(values), `${name} ${JSON.stringify(values)}`);
          assert.ok(system?.content.includes(JSON.stringify(material.tools.find(({ definition }) => definition.name === name)?.definition)));
        }
        for (const { content } of talk.filter(({ content: said }) => said.startsWith('<tool_response>'))) {
          assert.ok(within(content, 'tool_response'));
          results += 1;
        }
      }
    }
  }
  assert.ok(results > material.tools.length);
});

test('no answer is long', () => {
  for (const { id, say } of readKnowledge().topics) for (const phrase of say) assert.ok(spoken(phrase, () => '…').split(/\s+/).length <= ANSWER_MAX_WORDS, id);
});

test.run();
