// Watches a download of the running bkg until its bytes are here, cannot come, or nobody waits any longer.
import { setTimeout as pause } from 'node:timers/promises';
import type { ModelView } from '../reconciler/index.ts';
import { refusal, type Client } from './client.ts';
import { openComing } from './coming.ts';
import { note } from './show.ts';
import { told } from './told.ts';

export type Patience = { readonly look_ms: number; readonly begin_ms: number; readonly goOn_ms: number };
/** A line that breaks and mends is no failure: bkg goes on from where it was. A minute without a byte is one; where none has come yet, a second try. */
const PATIENCE: Patience = { look_ms: 250, begin_ms: 15_000, goOn_ms: 60_000 };

/** Of a terminal that does not say how wide it is. */
export const COLUMNS = 80;

export type Ended = { readonly kind: 'here' | 'later' | 'failed' | 'interrupted'; readonly view: ModelView };

/** `quiet`: show nothing. */
export async function watchComing(client: Pick<Client, 'request'>, name: string, o: { readonly quiet: boolean; readonly interrupted: AbortSignal; readonly patience?: Patience }): Promise<Ended> {
  const { look_ms, begin_ms, goOn_ms } = o.patience ?? PATIENCE;
  const coming = openComing(name, { terminal: process.stderr.isTTY, columns: () => process.stderr.columns || COLUMNS, write: o.quiet ? () => undefined : note });
  let most = 0;
  let gained = { at_ms: performance.now(), within_ms: begin_ms };
  let broken = false;
  try {
    for (;;) {
      const view = await look(client, name);
      const now_ms = performance.now();
      if (o.interrupted.aborted) return { kind: 'interrupted', view };
      if (view.phase === 'present') return { kind: 'here', view };
      if (view.phase === 'absent' && view.state !== 'present') return { kind: 'later', view };
      if (view.phase === 'fetching' && view.bytes > most) [most, gained, broken] = [view.bytes, { at_ms: now_ms, within_ms: goOn_ms }, false];
      // Before the server has answered nothing is known, not even that it begins at the first byte.
      if (view.phase === 'fetching' && (view.bytes > 0 || view.bytesTotal !== null)) coming.show({ bytes: view.bytes, total: view.bytesTotal }, now_ms);
      if (view.phase === 'failed') {
        const passes = view.conditions.some(({ reason }) => reason === 'Network') && now_ms - gained.at_ms < gained.within_ms;
        if (!passes) return { kind: 'failed', view };
        if (!broken && !o.quiet) {
          coming.clear();
          note(`${name}: ${view.conditions[0]?.message ?? 'the connection broke; it goes on'}\n`);
        }
        broken = true;
      }
      await pause(look_ms, null, { signal: o.interrupted }).catch(() => undefined);
    }
  } finally {
    coming.clear();
  }
}

async function look(client: Pick<Client, 'request'>, name: string): Promise<ModelView> {
  const answer = await client.request(`/api/models/${encodeURIComponent(name)}`).catch(() => {
    throw told('bkg does not answer any more: it ends, or has ended.', 'The download goes on from where it is when bkg starts again.');
  });
  if (answer.status === 404) throw told(`${name} was removed from the file meanwhile.`);
  if (answer.status >= 400) throw refusal(answer);
  return answer.body as ModelView;
}
