// Which models a plugin is started with.
import type { DesiredPlugin, Serving } from './types.ts';

/** In the order of the manifest's roles; a role without a model serves nothing. */
export const servingOf = (plugin: DesiredPlugin): readonly Serving[] =>
  plugin.models.flatMap(({ model, role, serves }) => (model === null ? [] : [{ name: model, role, serves }]));
