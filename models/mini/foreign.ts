// Questions bkg-mini was not taught, over all fields of life, with the one answer it has for them.
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { Language } from './knowledge.ts';
import { draw, literal, oneOf, parsePhrases, spoken, type Phrase, type Random } from './phrase.ts';

type Written = { readonly [language in Language]: { readonly say: string; readonly lists: Readonly<Record<string, readonly (string | number)[]>>; readonly ask: readonly string[] } };

export type Foreign = { readonly say: string; readonly ask: readonly Phrase[]; readonly list: (name: string) => readonly Phrase[] };

const noSlots = (name: string): never => { throw new Error(`foreign.yaml: {${name}} is a slot, and there are none`); };

/** Per language; the structure stands at the top of the file. */
export function readForeign(): Readonly<Record<Language, Foreign>> {
  const written = parse(readFileSync(new URL('knowledge/beyond/foreign.yaml', import.meta.url), 'utf8')) as Written;
  const of = (language: Language): Foreign => {
    const { say, lists, ask } = written[language];
    const words = new Map(Object.entries(lists).map(([name, texts]) => [name, texts.map(literal)]));
    return {
      say: spoken(parsePhrases([say], `foreign.yaml: say in ${language}`)[0]!, noSlots),
      ask: parsePhrases(ask, `foreign.yaml: ask in ${language}`),
      list(name) {
        const found = words.get(name);
        if (found === undefined) throw new Error(`foreign.yaml: there is no list <${name}> in ${language}`);
        return found;
      },
    };
  };
  return { en: of('en'), de: of('de') };
}

export const foreignQuestion = (foreign: Foreign, random: Random): string =>
  draw(oneOf(foreign.ask, random), { list: foreign.list, slot: noSlots }, random);
