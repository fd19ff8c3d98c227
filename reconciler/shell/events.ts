// What happened in the house, the newest thousand: for /api/events and the live topic.
import type { HouseEvent } from './door.ts';

/** Enough to tell a day's story; older ones are in the log. */
const EVENTS_KEPT = 1_000;

export function openEvents(tell: (event: HouseEvent) => void) {
  const kept: HouseEvent[] = [];
  let seq = 0;
  return {
    add(reason: string, unit: string, message: string): void {
      seq += 1;
      const event = { seq, at: new Date().toISOString(), reason, unit, message };
      kept.push(event);
      if (kept.length > EVENTS_KEPT) kept.shift();
      tell(event);
    },
    list: (query: { readonly limit: number; readonly after: number }): readonly HouseEvent[] => kept.filter((event) => event.seq > query.after).slice(-query.limit),
  };
}
