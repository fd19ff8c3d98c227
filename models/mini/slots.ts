// Values for the slots of a phrase: names people give, and names nobody gave yet, so that the model learns to copy.
import { oneOf, type Random } from './phrase.ts';
import type { Language } from './knowledge.ts';

const PLUGINS = ['llmserver', 'coder', 'apikeys', 'brainml', 'candle', 'rustyface', 'repoagent', 'chat', 'search', 'faces', 'mine', 'echo', 'worker', 'helper', 'vision', 'tagger'];
const MODELS = ['mini', 'qwen', 'llama', 'chat', 'embed', 'coder', 'small', 'large', 'phi', 'gemma', 'mistral'];
const SYLLABLES = ['ka', 'lo', 'mi', 'ra', 'to', 'ne', 'su', 'vi', 'bo', 'da', 'fe', 'gi', 'hu', 'jo', 'pa', 'ri', 'sa', 'te', 'zo', 'lu', 'an', 'er', 'in', 'ol', 'ix'];
/** So many names are made up. */
const MADE_UP = 0.5;

function madeUp(random: Random): string {
  const length = 2 + Math.floor(random() * 3);
  const name = Array.from({ length }, () => oneOf(SYLLABLES, random)).join('');
  const tail = random();
  return tail < 0.15 ? `${name}-${oneOf(SYLLABLES, random)}` : tail < 0.25 ? `${name}${Math.floor(random() * 10)}` : name;
}

const THINGS: Readonly<Record<Language, readonly string[]>> = {
  en: ['apple', 'bridge', 'candle', 'river', 'Monday', 'Lisbon', 'violin', 'seven', 'garden', 'Oslo', 'paper', 'silver', 'morning', 'tiger', 'window', 'Anna', 'station', 'yellow', 'winter', 'Berlin', 'pepper', 'ticket', 'mountain', 'Paul', 'kettle', 'blue', 'harbour', 'Tokyo', 'invoice', 'lamp'],
  de: ['Apfel', 'Brücke', 'Kerze', 'Fluss', 'Montag', 'Lissabon', 'Geige', 'sieben', 'Garten', 'Oslo', 'Papier', 'Silber', 'Morgen', 'Tiger', 'Fenster', 'Anna', 'Bahnhof', 'gelb', 'Winter', 'Berlin', 'Pfeffer', 'Fahrkarte', 'Gebirge', 'Paul', 'Kessel', 'blau', 'Hafen', 'Tokio', 'Rechnung', 'Lampe'],
};
const WORDS_MAX = 4;

/** One to four words of all kinds: known, made up, numbers, now and then an address. */
function anyWords(language: Language, random: Random): string {
  const word = (): string => {
    const kind = random();
    if (kind < 0.45) return madeUp(random);
    if (kind < 0.7) return oneOf(THINGS[language], random);
    if (kind < 0.85) return String(Math.floor(random() * 1000));
    return kind < 0.93 ? oneOf(PLUGINS, random) : `hf://${madeUp(random)}/${madeUp(random)}/${madeUp(random)}.gguf`;
  };
  return Array.from({ length: 1 + Math.floor(random() * WORDS_MAX) }, word).join(' ');
}

const known: Readonly<Record<string, readonly string[]>> = { plugin: PLUGINS, model: MODELS };

export function slotValue(name: string, language: Language, random: Random): string {
  if (name === 'words') return anyWords(language, random);
  const names = known[name];
  if (names === undefined) throw new Error(`there is no slot {${name}}`);
  return random() < MADE_UP ? madeUp(random) : oneOf(names, random);
}
