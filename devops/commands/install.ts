// `bkg install`: installs every declared plugin ahead of its start, with or without a running bkg.
import { installAhead } from '../../reconciler/index.ts';
import { requireConfig, type Context } from '../context.ts';
import { note, paint, status, table, write, writeJson } from '../show.ts';
import { told } from '../told.ts';

export async function installAll(context: Context): Promise<number> {
  requireConfig(context);
  const ending = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort());
  const line = openLine();
  const place = { config: context.config, home: context.home, installation: context.installation, env: context.env, signal: ending.signal };
  const { results, problems } = await installAhead(place, (plugin, text) => line.show(`${plugin}: ${text}`));
  line.clear();
  if (problems.some((problem) => problem.severity === 'error')) throw Object.assign(told('The file is not valid, so nothing was installed.'), { problems });
  if (context.json) writeJson({ plugins: results });
  else {
    write(table(['plugin', 'install', ''], results.map((result) => [result.plugin, result.outcome === 'failed' ? status('failed') : result.outcome, result.outcome === 'failed' ? '' : result.message])));
    for (const failed of results.filter((result) => result.outcome === 'failed')) note(`${paint('red', failed.plugin, process.stderr)}: ${failed.message}\n`);
  }
  return results.some((result) => result.outcome === 'failed') ? 1 : 0;
}

/** The newest line of an install, in place on a terminal, one below the other elsewhere. */
function openLine(): { readonly show: (text: string) => void; readonly clear: () => void } {
  if (!process.stderr.isTTY) return { show: (text) => note(`${text}\n`), clear: () => undefined };
  const clear = (): void => note('\r\x1b[K');
  return {
    show(text) {
      clear();
      note(text.slice(0, process.stderr.columns - 1));
    },
    clear,
  };
}
