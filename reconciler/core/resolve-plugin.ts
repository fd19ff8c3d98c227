// One declared plugin and its manifest → one desired plugin, or what is wrong with it.
import { pointerOf } from '../../schema/pointer.ts';
import { validateConfig } from '../../schema/validate.ts';
import { type Schema, fillDefaults, manifestSchema } from '../../schema/walk.ts';
import { interpolate } from './interpolate.ts';
import { type PluginInput, checkCommand, checkEnv, checkLimits, checkSecrets, grantsOf, rolesOf } from './resolve-checks.ts';
import { configHash, launchHash } from './resolve-hash.ts';
import { type FilledManifest, capabilitiesOf, limitsOf, readManifest } from './resolve-manifest.ts';
import type { ArgvTemplate, DesiredPlugin, Json, JsonObject, Manifest, Package, Problem } from './types.ts';
import { parseDuration_ms, parsePercent, parseSize_bytes } from './units.ts';

export type PluginResult = { readonly desired: DesiredPlugin | null; readonly problems: readonly Problem[] };

/** The manifest, with the references of an inline one resolved; its problems point into bkg.yaml. */
function manifestOf(input: PluginInput): {
  readonly package: Package;
  readonly manifest: FilledManifest | null;
  readonly problems: readonly Problem[];
} {
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
  problems.push(
    ...found.problems.map((one): Problem =>
      inline
        ? { ...one, pointer: at + one.pointer }
        : {
            ...one,
            pointer: pointerOf(input.plugin.use === undefined ? ['plugins', id] : ['plugins', id, 'use']),
            message: `In the manifest of ${use}, at ${one.pointer || 'the top'}: ${one.message}`,
          },
    ),
  );
  return { package: { ...input.package, manifest }, manifest: found.manifest, problems };
}

function settingsOf(input: PluginInput, schema: Schema): { readonly config: JsonObject; readonly problems: readonly Problem[] } {
  const at = pointerOf(['plugins', input.id, 'config']);
  const done = interpolate(input.plugin.config as JsonObject, { env: input.env, pointer: at, schema });
  const config = fillDefaults(done.value, schema) as JsonObject;
  const missing = new Set(done.problems.map((one) => one.pointer));
  const wrong = validateConfig(schema, config, at, { hidden: (pointer) => done.resolved.has(pointer) }).filter(
    (one) => !missing.has(one.pointer),
  );
  return { config, problems: [...done.problems, ...wrong] };
}

/** Resolves one plugin; `desired` is null when its manifest cannot be used. */
export function resolvePlugin(input: PluginInput): PluginResult {
  const { id, plugin } = input;
  const read = manifestOf(input);
  const { manifest } = read;
  if (manifest === null) return { desired: null, problems: [...read.problems, ...checkEnv(input), ...checkSecrets(input, null)] };
  const settings = settingsOf(input, manifest.config);
  const models = rolesOf(input, manifest);
  const grants = grantsOf(input, manifest);
  const problems = [
    ...read.problems,
    ...checkEnv(input),
    ...checkSecrets(input, manifest.config),
    ...settings.problems,
    ...models.problems,
    ...grants.problems,
    ...checkLimits(input, manifest),
    ...(settings.problems.length === 0 ? checkCommand(input, manifest, { config: settings.config, roles: models.roles }) : []),
  ];
  const run = manifest.run as ArgvTemplate;
  const assigned = Object.fromEntries(models.roles.flatMap(({ role, model }) => (model === null ? [] : [[role, model]])));
  const launch = {
    contentHash: input.package.contentHash,
    run,
    env: plugin.env,
    config: settings.config,
    configSchema: manifest.config,
    models: assigned,
  };
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
    key: plugin.key ?? null,
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
