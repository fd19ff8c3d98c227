// Follows the log of every live incarnation and answers for what was logged before.
import type { ObservedProcess } from '../core/types.ts';
import type { LogQuery, LogRecord } from './door.ts';
import { logFolder } from './launch.ts';
import { followLogs, pruneLogs, readLogs } from './logs.ts';

export type LogbookOptions = { readonly home: string; readonly tell: (record: LogRecord) => void };

const LEVELS = new Set(['trace', 'debug', 'info', 'warn', 'error', 'fatal']);

export function openLogbook(options: LogbookOptions) {
  const followed = new Map<string, { readonly plugin: string; close(): void | Promise<void> }>();
  return {
    /** Begins to follow new incarnations, lets go of those that have gone. */
    follow(processes: readonly ObservedProcess[]): void {
      const live = new Set<string>();
      for (const process of processes) {
        if (process.pid === 0) continue;
        live.add(process.incarnation);
        if (followed.has(process.incarnation)) continue;
        const folder = logFolder(options.home, process.plugin);
        void pruneLogs(folder, process.incarnation);
        const following = followLogs({ folder, plugin: process.plugin, incarnation: process.incarnation, onRecord: options.tell });
        followed.set(process.incarnation, { plugin: process.plugin, close: following.close });
      }
      for (const [incarnation, following] of followed) {
        if (live.has(incarnation)) continue;
        followed.delete(incarnation);
        void following.close();
      }
    },
    /** A line that came over the bus instead of stdout. */
    add(incarnation: string, line: { readonly level: string; readonly message: string }): void {
      const plugin = followed.get(incarnation)?.plugin;
      if (plugin === undefined) return;
      const level = LEVELS.has(line.level) ? (line.level as LogRecord['level']) : 'info';
      options.tell({ plugin, incarnation, stream: 'stdout', offset: -1, at: new Date().toISOString(), level, message: line.message, fields: null });
    },
    read: (query: LogQuery): Promise<readonly LogRecord[]> => readLogs({ ...query, folder: logFolder(options.home, query.plugin) }),
    async close(): Promise<void> {
      for (const following of followed.values()) await following.close();
      followed.clear();
    },
  };
}
