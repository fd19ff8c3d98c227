// What a launch and a set of settings hash to: stable text of plain data, keyed where secrets may be inside.
import { type Schema, childSchema, deref } from '../../schema/walk.ts';
import type { ArgvTemplate, Json, JsonObject } from './types.ts';

/** Raised when the launch tuple gets another shape: every process then restarts once. */
const LAUNCH_VERSION = 1;

const CONFIG_VERSION = 1;

/** A keyed hash (HMAC): what it returns may be stored and shown, and cannot be used to guess a secret that went in. */
export type Seal = (text: string) => string;

/** JSON with sorted keys: equal data, equal text. */
export function canonical(value: Json | undefined): string {
  if (Array.isArray(value)) return `[${(value as readonly Json[]).map(canonical).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    let text = '';
    for (const key of Object.keys(value).sort())
      text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${canonical((value as JsonObject)[key])}`;
    return `{${text}}`;
  }
  return JSON.stringify(value ?? null);
}

/** The settings whose change needs a new process: all but those that are marked, or stand below a mark, `x-apply: live`. */
export function withoutLive(config: JsonObject, schema: Schema): JsonObject {
  const visit = (at: Json, part: Schema | null, above: boolean): Json | undefined => {
    const mark = part?.['x-apply'];
    const live = mark === 'live' || (mark !== 'restart' && above);
    if (typeof at !== 'object' || at === null || Array.isArray(at)) return live ? undefined : at;
    const kept: [string, Json][] = [];
    for (const [key, item] of Object.entries(at as JsonObject)) {
      const next = visit(item, part && childSchema(part, key, schema), live);
      if (next !== undefined) kept.push([key, next]);
    }
    return kept.length === 0 && live ? undefined : Object.fromEntries(kept);
  };
  return (visit(config, deref(schema, schema), false) ?? {}) as JsonObject;
}

export type Launch = {
  readonly contentHash: string;
  readonly run: ArgvTemplate;
  readonly env: Readonly<Record<string, string>>;
  readonly config: JsonObject;
  readonly configSchema: Schema;
  /** Role → declared model. */
  readonly models: Readonly<Record<string, string>>;
};

/**
 * Hash of everything that forces a restart. The template together with the settings decides the argv, so both stand for it;
 * port, data folder and the models' bytes are left out.
 */
export function launchHash(launch: Launch, seal: Seal): string {
  const { contentHash: code, run, env, models } = launch;
  const config = withoutLive(launch.config, launch.configSchema);
  return seal(canonical({ v: LAUNCH_VERSION, code, run, env, models, config }));
}

/** Hash of all settings; keyed, because a setting may be a secret out of the environment. */
export function configHash(config: JsonObject, seal: Seal): string {
  return seal(canonical({ v: CONFIG_VERSION, config }));
}
