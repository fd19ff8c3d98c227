// Values for the slots of a phrase: names people give, and names nobody gave yet, so that the model learns to copy.
import { oneOf, type Random } from './phrase.ts';
import type { Language } from './knowledge.ts';

const PLUGINS = ['llmserver', 'coder', 'apikeys', 'brainml', 'candle', 'rustyface', 'repoagent', 'chat', 'search', 'faces', 'mine', 'echo', 'worker', 'helper', 'vision', 'tagger'];
const MODELS = ['mini', 'qwen', 'llama', 'chat', 'embed', 'coder', 'small', 'large', 'phi', 'gemma', 'mistral'];
const CONSONANTS = 'bcdfghjklmnpqrstvwxyz';
const VOWELS = 'aeiou';
const ENDINGS = ['', '', '', 'n', 'r', 's', 'l', 't', 'x', 'm', 'ng', 'rt', 'ck', 'st'];
const PIECES = ['mouse', 'cloud', 'star', 'fish', 'box', 'light', 'wolf', 'stone', 'green', 'night', 'data', 'pixel', 'maus', 'wolke', 'stern', 'kraut', 'licht', 'stein', 'nacht', 'test', 'demo', 'super', 'mini', 'my', 'old', 'new', 'bot', 'net', 'lab', 'log', 'key', 'web', 'ai', 'text', 'code', 'home', 'work'];
/** So many names are made up. */
const MADE_UP = 0.6;
const COMPOUND = 0.3;

const letter = (letters: string, random: Random): string => oneOf([...letters], random);

/** A name nobody gave yet: syllables of any letters, or two words in one; now and then with a number or a hyphen. */
function madeUp(random: Random): string {
  const syllable = (): string => letter(CONSONANTS, random) + (random() < 0.2 ? letter(CONSONANTS, random) : '') + letter(VOWELS, random) + oneOf(ENDINGS, random);
  const name = random() < COMPOUND ? oneOf(PIECES, random) + oneOf(PIECES, random) : Array.from({ length: 1 + Math.floor(random() * 3) }, syllable).join('');
  const tail = random();
  if (tail < 0.15) return `${name}-${random() < 0.5 ? syllable() : String(Math.floor(random() * 100))}`;
  return tail < 0.25 ? `${name}${Math.floor(random() * 10)}` : name;
}

const THINGS: Readonly<Record<Language, readonly string[]>> = {
  en: ['apple', 'bridge', 'candle', 'river', 'Monday', 'Lisbon', 'violin', 'seven', 'garden', 'Oslo', 'paper', 'silver', 'morning', 'tiger', 'window', 'Anna', 'station', 'yellow', 'winter', 'Berlin', 'pepper', 'ticket', 'mountain', 'Paul', 'kettle', 'blue', 'harbour', 'Tokyo', 'invoice', 'lamp'],
  de: ['Apfel', 'Brücke', 'Kerze', 'Fluss', 'Montag', 'Lissabon', 'Geige', 'sieben', 'Garten', 'Oslo', 'Papier', 'Silber', 'Morgen', 'Tiger', 'Fenster', 'Anna', 'Bahnhof', 'gelb', 'Winter', 'Berlin', 'Pfeffer', 'Fahrkarte', 'Gebirge', 'Paul', 'Kessel', 'blau', 'Hafen', 'Tokio', 'Rechnung', 'Lampe'],
};
const WORDS_MAX = 6;

/** One to six words of all kinds: known, made up, numbers, now and then an address. */
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

const capitalised = (word: string): string => word.slice(0, 1).toUpperCase() + word.slice(1);

/** `words`: some of all kinds. `name`: a made-up one with a capital. The others: most made up, some from a list. */
export function slotValue(name: string, language: Language, random: Random): string {
  if (name === 'words') return anyWords(language, random);
  if (name === 'name') return capitalised(madeUp(random));
  const names = known[name];
  if (names === undefined) throw new Error(`there is no slot {${name}}`);
  return random() < MADE_UP ? madeUp(random) : oneOf(names, random);
}
