// Values for the slots of a phrase: names people give, and names nobody gave yet, so that the model learns to copy.
import { oneOf, type Random } from './phrase.ts';
import type { Language } from './knowledge.ts';

const PLUGINS = ['llmserver', 'coder', 'apikeys', 'brainml', 'candle', 'rustyface', 'repoagent', 'chat', 'search', 'faces', 'mine', 'echo', 'worker', 'helper', 'vision', 'tagger'];
const MODELS = ['mini', 'qwen', 'llama', 'chat', 'embed', 'coder', 'small', 'large', 'phi', 'gemma', 'mistral'];
/** Words of every day that people name their plugins and models by. */
const EVERYDAY = [
  'archive', 'alerts', 'alarm', 'assistant', 'backup', 'billing', 'blog', 'books', 'cache', 'calendar', 'camera', 'car', 'catalog', 'classifier', 'clock', 'contacts', 'contracts', 'crawler', 'customers', 'detector',
  'diary', 'dictionary', 'docs', 'door', 'drone', 'editor', 'embedder', 'feed', 'films', 'first', 'forum', 'garage', 'garden', 'gateway', 'grader', 'greenhouse', 'heating', 'history', 'images', 'indexer', 'inbox',
  'journal', 'kitchen', 'labels', 'letters', 'library', 'lights', 'listener', 'lookup', 'mailer', 'maps', 'meetings', 'memory', 'minutes', 'monitor', 'music', 'news', 'notes', 'ocr', 'office', 'orders', 'painter',
  'papers', 'parser', 'payments', 'pdf', 'photos', 'pictures', 'planner', 'player', 'podcast', 'poems', 'printer', 'proxy', 'quiz', 'radio', 'reader', 'recorder', 'reminder', 'reports', 'reranker', 'robot', 'router',
  'scanner', 'scheduler', 'school', 'second', 'sensors', 'shop', 'speaker', 'speech', 'stats', 'stories', 'summary', 'summarizer', 'support', 'tasks', 'teacher', 'third', 'tickets', 'timetable', 'tools', 'tracker',
  'translator', 'travel', 'tutor', 'video', 'voice', 'warehouse', 'watcher', 'weather', 'wiki', 'writer', 'writing', 'aktenschrank', 'archiv', 'ausweise', 'beleg', 'bilder', 'bote', 'briefe', 'buchhaltung', 'drucker',
  'fahrplan', 'fotos', 'garten', 'gesichter', 'heizung', 'kalender', 'kasse', 'klingel', 'lager', 'lexikon', 'merker', 'notizen', 'post', 'protokolle', 'rezepte', 'schule', 'sprache', 'stimme', 'suche', 'tagebuch',
  'termine', 'texte', 'uhr', 'verein', 'vorlesen', 'wetter', 'werkstatt', 'zeitung', 'zusammenfassung',
];
const CONSONANTS = 'bcdfghjklmnpqrstvwxyz';
const VOWELS = 'aeiou';
const ENDINGS = ['', '', '', 'n', 'r', 's', 'l', 't', 'x', 'm', 'ng', 'rt', 'ck', 'st'];
const PIECES = ['mouse', 'cloud', 'star', 'fish', 'box', 'light', 'wolf', 'stone', 'green', 'night', 'data', 'pixel', 'maus', 'wolke', 'stern', 'kraut', 'licht', 'stein', 'nacht', 'test', 'demo', 'super', 'mini', 'my', 'old', 'new', 'bot', 'net', 'lab', 'log', 'key', 'web', 'ai', 'text', 'code', 'home', 'work'];
/** So many names are made up, and so many more are words of every day. */
const MADE_UP = 0.55;
const OF_EVERY_DAY = 0.25;
/** So many of these are two words in one, the others of one to three syllables. */
const COMPOUND = 0.3;
const SYLLABLES_MAX = 3;
/** So many syllables begin with two consonants. */
const TWO_CONSONANTS = 0.2;
// Bounds of one draw: up to the first a name has a hyphen and more behind it, up to the second a digit.
const HYPHENED = 0.15, DIGIT = 0.25;

const letter = (letters: string, random: Random): string => oneOf([...letters], random);

/** A name nobody gave yet. */
function madeUp(random: Random): string {
  const syllable = (): string => letter(CONSONANTS, random) + (random() < TWO_CONSONANTS ? letter(CONSONANTS, random) : '') + letter(VOWELS, random) + oneOf(ENDINGS, random);
  const name = random() < COMPOUND ? oneOf(PIECES, random) + oneOf(PIECES, random) : Array.from({ length: 1 + Math.floor(random() * SYLLABLES_MAX) }, syllable).join('');
  const tail = random();
  if (tail < HYPHENED) return `${name}-${random() < 0.5 ? syllable() : String(Math.floor(random() * 100))}`;
  return tail < DIGIT ? `${name}${Math.floor(random() * 10)}` : name;
}

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
    return kind < ANY_PLUGIN ? oneOf(PLUGINS, random) : `hf://${madeUp(random)}/${madeUp(random)}/${madeUp(random)}.gguf`;
  };
  return Array.from({ length: 1 + Math.floor(random() * WORDS_MAX) }, word).join(' ');
}

const known: Readonly<Record<string, readonly string[]>> = { plugin: PLUGINS, model: MODELS };

const capitalised = (word: string): string => word.slice(0, 1).toUpperCase() + word.slice(1);

/** `words`: some of all kinds. `name`: a made-up one with a capital. The others: most made up, some from lists. */
export function slotValue(name: string, language: Language, random: Random): string {
  if (name === 'words') return anyWords(language, random);
  if (name === 'name') return capitalised(madeUp(random));
  const names = known[name];
  if (names === undefined) throw new Error(`there is no slot {${name}}`);
  const chance = random();
  if (chance < MADE_UP) return madeUp(random);
  return oneOf(chance < MADE_UP + OF_EVERY_DAY ? EVERYDAY : names, random);
}
