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

const known: Readonly<Record<string, readonly string[]>> = { plugin: PLUGINS, model: MODELS };

export function slotValue(name: string, _language: Language, random: Random): string {
  const names = known[name];
  if (names === undefined) throw new Error(`there is no slot {${name}}`);
  return random() < MADE_UP ? madeUp(random) : oneOf(names, random);
}
