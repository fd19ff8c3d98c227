// Reads the manifests that bkg.yaml uses: a bundled folder, a folder beside the file, or one written inline.
import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { usesOf } from '../core/resolve.ts';
import type { Json, Manifest, Package, Problem } from '../core/types.ts';
import { validateManifest } from '../../schema/validate.ts';
import { parseText } from './declare.ts';
import { contentHash } from './install.ts';
import { sha256 } from './secrets.ts';

/** A manifest is a page or two; parsing many times more would hold up everything else. */
const MANIFEST_BYTES_MAX = 1024 * 1024;

export type PackagePlace = { readonly configFolder: string; readonly installation: string };

/** Plugin id → its package, or the problem that keeps it from being one. Folders used twice are read once. */
export async function readPackages(declared: Json, place: PackagePlace & { readonly env: Readonly<Record<string, string | undefined>> }): Promise<Readonly<Record<string, Package | Problem>>> {
  const folders = new Map<string, Promise<Package | Problem>>();
  const found: Record<string, Package | Problem> = {};
  for (const [id, use] of Object.entries(usesOf(declared, place.env))) {
    if (use.manifest !== null) {
      found[id] = { folder: null, contentHash: sha256(JSON.stringify(use.manifest)), manifest: use.manifest as unknown as Manifest };
      continue;
    }
    const name = use.use ?? id;
    const folder = folderOf(name, place);
    const known = folders.get(folder) ?? readPackage(folder, name);
    folders.set(folder, known);
    const read = await known;
    found[id] = 'manifest' in read ? read : { ...read, pointer: `/plugins/${id}${use.use === null ? '' : '/use'}` };
  }
  return found;
}

const folderOf = (use: string, place: PackagePlace): string =>
  use.startsWith('.') || use.startsWith('/') ? resolve(place.configFolder, use) : join(place.installation, 'plugins', use);

/** What the disk refuses is the owner's to mend: a Problem of this plugin alone. */
async function readPackage(folder: string, use: string): Promise<Package | Problem> {
  try {
    return await readFolder(folder, use);
  } catch (error) {
    const { code, path, message } = error as NodeJS.ErrnoException;
    if (code === undefined && path === undefined) throw error;
    return unreadable(path ?? folder, message, HINTS[code ?? ''] ?? "Mend what the message names, or remove it from the plugin's folder.");
  }
}

const HINTS: Readonly<Record<string, string>> = {
  EACCES: "Let bkg's user read it (chmod, chown), or remove it from the plugin's folder.",
  EPERM: "Let bkg's user read it (chmod, chown), or remove it from the plugin's folder.",
  ELOOP: 'A link leads to itself: let it lead to a file, or remove it.',
  EMFILE: 'bkg has too many files open: raise its limit (ulimit -n).',
};

const unreadable = (path: string, why: string, hint: string): Problem => problem('PluginUnreadable', why.includes(path) ? `The plugin cannot be read: ${why}.` : `The plugin cannot be read: ${path}: ${why}.`, hint);

async function readFolder(folder: string, use: string): Promise<Package | Problem> {
  const path = join(folder, 'plugin.yaml');
  const facts = await stat(path).catch((error: NodeJS.ErrnoException) => { if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null; throw error; });
  if (facts === null) {
    const hint = use.startsWith('.') ? `Put a plugin.yaml into ${folder}, or correct the path; it is relative to bkg.yaml.` : `Write \`use: <name of a bundled plugin>\`, \`use: ./folder\`, or an inline \`manifest:\`.`;
    return problem('PluginNotFound', `There is no plugin "${use}": ${path} does not exist.`, hint);
  }
  if (!facts.isFile()) return unreadable(path, facts.isDirectory() ? 'it is a folder' : 'it is not a file', 'Write the manifest into a file of this name.');
  if (facts.size > MANIFEST_BYTES_MAX) return unreadable(path, `it has ${facts.size} bytes, at most ${MANIFEST_BYTES_MAX} are read`, 'A manifest is a page or two; keep data in other files.');
  const parsed = parseText(await readFile(path, 'utf8'));
  const faults = [...parsed.problems, ...(parsed.value === null ? [] : validateManifest(parsed.value))].filter((fault) => fault.severity === 'error');
  const first = faults[0];
  if (first !== undefined || parsed.value === null) {
    const where = first === undefined ? null : parsed.locate(first.pointer);
    return problem('ManifestInvalid', `${path}${where === null ? '' : `:${where.line}:${where.column}`}: ${first?.message ?? 'it is empty'}`, first?.hint ?? null);
  }
  return { folder, contentHash: await contentHash(folder), manifest: parsed.value as unknown as Manifest };
}

const problem = (code: string, message: string, hint: string | null): Problem =>
  ({ code, pointer: '', line: null, column: null, message, hint, severity: 'error' });
