// Calls of tools and answers in JSON: conversations out of the material in tools.yaml, in the words llmserver uses.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { Message } from './corpus.ts';
import type { Language } from './knowledge.ts';
import { draw, literal, oneOf, parsePhrase, type Phrase, type Random } from './phrase.ts';
import { roughen } from './rough.ts';
import { shortName } from './names.ts';
import { slotValue } from './slots.ts';
import { anySum, computed, saidSum } from './sums.ts';

type Texts = { readonly [language in Language]: readonly string[] };
type Kind = {
  readonly words?: string; readonly phrase?: Texts; readonly number?: readonly [number, number]; readonly times?: number;
  readonly even_with?: string; readonly clock?: true; readonly names?: string; readonly value_of?: string;
  readonly sum?: true; readonly said?: string; readonly short_for?: string;
};
type Slots = Readonly<Record<string, string>>;
export type Definition = { readonly name: string; readonly description: string; readonly parameters: { readonly properties: Readonly<Record<string, { readonly type: string }>> } & Readonly<Record<string, unknown>> };
export type Tool = {
  readonly definition: Definition; readonly slots?: Slots;
  /** How often it is drawn, 1 being usual. */
  readonly weight?: number;
  /** Topics whose questions it answers better than words. */
  readonly answers?: readonly string[];
  /** Every word of its requests counts, so none is left out. */
  readonly whole?: true;
  readonly calls: readonly { /** How often it is drawn beside the others, 1 being usual. */ readonly weight?: number; /** Its own beside the tool's. */ readonly slots?: Slots; readonly arguments?: Slots; readonly constants?: Readonly<Record<string, unknown>>; readonly ask: Texts }[];
  readonly results: readonly ({ readonly result: string } & { readonly [language in Language]: string })[];
};
export type Task = { readonly id: string; readonly schema: unknown; readonly slots?: Slots; readonly cases: readonly { readonly answer: string; readonly ask: Texts }[] };
export type Material = {
  readonly words: { readonly [language in Language]: Readonly<Record<string, readonly string[]>> };
  /** What people say before and after a request. */
  readonly around: { readonly [language in Language]: { readonly before: readonly string[]; readonly after: readonly string[] } };
  readonly kinds: Readonly<Record<string, Kind>>; readonly tools: readonly Tool[]; readonly tasks: readonly Task[];
};

const LARGEST_FACTOR = 20;
/** So many go on with the tool's result and the answer to the person. */
const GOES_ON = 0.3;
/** A system offers so many tools at most. */
const OFFERED_MAX = 3;
/** So many requests follow another one under the same tools, for the list of them is long to read; and there are so many at most. */
const ASKS_AGAIN = 0.92;
const REQUESTS_MAX = 9;
/** So many models are called by a part of their address. */
const SHORT_NAMES = 0.6;
/** So many requests stand between other words, which have no say in the call; of these up to the first bound something before them, from the second on something after them. */
const AROUND = 0.25, BEFORE = 0.6, AFTER = 0.5;
/** So many second numbers are the first one once more. */
const SAME_NUMBER = 0.08;
/** For a value unlike the others of its kind. */
const TRIES_MAX = 1000;

export const readMaterial = (): Material => parse(readFileSync(new URL('knowledge/beyond/tools.yaml', import.meta.url), 'utf8')) as Material;

/** As llmserver tells a model of its tools when the template has no place for them. */
export const toolsInWords = (tools: readonly Definition[]): string =>
  `You may call these tools:\n${tools.map((tool) => JSON.stringify(tool)).join('\n')}\nTo call one, answer only with <tool_call>{"name": …, "arguments": {…}}</tool_call>.`;

type Drawing = { readonly material: Material; readonly language: Language; readonly slots: Slots; readonly random: Random; readonly whole: boolean; readonly values: Map<string, string>; call: Readonly<Record<string, unknown>> };

function valueOf(drawing: Drawing, kindName: string): string {
  const { material, language, random } = drawing;
  const kind = material.kinds[kindName];
  if (kind === undefined) throw new Error(`tools.yaml: there is no kind ${kindName}`);
  if (kind.words !== undefined) return String(oneOf(wordsOf(drawing, kind.words), random));
  if (kind.phrase !== undefined) {
    // A name that stands twice in it is the same one.
    const own = new Map<string, string>();
    return drawPhrase(drawing, parsePhrase(oneOf(kind.phrase[language], random)), (name) => own.get(name) ?? own.set(name, valueOf(drawing, kindOf(name))).get(name)!);
  }
  if (kind.number !== undefined) return String((kind.number[0] + Math.floor(random() * (kind.number[1] - kind.number[0] + 1))) * (kind.times ?? 1));
  if (kind.even_with !== undefined) return String(Number(slot(drawing, kind.even_with)) * (2 + Math.floor(random() * (LARGEST_FACTOR - 1))));
  if (kind.clock === true) return `${String(Math.floor(random() * 24)).padStart(2, '0')}:${String(Math.floor(random() * 60)).padStart(2, '0')}`;
  if (kind.names !== undefined) return slotValue(kind.names, language, random);
  if (kind.value_of !== undefined) return String(computed(String(drawing.call[kind.value_of])));
  if (kind.sum === true) return anySum(random);
  if (kind.said !== undefined) return saidSum(slot(drawing, kind.said), language, random);
  if (kind.short_for !== undefined) return random() < SHORT_NAMES ? shortName(slot(drawing, kind.short_for), random) : slotValue('model', language, random);
  throw new Error(`tools.yaml: kind ${kindName} says nothing`);
}

function wordsOf({ material, language }: Drawing, name: string): readonly string[] {
  const words = material.words[language][name];
  if (words === undefined) throw new Error(`tools.yaml: there are no words ${name} in ${language}`);
  return words;
}

const drawPhrase = (drawing: Drawing, phrase: Phrase, slotOf: (name: string) => string): string =>
  draw(phrase, { list: (name) => wordsOf(drawing, name).map(literal), slot: slotOf }, drawing.random);

/** {city2} is a city, too. */
const kindOf = (name: string): string => name.replace(/\d+$/, '');

/** One value per slot in a whole exchange; {city2} is another city. */
function slot(drawing: Drawing, name: string): string {
  const { values, slots } = drawing;
  const kind = kindOf(name);
  const known = values.get(name);
  if (known !== undefined) return known;
  const first = drawing.material.kinds[slots[kind] ?? kind]?.number === undefined || name === kind ? undefined : values.get(kind);
  if (first !== undefined && drawing.random() < SAME_NUMBER) {
    values.set(name, first);
    return first;
  }
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    const made = valueOf(drawing, slots[kind] ?? kind);
    const taken = [...values].some(([other, value]) => kindOf(other) === kind && value === made);
    if (taken) continue;
    values.set(name, made);
    return made;
  }
  throw new Error(`tools.yaml: {${name}} finds no value that another has not: its kind has too few`);
}

/** A request as it is, or with what else somebody says before it or after it. */
function among(drawing: Drawing, request: string): string {
  const { material, language, random } = drawing;
  if (random() >= AROUND) return request;
  const { before, after } = material.around[language];
  const said = (phrases: readonly string[]): string => draw(parsePhrase(oneOf(phrases, random)), { list: (name) => wordsOf(drawing, name).map(literal), slot: () => '' }, random);
  const where = random();
  const told = where < BEFORE ? `${said(before)} ${request}` : request;
  return where >= AFTER ? `${told} ${said(after)}`.replace(/ (?=[,.])/g, '') : told;
}

/** The words of all values so far, which a slip must not touch. */
const roughly = (drawing: Drawing, question: string): string =>
  roughen(question, { language: drawing.language, kept: [...drawing.values.values()].flatMap((value) => value.split(' ')), whole: drawing.whole, random: drawing.random });

const filled = (drawing: Drawing, text: string): string => text.replace(/\{([a-z][A-Za-z0-9_]*)\}/g, (_found, name: string) => slot(drawing, name));

const shuffled = <Item>(items: readonly Item[], random: Random): readonly Item[] =>
  items.map((item) => ({ item, place: random() })).sort((a, b) => a.place - b.place).map(({ item }) => item);

/** One to a few tools in any order, the wanted one among them. */
export function offered(tools: readonly Tool[], wanted: Tool | null, random: Random): readonly Tool[] {
  const others = shuffled(tools.filter((tool) => tool !== wanted), random).slice(0, Math.floor(random() * OFFERED_MAX) + (wanted === null ? 1 : 0));
  return shuffled(wanted === null ? others : [wanted, ...others], random);
}

type At = { readonly language: Language; readonly random: Random };

/** A question, the call it wants, and now and then the tool's result and the answer to the person. */
function request(material: Material, tool: Tool, { language, random }: At): readonly Message[] {
  const way = oneOf(tool.calls.flatMap((call) => Array.from({ length: call.weight ?? 1 }, () => call)), random);
  const drawing: Drawing = { material, language, random, slots: { ...tool.slots, ...way.slots }, whole: tool.whole === true, values: new Map(), call: {} };
  const question = drawPhrase(drawing, parsePhrase(oneOf(way.ask[language], random)), (name) => slot(drawing, name));
  drawing.call = Object.fromEntries(Object.entries(tool.definition.parameters.properties).flatMap(([name, { type }]): [string, unknown][] => {
    const text = way.arguments?.[name];
    if (text === undefined) return way.constants?.[name] === undefined ? [] : [[name, way.constants[name]]];
    const value = filled(drawing, text);
    return [[name, type === 'integer' ? Number(value) : value]];
  }));
  const called: readonly Message[] = [
    { role: 'user', content: roughly(drawing, among(drawing, question)) },
    { role: 'assistant', content: `<tool_call>{"name": ${JSON.stringify(tool.definition.name)}, "arguments": ${JSON.stringify(drawing.call)}}</tool_call>` },
  ];
  if (random() >= GOES_ON) return called;
  const result = oneOf(tool.results, random);
  return [
    ...called,
    { role: 'user', content: `<tool_response>${filled(drawing, result.result)}</tool_response>` },
    { role: 'assistant', content: filled(drawing, result[language]) },
  ];
}

/** Requests under one list of tools: the first wants `tool`, the others any that is offered. */
export function toolTalk(material: Material, tool: Tool, at: At): readonly Message[] {
  const tools = offered(material.tools, tool, at.random);
  const talk: Message[] = [{ role: 'system', content: toolsInWords(tools.map(({ definition }) => definition)) }, ...request(material, tool, at)];
  for (let requests = 1; requests < REQUESTS_MAX && at.random() < ASKS_AGAIN; requests += 1) talk.push(...request(material, oneOf(tools, at.random), at));
  return talk;
}

/** A question whose answer is JSON of a schema; the schema itself is no part of the prompt, a grammar keeps to it. */
export function jsonTalk(material: Material, task: Task, { language, random }: At): readonly Message[] {
  const drawing: Drawing = { material, language, random, slots: task.slots ?? {}, whole: false, values: new Map(), call: {} };
  const found = oneOf(task.cases, random);
  const question = drawPhrase(drawing, parsePhrase(oneOf(found.ask[language], random)), (name) => slot(drawing, name));
  return [{ role: 'user', content: roughly(drawing, question) }, { role: 'assistant', content: filled(drawing, found.answer) }];
}
