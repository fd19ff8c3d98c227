// `bkg status`: the house at a glance, and of everything that is not well, why and what happens next.
import { relative } from 'node:path';
import type { Condition, FileView, ModelView, PluginView, Ports } from '../../reconciler/index.ts';
import { connect, NOT_RUNNING_EXIT, notRunning } from '../client.ts';
import type { Context } from '../context.ts';
import { paint, problemLine, size, span, status, table, write, writeJson } from '../show.ts';

type House = { readonly version: string; readonly status: string; readonly seq: number; readonly file: FileView; readonly ports: Ports; readonly converged: boolean; readonly actions: number; readonly drifts: number; readonly adminCanSignIn: boolean; readonly conditions: readonly Condition[] };

export async function showStatus(context: Context): Promise<number> {
  const client = connect(context);
  if (client === null) {
    if (context.json) writeJson({ running: false, home: context.home, config: context.config });
    else write(`${Object.values(notRunning(context)).join(' ')}\n`);
    return NOT_RUNNING_EXIT;
  }
  const [house, { plugins }, { models }] = await Promise.all([
    client.get<House>('/api/status'), client.get<{ plugins: readonly PluginView[] }>('/api/plugins'), client.get<{ models: readonly ModelView[] }>('/api/models'),
  ]);
  if (context.json) {
    writeJson({ running: true, ...house, plugins, models });
    return 0;
  }
  const { file, ports } = house;
  const path = relative(process.cwd(), file.path);
  write(`${paint('bold', `bkg ${house.version}`)}  ${path.startsWith('..') ? file.path : path}  web ${ports.web}  api ${ports.api}  bus ${ports.bus}\n`);
  write(`${headline(house)}\n\n`);
  for (const problem of file.problems) write(problemLine(problem, file.path, process.cwd()));
  if (!file.valid) write(house.seq === 0 ? 'No revision is in force yet: it takes effect as soon as it is right.\n\n' : 'What is on disk is not in force: the last good revision is.\n\n');
  if (house.seq > 0 || plugins.length > 0) writePlugins(plugins);
  if (house.adminCanSignIn === false) write(`\nNo admin can sign in yet: bkg printed a link at its start, where the first password is set; ${paint('bold', 'bkg user passwd NAME')} sets it as well.\n`);
  if (models.length > 0) write(`\n${table(['model', 'declared', 'is', 'size', 'used by'], models.map((model) => [model.id, model.state, status(model.phase), sizeOf(model), model.usedBy.join(', ')]))}`);
  writeTroubles([...plugins.map((plugin) => ({ id: plugin.id, conditions: plugin.conditions })), ...models.map((model) => ({ id: model.id, conditions: model.conditions })), { id: 'bkg', conditions: house.conditions.filter((one) => one.type !== 'ConfigValid') }]);
  return 0;
}

function headline({ file, converged, actions, drifts }: House): string {
  if (!converged) return `${paint('yellow', 'converging')}: ${actions} to do; bkg plan tells what`;
  if (file.valid && drifts > 0) return `${paint('yellow', 'drift')}: nothing is to do, but ${drifts === 1 ? 'one thing is' : `${drifts} things are`} not as the file says; bkg drift tells what`;
  return file.valid ? `${status('converged')}: the machine is as the file says` : `${paint('yellow', 'behind')}: the machine is as the revision in force says, not as the file on disk`;
}

function writePlugins(plugins: readonly PluginView[]): void {
  if (plugins.length === 0) {
    write('The file declares no plugin.\n');
    return;
  }
  write(table(['plugin', 'declared', 'is', 'pid', 'port', 'up', 'cpu', 'mem', 'requests', 'errors', 'models'], plugins.map((plugin) => {
    const { cpu, mem, requests, errors } = plugin.telemetry;
    return [
      plugin.id, plugin.state, status(plugin.status), plugin.pid === null ? '' : String(plugin.pid), plugin.port === null ? '' : String(plugin.port), span(plugin.uptime),
      cpu === null ? '' : `${cpu.toFixed(0)} %`, size(mem), String(requests), String(errors), Object.values(plugin.models).join(', '),
    ];
  })));
}

const sizeOf = (model: ModelView): string =>
  model.phase === 'fetching' && model.bytesTotal !== null ? `${size(model.bytes)} of ${size(model.bytesTotal)}` : model.bytes === 0 ? '' : size(model.bytes);

/** States that are as wished, or follow from another that is told anyway. */
const WELL = new Set(['Stopped', 'Asleep', 'Absent', 'OnDemand', 'InSync']);

/** Each reason once; that it is not as declared only where nothing else says why. */
function troublesOf(conditions: readonly Condition[]): readonly Condition[] {
  const found = conditions.filter((condition) => !WELL.has(condition.reason) && condition.type !== 'Synced' && (condition.status === 'False' || condition.type === 'CrashLooping'));
  if (found.length === 0) return conditions.filter((condition) => condition.type === 'Synced' && condition.status === 'False');
  return found.filter(({ reason }, place) => found.findIndex((other) => other.reason === reason) === place);
}

function writeTroubles(subjects: readonly { readonly id: string; readonly conditions: readonly Condition[] }[]): void {
  const lines = subjects.flatMap(({ id, conditions }) => troublesOf(conditions).map((condition) => `${paint('bold', id)} ${paint('yellow', condition.reason)}: ${condition.message}\n`));
  if (lines.length > 0) write(`\n${lines.join('')}`);
}
