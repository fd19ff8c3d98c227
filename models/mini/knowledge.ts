// Reads what bkg-mini knows: topics with the ways to ask for them and what to say, in both languages.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { parsePhrases, type Phrase } from './phrase.ts';

export const LANGUAGES = ['en', 'de'] as const;
export type Language = (typeof LANGUAGES)[number];

export type Topic = {
  readonly id: string;
  readonly language: Language;
  readonly ask: readonly Phrase[];
  /** What it answers; several are equally right. Slots are those of the question. */
  readonly say: readonly Phrase[];
  /** How often it is drawn, 1 being usual. */
  readonly weight: number;
};

export type Knowledge = {
  readonly topics: readonly Topic[];
  readonly lists: Readonly<Record<Language, ReadonlyMap<string, readonly Phrase[]>>>;
};

type Written = { readonly id: string; readonly weight?: number } & { readonly [language in Language]?: { readonly ask: readonly string[]; readonly say: string | readonly string[] } };
type Words = { readonly [language in Language]: Readonly<Record<string, readonly string[]>> };

const folder = fileURLToPath(new URL('knowledge', import.meta.url));
const read = <Shape>(file: string): Shape => parse(readFileSync(join(folder, file), 'utf8')) as Shape;

/** Throws with the file's name and the topic or list when one of them cannot be read. */
export function readKnowledge(): Knowledge {
  const topics: Topic[] = [];
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.yaml') && name !== 'words.yaml').sort()) {
    for (const written of read<readonly Written[]>(file)) {
      for (const language of LANGUAGES) {
        const part = written[language];
        if (part === undefined) throw new Error(`${file}: ${written.id} has no ${language}`);
        const place = `${file}: ${written.id} in ${language}`;
        topics.push({ id: written.id, language, weight: written.weight ?? 1, ask: parsePhrases(part.ask, place), say: parsePhrases([part.say].flat(), place) });
      }
    }
  }
  const words = read<Words>('words.yaml');
  const listsOf = (language: Language) => new Map(Object.entries(words[language]).map(([name, texts]) => [name, parsePhrases(texts, `words.yaml: ${name} in ${language}`)]));
  return { topics, lists: { en: listsOf('en'), de: listsOf('de') } };
}
