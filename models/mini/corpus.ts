// Makes the training text of bkg-mini out of its knowledge: conversations as JSON lines, the same for the same seed.
import { writeFileSync } from 'node:fs';
import { LANGUAGES, readKnowledge, type Knowledge, type Language, type Topic } from './knowledge.ts';
import { foreignQuestion, readForeign } from './foreign.ts';
import { draw, oneOf, randomFrom, type Random } from './phrase.ts';
import { roughen } from './rough.ts';
import { slotValue } from './slots.ts';
import { jsonTalk, readMaterial, toolTalk } from './tasks.ts';

export type Message = { readonly role: 'system' | 'user' | 'assistant'; readonly content: string };
export type Talk = readonly Message[];

const SEED = 2026;
/** Of all conversations so many go on with another question, and so many of these with a third. */
const GOES_ON = 0.25;
/** So many stand under words of a system; they change nothing. */
const HAS_SYSTEM = 0.15;

const SYSTEMS: Readonly<Record<Language, readonly string[]>> = {
  en: ['You are a helpful assistant.', 'You are a friendly assistant. Answer briefly.', 'Answer in English.', 'Be concise.', 'You help people who use bkg.'],
  de: ['Du bist ein hilfreicher Assistent.', 'Antworte kurz.', 'Antworte auf Deutsch.', 'Du hilfst Menschen, die bkg benutzen.'],
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
  const kept = [...values.values()];
  // Line breaks of an answer are its own.
  const said = answer.map((part) => (part.kind === 'text' ? part.text : part.kind === 'slot' ? lexicon.slot(part.name) : draw([part], lexicon, random))).join('');
  return [{ role: 'user', content: roughen(question, { language: topic.language, kept, random }) }, { role: 'assistant', content: said }];
}

function talkOf(knowledge: Knowledge, topic: Topic, random: Random): Talk {
  const talk: Message[] = [];
  if (random() < HAS_SYSTEM) talk.push({ role: 'system', content: oneOf(SYSTEMS[topic.language], random) });
  talk.push(...exchange(knowledge, topic, random));
  const others = knowledge.topics.filter((other) => other.language === topic.language);
  for (let turns = 1; turns < 3 && random() < GOES_ON; turns += 1) talk.push(...exchange(knowledge, oneOf(others, random), random));
  return talk;
}

/** Questions it was not taught: as many as so many topics, for there are more of them than of all others. */
const FOREIGN_TOPICS = 60;
/** Each tool and each JSON task counts as so many topics: they copy values, which is learned slowly. */
const TASK_TOPICS = 4;

/** All conversations, in the order of their topics; the same for the same seed. */
export function corpus(seed: number, perTopic: number): readonly Talk[] {
  const knowledge = readKnowledge();
  const foreign = readForeign();
  const material = readMaterial();
  const random = randomFrom(seed);
  const times = <Made>(count: number, make: () => Made): Made[] => Array.from({ length: Math.round(count) }, make);
  return [
    ...knowledge.topics.flatMap((topic) => times(perTopic * topic.weight, () => talkOf(knowledge, topic, random))),
    ...LANGUAGES.flatMap((language) => times(perTopic * FOREIGN_TOPICS, (): Talk => [
      { role: 'user', content: roughen(foreignQuestion(foreign[language], random), { language, kept: [], random }) }, { role: 'assistant', content: foreign[language].say },
    ])),
    ...LANGUAGES.flatMap((language) => material.tools.flatMap((tool) => times(perTopic * TASK_TOPICS, () => toolTalk(material, tool, { language, random })))),
    ...LANGUAGES.flatMap((language) => material.tasks.flatMap((task) => times(perTopic * TASK_TOPICS, () => jsonTalk(material, task, { language, random })))),
  ];
}

if (import.meta.main) {
  const [target, perTopic = '300'] = process.argv.slice(2);
  if (target === undefined) throw new Error('usage: node corpus.ts FILE [conversations per topic]');
  const talks = corpus(SEED, Number(perTopic));
  writeFileSync(target, talks.map((talk) => `${JSON.stringify(talk)}\n`).join(''));
  process.stdout.write(`${talks.length} conversations\n`);
}
