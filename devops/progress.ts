// Shows what takes long while bkg starts: bars below the log on a terminal, a line now and then elsewhere.
import type { Logger } from 'pino';
import type { Snapshot } from '../reconciler/index.ts';
import { size } from './show.ts';

const BAR_CHARS = 24;
/** Faster than this a terminal only flickers. */
export const DRAW_MS = 100;
/** Without a terminal: a line for each further tenth, or after this long without one. */
export const LINE_MS = 10_000;
export const TENTHS = 10;

type Task = { readonly name: string; readonly text: string; readonly share: number | null };

/** Everything under way: model files on their way, installs, starts that have not become ready. */
export function tasksOf(snapshot: Snapshot): readonly Task[] {
  const models = snapshot.models.filter((model) => model.phase === 'fetching').map((model): Task => {
    const share = model.bytesTotal === null || model.bytesTotal === 0 ? null : Math.min(1, model.bytes / model.bytesTotal);
    return { name: `model/${model.id}`, share, text: `${size(model.bytes)}${model.bytesTotal === null ? '' : ` of ${size(model.bytesTotal)}`}` };
  });
  const installs = snapshot.plugins.flatMap((plugin): readonly Task[] => {
    const installing = plugin.conditions.find((condition) => condition.type === 'Ready' && condition.reason === 'Installing');
    return installing === undefined ? [] : [{ name: `plugin/${plugin.id}`, share: null, text: installing.message }];
  });
  return [...models, ...installs];
}

export type Progress = { readonly show: (snapshot: Snapshot) => void; readonly clear: () => void; readonly close: () => void };

export function openProgress(options: { readonly terminal: boolean; readonly columns: () => number; readonly write: (text: string) => void; readonly log: () => Logger }): Progress {
  return options.terminal ? bars(options) : lines(options.log);
}

function bars(options: { readonly columns: () => number; readonly write: (text: string) => void }): Progress {
  let drawn = 0;
  let last_ms = 0;
  const clear = (): void => {
    if (drawn > 0) options.write(`\x1b[${drawn}A\x1b[0J`);
    drawn = 0;
  };
  return {
    show(snapshot) {
      const tasks = tasksOf(snapshot);
      if (tasks.length > 0 && performance.now() - last_ms < DRAW_MS) return;
      last_ms = performance.now();
      clear();
      const width = options.columns();
      for (const task of tasks) options.write(`${barOf(task).slice(0, width - 1)}\n`);
      drawn = tasks.length;
    },
    clear,
    close: clear,
  };
}

function barOf(task: Task): string {
  if (task.share === null) return `${task.name}  … ${task.text}`;
  return `${task.name}  ${bar(task.share)}  ${task.text}`;
}

/** `██████░░░░░░░░░░░░░░░░░░  25 %` */
export function bar(share: number): string {
  const full = Math.round(share * BAR_CHARS);
  return `${'█'.repeat(full)}${'░'.repeat(BAR_CHARS - full)} ${String(Math.floor(share * 100)).padStart(3)} %`;
}

function lines(log: () => Logger): Progress {
  const told = new Map<string, { readonly tenth: number; readonly at_ms: number }>();
  return {
    show(snapshot) {
      const tasks = tasksOf(snapshot);
      for (const name of told.keys()) if (!tasks.some((task) => task.name === name)) told.delete(name);
      for (const task of tasks) {
        const tenth = task.share === null ? 0 : Math.floor(task.share * TENTHS);
        const before = told.get(task.name);
        const now = performance.now();
        if (before !== undefined && before.tenth === tenth && now - before.at_ms < LINE_MS) continue;
        told.set(task.name, { tenth, at_ms: now });
        log().info({ unit: task.name }, task.share === null ? task.text : `${Math.floor(task.share * 100)} % (${task.text})`);
      }
    },
    clear: () => undefined,
    close: () => undefined,
  };
}
