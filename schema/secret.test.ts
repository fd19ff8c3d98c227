// The one rule of secrets: by the name of a variable, by the marks of a schema, and what may stand there all the same.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isLiteral, isPlainName, isSecretName, secrecyOf } from './secret.ts';

test('names that look like a secret, in any case, whole, as parts, and written as one word', () => {
  for (const name of [
    'TOKEN', 'KEY', 'SECRET', 'PASSWORD', 'CREDENTIAL', 'HF_TOKEN', 'hf_token', 'API_KEY', 'APIKEY', 'apiKey', 'apiKeyOld', 'API_KEYS', 'KEY_1', 'API_KEY2', 'AWS_SECRET_ACCESS_KEY', 'SECRET_KEY_BASE', 'CLIENT_SECRET_OLD',
    'DB_PASSWORD', 'dbpassword', 'DB_PASS', 'DB_PWD', 'PASSPHRASE', 'GOOGLE_APPLICATION_CREDENTIALS', 'JWT', 'SENTRY_DSN', 'ACCESS_TOKENS', 'MAX_TOKEN', '_KEY', 'GITHUB_PAT', 'PASSCODE', 'COOKIE', 'ACCESSKEYID', 'MAX_TOKENS_SECRET', 'TOKEN_COUNT_API_KEY',
  ]) assert.is(isSecretName(name), true, name);
});

test('names that clearly do not', () => {
  for (const name of [
    'LOG_LEVEL', 'A', 'X', 'PATH', 'PORT', 'BASE_URL', 'TOKENIZERS_PARALLELISM', 'KEYBOARD', 'SECRETARY', 'PASSTHROUGH', 'COMPASS', 'AUTHOR', 'OMP_NUM_THREADS', 'PLAIN',
    'MAX_TOKENS', 'MAX_NEW_TOKENS', 'n_tokens', 'TOKENS_PER_MINUTE', 'TOKEN_LIMIT', 'POSTGRES_PASSWORD_FILE', 'TLS_KEY_PATH', 'SECRET_DIR', 'MONKEY', 'AUTH_ENABLED', 'API_KEY_DIR', 'DATABASE_URL', 'SLACK_WEBHOOK_URL',
  ]) assert.is(isSecretName(name), false, name);
});

test('shown is only what leaves no doubt: a name that looks like no secret may still hold one', () => {
  for (const name of ['LOG_LEVEL', 'PORT', 'BIND_HOST', 'logLevel', 'OMP_NUM_THREADS', 'TOKENIZERS_PARALLELISM', 'MAX_TOKENS', 'POSTGRES_PASSWORD_FILE', 'TZ', 'DEBUG']) assert.is(isPlainName(name), true, name);
  for (const name of ['DATABASE_URL', 'SLACK_WEBHOOK_URL', 'A', 'PLAIN', 'HF_TOKEN', 'GREETING', 'REDIS_URI', 'BASIC_AUTH', 'LOG-LEVEL', '']) assert.is(isPlainName(name), false, name);
});

test('what is no name of a variable might hold anything', () => {
  for (const name of ['', '0', 'a b', 'LOG-LEVEL', '__proto__ ']) assert.is(isSecretName(name), true, name);
});

test('marks: the place\'s own, else that of what it stands in', () => {
  assert.equal(secrecyOf(null, 'x', true), { masked: true, guarded: true, below: true });
  assert.equal(secrecyOf({ type: 'string' }, 'x', false), { masked: false, guarded: false, below: false });
  assert.equal(secrecyOf({ 'x-secret': false }, 'TOKEN', true), { masked: false, guarded: false, below: false });
  assert.equal(secrecyOf({ 'x-secret': 'byName' }, 'TOKEN', false), { masked: true, guarded: true, below: true });
  assert.equal(secrecyOf({ 'x-secret': 'byName' }, 'LOG_LEVEL', true), { masked: false, guarded: false, below: true });
  assert.equal(secrecyOf({ 'x-secret': 'byName' }, 'DATABASE_URL', true), { masked: true, guarded: false, below: true });
});

test('a reference, a hash and nothing are no literal; a reference that could carry one is', () => {
  for (const value of [null, '', '${env:A}', '${env:A:-}', `$2b$12$${'a'.repeat(53)}`]) assert.is(isLiteral(value), false, String(value));
  for (const value of ['x', ' ', 0, false, 'x ${env:A}', '${env:A:-x}', '${env:A}${env:B}', '${env:A} ', '$2b$12$short']) assert.is(isLiteral(value), true, String(value));
});

test.run();
