// Names people give: to plugins and models, on a model hub, to places; most of them nobody gave yet, so that bkg-mini learns to copy.
import { oneOf, type Random } from './phrase.ts';

/** Words of every day that people name their plugins and models by. */
export const EVERYDAY = [
  'archive', 'alerts', 'alarm', 'assistant', 'backup', 'billing', 'blog', 'books', 'cache', 'calendar', 'camera', 'car', 'catalog', 'classifier', 'clock', 'contacts', 'contracts', 'crawler', 'customers', 'detector',
  'diary', 'dictionary', 'docs', 'door', 'drone', 'editor', 'embedder', 'feed', 'films', 'first', 'forum', 'garage', 'garden', 'gateway', 'grader', 'greenhouse', 'heating', 'history', 'images', 'indexer', 'inbox',
  'journal', 'kitchen', 'labels', 'letters', 'library', 'lights', 'listener', 'lookup', 'mailer', 'maps', 'meetings', 'memory', 'minutes', 'monitor', 'music', 'news', 'notes', 'ocr', 'office', 'orders', 'painter',
  'papers', 'parser', 'payments', 'pdf', 'photos', 'pictures', 'planner', 'player', 'podcast', 'poems', 'printer', 'proxy', 'quiz', 'radio', 'reader', 'recorder', 'reminder', 'reports', 'reranker', 'robot', 'router',
  'scanner', 'scheduler', 'school', 'second', 'sensors', 'shop', 'speaker', 'speech', 'stats', 'stories', 'summary', 'summarizer', 'support', 'tasks', 'teacher', 'third', 'tickets', 'timetable', 'tools', 'tracker',
  'translator', 'travel', 'tutor', 'video', 'voice', 'warehouse', 'watcher', 'weather', 'wiki', 'writer', 'writing', 'aktenschrank', 'archiv', 'ausweise', 'beleg', 'bilder', 'bote', 'briefe', 'buchhaltung', 'drucker',
  'fahrplan', 'fotos', 'garten', 'gesichter', 'heizung', 'kalender', 'kasse', 'klingel', 'lager', 'lexikon', 'merker', 'notizen', 'post', 'protokolle', 'rezepte', 'schule', 'sprache', 'stimme', 'suche', 'tagebuch',
  'termine', 'texte', 'uhr', 'verein', 'vorlesen', 'wetter', 'werkstatt', 'zeitung', 'zusammenfassung',
];
const PIECES = [
  'mouse', 'cloud', 'star', 'fish', 'box', 'light', 'wolf', 'stone', 'green', 'night', 'data', 'pixel', 'maus', 'wolke', 'stern', 'kraut', 'licht', 'stein', 'nacht', 'test', 'demo', 'super', 'mini', 'my', 'old', 'new', 'next', 'last',
  'bot', 'net', 'lab', 'log', 'key', 'web', 'ai', 'text', 'code', 'home', 'work', 'server', 'chat', 'llama', 'model', 'plugin', 'start', 'stop', 'status', 'bkg', 'image', 'stt', 'tts', 'db', 'api', 'gpu', 'small', 'large', 'fast', 'big', 'tiny',
];
const CONSONANTS = 'bcdfghjklmnpqrstvwxyz';
const VOWELS = 'aeiou';
const ENDINGS = ['', '', '', 'n', 'r', 's', 'l', 't', 'x', 'm', 'ng', 'rt', 'ck', 'st'];
const ACCENTS: Readonly<Record<string, readonly string[]>> = { a: ['á', 'ã', 'å', 'ä', 'ā'], e: ['é', 'è', 'ê', 'ë'], i: ['í', 'î'], o: ['ó', 'ö', 'ø', 'ô', 'õ'], u: ['ú', 'ü', 'û'] };
/** So many made-up names are two words in one, the others of one to three syllables. */
const COMPOUND = 0.3;
const SYLLABLES_MAX = 3;
/** So many syllables begin with two consonants. */
const TWO_CONSONANTS = 0.2;
// Bounds of one draw: up to the first a name is of parts with hyphens between them, up to the second two of them are one with a digit between, up to the third it ends with a digit.
const IN_PARTS = 0.25, JOINED = 0.28, DIGIT = 0.36;
const PARTS_MAX = 3;
/** So many names of places have an accent. */
const ACCENTED = 0.15;

const letter = (letters: string, random: Random): string => oneOf([...letters], random);
const upTo = (most: number, random: Random): number => 1 + Math.floor(random() * most);
const capitalised = (word: string): string => word.slice(0, 1).toUpperCase() + word.slice(1);

const syllable = (random: Random): string => letter(CONSONANTS, random) + (random() < TWO_CONSONANTS ? letter(CONSONANTS, random) : '') + letter(VOWELS, random) + oneOf(ENDINGS, random);
const syllables = (random: Random): string => Array.from({ length: upTo(SYLLABLES_MAX, random) }, () => syllable(random)).join('');

/** A version, a size, a number: what stands behind a hyphen. */
function tag(random: Random): string {
  const number = upTo(99, random);
  return oneOf([`v${upTo(9, random)}`, String(number), String(upTo(9, random)), `${letter(CONSONANTS, random)}${number}`, `${upTo(70, random)}b`, 'xl', `${number}${letter(CONSONANTS, random)}`, letter(CONSONANTS, random)], random);
}

/** One part of a name in parts. */
const part = (random: Random): string => oneOf([() => oneOf(PIECES, random), () => oneOf(EVERYDAY, random), () => syllables(random), () => tag(random)], random)();

/** A name of a plugin or model that nobody gave yet. */
export function madeUp(random: Random): string {
  const kind = random();
  if (kind < IN_PARTS) return [oneOf([oneOf(PIECES, random), oneOf(EVERYDAY, random), syllables(random)], random), ...Array.from({ length: upTo(PARTS_MAX - 1, random) }, () => part(random))].join('-');
  const name = random() < COMPOUND ? oneOf(PIECES, random) + oneOf(PIECES, random) : syllables(random);
  if (kind < JOINED) return `${name}${upTo(9, random)}${oneOf(PIECES, random)}`;
  return kind < DIGIT ? `${name}${Math.floor(random() * 10)}` : name;
}

/** A name of a person or place that nobody has. */
export function madeUpName(random: Random): string {
  const name = capitalised(random() < COMPOUND ? oneOf(PIECES, random) + oneOf(PIECES, random) : syllables(random));
  if (random() >= ACCENTED) return name;
  const at = name.slice(1).search(/[aeiou]/) + 1;
  return at === 0 ? name : name.slice(0, at) + oneOf(ACCENTS[name[at]!]!, random) + name.slice(at + 1);
}

const FAMILIES = [
  'Qwen2', 'Qwen2.5', 'Qwen3', 'Llama-3.2', 'Llama-3.1', 'Meta-Llama-3', 'Mistral', 'Mixtral', 'Ministral', 'gemma', 'gemma-2', 'gemma-3', 'Phi-3.5-mini', 'phi-4', 'SmolLM2', 'TinyLlama', 'DeepSeek-R1', 'DeepSeek-Coder', 'granite-3.1', 'Falcon3',
  'Yi-1.5', 'OLMo-2', 'stablelm-2', 'StarCoder2', 'CodeLlama', 'Hermes-3', 'zephyr', 'openchat', 'EXAONE-3.5', 'LeoLM', 'bge-m3', 'e5-base', 'jina-embeddings-v2', 'mxbai-embed', 'nomic-embed', 'all-MiniLM', 'whisper-small', 'snowflake-arctic', 'aya-expanse', 'Nemotron',
];
const OWNERS = ['Qwen', 'bartowski', 'unsloth', 'ggml-org', 'lmstudio-community', 'second-state', 'QuantFactory', 'TheBloke', 'mradermacher', 'MaziyarPanahi', 'meta-llama', 'mistralai', 'google', 'microsoft', 'HuggingFaceTB', 'tiiuae', 'BAAI', 'nomic-ai', 'ibm-granite', 'deepseek-ai'];
const SIZES = ['0.5B', '1B', '1.5B', '2B', '3B', '4B', '7B', '8B', '13B', '14B', '22B', '32B', '70B', '135M', '270M', '360M', '500M', '1.7B', '8x7B'];
const KINDS = ['Instruct', 'instruct', 'Chat', 'chat', 'it', 'Base', 'base', 'Coder', 'coder', 'text', 'embed', 'de', 'mini', 'Vision', 'v0.1', 'v0.2', 'v1.5', 'v2', '2407', '0528', 'large', 'small'];
const QUANTS = ['Q4_K_M', 'Q4_K_S', 'Q5_K_M', 'Q6_K', 'Q8_0', 'Q4_0', 'IQ4_XS', 'F16', 'BF16', 'q4_k_m', 'q5_k_m', 'q6_k', 'q8_0', 'q4_0', 'f16', 'fp16', 'q4', 'q8'];
const REVISIONS = ['main', 'main', 'main', 'main', 'v1', 'v1.0', 'gguf'];
const HOSTS = ['example.org', 'example.com', 'example.net', 'models.example.org', 'files.example.com', 'intern.example.net'];
const ENDS = ['org', 'com', 'net', 'de', 'io', 'example'];
const YEAR_MAX = 2030;
const FOLDERS = ['models', 'weights', 'gguf', 'data', 'files', 'llm', 'download', 'modelle', 'dateien', 'mnt', 'srv', 'home', 'opt', 'usb', 'stick'];
/** So many models are of a family that there is, and have in their names a size, a kind, a quantisation; so many names are put together with _. */
const OF_A_FAMILY = 0.6, SIZED = 0.75, OF_A_KIND = 0.7, QUANTISED = 0.8, UNDERSCORED = 0.1;
/** So many files are called as their repository, but in small letters. */
const SMALL_LETTERS = 0.5;
/** So many addresses name a revision, and so many of these a commit. */
const AT_REVISION = 0.45, AT_COMMIT = 0.3;
const HEX_DIGITS = '0123456789abcdef';
const COMMIT_LENGTH = 7;
const FOLDERS_MAX = 3;
/** So many sources for a tool are such as bkg loads, and so many of the other servers have a port. */
const OF_GGUF = 0.5, WITH_PORT = 0.4;
const FORMATS = ['safetensors', 'safetensors', 'onnx', 'onnx', 'bin', 'bin', 'pt', 'gguf'];
const NAME_WORDS_MAX = 3;
/** What people put behind a short name. */
const SUFFIXES = ['small', 'new', 'chat', 'de', 'mini', 'big', 'test'];

/** The name of a model as its makers write it, such as Qwen2.5-0.5B-Instruct. */
function weightsName(random: Random): string {
  const family = random() < OF_A_FAMILY ? oneOf(FAMILIES, random) : oneOf([capitalised(madeUp(random)), madeUp(random), oneOf(EVERYDAY, random)], random);
  return [family, ...(random() < SIZED ? [oneOf(SIZES, random)] : []), ...(random() < OF_A_KIND ? [oneOf(KINDS, random)] : [])].join(random() < UNDERSCORED ? '_' : '-');
}

const anyOwner = (random: Random): string => oneOf([oneOf(OWNERS, random), madeUp(random), capitalised(madeUp(random))], random);
const anyFolders = (random: Random): string => Array.from({ length: upTo(FOLDERS_MAX, random) }, () => oneOf([oneOf(FOLDERS, random), madeUp(random), String(upTo(YEAR_MAX, random))], random)).join('/');
const anyHost = (random: Random): string => oneOf([oneOf(HOSTS, random), `${madeUp(random)}.${oneOf(ENDS, random)}`, `${oneOf(['models', 'files', 'www', 'dl'], random)}.${madeUp(random)}.${oneOf(ENDS, random)}`], random);

function revision(random: Random): string {
  if (random() >= AT_REVISION) return '';
  return `@${random() < AT_COMMIT ? Array.from({ length: COMMIT_LENGTH }, () => letter(HEX_DIGITS, random)).join('') : oneOf(REVISIONS, random)}`;
}

/** Where a model file lies: on the hub, on another server, on the disk. */
export function modelSource(random: Random): string {
  const weights = weightsName(random);
  const quant = random() < QUANTISED ? oneOf(['-', '-', '.', '_'], random) + oneOf(QUANTS, random) : '';
  const file = `${random() < SMALL_LETTERS ? weights.toLowerCase() : weights}${quant}.gguf`;
  const owner = anyOwner(random);
  const repository = `${owner}/${weights}${oneOf(['-GGUF', '-GGUF', '-gguf', ''], random)}`;
  const folders = anyFolders(random);
  const host = anyHost(random);
  const hub = `hf://${repository}/${file}${revision(random)}`;
  return oneOf([hub, hub, hub, `https://huggingface.co/${repository}/resolve/main/${file}`, `https://${host}/${file}`, `https://${host}/${folders}/${file}`, `file:${oneOf(['./', '/', '///', '', '~/'], random)}${folders}/${file}`, `file:./${file}`], random);
}

/** The same as people also name it to a tool: a whole repository, a folder of it, a file of another kind or of none, a server with a port. */
export function anySource(random: Random): string {
  if (random() < OF_GGUF) return modelSource(random);
  const weights = weightsName(random);
  const repository = `${anyOwner(random)}/${weights}`;
  const name = oneOf([weights, weights.toLowerCase(), madeUp(random), 'model'], random);
  const file = `${name}.${oneOf(FORMATS, random)}`;
  const [folders, host] = [anyFolders(random), anyHost(random)];
  const port = random() < WITH_PORT ? `:${1000 + upTo(9000, random)}` : '';
  return oneOf([
    `hf://${repository}`, `hf://${repository}`, `hf://${repository}`, `hf://${repository}${revision(random)}`, `hf://${repository}/${folders}/`, `hf://${repository}/${file}`, `https://huggingface.co/${repository}`,
    `https://${host}${port}/${folders}/${file}`, `https://${host}${port}/${folders}/${file}`, `https://${host}${port}/${folders}/${name}`, `file:${oneOf(['./', '/', '///', '', '~/'], random)}${folders}/${file}`, `file:${oneOf(['./', '/', ''], random)}${folders}/${name}`,
  ], random);
}

/** A short name for the model at an address: its first words in small letters, perhaps with something behind. */
export function shortName(source: string, random: Random): string {
  const words = source.replace(/\/$/, '').split('/').at(-1)!.split('@')[0]!.replace(/\.(?:gguf|safetensors|onnx|bin|pt)$/, '').toLowerCase().split(/[-_.]/).filter((word) => /^[a-z0-9]+$/.test(word));
  const first = words.slice(0, upTo(Math.min(NAME_WORDS_MAX, words.length), random));
  return oneOf([first.join('-'), first.join('-'), words[0]!, first.join(''), `${words[0]!}-${oneOf(SUFFIXES, random)}`, `${words[0]!}${upTo(9, random)}`], random);
}
