// The types of the door: what the api and the CLI see of the reconciler.
import type { Logger } from 'pino';
import type { ModelFormat } from '../core/format.ts';
import type { Action, Capability, Condition, Desired, Drift, Json, JsonObject, Limits, PluginStatus, Problem, Serving } from '../core/types.ts';
import type { AuditRow, AuditEntry, AuditQuery, AuditFault, Manifests, Revision, RevisionText, SessionRow, UsageEvent, UsageQuery, UsageRow } from './records.ts';
import type { Pruned, Verdict } from './supplies-checks.ts';

export type * from './records.ts';
export type { Pruned, Verdict };

/** Ports this bkg listens on; null until a listener stands. */
export type Ports = { readonly web: number | null; readonly api: number | null; readonly bus: number | null };

export type Telemetry = {
  /** Per cent of one core over the last second; null when not running. */
  readonly cpu: number | null;
  /** Resident bytes of the process group; null when not running. */
  readonly mem: number | null;
  /** Requests a second over the last ten seconds. */
  readonly throughput: number;
  /** Seconds since the process was ready; null when not running. */
  readonly uptime: number | null;
  /** Requests that have ended, and errors among them, since bkg started. */
  readonly requests: number;
  /** Requests it is answering now. */
  readonly inFlight: number;
  readonly errors: number;
  readonly lastError: { readonly at: string; readonly message: string } | null;
  readonly restarts: number;
  /** The plugin's own figures, from its telemetry route. */
  readonly own: Readonly<Record<string, number>>;
};

export type PluginView = {
  readonly id: string;
  readonly use: string;
  readonly version: string | null;
  readonly description: string | null;
  readonly state: 'running' | 'stopped' | 'ondemand';
  readonly status: PluginStatus;
  readonly pid: number | null;
  readonly port: number | null;
  readonly incarnation: string | null;
  /** Seconds since ready; null when not running. */
  readonly uptime: number | null;
  readonly models: Readonly<Record<string, string>>;
  /** Bytes it takes or would take, by its models and settings; else its limit, else what it holds now; null: nobody knows. */
  readonly memory: number | null;
  readonly capabilities: readonly Capability[];
  readonly conditions: readonly Condition[];
  readonly telemetry: Telemetry;
};

export type ModelView = {
  readonly id: string;
  readonly source: string;
  readonly state: 'present' | 'ondemand' | 'absent';
  readonly phase: 'absent' | 'fetching' | 'present' | 'failed';
  readonly sha256: string | null;
  readonly bytes: number;
  readonly bytesTotal: number | null;
  readonly usedBy: readonly string[];
  /** What its file says of itself: format, architecture, quantisation, context length … Null until it is here. */
  readonly about: ModelFormat | null;
  /** What the revision of a hub's source stood for when its bytes came; null of any other source. */
  readonly commit: string | null;
  /** ISO time when all its bytes were hashed last. */
  readonly verified: string | null;
  /** Bytes that the check under way has hashed; null while none is. */
  readonly checking: number | null;
  readonly conditions: readonly Condition[];
};

/** Where a data plane request can go. Held ready for the hot path: plain look-ups, no work per request. */
export type Route = {
  readonly plugin: string;
  /** asleep = on demand, an ask wakes it. */
  readonly state: 'ready' | 'starting' | 'asleep' | 'down';
  readonly incarnation: string | null;
  readonly port: number | null;
  /** Bearer the plugin demands on every route but /health. */
  readonly inbound: string | null;
  readonly capabilities: readonly Capability[];
  /**
   * What the process serves, then what is declared and not served yet, each in the order of the manifest's roles. While nothing is ready, what is declared.
   * coming = it is there, and the next process has it; missing = it is not there, and the process of before goes on.
   */
  readonly models: readonly (Serving & { readonly state: 'served' | 'coming' | 'missing' })[];
  readonly limits: Limits;
  readonly timeout_ms: number;
  /** Capabilities it may call on the bus. */
  readonly grants: readonly string[];
  /** Why it is not ready, for the 503. */
  readonly why: string | null;
};

/** A plan as it is shown: plain data, no desired state inside. */
export type PlanView = {
  readonly revision: string;
  readonly converged: boolean;
  /** `restart`: it is stopped, then started anew. */
  readonly actions: readonly { readonly do: Action['do'] | 'restart'; readonly unit: string; readonly because: string }[];
};

export type FileView = {
  readonly path: string;
  /** Revision of the bytes on disk; null when the file is missing. */
  readonly revision: string | null;
  /** Revision in force. */
  readonly inForce: string;
  readonly valid: boolean;
  readonly problems: readonly Problem[];
};

/** Everything there is to know, at one moment: of the last look. */
export type Snapshot = {
  readonly seq: number;
  readonly at: string;
  readonly file: FileView;
  readonly desired: Desired;
  readonly plugins: readonly PluginView[];
  readonly models: readonly ModelView[];
  readonly routes: readonly Route[];
  readonly plan: PlanView;
  readonly drifts: readonly Drift[];
  readonly conditions: readonly Condition[];
  readonly ports: Ports;
};

export type ReconcilerEvent =
  | { readonly type: 'snapshot'; readonly snapshot: Snapshot }
  | { readonly type: 'log'; readonly record: LogRecord }
  | { readonly type: 'event'; readonly event: HouseEvent };

/** Something that happened, for /api/events and the `events` topic. */
export type HouseEvent = {
  readonly seq: number; readonly at: string;
  /** CamelCase: PluginReady, PluginExited, ConfigAccepted, ConfigRejected, ModelFetched … */
  readonly reason: string;
  readonly unit: string; readonly message: string;
};

export type LogRecord = {
  readonly plugin: string;
  readonly incarnation: string;
  /** Byte offset of the line in the incarnation's log; (incarnation, stream, offset) is unique. */
  readonly stream: 'stdout' | 'stderr';
  readonly offset: number;
  readonly at: string;
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';
  readonly message: string;
  /** Other fields of a JSON line. */
  readonly fields: JsonObject | null;
};

/** Who does something. `address`: of the peer, where there is one. */
export type Actor = { readonly name: string; readonly source: 'api' | 'cli' | 'ui' | 'plugin'; readonly address?: string | null };

/** One RFC 6902 operation. A merge patch (RFC 7396) is turned into these by the api against the text it read. */
export type WriteOperation = { readonly op: 'add' | 'replace'; readonly path: string; readonly value: Json } | { readonly op: 'remove'; readonly path: string };
export type TestOperation = { readonly op: 'test'; readonly path: string; readonly value: Json };
export type PatchOperation = WriteOperation | TestOperation | { readonly op: 'move' | 'copy'; readonly from: string; readonly path: string };

export type PatchRequest = {
  readonly actor: Actor;
  /** What the edit takes from people counts also when it cannot be written; false for one that gives something else for it. */
  readonly denies?: boolean;
  /** Operations on the declared state, the whole new text (PUT of the file), or the hash of a revision whose bytes are to come back, with the users and keys in force. */
  readonly change: { readonly operations: readonly PatchOperation[] } | { readonly text: string } | { readonly rollback: string };
  /** Revision the caller saw; null = whatever stands there. */
  readonly ifRevision: string | null;
  readonly dryRun: boolean;
  /** Whether the actor may: asked with the declared values before and after, of the very bytes that are about to be written. Absent: everything. */
  readonly judge?: (before: Json, after: Json) => readonly Problem[];
};

export type PatchResult =
  | { readonly ok: true; readonly revision: string; readonly seq: number; readonly changed: boolean; readonly diff: string; readonly plan: PlanView;
      /** Units that have something to do because of this edit. */
      readonly units: readonly string[]; readonly problems: readonly Problem[] }
  | { readonly ok: false; readonly code: 'Invalid' | 'Refused' | 'Forbidden'; readonly problems: readonly Problem[];
      /** The file was no good before: what the edit takes from users and keys all the same, in words. */ readonly denied?: readonly string[] }
  /** The file moved since `ifRevision`; `yours`, `theirs` are unified diffs against the base, where the base is known. */
  | { readonly ok: false; readonly code: 'Stale'; readonly revision: string; readonly base: string | null; readonly yours: string | null; readonly theirs: string | null }
  | { readonly ok: false; readonly code: 'ReadOnlyFile'; readonly diff: string; readonly message: string; /** What it takes from users and keys all the same, in words. */ readonly denied: readonly string[] };

export type AskRequest = { readonly kind: 'restart' | 'wake' | 'retry'; readonly plugin: string; readonly actor: Actor };

/** One request on a plugin, from its arrival to its end. */
export type Lease = {
  /** It is with this incarnation now, and a stop of that one waits for it; null: it waits again for one that is ready. */
  at(incarnation: string | null): void;
  /** Exactly once. Counts as a request unless it never reached a process and nothing went wrong. */
  end(outcome: { readonly error: string | null }): void;
};

export type LogQuery = {
  readonly plugin: string;
  /** At most this many lines, the newest. */
  readonly limit: number;
  /** Only lines after this place. */
  readonly after: { readonly incarnation: string; readonly stream: 'stdout' | 'stderr'; readonly offset: number } | null;
};

/** As it is now: `shown` in PEM, `trouble` why clients refuse it or what keeps a newer one from being used. */
export type ShownCertificate = { readonly shown: () => string; readonly trouble: () => string | null };

export type OpenOptions = {
  /** Absolute path of bkg.yaml. */
  readonly config: string;
  /** Absolute path of $BKG_HOME; made when absent. */
  readonly home: string;
  /** Absolute path of the installation: bundled plugins and models. */
  readonly installation: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Logger;
};

/** The only door of the reconciler. */
export type Reconciler = {
  /** What is known now; no I/O, the same object until the next look. */
  snapshot(): Snapshot;
  subscribe(listener: (event: ReconcilerEvent) => void): () => void;
  /** Text of the file on disk, its revision and its parsed value with references as typed. Throws FileMissing. */
  read(): Promise<{ readonly text: string; readonly revision: string; readonly value: Json }>;
  /** The plan as it stands, or the one a text would lead to. */
  plan(text?: string): Promise<{ readonly plan: PlanView; readonly problems: readonly Problem[]; readonly diff: string }>;
  patch(request: PatchRequest): Promise<PatchResult>;
  /** Hashes all bytes of a model and compares: takes as long as reading the file. Throws ModelUnknown. */
  verify(model: string, actor: Actor): Promise<Verdict>;
  /** Removes files of the store that no declared model uses; never what bkg did not put there. */
  prune(request: { readonly actor: Actor; readonly dryRun: boolean }): Promise<Pruned>;
  /** Returns the operation's id: ask-N. */
  ask(request: AskRequest): Promise<{ readonly operation: string }>;
  /** Brings a declared model here now, though its next try were later, or nobody wants it yet. False: it is here, on its way, absent or not declared. */
  fetch(request: { readonly model: string; readonly actor: Actor }): Promise<boolean>;
  /** What `settled` is to be asked about an operation: `edit-N` or `ask-N`; null when there is none, it is long over, or a newer ask of the same kind has taken its place. */
  operation(id: string): { readonly units: readonly string[]; readonly seq: number } | null;
  /**
   * Waits until every named unit (all when empty) has converged on at least revision-seq `seq`, or cannot, or time is up.
   */
  settled(query: { readonly units: readonly string[]; readonly seq: number; readonly timeout_ms: number }):
    Promise<{ readonly outcome: 'converged' | 'failed' | 'timeout'; readonly message: string }>;
  /** The newest first. */
  history(query: { readonly limit: number }): readonly Revision[];
  /** One of them with its text: by its seq, or its hash or at least eight digits of that; null when there is none. */
  revision(id: string): Promise<RevisionText | null>;
  /** Of every plugin that a text of the file declares. */
  manifests(text: string): Promise<Manifests>;
  events(query: { readonly limit: number; readonly after: number }): readonly HouseEvent[];
  logs(query: LogQuery): Promise<readonly LogRecord[]>;
  /** Counts a request in: with an incarnation, or (null) waiting for one that is ready. Wakes an on-demand plugin and keeps it awake, is drained before a stop, feeds telemetry. */
  lease(plugin: string, at: string | null): Lease;
  /** Which incarnation a bus token belongs to; null for a wrong one. Constant time. */
  caller(token: string): { readonly plugin: string; readonly incarnation: string } | null;
  /** What a plugin reported of itself over the bus. */
  report(incarnation: string, report: { readonly telemetry?: Readonly<Record<string, number>>; readonly log?: { readonly level: string; readonly message: string } }): void;
  /** Writes down what somebody did beside the file: signing in, asks, refusals. Edits write themselves down. */
  audit(entry: AuditEntry): void;
  audits(query: AuditQuery): readonly AuditRow[];
  /** The first row of the audit log that is not what was written; null when all is. */
  auditFault(): Promise<AuditFault | null>;
  /** Counts one request of the data plane; written in batches. */
  account(event: UsageEvent): void;
  usage(query: UsageQuery): readonly UsageRow[];
  /** 32 bytes that only this home can make, the same at every start, others for each purpose. */
  derive(purpose: string): Uint8Array;
  /** Everybody who is signed in, or was lately. */
  sessions(): readonly SessionRow[];
  saveSessions(rows: readonly SessionRow[]): void;
  /** When each declared user or key was first seen, and when last used. */
  seen(what: 'user' | 'key'): readonly { readonly id: string; readonly createdAt: string; readonly lastUsedAt: string | null }[];
  used(what: 'user' | 'key', id: string): void;
  /** Begins to reconcile. The bus must already listen. `certificate`: of web and api; null without TLS. */
  start(ports: Ports, certificate?: ShownCertificate | null): void;
  /** stop = drain and end every plugin; leave = plugins go on for the next bkg. */
  close(mode: 'stop' | 'leave'): Promise<void>;
};
