// The text of bkg.yaml with its secrets masked by schema, line for line, and a masked text on its way back.
import { type Document, LineCounter, type Node, type Scalar, isAlias, isMap, isNode, isScalar, isSeq, parseDocument, visit } from 'yaml';
import type { Json, Problem } from '../reconciler/index.ts';
import { escapeToken } from '../schema/pointer.ts';
import { secrecyOf } from '../schema/secret.ts';
import { MASK, type Schema, childSchema, deref, redact } from '../schema/walk.ts';
import { judgeSecret, lookUp } from './mask.ts';

/** What stands for a section that who asks may not see. */
const HIDDEN = '…';

type SecretSpot = { readonly pointer: string; readonly scalar: Scalar };

/** What each alias stands for: the last node before it that bears the name. */
function aliasTargets(doc: Document): ReadonlyMap<unknown, Node> {
  const named = new Map<string, Node>();
  const targets = new Map<unknown, Node>();
  visit(doc, { Node(_key, node) {
    if (isAlias(node)) {
      const target = named.get(node.source);
      if (target !== undefined) targets.set(node, target);
    } else if (node.anchor !== undefined) named.set(node.anchor, node);
  } });
  return targets;
}

/** Every scalar at a sensitive place; an alias leads to the scalar it stands for. */
function secretSpots(doc: Document, root: Schema): readonly SecretSpot[] {
  const spots: SecretSpot[] = [];
  const targets = aliasTargets(doc);
  // What was seen under the same rules gives nothing new: aliases of aliases would have no end.
  const seen = new Map<unknown, Map<Schema | null, Set<string>>>();
  const walk = (given: unknown, at: { readonly schema: Schema | null; readonly above: boolean; readonly pointer: string; readonly key: string }): void => {
    const node = targets.get(given) ?? given;
    const { masked, below } = secrecyOf(at.schema, at.key, at.above);
    const schemas = seen.get(node) ?? new Map<Schema | null, Set<string>>();
    const rules = schemas.get(at.schema) ?? new Set();
    if (rules.has(`${masked} ${below}`)) return;
    seen.set(node, schemas.set(at.schema, rules.add(`${masked} ${below}`)));
    const child = (key: string): typeof at => ({ schema: at.schema && childSchema(at.schema, key, root), above: below, pointer: `${at.pointer}/${escapeToken(key)}`, key });
    if (isMap(node)) {
      for (const pair of node.items) walk(pair.value, child(String(isScalar(pair.key) ? pair.key.value : pair.key)));
    } else if (isSeq(node)) node.items.forEach((item, index) => walk(item, child(String(index))));
    else if (isScalar(node) && masked) spots.push({ pointer: at.pointer, scalar: node });
  };
  walk(doc.contents, { schema: deref(root, root), above: false, pointer: '', key: '' });
  return spots;
}

type Splice = { readonly from: number; readonly to: number; readonly insert: string };

function spliced(text: string, splices: readonly Splice[]): string {
  let out = '';
  let at = 0;
  for (const splice of [...splices].sort((a, b) => a.from - b.from)) {
    if (splice.from < at) continue; // two aliases of one anchor
    out += text.slice(at, splice.from) + splice.insert;
    at = splice.to;
  }
  return out + text.slice(at);
}

/** Where a scalar stands, without the line end that a block scalar has of its own. */
function rangeOf(text: string, scalar: Scalar): { readonly from: number; readonly to: number } | null {
  if (!scalar.range) return null;
  const [from, to] = scalar.range;
  return { from, to: text.slice(from, to).endsWith('\r\n') ? to - 2 : text.slice(from, to).endsWith('\n') ? to - 1 : to };
}

/** Nothing of a section but its name, on as many lines. */
function hidden(text: string, doc: Document, sections: readonly string[]): readonly Splice[] {
  if (!isMap(doc.contents)) return [];
  return doc.contents.items.flatMap(({ key, value }): readonly Splice[] => {
    const end = isNode(value) ? value.range?.[2] : undefined;
    if (!isScalar(key) || !key.range || end === undefined || !sections.includes(String(key.value))) return [];
    const source = text.slice(key.range[1], end);
    const newlines = source.match(/\r?\n/g) ?? [];
    return [{ from: key.range[1], to: end, insert: `: ${HIDDEN}${newlines.join('')}` }];
  });
}

/**
 * The masked text, with as many lines as the text; null when it is not valid YAML, since then nobody knows what is secret.
 * `sections`: of these nothing is shown at all.
 */
export function redactText(text: string, root: Schema, sections: readonly string[] = []): string | null {
  const doc = parseDocument(text, { prettyErrors: false });
  if (doc.errors.length > 0) return null;
  const splices = secretSpots(doc, root).flatMap(({ scalar }): readonly Splice[] => {
    if (redactedScalar(scalar.value) === scalar.value) return [];
    const range = rangeOf(text, scalar);
    if (range === null) return [];
    const source = text.slice(range.from, range.to);
    const newline = source.includes('\r\n') ? '\r\n' : '\n';
    return [{ ...range, insert: `"${MASK}"${newline.repeat(source.split('\n').length - 1)}` }];
  });
  return spliced(text, [...hidden(text, doc, sections), ...splices]);
}

// One rule for text and data: what `redact` would leave as it is at a sensitive place.
const SENSITIVE: Schema = { 'x-secret': true };
const redactedScalar = (value: unknown): unknown => redact(value, SENSITIVE);

export type UnmaskedText = { readonly text: string; readonly problems: readonly Problem[] };

/** A whole new text with masks replaced by what stands in the file now, and its secrets in plain text as problems. */
export function unmaskText(text: string, o: { readonly current: string; readonly value: Json; readonly root: Schema }): UnmaskedText {
  const lines = new LineCounter();
  const doc = parseDocument(text, { prettyErrors: false, lineCounter: lines });
  if (doc.errors.length > 0) return { text, problems: [] }; // the reconciler says where
  const before = new Map(secretSpots(parseDocument(o.current, { prettyErrors: false }), o.root).map((spot) => [spot.pointer, spot.scalar]));
  const problems: Problem[] = [];
  const splices: Splice[] = [];
  for (const { pointer, scalar } of secretSpots(doc, o.root)) {
    const range = rangeOf(text, scalar);
    if (range === null) continue;
    const judged = judgeSecret(scalar.value as Json, lookUp(o.value, pointer), { pointer, root: o.root });
    if ('problem' in judged) {
      const { line, col } = lines.linePos(range.from);
      problems.push({ ...judged.problem, line, column: col });
    } else if (scalar.value === MASK) splices.push({ ...range, insert: sourceOf(o.current, before.get(pointer), judged.value) });
  }
  return { text: spliced(text, splices), problems };
}

/** The bytes that stand there now, where they fit into one line; else the same value in quotes. */
function sourceOf(current: string, scalar: Scalar | undefined, value: Json): string {
  const range = scalar === undefined ? null : rangeOf(current, scalar);
  const source = range === null ? '' : current.slice(range.from, range.to);
  return source === '' || source.includes('\n') ? JSON.stringify(value) : source;
}
