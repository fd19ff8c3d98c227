// Which scopes hold which: a role never holds what it should not, and a pattern never more than is granted.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { allows, CAPABILITIES, covers, holds, RIGHTS, ROLES } from './scopes.ts';

const test = suite('scopes');

test('a scope holds itself, a kind all of its kind, and everything holds all', () => {
  assert.ok(covers('llm.chat', 'llm.chat'));
  assert.not(covers('llm.chat', 'llm.embed'));
  assert.ok(covers('llm.*', 'llm.embed'));
  assert.not(covers('llm.*', 'llmx.embed'));
  assert.not(covers('llm.*', 'llm'));
  assert.ok(covers('*', 'users.write'));
  assert.ok(covers(CAPABILITIES, 'repo.command'));
  for (const right of Object.keys(RIGHTS)) assert.not(covers(CAPABILITIES, right), right);
});

test('an admin may everything, a developer no people, a reader changes nothing', () => {
  for (const right of Object.keys(RIGHTS)) assert.ok(allows(ROLES.admin, right), right);
  for (const right of ['users.read', 'users.write', 'audit.read', 'analytics.write']) assert.not(allows(ROLES.developer, right), right);
  assert.ok(allows(ROLES.developer, 'repo.command'));
  for (const right of Object.keys(RIGHTS)) if (right.endsWith('.write') || right === 'plugins.control') assert.not(allows(ROLES.readonly, right), right);
  assert.ok(allows(ROLES.readonly, 'llm.chat'));
  assert.not(allows(ROLES.readonly, 'repo.command'));
});

test('a pattern is held only when all it may stand for is', () => {
  assert.ok(holds(['*'], '*'));
  assert.not(holds(ROLES.developer, '*'));
  assert.ok(holds(ROLES.developer, 'repo.*'));
  assert.ok(holds(ROLES.developer, CAPABILITIES));
  assert.ok(holds(ROLES.developer, 'keys.*'));
  assert.not(holds(ROLES.developer, 'users.*'));
  assert.not(holds(ROLES.developer, 'analytics.*'));
  assert.ok(holds(['repo.*'], 'repo.search.*'));
  assert.not(holds(['repo.search.*'], 'repo.*'));
  assert.not(holds(['config.read', 'config.write'], 'config.*'), 'a plugin may have capabilities of that kind too');
  assert.not(holds(ROLES.readonly, CAPABILITIES));
});

test.run();
