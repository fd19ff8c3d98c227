// Which plugin answers for which model: look-ups made once per snapshot, plain maps on the hot path.
import type { Capability, Route, Snapshot } from '../../reconciler/index.ts';
import type { Upstream } from './forward.ts';

export type Choice = {
  readonly route: Route;
  readonly capability: Capability;
  /** What the engine calls the model; null when the plugin has none. */
  readonly engineModel: string | null;
  /** Null while nothing answers. */
  readonly upstream: Upstream | null;
};
export type ModelEntry = { readonly id: string; readonly plugin: string; readonly state: Route['state']; readonly capabilities: readonly string[] };
export type Table = {
  /** `model` as sent: a declared model, a plugin, `plugin/model`; null = the first in file order, of these plugins (null: of all). */
  find(capability: string, model: string | null, plugins: readonly string[] | null): Choice | null;
  /** One of each id, of the plugins that somebody reaches. */
  modelsFor(reaches: (plugin: string) => boolean): readonly ModelEntry[];
};

/** Names of incarnations that are routed to: their connections are kept. */
export const addressName = (route: Route): string => `${route.incarnation ?? ''} ${route.port ?? ''}`;

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

const isLlm = (id: string): boolean => id.startsWith('llm.');

type Names = { /** Of each plugin, in file order. */ readonly firsts: Choice[]; /** In file order, too. */ readonly named: Map<string, Choice[]> };

/** The first in file order; one that is down gives way to one that is not. */
const best = <Item>(all: readonly Item[], stateOf: (one: Item) => Route['state']): Item | null => all.find((one) => stateOf(one) !== 'down') ?? all[0] ?? null;

const within = (choices: readonly Choice[], plugins: readonly string[] | null): readonly Choice[] => (plugins === null ? choices : choices.filter(({ route }) => plugins.includes(route.plugin)));

function tableOf(routes: readonly Route[]): Table {
  const byCapability = new Map<string, Names>();
  const models = routes.flatMap(entriesOf);
  const offers = routes.flatMap((route) => route.capabilities.filter((capability) => isLlm(capability.id)).map((capability) => ({ route, capability, choices: choicesOf(route, capability) })));
  for (const { route, capability, choices } of offers) {
    const names = byCapability.get(capability.id) ?? { firsts: [], named: new Map<string, Choice[]>() };
    byCapability.set(capability.id, names);
    for (const choice of choices) {
      if (choice.engineModel === null) continue;
      add(names, `${route.plugin}/${choice.engineModel}`, choice);
      add(names, choice.engineModel, choice);
    }
    // A plugin that has roles but no model for this capability can be named, but is nobody's default.
    if (choices[0]!.engineModel !== null || route.models.length === 0) names.firsts.push(choices[0]!);
  }
  // Models first: one that bears the name of a plugin stays the one that /v1/models shows.
  const modelNames = new Set(routes.flatMap((route) => route.models.map((model) => model.name)));
  for (const { route, capability, choices } of offers) {
    const names = byCapability.get(capability.id)!;
    if (!modelNames.has(route.plugin) || !names.named.has(route.plugin)) add(names, route.plugin, choices[0]!);
  }
  return {
    find(capability, model, plugins) {
      const names = byCapability.get(capability);
      if (names === undefined) return null;
      if (model === null) return within(names.firsts, plugins)[0] ?? null;
      const named = names.named.get(model) ?? [];
      // Of what is out of reach the first is told, so that whoever asks hears why.
      return best(within(named, plugins), ({ route }) => route.state) ?? named[0] ?? null;
    },
    modelsFor(reaches) {
      const byId = new Map<string, ModelEntry[]>();
      for (const one of models) if (reaches(one.plugin)) byId.set(one.id, [...(byId.get(one.id) ?? []), one]);
      return [...byId.values()].map((same) => best(same, ({ state }) => state)!);
    },
  };
}

/** One per model that serves the capability, at least one: the plugin itself. */
function choicesOf(route: Route, capability: Capability): readonly Choice[] {
  const upstream: Upstream | null = route.state !== 'ready' || route.port === null ? null : {
    name: addressName(route), port: route.port, method: capability.method, path: capability.path, timeout_ms: route.timeout_ms,
    headers: ['authorization', `Bearer ${route.inbound ?? ''}`, 'content-type', 'application/json'],
  };
  const served = route.models.filter((model) => model.serves.includes(capability.id)).map((model): Choice =>
    (model.state === 'served' ? { route, capability, engineModel: model.name, upstream } : { route: routeWithout(route, model), capability, engineModel: model.name, upstream: null }));
  return served.length > 0 ? served : [{ route, capability, engineModel: null, upstream }];
}

/** As it is for those who ask for a model that its process does not have. */
const routeWithout = (route: Route, model: Route['models'][number]): Route => ({
  ...route, state: stateOf(route, model), incarnation: null, port: null, inbound: null,
  why: `It goes on without the model "${model.name}", which is not there yet; \`bkg status\` tells why.`,
});

/** A model whose process is the next one is worth waiting for, one that may still be downloaded is not. */
const stateOf = (route: Route, model: Route['models'][number]): Route['state'] => (model.state === 'served' ? route.state : model.state === 'coming' ? 'starting' : 'down');

function add(names: Names, name: string, choice: Choice): void {
  const known = names.named.get(name);
  if (known === undefined) names.named.set(name, [choice]);
  else known.push(choice);
}

/** Its declared models; a plugin that has none is asked for by its own name. */
function entriesOf(route: Route): readonly ModelEntry[] {
  const entry = (id: string, state: Route['state'], capabilities: readonly string[]): ModelEntry => ({ id, plugin: route.plugin, state, capabilities: capabilities.filter(isLlm) });
  const entries = route.models.length === 0 ? [entry(route.plugin, route.state, route.capabilities.map(({ id }) => id))] : route.models.map((model) => entry(model.name, stateOf(route, model), model.serves));
  return entries.filter((one) => one.capabilities.length > 0);
}
