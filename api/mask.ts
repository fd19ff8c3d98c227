// Masked values on their way back: `***` keeps what stands there, a secret in plain text is refused.
import { isDeepStrictEqual } from 'node:util';
import type { Json, PatchOperation, Problem } from '../reconciler/index.ts';
import { escapeToken, labelOf, tokensOf } from '../schema/pointer.ts';
import { isLiteral } from '../schema/secret.ts';
import { MASK, type Schema, isSecret, secrecyAt } from '../schema/walk.ts';

/** What stands at a pointer of plain data; undefined where nothing does. */
export function lookUp(value: Json, pointer: string): Json | undefined {
  let at: Json | undefined = value;
  for (const token of tokensOf(pointer)) {
    if (Array.isArray(at)) at = /^(0|[1-9]\d*)$/.test(token) ? (at as readonly Json[])[Number(token)] : undefined;
    else if (at !== null && typeof at === 'object') at = Object.hasOwn(at, token) ? (at as { readonly [key: string]: Json })[token] : undefined;
    else return undefined;
  }
  return at;
}

const isMap = (value: Json | undefined): value is { readonly [key: string]: Json } => typeof value === 'object' && value !== null && !Array.isArray(value);

const problem = (code: string, pointer: string, said: { readonly message: string; readonly hint: string }): Problem =>
  ({ code, pointer, line: null, column: null, severity: 'error', ...said });

const nothingMasked = (pointer: string): Problem => problem('MaskWithoutValue', pointer, {
  message: `${labelOf(pointer)} is ${MASK}, which stands for the value that is there, but nothing is there.`, hint: 'Send a reference like ${env:NAME}.',
});

const literal = (pointer: string): Problem => problem('LiteralSecret', pointer, {
  message: `${labelOf(pointer)} is sensitive: a secret must not stand in the file as plain text.`, hint: 'Put it into the environment of bkg and write ${env:NAME} here.',
});

/** Whether a value at a sensitive place may be written; `before` is what stands there now. */
export function judgeSecret(value: Json, before: Json | undefined, at: { readonly pointer: string; readonly root: Schema }): { readonly value: Json } | { readonly problem: Problem } {
  const { pointer, root } = at;
  if (value === MASK) return before === undefined ? { problem: nothingMasked(pointer) } : { value: before };
  return !secrecyAt(pointer, root).guarded || !isLiteral(value) || isDeepStrictEqual(value, before) ? { value } : { problem: literal(pointer) };
}

type Context = { readonly current: Json; readonly root: Schema; readonly problems: Problem[] };

/** The value with every mask replaced by what stands there. */
function unmaskValue(value: Json, pointer: string, context: Context): Json {
  if (Array.isArray(value)) return (value as readonly Json[]).map((item, index) => unmaskValue(item, `${pointer}/${index}`, context));
  if (isMap(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unmaskValue(item, `${pointer}/${escapeToken(key)}`, context)]));
  if (!isSecret(pointer, context.root)) return value;
  const judged = judgeSecret(value, lookUp(context.current, pointer), { pointer, root: context.root });
  if ('value' in judged) return judged.value;
  context.problems.push(judged.problem);
  return value;
}

/** Pointers of all leaves under a value, relative to it. */
function* leavesOf(value: Json, at = ''): Generator<string> {
  if (Array.isArray(value)) for (const [index, item] of (value as readonly Json[]).entries()) yield* leavesOf(item, `${at}/${index}`);
  else if (isMap(value)) for (const [key, item] of Object.entries(value)) yield* leavesOf(item, `${at}/${escapeToken(key)}`);
  else yield at;
}

/** Whether the answer to a test would tell a secret. */
function testsSecret({ path, value }: { readonly path: string; readonly value: Json }, root: Schema): boolean {
  return [...leavesOf(value)].some((leaf) => isSecret(path + leaf, root) && lookUp(value, leaf) !== MASK);
}

export type Unmasked = { readonly operations: readonly PatchOperation[]; readonly problems: readonly Problem[] };

const overlaps = (a: string, b: string): boolean => a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);

/** A map written over a map becomes operations on what differs, where earlier operations have left the place alone. */
function asFew(operation: Extract<PatchOperation, { readonly op: 'add' | 'replace' | 'test' }>, o: { readonly current: Json; readonly kept: readonly PatchOperation[] }): readonly PatchOperation[] {
  const found = lookUp(o.current, operation.path);
  // `add` into a list inserts.
  const inList = Array.isArray(lookUp(o.current, operation.path.slice(0, Math.max(0, operation.path.lastIndexOf('/')))));
  const moved = o.kept.some((other) => overlaps(other.path, operation.path) || ('from' in other && overlaps(other.from, operation.path)));
  if (operation.op === 'test' || moved || !isMap(found) || !isMap(operation.value) || (operation.op === 'add' && inList)) return [operation];
  return operationsTo(found, operation.value, operation.path);
}

/**
 * The operations as they are meant: masked values become what stands there, and what would then change nothing falls
 * away, so that its bytes stay. `current` is the declared state the operations are made for.
 */
export function unmask(operations: readonly PatchOperation[], current: Json, root: Schema): Unmasked {
  const context: Context = { current, root, problems: [] };
  const kept: PatchOperation[] = [];
  for (const operation of operations) {
    if (operation.op === 'remove') kept.push(operation);
    else if ('from' in operation && kept.some((other) => overlaps(other.path, operation.from))) {
      // What it was made of is no longer told by its place.
      context.problems.push(problem('SecretMoved', operation.path, { message: `${labelOf(operation.from)} is changed by this very patch, so it cannot be told whether a secret would become visible.`, hint: 'Copy from what stands in the file, or send the value itself.' }));
    } else if (operation.op === 'test' && testsSecret(operation, root)) {
      context.problems.push(problem('SecretMoved', operation.path, { message: `${labelOf(operation.path)} is sensitive: a test would tell what it is.`, hint: `Send ${MASK} for it, or use If-Match.` }));
    } else if ('from' in operation) {
      const leaves = [...leavesOf(lookUp(current, operation.from) ?? null)];
      const shown = leaves.find((leaf) => isSecret(operation.from + leaf, root) && !isSecret(operation.path + leaf, root));
      // What was none becomes a secret in plain text by the place it is put in.
      const plain = leaves.filter((leaf) => !secrecyAt(operation.from + leaf, root).guarded && secrecyAt(operation.path + leaf, root).guarded && isLiteral(lookUp(current, operation.from + leaf)));
      context.problems.push(...plain.map((leaf) => literal(operation.path + leaf)));
      if (shown === undefined) kept.push(operation);
      else context.problems.push(problem('SecretMoved', operation.path, { message: `${labelOf(operation.from + shown)} is sensitive, ${labelOf(operation.path + shown)} is not: the value would become visible.`, hint: 'Leave it where it is.' }));
    } else {
      if (operation.value === MASK && isSecret(operation.path, root) && lookUp(current, operation.path) !== undefined) continue;
      kept.push(...asFew({ ...operation, value: unmaskValue(operation.value, operation.path, context) }, { current, kept }));
    }
  }
  return { operations: kept, problems: context.problems };
}

/** What makes `next` of `current`, as few operations as the shape allows: untouched entries keep their bytes. */
export function operationsTo(current: Json | undefined, next: Json, path: string): readonly PatchOperation[] {
  if (current === undefined) return [{ op: 'add', path, value: next }];
  if (isDeepStrictEqual(current, next)) return [];
  if (!isMap(current) || !isMap(next)) return [{ op: 'replace', path, value: next }];
  const removed = Object.keys(current).filter((key) => !Object.hasOwn(next, key)).map((key): PatchOperation => ({ op: 'remove', path: `${path}/${escapeToken(key)}` }));
  const changed = Object.entries(next).flatMap(([key, value]) => operationsTo(Object.hasOwn(current, key) ? current[key] : undefined, value, `${path}/${escapeToken(key)}`));
  return [...removed, ...changed];
}
