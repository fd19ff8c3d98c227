// Which appliance a command is about: its file, its home, and how to answer.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { told } from './told.ts';

export type Context = {
  /** Absolute path of bkg.yaml. */
  readonly config: string;
  /** Absolute path of $BKG_HOME. */
  readonly home: string;
  /** Absolute path of this installation: bundled plugins and models. */
  readonly installation: string;
  readonly json: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
};

export type GlobalOptions = { readonly config?: string; readonly home?: string; readonly json?: boolean };

const installation = resolve(fileURLToPath(new URL('..', import.meta.url)));

/** Option beats environment beats ./bkg.yaml beats the bundled file. */
export function contextOf(options: GlobalOptions, env: Context['env'], cwd: string): Context {
  const named = options.config ?? nonEmpty(env['BKG_CONFIG']);
  const config = named === undefined ? defaultConfig(cwd) : fileAt(resolve(cwd, named));
  const home = resolve(cwd, options.home ?? nonEmpty(env['BKG_HOME']) ?? join(dirname(config), '.bkg'));
  return { config, home, installation, json: options.json === true, env, version: versionOf(installation) };
}

const nonEmpty = (text: string | undefined): string | undefined => (text === '' ? undefined : text);

function defaultConfig(cwd: string): string {
  const here = join(cwd, 'bkg.yaml');
  return existsSync(here) ? here : join(installation, 'bkg.yaml');
}

/** A folder means the bkg.yaml in it. */
function fileAt(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) return join(path, 'bkg.yaml');
  return path;
}

/** Commands that only make sense with a file say so at once. */
export function requireConfig(context: Context): void {
  if (!existsSync(context.config)) throw told(`${context.config} does not exist.`, 'Name the file with --config FILE or BKG_CONFIG, or run bkg in the folder that holds bkg.yaml.');
}

function versionOf(folder: string): string {
  const known = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { readonly version: string };
  return known.version;
}
