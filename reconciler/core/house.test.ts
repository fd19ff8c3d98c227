// A file that is not in force and a changed server are drift; a file in force is none.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { houseConditions, houseDrifts, type HouseInput } from './house.ts';

const server = { host: '127.0.0.1', names: [], ports: { web: 1, api: 2, bus: 3 }, tls: null, origins: [], rateLimit: { requestsPerMinute: 600 } };
const problem = { code: 'UnknownKey', pointer: '/plugns', line: 2, column: 1, message: 'no setting "plugns"', hint: null, severity: 'error' as const };
const good: HouseInput = { file: { valid: true, revision: 'a'.repeat(64), inForce: 'a'.repeat(64), problems: [] }, server, opened: server, denied: [], policies: {} };
const kinds = (input: HouseInput): readonly string[] => houseDrifts(input).map((drift) => drift.kind);

test('a file in force is no drift, whatever it warns of', () => {
  assert.equal(kinds(good), []);
  assert.equal(kinds({ ...good, file: { ...good.file, problems: [{ ...problem, severity: 'warning' }] } }), []);
});

test('an invalid, a held and a missing file', () => {
  const invalid = { ...good, file: { ...good.file, valid: false, revision: 'b'.repeat(64), problems: [problem] } };
  const [drift] = houseDrifts(invalid);
  assert.is(drift?.kind, 'ConfigInvalid');
  assert.match(drift?.have ?? '', /line 2: no setting/);
  assert.is(drift?.policy, 'report');
  assert.equal(kinds({ ...invalid, policies: { ConfigInvalid: 'ignore' } }), []);
  assert.equal(kinds({ ...invalid, file: { ...invalid.file, problems: [{ ...problem, code: 'ConfigHeld', line: null }] } }), ['ConfigHeld']);
  assert.equal(kinds({ ...invalid, file: { ...invalid.file, revision: null } }), ['FileMissing']);
});

test('another host or port than the one opened, and TLS on or off, but not what is taken in live', () => {
  assert.equal(kinds({ ...good, server: { ...server, ports: { ...server.ports, api: 4 } } }), ['ServerChanged']);
  assert.equal(kinds({ ...good, server: { ...server, rateLimit: { requestsPerMinute: 1 } } }), []);
  assert.equal(kinds({ ...good, server: { ...server, host: '0.0.0.0' }, opened: null }), []);
  assert.equal(kinds({ ...good, server: { ...server, names: ['mybox.lan'], origins: ['*'] } }), []);
  const tls = { cert: '/a.crt', key: '/a.key' };
  const [drift] = houseDrifts({ ...good, server: { ...server, tls } });
  assert.equal([drift?.kind, drift?.want.slice(0, 18), drift?.have.slice(0, 17)], ['ServerChanged', 'HTTPS on 127.0.0.1', 'HTTP on 127.0.0.1']);
  assert.equal(kinds({ ...good, server: { ...server, tls: { ...tls, cert: '/b.crt' } }, opened: { ...server, tls } }), []);
});

test('a file, a database and a certificate that are well, and each that is not', () => {
  const file = { ...good.file, path: '/etc/bkg/bkg.yaml' };
  const bad = (faults: Parameters<typeof houseConditions>[1]): readonly string[] => houseConditions(file, faults).filter(({ status }) => status !== 'True').map(({ type, message }) => `${type}: ${message}`);
  assert.equal(bad({ store: null, certificate: null }), []);
  assert.equal(bad({ store: null, certificate: 'it has expired' }), ['CertificateGood: it has expired']);
  assert.match(bad({ store: 'no space', certificate: null })[0] ?? '', /^StoreWritable: .*no space/);
});

test.run();
