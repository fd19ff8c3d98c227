// The composed schema of what is in force, made once per desired state; and what is secret in texts that are not.
import type { Desired, Manifests } from '../reconciler/index.ts';
import { composedSchema } from '../schema/compose.ts';
import type { Schema } from '../schema/walk.ts';

const made = new WeakMap<Desired, { plain?: Schema; editor?: Schema }>();

/** Base schema with every plugin's settings in it. `references` also allows `${env:…}`, for editors. */
export function composedOf(desired: Desired, references = false): Schema {
  const known = made.get(desired) ?? {};
  made.set(desired, known);
  const manifests = (): Parameters<typeof composedSchema>[0] => Object.fromEntries(desired.plugins.map((plugin) => [plugin.id, plugin.package.manifest]));
  if (references) return (known.editor ??= composedSchema(manifests(), { references: true }));
  return (known.plain ??= composedSchema(manifests()));
}

/** What is secret in texts of several days: each plugin says so of its settings; of one that is another one there, or gone, everything is. */
export function composedOfTexts(...texts: readonly Manifests[]): Schema {
  const merged = new Map<string, Manifests[string]>();
  for (const [id, manifest] of texts.flatMap((manifests) => Object.entries(manifests))) merged.set(id, merged.has(id) && JSON.stringify(merged.get(id)) !== JSON.stringify(manifest) ? null : manifest);
  return composedSchema(Object.fromEntries(merged), { guarded: true });
}
