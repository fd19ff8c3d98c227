// Writes a question as people type it: without capitals or marks, with fillers, slips and other letters for umlauts.
import type { Language } from './knowledge.ts';
import { oneOf, type Random } from './phrase.ts';

export type RoughOptions = { readonly language: Language; /** Words that stay as they are. */ readonly kept: readonly string[]; /** Loses no word. */ readonly whole?: boolean; readonly random: Random };

const BEFORE: Readonly<Record<Language, readonly string[]>> = {
  en: ['hi, ', 'hello, ', 'hey, ', 'please, ', 'quick question: ', 'ok, ', 'so, ', 'and ', 'well, ', 'sorry, ', 'one question: ', 'hi! '],
  de: ['hallo, ', 'hi, ', 'bitte, ', 'kurze frage: ', 'ok, ', 'und ', 'also, ', 'sag mal, ', 'eine frage: ', 'hallo! ', 'du, '],
};
const AFTER: Readonly<Record<Language, readonly string[]>> = {
  en: [' please', ', please', ' thanks', ', thanks', ' now', ' here', ' exactly', ' again'],
  de: [' bitte', ', bitte', ' danke', ', danke', ' jetzt', ' hier', ' genau', ' denn'],
};
const UMLAUTS: Readonly<Record<string, string>> = { ä: 'ae', ö: 'oe', ü: 'ue', ß: 'ss', Ä: 'Ae', Ö: 'Oe', Ü: 'Ue' };

const FILLED = 0.08;
const SLIPS = 0.05;
/** So many questions lose words, each word with this chance: what is asked is to be known by any of its words, for people do not speak in templates. */
const SHORTENED = 0.3;
const LOST = 0.15;
const SHORTEST_WORDS = 4;
const NO_UMLAUTS = 0.08;
/** A slip is a letter dropped, doubled or swapped with the next, each as often, in words of so many letters and more. */
const SLIPPED_LETTERS = 4;
const DROPPED = 0.34, DOUBLED = 0.67;
// Bounds of one draw: up to the first the question begins with a capital, up to the second it shouts, up to the third it is all small.
const CAPITAL = 0.45, SHOUTED = 0.46, SMALL = 0.52;
// And its last sign; above the last bound there is none.
const MARKS: readonly (readonly [upTo: number, mark: string])[] = [[0.55, '?'], [0.62, '.'], [0.65, '??'], [0.67, '!']];

export function roughen(question: string, o: RoughOptions): string {
  const { language, random } = o;
  let text = random() < SHORTENED && o.whole !== true ? shortened(question, o) : question;
  if (random() < FILLED) text = oneOf(BEFORE[language], random) + text;
  if (random() < FILLED) text += oneOf(AFTER[language], random);
  if (random() < SLIPS) text = slipped(text, o);
  if (language === 'de' && random() < NO_UMLAUTS && !o.kept.some((name) => /[äöüß]/i.test(name))) text = text.replace(/[äöüßÄÖÜ]/g, (sign) => UMLAUTS[sign] ?? sign);
  const dress = random();
  if (dress < CAPITAL && !o.kept.some((name) => text.startsWith(name))) text = text.slice(0, 1).toUpperCase() + text.slice(1);
  else if (dress < SHOUTED && o.kept.length === 0) text = text.toUpperCase();
  else if (dress < SMALL) text = text.split(' ').map((word) => (o.kept.some((name) => word.includes(name)) ? word : word.toLowerCase())).join(' ');
  const mark = random();
  if (/[?!.]$/.test(text)) return text;
  return text + (MARKS.find(([upTo]) => mark < upTo)?.[1] ?? '');
}

/** Without some of its words that are nobody's names; short ones stay whole. */
function shortened(text: string, { kept, random }: RoughOptions): string {
  const words = text.split(' ');
  if (words.length < SHORTEST_WORDS) return text;
  const left = words.filter((word) => random() >= LOST || kept.some((name) => word.includes(name)));
  return left.length < SHORTEST_WORDS - 1 ? text : left.join(' ');
}

/** One slip in a word that is nobody's name. */
function slipped(text: string, { kept, random }: RoughOptions): string {
  const words = text.split(' ');
  const at = Math.floor(random() * words.length);
  const word = words[at]!;
  if (word.length < SLIPPED_LETTERS || kept.some((name) => word.includes(name))) return text;
  const index = 1 + Math.floor(random() * (word.length - 2));
  const how = random();
  words[at] = how < DROPPED ? word.slice(0, index) + word.slice(index + 1) : how < DOUBLED ? word.slice(0, index) + word[index]! + word.slice(index) : word.slice(0, index) + word[index + 1]! + word[index]! + word.slice(index + 2);
  return words.join(' ');
}
