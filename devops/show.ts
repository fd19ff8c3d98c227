// How the CLI speaks to people: tables, problems with their line, spans of time and sizes.
import { relative } from 'node:path';
import { styleText } from 'node:util';
import type { Problem } from '../schema/problem.ts';

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** Colour only where a terminal shows it; NO_COLOR and FORCE_COLOR are honoured. */
export const paint = (style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string => styleText(style, text, { stream, validateStream: true });

const COLOUR_OF: Readonly<Record<string, Style>> = {
  running: 'green', present: 'green', ready: 'green', ok: 'green', listening: 'green', converged: 'green', starting: 'cyan', fetching: 'cyan', stopping: 'cyan',
  warning: 'yellow', stopped: 'dim', absent: 'dim', error: 'red', failed: 'red',
};

export const status = (word: string): string => { const style = COLOUR_OF[word]; return style === undefined ? word : paint(style, word); };

const CONTROL = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, 'g');
const widthOf = (text: string): number => [...text.replace(CONTROL, '')].length;
const pad = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - widthOf(text)));

/** Columns as wide as their widest cell; the head dimmed. Empty without rows. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(widthOf(title), ...rows.map((row) => widthOf(row[column] ?? ''))));
  const line = (cells: readonly string[]): string => cells.map((cell, column) => pad(cell, widths[column] ?? 0)).join('   ').trimEnd();
  return [paint('dim', line(head)), ...rows.map(line)].map((text) => `${text}\n`).join('');
}

/** `bkg.yaml:12:5 error UnknownKey message  hint`, as compilers do, so that editors can jump there. */
export function problemLine(problem: Problem, file: string, cwd: string): string {
  const near = relative(cwd, file);
  const path = near === '' || near.startsWith('..') ? file : near;
  const place = problem.line === null ? path : `${path}:${problem.line}:${problem.column ?? 1}`;
  const severity = paint(problem.severity === 'error' ? 'red' : 'yellow', problem.severity);
  const at = problem.line === null && problem.pointer !== '' ? ` (${problem.pointer})` : '';
  return `${paint('bold', place)} ${severity} ${problem.code} ${problem.message}${at}${problem.hint === null ? '' : `  ${paint('dim', problem.hint)}`}\n`;
}

/** 93784 → `1d 2h`; the two largest units. */
export function span(seconds: number | null): string {
  if (seconds === null) return '';
  const parts: readonly (readonly [number, string])[] = [[86_400, 'd'], [3_600, 'h'], [60, 'm'], [1, 's']];
  let rest = Math.floor(seconds);
  const words = parts.flatMap(([size, unit]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count > 0 ? [`${count}${unit}`] : [];
  });
  return words.length === 0 ? '0s' : words.slice(0, 2).join(' ');
}

/** 1536000 → `1.5 MiB`. */
export function size(bytes: number | null): string {
  if (bytes === null) return '';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const step = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** step;
  return `${value >= 100 || step === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[step]}`;
}

export const write = (text: string): void => { process.stdout.write(text); };
export const writeJson = (value: unknown): void => write(`${JSON.stringify(value, null, 2)}\n`);
export const note = (text: string): void => { process.stderr.write(text); };
