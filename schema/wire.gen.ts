// Shapes on the wire as types, generated from wire.schema.json by devops/gen.ts: do not edit.

/**
 * What a live socket can listen to.
 */
export type Topic = 'status' | 'logs' | 'telemetry' | 'models' | 'plan' | 'events';
/**
 * What /ws/plugins sends; `topic` tells which.
 */
export type ServerFrame = StatusFrame | LogFrame | TelemetryFrame | ModelFrame | PlanFrame | EventFrame | ErrorFrame;
/**
 * Severity of a log line.
 */
export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';
/**
 * One operation on the declared state: add, replace, test, remove, move or copy.
 */
export type PatchOperation = ValueOperation | RemoveOperation | MoveOperation;
/**
 * A JSON Pointer (RFC 6901).
 */
export type Pointer = string;
/**
 * Body of PATCH /api/config with application/json-patch+json (RFC 6902).
 */
export type Patch = PatchOperation[];
/**
 * What a plugin sends on the bus socket, JSON-RPC 2.0: register, log, health, telemetry or event.
 */
export type BusMessage = BusRegister | BusLog | BusHealth | BusTelemetry | BusEvent;
/**
 * Absent: a notification, not answered.
 */
export type RpcId = string | number | null;
/**
 * What the bus answers: a result or an error.
 */
export type BusReply = BusResult | BusError;

/**
 * Shapes on the wire: bodies of the api, frames of the live socket, messages of the plugin bus.
 */
export interface Wire {
  clientFrame?: ClientFrame;
  serverFrame?: ServerFrame;
  patch?: Patch;
  invoke?: Invoke;
  problemDetails?: ProblemDetails;
  busMessage?: BusMessage;
  busReply?: BusReply;
}
/**
 * What a client of /ws/plugins sends.
 */
export interface ClientFrame {
  /**
   * Begin or end listening.
   */
  action: 'SUB' | 'UNSUB';
  topic: Topic;
  /**
   * Only this plugin; absent: all.
   */
  pluginId?: string;
}
/**
 * State of one plugin; sent at once on SUB, then on change.
 */
export interface StatusFrame {
  topic: 'status';
  id: string;
  status: 'stopped' | 'starting' | 'running' | 'stopping' | 'error';
  /**
   * Seconds since ready; null when not running.
   */
  uptime: number | null;
  /**
   * As declared.
   */
  state?: 'running' | 'stopped' | 'ondemand';
  pid?: number | null;
  port?: number | null;
  /**
   * The condition that matters most, in words.
   */
  message?: string | null;
}
/**
 * One line of a plugin's log.
 */
export interface LogFrame {
  topic: 'logs';
  id: string;
  level: Level;
  message: string;
  /**
   * ISO time.
   */
  ts: string;
  incarnation?: string;
  stream?: 'stdout' | 'stderr';
  offset?: number;
  /**
   * Other fields of a JSON line.
   */
  fields?: {
    [k: string]: unknown;
  } | null;
}
/**
 * Figures of one plugin, once a second.
 */
export interface TelemetryFrame {
  topic: 'telemetry';
  id: string;
  /**
   * Per cent of one core; null when not running.
   */
  cpu: number | null;
  /**
   * Resident bytes; null when not running.
   */
  mem: number | null;
  /**
   * Requests a second over the last ten seconds.
   */
  throughput: number;
  /**
   * Seconds since ready; null when not running.
   */
  uptime: number | null;
  /**
   * Requests that have ended, since bkg started.
   */
  requests: number;
  /**
   * Requests it is answering now.
   */
  inFlight: number;
  errors: number;
  lastError: {
    at: string;
    message: string;
  } | null;
  restarts?: number;
  /**
   * The plugin's own figures.
   */
  own?: {
    [k: string]: number;
  };
}
/**
 * State of one model, with its progress.
 */
export interface ModelFrame {
  topic: 'models';
  id: string;
  phase: 'absent' | 'fetching' | 'present' | 'failed';
  bytes: number;
  bytesTotal: number | null;
  message?: string | null;
}
/**
 * The plan as it stands; sent when it changes.
 */
export interface PlanFrame {
  topic: 'plan';
  revision: string;
  converged: boolean;
  actions: {
    do: 'install' | 'download' | 'remove' | 'prune' | 'start' | 'stop' | 'restart' | 'configure' | 'wait';
    unit: string;
    because: string;
  }[];
}
/**
 * Something that happened.
 */
export interface EventFrame {
  topic: 'events';
  seq: number;
  at: string;
  /**
   * For machines, CamelCase.
   */
  reason: string;
  unit: string;
  message: string;
}
/**
 * Why a frame of the client was not obeyed.
 */
export interface ErrorFrame {
  topic: 'error';
  code: string;
  message: string;
}
export interface ValueOperation {
  op: 'add' | 'replace' | 'test';
  path: Pointer;
  /**
   * Any JSON.
   */
  value: unknown;
}
export interface RemoveOperation {
  op: 'remove';
  path: Pointer;
}
export interface MoveOperation {
  op: 'move' | 'copy';
  from: Pointer;
  path: Pointer;
}
/**
 * Body of POST /api/plugins/{id}/invoke.
 */
export interface Invoke {
  /**
   * Capability id of the manifest, e.g. llm.chat.
   */
  capability: string;
  /**
   * Checked against the input schema of the capability; absent: {}.
   */
  input?: unknown;
}
/**
 * An error as application/problem+json (RFC 9457). Members beyond these belong to the code.
 */
export interface ProblemDetails {
  /**
   * about:blank, or an address that explains the code.
   */
  type: string;
  /**
   * The kind of error, the same each time.
   */
  title: string;
  status: number;
  /**
   * For machines, stable, CamelCase.
   */
  code: string;
  /**
   * This time: what, where, remedy.
   */
  detail?: string;
  instance?: string;
  problems?: WireProblem[];
  /**
   * Revision in force.
   */
  revision?: string;
  [k: string]: unknown;
}
/**
 * One mistake, with its place in the file.
 */
export interface WireProblem {
  code: string;
  pointer: string;
  line: number | null;
  column: number | null;
  message: string;
  hint: string | null;
  severity: 'error' | 'warning';
}
export interface BusRegister {
  jsonrpc: '2.0';
  id?: RpcId;
  method: 'register';
  params?: {
    [k: string]: unknown;
  };
}
export interface BusLog {
  jsonrpc: '2.0';
  id?: RpcId;
  method: 'log';
  params: {
    level?: Level;
    message: string;
    [k: string]: unknown;
  };
}
export interface BusHealth {
  jsonrpc: '2.0';
  id?: RpcId;
  method: 'health';
  params: {
    ok: boolean;
    message?: string;
  };
}
export interface BusTelemetry {
  jsonrpc: '2.0';
  id?: RpcId;
  method: 'telemetry';
  /**
   * Flat figures.
   */
  params: {
    [k: string]: number;
  };
}
export interface BusEvent {
  jsonrpc: '2.0';
  id?: RpcId;
  method: 'event';
  params: {
    name: string;
    /**
     * Any JSON.
     */
    data?: unknown;
  };
}
export interface BusResult {
  jsonrpc: '2.0';
  id: RpcId;
  /**
   * Any JSON.
   */
  result: unknown;
}
export interface BusError {
  jsonrpc: '2.0';
  id: RpcId;
  error: {
    code: number;
    message: string;
    /**
     * Any JSON.
     */
    data?: unknown;
  };
}
