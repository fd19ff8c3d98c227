// The words of the reconciler as types: declared → desired, observed, drift, action, condition.
import type { Declared } from '../../schema/bkg.gen.ts';
import type { Manifest } from '../../schema/plugin.gen.ts';
import type { Problem } from '../../schema/problem.ts';
import type { DesiredModel, Downloads, ExtraFile, ObservedModel } from './model.ts';
import type { DesiredKey, DesiredUser } from './people.ts';
import type { DesiredServer } from './server.ts';

export type * from './model.ts';
export type { Declared, DesiredKey, DesiredServer, DesiredUser, Manifest, Problem };

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

/**
 * Milliseconds of the host's monotonic clock (since boot). Comparable between processes of one boot, never between boots.
 * Wall clock times, for people only, are ISO strings and end in `_at`.
 */
export type Monotonic_ms = number;

/** `plugin/llmserver#0` (one slot of a plugin) or `model/mini`. */
export type UnitId = string;

// ─── Desired ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A plugin's manifest together with where its code lies; read by the shell, handed to `resolve`. */
export type Package = {
  /** Where the code lies, absolute; null for an inline manifest. */
  readonly folder: string | null;
  /** sha256 over the folder's files (or over the inline manifest). Its change is a change of the plugin's code. */
  readonly contentHash: string;
  readonly manifest: Manifest;
};

export type Limits = {
  readonly requestsPerMinute: number | null;
  readonly concurrent: number | null;
};

export type Capability = {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly description: string;
  readonly stream: boolean;
  readonly input: JsonObject | null;
  readonly output: JsonObject | null;
  readonly limits: Limits;
};

export type ModelRole = {
  readonly role: string;
  /** Name of the declared model that fills it; null when nothing is assigned. */
  readonly model: string | null;
  readonly required: boolean;
  readonly format: 'gguf' | 'safetensors' | 'onnx' | 'any';
  /** Capability ids this role answers. */
  readonly serves: readonly string[];
};

/** Argv with placeholders still in it; nested = optional group, dropped when one of its placeholders has no value. */
export type ArgvTemplate = readonly (string | readonly string[])[];

export type DesiredPlugin = {
  readonly id: string;
  readonly use: string;
  readonly package: Package;
  readonly state: 'running' | 'stopped' | 'ondemand';
  readonly idle_ms: number;
  readonly run: ArgvTemplate;
  readonly install: readonly string[] | null;
  readonly models: readonly ModelRole[];
  /** Settings with the manifest's defaults filled in. */
  readonly config: JsonObject;
  readonly env: Readonly<Record<string, string>>;
  readonly needs: readonly string[];
  readonly memory_bytes: number | null;
  readonly cpu_percent: number | null;
  readonly timeout_ms: number;
  readonly limits: Limits;
  readonly restart: { readonly first_ms: number; readonly max_ms: number };
  readonly ready: { readonly path: string; readonly timeout_ms: number };
  readonly live: { readonly path: string; readonly failures: number } | null;
  readonly stop: { readonly signal: 'SIGTERM' | 'SIGINT' | 'SIGQUIT'; readonly drain_ms: number; readonly grace_ms: number };
  readonly capabilities: readonly Capability[];
  readonly calls: readonly string[];
  readonly grants: readonly string[];
  /** A declared key that binds its calls, too. */
  readonly key: string | null;
  readonly telemetryPath: string | null;
  /**
   * Everything that forces a restart except the models' bytes: argv template, keyed hash of the environment, code hash,
   * restart-applied settings. The spec hash of a process is this plus the sha256 of each of its models.
   */
  readonly launchHash: string;
  /** Hash of all settings: differs from what a process was given → `configure`. */
  readonly configHash: string;
};

/** Declared + manifests + defaults + references resolved. Pure function of its inputs, held in memory only. */
export type Desired = {
  readonly revision: string;
  readonly server: DesiredServer;
  readonly drift: Readonly<Record<string, 'heal' | 'report' | 'ignore'>>;
  /** For models and plugins together; null: what the machine has. */
  readonly memory_bytes: number | null;
  readonly downloads: Downloads;
  /** In file order. */
  readonly plugins: readonly DesiredPlugin[];
  readonly models: readonly DesiredModel[];
  readonly users: readonly DesiredUser[];
  readonly keys: readonly DesiredKey[];
};

// ─── Observed ───────────────────────────────────────────────────────────────────────────────────────────────────────────

export type Exit = {
  readonly code: number | null;
  readonly signal: string | null;
  /** What could not even be started says so here (ENOENT …). */
  readonly error: string | null;
  /** A retry cannot mend it: the command is not there, or may not be executed. */
  readonly lasting: boolean;
  readonly at: Monotonic_ms;
};

export type Phase = 'starting' | 'ready' | 'unready' | 'draining' | 'stopping';

/** A model in a role of a plugin, and the capabilities that it serves there. */
export type Serving = { readonly name: string; readonly role: string; readonly serves: readonly string[] };

/** One live incarnation. A process that has exited is no longer observed; its exit went into History. */
export type ObservedProcess = {
  readonly slot: string;
  readonly plugin: string;
  readonly incarnation: string;
  readonly pid: number;
  readonly port: number;
  readonly phase: Phase;
  /** What it was started with; null when that is not known any more. */
  readonly models: readonly Serving[] | null;
  readonly specHash: string;
  readonly configHash: string;
  readonly started: Monotonic_ms;
  /** Since when it is waited for: its start, or the moment it was taken over before it had ever been ready. */
  readonly awaited: Monotonic_ms;
  readonly ready: Monotonic_ms | null;
  /** Last answer of the ready probe, in words; null before the first. */
  readonly probe: string | null;
  /** True for one taken over from an earlier bkg. */
  readonly adopted: boolean;
  /** Which limits could be put on it: `watch` = bkg looks at RSS and CPU time each second. */
  readonly limitsEnforcedBy: 'cgroup' | 'watch';
  /** Resident bytes of its process group at the last look. */
  readonly rss_bytes: number | null;
  /** Failed liveness probes in a row. */
  readonly liveFailures: number;
};

/** What is remembered of a slot's failures; survives a restart of bkg (same boot). */
export type History = {
  readonly slot: string;
  /** Times of failures inside the sliding window. */
  readonly failures: readonly Monotonic_ms[];
  /** Failures in a row without a settled run between them. */
  readonly consecutive: number;
  /** Not to be started before. */
  readonly notBefore: Monotonic_ms | null;
  /** Set by exits that a retry cannot mend; holds for this spec hash only. */
  readonly stalled: { readonly specHash: string; readonly reason: string } | null;
  readonly lastExit: Exit | null;
  /** When the incarnation that ended last had begun. */
  readonly lastStart: Monotonic_ms | null;
  /** The last failure in words, and the spec that failed: another one begins without its past. */
  readonly lastFailure: { readonly specHash: string; readonly why: string } | null;
  readonly restarts: number;
};

export type ObservedInstall = {
  readonly contentHash: string;
  readonly phase: 'installing' | 'done' | 'failed';
  /** Folder to run in, when done. */
  readonly folder: string | null;
  readonly message: string;
  /** When it failed last. */
  readonly failed: Monotonic_ms;
  readonly retry: Monotonic_ms | null;
};

/** A one-time wish that is not declared state. */
export type Ask = {
  readonly id: number;
  readonly kind: 'restart' | 'wake' | 'retry';
  readonly plugin: string;
  readonly at: Monotonic_ms;
};

/** Requests on one plugin: those that wait for a process of it and since when there are such, those that are with one, and when one came or ended last. */
export type ObservedTraffic = { readonly waiting: number; readonly since: Monotonic_ms | null; readonly inFlight: number; readonly last: Monotonic_ms | null };

export type Observed = {
  readonly processes: readonly ObservedProcess[];
  readonly histories: Readonly<Record<string, History>>;
  readonly installs: Readonly<Record<string, ObservedInstall>>;
  readonly models: Readonly<Record<string, ObservedModel>>;
  readonly extras: readonly ExtraFile[];
  readonly asks: readonly Ask[];
  readonly traffic: Readonly<Record<string, ObservedTraffic>>;
  /** Of the machine, or of the container that bkg is in. */
  readonly memory_bytes: number;
};

// ─── Difference ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export type Drift = {
  readonly kind:
    | 'ConfigInvalid' | 'ConfigHeld' | 'FileMissing' | 'ServerChanged'
    | 'ProcessMissing' | 'ProcessUnwanted' | 'SpecChanged' | 'ConfigChanged' | 'RestartAsked' | 'StartTimeout' | 'LimitExceeded'
    | 'LivenessLost' | 'InstallMissing' | 'ModelMissing' | 'ModelChanged' | 'ModelDamaged' | 'ModelUnwanted' | 'ModelExtra' | 'Denied';
  readonly unit: UnitId;
  readonly want: string;
  readonly have: string;
  readonly policy: 'heal' | 'report' | 'ignore';
};

type Because = { readonly unit: UnitId; readonly because: string; readonly drift: Drift['kind'] };

export type Action =
  | (Because & { readonly do: 'install'; readonly plugin: DesiredPlugin })
  | (Because & { readonly do: 'download'; readonly model: DesiredModel })
  | (Because & { readonly do: 'remove'; readonly model: string })
  | (Because & { readonly do: 'prune'; readonly file: string })
  | (Because & { readonly do: 'start'; readonly slot: string; readonly plugin: DesiredPlugin; readonly specHash: string })
  | (Because & { readonly do: 'stop'; readonly incarnation: string; readonly plugin: DesiredPlugin | null; /** What it failed at, when it is ended for that. */ readonly failure: string | null })
  | (Because & { readonly do: 'configure'; readonly incarnation: string; readonly plugin: DesiredPlugin })
  /** Nothing to do but look again: at `until`, or when something changes (null). */
  | (Because & { readonly do: 'wait'; readonly until: Monotonic_ms | null; /** No wait will do: something else must be declared. */ readonly inVain?: true });

/** What to do now. No action but `wait` left and no drift: converged. */
export type Plan = {
  readonly revision: string;
  readonly actions: readonly Action[];
  readonly drifts: readonly Drift[];
  /** When to look again without any event; null = no need. */
  readonly next: Monotonic_ms | null;
};

// ─── Explanation ────────────────────────────────────────────────────────────────────────────────────────────────────────

export type Condition = {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  /** For machines, CamelCase. */
  readonly reason: string;
  /** For people: what, why, what happens next and when, what they can do. */
  readonly message: string;
  /** ISO time of the last change of status or reason. */
  readonly since: string;
  readonly revision: string;
};

export type PluginStatus = 'stopped' | 'starting' | 'running' | 'stopping' | 'error';
