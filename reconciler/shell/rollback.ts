// The text of an earlier revision with the users and keys of today, as their own lines say them.
import { isMap, isScalar, parseDocument, type YAMLMap } from 'yaml';
import { pointerOf } from '../../schema/pointer.ts';
import { same } from '../core/changes.ts';
import type { TypedPeople } from '../core/people-kept.ts';
import type { Json, JsonObject } from '../core/types.ts';
import { parseText } from './declare.ts';
import type { PatchOperation } from './door.ts';
import { behindComments, columnOf, isBlock, itemEnd, itemStart, lineBegin, newlineOf } from './ranges.ts';
import { edit, type Edited } from './splice.ts';

/** Each edit reads all of the text anew: where more people than these differ, their section is written as a whole, and comments in it go. */
const ONE_BY_ONE_MAX = 4;
const SECTIONS = ['users', 'keys'] as const;
type Section = (typeof SECTIONS)[number];

const sectionOf = (value: Json | null, section: Section): JsonObject => {
  const found = typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject)[section] : undefined;
  return typeof found === 'object' && found !== null && !Array.isArray(found) ? (found as JsonObject) : {};
};

/** Users and keys of `people` in an earlier text: with the lines they have `now`, comments and all, where those say just that. Every other byte stays. */
export function rolledBack(earlier: string, now: string, people: TypedPeople): Edited {
  const { value, problems } = parseText(earlier);
  if (value === null) return { ok: false, problem: problems[0] ?? { code: 'FileEmpty', pointer: '', line: 1, column: 1, severity: 'error', message: 'That revision declares nothing.', hint: 'Choose another one.' } };
  const text = SECTIONS.reduce((made, section) => (same(sectionOf(parseText(made).value, section), people[section]) ? made : withLines(made, now, section)), earlier);
  return edit(text, SECTIONS.flatMap((section) => operationsFor(section, parseText(text).value, people[section])));
}

/** What still differs, one person at a time. */
function operationsFor(section: Section, value: Json | null, wanted: JsonObject): readonly PatchOperation[] {
  const there = sectionOf(value, section);
  if (Object.keys(there).length === 0) return Object.keys(wanted).length === 0 ? [] : [{ op: 'add', path: pointerOf([section]), value: wanted }];
  const gone = Object.keys(there).filter((id) => !Object.hasOwn(wanted, id));
  const changed = Object.entries(wanted).filter(([id, person]) => !Object.hasOwn(there, id) || !same(there[id], person));
  if (gone.length + changed.length > ONE_BY_ONE_MAX) return [{ op: 'add', path: pointerOf([section]), value: wanted }];
  return [
    ...gone.map((id): PatchOperation => ({ op: 'remove', path: pointerOf([section, id]) })),
    ...changed.map(([id, person]): PatchOperation => ({ op: 'add', path: pointerOf([section, id]), value: person })),
  ];
}

// ─── Lines ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

type Root = { readonly text: string; readonly map: YAMLMap };

function rootOf(text: string): Root | null {
  const { contents, errors } = parseDocument(text, { keepSourceTokens: true, prettyErrors: false });
  return errors.length === 0 && isMap(contents) && isBlock(contents) && contents.items.length > 0 ? { text, map: contents } : null;
}

/** From the beginning of the line of an item's key to the end of its last one and of the comments that are indented below it. */
const linesAt = ({ text, map }: Root, index: number): { readonly from: number; readonly to: number } => ({ from: lineBegin(text, itemStart(map, index, text)), to: behindComments(text, itemEnd(map, index), columnOf(text, itemStart(map, 0, text)) + 1) });

/** The text with the lines of a section as they stand in another one; as it was where they cannot be told, or would say something else there. */
function withLines(text: string, other: string, section: Section): string {
  const [root, source] = [rootOf(text), rootOf(other)];
  if (root === null || source === null) return text;
  const indexOf = ({ map }: Root): number => map.items.findIndex(({ key }) => isScalar(key) && key.value === section);
  const [own, theirs] = [indexOf(root), indexOf(source)];
  if (theirs < 0) return text;
  const { from, to } = linesAt(source, theirs);
  const lines = other.slice(from, to).replaceAll(/\r?\n/g, newlineOf(text));
  const place = own < 0 ? { from: linesAt(root, root.map.items.length - 1).to, to: linesAt(root, root.map.items.length - 1).to } : linesAt(root, own);
  const made = text.slice(0, place.from) + (own < 0 ? newlineOf(text) : '') + lines + text.slice(place.to);
  const [before, after] = [parseText(text).value, parseText(made).value];
  const meant = { ...(before as JsonObject), [section]: sectionOf(parseText(other).value, section) };
  return after !== null && same(after, meant) ? made : text;
}
