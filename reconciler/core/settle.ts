// Turns what happened (exits, readiness, time) into what is remembered: failures, back-off, stalls, the age of conditions.
import type { Condition, DesiredPlugin, Exit, History, Monotonic_ms } from './types.ts';

/** Failures older than this are forgotten; ready for this long counts as settled. */
export const FAILURE_WINDOW_MS = 10 * 60_000;
/** So many failures inside the window are a crash loop. */
export const CRASH_LOOP_FAILURES = 5;
/** Half-width of the random spread of a back-off, so that many plugins do not restart in step. */
export const JITTER = 0.25;

/** Exit codes that a retry cannot mend: EX_CONFIG, not executable, not found. */
const STALLING_CODES: Readonly<Record<number, string>> = {
  78: 'it reported a configuration error (exit 78)',
  126: 'its command cannot be executed (exit 126)',
  127: 'its command was not found (exit 127)',
};

export const emptyHistory = (slot: string): History =>
  ({ slot, failures: [], consecutive: 0, notBefore: null, stalled: null, lastExit: null, lastStart: null, lastFailure: null, restarts: 0 });

export type ExitFacts = {
  readonly exit: Exit;
  readonly started: Monotonic_ms;
  /** bkg wanted it gone and it had not failed. */
  readonly expected: boolean;
  /** What bkg ended it for; null: it ended by itself. */
  readonly failure: string | null;
  /** How long it had been ready; null when it never was. */
  readonly readyFor_ms: number | null;
  readonly specHash: string;
  readonly restart: DesiredPlugin['restart'];
  /** From [0, 1): the jitter. */
  readonly random: number;
};

/** The history after a process has gone. */
export function afterExit(history: History, facts: ExitFacts): History {
  const { exit } = facts;
  if (facts.expected) return { ...history, lastExit: exit, lastStart: facts.started, notBefore: null, stalled: null };
  const settled = facts.readyFor_ms !== null && facts.readyFor_ms >= FAILURE_WINDOW_MS;
  const other = history.lastFailure !== null && history.lastFailure.specHash !== facts.specHash;
  const consecutive = (settled || other ? 0 : history.consecutive) + 1;
  const failures = [...(other ? [] : recentFailures(history, exit.at)), exit.at];
  const stall = stallReason(exit);
  const cap = failures.length >= CRASH_LOOP_FAILURES;
  return {
    ...history,
    failures,
    consecutive,
    lastExit: exit,
    lastStart: facts.started,
    lastFailure: { specHash: facts.specHash, why: facts.failure ?? describeExit(exit) },
    restarts: history.restarts + 1,
    stalled: stall === null ? null : { specHash: facts.specHash, reason: stall },
    notBefore: exit.at + backOff_ms({ consecutive, cap, restart: facts.restart, random: facts.random }),
  };
}

/** An exit in words. */
export function describeExit(exit: Exit): string {
  if (exit.error !== null) return exit.error;
  if (exit.signal !== null) return `it was ended by ${exit.signal}`;
  return exit.code === null ? 'it has gone, nobody saw how' : `it exited with code ${exit.code}`;
}

function stallReason(exit: Exit): string | null {
  if (exit.lasting && exit.error !== null) return exit.error;
  return exit.code === null ? null : STALLING_CODES[exit.code] ?? null;
}

/** At once, then first, 2·first, 4·first … max, each ±25 %; a crash loop keeps trying at the cap. */
export function backOff_ms(input: { readonly consecutive: number; readonly cap: boolean; readonly restart: DesiredPlugin['restart']; readonly random: number }): number {
  const { consecutive, cap, restart, random } = input;
  if (consecutive <= 1) return 0;
  const doubled = restart.first_ms * 2 ** Math.min(consecutive - 2, 30);
  const delay = cap ? restart.max_ms : Math.min(restart.max_ms, doubled);
  return delay * (1 - JITTER + 2 * JITTER * random);
}

const recentFailures = (history: History, now: Monotonic_ms): readonly Monotonic_ms[] =>
  history.failures.filter((at) => at <= now && now - at < FAILURE_WINDOW_MS);

export const isCrashLooping = (history: History, now: Monotonic_ms): boolean =>
  recentFailures(history, now).length >= CRASH_LOOP_FAILURES;

/** Keeps `since` where status and reason stayed the same, so that it says how long this has been so. */
export function settleConditions(before: readonly Condition[], found: readonly Omit<Condition, 'since' | 'revision'>[], stamp: { readonly at: string; readonly revision: string }): readonly Condition[] {
  return found.map((condition) => {
    const known = before.find((candidate) => candidate.type === condition.type);
    if (known === undefined || known.status !== condition.status || known.reason !== condition.reason) return { ...condition, since: stamp.at, revision: stamp.revision };
    if (known.message === condition.message && known.revision === stamp.revision) return known;
    return { ...condition, since: known.since, revision: stamp.revision };
  });
}
