// What can be wrong between one declared plugin and its manifest: roles, grants, command, environment, limits.
import { labelOf, pointerOf, tokensOf } from '../../schema/pointer.ts';
import type { FilledPlugin } from '../../schema/validate.ts';
import { type Schema, declaredSchema, deref, literalSecrets, schemaAt } from '../../schema/walk.ts';
import { covers } from '../../schema/scopes.ts';
import { suggest } from '../../schema/words.ts';
import { configAt, placeholdersOf } from './argv.ts';
import type { Env } from './interpolate.ts';
import type { Seal } from './resolve-hash.ts';
import type { FilledManifest } from './resolve-manifest.ts';
import type { ArgvTemplate, Json, JsonObject, ModelRole, Package, Problem } from './types.ts';

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

/** What bkg itself puts into a plugin's environment. */
const RESERVED: ReadonlySet<string> = new Set([
  'BKG_PORT',
  'BKG_BUS_URL',
  'BKG_TOKEN',
  'BKG_INBOUND',
  'BKG_CONFIG',
  'BKG_DATA',
  'BKG_INCARNATION',
]);

type Said = {
  readonly code: string;
  /** Below the plugin. */
  readonly path: readonly (string | number)[];
  readonly message: string;
  readonly hint: string | null;
  readonly severity?: Problem['severity'];
};

const problem = (id: string, { code, path, message, hint, severity = 'error' }: Said): Problem => ({
  code,
  pointer: pointerOf(['plugins', id, ...path]),
  line: null,
  column: null,
  message,
  hint,
  severity,
});

/** Every role of the manifest with the model that fills it. */
export function rolesOf(
  input: PluginInput,
  manifest: FilledManifest,
): { readonly roles: readonly ModelRole[]; readonly problems: readonly Problem[] } {
  const { id, plugin } = input;
  const problems: Problem[] = [];
  const names = Object.keys(manifest.models);
  const declared = Object.keys(input.models);
  for (const [role, model] of Object.entries(plugin.models)) {
    if (!names.includes(role)) {
      problems.push(
        problem(id, {
          code: 'UnknownRole',
          path: ['models', role],
          message: `Plugin ${id} has no model role ${JSON.stringify(role)}.`,
          hint: suggest(role, names, 'It has') ?? 'It takes no models: remove this.',
        }),
      );
    }
    if (!declared.includes(model)) {
      problems.push(
        problem(id, {
          code: 'UnknownModel',
          path: ['models', role],
          message: `Plugin ${id} wants the model ${JSON.stringify(model)}, which is not declared.`,
          hint: suggest(model, declared, 'Declared') ?? `Declare it: models: { ${model}: { source: … } }.`,
        }),
      );
    } else if (input.models[model] === 'absent') {
      problems.push(
        problem(id, {
          code: 'ModelAbsent',
          path: ['models', role],
          severity: 'warning',
          message: `Plugin ${id} uses the model ${model}, whose state is absent: it cannot start.`,
          hint: `Set models.${model}.state to present or ondemand.`,
        }),
      );
    }
  }
  const roles = names.map((role): ModelRole => {
    const about = manifest.models[role];
    const model = Object.hasOwn(plugin.models, role) ? (plugin.models[role] ?? null) : null;
    const required = about?.required ?? false;
    if (model === null && required) {
      const example = declared[0] ?? 'NAME';
      problems.push(
        problem(id, {
          code: 'MissingModel',
          path: ['models'],
          message: `Plugin ${id} cannot run without a model in the role ${JSON.stringify(role)}.`,
          hint: `Add models: { ${role}: ${example} }${declared.length === 0 ? ', and declare that model under models' : ''}.`,
        }),
      );
    }
    return { role, model, required, format: about?.format ?? 'any', serves: about?.serves ?? Object.keys(manifest.capabilities) };
  });
  return { roles, problems };
}

/** What it may call: its grants, of those its manifest asks for. */
export function grantsOf(
  { id, plugin }: PluginInput,
  manifest: FilledManifest,
): { readonly grants: readonly string[]; readonly problems: readonly Problem[] } {
  const granted = new Set<string>();
  const problems: Problem[] = [];
  for (const [index, grant] of plugin.grants.entries()) {
    const asked = manifest.calls.filter((call) => covers(grant, call));
    if (manifest.calls.some((call) => covers(call, grant))) granted.add(grant);
    else if (asked.length === 0) {
      problems.push(
        problem(id, {
          code: 'UnknownGrant',
          path: ['grants', index],
          message: `Plugin ${id} is granted ${JSON.stringify(grant)}, which its manifest does not ask for.`,
          hint: suggest(grant, manifest.calls, 'It asks for') ?? 'It asks for nothing: remove this.',
        }),
      );
    }
    for (const call of asked) granted.add(call);
  }
  return { grants: [...granted], problems };
}

/** Placeholders outside an optional group that nothing gives a value to. */
export function checkCommand(
  { id }: PluginInput,
  manifest: FilledManifest,
  has: { readonly config: JsonObject; readonly roles: readonly ModelRole[] },
): readonly Problem[] {
  const problems: Problem[] = [];
  for (const { name, inGroup } of placeholdersOf(manifest.run as ArgvTemplate)) {
    if (inGroup || name === 'port' || name === 'data') continue;
    if (name.startsWith('config.')) {
      const key = name.slice('config.'.length);
      if ((configAt(has.config, key) ?? null) !== null) continue;
      problems.push(
        problem(id, {
          code: 'MissingSetting',
          path: ['config'],
          message: `Plugin ${id} needs the setting ${JSON.stringify(key)}: its command uses it.`,
          hint: `Add config: { ${key}: … }.`,
        }),
      );
      continue;
    }
    const role = name.slice('models.'.length).replace(/\.name$/, '');
    const known = has.roles.find((one) => one.role === role);
    if (known === undefined || known.model !== null || known.required) continue;
    problems.push(
      problem(id, {
        code: 'MissingModel',
        path: ['models'],
        message: `Plugin ${id} needs a model in the role ${JSON.stringify(role)}: its command uses it.`,
        hint: `Add models: { ${role}: NAME }.`,
      }),
    );
  }
  return problems;
}

/** Names that are bkg's own. */
export function checkEnv({ id, typedEnv }: PluginInput): readonly Problem[] {
  return Object.keys(typedEnv)
    .filter((name) => RESERVED.has(name))
    .map((name) =>
      problem(id, {
        code: 'ReservedName',
        path: ['env', name],
        message: `${name} is given to every plugin by bkg and cannot be set here.`,
        hint: 'Remove it, or choose another name.',
      }),
    );
}

const envSchema = schemaAt('/plugins/any/env');

/** Secrets that stand as they are in the environment, or in settings that the plugin's schema marks. */
export function checkSecrets({ id, plugin, typedEnv }: PluginInput, configSchema: Schema | null): readonly Problem[] {
  const warn = (where: string, at: string, name: string): Problem =>
    problem(id, {
      code: 'LiteralSecret',
      path: [where, ...tokensOf(at)],
      severity: 'warning',
      message: `${labelOf(at)} of plugin ${id} is taken for a secret, and what stands there is more than a reference to one.`,
      hint: `Write "\${env:${name}}" and set ${name} in the environment of bkg.`,
    });
  const inEnv = [...literalSecrets(typedEnv, envSchema, { root: declaredSchema, at: '' })];
  const inConfig = configSchema === null ? [] : [...literalSecrets(plugin.config, deref(configSchema, configSchema), { root: configSchema, at: '' })];
  return [...inEnv.map((at) => warn('env', at, labelOf(at))), ...inConfig.map((at) => warn('config', at, 'NAME'))];
}

/** Limits of capabilities it does not have. */
export function checkLimits({ id, plugin }: PluginInput, manifest: FilledManifest): readonly Problem[] {
  const known = Object.keys(manifest.capabilities);
  return Object.keys(plugin.limits.capabilities)
    .filter((one) => !known.includes(one))
    .map((one) =>
      problem(id, {
        code: 'UnknownCapability',
        path: ['limits', 'capabilities', one],
        message: `Plugin ${id} has no capability ${JSON.stringify(one)} to limit.`,
        hint: suggest(one, known, 'It has') ?? 'It has none: remove this.',
      }),
    );
}
