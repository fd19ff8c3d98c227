// The log of `bkg up`: JSON lines, or one short line each when a person watches.
import { pino, type Logger } from 'pino';
import { paint } from './show.ts';

const LEVELS: Readonly<Record<number, string>> = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' };
/** Fields that every line carries or that have their own place in the line. */
const PLACED = new Set(['level', 'time', 'pid', 'hostname', 'msg', 'unit', 'err', 'reason']);

type Line = { readonly level: number; readonly time: number; readonly msg?: string; readonly unit?: string; readonly err?: { readonly message?: string; readonly stack?: string } } & Readonly<Record<string, unknown>>;

/** `14:03:07 info  plugin/llmserver#0 is ready`. */
export function pretty(json: string): string {
  const line = JSON.parse(json) as Line;
  const level = LEVELS[line.level] ?? 'info';
  const shown = line.level >= 50 ? paint('red', level) : line.level >= 40 ? paint('yellow', level) : paint('dim', level);
  const clock = new Date(line.time).toTimeString().slice(0, 8);
  const unit = line.unit === undefined || line.unit === '' ? '' : `${paint('cyan', line.unit)} `;
  const rest = Object.entries(line).filter(([name]) => !PLACED.has(name)).map(([name, value]) => paint('dim', ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)).join('');
  const error = line.err === undefined ? '' : `\n${line.err.stack ?? line.err.message ?? ''}`;
  return `${paint('dim', clock)} ${shown}${' '.repeat(5 - level.length)} ${unit}${line.msg ?? ''}${rest}${error}\n`;
}

/** `before` is called ahead of each line: whoever draws below the log clears its drawing there. */
export function openLog(options: { readonly level: string; readonly pretty: boolean; readonly before: () => void }): Logger {
  if (!options.pretty) return pino({ level: options.level, base: null });
  return pino({ level: options.level, base: null }, {
    write: (json: string) => {
      options.before();
      process.stdout.write(pretty(json));
    },
  });
}
