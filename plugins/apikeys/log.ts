// One JSON line per thing worth knowing.

type Level = 'info' | 'warn' | 'error';

export function log(level: Level, msg: string, fields: Readonly<Record<string, unknown>> = {}): void {
  process.stdout.write(`${JSON.stringify({ level, time: Date.now(), msg, ...fields })}\n`);
}
