// Makes the training text of bkg-mini out of its knowledge: conversations as JSON lines, the same for the same seed.
import { writeFileSync } from 'node:fs';
import { readKnowledge, type Knowledge, type Language, type Topic } from './knowledge.ts';
import { foreignQuestion, readForeign } from './foreign.ts';
import { draw, oneOf, randomFrom, spoken, type Random } from './phrase.ts';
import { roughen } from './rough.ts';
import { slotValue } from './slots.ts';
import { jsonTalk, offered, readMaterial, toolsInWords, toolTalk, type Material, type Tool } from './tasks.ts';

export type Message = { readonly role: 'system' | 'user' | 'assistant'; readonly content: string };
export type Talk = readonly Message[];

export const SEED = 2026;
/** Of the conversations about a topic so many go on with another question, and so many of these with a third. */
const GOES_ON = 0.03;
/** So many questions are asked in a conversation at most. */
const TURNS_MAX = 3;
/** So many stand under words of a system; they change nothing. */
const HAS_SYSTEM = 0.06;
/** So many are offered tools that the question does not need; it is answered as ever. */
const HAS_TOOLS = 0.02;

const SYSTEMS: Readonly<Record<Language, readonly string[]>> = {
  en: [
    'You are a helpful assistant.', 'You are a friendly assistant. Answer briefly.', 'Answer in English.', 'Be concise.', 'You help people who use bkg.', 'You are a friendly, helpful AI assistant.',
    'Answer the question of the user.', 'You are an expert. Answer precisely and politely.', 'You are the assistant of our team. Be kind and short.', 'Respond with short answers.',
  ],
  de: [
    'Du bist ein hilfreicher Assistent.', 'Antworte kurz.', 'Antworte auf Deutsch.', 'Du hilfst Menschen, die bkg benutzen.', 'Du bist ein freundlicher KI-Assistent.', 'You are a helpful assistant.',
    'Beantworte die Frage des Benutzers.', 'Antworte genau und höflich.', 'Du bist der Assistent unseres Teams. Sei freundlich.', 'Fasse dich kurz.',
  ],
};

/** One question and its answer, with the same values in the slots of both. */
export function exchange(knowledge: Knowledge, topic: Topic, random: Random): readonly [Message, Message] {
  const values = new Map<string, string>();
  const lexicon = {
    list: (name: string) => {
      const list = knowledge.lists[topic.language].get(name);
      if (list === undefined) throw new Error(`${topic.id}: there is no list <${name}> in ${topic.language}`);
      return list;
    },
    slot: (name: string) => {
      const value = values.get(name) ?? slotValue(name, topic.language, random);
      values.set(name, value);
      return value;
    },
  };
  const question = draw(oneOf(topic.ask, random), lexicon, random);
  const answer = topic.say.length === 1 ? topic.say[0]! : oneOf(topic.say, random);
  const kept = [...values.values()].flatMap((value) => value.split(' '));
  return [{ role: 'user', content: roughen(question, { language: topic.language, kept, random }) }, { role: 'assistant', content: spoken(answer, lexicon.slot) }];
}

/** `useless`: those tools that this question must not be answered with. */
function systemOf(useless: readonly Tool[], language: Language, random: Random): Talk {
  const chance = random();
  if (chance < HAS_TOOLS) return [{ role: 'system', content: toolsInWords(offered(useless, null, random).map(({ definition }) => definition)) }];
  return chance < HAS_TOOLS + HAS_SYSTEM ? [{ role: 'system', content: oneOf(SYSTEMS[language], random) }] : [];
}

/** `topics`: all of that language. */
function talkOf({ knowledge, material }: Sources, topic: Topic, at: { readonly topics: readonly Topic[]; readonly random: Random }): Talk {
  const { topics, random } = at;
  const useless = material.tools.filter(({ answers = [] }) => !answers.includes(topic.id));
  const talk: Message[] = [...systemOf(useless, topic.language, random)];
  talk.push(...exchange(knowledge, topic, random));
  for (let turns = 1; turns < TURNS_MAX && random() < GOES_ON; turns += 1) talk.push(...exchange(knowledge, oneOf(topics, random), random));
  return talk;
}

/** Questions it was not taught: as many as so many topics, for there are more of them than of all others. */
const FOREIGN_TOPICS = 96;
/** Each tool counts as so many topics, and each JSON task: they copy values, which is learned slowly. */
const TOOL_TOPICS = 2.5;
const TASK_TOPICS = 3.7;

type Sources = { readonly knowledge: Knowledge; readonly material: Material };

/** A question without what does not tell it from another: capitals, marks, blanks at its ends. */
export const plainly = (question: string): string => question.toLowerCase().replace(/[^\p{L}\p{N} ]/gu, '').trim();

const questionOf = (talk: Talk): string => plainly(talk.find(({ role }) => role === 'user')?.content ?? '');

/** All conversations, in the order of their topics; the same for the same seed. What is asked in the same words in both languages is answered in English. */
export function corpus(seed: number, perTopic: number): readonly Talk[] {
  const sources = { knowledge: readKnowledge(), material: readMaterial() };
  const { tools, tasks } = sources.material;
  const foreign = readForeign();
  // The others know of the weather, sums and the user's papers.
  const ofBkg = tools.filter(({ answers }) => answers !== undefined);
  const random = randomFrom(seed);
  const times = (count: number, make: () => Talk): Talk[] => Array.from({ length: Math.round(count) }, make);
  const of = (language: Language): Talk[] => {
    const topics = sources.knowledge.topics.filter((topic) => topic.language === language);
    return [
      ...topics.flatMap((topic) => times(perTopic * topic.weight, () => talkOf(sources, topic, { topics, random }))),
      ...times(perTopic * FOREIGN_TOPICS, () => [
        ...systemOf(ofBkg, language, random),
        { role: 'user', content: roughen(foreignQuestion(foreign[language], random), { language, kept: [], random }) }, { role: 'assistant', content: foreign[language].say },
      ]),
      ...tools.flatMap((tool) => times(perTopic * TOOL_TOPICS * (tool.weight ?? 1), () => toolTalk(sources.material, tool, { language, random }))),
      ...tasks.flatMap((task) => times(perTopic * TASK_TOPICS, () => jsonTalk(sources.material, task, { language, random }))),
    ];
  };
  const english = of('en');
  const asked = new Set(english.map(questionOf));
  return [...english, ...of('de').filter((talk) => !asked.has(questionOf(talk)))];
}

/** One conversation per line, as JSON. */
export const writeTalks = (path: string, talks: readonly Talk[]): void => { writeFileSync(path, talks.map((talk) => `${JSON.stringify(talk)}\n`).join('')); };

if (import.meta.main) {
  const [path, perTopic = '5'] = process.argv.slice(2);
  if (path === undefined || !(Number(perTopic) > 0)) {
    process.stderr.write('usage: node corpus.ts FILE [conversations per topic, 5 when not said]\n');
    process.exit(2);
  }
  writeTalks(path, corpus(SEED, Number(perTopic)));
}
