// Counting requests where they are: waiting for a plugin, or with one incarnation of it.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openTraffic } from './traffic.ts';

test('a request waits, goes to one incarnation, comes back and goes to the next; it is one request', () => {
  let pokes = 0;
  const traffic = openTraffic(() => 5_000, () => { pokes += 1; });
  const lease = traffic.lease('a', null);
  assert.equal([traffic.observed()['a'], pokes], [{ waiting: 1, since: 5_000, inFlight: 0, last: 5_000 }, 1]);
  const second = traffic.lease('a', null);
  assert.is(pokes, 1, 'who waits already has woken it');
  second.end({ error: null });
  lease.at('old');
  assert.equal([traffic.observed()['a'], traffic.inFlight('old')], [{ waiting: 0, since: null, inFlight: 1, last: 5_000 }, 1]);
  lease.at(null);
  lease.at('new');
  lease.at('new');
  assert.equal([traffic.inFlight('old'), traffic.inFlight('new'), traffic.figures('a').inFlight], [0, 1, 1]);
  lease.end({ error: null });
  lease.end({ error: 'twice' });
  lease.at('old');
  assert.equal([traffic.inFlight('new'), traffic.inFlight('old')], [0, 0]);
  const { requests, errors, throughput } = traffic.figures('a');
  assert.equal([requests, errors, throughput], [1, 0, 0.1]);
});

test('one that left while it waited is no request, one that was refused is an error', () => {
  const traffic = openTraffic(() => 0, () => undefined);
  traffic.lease('a', null).end({ error: null });
  assert.is(traffic.figures('a').requests, 0);
  traffic.lease('a', null).end({ error: 'it is down' });
  const { requests, errors, lastError } = traffic.figures('a');
  assert.equal([requests, errors, lastError?.message], [1, 1, 'it is down']);
});

test('throughput forgets after its window', () => {
  let now = 0;
  const traffic = openTraffic(() => now, () => undefined);
  for (let count = 0; count < 20; count += 1) traffic.lease('a', 'i').end({ error: null });
  assert.is(traffic.figures('a').throughput, 2);
  now = 9_000;
  assert.is(traffic.figures('a').throughput, 2);
  now = 10_000;
  assert.is(traffic.figures('a').throughput, 0);
  assert.is(traffic.figures('a').requests, 20);
});

test.run();
