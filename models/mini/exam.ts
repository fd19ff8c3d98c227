// The exam of bkg-mini: questions nobody trained it with, and the rule by which a reply is right.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { distance } from 'fastest-levenshtein';
import { parse } from 'yaml';
import { readForeign } from './foreign.ts';
import { LANGUAGES, readKnowledge, type Language } from './knowledge.ts';
import { spoken } from './phrase.ts';
import { readMaterial, type Definition } from './tasks.ts';

export const EXAM = fileURLToPath(new URL('exam.yaml', import.meta.url));

type Asked = { readonly [language in Language]?: string };
type Written = {
  readonly questions: readonly ({ readonly topic: string | readonly string[]; readonly name?: string } & Asked)[];
  readonly foreign: { readonly [language in Language]: readonly string[] };
  readonly tools: readonly ({ readonly tool: string; readonly arguments: Readonly<Record<string, unknown>> } & Asked)[];
  readonly results: readonly ({ readonly tool: string; readonly arguments: Readonly<Record<string, unknown>>; readonly result: string } & { readonly [language in Language]?: { readonly ask: string; readonly say: string } })[];
  readonly json: readonly ({ readonly task: string; readonly answer: unknown } & Asked)[];
};

export const KINDS = ['questions', 'foreign', 'tools', 'results', 'json'] as const;
export type Kind = (typeof KINDS)[number];

export type Call = { readonly name: string; readonly arguments: unknown };
/** What is asked for, and every reply to it that is right. */
export type Item = { readonly language: Language; readonly about: readonly string[]; readonly question: string; /** Names in it. */ readonly values: readonly string[] } & (
  | { readonly kind: 'questions' | 'foreign'; readonly answers: readonly string[] }
  | { readonly kind: 'tools'; readonly offered: readonly Definition[]; readonly call: Call }
  | { readonly kind: 'results'; readonly offered: readonly Definition[]; readonly call: Call; readonly result: string; readonly answer: string }
  | { readonly kind: 'json'; readonly schema: unknown; readonly answer: unknown }
);
/** What came back: its text, or the call it makes instead. `ended`: by itself, not cut at the longest length. */
export type Reply = { readonly text: string; readonly call: Call | null; readonly ended: boolean };

/** An answer is like the taught one when so much of its length is the same; its code, its figures and its names must all be. */
const LIKENESS = 0.9;
/** So much of each must be right, and of the replies so much end by themselves, or the model is not good enough to come along. With the same knowledge it only rises. */
export const LEAST_RIGHT: Readonly<Record<Kind | 'ended', number>> = { questions: 0.905, foreign: 0.95, tools: 0.9, results: 0.95, json: 0.56, ended: 1 };
/** So many tools stand beside the wanted one. */
const OTHER_TOOLS = 2;

/** Throws where an item names a topic, tool or task that there is not. */
export function readExam(path: string): readonly Item[] {
  const written = parse(readFileSync(path, 'utf8')) as Written;
  return [...questions(path, written), ...refusals(written), ...calls(path, written), ...json(path, written)];
}

const found = <Thing>(thing: Thing | undefined, name: string): Thing => {
  if (thing === undefined) throw new Error(`${name} is not there`);
  return thing;
};

const nameFor = (name: string) => (slot: string): string => {
  if (name === '') throw new Error(`the answer needs a name for {${slot}}`);
  return name;
};

function questions(path: string, written: Written): readonly Item[] {
  const { topics } = readKnowledge();
  return written.questions.flatMap(({ topic, name = '', ...asked }) => {
    const about = [topic].flat();
    const answers = (language: Language): readonly string[] =>
      about.flatMap((id) => found(topics.find((one) => one.id === id && one.language === language), `${path}: topic ${id}`).say.map((say) => spoken(say, nameFor(name))));
    return inEach(asked, (question, language): Item => ({ kind: 'questions', language, about, question, values: name === '' ? [] : [name], answers: answers(language) }));
  });
}

/** An item for each language that the question is asked in. */
const inEach = <Text>(asked: { readonly [language in Language]?: Text }, make: (text: Text, language: Language) => Item): readonly Item[] =>
  LANGUAGES.flatMap((language) => (asked[language] === undefined ? [] : [make(asked[language], language)]));

function refusals({ foreign }: Written): readonly Item[] {
  const taught = readForeign();
  return LANGUAGES.flatMap((language) => foreign[language].map((question): Item => ({ kind: 'foreign', language, about: [], question, values: [], answers: [taught[language].say] })));
}

function calls(path: string, written: Written): readonly Item[] {
  const tools = readMaterial().tools.map((tool) => tool.definition);
  /** The wanted one at each of the places in turn, beside its neighbours in a ring, other ones each time. */
  const beside = (tool: string, place: number): readonly Definition[] => {
    const at = tools.findIndex((one) => one.name === tool);
    const others = Array.from({ length: OTHER_TOOLS }, (_, index) => tools[(at + 1 + ((place + index) % (tools.length - 1))) % tools.length]!);
    return others.toSpliced(place % (OTHER_TOOLS + 1), 0, found(tools[at], `${path}: tool ${tool}`));
  };
  return [
    ...written.tools.flatMap(({ tool, arguments: values, ...asked }, place) => inEach(asked, (question, language): Item => (
      { kind: 'tools', language, about: [tool], question, values: [], offered: beside(tool, place), call: { name: tool, arguments: values } }))),
    ...written.results.flatMap(({ tool, arguments: values, result, ...asked }, place) => inEach(asked, ({ ask, say }, language): Item => (
      { kind: 'results', language, about: [tool], question: ask, values: [], offered: beside(tool, place), call: { name: tool, arguments: values }, result, answer: say }))),
  ];
}

function json(path: string, written: Written): readonly Item[] {
  const { tasks } = readMaterial();
  return written.json.flatMap(({ task, answer, ...asked }) => {
    const { schema } = found(tasks.find(({ id }) => id === task), `${path}: task ${task}`);
    return inEach(asked, (question, language): Item => ({ kind: 'json', language, about: [task], question, values: [], schema, answer }));
  });
}

const tidied = (text: string): string => text.replace(/\s+/g, ' ').trim();
/** What stands in fences or backticks: commands, files, YAML. */
export const codeOf = (text: string): string => (text.match(/```[^]*?```|`[^`]*`/g) ?? []).map(tidied).join('\n');
/** Its figures, and those of the names that it holds. */
const factsOf = (text: string, names: readonly string[]): string => [...(text.match(/\d+/g) ?? []), ...names.filter((name) => text.includes(name))].join(' ');
const sorted = (value: unknown): unknown =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, inner]) => [key, sorted(inner)])) : value;

const same = (one: unknown, other: unknown): boolean => JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));

/** What is no JSON is itself: nothing that was wanted. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Items of these kinds are asked in no words that the training text has. Requests for tools are short, and everybody asks for the time alike. */
export const isUnheard = (item: Item): boolean => item.kind === 'questions' || item.kind === 'foreign' || item.kind === 'json';

/**
 * Right is a reply that ends by itself and says the answer, word for word in its code, with its figures and names, and nearly so around them; of a call, the tool and every
 * argument; of JSON, every value; and what a tool returned, in exactly the words taught, for a wrong figure is but a sign away from a right one.
 */
export function isRight(item: Item, reply: Reply): boolean {
  if (!reply.ended) return false;
  if (item.kind === 'tools') return reply.call !== null && same(reply.call, item.call);
  if (reply.call !== null) return false;
  const said = tidied(reply.text);
  if (item.kind === 'json') return same(parsed(said), item.answer);
  if (item.kind === 'results') return said === item.answer;
  return item.answers.some((answer) => {
    const wanted = tidied(answer);
    const facts = factsOf(answer, item.values) === factsOf(reply.text, item.values);
    return facts && codeOf(answer) === codeOf(reply.text) && distance(said, wanted) <= (1 - LIKENESS) * Math.max(said.length, wanted.length);
  });
}
