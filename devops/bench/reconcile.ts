// Bench of the reconciler: a real bkg, an edit on disk, and the time until the changed process is there and ready.
// Of the declared units one runs and the others are declared stopped: what is measured is bkg, not a thousand processes.
import { appliance, bundled, INSTALLS, reaches, settles, sleep, until, type Appliance } from '../e2e/appliance.ts';
import { below, cpu_s, quantile, rss_bytes, type Row } from './measure.ts';

const SIZES = [1, 10, 100, 1_000] as const;
/** Bounds of edit → spawned; none where none is promised. */
const SPAWNED_BOUND_MS: Readonly<Record<number, number>> = { 10: 250, 1_000: 500 };
const EDITS = 7;
const KILLS = 3;
const RESPAWN_BOUND_MS = 100;
const IDLE_MS = 10_000;
/** After the last change: garbage is collected, caches are written. */
const CALM_MS = 3_000;
/** bkg gives back what its start took once nothing was asked for a while. */
const REST_MS = 25_000;
const HEALTH_ASKS = 500;
const HEALTH_BOUND_MS = 50;
const RSS_BOUND_MB = 120;

type HouseEvent = { readonly seq: number; readonly at: string; readonly reason: string; readonly unit: string };

function yamlOf(units: number, greeting: string): string {
  const quiet = Array.from({ length: units - 1 }, (_, index) => `  quiet-${index}: { use: ./plugins/echo, state: stopped, config: { greeting: g${index} } }\n`).join('');
  return `version: 1\nplugins:\n  one: { use: ./plugins/echo, config: { greeting: ${greeting} } }\n${quiet}`;
}

async function eventsAfter(house: Appliance, seq: number): Promise<readonly HouseEvent[]> {
  return ((await house.ask(`/api/events?limit=1000&after=${seq}`)).body as { readonly events: readonly HouseEvent[] }).events;
}

/** One edit: milliseconds until the new process was spawned and until it was ready, by the house's own events. */
async function edit(house: Appliance, yaml: string): Promise<{ readonly spawned_ms: number; readonly ready_ms: number }> {
  const last = (await eventsAfter(house, 0)).at(-1)?.seq ?? 0;
  const saved = Date.now();
  house.save(yaml);
  const find = (events: readonly HouseEvent[], reason: string): number | null => {
    const found = events.find((event) => event.reason === reason && event.unit.startsWith('plugin/one'));
    return found === undefined ? null : Date.parse(found.at) - saved;
  };
  return until('the edited plugin is ready', async () => {
    const events = await eventsAfter(house, last);
    const spawned_ms = find(events, 'PluginStarted');
    const ready_ms = find(events, 'PluginReady');
    return spawned_ms === null || ready_ms === null ? null : { spawned_ms, ready_ms };
  });
}

async function health(house: Appliance, name: string): Promise<Row> {
  const times: number[] = [];
  for (let asked = 0; asked < HEALTH_ASKS; asked += 1) {
    const began = performance.now();
    const answer = await fetch(`${house.url}/health`);
    await answer.arrayBuffer();
    times.push(performance.now() - began);
    await sleep(2);
  }
  return below(`${name}: p99 of /health`, { value: quantile(times, 0.99), unit: 'ms', bound: HEALTH_BOUND_MS });
}

async function atSize(units: number): Promise<readonly Row[]> {
  const house = await appliance({ yaml: yamlOf(units, 'g0'), env: { BKG_LOG_LEVEL: 'warn' } });
  const count = `${units.toLocaleString('en')} unit${units === 1 ? '' : 's'}`;
  try {
    await reaches(house, 'one', 'running');
    const edits: { readonly spawned_ms: number; readonly ready_ms: number }[] = [];
    for (let round = 1; round <= EDITS; round += 1) edits.push(await edit(house, yamlOf(units, `g${round}`)));
    const spawned_ms = quantile(edits.map((one) => one.spawned_ms), 0.5);
    const ready_ms = quantile(edits.map((one) => one.ready_ms), 0.5);
    const bound = SPAWNED_BOUND_MS[units];
    const rows: Row[] = [
      bound === undefined ? { name: `${count}: edit on disk → spawned`, value: spawned_ms, unit: 'ms' } : below(`${count}: edit on disk → spawned`, { value: spawned_ms, unit: 'ms', bound }),
      { name: `${count}: edit on disk → ready`, value: ready_ms, unit: 'ms' },
    ];
    if (units === SIZES.at(-1)) {
      await settles(house);
      await sleep(CALM_MS);
      const pid = house.child.pid ?? 0;
      const before = cpu_s(pid);
      await sleep(IDLE_MS);
      rows.push({ name: `${count}: CPU with nothing to do`, value: ((cpu_s(pid) - before) / (IDLE_MS / 1000)) * 100, unit: '% of a core' }, await health(house, count));
    }
    return rows;
  } finally {
    await house.dispose();
  }
}

/** `kill -9` of a plugin, each time on a fresh bkg so that no back-off counts: from its end being seen to the next process. */
async function killed(): Promise<readonly Row[]> {
  const spawned: number[] = [];
  for (let round = 0; round < KILLS; round += 1) {
    const house = await appliance({ yaml: yamlOf(10, 'g0'), env: { BKG_LOG_LEVEL: 'warn' } });
    try {
      const { pid } = await reaches(house, 'one', 'running');
      const last = (await eventsAfter(house, 0)).at(-1)?.seq ?? 0;
      process.kill(pid ?? 0, 'SIGKILL');
      const at = (events: readonly HouseEvent[], reason: string): number | null => {
        const found = events.find((event) => event.reason === reason && event.unit.startsWith('plugin/one'));
        return found === undefined ? null : Date.parse(found.at);
      };
      spawned.push(await until('the next process is there', async () => {
        const events = await eventsAfter(house, last);
        const [seen, started] = [at(events, 'PluginFailed'), at(events, 'PluginStarted')];
        return seen === null || started === null ? null : { took_ms: started - seen };
      }).then(({ took_ms }) => took_ms));
    } finally {
      await house.dispose();
    }
  }
  return [below('kill -9 of a plugin: exit seen → spawned', { value: Math.max(...spawned), unit: 'ms', bound: RESPAWN_BOUND_MS })];
}

async function flooded(): Promise<Row> {
  const house = await appliance({ yaml: 'version: 1\nplugins:\n  flood: { use: ./plugins/trouble, config: { mode: floods } }\n', env: { BKG_LOG_LEVEL: 'warn' } });
  try {
    await reaches(house, 'flood', 'running');
    await sleep(CALM_MS);
    return await health(house, 'a plugin floods stdout at 50 MB/s');
  } finally {
    await house.dispose();
  }
}

/** Idle memory of the host with the file that comes along. */
async function idle(): Promise<readonly Row[]> {
  const house = await appliance({ yaml: bundled(), env: { ...INSTALLS, BKG_LOG_LEVEL: 'warn' } });
  try {
    await reaches(house, 'llmserver', 'running');
    await sleep(REST_MS);
    return [below('default file: idle memory of the host', { value: rss_bytes(house.child.pid ?? 0) / 1e6, unit: 'MB', bound: RSS_BOUND_MB })];
  } finally {
    await house.dispose();
  }
}

export async function run(): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const units of SIZES) rows.push(...(await atSize(units)));
  rows.push(...(await killed()), await flooded(), ...(await idle()));
  const spawnedAt = (units: number): number => rows.find((row) => row.name === `${units.toLocaleString('en')} unit${units === 1 ? '' : 's'}: edit on disk → spawned`)?.value ?? Number.NaN;
  rows.push({ name: 'edit → spawned, 1,000 units against 1', value: spawnedAt(1_000) / spawnedAt(1), unit: '×' });
  return rows;
}
