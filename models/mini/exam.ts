// The exam of bkg-mini: questions nobody trained it with, and the rule by which a reply is right.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { distance } from 'fastest-levenshtein';
import { parse } from 'yaml';
import { readForeign } from './foreign.ts';
import { LANGUAGES, readKnowledge, type Language } from './knowledge.ts';
import type { Phrase } from './phrase.ts';
import { readMaterial, type Definition } from './tasks.ts';

export const EXAM = fileURLToPath(new URL('exam.yaml', import.meta.url));

type Asked = { readonly [language in Language]?: string };
type Written = {
  readonly questions: readonly ({ readonly topic: string | readonly string[]; readonly name?: string } & Asked)[];
  readonly foreign: { readonly [language in Language]: readonly string[] };
  readonly tools: readonly ({ readonly tool: string; readonly arguments: Readonly<Record<string, unknown>> } & Asked)[];
};

export const KINDS = ['questions', 'foreign', 'tools'] as const;
export type Kind = (typeof KINDS)[number];

/** A question with every reply that is right: one of the answers, or the one call. */
export type Item = { readonly kind: Kind; readonly language: Language; readonly about: readonly string[]; readonly question: string; /** Names in it. */ readonly values: readonly string[] } & (
  | { readonly answers: readonly string[] }
  | { readonly call: Call; readonly offered: readonly Definition[] }
);
export type Call = { readonly name: string; readonly arguments: unknown };
/** What came back: its text, or the call it makes instead. `ended`: by itself, not cut at the longest length. */
export type Reply = { readonly text: string; readonly call: Call | null; readonly ended: boolean };

/** An answer may differ from the taught one by so much of its length; its code may not differ at all. */
const LIKENESS = 0.9;
/** So many tools stand beside the wanted one. */
const OTHER_TOOLS = 2;

const plain = (phrase: Phrase, name: string): string =>
  phrase.map((part) => { if (part.kind === 'text') return part.text; if (part.kind === 'slot' && name !== '') return name; throw new Error(part.kind === 'slot' ? `the answer needs a name for {${part.name}}` : 'an answer has no choices'); }).join('');

/** Throws where an item names a topic or tool that there is not. */
export function readExam(path: string): readonly Item[] {
  const written = parse(readFileSync(path, 'utf8')) as Written;
  const { topics } = readKnowledge();
  const foreign = readForeign();
  const tools = readMaterial().tools.map((tool) => tool.definition);
  const items: Item[] = [];
  for (const { topic, name = '', ...asked } of written.questions) {
    for (const language of LANGUAGES) {
      const question = asked[language];
      if (question === undefined) continue;
      const about = [topic].flat();
      const answers = about.flatMap((id) => {
        const known = topics.find((one) => one.id === id && one.language === language);
        if (known === undefined) throw new Error(`${path}: there is no topic ${id}`);
        return known.say.map((say) => plain(say, name));
      });
      items.push({ kind: 'questions', language, about, question, values: name === '' ? [] : [name], answers });
    }
  }
  for (const language of LANGUAGES) for (const question of written.foreign[language]) items.push({ kind: 'foreign', language, about: [], question, values: [], answers: [foreign[language].say] });
  for (const [place, { tool, arguments: values, ...asked }] of written.tools.entries()) {
    const at = tools.findIndex((one) => one.name === tool);
    if (at < 0) throw new Error(`${path}: there is no tool ${tool}`);
    // Its neighbours in a ring, starting elsewhere each time, and itself at each of the places in turn.
    const offered = Array.from({ length: OTHER_TOOLS }, (_, index) => tools[(at + 1 + ((place + index) % (tools.length - 1))) % tools.length]!);
    offered.splice(place % (OTHER_TOOLS + 1), 0, tools[at]!);
    for (const language of LANGUAGES) {
      const question = asked[language];
      if (question !== undefined) items.push({ kind: 'tools', language, about: [tool], question, values: [], call: { name: tool, arguments: values }, offered });
    }
  }
  return items;
}

const tidied = (text: string): string => text.replace(/\s+/g, ' ').trim();
/** What stands in fences or backticks: commands, files, YAML. */
const codeOf = (text: string): string => (text.match(/```[^]*?```|`[^`]*`/g) ?? []).map(tidied).join('\n');
const sorted = (value: unknown): unknown =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, inner]) => [key, sorted(inner)])) : value;

/** Right is a reply that ends by itself and says the answer, word for word in its code and nearly so around it; of a call, the tool and every argument. */
export function isRight(item: Item, reply: Reply): boolean {
  if (!reply.ended) return false;
  if ('call' in item) return reply.call !== null && JSON.stringify(sorted(reply.call)) === JSON.stringify(sorted(item.call));
  if (reply.call !== null) return false;
  const said = tidied(reply.text);
  return item.answers.some((answer) => {
    const wanted = tidied(answer);
    return codeOf(answer) === codeOf(reply.text) && distance(said, wanted) <= (1 - LIKENESS) * Math.max(said.length, wanted.length);
  });
}
