// `bkg up`: the composition root. Opens the reconciler, sets the doors before it, and ends both in order.
import { randomBytes } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { openAccess } from '../../api/access.ts';
import { openHub } from '../../api/hub.ts';
import { listen, type Listening } from '../../api/listen.ts';
import { checkCertificate, type TlsUnusable } from '../../api/tls.ts';
import type { Setup } from '../../api/auth/setup.ts';
import { dataPlane } from '../../api/v1/gateway.ts';
import { examine, open, type Desired, type Reconciler, type Snapshot } from '../../reconciler/index.ts';
import { busHost, isAnyHost, isLoopbackHost, LOOPBACK } from '../../schema/addresses.ts';
import { isAlive, runningOn, urlOf } from '../client.ts';
import { requireConfig, type Context } from '../context.ts';
import { keepEditorSchema } from '../editor-schema.ts';
import { openLog } from '../log.ts';
import { openProgress } from '../progress.ts';
import { restWhenCalm } from '../rest.ts';
import { note, status, table, write } from '../show.ts';
import { codeOf, messageOf, told } from '../told.ts';

const TOKEN_BYTES = 32;
const SERVICES = ['web', 'api', 'bus'] as const;
/** npm and a terminal both pass Ctrl-C on: two within this time are one. */
const SAME_SIGNAL_MS = 1_000;
/** A bkg that was asked to leave closes its doors and its database; it waits for no plugin. */
const TAKEOVER_WITHIN_MS = 15_000;
const TAKEOVER_LOOK_MS = 50;

export async function up(context: Context, options: { readonly takeover: boolean }): Promise<number> {
  requireConfig(context);
  if (options.takeover) {
    await requireCertificate(context);
    await askToLeave(context.home);
  }
  const terminal = process.stdout.isTTY && !context.json;
  const progress = openProgress({ terminal, columns: () => process.stdout.columns, write, log: () => log });
  const log: Logger = openLog({ level: logLevel(context.env), pretty: terminal, before: progress.clear });
  const ports = wantedPorts(context.env);
  const reconciler = await open({ config: context.config, home: context.home, installation: context.installation, env: context.env, log }).catch((error: unknown) => {
    throw codeOf(error) === 'HomeInUse' ? told(messageOf(error), '`bkg status` shows it; `bkg up --takeover` replaces it and keeps its plugins running.') : error;
  });
  // Only after the home is ours: a second bkg must not spoil the token of the first.
  const adminToken = writeToken(context.home);
  const { server } = reconciler.snapshot().desired;
  const access = await openAccess({ reconciler, adminToken, env: context.env });
  let opened: Listening['ports'] | null = null;
  const plane = dataPlane({ reconciler, access, log, own: () => ({ host: server.host, names: reconciler.snapshot().desired.server.names, ports: [opened?.web ?? null, opened?.api ?? null], secure: server.tls !== null }) });
  const wanted = { web: ports.web ?? server.ports.web, api: ports.api ?? server.ports.api, bus: ports.bus ?? server.ports.bus };
  const doors = await listen({
    reconciler, host: server.host, tls: server.tls, access, hub: openHub(context.env), dataPlane: plane.listener, log, version: context.version, ports: wanted,
  }).catch(async (error: unknown) => {
    await reconciler.close('leave');
    throw notOpened(error, server.host);
  });
  opened = doors.ports;
  for (const service of SERVICES) {
    const port = doors.ports[service];
    if (wanted[service] !== 0 && wanted[service] !== port) log.warn(`the ${service} port ${wanted[service]} is taken or not for bkg; it is ${port} this time`);
  }
  const stopped = untilStopped(log, reconciler);
  reconciler.subscribe((event) => { if (event.type === 'snapshot') progress.show(event.snapshot); });
  keepEditorSchema(context.config, reconciler, (message) => log.warn(message));
  reconciler.start(doors.ports, doors.certificate);
  const door = doorOf(server);
  const say = (): void => sayPorts(reconciler.snapshot(), { door, ports: doors.ports, terminal, json: context.json, log, before: progress.clear });
  say();
  if (!isLoopbackHost(server.host) && server.tls === null) log.warn(`web and api are open to other machines (${server.host}) over plain HTTP: passwords and keys can be read on their way. Declare server.tls, or let a proxy that speaks TLS stand before bkg.`);
  for (const { user, why } of await access.passwords.unfit()) log.warn(`${user} cannot sign in: the password that bkg.yaml names for them is not taken. ${why}`);
  await sayFirstStart(access.setup, { door, port: doors.ports.web, terminal, log, before: progress.clear });
  sayWhenSettled(reconciler, say);
  const endResting = restWhenCalm(reconciler);

  const mode = await stopped;
  endResting();
  progress.close();
  log.info(mode === 'stop' ? 'ending: requests in flight finish, then every plugin stops' : 'leaving: the plugins go on running for the next bkg');
  doors.retire();
  await reconciler.close(mode);
  access.close();
  await doors.close();
  await plane.close();
  log.info('ended');
  // Plugins that go on are still children of this process: their handles would keep it alive until they end.
  process.exit(0);
}

/** Before the bkg that runs is asked to leave: this one could not open its doors without. */
async function requireCertificate(context: Context): Promise<void> {
  const { server } = await examine(context);
  if (server !== null && server.tls !== null) await checkCertificate(server.tls).catch((error: unknown) => { throw notOpened(error, server.host); });
}

/** The machine has no such address, or the port is not for this user. */
const NO_ADDRESS: ReadonlySet<string> = new Set(['EADDRNOTAVAIL', 'EACCES', 'ENOTFOUND', 'EINVAL', 'EAFNOSUPPORT']);

function notOpened(error: unknown, host: string): unknown {
  if (codeOf(error) === 'TlsUnusable') return told(`bkg cannot speak TLS. ${messageOf(error)}.`, (error as TlsUnusable).remedy);
  return NO_ADDRESS.has(codeOf(error)) ? told(`bkg cannot listen on ${host}: ${messageOf(error)}.`, 'Correct server.host in bkg.yaml.') : error;
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

function logLevel(env: Context['env']): string {
  const level = env['BKG_LOG_LEVEL'] || 'info';
  if (!LOG_LEVELS.includes(level)) throw told(`BKG_LOG_LEVEL is ${JSON.stringify(level)}, which is no level.`, `Use one of ${LOG_LEVELS.join(', ')}.`);
  return level;
}

/** Numbers of the environment win over the file; 0 asks for any free port. */
function wantedPorts(env: Context['env']): { readonly web: number | null; readonly api: number | null; readonly bus: number | null } {
  const read = (name: string): number | null => {
    const text = env[name];
    if (text === undefined || text === '') return null;
    const port = Number(text);
    if (!/^[0-9]+$/.test(text) || port > 65_535) throw told(`${name} is ${JSON.stringify(text)}, which is no port.`, 'Use a number from 0 to 65535; 0 takes any free port.');
    return port;
  };
  return { web: read('BKG_WEB_PORT'), api: read('BKG_API_PORT'), bus: read('BKG_PLUGIN_BUS_PORT') };
}

/** The credential of whoever can read the home: new at each start. */
function writeToken(home: string): string {
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  const path = join(home, 'admin.token');
  writeFileSync(path, `${token}\n`, { mode: 0o600 });
  // The mode above counts only for a new file.
  chmodSync(path, 0o600);
  return token;
}

/** SIGTERM, SIGINT and SIGHUP stop, SIGUSR2 leaves; one more of the first kind ends everything at once. */
function untilStopped(log: Logger, reconciler: Reconciler): Promise<'stop' | 'leave'> {
  return new Promise((resolve) => {
    let asked_ms: number | null = null;
    const stop = (signal: NodeJS.Signals): void => {
      if (asked_ms === null) {
        asked_ms = performance.now();
        log.info(`${signal} received`);
        resolve('stop');
        return;
      }
      if (performance.now() - asked_ms < SAME_SIGNAL_MS) return;
      log.warn(`${signal} again: every plugin is killed now`);
      for (const { pid } of reconciler.snapshot().plugins) if (pid !== null) killGroup(pid);
      process.exit(1);
    };
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, stop);
    process.on('SIGUSR2', () => {
      asked_ms ??= performance.now();
      resolve('leave');
    });
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}

/** How people call web and api. */
type PublicDoor = Parameters<typeof urlOf>[0];

const doorOf = ({ host, names, tls }: Desired['server']): PublicDoor =>
  ({ host: isLoopbackHost(host) ? host : names[0] ?? (isAnyHost(host) ? LOOPBACK : host), secure: tls !== null });

type Saying = { readonly door: PublicDoor; readonly ports: Snapshot['ports']; readonly terminal: boolean; readonly json: boolean; readonly log: Logger; readonly before: () => void };

/** The port table: service, port, health. */
function sayPorts(snapshot: Snapshot, saying: Saying): void {
  // The bus and the plugins are for this machine, and speak plain HTTP.
  const near = { host: LOOPBACK, secure: false };
  const doors = SERVICES.map((service) => ({ service, port: saying.ports[service], health: 'listening', at: service === 'bus' ? { ...near, host: busHost(saying.door.host) } : saying.door }));
  const plugins = snapshot.plugins.filter((plugin) => plugin.state !== 'stopped').map((plugin) => ({ service: plugin.id, port: plugin.port, health: plugin.status, at: near }));
  const rows = [...doors, ...plugins];
  if (!saying.terminal) {
    saying.log.info({ ports: rows.map(({ at: _at, ...row }) => row) }, rows.map((row) => `${row.service} ${row.port ?? '-'} ${row.health}`).join(', '));
    return;
  }
  saying.before();
  write(`\n${table(['service', 'port', 'health', 'address'], rows.map((row) => [row.service, row.port === null ? '-' : String(row.port), status(row.health), row.port === null ? '' : urlOf(row.at, row.port)]))}\n`);
}

/** While no admin can sign in: where the first password is set. The link is for whoever can read this, and good once. */
async function sayFirstStart(setup: Setup, o: { readonly door: PublicDoor; readonly port: number | null; readonly terminal: boolean; readonly log: Logger; readonly before: () => void }): Promise<void> {
  const code = await setup.code();
  if (code === null || o.port === null) return;
  const text = `No admin can sign in yet. Set the password of ${setup.user().name} here, once: ${urlOf(o.door, o.port)}/setup?code=${code}`;
  if (!o.terminal) return o.log.info(text);
  o.before();
  write(`${text}\n\n`);
}

/** Once more when every plugin has reached its state: then the table holds their ports. */
function sayWhenSettled(reconciler: Reconciler, say: () => void): void {
  const forget = reconciler.subscribe((event) => {
    if (event.type !== 'snapshot' || !event.snapshot.plan.converged) return;
    const wanted = event.snapshot.plugins.filter((plugin) => plugin.state === 'running');
    if (wanted.some((plugin) => plugin.status !== 'running')) return;
    forget();
    if (wanted.length > 0) say();
  });
}

/** Only what provably is the bkg of this home gets the signal, and only once it listens: before, it would die of it. */
async function askToLeave(home: string): Promise<void> {
  const running = runningOn(home);
  if (running === null) {
    note(`No bkg runs on ${home}: there is nothing to take over, this one starts as \`bkg up\` does.\n`);
    return;
  }
  const { holder } = running;
  const until_ms = performance.now() + TAKEOVER_WITHIN_MS;
  let asked = false;
  while (isAlive(holder)) {
    if (!asked && runningOn(home)?.ports?.pid === holder.pid) {
      asked = true;
      signalBkg(holder.pid);
    }
    if (performance.now() > until_ms) throw told(`The bkg that runs here (process ${holder.pid}) has not left within ${TAKEOVER_WITHIN_MS / 1000} s.`, `Look at its log; end it with \`kill ${holder.pid}\`.`);
    await new Promise((resolve) => setTimeout(resolve, TAKEOVER_LOOK_MS));
  }
}

function signalBkg(pid: number): void {
  try {
    process.kill(pid, 'SIGUSR2');
  } catch (error) {
    if (codeOf(error) === 'EPERM') throw told(`The bkg that runs here (process ${pid}) belongs to another user.`, 'Run this command as that user.');
    // It has just ended by itself: that is what was wanted.
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}
