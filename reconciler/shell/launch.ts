// Prepares what a process is started with: folder, command, environment, settings file.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { substitute, type ArgvValues } from '../core/argv.ts';
import type { DesiredPlugin, Observed } from '../core/types.ts';
import type { Secrets } from './secrets.ts';
import { pluginEnvironment } from './process.ts';

export type LaunchPlace = {
  readonly home: string;
  readonly secrets: Secrets;
  /** Where the plugin bus listens; null while it does not. */
  readonly busUrl: () => string | null;
};

export type LaunchInput = {
  readonly plugin: DesiredPlugin;
  readonly incarnation: string;
  readonly port: number;
  readonly models: Observed['models'];
  /** Folder of the finished install; null when the plugin runs from its own folder. */
  readonly installed: string | null;
};

export type Launch = {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Record<string, string>;
  readonly stdout: string;
  readonly stderr: string;
};

export const configPath = (home: string, plugin: string): string => join(home, 'run', 'config', `${plugin}.json`);
export const logFolder = (home: string, plugin: string): string => join(home, 'logs', plugin);
const dataFolder = (home: string, plugin: string): string => join(home, 'data', plugin);

/** Writes the settings where the plugin reads them, whole or not at all. */
export function writeConfig(home: string, plugin: DesiredPlugin): void {
  const path = configPath(home, plugin.id);
  mkdirSync(join(home, 'run', 'config'), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, `${JSON.stringify(plugin.config, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export function prepareLaunch(place: LaunchPlace, input: LaunchInput): Launch {
  const { plugin, incarnation, port } = input;
  const data = dataFolder(place.home, plugin.id);
  const logs = logFolder(place.home, plugin.id);
  mkdirSync(data, { recursive: true, mode: 0o700 });
  mkdirSync(logs, { recursive: true, mode: 0o700 });
  writeConfig(place.home, plugin);
  const bus = place.busUrl();
  return {
    argv: substitute(plugin.run, launchValues(input, data)),
    cwd: input.installed ?? plugin.package.folder ?? data,
    env: pluginEnvironment(plugin.env, {
      BKG_PORT: String(port),
      ...(bus === null ? {} : { BKG_BUS_URL: bus }),
      BKG_TOKEN: place.secrets.busToken(incarnation),
      BKG_INBOUND: place.secrets.inbound(incarnation),
      BKG_CONFIG: configPath(place.home, plugin.id),
      BKG_DATA: data,
      BKG_INCARNATION: incarnation,
    }),
    stdout: join(logs, `${incarnation}.stdout`),
    stderr: join(logs, `${incarnation}.stderr`),
  };
}

/** Values of the placeholders; one without a value drops the optional group it stands in. */
function launchValues(input: LaunchInput, data: string): ArgvValues {
  const models = Object.fromEntries(input.plugin.models.map((role) => {
    const path = role.model === null ? null : (input.models[role.model]?.path ?? null);
    return [role.role, role.model === null || path === null ? null : { path, name: role.model }];
  }));
  return { port: input.port, data, models, config: input.plugin.config };
}
