// What the parts of the bench share: the row of the table, medians, and what a process used.
import { readFileSync } from 'node:fs';

/** One line of the table. `ok` says whether the target is met; absent where there is none. */
export type Row = { readonly name: string; readonly value: number; readonly unit: string; readonly target?: string; readonly ok?: boolean };

/** Jiffies a second: fixed at 100 in the kernel's interface to user space. */
const TICKS_PER_S = 100;

/** The value below which the share of all lies; 0.5 is the median. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

/** CPU seconds a process has used so far. */
export function cpu_s(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

export function rss_bytes(pid: number): number {
  return Number(/^VmRSS:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) * 1024;
}

/** A row with a bound it should stay under. */
export const below = (name: string, o: { readonly value: number; readonly unit: string; readonly bound: number }): Row =>
  ({ name, value: o.value, unit: o.unit, target: `< ${o.bound} ${o.unit}`, ok: o.value < o.bound });
