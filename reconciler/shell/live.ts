// The record of one live incarnation in memory, and what the core may see of it.
import { describeExit } from '../core/settle.ts';
import type { DesiredPlugin, Exit, ObservedProcess, Phase, Serving } from '../core/types.ts';

export type Live = {
  readonly slot: string;
  readonly plugin: string;
  readonly incarnation: string;
  readonly specHash: string;
  /** What it was started with; null when that is not known any more. */
  readonly models: readonly Serving[] | null;
  readonly started: number;
  readonly adopted: boolean;
  /** Since when it is waited for. */
  awaited: number;
  configHash: string;
  /** 0 until it has been spawned. */
  pid: number;
  startTicks: number;
  port: number;
  phase: Phase;
  ready: number | null;
  probe: string | null;
  /** The declaration it was started with; null for an adopted one. */
  declared: DesiredPlugin | null;
  rss_bytes: number | null;
  cpuTicks: number | null;
  cpuAt: number;
  cpu: number | null;
  own: Readonly<Record<string, number>>;
  liveFailures: number;
  unreadyProbes: number;
  lastTelemetry: number;
  /** Set by a stop that was ordered: its exit is then no failure, or one with this name. */
  stop: { readonly failure: string | null } | null;
  exit: Exit | null;
  timer: NodeJS.Timeout | null;
};

export function newLive(seed: Pick<Live, 'slot' | 'plugin' | 'incarnation' | 'specHash' | 'models' | 'started' | 'adopted' | 'configHash'>): Live {
  return {
    ...seed, awaited: seed.started, pid: 0, startTicks: 0, port: 0, phase: 'starting', ready: null, probe: null, declared: null, rss_bytes: null, cpuTicks: null, cpuAt: 0, cpu: null, own: {},
    liveFailures: 0, unreadyProbes: 0, lastTelemetry: 0, stop: null, exit: null, timer: null,
  };
}

export const observed = (live: Live): ObservedProcess => ({
  slot: live.slot, plugin: live.plugin, incarnation: live.incarnation, pid: live.pid, port: live.port, phase: live.phase, models: live.models, specHash: live.specHash,
  configHash: live.configHash, started: live.started, awaited: live.awaited, ready: live.ready, probe: live.probe, adopted: live.adopted, limitsEnforcedBy: 'watch',
  rss_bytes: live.rss_bytes, liveFailures: live.liveFailures,
});

/** An end in words: what bkg ended it for, or what it did itself. */
export const describeEnd = (exit: Exit, failure: string | null): string => failure ?? describeExit(exit);
