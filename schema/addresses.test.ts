// What is an address, what is this machine alone, and where this machine reaches the rest.
import { isIP } from 'node:net';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, busHost, inUrl, isLoopbackHost, nearHost } from './addresses.ts';

const isAddress = (text: string): boolean => addressOf(text) !== null;

test('an address is what node takes for one', () => {
  const part = fc.constantFrom('', '0', '1', 'ff', 'FFFF', '10000', 'g', '255', '256', '01', '127', '192.0.2.1', '1.2.3');
  fc.assert(fc.property(fc.array(part, { minLength: 1, maxLength: 9 }), fc.constantFrom(':', '.', '::'), (parts, glue) => {
    const text = parts.join(glue);
    assert.is(isAddress(text), isIP(text) !== 0, text);
  }), { numRuns: 3_000 });
  fc.assert(fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => { assert.is(isAddress(text), true, text); }));
  for (const text of ['0.0.0.0', '::', '::1', '::ffff:192.0.2.1', 'localhost', 'LocalHost', '1::', '1:2:3:4:5:6:7::']) assert.is(isAddress(text), true, text);
  for (const text of ['', ' 127.0.0.1', '127.1', '0', 'mybox.lan', '*', '[::1]', 'fe80::1%eth0', '127.0.0.1:80', ':::', '1:2:3:4:5:6:7:8::', '::1::']) assert.is(isAddress(text), false, text);
});

test('what means the same is written the same', () => {
  const same = { '::': ['::', '0::', '0:0:0:0:0:0:0:0', '::0.0.0.0'], '::1': ['::1', '0:0:0:0:0:0:0:1', '::0001', '::0.0.0.1'], '127.0.0.1': ['127.0.0.1', '::ffff:127.0.0.1', '::FFFF:7f00:1'], '0.0.0.0': ['0.0.0.0', '::ffff:0:0'], localhost: ['LOCALHOST'], '2001:db8::1': ['2001:DB8::1'] };
  for (const [address, ways] of Object.entries(same)) for (const way of ways) assert.is(addressOf(way), address, way);
});

test('this machine alone', () => {
  for (const host of ['127.0.0.1', '127.255.0.9', '::1', 'localhost']) assert.equal([isLoopbackHost(host), nearHost(host)], [true, host], host);
  for (const host of ['0.0.0.0', '::', '192.0.2.1', '2001:db8::1', '127.0.0.256', '127.0.0.1.evil.example', 'localhost.evil.example']) assert.equal([isLoopbackHost(host), nearHost(host)], [false, '127.0.0.1'], host);
  assert.equal(['::1', '::', '0.0.0.0', '192.0.2.1', '127.0.0.2', 'localhost'].map(busHost), ['::1', ...Array<string>(5).fill('127.0.0.1')]);
  assert.equal(['::1', '127.0.0.1', 'localhost'].map(inUrl), ['[::1]', '127.0.0.1', 'localhost']);
});

test.run();
