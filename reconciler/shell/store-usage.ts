// What was used by whom: single requests for a while, and sums by the hour for long; written in batches.
import type Database from 'better-sqlite3';
import type { UsageEvent, UsageQuery, UsageRow } from './door.ts';
import type { Later } from './store-later.ts';

export const USAGE_SCHEMA = `
  CREATE TABLE IF NOT EXISTS analytics_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, key TEXT, user TEXT NOT NULL, plugin TEXT NOT NULL, model TEXT NOT NULL, capability TEXT NOT NULL,
    status INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, latency_ms REAL NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS usage_hours (
    hour INTEGER NOT NULL, key TEXT NOT NULL, user TEXT NOT NULL, plugin TEXT NOT NULL, model TEXT NOT NULL, capability TEXT NOT NULL,
    requests INTEGER NOT NULL, errors INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, latency_ms REAL NOT NULL,
    PRIMARY KEY (hour, key, user, plugin, model, capability)) STRICT, WITHOUT ROWID;
`;

/** Single requests kept: some 150 MB. The sums stay. */
const EVENTS_KEPT = 1_000_000;
/** Requests that may wait for the disk; of more than these only the sums are kept. */
const WAITING_MAX = 100_000;
const HOUR_MS = 3_600_000;
/** What counts as a failure: the plugin's and bkg's, not that of who asked. */
const FAILED_FROM = 500;

/** Only names of this list become part of a statement. */
const GROUPS: Readonly<Record<UsageQuery['by'], string>> = {
  key: 'key', user: 'user', plugin: 'plugin', model: 'model', capability: 'capability', total: "''",
  hour: "strftime('%Y-%m-%dT%H:00:00Z', hour / 1000, 'unixepoch')", day: "strftime('%Y-%m-%d', hour / 1000, 'unixepoch')",
};

/** `used`: notes when a user or key was last used. */
export function usageRows(db: Database.Database, { later, used }: { readonly later: Later; readonly used: (what: 'user' | 'key', id: string, at: string) => void }) {
  const event = db.prepare('INSERT INTO analytics_events (at, key, user, plugin, model, capability, status, prompt_tokens, completion_tokens, latency_ms) VALUES (@at, @key, @user, @plugin, @model, @capability, @status, @promptTokens, @completionTokens, @latency_ms)');
  const sum = db.prepare(`INSERT INTO usage_hours (hour, key, user, plugin, model, capability, requests, errors, prompt_tokens, completion_tokens, latency_ms)
    VALUES (@hour, @key, @user, @plugin, @model, @capability, @requests, @errors, @promptTokens, @completionTokens, @latency_ms)
    ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, errors = errors + excluded.errors, prompt_tokens = prompt_tokens + excluded.prompt_tokens,
      completion_tokens = completion_tokens + excluded.completion_tokens, latency_ms = latency_ms + excluded.latency_ms`);
  const forget = db.prepare('DELETE FROM analytics_events WHERE id <= (SELECT max(id) FROM analytics_events) - ?');
  const write = db.transaction((events: readonly UsageEvent[], sums: Iterable<Sum>) => {
    for (const one of events) event.run(one);
    const at = new Date().toISOString();
    for (const one of sums) {
      sum.run(one);
      if (one.key === '') used('user', one.user, at);
      else used('key', one.key, at);
    }
    if (events.length > 0) forget.run(EVENTS_KEPT);
  });
  type Sum = { readonly hour: number; readonly key: string; readonly user: string; readonly plugin: string; readonly model: string; readonly capability: string; requests: number; errors: number; promptTokens: number; completionTokens: number; latency_ms: number };
  let events: UsageEvent[] = [];
  let sums = new Map<string, Sum>();

  return {
    /** Costs an entry in memory; `flushUsage` writes. */
    account(one: UsageEvent): void {
      if (events.length < WAITING_MAX) events.push(one);
      const hour = one.at - (one.at % HOUR_MS);
      const { user, plugin, model, capability } = one;
      const key = one.key ?? '';
      const name = `${hour} ${key} ${user} ${plugin} ${model} ${capability}`;
      const known = sums.get(name) ?? { hour, key, user, plugin, model, capability, requests: 0, errors: 0, promptTokens: 0, completionTokens: 0, latency_ms: 0 };
      sums.set(name, known);
      known.requests += 1;
      if (one.status >= FAILED_FROM) known.errors += 1;
      known.promptTokens += one.promptTokens;
      known.completionTokens += one.completionTokens;
      known.latency_ms += one.latency_ms;
    },
    /** Everything since the last time, in one transaction; what the disk does not take waits for the next. */
    flushUsage(): void {
      if (sums.size === 0) return;
      later.write('usage', () => {
        write.immediate(events, sums.values());
        events = [];
        sums = new Map();
      });
    },
    usage: (query: UsageQuery): readonly UsageRow[] => {
      const group = GROUPS[query.by];
      const where = ['hour >= @from', 'hour < @to', ...(['key', 'user', 'plugin', 'model'] as const).flatMap((name) => (query[name] === null ? [] : [`${name} = @${name}`]))];
      return db.prepare(`SELECT ${group} AS name, sum(requests) AS requests, sum(errors) AS errors, sum(prompt_tokens) AS promptTokens, sum(completion_tokens) AS completionTokens,
        sum(latency_ms) / sum(requests) AS latency_ms FROM usage_hours WHERE ${where.join(' AND ')} GROUP BY name ORDER BY ${query.by === 'hour' || query.by === 'day' ? 'name' : 'requests DESC'}`).all(query) as UsageRow[];
    },
  };
}
