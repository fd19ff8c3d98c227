// The installs of plugins under way, done and failed; each runs in the background and ends in one of these.
import type { DesiredPlugin, ObservedInstall } from '../core/types.ts';
import { begin } from './begin.ts';
import { install, installedFolder } from './install.ts';
import { monotonic_ms } from './process.ts';
import type { Pace, SuppliesOptions } from './supplies.ts';

export type InstallsOptions = SuppliesOptions & { readonly pace: Pace; readonly signal: AbortSignal };

const nameOf = (plugin: DesiredPlugin): string => plugin.use.replace(/[^a-z0-9-]+/gi, '-');

export function openInstalls(options: InstallsOptions) {
  const { pace, signal } = options;
  const installs = new Map<string, ObservedInstall>();

  function note(plugin: DesiredPlugin, state: Pick<ObservedInstall, 'phase' | 'message'> & Partial<ObservedInstall>): void {
    const { contentHash } = plugin.package;
    installs.set(contentHash, { contentHash, folder: null, failed: -1, retry: null, ...state });
  }

  function failed(plugin: DesiredPlugin, message: string): void {
    if (signal.aborted) return;
    note(plugin, { phase: 'failed', message, failed: monotonic_ms(), retry: pace.retryAfter(plugin.package.contentHash) });
    options.event('InstallFailed', `plugin/${plugin.id}#0`, message);
    options.poke();
  }

  async function run(plugin: DesiredPlugin, order: { readonly folder: string; readonly argv: readonly string[] }): Promise<void> {
    options.event('InstallStarted', `plugin/${plugin.id}#0`, order.argv.join(' '));
    const result = await install({
      ...order, name: nameOf(plugin), contentHash: plugin.package.contentHash, store: options.installs, env: options.env, signal,
      onProgress: (line) => { note(plugin, { phase: 'installing', message: line }); pace.progress(); },
    });
    if (!result.ok) return failed(plugin, result.message);
    if (signal.aborted) return;
    note(plugin, { phase: 'done', folder: result.folder, message: 'Installed.' });
    pace.succeeded(plugin.package.contentHash);
    options.event('InstallDone', `plugin/${plugin.id}#0`, 'its install is complete');
    options.poke();
  }

  return {
    /** Returns at once; what comes of it is observed. */
    install(plugin: DesiredPlugin): void {
      const { install: argv, package: { folder, contentHash } } = plugin;
      if (argv === null || folder === null || installs.get(contentHash)?.phase === 'installing') return;
      note(plugin, { phase: 'installing', message: 'Its install is starting.' });
      begin(() => run(plugin, { folder, argv }), (error) => failed(plugin, `its install could not be run: ${(error as Error).message}`));
    },
    /** Believes a finished install on disk, so that a start need not run it again. */
    recall(plugin: DesiredPlugin): void {
      if (plugin.install === null || installs.has(plugin.package.contentHash)) return;
      const folder = installedFolder(options.installs, nameOf(plugin), plugin.package.contentHash);
      if (folder !== null) note(plugin, { phase: 'done', folder, message: 'Installed.' });
    },
    observed: (): Readonly<Record<string, ObservedInstall>> => Object.fromEntries(installs),
  };
}
