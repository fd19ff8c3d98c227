// `bkg doctor`: looks at the machine, the home and the file, and says what would keep bkg from working well.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, statSync, statfsSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { examine } from '../../reconciler/index.ts';
import { checkCertificate, type TlsUnusable } from '../../api/tls.ts';
import type { Desired, Problem } from '../../reconciler/index.ts';
import { runningOn } from '../client.ts';
import type { Context } from '../context.ts';
import { paint, size, status, table, write, writeJson } from '../show.ts';
import { codeOf, messageOf } from '../told.ts';

type Server = Desired['server'];
type Finding = { readonly what: string; readonly verdict: 'ok' | 'warning' | 'error'; readonly found: string; readonly remedy: string | null };

const NODE_MAJOR = 24;
/** Less than a small model, its download and the logs want. */
const DISK_WANTED_BYTES = 2 * 1024 ** 3;
const TOOL_WITHIN_MS = 5_000;
/** What installs of plugins may call for; none is needed by bkg itself. */
const TOOLS: readonly (readonly [name: string, argument: string, wanted: string])[] = [['npm', '--version', 'plugins on Node'], ['python3', '--version', 'plugins on Python'], ['cargo', '--version', 'plugins in Rust'], ['cmake', '--version', 'building an engine for a GPU']];

export async function doctor(context: Context): Promise<number> {
  const examined = existsSync(context.config) ? await examine(context) : null;
  const findings = [nodeVersion(), flock(), home(context), disk(context), ...(await ports(context, examined?.server ?? null)), file(context, examined?.problems ?? null), ...(await certificate(examined?.server ?? null)), ...TOOLS.map(tool)];
  if (context.json) writeJson({ findings });
  else {
    write(table(['', 'what', 'found'], findings.map((finding) => [status(finding.verdict), finding.what, finding.found])));
    const remedies = findings.filter((finding) => finding.remedy !== null && finding.verdict !== 'ok');
    if (remedies.length > 0) write(`\n${remedies.map((finding) => `${paint('bold', finding.what)}: ${finding.remedy}\n`).join('')}`);
  }
  return findings.some((finding) => finding.verdict === 'error') ? 1 : 0;
}

const ok = (what: string, found: string): Finding => ({ what, verdict: 'ok', found, remedy: null });

function nodeVersion(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  return major >= NODE_MAJOR ? ok('node', process.version) : { what: 'node', verdict: 'error', found: process.version, remedy: `Run bkg through npm start or npx bkg: they bring node ${NODE_MAJOR}.` };
}

function flock(): Finding {
  const found = spawnSync('flock', ['--version'], { encoding: 'utf8', timeout: TOOL_WITHIN_MS });
  return found.error === undefined ? ok('flock', found.stdout.trim()) : { what: 'flock', verdict: 'warning', found: 'not found', remedy: 'Install util-linux: with flock two bkg can never share a home, without it bkg goes by process ids.' };
}

function home(context: Context): Finding {
  const { home: folder } = context;
  try {
    const found = statSync(folder, { throwIfNoEntry: false });
    if (found === undefined) {
      accessSync(dirname(folder), constants.W_OK);
      return ok('home', `${folder} (made at the first start)`);
    }
    accessSync(folder, constants.W_OK | constants.X_OK);
    const open = (found.mode & 0o077) !== 0;
    return open ? { what: 'home', verdict: 'warning', found: `${folder} can be entered by others`, remedy: `chmod 700 ${folder}: it holds keys, tokens and logs.` } : ok('home', folder);
  } catch (error) {
    return { what: 'home', verdict: 'error', found: messageOf(error), remedy: 'Choose a folder you may write with --home or BKG_HOME.' };
  }
}

function disk(context: Context): Finding {
  const folder = existsSync(context.home) ? context.home : dirname(context.home);
  try {
    const { bavail, bsize } = statfsSync(folder);
    const free = bavail * bsize;
    return free >= DISK_WANTED_BYTES ? ok('disk', `${size(free)} free`) : { what: 'disk', verdict: 'warning', found: `${size(free)} free`, remedy: `Models are large: make room on the disk of ${folder}, or put the home elsewhere.` };
  } catch (error) {
    return { what: 'disk', verdict: 'warning', found: messageOf(error), remedy: null };
  }
}

async function ports(context: Context, server: Server | null): Promise<readonly Finding[]> {
  const running = runningOn(context.home);
  if (running !== null) {
    const { holder: { pid }, ports: doors } = running;
    return [ok('ports', doors === null ? `bkg (process ${pid}) is starting or ending just now` : `bkg runs (process ${pid}): web ${doors.web}, api ${doors.api}, bus ${doors.bus}`)];
  }
  // Of a file that is not good its ports are not known.
  if (server === null) return [];
  const wanted = [['web', 'BKG_WEB_PORT'], ['api', 'BKG_API_PORT'], ['bus', 'BKG_PLUGIN_BUS_PORT']] as const;
  return Promise.all(wanted.map(async ([name, variable]): Promise<Finding> => {
    const port = server.ports[name];
    if (port === 0) return ok(`port ${name}`, 'any free one');
    const free = await isFree(port);
    return free ? ok(`port ${name}`, `${port} is free`) : { what: `port ${name}`, verdict: 'warning', found: `${port} is taken`, remedy: `bkg will take another; run/ports.json tells which. ${variable} or server.ports.${name} chooses one.` };
  }));
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

function file({ config }: Context, problems: readonly Problem[] | null): Finding {
  if (problems === null) return { what: 'file', verdict: 'error', found: `${config} does not exist`, remedy: 'Name it with --config or BKG_CONFIG.' };
  const errors = problems.filter((problem) => problem.severity === 'error').length;
  if (errors > 0) return { what: 'file', verdict: 'error', found: `${config}: ${errors} error${errors === 1 ? '' : 's'}`, remedy: 'bkg validate shows them with their lines.' };
  try {
    // An edit puts a new file in place of the old one: that needs the folder.
    accessSync(dirname(config), constants.W_OK);
    return ok('file', `${config} is valid`);
  } catch {
    return { what: 'file', verdict: 'warning', found: `${config} is valid, its folder is read-only`, remedy: 'Edits from the UI, the API and bkg patch will be refused with the diff to apply.' };
  }
}

async function certificate(server: Server | null): Promise<readonly Finding[]> {
  if (server === null || server.tls === null) return [];
  const found = `${server.tls.cert}, ${server.tls.key}`;
  try {
    const wrong = await checkCertificate(server.tls);
    return [wrong === null ? ok('certificate', found) : { what: 'certificate', verdict: 'warning', found: wrong, remedy: 'Put a new one into the files of server.tls.' }];
  } catch (error) {
    if (codeOf(error) !== 'TlsUnusable') throw error;
    return [{ what: 'certificate', verdict: 'error', found: messageOf(error), remedy: (error as TlsUnusable).remedy }];
  }
}

function tool([name, argument, wanted]: (typeof TOOLS)[number]): Finding {
  const found = spawnSync(name, [argument], { encoding: 'utf8', timeout: TOOL_WITHIN_MS });
  return found.error === undefined && found.status === 0
    ? ok(name, found.stdout.trim().split('\n')[0] ?? '')
    : { what: name, verdict: 'warning', found: 'not found', remedy: `Only wanted for ${wanted}.` };
}
