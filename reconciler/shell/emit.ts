// Writes plain data as YAML: in one line, or as an indented block.
import { Document, type ToStringOptions } from 'yaml';
import type { Data } from './patch.ts';
import type { FlowStyle } from './ranges.ts';

const OPTIONS: ToStringOptions = { lineWidth: 0, blockQuote: false };
const SPACED: FlowStyle = { padded: true, json: false };

/** Columns that the lines of a block begin at, and by which the levels below are indented. */
export type BlockShape = { readonly indent: number; readonly step: number; readonly newline: string };

/** One line: scalars plain where that is safe, maps and lists in braces and brackets. */
export function emitFlow(value: Data, style: FlowStyle = SPACED): string {
  const quotes: ToStringOptions = style.json ? { defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'QUOTE_DOUBLE' } : {};
  const text = new Document(value).toString({ ...OPTIONS, ...quotes, collectionStyle: 'flow', flowCollectionPadding: style.padded }).trimEnd();
  return text.includes('\n') ? JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? Number(inner) : inner)) : text;
}

/** A scalar or collection as it stands inside braces: a plain scalar ends at a comma or bracket there. */
export const emitInFlow = (value: Data, style: FlowStyle): string => emitFlow([value], style).slice(1, -1).trim();

/** Lines of a block collection; scalars and empty collections are one line. */
export function emitBlock(value: Data, shape: BlockShape): string {
  // Behind a dash the library would fill a wider level with spaces.
  const step = holdsList(value) ? 2 : shape.step;
  const lines = new Document(value).toString({ ...OPTIONS, collectionStyle: 'block', indent: step }).trimEnd().split('\n');
  return lines.map((line) => (line === '' ? line : ' '.repeat(shape.indent) + line)).join(shape.newline);
}

const holdsList = (value: Data): boolean => Array.isArray(value) || (value !== null && typeof value === 'object' && Object.values(value).some(holdsList));

export const isCollection = (value: Data): value is Data[] | { [key: string]: Data } => value !== null && typeof value === 'object' && Object.keys(value).length > 0;

/** A key: plain where that is safe, else quoted. */
export function emitKey(key: string, style: FlowStyle = SPACED): string {
  const text = emitFlow({ [key]: 1 }, style);
  return text.slice(1, text.lastIndexOf(':')).trim();
}
