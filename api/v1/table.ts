// Which plugin answers for which model: look-ups made once per snapshot, plain maps on the hot path.
import type { Capability, Route, Snapshot } from '../../reconciler/index.ts';

export type Choice = { readonly route: Route; readonly capability: Capability; /** What the engine calls the model; null when the plugin has none. */ readonly engineModel: string | null };
export type ModelEntry = { readonly id: string; readonly plugin: string; readonly state: Route['state']; readonly capabilities: readonly string[] };
export type Table = {
  /** `model` as sent: a declared model, a plugin, `plugin/model`; null = the first in file order. */
  find(capability: string, model: string | null): Choice | null;
  readonly models: readonly ModelEntry[];
};

/** Remembers the table of the last snapshot. */
export function tables(snapshot: () => Snapshot): () => Table {
  let of: Snapshot['routes'] | null = null;
  let table: Table | null = null;
  return () => {
    const { routes } = snapshot();
    if (table === null || of !== routes) {
      of = routes;
      table = tableOf(routes);
    }
    return table;
  };
}

function tableOf(routes: readonly Route[]): Table {
  const byCapability = new Map<string, { first: Choice | null; readonly named: Map<string, Choice> }>();
  const models = new Map<string, ModelEntry>();
  for (const route of routes) {
    for (const capability of route.capabilities) {
      if (!capability.id.startsWith('llm.')) continue;
      const entry = byCapability.get(capability.id) ?? { first: null, named: new Map<string, Choice>() };
      byCapability.set(capability.id, entry);
      addChoices(entry, route, capability);
    }
    for (const model of route.models) noteModel(models, route, model);
  }
  return {
    find: (capability, model) => (model === null ? byCapability.get(capability)?.first : byCapability.get(capability)?.named.get(model)) ?? null,
    models: [...models.values()],
  };
}

/** The first plugin in file order that can answer a name keeps it; a route that is down gives way to one that is not. */
function addChoices(entry: { first: Choice | null; readonly named: Map<string, Choice> }, route: Route, capability: Capability): void {
  const served = route.models.filter((model) => model.serves.includes(capability.id));
  const choices = served.map((model): Choice => ({ route, capability, engineModel: model.name }));
  const main = choices[0] ?? { route, capability, engineModel: null };
  const add = (name: string, choice: Choice): void => {
    const known = entry.named.get(name);
    if (known === undefined || (known.route.state === 'down' && route.state !== 'down')) entry.named.set(name, choice);
  };
  for (const choice of choices) {
    add(`${route.plugin}/${choice.engineModel}`, choice);
    add(choice.engineModel ?? '', choice);
  }
  add(route.plugin, main);
  // A plugin that has roles but no model for this capability can be named, but is nobody's default.
  if (entry.first === null && (choices.length > 0 || route.models.length === 0)) entry.first = main;
}

function noteModel(models: Map<string, ModelEntry>, route: Route, model: Route['models'][number]): void {
  const serves = model.serves.filter((id) => id.startsWith('llm.'));
  if (serves.length === 0 || models.has(model.name)) return;
  models.set(model.name, { id: model.name, plugin: route.plugin, state: route.state, capabilities: serves });
}
