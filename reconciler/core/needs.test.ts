// Circles are found and named by their path; a graph without any passes, however deep.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkNeeds } from './needs.ts';

test('a circle is named by its path', () => {
  const [problem, ...more] = checkNeeds({ a: ['x', 'b'], b: ['c'], c: ['a'], x: [] });
  assert.equal(more, []);
  assert.is(problem?.code, 'NeedsCycle');
  assert.is(problem?.pointer, '/plugins/a/needs/1');
  assert.match(problem?.message ?? '', /a → b → c → a/);
});

test('a circle further in is named without the way to it', () => {
  assert.match(checkNeeds({ a: ['b'], b: ['c'], c: ['b'] })[0]?.message ?? '', /: b → c → b\./);
});

test('oneself', () => {
  const problems = checkNeeds({ a: ['a'] });
  assert.equal(
    problems.map((problem) => [problem.pointer, problem.message]),
    [['/plugins/a/needs/0', 'Plugin a needs itself.']],
  );
});

test('two circles are two problems', () => {
  assert.is(checkNeeds({ a: ['b'], b: ['a'], c: ['d'], d: ['c'] }).length, 2);
});

test('unknown names, with a guess', () => {
  const [problem] = checkNeeds({ database: [], web: ['databse'] });
  assert.equal([problem?.code, problem?.pointer, problem?.hint], ['UnknownPlugin', '/plugins/web/needs/0', 'Did you mean "database"?']);
  assert.is(checkNeeds({ toy: ['toString'] })[0]?.code, 'UnknownPlugin');
});

test('a chain of ten thousand', () => {
  const chain = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`p${index}`, index === 0 ? [] : [`p${index - 1}`]]));
  assert.equal(checkNeeds(chain), []);
  assert.is(checkNeeds({ ...chain, p0: ['p9999'] }).length, 1);
});

// A graph is free of circles exactly when it can be taken apart by removing what needs nothing any more.
function hasCircle(needs: Readonly<Record<string, readonly string[]>>): boolean {
  const left = new Set(Object.keys(needs));
  for (let before = -1; before !== left.size;) {
    before = left.size;
    for (const id of left) if (!(needs[id] ?? []).some((name) => left.has(name))) left.delete(id);
  }
  return left.size > 0;
}

test('any graph: a problem exactly when there is a circle, and the named path is one', () => {
  const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
  const graph = fc.record(Object.fromEntries(ids.map((id) => [id, fc.uniqueArray(fc.constantFrom(...ids), { maxLength: 2 })])));
  fc.assert(
    fc.property(graph, (needs) => {
      const problems = checkNeeds(needs);
      assert.is(problems.length > 0, hasCircle(needs));
      for (const problem of problems) {
        const path = /: (.*)\./.exec(problem.message)?.[1]?.split(' → ') ?? [];
        for (const [index, id] of path.slice(0, -1).entries()) assert.ok(needs[id]?.includes(path[index + 1] ?? ''), problem.message);
      }
    }),
    { numRuns: 500 },
  );
});

test.run();
