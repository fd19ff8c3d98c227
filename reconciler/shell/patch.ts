// JSON Patch (RFC 6902) on plain data, and merge patches (RFC 7396) turned into it.
import { isDeepStrictEqual } from 'node:util';
import { escapeToken, tokensOf } from '../../schema/pointer.ts';
import type { Json } from '../core/types.ts';
import type { PatchOperation } from './door.ts';

/** Data while it is being edited; `bigint` for integers beyond 2^53, which an edit must not round. */
export type Data = null | boolean | number | bigint | string | Data[] | { [key: string]: Data };

export type Applied = { readonly ok: true; readonly value: Data } | { readonly ok: false; readonly code: string; readonly pointer: string; readonly message: string };

const refuse = (code: string, pointer: string, message: string): Applied => ({ ok: false, code, pointer, message });

/** What the patch makes of the data; the data itself stays as it was. Missing parents of an `add` are made as maps. */
export function applyOperation(data: Data, operation: PatchOperation): Applied {
  const copy = structuredClone(data);
  switch (operation.op) {
    case 'test': {
      const found = lookUp(copy, operation.path);
      return found !== undefined && isDeepStrictEqual(found, operation.value) ? { ok: true, value: copy } : refuse('TestFailed', operation.path, `${operation.path} does not hold what the patch expects.`);
    }
    case 'add': return put(copy, operation.path, { value: operation.value as Data, mustExist: false });
    case 'replace': return put(copy, operation.path, { value: operation.value as Data, mustExist: true });
    case 'remove': return take(copy, operation.path);
    case 'copy':
    case 'move': {
      const found = lookUp(copy, operation.from);
      if (found === undefined) return refuse('PathMissing', operation.from, `${operation.from} does not exist.`);
      if (operation.op === 'copy') return put(copy, operation.path, { value: structuredClone(found), mustExist: false });
      if (operation.path.startsWith(`${operation.from}/`)) return refuse('MoveIntoItself', operation.path, 'A value cannot be moved into itself.');
      const taken = take(copy, operation.from);
      return taken.ok ? put(taken.value, operation.path, { value: found, mustExist: false }) : taken;
    }
  }
}

const own = (data: Data | undefined, token: string): Data | undefined => {
  if (Array.isArray(data)) return /^(0|[1-9][0-9]*)$/.test(token) ? data[Number(token)] : undefined;
  if (data !== null && typeof data === 'object') return Object.hasOwn(data, token) ? data[token] : undefined;
  return undefined;
};

/** Undefined where nothing stands. */
export const lookUp = (data: Data, pointer: string): Data | undefined => tokensOf(pointer).reduce<Data | undefined>(own, data);

const set = (map: { [key: string]: Data }, key: string, value: Data): void => {
  Object.defineProperty(map, key, { value, enumerable: true, writable: true, configurable: true });
};

function put(data: Data, pointer: string, what: { readonly value: Data; readonly mustExist: boolean }): Applied {
  const tokens = tokensOf(pointer);
  const last = tokens.at(-1);
  if (last === undefined) return { ok: true, value: what.value };
  if (what.mustExist && lookUp(data, pointer) === undefined) return refuse('PathMissing', pointer, `${pointer} does not exist, so it cannot be replaced; use add.`);
  const root = data === null ? {} : data;
  let parent: Data = root;
  for (const token of tokens.slice(0, -1)) {
    let next = own(parent, token);
    if ((next === undefined || next === null) && !Array.isArray(parent) && parent !== null && typeof parent === 'object') {
      next = {};
      set(parent, token, next);
    }
    if (next === undefined || next === null || typeof next !== 'object') return refuse('PathMissing', pointer, `${pointer} cannot be reached: ${token} is no map.`);
    parent = next;
  }
  if (Array.isArray(parent)) {
    const at = last === '-' ? parent.length : Number(last);
    if (!(last === '-' || /^(0|[1-9][0-9]*)$/.test(last)) || at > parent.length) return refuse('PathMissing', pointer, `${pointer} is no place in the list.`);
    parent.splice(at, what.mustExist ? 1 : 0, what.value);
  } else if (parent !== null && typeof parent === 'object') set(parent, last, what.value);
  else return refuse('PathMissing', pointer, `${pointer} cannot be reached: what holds it is no map.`);
  return { ok: true, value: root };
}

function take(data: Data, pointer: string): Applied {
  const tokens = tokensOf(pointer);
  const last = tokens.at(-1);
  if (last === undefined) return refuse('PathMissing', pointer, 'The whole file cannot be removed.');
  const parent = tokens.slice(0, -1).reduce<Data | undefined>(own, data);
  if (own(parent, last) === undefined) return refuse('PathMissing', pointer, `${pointer} does not exist, so it cannot be removed.`);
  if (Array.isArray(parent)) parent.splice(Number(last), 1);
  else delete (parent as { [key: string]: Data })[last];
  return { ok: true, value: data };
}

const isMap = (value: Json | undefined): value is { readonly [key: string]: Json } => value !== null && typeof value === 'object' && !Array.isArray(value);

/** RFC 7396 as single operations, so that only what differs is touched. `at` is the pointer the patch is meant for. */
export function mergePatchToOperations(current: Json | undefined, patch: Json, at = ''): readonly PatchOperation[] {
  if (!isMap(patch)) return isDeepStrictEqual(current, patch) ? [] : [{ op: current === undefined ? 'add' : 'replace', path: at, value: patch }];
  if (!isMap(current)) return [{ op: current === undefined ? 'add' : 'replace', path: at, value: withoutNulls(patch) }];
  return Object.entries(patch).flatMap(([key, value]): readonly PatchOperation[] => {
    const path = `${at}/${escapeToken(key)}`;
    const found = Object.hasOwn(current, key) ? current[key] : undefined;
    if (value === null) return found === undefined ? [] : [{ op: 'remove', path }];
    return mergePatchToOperations(found, value, path);
  });
}

function withoutNulls(patch: Json): Json {
  if (!isMap(patch)) return patch;
  return Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== null).map(([key, value]) => [key, withoutNulls(value)]));
}
