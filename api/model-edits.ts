// Edits of the file that declare, assign and remove models: pure, from what stands there to the operations of one edit.
import type { Json, JsonObject, PatchOperation } from '../reconciler/index.ts';
import { pointerOf } from '../schema/pointer.ts';

/** As the schema allows for a name. */
const NAME_MAX = 63;
/** Of a source that has no letter to make a name of. */
const NAMELESS = 'model';

export type Wanted = { readonly name: string | null; readonly source: string; readonly sha256: string | null; readonly state: 'present' | 'ondemand' | null };

export type Declaring =
  /** `operations` is empty where the file says all of it. `isNew`: the name was free. */
  | { readonly ok: true; readonly name: string; readonly isNew: boolean; readonly operations: readonly PatchOperation[] }
  /** The name stands for something else. */
  | { readonly ok: false; readonly name: string; readonly differs: 'source' | 'sha256' };

/** One role of one plugin. */
export type Use = { readonly plugin: string; readonly role: string };

const isMap = (value: Json | undefined): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
const at = (value: Json | undefined, ...path: readonly string[]): Json | undefined => path.reduce<Json | undefined>((found, key) => (isMap(found) && Object.hasOwn(found, key) ? found[key] : undefined), value);

/** What stands under `models` and under the `models` of a plugin; empty where nothing does. */
export const modelsIn = (value: Json): JsonObject => { const found = at(value, 'models'); return isMap(found) ? found : {}; };
export const rolesIn = (value: Json, plugin: string): JsonObject => { const found = at(value, 'plugins', plugin, 'models'); return isMap(found) ? found : {}; };

/** The file's name in the letters of a name: `…/Qwen2.5-Q4_K_M-00001-of-00002.gguf@main` → `qwen2-5-q4-k-m`. */
export function nameOfSource(source: string): string {
  // A name and a password in an address are no part of a name.
  const path = source.startsWith('hf://') ? source.replace(/@[^@]*$/, '') : source.replace(/[?#].*$/s, '').replace(/^(https?:\/\/)[^/]*@/, '$1');
  const file = decoded(path.split('/').findLast((part) => part !== '') ?? '').replace(/^(?:file|bundled):/, '');
  const stem = file.replace(/\.[A-Za-z][A-Za-z0-9]*$/, '').replace(/-\d{5}-of-\d{5}$/, '');
  const name = stem.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-+/, '').slice(0, NAME_MAX).replace(/-+$/, '');
  return name === '' ? NAMELESS : name;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Two sources may end in the same file name. */
function freeName(name: string, models: JsonObject): string {
  for (let count = 1; ; count += 1) {
    const tail = count === 1 ? '' : `-${count}`;
    const found = name.slice(0, NAME_MAX - tail.length).replace(/-+$/, '') + tail;
    if (!Object.hasOwn(models, found)) return found;
  }
}

/** Declares a model, or finds that it is declared; without a name it is the one that has this source, else one of the file's name. */
export function declareModel(value: Json, wanted: Wanted): Declaring {
  const models = modelsIn(value);
  const name = wanted.name ?? Object.keys(models).find((one) => at(models, one, 'source') === wanted.source) ?? freeName(nameOfSource(wanted.source), models);
  const path = pointerOf(['models', name]);
  if (!Object.hasOwn(models, name)) {
    const declared = { source: wanted.source, ...(wanted.sha256 === null ? {} : { sha256: wanted.sha256 }), ...(wanted.state === 'ondemand' ? { state: wanted.state } : {}) };
    return { ok: true, name, isNew: true, operations: [{ op: 'add', path, value: declared }] };
  }
  if (at(models, name, 'source') !== wanted.source) return { ok: false, name, differs: 'source' };
  const [sha256, state = 'present'] = [at(models, name, 'sha256'), at(models, name, 'state')];
  if (wanted.sha256 !== null && sha256 !== undefined && sha256 !== wanted.sha256) return { ok: false, name, differs: 'sha256' };
  const wish = wanted.state ?? (state === 'absent' ? 'present' : state);
  return {
    ok: true, name, isNew: false,
    operations: [
      ...(wanted.sha256 !== null && sha256 === undefined ? [{ op: 'add' as const, path: `${path}/sha256`, value: wanted.sha256 }] : []),
      ...(wish === state ? [] : [{ op: 'add' as const, path: `${path}/state`, value: wish }]),
    ],
  };
}

/** Puts a model into a role; nothing to do where it is there. */
export const assignModel = (value: Json, use: Use, name: string): readonly PatchOperation[] =>
  (rolesIn(value, use.plugin)[use.role] === name ? [] : [{ op: 'add', path: pointerOf(['plugins', use.plugin, 'models', use.role]), value: name }]);

/** The roles that name a model in the file as it is typed. */
export function usesOf(value: Json, name: string): readonly Use[] {
  const plugins = at(value, 'plugins');
  if (!isMap(plugins)) return [];
  return Object.keys(plugins).flatMap((plugin) => Object.entries(rolesIn(value, plugin)).flatMap(([role, model]) => (model === name ? [{ plugin, role }] : [])));
}

/** Takes a model out of the file, and out of the roles that it fills; a plugin that is left without any loses the empty map as well. */
export function removeModel(value: Json, name: string, uses: readonly Use[]): readonly PatchOperation[] {
  const typed = uses.filter(({ plugin, role }) => Object.hasOwn(rolesIn(value, plugin), role));
  const roles = [...new Set(typed.map(({ plugin }) => plugin))].flatMap((plugin): readonly PatchOperation[] => {
    const own = typed.filter((use) => use.plugin === plugin);
    const path = pointerOf(['plugins', plugin, 'models']);
    return own.length === Object.keys(rolesIn(value, plugin)).length ? [{ op: 'remove', path }] : own.map(({ role }) => ({ op: 'remove', path: `${path}${pointerOf([role])}` }));
  });
  return [...roles, { op: 'remove', path: pointerOf(['models', name]) }];
}
