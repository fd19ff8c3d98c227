// run/ports.json: where everything listens, for scripts and for the CLI.
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ObservedProcess } from '../core/types.ts';
import type { Ports } from './door.ts';

/**
 * `host` is what web and api listen on; they and the bus are on loopback in any case. `certificate` (PEM) is what web and api show: with it
 * they speak HTTPS, and whoever reads this file need trust nothing else. Nobody believes it whose pid does not hold run/lock.
 */
export type PortsFile = Ports & { readonly host: string; readonly certificate: string | null; readonly pid: number; readonly plugins: Readonly<Record<string, number>> };

const written = new Map<string, string>();
const pathIn = (home: string): string => join(home, 'run', 'ports.json');

/** Writes where bkg and its plugins listen when that changed; whole or not at all. */
export function writePorts(home: string, doors: Ports & Pick<PortsFile, 'host' | 'certificate'>, processes: readonly ObservedProcess[]): void {
  const plugins = Object.fromEntries(processes.filter((process) => process.port > 0 && process.pid > 0).map((process) => [process.plugin, process.port]));
  const file: PortsFile = { ...doors, pid: process.pid, plugins };
  const text = `${JSON.stringify(file, null, 2)}\n`;
  const path = pathIn(home);
  if (written.get(path) === text) return;
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
  written.set(path, text);
}

/** Takes away what this bkg, or one that crashed, has written: where nothing listens, nothing is told. */
export function forgetPorts(home: string): void {
  rmSync(pathIn(home), { force: true });
  written.delete(pathIn(home));
}
