// The model that comes along: the file is the one the card and bkg.yaml name, the rule of the exam is strict, and the card's figures are true.
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { readCard } from './card.ts';
import { plainly } from './corpus.ts';
import { EXAM, isRight, KINDS, readExam, type Item, type Reply } from './exam.ts';
import { readForeign } from './foreign.ts';
import { readKnowledge, type Language } from './knowledge.ts';
import { pattern, type Phrase } from './phrase.ts';
import { describe, MODEL, SCORED, scoreOf, shortfalls, sit } from './score.ts';

const LARGEST_BYTES = 4_000_000;
const LARGEST_PARAMETERS = 3_000_000;
const CONTEXT_TOKENS = 1024;
/** Another processor rounds elsewhere, and an answer on the edge falls to the other side. */
const MAY_DIFFER = 0.02;
const LEAST_QUESTIONS = 300;
const LEAST_OTHERS = 100;

const foreign = readForeign();

test('the file is the one that the card and bkg.yaml name', () => {
  const sha256 = createHash('sha256').update(readFileSync(MODEL)).digest('hex');
  const card = readCard();
  assert.is(card.sha256, sha256);
  assert.is(card.bytes, statSync(MODEL).size);
  assert.ok(card.bytes <= LARGEST_BYTES);
  const bkgYaml = readFileSync(fileURLToPath(new URL('../../bkg.yaml', import.meta.url)), 'utf8');
  const file = parse(bkgYaml) as { readonly models: { readonly mini: { readonly sha256: string } } };
  assert.is(file.models.mini.sha256, sha256);
  // Its size is said to those whom it refuses, to those who ask for it, and in the default file.
  const megabytes = (card.bytes / 1e6).toFixed(1);
  const said = (language: Language): readonly string[] => [foreign[language].say, ...readKnowledge().topics.filter((topic) => topic.id === 'how-large' && topic.language === language).flatMap(({ say }) => say.map((phrase) => JSON.stringify(phrase)))];
  for (const text of [...said('en'), bkgYaml]) assert.ok(text.includes(`${megabytes} MB`), text);
  for (const text of said('de')) assert.ok(text.includes(`${megabytes.replace('.', ',')} MB`), text);
});

test('it is a small llama in eight bits', async () => {
  const found = await describe(MODEL);
  assert.is(found.architecture, 'llama');
  assert.match(found.description, /Q8_0/);
  assert.is(found.n_ctx_train, CONTEXT_TOKENS);
  assert.ok(found.n_params <= LARGEST_PARAMETERS);
  assert.is(found.n_params, readCard().parameters);
});

const exam = readExam(EXAM);
const refusals = { en: foreign.en.ask.map((phrase) => pattern(phrase, foreign.en.list, [])), de: foreign.de.ask.map((phrase) => pattern(phrase, foreign.de.list, [])) };

test('the exam is large enough, and none of its questions, and nothing it must refuse, was taught', () => {
  const count = (kind: Item['kind'], language?: string): number => exam.filter((item) => item.kind === kind && (language === undefined || item.language === language)).length;
  assert.ok(count('questions') >= LEAST_QUESTIONS && count('foreign') >= LEAST_OTHERS && count('tools') >= LEAST_OTHERS);
  for (const kind of KINDS) assert.ok(count(kind, 'en') > 0 && count(kind, 'de') > 0, kind);
  const { topics, lists } = readKnowledge();
  const textOf = (phrase: Phrase): string => phrase.map((part) => (part.kind === 'text' ? part.text : part.kind === 'choice' ? part.ways.map(textOf).join(' ') : ' ')).join('');
  const wordsOf = (language: Language): Set<string> => new Set([...topics.filter((topic) => topic.language === language).flatMap(({ ask }) => ask), ...[...lists[language].values()].flat()].flatMap((phrase) => textOf(phrase).split(/\s+/).map(plainly)));
  /** What no wording says is a name. */
  const said = { en: wordsOf('en'), de: wordsOf('de') };
  const wordings = ({ kind, language, about, question, values }: Item): readonly RegExp[] => {
    if (kind === 'foreign') return refusals[language];
    if (kind !== 'questions') return [];
    const names = [...values.map(plainly), ...plainly(question).split(' ').filter((word) => !said[language].has(word))];
    return topics.filter((topic) => topic.language === language && about.includes(topic.id)).flatMap(({ ask }) => ask.map((phrase) => pattern(phrase, (name) => lists[language].get(name)!, names)));
  };
  const taught = (item: Item): boolean => wordings(item).some((one) => one.test(plainly(item.question)));
  assert.equal(exam.filter(taught).map(({ question }) => question), []);
});

test('a reply is right with the same code and nearly the same words, and only when it ends by itself', () => {
  const item: Item = { kind: 'questions', language: 'en', about: ['x'], question: '?', values: [], answers: ['Run this, and the plugin starts again with a new process:\n```sh\nnpx bkg restart mine\n```'] };
  const reply = (text: string, ended = true): Reply => ({ text, call: null, ended });
  assert.ok(isRight(item, reply('Run this, and the plugin starts again with a new process:\n```sh\nnpx bkg restart mine\n```\n')));
  assert.ok(isRight(item, reply('Run this and the plugin starts again with one new process:\n```sh\nnpx bkg restart mine\n```')));
  assert.not.ok(isRight(item, reply('Run this, and the plugin starts again with a new process:\n```sh\nnpx bkg restart mime\n```')));
  assert.not.ok(isRight(item, reply('Run this:\n```sh\nnpx bkg restart mine\n```')));
  assert.not.ok(isRight(item, reply(item.answers[0]!, false)));
  assert.not.ok(isRight(item, { text: '', call: { name: 'restart_plugin', arguments: { plugin: 'mine' } }, ended: true }));
  const told: Item = { kind: 'results', language: 'en', about: ['x'], question: '?', values: [], offered: [], call: { name: 'get_weather', arguments: { city: 'Lima' } }, result: '{}', answer: 'It is raining in Lima, at 19 °C.' };
  assert.ok(isRight(told, reply('It is raining in Lima, at 19 °C.')));
  assert.not.ok(isRight(told, reply('It is raining in Lima, at 18 °C.')));
  const filled: Item = { kind: 'json', language: 'en', about: ['x'], question: '?', values: [], schema: {}, answer: { name: 'Clara', age: 31 } };
  assert.ok(isRight(filled, reply('{ "age": 31, "name": "Clara" }')));
  assert.not.ok(isRight(filled, reply('{"name":"Clara","age":"31"}')));
  assert.not.ok(isRight(filled, reply('{"name":"Clara","age":31')));
  const wanted: Item = { kind: 'tools', language: 'en', about: ['x'], question: '?', values: [], call: { name: 'read_logs', arguments: { plugin: 'mine', lines: 20 } }, offered: [] };
  const call = (name: string, values: unknown): Reply => ({ text: '', call: { name, arguments: values }, ended: true });
  assert.ok(isRight(wanted, call('read_logs', { lines: 20, plugin: 'mine' })));
  assert.not.ok(isRight(wanted, call('read_logs', { lines: '20', plugin: 'mine' })));
  assert.not.ok(isRight(wanted, call('restart_plugin', { plugin: 'mine', lines: 20 })));
  assert.not.ok(isRight(wanted, reply('npx bkg logs mine')));
});

test('by its card the model is good enough to come along', () => {
  assert.equal(shortfalls(readCard().score), []);
});

test('a fresh sitting of the whole exam gives the figures of the card', async () => {
  const now = scoreOf(await sit(MODEL, exam));
  const { score } = readCard();
  for (const kind of SCORED) {
    const { right, asked } = now[kind];
    assert.is(score[kind].asked, asked, kind);
    assert.ok(Math.abs(score[kind].right - right) <= Math.max(1, MAY_DIFFER * asked), `${kind}: the card says ${score[kind].right} of ${asked}, now it is ${right}`);
  }
});

test.run();
