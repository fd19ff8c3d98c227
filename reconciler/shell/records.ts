// What is written down: revisions of the file, what people did, that they are signed in, and how much they asked for.
import type { Manifest } from '../core/types.ts';

/** One revision that was seen; the same bytes may come again, with another seq. `kept`: its text can still be had. */
export type Revision = { readonly seq: number; readonly revision: string; readonly at: string; readonly actor: string; readonly source: string; readonly valid: boolean; readonly kept: boolean };
/** By plugin; null where it cannot be had. They say which settings are secret. */
export type Manifests = Readonly<Record<string, Manifest | null>>;
export type RevisionText = Revision & { readonly text: string | null; readonly manifests: Manifests };

/** One row of the audit log. `source`: file for what was edited by hand. */
export type AuditRow = {
  readonly seq: number; readonly at: string; readonly actor: string; readonly source: string; readonly address: string | null;
  /** `key.create`, `user.password`, `plugin.stop`, `login` … */
  readonly action: string;
  readonly target: string;
  /** `done`, `refused` or `failed`. */
  readonly outcome: string;
  readonly revision: string | null;
  /** JSON, for people; never a value of the file. */
  readonly detail: string | null;
};
export type AuditEntry = Pick<AuditRow, 'actor' | 'source' | 'action' | 'target'> & Partial<Pick<AuditRow, 'address' | 'outcome' | 'revision' | 'detail'>>;
export type AuditQuery = { readonly limit: number; /** Only rows with a smaller seq. */ readonly before: number; readonly action: string | null; readonly actor: string | null };
export type AuditFault = { readonly seq: number; readonly message: string };

/** Somebody who is signed in, until it expires or is ended. Times are milliseconds since 1970. */
export type SessionRow = {
  readonly family: string; readonly user: string;
  /** The credential it was begun with: with another one the session ends. */
  readonly credential: string;
  /** Of the refresh token that is good; one with a smaller number was used already. */
  readonly generation: number;
  readonly begun: number; readonly renewed: number; readonly expires: number; readonly address: string | null; readonly agent: string | null;
  /** Why it ended; null while it goes on. */
  readonly ended: string | null;
};

/** One request of the data plane. `at`: milliseconds since 1970; `key` null for people. */
export type UsageEvent = {
  readonly at: number; readonly key: string | null; readonly user: string; readonly plugin: string; readonly model: string; readonly capability: string; readonly status: number;
  readonly promptTokens: number; readonly completionTokens: number; readonly latency_ms: number;
};
export type UsageQuery = {
  readonly by: 'key' | 'user' | 'plugin' | 'model' | 'capability' | 'hour' | 'day' | 'total';
  /** Milliseconds since 1970, whole hours. */
  readonly from: number; readonly to: number;
  readonly key: string | null; readonly user: string | null; readonly plugin: string | null; readonly model: string | null;
};
/** `latency_ms`: the mean. */
export type UsageRow = { readonly name: string; readonly requests: number; readonly errors: number; readonly promptTokens: number; readonly completionTokens: number; readonly latency_ms: number };
