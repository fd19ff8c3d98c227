// Tests of the limits: a minute's worth at once, then evenly; so many at the same time; counted out once.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Limits } from '../reconciler/index.ts';
import { admit, DEFAULT_CONCURRENT, type Admission } from './limits.ts';
import { capability } from './testing/house.ts';

const NONE: Limits = { requestsPerMinute: null, concurrent: null };
let names = 0;
const fresh = (): string => `limited-${(names += 1)}`;
const order = (plugin: string, limits: Limits, own = NONE) => ({ plugin, limits, capability: capability('llm.chat', { limits: own }) });
const headersOf = (admission: Admission): Record<string, string> => Object.fromEntries(admission.headers);

function refused(admission: Admission): Extract<Admission, { readonly ok: false }> {
  if (admission.ok) throw new Error('it was let in');
  return admission;
}

function admitted(admission: Admission): Extract<Admission, { readonly ok: true }> {
  if (!admission.ok) throw new Error(`it was refused: ${admission.message}`);
  return admission;
}

test('a minute takes exactly as many as declared, whatever the number and the moment', () => {
  for (let perMinute = 1; perMinute <= 300; perMinute += 1) {
    const plugin = fresh();
    const now = 1_000_003.7 + perMinute * 977.13;
    for (let n = 1; n <= perMinute; n += 1) {
      const one = admitted(admit(order(plugin, { requestsPerMinute: perMinute, concurrent: null }), now));
      assert.is(headersOf(one)['x-ratelimit-remaining-requests'], String(perMinute - n), `${perMinute} a minute, after ${n}`);
      one.release();
    }
    const no = refused(admit(order(plugin, { requestsPerMinute: perMinute, concurrent: null }), now));
    assert.is(no.retryAfter_s, Math.ceil(60 / perMinute), `${perMinute} a minute`);
  }
});

test('after the told wait the next one is let in, and only one', () => {
  const plugin = fresh();
  const limits = { requestsPerMinute: 3, concurrent: null };
  for (let n = 0; n < 3; n += 1) admitted(admit(order(plugin, limits), 50_000)).release();
  const no = refused(admit(order(plugin, limits), 50_000));
  assert.is(no.retryAfter_s, 20);
  assert.match(no.message, `${plugin} is at its limit of 3 requests a minute`);
  assert.equal(headersOf(no), { 'x-ratelimit-limit-requests': '3', 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '60s' });
  refused(admit(order(plugin, limits), 69_000));
  admitted(admit(order(plugin, limits), 70_000)).release();
  refused(admit(order(plugin, limits), 70_000));
});

test('so many at once; releasing twice gives back one place', () => {
  const plugin = fresh();
  const limits = { requestsPerMinute: null, concurrent: 2 };
  const first = admitted(admit(order(plugin, limits)));
  admitted(admit(order(plugin, limits)));
  const no = refused(admit(order(plugin, limits)));
  assert.match(no.message, 'limit of 2 requests at once');
  assert.ok(no.retryAfter_s > 0);
  first.release();
  first.release();
  admitted(admit(order(plugin, limits)));
  refused(admit(order(plugin, limits)));
});

test('a plugin that declares nothing has the default bound and no headers', () => {
  const plugin = fresh();
  for (let n = 0; n < DEFAULT_CONCURRENT; n += 1) assert.equal(admitted(admit(order(plugin, NONE))).headers, []);
  assert.match(refused(admit(order(plugin, NONE))).message, String(DEFAULT_CONCURRENT));
});

test('a refusal by the capability takes nothing from the plugin', () => {
  const plugin = fresh();
  const limits = { requestsPerMinute: 3, concurrent: 1 };
  const own = { requestsPerMinute: 1, concurrent: null };
  const one = admitted(admit(order(plugin, limits, own), 10_000));
  assert.is(headersOf(one)['x-ratelimit-limit-requests'], '1');
  one.release();
  for (let n = 0; n < 5; n += 1) assert.match(refused(admit(order(plugin, limits, own), 10_000)).message, `${plugin} llm.chat`);
  admitted(admit(order(plugin, limits), 10_000)).release();
  admitted(admit(order(plugin, limits), 10_000)).release();
  refused(admit(order(plugin, limits), 10_000));
});

test('plugins do not share their limits', () => {
  const limits = { requestsPerMinute: 1, concurrent: 1 };
  const [a, b] = [fresh(), fresh()];
  admitted(admit(order(a, limits)));
  refused(admit(order(a, limits)));
  admitted(admit(order(b, limits)));
});

test.run();
