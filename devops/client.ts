// Talks to the bkg that runs on a home, over HTTP like anyone else.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Problem } from '../schema/problem.ts';
import type { Context } from './context.ts';
import { codeOf, messageOf, told } from './told.ts';

export type Answer = { readonly status: number; readonly headers: Headers; readonly body: unknown };
export type Ask = { readonly method?: string; readonly body?: unknown; readonly type?: string; readonly headers?: Readonly<Record<string, string>> };

export type Client = {
  readonly base: string;
  readonly token: string;
  /** The answer whatever its status; throws, told, when no one answers. */
  request(path: string, ask?: Ask): Promise<Answer>;
  /** Puts a text in place of another, as it stands. */
  put(path: string, yaml: string): Promise<Answer>;
  /** Body of a 2xx answer; anything else is told with the server's own words. */
  get<T>(path: string): Promise<T>;
};

type PortsFile = { readonly web: number | null; readonly api: number | null; readonly bus: number | null; readonly pid: number };

/** What a running bkg wrote about itself; null when none runs. */
export function runningOn(home: string): PortsFile | null {
  try {
    const ports = JSON.parse(readFileSync(join(home, 'run', 'ports.json'), 'utf8')) as PortsFile;
    return ports.api !== null && isAlive(ports.pid) ? ports : null;
  } catch {
    return null;
  }
}

/** A process that has ended and was not collected yet (a container without an init keeps such) is not alive. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, 'latin1') : '';
    return !/^Z/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

/** Null when no bkg runs on this home. */
export function connect(context: Context): Client | null {
  const ports = runningOn(context.home);
  if (ports === null) return null;
  const base = `http://127.0.0.1:${ports.api}`;
  const token = tokenOf(context.home);

  async function request(path: string, ask: Ask = {}): Promise<Answer> {
    const headers: Record<string, string> = { authorization: `Bearer ${token}`, 'x-bkg-source': 'cli', accept: 'application/json', ...ask.headers };
    if (ask.body !== undefined) headers['content-type'] = ask.type ?? 'application/json';
    const response = await fetch(base + path, { method: ask.method ?? 'GET', headers, ...(ask.body === undefined ? {} : { body: typeof ask.body === 'string' ? ask.body : JSON.stringify(ask.body) }) }).catch((error: unknown) => {
      const cause = error instanceof Error ? error.cause : undefined;
      throw told(`bkg (process ${ports?.pid}) does not answer on ${base}: ${messageOf(cause ?? error)}.`, 'It may be starting or ending just now; try again, or look at its log.');
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '');
    return { status: response.status, headers: response.headers, body: isJson && text !== '' ? JSON.parse(text) as unknown : text };
  }

  async function get<T>(path: string): Promise<T> {
    const answer = await request(path);
    if (answer.status >= 400) throw refusal(answer);
    return answer.body as T;
  }
  const put = (path: string, yaml: string): Promise<Answer> => request(path, { method: 'PUT', body: yaml, type: 'application/yaml', headers: { 'if-match': '*' } });
  return { base, token, request, get, put };
}

/** A running bkg, or the sentence that says what to do. */
export function requireRunning(context: Context): Client {
  const client = connect(context);
  if (client === null) throw told(`No bkg runs on ${context.home}.`, 'Start one with `bkg up`, or name the home of the one that runs with --home or BKG_HOME.');
  return client;
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
