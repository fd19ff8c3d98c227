// `bkg logs`: what a plugin wrote, and with -f what it writes from now on; no line twice, none left out.
import { WebSocket } from 'undici';
import type { LogFrame, ServerFrame } from '../../schema/wire.gen.ts';
import { requireRunning, type Client } from '../client.ts';
import type { Context } from '../context.ts';
import { paint, write } from '../show.ts';
import { told } from '../told.ts';

type Line = Omit<LogFrame, 'topic'>;
export type LogsOptions = { readonly plugin: string; readonly follow: boolean; readonly lines: string };

/** A subscription begins with lines of before, at most so many: they are known by the backlog, shown or not. */
const REPEATED = 1_000;
/** As the api allows. */
const LINES_MAX = 5_000;

export async function logs(context: Context, options: LogsOptions): Promise<number> {
  const lines = Number(options.lines);
  if (!/^[0-9]+$/.test(options.lines) || lines > LINES_MAX) throw told(`-n ${options.lines}: a whole number from 0 to ${LINES_MAX} is wanted.`);
  const client = requireRunning(context);
  const show = context.json ? (line: Line): void => write(`${JSON.stringify(line)}\n`) : showLine;
  const backlog = (limit: number): Promise<readonly Line[]> => client.get<{ readonly logs: readonly Line[] }>(`/api/plugins/${encodeURIComponent(options.plugin)}/logs?limit=${limit}`).then((found) => found.logs);
  if (!options.follow) {
    for (const line of await backlog(lines)) show(line);
    return 0;
  }
  return follow(client, { plugin: options.plugin, lines, backlog: () => backlog(Math.max(lines, REPEATED)), show });
}

/** Listens first, then reads what was: what arrives meanwhile waits, and is left out where the backlog has it. */
async function follow(client: Client, o: { readonly plugin: string; readonly lines: number; readonly backlog: () => Promise<readonly Line[]>; readonly show: (line: Line) => void }): Promise<number> {
  const dispatcher = await client.dispatcher();
  const socket = new WebSocket(`${client.base.replace('http', 'ws')}/ws/plugins`, { headers: { authorization: `Bearer ${client.token}` }, ...(dispatcher === null ? {} : { dispatcher }) });
  let waiting: Line[] | null = [];
  const ended = new Promise<number>((resolve, reject) => {
    socket.addEventListener('message', (message) => {
      const frame = JSON.parse(String(message.data)) as ServerFrame;
      if (frame.topic === 'error') reject(told(frame.message));
      if (frame.topic !== 'logs') return;
      if (waiting === null) o.show(frame);
      else waiting.push(frame);
    });
    socket.addEventListener('error', () => reject(told('bkg does not take the live connection.', 'Is it just starting or ending? Try again.')));
    socket.addEventListener('close', () => reject(told('bkg has closed the connection: it has ended, or left.')));
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(0));
    process.stdout.once('error', () => resolve(0));
  });
  await Promise.race([ended, new Promise((resolve) => { socket.addEventListener('open', resolve, { once: true }); })]);
  socket.send(JSON.stringify({ action: 'SUB', topic: 'logs', pluginId: o.plugin }));
  const before = await Promise.race([ended.then((): readonly Line[] => []), o.backlog()]);
  const known = new Set(before.map(placeOf));
  for (const line of o.lines === 0 ? [] : before.slice(-o.lines)) o.show(line);
  for (const line of waiting) if (!known.has(placeOf(line))) o.show(line);
  waiting = null;
  const code = await ended;
  socket.close();
  return code;
}

const placeOf = (line: Line): string => `${line.incarnation} ${line.stream} ${line.offset}`;

function showLine(line: Line): void {
  const level = line.level === 'error' || line.level === 'fatal' ? paint('red', line.level) : line.level === 'warn' ? paint('yellow', line.level) : paint('dim', line.level);
  const fields = line.fields === null || line.fields === undefined ? '' : paint('dim', ` ${JSON.stringify(line.fields)}`);
  write(`${paint('dim', line.ts)} ${level}${' '.repeat(Math.max(0, 5 - line.level.length))} ${line.message}${fields}\n`);
}
