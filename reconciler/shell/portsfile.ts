// run/ports.json: where everything listens, for scripts and for the CLI.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ObservedProcess } from '../core/types.ts';
import type { Ports } from './door.ts';

const written = new Map<string, string>();

/** Writes `{web, api, bus, pid, plugins: {id: port}}` when it changed; whole or not at all. */
export function writePorts(home: string, ports: Ports, processes: readonly ObservedProcess[]): void {
  const plugins = Object.fromEntries(processes.filter((process) => process.port > 0 && process.pid > 0).map((process) => [process.plugin, process.port]));
  const text = `${JSON.stringify({ ...ports, pid: process.pid, plugins }, null, 2)}\n`;
  const path = join(home, 'run', 'ports.json');
  if (written.get(path) === text) return;
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
  written.set(path, text);
}

export type PortsFile = Ports & { readonly pid: number; readonly plugins: Readonly<Record<string, number>> };

/** Null when no bkg has written one, or it is damaged. */
export function readPorts(home: string): PortsFile | null {
  try {
    return JSON.parse(readFileSync(join(home, 'run', 'ports.json'), 'utf8')) as PortsFile;
  } catch {
    return null;
  }
}
