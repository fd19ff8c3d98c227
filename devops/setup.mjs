// Installs what the checkout needs before any npm script; plain JavaScript, because it runs on whatever node the machine has.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Oldest major version of node that runs the TypeScript of this project as it stands. */
const NODE_MAJOR = 24;
/** Another run may be installing the same folder; a first install on a slow line takes minutes. */
const LOCK_WAIT_MS = 600_000;
const LOCK_LOOK_MS = 200;

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** @param {string} path */
const read = (path) => (existsSync(path) ? readFileSync(path, 'utf8') : '');

/** What an install depends on; the same text means nothing is to be done. @param {string} folder */
function wanted(folder) {
  const hash = createHash('sha256');
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) hash.update(`${name}\0${read(join(folder, name))}\0`);
  return hash.update(`${process.platform} ${process.arch}`).digest('hex');
}

/** @param {string} folder */
const stampOf = (folder) => join(folder, 'node_modules', '.bkg-setup');

/** @param {string} folder */
const isFresh = (folder) => read(stampOf(folder)) === wanted(folder);

/** One line for people, then an exit without a stack. @param {string} message @returns {never} */
function giveUp(message) {
  process.stderr.write(`setup: ${message}\n`);
  process.exit(1);
}

/** True while the process that wrote the lock lives. @param {string} lock */
function isHeld(lock) {
  const pid = Number(read(lock));
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** The lock with our number in it, whole from the first moment; false when somebody has it. @param {string} lock */
function take(lock) {
  const own = `${lock}.${process.pid}`;
  writeFileSync(own, String(process.pid));
  try {
    linkSync(own, lock);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(own, { force: true });
  }
}

/** Away with the lock of a dead process; one that was taken meanwhile is put back. @param {string} lock */
function clear(lock) {
  const aside = `${lock}.stale-${process.pid}`;
  try {
    renameSync(lock, aside);
    if (isHeld(aside)) renameSync(aside, lock);
  } catch {
    // Another one was quicker.
  }
  rmSync(aside, { force: true });
}

/** Two installs in one folder damage each other: the second waits for the first. @param {string} folder @param {() => void} work */
function alone(folder, work) {
  const lock = join(folder, 'node_modules', '.bkg-setup.lock');
  mkdirSync(dirname(lock), { recursive: true });
  const until = Date.now() + LOCK_WAIT_MS;
  while (!take(lock)) {
    if (!isHeld(lock)) clear(lock);
    else if (Date.now() > until) giveUp(`${relative(root, lock)} has been held for ten minutes; end the other install, or remove that file.`);
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCK_LOOK_MS);
  }
  try {
    work();
  } finally {
    rmSync(lock, { force: true });
  }
}

/** Against the committed lock, which stays as it is. Install scripts are not run: every native part ships prebuilt. @param {string} folder */
function install(folder) {
  const where = relative(root, folder) || 'bkg';
  const began = Date.now();
  process.stderr.write(`setup: installing what ${where} needs …\n`);
  const argv = ['install', '--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];
  const npm = process.env['npm_execpath'];
  const [command, ...first] = npm?.endsWith('.js') ? [process.execPath, npm] : ['npm'];
  const env = { ...process.env };
  // npm hands its own settings down; --json, --silent or a prefix of the caller must not steer this install.
  for (const name of Object.keys(env)) if (/^npm_config_(prefix|local_prefix|json|global|workspace)/i.test(name)) delete env[name];
  const done = spawnSync(command ?? 'npm', [...first, ...argv], { cwd: folder, env, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
  if (done.error) giveUp(`npm could not be started (${done.error.message}). Install Node.js with npm, version 20 or newer.`);
  if (done.status !== 0) giveUp(`npm install in ${where} failed (exit ${done.status ?? done.signal}):\n${done.stderr.trim()}\nIs the network there? Run the same command again to retry.`);
  writeFileSync(stampOf(folder), wanted(folder));
  process.stderr.write(`setup: ${where} is ready (${((Date.now() - began) / 1000).toFixed(1)} s)\n`);
}

/** @param {string} folder */
function ensure(folder) {
  if (isFresh(folder)) return;
  alone(folder, () => {
    if (!isFresh(folder)) install(folder);
  });
}

/** Plugin folders with packages of their own, for the type check and their tests. @returns {string[]} */
function pluginFolders() {
  const plugins = join(root, 'plugins');
  if (!existsSync(plugins)) return [];
  return readdirSync(plugins).map((name) => join(plugins, name)).filter((folder) => existsSync(join(folder, 'package.json')));
}

ensure(root);
if (process.argv.includes('--test')) for (const folder of pluginFolders()) ensure(folder);
if (!existsSync(join(root, 'node_modules', '.bin', 'node')) && Number(process.versions.node.split('.')[0]) < NODE_MAJOR) {
  giveUp(`no node ${NODE_MAJOR} for ${process.platform}-${process.arch} is on npm and this machine has ${process.version}. Install Node.js ${NODE_MAJOR} or newer.`);
}
