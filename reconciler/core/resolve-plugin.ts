// One declared plugin and its manifest → one desired plugin, or what is wrong with it.
import { pointerOf } from '../../schema/pointer.ts';
import { type FilledPlugin, validateConfig } from '../../schema/validate.ts';
import { type Schema, fillDefaults, manifestSchema } from '../../schema/walk.ts';
import { suggest } from '../../schema/words.ts';
import { configAt, placeholdersOf } from './argv.ts';
import { type Env, interpolate } from './interpolate.ts';
import { type Seal, configHash, launchHash } from './resolve-hash.ts';
import { type FilledManifest, capabilitiesOf, limitsOf, readManifest } from './resolve-manifest.ts';
import type { ArgvTemplate, DesiredPlugin, Json, JsonObject, Manifest, ModelRole, Package, Problem } from './types.ts';
import { parseDuration_ms, parsePercent, parseSize_bytes } from './units.ts';

export type PluginInput = {
  readonly id: string;
  /** With defaults, references resolved everywhere but in `config` and `manifest`. */
  readonly plugin: FilledPlugin;
  /** As typed. */
  readonly typedEnv: Readonly<Record<string, Json>>;
  readonly package: Package;
  /** State of every declared model by name. */
  readonly models: Readonly<Record<string, string>>;
  readonly env: Env;
  readonly seal: Seal;
};

export type PluginResult = { readonly desired: DesiredPlugin | null; readonly problems: readonly Problem[] };

/** What bkg itself puts into a plugin's environment. */
const RESERVED: ReadonlySet<string> = new Set(['BKG_PORT', 'BKG_BUS_URL', 'BKG_TOKEN', 'BKG_INBOUND', 'BKG_CONFIG', 'BKG_DATA']);

type Noted = { readonly code: string; readonly path: readonly (string | number)[]; readonly message: string; readonly hint: string | null; readonly severity?: 'warning' };

const problem = (id: string, { code, path, message, hint, severity = 'error' as const }: Omit<Noted, 'severity'> & { readonly severity?: Problem['severity'] }): Problem =>
  ({ code, pointer: pointerOf(['plugins', id, ...path]), line: null, column: null, message, hint, severity });

/** The manifest, with the references of an inline one resolved; its problems point into bkg.yaml. */
function manifestOf(input: PluginInput): { readonly package: Package; readonly manifest: FilledManifest | null; readonly problems: readonly Problem[] } {
  const { id } = input;
  const inline = input.plugin.manifest !== undefined;
  const at = pointerOf(['plugins', id, 'manifest']);
  let { manifest } = input.package;
  const problems: Problem[] = [];
  if (inline) {
    const done = interpolate(manifest as unknown as Json, { env: input.env, pointer: at, schema: manifestSchema });
    problems.push(...done.problems);
    manifest = done.value as unknown as Manifest;
  }
  const found = readManifest(manifest);
  const use = input.plugin.use ?? id;
  problems.push(...found.problems.map((one): Problem => inline
    ? { ...one, pointer: at + one.pointer }
    : { ...one, pointer: pointerOf(input.plugin.use === undefined ? ['plugins', id] : ['plugins', id, 'use']), message: `In the manifest of ${use}, at ${one.pointer || 'the top'}: ${one.message}` }));
  return { package: { ...input.package, manifest }, manifest: found.manifest, problems };
}

function settingsOf(input: PluginInput, schema: Schema): { readonly config: JsonObject; readonly problems: readonly Problem[] } {
  const at = pointerOf(['plugins', input.id, 'config']);
  const done = interpolate(input.plugin.config as JsonObject, { env: input.env, pointer: at, schema });
  const config = fillDefaults(done.value, schema) as JsonObject;
  const missing = new Set(done.problems.map((one) => one.pointer));
  const wrong = validateConfig(schema, config, at, { hidden: (pointer) => done.resolved.has(pointer) }).filter((one) => !missing.has(one.pointer));
  return { config, problems: [...done.problems, ...wrong] };
}

function rolesOf(input: PluginInput, manifest: FilledManifest): { readonly roles: readonly ModelRole[]; readonly problems: readonly Problem[] } {
  const { id, plugin } = input;
  const problems: Problem[] = [];
  const names = Object.keys(manifest.models);
  const declared = Object.keys(input.models);
  for (const [role, model] of Object.entries(plugin.models)) {
    if (!names.includes(role)) {
      problems.push(problem(id, { code: 'UnknownRole', path: ['models', role], message: `Plugin ${id} has no model role ${JSON.stringify(role)}.`, hint: suggest(role, names, 'It has') ?? 'It takes no models: remove this.' }));
    }
    if (!declared.includes(model)) {
      problems.push(problem(id, { code: 'UnknownModel', path: ['models', role], message: `Plugin ${id} wants the model ${JSON.stringify(model)}, which is not declared.`, hint: suggest(model, declared, 'Declared') ?? `Declare it: models: { ${model}: { source: … } }.` }));
    } else if (input.models[model] === 'absent') {
      problems.push(problem(id, { code: 'ModelAbsent', path: ['models', role], severity: 'warning', message: `Plugin ${id} uses the model ${model}, whose state is absent: it cannot start.`, hint: `Set models.${model}.state to present or ondemand.` }));
    }
  }
  const roles = names.map((role): ModelRole => {
    const about = manifest.models[role];
    const model = Object.hasOwn(plugin.models, role) ? (plugin.models[role] ?? null) : null;
    const required = about?.required ?? false;
    if (model === null && required) {
      const example = declared[0] ?? 'NAME';
      problems.push(problem(id, { code: 'MissingModel', path: ['models'], message: `Plugin ${id} cannot run without a model in the role ${JSON.stringify(role)}.`, hint: `Add models: { ${role}: ${example} }${declared.length === 0 ? ', and declare that model under models' : ''}.` }));
    }
    return { role, model, required, format: about?.format ?? 'any', serves: about?.serves ?? Object.keys(manifest.capabilities) };
  });
  return { roles, problems };
}

/** A grant `repo.*` means every capability asked for below `repo.`; so does an ask. */
const covers = (wide: string, id: string): boolean => wide === id || (wide.endsWith('.*') && id.startsWith(wide.slice(0, -1)));

function grantsOf({ id, plugin }: PluginInput, manifest: FilledManifest): { readonly grants: readonly string[]; readonly problems: readonly Problem[] } {
  const granted = new Set<string>();
  const problems: Problem[] = [];
  for (const [index, grant] of plugin.grants.entries()) {
    const asked = manifest.calls.filter((call) => covers(grant, call));
    if (manifest.calls.some((call) => covers(call, grant))) granted.add(grant);
    else if (asked.length === 0) {
      problems.push(problem(id, { code: 'UnknownGrant', path: ['grants', index], message: `Plugin ${id} is granted ${JSON.stringify(grant)}, which its manifest does not ask for.`, hint: suggest(grant, manifest.calls, 'It asks for') ?? 'It asks for nothing: remove this.' }));
    }
    for (const call of asked) granted.add(call);
  }
  return { grants: [...granted], problems };
}

/** Placeholders outside an optional group that nothing gives a value to. */
function checkCommand({ id }: PluginInput, manifest: FilledManifest, has: { readonly config: JsonObject; readonly roles: readonly ModelRole[] }): readonly Problem[] {
  const problems: Problem[] = [];
  for (const { name, inGroup } of placeholdersOf(manifest.run as ArgvTemplate)) {
    if (inGroup || name === 'port' || name === 'data') continue;
    if (name.startsWith('config.')) {
      const key = name.slice('config.'.length);
      if ((configAt(has.config, key) ?? null) !== null) continue;
      problems.push(problem(id, { code: 'MissingSetting', path: ['config'], message: `Plugin ${id} needs the setting ${JSON.stringify(key)}: its command uses it.`, hint: `Add config: { ${key}: … }.` }));
      continue;
    }
    const role = name.slice('models.'.length).replace(/\.name$/, '');
    const known = has.roles.find((one) => one.role === role);
    if (known === undefined || known.model !== null || known.required) continue;
    problems.push(problem(id, { code: 'MissingModel', path: ['models'], message: `Plugin ${id} needs a model in the role ${JSON.stringify(role)}: its command uses it.`, hint: `Add models: { ${role}: NAME }.` }));
  }
  return problems;
}

function checkEnv({ id, typedEnv }: PluginInput): readonly Problem[] {
  return Object.entries(typedEnv).flatMap(([name, typed]): readonly Problem[] => {
    if (RESERVED.has(name)) {
      return [problem(id, { code: 'ReservedName', path: ['env', name], message: `${name} is given to every plugin by bkg and cannot be set here.`, hint: 'Remove it, or choose another name.' })];
    }
    if (!/(KEY|TOKEN|SECRET|PASSWORD)$/i.test(name) || typeof typed !== 'string' || typed === '' || typed.includes('${env:')) return [];
    return [problem(id, { code: 'LiteralSecret', path: ['env', name], severity: 'warning', message: `${name} of plugin ${id} looks like a secret and stands in the file as plain text.`, hint: `Write "\${env:${name}}" and set ${name} in the environment of bkg.` })];
  });
}

function checkLimits({ id, plugin }: PluginInput, manifest: FilledManifest): readonly Problem[] {
  const known = Object.keys(manifest.capabilities);
  return Object.keys(plugin.limits.capabilities).filter((one) => !known.includes(one)).map((one) =>
    problem(id, { code: 'UnknownCapability', path: ['limits', 'capabilities', one], message: `Plugin ${id} has no capability ${JSON.stringify(one)} to limit.`, hint: suggest(one, known, 'It has') ?? 'It has none: remove this.' }));
}

/** Resolves one plugin; `desired` is null when its manifest cannot be used. */
export function resolvePlugin(input: PluginInput): PluginResult {
  const { id, plugin } = input;
  const read = manifestOf(input);
  const { manifest } = read;
  if (manifest === null) return { desired: null, problems: [...read.problems, ...checkEnv(input)] };
  const settings = settingsOf(input, manifest.config);
  const models = rolesOf(input, manifest);
  const grants = grantsOf(input, manifest);
  const problems = [
    ...read.problems, ...checkEnv(input), ...settings.problems, ...models.problems, ...grants.problems, ...checkLimits(input, manifest),
    ...(settings.problems.length === 0 ? checkCommand(input, manifest, { config: settings.config, roles: models.roles }) : []),
  ];
  const run = manifest.run as ArgvTemplate;
  const assigned = Object.fromEntries(models.roles.flatMap(({ role, model }) => (model === null ? [] : [[role, model]])));
  const launch = { contentHash: input.package.contentHash, run, env: plugin.env, config: settings.config, configSchema: manifest.config, models: assigned };
  const { limits, restart } = plugin;
  const desired: DesiredPlugin = {
    id,
    use: plugin.use ?? (plugin.manifest === undefined ? id : (manifest.name ?? id)),
    package: read.package,
    state: plugin.state,
    idle_ms: duration(plugin.idle),
    run,
    install: manifest.install ?? null,
    models: models.roles,
    config: settings.config,
    env: plugin.env,
    needs: plugin.needs,
    memory_bytes: limits.memory === undefined ? null : parseSize_bytes(limits.memory),
    cpu_percent: limits.cpu === undefined ? null : parsePercent(limits.cpu),
    timeout_ms: duration(limits.timeout),
    limits: limitsOf(limits),
    restart: { first_ms: duration(restart.first), max_ms: duration(restart.max) },
    ready: { path: manifest.ready.http, timeout_ms: duration(manifest.ready.timeout) },
    live: manifest.live === undefined ? null : { path: manifest.live.http, failures: manifest.live.failures },
    stop: { signal: manifest.stop.signal, drain_ms: duration(manifest.stop.drain), grace_ms: duration(manifest.stop.grace) },
    capabilities: capabilitiesOf(manifest, limits.capabilities),
    calls: manifest.calls,
    grants: grants.grants,
    telemetryPath: manifest.telemetry?.http ?? null,
    launchHash: launchHash(launch, input.seal),
    configHash: configHash(settings.config, input.seal),
  };
  return { desired, problems };
}

function duration(text: string): number {
  const value_ms = parseDuration_ms(text);
  if (value_ms === null) throw new Error(`${JSON.stringify(text)} passed validation but is no duration`);
  return value_ms;
}
