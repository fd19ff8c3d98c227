// The composed schema of what is in force, made once per desired state.
import type { Desired } from '../reconciler/index.ts';
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
