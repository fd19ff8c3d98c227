// Writes plain data as YAML: in one line, or as an indented block.
import { Document } from 'yaml';
import type { Data } from './patch.ts';

const OPTIONS = { lineWidth: 0, blockQuote: false } as const;

/** One line: scalars plain where that is safe, maps and lists in braces and brackets. */
export function emitFlow(value: Data): string {
  // Inside braces a plain scalar ends at a comma or bracket: the library knows when it stands in one.
  const text = new Document(value).toString({ ...OPTIONS, collectionStyle: 'flow' }).trimEnd();
  return text.includes('\n') ? JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? Number(inner) : inner)) : text;
}

/** A scalar or collection as it stands inside braces. */
export function emitInFlow(value: Data): string {
  const wrapped = emitFlow([value]);
  return wrapped.slice(1, -1).trim();
}

/** Lines of a block collection, indented by `indent`; scalars and empty collections are one line. */
export function emitBlock(value: Data, indent: number, newline: string): string {
  const lines = new Document(value).toString({ ...OPTIONS, collectionStyle: 'block' }).trimEnd().split('\n');
  return lines.map((line) => (line === '' ? line : ' '.repeat(indent) + line)).join(newline);
}

export const isCollection = (value: Data): value is Data[] | { [key: string]: Data } => value !== null && typeof value === 'object' && Object.keys(value).length > 0;

/** A key: plain where that is safe, else quoted. */
export function emitKey(key: string): string {
  const text = emitFlow({ [key]: 1 });
  return text.slice(2, text.lastIndexOf(':'));
}
