// Values for the slots of a phrase.
import type { Language } from './knowledge.ts';
import { anySource, EVERYDAY, madeUp, madeUpName, modelSource } from './names.ts';
import { oneOf, type Random } from './phrase.ts';

// What comes with bkg is named more often than what somebody made.
const PLUGINS = ['llmserver', 'llmserver', 'llmserver', 'llmserver', 'coder', 'apikeys', 'brainml', 'candle', 'rustyface', 'repoagent', 'chat', 'search', 'faces', 'mine', 'echo', 'worker', 'helper', 'vision', 'tagger'];
const MODELS = ['mini', 'qwen', 'llama', 'chat', 'embed', 'coder', 'small', 'large', 'phi', 'gemma', 'mistral'];
/** So many names are made up, and so many more are words of every day. */
const MADE_UP = 0.55;
const OF_EVERY_DAY = 0.25;

const THINGS: Readonly<Record<Language, readonly string[]>> = {
  en: ['apple', 'bridge', 'candle', 'river', 'Monday', 'Lisbon', 'violin', 'seven', 'garden', 'Oslo', 'paper', 'silver', 'morning', 'tiger', 'window', 'Anna', 'station', 'yellow', 'winter', 'Berlin', 'pepper', 'ticket', 'mountain', 'Paul', 'kettle', 'blue', 'harbour', 'Tokyo', 'invoice', 'lamp'],
  de: ['Apfel', 'Brücke', 'Kerze', 'Fluss', 'Montag', 'Lissabon', 'Geige', 'sieben', 'Garten', 'Oslo', 'Papier', 'Silber', 'Morgen', 'Tiger', 'Fenster', 'Anna', 'Bahnhof', 'gelb', 'Winter', 'Berlin', 'Pfeffer', 'Fahrkarte', 'Gebirge', 'Paul', 'Kessel', 'blau', 'Hafen', 'Tokio', 'Rechnung', 'Lampe'],
};
const WORDS_MAX = 6;
// Bounds of one draw: made up, a thing, a number, a plugin's name; above the last a model's address.
const ANY_NAME = 0.45, ANY_THING = 0.7, ANY_NUMBER = 0.85, ANY_PLUGIN = 0.93;
const NUMBERS = 1000;

/** A few words of all kinds: known, made up, numbers, now and then an address. */
function anyWords(language: Language, random: Random): string {
  const word = (): string => {
    const kind = random();
    if (kind < ANY_NAME) return madeUp(random);
    if (kind < ANY_THING) return oneOf(THINGS[language], random);
    if (kind < ANY_NUMBER) return String(Math.floor(random() * NUMBERS));
    return kind < ANY_PLUGIN ? oneOf(PLUGINS, random) : modelSource(random);
  };
  return Array.from({ length: 1 + Math.floor(random() * WORDS_MAX) }, word).join(' ');
}

const known: Readonly<Record<string, readonly string[]>> = { plugin: PLUGINS, model: MODELS };

/** `words`: some of all kinds. `name`: a made-up one with a capital. `source`: a model's address, `any_source`: as a tool may get it. The others: most made up, some from lists. */
export function slotValue(name: string, language: Language, random: Random): string {
  if (name === 'words') return anyWords(language, random);
  if (name === 'name') return madeUpName(random);
  if (name === 'source') return modelSource(random);
  if (name === 'any_source') return anySource(random);
  const names = known[name];
  if (names === undefined) throw new Error(`there is no slot {${name}}`);
  const chance = random();
  if (chance < MADE_UP) return madeUp(random);
  return oneOf(chance < MADE_UP + OF_EVERY_DAY ? EVERYDAY : names, random);
}
