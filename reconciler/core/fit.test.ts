// The table of what fits: who starts, who leaves for it, and who waits for whom.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fit } from './fit.ts';
import { loadable } from './fit-sample.ts';

type Row = {
  readonly of: string;
  readonly budget: number | null;
  readonly plugins: readonly string[];
  readonly wanted: string;
  /** Names, divided by blanks. */
  readonly leave?: string;
  readonly start?: string;
  readonly wait?: string;
  /** What is said of the first that waits, or of the first that leaves. */
  readonly says?: RegExp;
};

const rows: readonly Row[] = [
  // Room enough.
  { of: 'nothing is there, nothing is wanted', budget: 10, plugins: [], wanted: '' },
  { of: 'the first one starts', budget: 10, plugins: ['a:4'], wanted: 'a', start: 'a' },
  { of: 'exactly as much as there is', budget: 10, plugins: ['a:10'], wanted: 'a', start: 'a' },
  { of: 'beside another', budget: 10, plugins: ['a:4 idle@1', 'b:6'], wanted: 'b', start: 'b' },
  { of: 'several at once', budget: 10, plugins: ['a:4', 'b:3', 'c:3'], wanted: 'c a b', start: 'c a b' },
  { of: 'who is there already is left alone', budget: 10, plugins: ['a:4 idle@1'], wanted: 'a' },
  { of: 'who is starting is not started again', budget: 10, plugins: ['a:4 starting'], wanted: 'a' },
  { of: 'asked for twice is started once', budget: 10, plugins: ['a:4'], wanted: 'a a', start: 'a' },
  // No budget.
  { of: 'without a budget everything starts', budget: null, plugins: ['a:400 busy@1', 'b:600', 'c:1000 due'], wanted: 'b c', start: 'b c' },
  { of: 'without a budget an old process must still finish', budget: null, plugins: ['a:4 leaving'], wanted: 'a', wait: 'a', says: /its old process is finishing/ },
  // Nobody leaves without need.
  { of: 'over the budget, but nothing is wanted', budget: 10, plugins: ['a:8 idle@1', 'b:8 idle@2'], wanted: '' },
  { of: 'over the budget, and what is wanted is there', budget: 10, plugins: ['a:8 idle@1', 'b:8 idle@2'], wanted: 'b' },
  // Who leaves.
  { of: 'the only one leaves, and the wanted one starts when it is gone', budget: 10, plugins: ['a:6 idle@1', 'b:6'], wanted: 'b', leave: 'a', wait: 'b', says: /it needs 6 B, and a must have left the memory first/ },
  { of: 'the longest unused leaves', budget: 10, plugins: ['a:4 idle@3', 'b:4 idle@1', 'c:4'], wanted: 'c', leave: 'b', wait: 'c' },
  { of: 'never used counts as longest unused', budget: 10, plugins: ['a:4 idle@1', 'b:4 idle', 'c:4'], wanted: 'c', leave: 'b', wait: 'c' },
  { of: 'used at the same time: the name decides, not the order', budget: 10, plugins: ['b:4 idle@1', 'a:4 idle@1', 'c:4'], wanted: 'c', leave: 'a', wait: 'c' },
  { of: 'one that is large enough before two that are older', budget: 10, plugins: ['a:2 idle@1', 'b:2 idle@2', 'c:4 idle@3', 'd:6'], wanted: 'd', leave: 'c', wait: 'd' },
  { of: 'of two that are large enough the longest unused', budget: 12, plugins: ['a:2 idle@1', 'b:5 idle@2', 'c:5 idle@3', 'd:5'], wanted: 'd', leave: 'b', wait: 'd' },
  { of: 'two leave where one is not enough, the longest unused of these', budget: 12, plugins: ['a:3 idle@1', 'b:3 idle@3', 'c:3 idle@2', 'd:3 idle@4', 'e:6'], wanted: 'e', leave: 'a c', wait: 'e' },
  { of: 'nobody leaves who frees nothing', budget: 10, plugins: ['a:0 idle@1', 'b:? idle@2', 'c:6 idle@3', 'd:6'], wanted: 'd', leave: 'c', wait: 'd' },
  { of: 'while the old one is ending, nobody else leaves', budget: 10, plugins: ['a:6 leaving', 'b:4 idle@1', 'c:6'], wanted: 'c', wait: 'c', says: /a must have left/ },
  { of: 'what is being stopped counts as leaving', budget: 10, plugins: ['a:6 stopped idle@1', 'b:4 idle@1', 'c:6'], wanted: 'c', wait: 'c' },
  { of: 'for two wanted ones two leave', budget: 10, plugins: ['a:5 idle@1', 'b:5 idle@2', 'c:4', 'd:4'], wanted: 'c d', leave: 'a b', wait: 'c d' },
  { of: 'room that one eviction leaves over serves the next', budget: 10, plugins: ['a:8 idle@1', 'c:4', 'd:4'], wanted: 'c d', leave: 'a', wait: 'c d' },
  { of: 'nobody leaves for the first whom the room for the second makes needless', budget: 12, plugins: ['a:3 idle@1', 'b:8 idle@2', 'c:3', 'd:3'], wanted: 'c d', leave: 'b', wait: 'c d' },
  // Who never leaves.
  { of: 'not while it answers', budget: 10, plugins: ['a:6 busy@1', 'b:6'], wanted: 'b', wait: 'b', says: /it needs 6 B, and a is answering a request/ },
  { of: 'an idle one that is newer leaves before a busy one', budget: 10, plugins: ['a:5 busy@1', 'b:5 idle@9', 'c:5'], wanted: 'c', leave: 'b', wait: 'c' },
  { of: 'nobody leaves where it would not be enough', budget: 10, plugins: ['a:5 busy@1', 'b:2 idle@2', 'c:8'], wanted: 'c', wait: 'c', says: /a is answering/ },
  { of: 'not while it starts', budget: 10, plugins: ['a:6 starting', 'b:6'], wanted: 'b', wait: 'b', says: /a is still starting/ },
  { of: 'not when it is declared running', budget: 10, plugins: ['a:4 running', 'b:4 idle@9', 'c:5'], wanted: 'c', leave: 'b', wait: 'c' },
  { of: 'not when it is wanted itself, in whatever order', budget: 10, plugins: ['a:6 idle@1', 'b:6'], wanted: 'b a', wait: 'b', says: /a is wanted or needed, too/ },
  { of: 'not when a wanted one needs it', budget: 10, plugins: ['db:3 idle@1', 'b:3 idle@5', 'web:5 needs=db'], wanted: 'web', leave: 'b', wait: 'web' },
  { of: 'not when one declared running needs it', budget: 10, plugins: ['db:3 idle@1', 'web:3 running needs=db', 'b:3 idle@9', 'c:4'], wanted: 'c', leave: 'b', wait: 'c' },
  { of: 'not when a busy one needs it', budget: 10, plugins: ['db:3 idle@1', 'web:3 busy@2 needs=db', 'b:3 idle@9', 'c:4'], wanted: 'c', leave: 'b', wait: 'c' },
  { of: 'not when a starting one needs it', budget: 10, plugins: ['db:3 idle@1', 'web:3 starting needs=db', 'b:3 idle@9', 'c:4'], wanted: 'c', leave: 'b', wait: 'c' },
  { of: 'who is needed leaves with the idle one that needs it', budget: 10, plugins: ['db:5 idle@1', 'web:4 idle@2 needs=db', 'c:9'], wanted: 'c', leave: 'web db', wait: 'c' },
  { of: 'who is needed stays where the one that needs it is enough', budget: 10, plugins: ['db:5 idle@1', 'web:4 idle@2 needs=db', 'c:4'], wanted: 'c', leave: 'web', wait: 'c' },
  { of: 'one that nobody needs before two that belong together', budget: 10, plugins: ['db:5 idle@1', 'web:1 idle@2 needs=db', 'b:4 idle@9', 'c:4'], wanted: 'c', leave: 'b', wait: 'c' },
  // Never.
  { of: 'larger than all there is', budget: 10, plugins: ['a:4 idle@1', 'b:12'], wanted: 'b', wait: 'b', says: /^it needs 12 B, and there are 10 B for all models and plugins; raise `memory`/ },
  { of: 'larger than what is left beside those declared running', budget: 10, plugins: ['a:4 running', 'c:4 idle@1', 'b:8'], wanted: 'b', wait: 'b', says: /of the 10 B there are, those declared running take 4 B; .* on demand/ },
  { of: 'also beside one declared running that is not there yet', budget: 10, plugins: ['a:4 due', 'b:8'], wanted: 'b a', start: 'a', wait: 'b', says: /declared running take 4 B/ },
  { of: 'with what it needs it is too large', budget: 10, plugins: ['db:6', 'web:6 needs=db'], wanted: 'web', wait: 'web db', says: /it needs 12 B together with db/ },
  { of: 'the second of those declared running', budget: 10, plugins: ['a:6 due', 'b:6 due'], wanted: 'a b', start: 'a', wait: 'b', says: /those declared running take 6 B/ },
  { of: 'who can never start holds up nobody', budget: 10, plugins: ['y:4 idle@1', 'b:12 needs=y', 'c:10'], wanted: 'b c', leave: 'y', wait: 'b c', says: /it needs 16 B/ },
  { of: 'the budget was lowered under those declared running', budget: 10, plugins: ['a:12 running', 'b:1', 'c:0'], wanted: 'b c', start: 'c', wait: 'b', says: /declared running take 12 B/ },
  { of: 'declared stopped', budget: 10, plugins: ['a:4 stopped'], wanted: 'a', wait: 'a', says: /it is declared stopped/ },
  { of: 'nobody leaves for one whose need is declared stopped', budget: 10, plugins: ['a:8 idle@1', 'db:1 stopped', 'b:8 needs=db'], wanted: 'b', wait: 'b', says: /it needs db, which is declared stopped/ },
  { of: 'not declared', budget: 10, plugins: [], wanted: 'ghost', wait: 'ghost', says: /it is not declared/ },
  // Not weighed.
  { of: 'one of unknown size starts beside anything', budget: 10, plugins: ['a:10 busy@1', 'b:?'], wanted: 'b', start: 'b' },
  // Declared running.
  { of: 'one declared running makes idle ones leave', budget: 10, plugins: ['a:8 idle@1', 'b:8 due'], wanted: 'b', leave: 'a', wait: 'b' },
  { of: 'one declared running waits for a busy one', budget: 10, plugins: ['a:8 busy@1', 'b:8 due'], wanted: 'b', wait: 'b' },
  // What is needed comes along.
  { of: 'what is needed starts first', budget: 10, plugins: ['web:3 needs=db', 'db:3 needs=disk', 'disk:1'], wanted: 'web', start: 'disk db web' },
  { of: 'room is made for all of it at once', budget: 10, plugins: ['a:5 idle@1', 'web:3 needs=db', 'db:3'], wanted: 'web', leave: 'a', wait: 'web db' },
  { of: 'what one that is there needs starts again', budget: 10, plugins: ['web:3 idle@1 needs=db', 'db:3'], wanted: 'web', start: 'db' },
  { of: 'what two need starts once', budget: 10, plugins: ['a:3 needs=db', 'b:3 needs=db', 'db:4'], wanted: 'a b', start: 'db a b' },
  { of: 'needs in a circle end the call, too', budget: 10, plugins: ['a:3 needs=b', 'b:3 needs=a'], wanted: 'a', start: 'b a' },
  { of: 'what waits with another may be asked for itself, too', budget: 10, plugins: ['a:8 idle@1', 'web:3 needs=db', 'db:3'], wanted: 'web db', leave: 'a', wait: 'web db', says: /a must have left/ },
  { of: 'the reason of one with hope, where one without needs it, too', budget: 10, plugins: ['a:8 idle@1', 'x:9 needs=db', 'web:3 needs=db', 'db:3'], wanted: 'x web', leave: 'a', wait: 'x web db' },
  // The order of asking.
  { of: 'who asks first gets the room', budget: 10, plugins: ['a:6', 'b:6'], wanted: 'b a', start: 'b', wait: 'a', says: /it needs 6 B, and b asked earlier/ },
  { of: 'who asked later does not overtake where both do not fit', budget: 10, plugins: ['s:6 busy@1', 'a:8', 'b:4'], wanted: 'a b', wait: 'a b', says: /s is answering/ },
  { of: 'who fits beside all that asked earlier need not wait', budget: 10, plugins: ['s:6 busy@1', 'a:8', 'b:2'], wanted: 'a b', start: 'b', wait: 'a' },
  { of: 'nor does the third overtake the second', budget: 10, plugins: ['a:6', 'b:8', 'c:4'], wanted: 'a b c', start: 'a', wait: 'b c', says: /a asked earlier/ },
  { of: 'two that wait for what the other keeps: who asked first goes on', budget: 10, plugins: ['x:3 idle@1', 'y:3 idle@2', 'a:5 needs=x', 'b:5 needs=y'], wanted: 'a b', leave: 'y', wait: 'a b', says: /y must have left/ },
  { of: 'who waits for what a later one needs lets him go first', budget: 10, plugins: ['y:4 idle@1', 'a:8', 'b:4 needs=y'], wanted: 'a b', start: 'b', wait: 'a' },
];

for (const row of rows) {
  test(row.of, () => {
    const found = fit({ budget_bytes: row.budget, plugins: row.plugins.map(loadable), wanted: row.wanted.split(' ').filter((name) => name !== '') });
    const names = (list: readonly { readonly plugin: string }[]): string => list.map((one) => one.plugin).join(' ');
    assert.equal([names(found.leave), found.start.join(' '), names(found.wait)], [row.leave ?? '', row.start ?? '', row.wait ?? ''], JSON.stringify(found));
    if (row.says !== undefined) assert.match(found.wait[0]?.because ?? '', row.says);
    for (const { because } of found.leave) assert.match(because, /^nobody uses it now, and (\w+ needs|.* and \w+ need) \d+ B of \d+ B$/);
  });
}

test('who waits is told behind whom', () => {
  const { wait } = fit({ budget_bytes: 10, plugins: ['s:6 busy@1', 'a:8', 'b:12'].map(loadable), wanted: ['a', 'b'] });
  assert.equal(wait.map((one) => one.behind), [['s'], []]);
});

test('what is needed is told of one with hope', () => {
  const { wait } = fit({ budget_bytes: 10, plugins: ['a:8 idle@1', 'x:9 needs=db', 'web:3 needs=db', 'db:3'].map(loadable), wanted: ['x', 'web'] });
  assert.match(wait.find((one) => one.plugin === 'db')?.because ?? '', /^web needs it, and waits: it needs 6 B, and a must have left the memory first$/);
});

test('a thousand idle plugins, each with a need, and one that wants the room of half of them', () => {
  const lines = Array.from({ length: 1_000 }, (_, index) => `p${index}:2 idle@${(index * 7919) % 1_000}${index % 2 === 0 ? '' : ` needs=p${index - 1}`}`);
  const found = fit({ budget_bytes: 2_000, plugins: [...lines, 'big:1000'].map(loadable), wanted: ['big'] });
  assert.is(found.leave.length, 500);
});

test('five hundred that want the room of fifty: the first get it', () => {
  const plugins = Array.from({ length: 500 }, (_, index) => loadable(`p${index}:2`));
  const found = fit({ budget_bytes: 100, plugins, wanted: plugins.map((one) => one.plugin) });
  assert.equal([found.start.length, found.wait.length, found.start[49]], [50, 450, 'p49']);
  assert.match(found.wait[0]?.because ?? '', /^it needs 2 B, and p0 asked earlier, p1 asked earlier, p2 asked earlier and 47 others$/);
});

test.run();
