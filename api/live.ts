// The live socket: clients name topics, get the state as it is, then what changes.
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';
import type { LogRecord, Reconciler, ReconcilerEvent, Snapshot } from '../reconciler/index.ts';
import { validateWire } from '../schema/validate.ts';
import type { ClientFrame, ServerFrame, Topic } from '../schema/wire.gen.ts';
import type { Access, Identity } from './access.ts';
import { may, reaches, type Somebody } from './auth/somebody.ts';
import { errorFrame, eventFrame, goneFrame, goneModelFrame, logFrame, modelFrame, planFrame, statusFrame, telemetryFrame } from './frames.ts';
import { type Outlet, openOutlet } from './outlet.ts';
import { endSocket, type Connect } from './sockets.ts';

const TELEMETRY_EVERY_MS = 1_000;
/** Lines a new listener to one plugin gets at once. */
const BACKFILL_LINES = 100;
const BACKFILL_EVENTS = 50;
/** Lines that may come while older ones are read from disk; a flood beyond it is left out, and said to be. */
const HELD_MAX = 2_000;
/** Topics times the plugins a person can watch at once. */
const SUBSCRIPTIONS_MAX = 256;
/** The peer is nobody any more, or may no longer look. */
const POLICY_VIOLATION = 1008;

type Somebodys = Extract<Identity, { readonly kind: 'somebody' }>;

export type LiveOptions = {
  /** Null: the client chooses. Else the socket is about this plugin only. */
  readonly plugin: string | null;
  readonly who: Somebodys;
  /** Subscribed from the start. */
  readonly topics: readonly Topic[];
};

export type Live = { readonly connect: (o: LiveOptions) => Connect; readonly close: () => void };

type Client = {
  readonly socket: WebSocket;
  readonly outlet: Outlet;
  readonly identity: Somebodys;
  readonly only: string | null;
  /** `topic` for all plugins, `topic id` for one. */
  readonly wants: Set<string>;
  /** Lines that come while older ones are read; null when none are. By plugin. */
  readonly holding: Map<string, LogRecord[]>;
};

/** What a client hears of; null: all plugins. */
type Subject = { readonly topic: Topic; readonly id: string | null };

/** The plan is one, whatever plugin is named. */
const keyOf = (topic: Topic, id: string | null): string => (id === null || topic === 'plan' ? topic : `${topic} ${id}`);
const subjectOf = (key: string): Subject => {
  const [topic, id = null] = key.split(' ');
  return { topic: topic as Topic, id };
};
const hears = (client: Client, topic: Topic, ids: readonly string[]): boolean => client.wants.has(topic) || ids.some((id) => client.wants.has(keyOf(topic, id)));
const place = (record: LogRecord): string => `${record.incarnation} ${record.stream} ${record.offset}`;

/** `plugin/llmserver#0` is about llmserver. */
const pluginOfUnit = (unit: string): string => /^plugin\/([^#]+)/.exec(unit)?.[1] ?? unit;

export function openLive(reconciler: Reconciler, { log, access }: { readonly log: Logger; readonly access: Pick<Access, 'again'> }): Live {
  const clients = new Set<Client>();
  const changes = changeReader();
  const timer = setInterval(() => guarded(beat), TELEMETRY_EVERY_MS);
  timer.unref();
  // A listener that throws would end the reconciler's tick.
  const guarded = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      log.error({ err: error }, 'the live socket failed by a mistake of bkg');
    }
  };
  const stop = reconciler.subscribe((event) => guarded(() => publish(event)));

  /** Who looks, as of now; null when they may no longer. */
  function lookerOf(identity: Somebodys): Somebody | null {
    const now = access.again(identity);
    return now.kind === 'somebody' && may(now.who, 'config.read') ? now.who : null;
  }

  function judge(client: Client): void {
    const who = lookerOf(client.identity);
    if (who === null) endSocket(client.socket, POLICY_VIOLATION, 'not admitted any more');
    else for (const key of client.wants) if (barred(who, subjectOf(key)) !== null) client.wants.delete(key);
  }

  function beat(): void {
    if (clients.size === 0) return;
    for (const client of clients) guarded(() => judge(client));
    for (const plugin of reconciler.snapshot().plugins) tell('telemetry', [plugin.id], () => telemetryFrame(plugin));
    for (const client of clients) client.outlet.tend();
  }

  /** The text is made once, and only when somebody hears. */
  function tell(topic: Topic, ids: readonly string[], frame: () => ServerFrame): void {
    let text: string | null = null;
    for (const client of clients) if (hears(client, topic, ids)) client.outlet.send((text ??= JSON.stringify(frame())));
  }

  function publish(event: ReconcilerEvent): void {
    if (clients.size === 0) return;
    if (event.type === 'snapshot') changes.next(event.snapshot, tell);
    else if (event.type === 'event') tell('events', [pluginOfUnit(event.event.unit)], () => eventFrame(event.event));
    else tellLog(event.record);
  }

  function tellLog(record: LogRecord): void {
    let text: string | null = null;
    for (const client of clients) {
      if (!hears(client, 'logs', [record.plugin])) continue;
      const held = client.holding.get(record.plugin);
      if (held !== undefined && held.length < HELD_MAX) held.push(record);
      else if (held !== undefined) client.outlet.drop(record.plugin);
      else client.outlet.log(record.plugin, (text ??= JSON.stringify(logFrame(record))));
    }
  }

  return {
    connect: (o) => (socket) => {
      const client: Client = { socket, outlet: openOutlet(socket), identity: o.who, only: o.plugin, wants: new Set(), holding: new Map() };
      if (clients.size === 0) changes.next(reconciler.snapshot(), () => undefined);
      clients.add(client);
      const heard = o.topics.filter((topic) => barred(o.who.who, { topic, id: o.plugin }) === null);
      for (const topic of heard) void subscribe(reconciler, client, { topic, id: o.plugin }).catch((error: unknown) => log.error({ err: error }, 'a live subscription failed'));
      return {
        message: (text) => obey(reconciler, { client, who: lookerOf(client.identity) }, text),
        closed: () => { clients.delete(client); },
      };
    },
    close() {
      clearInterval(timer);
      stop();
    },
  };
}

/** Why somebody may not hear of it; null when they may. */
function barred(who: Somebody, { topic, id }: Subject): readonly [code: string, message: string] | null {
  if (topic === 'models' && !may(who, 'models.read')) return ['ScopeMissing', `The topic models needs the scope models.read, which ${who.name} does not have.`];
  // The plan is one for all, as GET /api/plan tells it.
  if (topic === 'plan' || who.plugins === null || (id !== null && reaches(who, id))) return null;
  return ['PluginNotAssigned', `${who.name} may watch ${who.plugins.length === 0 ? 'no plugin' : `only ${who.plugins.join(', ')}`}: name one as pluginId.`];
}

async function obey(reconciler: Reconciler, { client, who }: { readonly client: Client; readonly who: Somebody | null }, text: string): Promise<void> {
  const refuse = (code: string, message: string): void => client.outlet.send(errorFrame(code, message));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refuse('MalformedJson', 'A frame must be JSON text: {"action": "SUB", "topic": "status"}.');
  }
  const problems = validateWire('clientFrame', value);
  if (problems.length > 0) return refuse('BadFrame', problems.map((problem) => [problem.message, problem.hint].filter((part) => part !== null).join(' ')).join(' '));
  const frame = value as ClientFrame;
  if (client.only !== null && frame.pluginId !== undefined && frame.pluginId !== client.only) return refuse('OtherPlugin', `This connection is about ${client.only} only; open /ws/plugins for others.`);
  const id = frame.pluginId ?? client.only;
  if (frame.action === 'UNSUB') {
    client.wants.delete(keyOf(frame.topic, id));
    return;
  }
  if (id !== null && !reconciler.snapshot().plugins.some((plugin) => plugin.id === id)) return refuse('PluginUnknown', `There is no plugin ${id} in bkg.yaml.`);
  if (who === null) return endSocket(client.socket, POLICY_VIOLATION, 'not admitted any more');
  const bar = barred(who, { topic: frame.topic, id });
  if (bar !== null) return refuse(...bar);
  if (client.wants.size >= SUBSCRIPTIONS_MAX) return refuse('TooManySubscriptions', `One connection takes ${SUBSCRIPTIONS_MAX} subscriptions; leave pluginId out to hear of all plugins.`);
  await subscribe(reconciler, client, { topic: frame.topic, id });
}

/** The state as it is first, then what changes. */
async function subscribe(reconciler: Reconciler, client: Client, { topic, id }: Subject): Promise<void> {
  client.wants.add(keyOf(topic, id));
  const { outlet } = client;
  const { plugins, models, plan } = reconciler.snapshot();
  const named = id === null ? plugins : plugins.filter((plugin) => plugin.id === id);
  switch (topic) {
    case 'status': for (const plugin of named) outlet.send(statusFrame(plugin)); return;
    case 'telemetry': for (const plugin of named) outlet.send(telemetryFrame(plugin)); return;
    case 'models': for (const model of models) if (id === null || model.usedBy.includes(id)) outlet.send(modelFrame(model)); return;
    case 'plan': outlet.send(planFrame(plan)); return;
    case 'events':
      for (const event of reconciler.events({ limit: BACKFILL_EVENTS, after: 0 })) if (id === null || pluginOfUnit(event.unit) === id) outlet.send(eventFrame(event));
      return;
    case 'logs': if (id !== null) await backfill(reconciler, client, id);
  }
}

/** Older lines, then those that came meanwhile, none twice and none left out. */
async function backfill(reconciler: Reconciler, client: Client, id: string): Promise<void> {
  if (client.holding.has(id)) return;
  const held: LogRecord[] = [];
  client.holding.set(id, held);
  try {
    const older = await reconciler.logs({ plugin: id, limit: BACKFILL_LINES, after: null });
    const sent = new Set(older.map(place));
    for (const record of [...older, ...held.filter((line) => line.offset < 0 || !sent.has(place(line)))]) client.outlet.log(id, JSON.stringify(logFrame(record)));
  } finally {
    client.holding.delete(id);
  }
}

type Tell = (topic: Topic, ids: readonly string[], frame: () => ServerFrame) => void;

/** Finds what of a snapshot is news. Uptime and figures alone are none: telemetry carries them. */
function changeReader() {
  let statuses = new Map<string, string>();
  let models = new Map<string, string>();
  let plan = '';
  return {
    next(snapshot: Snapshot, tell: Tell): void {
      const statusNow = new Map<string, string>();
      for (const plugin of snapshot.plugins) {
        const frame = statusFrame(plugin);
        const key = JSON.stringify({ ...frame, uptime: 0 });
        statusNow.set(plugin.id, key);
        if (statuses.get(plugin.id) !== key) tell('status', [plugin.id], () => frame);
      }
      for (const id of statuses.keys()) if (!statusNow.has(id)) tell('status', [id], () => goneFrame(id));
      const modelsNow = new Map<string, string>();
      for (const model of snapshot.models) {
        const frame = modelFrame(model);
        const key = JSON.stringify(frame);
        modelsNow.set(model.id, key);
        if (models.get(model.id) !== key) tell('models', model.usedBy, () => frame);
      }
      for (const id of models.keys()) if (!modelsNow.has(id)) tell('models', [], () => goneModelFrame(id));
      const planNow = JSON.stringify(snapshot.plan);
      if (planNow !== plan) tell('plan', [], () => planFrame(snapshot.plan));
      statuses = statusNow;
      models = modelsNow;
      plan = planNow;
    },
  };
}
