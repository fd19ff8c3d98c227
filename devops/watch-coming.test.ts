// What ends the wait for a download, and what is waited through.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ModelView } from '../reconciler/index.ts';
import type { Client } from './client.ts';
import { isTold } from './told.ts';
import { watchComing, type Ended, type Patience } from './watch-coming.ts';

const LONG_MS = 3_600_000;
type Look = Partial<Pick<ModelView, 'phase' | 'bytes' | 'state'>> & { readonly reason?: string };

const viewOf = ({ phase = 'fetching', bytes = 0, state = 'present', reason = 'Fetching' }: Look): ModelView =>
  ({ id: 'm', source: 'https://h/m', state, phase, sha256: null, bytes, bytesTotal: 9, usedBy: [], about: null, commit: null, verified: null, checking: null, conditions: [{ type: 'Available', status: 'False', reason, message: 'As it is.', since: 's', revision: 'r' }] });

/** Answers the looks one after another, then goes on with the last. */
function watching(looks: readonly (Look | 'removed' | 'down')[], o: { readonly patience?: Partial<Patience>; readonly interrupted?: AbortSignal; readonly onLook?: (count: number) => void } = {}): Promise<Ended> {
  let count = 0;
  const client: Pick<Client, 'request'> = {
    async request() {
      const found = looks[Math.min(count, looks.length - 1)]!;
      count += 1;
      o.onLook?.(count);
      if (found === 'down') throw new Error('ECONNREFUSED');
      return found === 'removed' ? { status: 404, headers: new Headers(), body: {} } : { status: 200, headers: new Headers(), body: viewOf(found) };
    },
  };
  return watchComing(client, 'm', { quiet: true, interrupted: o.interrupted ?? new AbortController().signal, patience: { look_ms: 1, begin_ms: LONG_MS, goOn_ms: LONG_MS, ...o.patience } });
}

const kind = async (looks: Parameters<typeof watching>[0], o: Parameters<typeof watching>[1] = {}): Promise<string> => (await watching(looks, o)).kind;
const BROKEN: Look = { phase: 'failed', reason: 'Network' };
const HERE: Look = { phase: 'present', bytes: 9 };

test('it waits until the bytes are here', async () => {
  const ended = await watching([{ phase: 'absent' }, {}, { bytes: 3 }, HERE]);
  assert.equal([ended.kind, ended.view.bytes], ['here', 9]);
  assert.is(await kind([{ phase: 'absent', state: 'ondemand' }]), 'later');
});

test('what no time mends ends it at once, a line that breaks does not', async () => {
  assert.is(await kind([{ bytes: 3 }, { phase: 'failed', reason: 'NotFound' }, HERE]), 'failed');
  assert.is(await kind([BROKEN, BROKEN, {}, HERE]), 'here', 'not even before the first byte');
  assert.is(await kind([{ bytes: 3 }, BROKEN, { bytes: 4 }, BROKEN, HERE]), 'here');
});

test('without a byte for too long it has failed, sooner where none has come', async () => {
  assert.is(await kind([{}, BROKEN, HERE], { patience: { begin_ms: 0 } }), 'failed');
  assert.is(await kind([{ bytes: 3 }, BROKEN, HERE], { patience: { begin_ms: 0 } }), 'here');
  assert.is(await kind([{ bytes: 3 }, BROKEN, HERE], { patience: { goOn_ms: 0 } }), 'failed');
});

test('whoever waits may leave', async () => {
  const leaving = new AbortController();
  assert.is(await kind([{ bytes: 3 }], { interrupted: leaving.signal, patience: { look_ms: LONG_MS }, onLook: (count) => { if (count === 1) setImmediate(() => leaving.abort()); } }), 'interrupted');
});

test('a model that is taken out, or a bkg that ends, is told', async () => {
  for (const [look, words] of [['removed', /m was removed from the file/], ['down', /bkg does not answer any more/]] as const) {
    const error: unknown = await watching([{}, look]).then(() => null, (thrown: unknown) => thrown);
    assert.ok(isTold(error), String(error));
    assert.match(error.message, words);
  }
});

test.run();
