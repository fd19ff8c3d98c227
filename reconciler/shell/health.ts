// Looks whether processes answer: soon after their start, then now and then; what they say of themselves comes along.
import type { DesiredPlugin } from '../core/types.ts';
import { begin } from './begin.ts';
import type { Live } from './live.ts';
import { figuresOf, probe, type ProbeAnswer } from './probe.ts';
import { monotonic_ms } from './process.ts';
import type { Store } from './store.ts';

/** Probing a starting process: soon at first, so that a quick one is seen at once, then slower. */
const START_PROBE_MIN_MS = 15;
const START_PROBE_MAX_MS = 500;
/** Probing a ready one. */
const READY_PROBE_MS = 5_000;
/** Own figures of a plugin are fetched this often. */
const TELEMETRY_MS = 5_000;
/** So many failed readiness probes in a row unroute; one lost answer does not. */
const UNREADY_AFTER = 2;
export type HealthOptions = {
  readonly store: Pick<Store, 'ready'>;
  readonly poke: () => void;
  readonly broken: (error: unknown) => void;
  readonly event: (reason: string, plugin: string, message: string) => void;
  readonly declaredOf: (plugin: string) => DesiredPlugin | null;
  readonly inbound: (incarnation: string) => string;
};

export function openHealth(options: HealthOptions) {
  const { store, poke, event } = options;

  function watch(live: Live, within_ms: number): void {
    if (live.timer !== null) clearTimeout(live.timer);
    live.timer = setTimeout(() => { begin(() => look(live, within_ms), (error) => { options.broken(error); watch(live, START_PROBE_MAX_MS); }); }, within_ms);
    live.timer.unref();
  }

  async function look(live: Live, waited_ms: number): Promise<void> {
    if (live.exit !== null || live.stop !== null) return;
    const declared = options.declaredOf(live.plugin) ?? live.declared;
    if (declared === null) return watch(live, START_PROBE_MAX_MS);
    const inbound = options.inbound(live.incarnation);
    const answer = await probe({ port: live.port, path: declared.ready.path, inbound });
    if (live.exit !== null || live.stop !== null) return;
    judge(live, answer);
    if (declared.live !== null && live.ready !== null) {
      const alive = await probe({ port: live.port, path: declared.live.path, inbound });
      if (alive.kind === 'refused') live.liveFailures += 1;
      else if (alive.kind === 'ok') live.liveFailures = 0;
    }
    if (live.phase === 'ready' && declared.telemetryPath !== null && monotonic_ms() - live.lastTelemetry >= TELEMETRY_MS) {
      live.lastTelemetry = monotonic_ms();
      const told = await probe({ port: live.port, path: declared.telemetryPath, inbound });
      if (told.kind === 'ok') live.own = figuresOf(told.body);
    }
    watch(live, live.phase === 'ready' ? READY_PROBE_MS : Math.min(START_PROBE_MAX_MS, Math.max(START_PROBE_MIN_MS, waited_ms * 1.5)));
  }

  function judge(live: Live, answer: ProbeAnswer): void {
    if (answer.kind === 'unknown') return;
    if (answer.kind === 'ok') {
      live.probe = null;
      live.unreadyProbes = 0;
      if (live.phase === 'ready') return;
      if (live.ready === null) {
        live.ready = monotonic_ms();
        store.ready(live.incarnation, live.ready);
        event('PluginReady', live.plugin, `it answers on port ${live.port}, ${Math.round(live.ready - live.started)} ms after its start`);
      }
      live.phase = 'ready';
      poke();
      return;
    }
    live.probe = answer.said;
    live.unreadyProbes += 1;
    if (live.phase === 'ready' && live.unreadyProbes >= UNREADY_AFTER) {
      live.phase = 'unready';
      event('PluginUnhealthy', live.plugin, answer.said);
      poke();
    }
  }

  return {
    /** Looks at it from now on, until it has ended or is to stop. */
    follow: (live: Live): void => watch(live, START_PROBE_MIN_MS),
  };
}
