// Checks that `needs` is a graph without circles, and names each circle by its path.
import { pointerOf } from '../../schema/pointer.ts';
import { suggest } from '../../schema/words.ts';
import type { Problem } from './types.ts';

/** Problems of the graph: names that no plugin has, and circles, each with its whole path. */
export function checkNeeds(needs: Readonly<Record<string, readonly string[]>>): readonly Problem[] {
  const problems: Problem[] = [];
  const ids = Object.keys(needs);
  const known = new Set(ids);
  for (const id of ids) {
    for (const [index, name] of (needs[id] ?? []).entries()) {
      if (known.has(name)) continue;
      problems.push({
        code: 'UnknownPlugin',
        pointer: pointerOf(['plugins', id, 'needs', index]),
        line: null,
        column: null,
        severity: 'error',
        message: `Plugin ${id} needs ${JSON.stringify(name)}, but no plugin of that name is declared.`,
        hint:
          suggest(
            name,
            ids.filter((other) => other !== id),
            'Declared',
          ) ?? 'Remove it from needs.',
      });
    }
  }
  return [...problems, ...circles(needs, ids, known).map((circle) => problemOf(circle, needs))];
}

function problemOf(circle: readonly string[], needs: Readonly<Record<string, readonly string[]>>): Problem {
  const [first = '', second = first] = circle;
  const path = [...circle, first].join(' → ');
  return {
    code: 'NeedsCycle',
    pointer: pointerOf(['plugins', first, 'needs', (needs[first] ?? []).indexOf(second)]),
    line: null,
    column: null,
    severity: 'error',
    message: circle.length === 1 ? `Plugin ${first} needs itself.` : `These plugins wait for each other in a circle: ${path}.`,
    hint: circle.length === 1 ? 'Remove it from its own needs.' : 'Remove one of these from `needs`.',
  };
}

/** A circle per back edge of a depth-first walk. By hand instead of by recursion: a chain may be thousands long. */
function circles(
  needs: Readonly<Record<string, readonly string[]>>,
  ids: readonly string[],
  known: ReadonlySet<string>,
): readonly (readonly string[])[] {
  const found: (readonly string[])[] = [];
  const done = new Set<string>();
  const depth = new Map<string, number>();
  for (const start of ids) {
    if (done.has(start)) continue;
    const path: { readonly id: string; next: number }[] = [{ id: start, next: 0 }];
    depth.set(start, 0);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const name = needs[top.id]?.[top.next++];
      if (name === undefined) {
        path.pop();
        depth.delete(top.id);
        done.add(top.id);
        continue;
      }
      const at = depth.get(name);
      if (at !== undefined) found.push(path.slice(at).map((step) => step.id));
      else if (known.has(name) && !done.has(name)) {
        depth.set(name, path.length);
        path.push({ id: name, next: 0 });
      }
    }
  }
  return found;
}
