// Declared + manifests + environment → Desired, or what is wrong with it: a pure function.
import { LOOPBACK } from '../../schema/addresses.ts';
import { pointerOf, tokensOf } from '../../schema/pointer.ts';
import { type FilledDeclared, validateDeclared, withDefaults } from '../../schema/validate.ts';
import { declaredSchema } from '../../schema/walk.ts';
import { type Env, interpolate } from './interpolate.ts';
import { checkNeeds } from './needs.ts';
import { resolvePeople, type People } from './people.ts';
import { checkAdmin, checkBound, checkEnded, checkKeys, checkScopes } from './resolve-people.ts';
import { type Base, resolveModel } from './resolve-model.ts';
import { resolvePlugin } from './resolve-plugin.ts';
import { isOpenToAll, openToAll, serverOf } from './server.ts';
import { parseDuration_ms, parseSize_bytes } from './units.ts';
import type { Desired, DesiredModel, DesiredPlugin, Downloads, Json, JsonObject, Package, Problem } from './types.ts';

export type ResolveInput = {
  /** The parsed file as typed: references still in it. */
  readonly declared: Json;
  readonly revision: string;
  /** For every id of `usesOf`: its package, or why there is none. */
  readonly packages: Readonly<Record<string, Package | Problem>>;
  readonly env: Env;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly hash: (text: string) => string;
  /** Keyed (HMAC): what it returns cannot be used to guess what went in. */
  readonly seal: (text: string) => string;
  readonly base: Base;
};

export type Resolved = {
  /** Null when there is an error among the problems. */
  readonly desired: Desired | null;
  /** Without the plugins that errors are about; null when nothing can be told. At boot it says what goes on while the rest is mended. */
  readonly sound: Desired | null;
  /** The file as typed, references resolved as far as they can be. */
  readonly told: Json;
  readonly problems: readonly Problem[];
};

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
const memberOf = (value: Json | undefined, key: string): Json | undefined =>
  isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;

/** Settings follow the schema of the manifest and an inline manifest its own: both are resolved with the plugin. */
const byTheirOwnSchema = (path: readonly string[]): boolean =>
  path.length === 3 && path[0] === 'plugins' && (path[2] === 'config' || path[2] === 'manifest');

const place = (env: Env) => ({ env, pointer: '', schema: declaredSchema });

/** Both null: the bundled plugin of the instance's own name. */
export type Use = { readonly use: string | null; readonly manifest: Json | null };

/** Which manifest each declared plugin wants: by name or folder (`use`), or inline. Takes any parsed file, also an invalid one. */
export function usesOf(declared: Json, env: Env = {}): Readonly<Record<string, Use>> {
  const plugins = memberOf(declared, 'plugins');
  if (!isObject(plugins)) return {};
  return Object.fromEntries(
    Object.entries(plugins).map(([id, plugin]): [string, Use] => {
      const manifest = memberOf(plugin, 'manifest');
      if (isObject(manifest)) return [id, { use: null, manifest }];
      const use = memberOf(plugin, 'use');
      const named = typeof use === 'string' ? interpolate(use, { env, pointer: '', schema: null }).value : null;
      return [id, { use: typeof named === 'string' && named !== '' ? named : null, manifest: null }];
    }),
  );
}

type Sections = { readonly none: boolean; readonly whole: boolean; readonly has: (section: string, name?: string) => boolean };

/** Where there are mistakes already: what follows looks only at sound parts, so that it says nothing twice. */
function damaged(problems: readonly Problem[]): Sections {
  const sections = new Set<string>();
  const members = new Set<string>();
  for (const { pointer } of problems) {
    const [section = '', name] = tokensOf(pointer);
    if (name === undefined) sections.add(section);
    else members.add(pointerOf([section, name]));
  }
  return {
    none: problems.length === 0,
    whole: sections.has(''),
    has: (section, name) => sections.has(section) || (name !== undefined && members.has(pointerOf([section, name]))),
  };
}

/** Resolves a whole file. Says as much as it can in one go: a mistake in one plugin does not hide those of another. */
export function resolve(input: ResolveInput): Resolved {
  const done = interpolate(input.declared, place(input.env), byTheirOwnSchema);
  const filled = withDefaults(done.value);
  const missing = new Set(done.problems.map((one) => one.pointer));
  const wrong = validateDeclared(filled, { hidden: (pointer) => done.resolved.has(pointer) }).filter((one) => !missing.has(one.pointer));
  const problems: Problem[] = [...done.problems, ...wrong];
  // A variable missing for a plugin's environment leaves the rest of the plugin sound: its other mistakes are said too.
  const broken = damaged([...wrong, ...done.problems.filter((one) => tokensOf(one.pointer)[2] !== 'env')]);
  const told = done.value;
  if (!isObject(filled)) return { desired: null, sound: null, told, problems };

  const models = broken.has('models') ? [] : modelsOf(input, filled, { broken, problems });
  const plugins = broken.has('plugins') ? [] : pluginsOf(input, filled, { broken, problems });
  const people = peopleOf(input, filled, broken);
  if (!broken.has('users') && !broken.has('keys')) problems.push(...checkKeys(people, filled), ...checkBound(people, plugins), ...checkEnded(people, input.now));
  if (broken.none) problems.push(...checkAdmin(people));
  // What a plugin that is no good would offer is not known.
  if (broken.none && plugins.length === Object.keys(filled.plugins).length) problems.push(...checkScopes(people, plugins));
  if (broken.has('server') || problems.some((one) => one.pointer.startsWith('/server/'))) return { desired: null, sound: null, told, problems };
  const { server, problems: wrongServer } = serverOf(filled, input);
  problems.push(...wrongServer);
  const isOpen = isOpenToAll(server, people);
  // Of people who are declared wrong nobody knows whether they would do.
  if (isOpen && wrongServer.length === 0 && !problems.some((one) => one.severity === 'error' && /^\/(users|keys)(\/|$)/.test(one.pointer))) problems.push(openToAll());
  const desired: Desired = { revision: input.revision, server, drift: filled.drift, memory_bytes: filled.memory === undefined ? null : parseSize_bytes(filled.memory), downloads: downloadsOf(broken.has('downloads') ? withDefaults({ version: 1 }) : filled), plugins, models, ...people };
  const faulty = damaged(problems.filter((one) => one.severity === 'error'));
  if (faulty.none) return { desired, sound: desired, told, problems };
  return { desired: null, told, sound: { ...desired, server: { ...server, host: isOpen || faulty.has('server', 'host') ? LOOPBACK : server.host }, plugins: plugins.filter((plugin) => !faulty.whole && !faulty.has('plugins', plugin.id)) }, problems };
}

function downloadsOf({ downloads }: FilledDeclared): Downloads {
  const { connections, bandwidth, verifyEvery } = downloads;
  return { connections, bandwidth_bytes: bandwidth === undefined ? null : parseSize_bytes(bandwidth), verifyEvery_ms: parseDuration_ms(verifyEvery) ?? 0 };
}

/** The sound ones; of sections that are none there is nobody. */
function peopleOf(input: ResolveInput, filled: FilledDeclared, broken: Sections): People {
  const sound = <Item>(section: 'users' | 'keys', items: Readonly<Record<string, Item>>): Readonly<Record<string, Item>> =>
    broken.has(section) ? {} : Object.fromEntries(Object.entries(items).filter(([id]) => !broken.has(section, id)));
  return resolvePeople({ users: sound('users', filled.users), keys: sound('keys', filled.keys) }, input.base);
}

function modelsOf(input: ResolveInput, filled: FilledDeclared, { broken, problems }: { readonly broken: Sections; readonly problems: Problem[] }): readonly DesiredModel[] {
  const typed = memberOf(input.declared, 'models');
  return Object.entries(filled.models).flatMap(([name, model]) => {
    if (broken.has('models', name)) return [];
    const source = memberOf(memberOf(typed, name), 'source');
    const desired = resolveModel({ name, model, typed: typeof source === 'string' ? source : model.source }, input.base, input.hash);
    if (desired === null) problems.push(modelProblem(name, { code: 'FilesMissing', severity: 'error', message: `Model ${name}: its source is a folder, and a web server does not say what lies in it.`, hint: 'Name its files: files: [config.json, model.safetensors], or give the address of one file.' }));
    else if (model.files !== undefined && desired.source.kind !== 'hub' && desired.source.kind !== 'list') problems.push(modelProblem(name, { code: 'FilesUnused', severity: 'warning', message: `Model ${name}: its source is one file or a folder that is taken whole, so \`files\` says nothing.`, hint: 'Remove `files`, or name a folder on the hub (hf://org/repo) or on a web server (https://…/).' }));
    return desired === null ? [] : [desired];
  });
}

const modelProblem = (name: string, said: Pick<Problem, 'code' | 'severity' | 'message' | 'hint'>): Problem => ({ ...said, pointer: pointerOf(['models', name, 'files']), line: null, column: null });

function pluginsOf(
  input: ResolveInput,
  filled: FilledDeclared,
  found: { readonly broken: Sections; readonly problems: Problem[] },
): readonly DesiredPlugin[] {
  const typed = memberOf(input.declared, 'plugins');
  const declared = isObject(filled.models) ? filled.models : {};
  const models = Object.fromEntries(Object.entries(declared).map(([name, model]) => [name, model?.state ?? 'present']));
  const needs: Record<string, readonly string[]> = {};
  const plugins: DesiredPlugin[] = [];
  for (const [id, plugin] of Object.entries(filled.plugins)) {
    needs[id] = [];
    if (found.broken.has('plugins', id)) continue;
    needs[id] = plugin.needs;
    const known = Object.hasOwn(input.packages, id) ? input.packages[id] : undefined;
    if (known === undefined) throw new Error(`no package was handed in for the plugin ${id}`);
    if (!('manifest' in known)) {
      found.problems.push(known);
      continue;
    }
    const typedEnv = memberOf(memberOf(typed, id), 'env');
    const result = resolvePlugin({
      id,
      plugin,
      typedEnv: isObject(typedEnv) ? typedEnv : {},
      package: known,
      models,
      env: input.env,
      seal: input.seal,
    });
    found.problems.push(...result.problems);
    if (result.desired !== null) plugins.push(result.desired);
  }
  found.problems.push(...checkNeeds(needs));
  return plugins;
}
