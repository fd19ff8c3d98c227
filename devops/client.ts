// Talks to the bkg that runs on a home, over HTTP like anyone else.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Dispatcher } from 'undici';
import type { Holder, PortsFile } from '../reconciler/index.ts';
import { inUrl, nearHost } from '../schema/addresses.ts';
import type { Problem } from '../schema/problem.ts';
import type { Context } from './context.ts';
import { messageOf, told } from './told.ts';
import { dispatcherFor, send } from './trust.ts';

/** Among what follows the name in /proc/PID/stat. */
const START_TICKS_FIELD = 19;

export type Answer = { readonly status: number; readonly headers: Headers; readonly body: unknown };
export type Ask = { readonly method?: string; readonly body?: unknown; readonly type?: string; readonly headers?: Readonly<Record<string, string>> };

export type Client = {
  readonly base: string;
  readonly token: string;
  /** For connections beside `request`: what they need to trust this bkg; null for plain HTTP. */
  dispatcher(): Promise<Dispatcher | null>;
  /** The answer whatever its status; throws, told, when no one answers. */
  request(path: string, ask?: Ask): Promise<Answer>;
  /** Puts a text in place of another, as it stands. */
  put(path: string, yaml: string): Promise<Answer>;
  /** Body of a 2xx answer; anything else is told with the server's own words. */
  get<T>(path: string): Promise<T>;
};

/** The bkg that holds a home. `ports` is null while it starts or ends: then it takes no requests. */
export type Running = { readonly holder: Holder; readonly ports: PortsFile | null };

/**
 * Null when no bkg runs on this home. A pid in a file proves nothing: after a crash it may be a stranger's. The holder of
 * run/lock is told by its start time and boot as well, and ports.json is believed only when that very process wrote it.
 */
export function runningOn(home: string): Running | null {
  // Where locks of files are not known, the lock is a name.
  const holder = ['lock', 'lock.holder'].map((name) => jsonIn<Holder>(join(home, 'run', name))).find((found) => found !== null && isAlive(found)) ?? null;
  if (holder === null) return null;
  const ports = jsonIn<PortsFile>(join(home, 'run', 'ports.json'));
  return { holder, ports: ports?.pid === holder.pid && ports.api !== null ? ports : null };
}

function jsonIn<T>(path: string): T | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch {
    return null;
  }
}

/**
 * Whether this very process still runs; one that has ended and was not collected yet does not. The reconciler knows the same,
 * but to load it takes longer than most commands.
 */
export function isAlive(holder: Holder): boolean {
  try {
    if (readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim() !== holder.bootId) return false;
    const stat = readFileSync(`/proc/${holder.pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return !/^[ZX]/.test(fields[0] ?? 'X') && Number(fields[START_TICKS_FIELD]) === holder.startTicks;
  } catch {
    return false;
  }
}

export const urlOf = (door: { readonly host: string; readonly secure: boolean }, port: number | null): string => `${door.secure ? 'https' : 'http'}://${inUrl(door.host)}:${port}`;

/** Null when no bkg runs on this home. */
export function connect(context: Context): Client | null {
  const running = runningOn(context.home);
  if (running === null) return null;
  const { holder: { pid }, ports } = running;
  if (ports === null) throw told(`bkg (process ${pid}) holds ${context.home} but takes no requests: it is starting or ending just now.`, 'Try again in a moment, or look at its log.');
  const certificate = ports.certificate ?? null;
  // The token is good on this machine's own addresses only, whatever others the doors have.
  const base = urlOf({ host: nearHost(ports.host), secure: certificate !== null }, ports.api);
  const token = tokenOf(context.home);
  let dispatching: Promise<Dispatcher | null> | null = null;
  const dispatcher = (): Promise<Dispatcher | null> => (dispatching ??= dispatcherFor(certificate));

  async function request(path: string, ask: Ask = {}): Promise<Answer> {
    const headers: Record<string, string> = { authorization: `Bearer ${token}`, 'x-bkg-source': 'cli', accept: 'application/json', ...ask.headers };
    if (ask.body !== undefined) headers['content-type'] = ask.type ?? 'application/json';
    const sent = { method: ask.method ?? 'GET', headers, ...(ask.body === undefined ? {} : { body: typeof ask.body === 'string' ? ask.body : JSON.stringify(ask.body) }) };
    const { status, headers: received, text } = await send(base + path, sent, await dispatcher()).catch((error: unknown) => {
      const cause = error instanceof Error ? error.cause : undefined;
      throw told(`bkg (process ${pid}) does not answer on ${base}: ${messageOf(cause ?? error)}.`, 'It may be starting or ending just now; try again, or look at its log.');
    });
    const isJson = /json/.test(received.get('content-type') ?? '');
    return { status, headers: received, body: isJson && text !== '' ? JSON.parse(text) as unknown : text };
  }

  async function get<T>(path: string): Promise<T> {
    const answer = await request(path);
    if (answer.status >= 400) throw refusal(answer);
    return answer.body as T;
  }
  const put = (path: string, yaml: string): Promise<Answer> => request(path, { method: 'PUT', body: yaml, type: 'application/yaml', headers: { 'if-match': '*' } });
  return { base, token, dispatcher, request, get, put };
}

/** As `systemctl status`: 3 says that nothing runs. */
export const NOT_RUNNING_EXIT = 3;

/** A mistyped path looks like a home without a bkg. */
export function notRunning({ config, home }: Context): { readonly message: string; readonly remedy: string } {
  if (!existsSync(config)) return { message: `No bkg runs on ${home}, and ${config} does not exist.`, remedy: 'Name the file with --config or BKG_CONFIG, the home with --home or BKG_HOME.' };
  return { message: `No bkg runs on ${home}.`, remedy: 'Start one with `npm start` or `npx bkg up`, or name the home of the one that runs with --home or BKG_HOME.' };
}

/** A running bkg, or the sentence that says what to do. */
export function requireRunning(context: Context): Client {
  const client = connect(context);
  if (client !== null) return client;
  const { message, remedy } = notRunning(context);
  throw Object.assign(told(message, remedy), { exit: NOT_RUNNING_EXIT });
}

function tokenOf(home: string): string {
  const path = join(home, 'admin.token');
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw told(`${path} cannot be read: ${messageOf(error)}.`, 'It belongs to the user that started bkg; run this command as that user.');
  }
}

type Details = { readonly title?: string; readonly detail?: string; readonly code?: string; readonly problems?: readonly Problem[] };

/** The server's refusal as an error for people; its problems come along for those who can show them. */
export function refusal(answer: Answer): Error & { readonly problems: readonly Problem[]; readonly code: string } {
  const details = (typeof answer.body === 'object' && answer.body !== null ? answer.body : {}) as Details;
  const text = details.detail ?? details.title ?? (typeof answer.body === 'string' && answer.body !== '' ? answer.body : `bkg answered ${answer.status}`);
  return Object.assign(told(text), { problems: details.problems ?? [], code: details.code ?? '' });
}
