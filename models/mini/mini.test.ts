// The model that comes along: the file is the one the card and bkg.yaml name, the rule of the exam is strict, and the card's figures are true.
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { readCard } from './card.ts';
import { plainly } from './corpus.ts';
import { EXAM, isRight, readExam, type Item, type Reply } from './exam.ts';
import { readForeign } from './foreign.ts';
import { readKnowledge } from './knowledge.ts';
import { pattern } from './phrase.ts';
import { MODEL, scoreOf, sit } from './score.ts';

const LARGEST_BYTES = 4_000_000;
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
  const file = parse(readFileSync(fileURLToPath(new URL('../../bkg.yaml', import.meta.url)), 'utf8')) as { readonly models: { readonly mini: { readonly sha256: string } } };
  assert.is(file.models.mini.sha256, sha256);
  // It says its own size to those whom it refuses.
  const megabytes = (card.bytes / 1e6).toFixed(1);
  assert.ok(foreign.en.say.includes(`${megabytes} MB`), megabytes);
  assert.ok(foreign.de.say.includes(`${megabytes.replace('.', ',')} MB`), megabytes);
});

const exam = readExam(EXAM);
const refusals = { en: foreign.en.ask.map((phrase) => pattern(phrase, foreign.en.list, [])), de: foreign.de.ask.map((phrase) => pattern(phrase, foreign.de.list, [])) };

test('the exam is large enough, and none of its questions, and nothing it must refuse, was taught', () => {
  const count = (kind: Item['kind'], language?: string): number => exam.filter((item) => item.kind === kind && (language === undefined || item.language === language)).length;
  assert.ok(count('questions') >= LEAST_QUESTIONS && count('foreign') >= LEAST_OTHERS && count('tools') >= LEAST_OTHERS);
  for (const kind of ['questions', 'foreign', 'tools'] as const) assert.ok(count(kind, 'en') > 0 && count(kind, 'de') > 0, kind);
  const { topics, lists } = readKnowledge();
  const wordings = ({ kind, language, about, values }: Item): readonly RegExp[] => {
    // Requests for tools are short, and "what time is it in Tokyo" is what everybody says: there the authors' words may be those of the text.
    if (kind === 'tools') return [];
    if (kind === 'foreign') return refusals[language];
    return topics.filter((topic) => topic.language === language && about.includes(topic.id)).flatMap(({ ask }) => ask.map((phrase) => pattern(phrase, (name) => lists[language].get(name)!, values.map(plainly))));
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
  const wanted: Item = { kind: 'tools', language: 'en', about: ['x'], question: '?', values: [], call: { name: 'read_logs', arguments: { plugin: 'mine', lines: 20 } }, offered: [] };
  const call = (name: string, values: unknown): Reply => ({ text: '', call: { name, arguments: values }, ended: true });
  assert.ok(isRight(wanted, call('read_logs', { lines: 20, plugin: 'mine' })));
  assert.not.ok(isRight(wanted, call('read_logs', { lines: '20', plugin: 'mine' })));
  assert.not.ok(isRight(wanted, call('restart_plugin', { plugin: 'mine', lines: 20 })));
  assert.not.ok(isRight(wanted, reply('npx bkg logs mine')));
});

test('a fresh sitting of the whole exam gives the figures of the card', async () => {
  const score = scoreOf(await sit(MODEL, exam));
  const now = { questions: score.questions, foreign: score.foreign, tools: score.tools, ended: { right: score.ended, asked: exam.length } };
  const { right } = readCard();
  for (const kind of ['questions', 'foreign', 'tools', 'ended'] as const) {
    const [known, asked] = right[kind];
    assert.is(asked, now[kind].asked);
    assert.ok(Math.abs(known - now[kind].right) <= MAY_DIFFER * asked, `${kind}: the card says ${known} of ${asked}, now it is ${now[kind].right}`);
  }
});

test.run();
