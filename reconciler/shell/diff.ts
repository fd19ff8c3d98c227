// Unified text diffs for people and for patch(1): what an edit changes, and what changed meanwhile.

/** Lines kept around a change. */
const CONTEXT_LINES = 3;
/** Work and memory grow with the square of the edits: two texts that share less are shown as replaced whole. */
const MAX_EDITS = 1_000;

type Step = { readonly kind: ' ' | '-' | '+'; readonly line: string };

/** Empty when both are equal. */
export function unifiedDiff(before: string, after: string, labels: { readonly from: string; readonly to: string }): string {
  if (before === after) return '';
  // A final line break ends the last line, as patch(1) sees it. Where one side has none, what is behind the last break
  // counts as a line of its own on both sides, so that the difference is seen and both texts can be told from the diff.
  const ended = before.endsWith('\n') && after.endsWith('\n');
  const linesOf = (text: string): readonly string[] => (ended ? text.slice(0, -1) : text).split('\n');
  return [`--- ${labels.from}`, `+++ ${labels.to}`, ...hunksOf(compare(linesOf(before), linesOf(after)))].join('\n');
}

function compare(a: readonly string[], b: readonly string[]): readonly Step[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const same = (lines: readonly string[]): Step[] => lines.map((line) => ({ kind: ' ', line }));
  return [...same(a.slice(0, start)), ...middle(a.slice(start, a.length - end), b.slice(start, b.length - end)), ...same(a.slice(a.length - end))];
}

function middle(a: readonly string[], b: readonly string[]): readonly Step[] {
  const trace = a.length === 0 || b.length === 0 ? null : furthest(a, b);
  if (trace === null) return [...a.map((line): Step => ({ kind: '-', line })), ...b.map((line): Step => ({ kind: '+', line }))];
  return walkBack(a, b, trace);
}

/**
 * Myers' greedy search. Entry d holds, for each diagonal k = x - y from -d to d, how far in `a` one gets with d edits; it
 * lies at k + d. Null when more than MAX_EDITS are needed.
 */
function furthest(a: readonly string[], b: readonly string[]): readonly Int32Array[] | null {
  const trace: Int32Array[] = [];
  for (let edits = 0; edits <= MAX_EDITS; edits += 1) {
    const reached = new Int32Array(2 * edits + 1);
    trace.push(reached);
    for (let diagonal = -edits; diagonal <= edits; diagonal += 2) {
      let x = edits === 0 ? 0 : stepFrom(trace[edits - 1]!, edits, diagonal).x;
      while (x < a.length && x - diagonal < b.length && a[x] === b[x - diagonal]) x += 1;
      reached[diagonal + edits] = x;
      if (x >= a.length && x - diagonal >= b.length) return trace;
    }
  }
  return null;
}

/** One edit onto a diagonal: an added line comes from the one above it, a removed line from the one below. */
function stepFrom(last: Int32Array, edits: number, diagonal: number): { readonly added: boolean; readonly x: number } {
  const at = (other: number): number => last[other + edits - 1]!;
  const added = diagonal === -edits || (diagonal !== edits && at(diagonal - 1) < at(diagonal + 1));
  return { added, x: added ? at(diagonal + 1) : at(diagonal - 1) + 1 };
}

function walkBack(a: readonly string[], b: readonly string[], trace: readonly Int32Array[]): readonly Step[] {
  const steps: Step[] = [];
  let x = a.length;
  let y = b.length;
  for (let edits = trace.length - 1; edits > 0; edits -= 1) {
    const step = stepFrom(trace[edits - 1]!, edits, x - y);
    for (; x > step.x; y -= 1) steps.push({ kind: ' ', line: a[(x -= 1)]! });
    steps.push(step.added ? { kind: '+', line: b[(y -= 1)]! } : { kind: '-', line: a[(x -= 1)]! });
  }
  while (x > 0) steps.push({ kind: ' ', line: a[(x -= 1)]! });
  return steps.reverse();
}

function hunksOf(steps: readonly Step[]): readonly string[] {
  const out: string[] = [];
  let from = 1;
  let to = 1;
  for (let index = 0; index < steps.length; ) {
    const end = hunkEnd(steps, index);
    const hunk = steps.slice(index, end);
    const removed = hunk.filter((step) => step.kind !== '+').length;
    const added = hunk.filter((step) => step.kind !== '-').length;
    if (end > index) out.push(`@@ -${from},${removed} +${to},${added} @@`, ...hunk.map((step) => step.kind + step.line));
    from += end > index ? removed : 1;
    to += end > index ? added : 1;
    index = end > index ? end : index + 1;
  }
  return out;
}

/** Behind the hunk that begins here; here itself when no change is near enough. */
function hunkEnd(steps: readonly Step[], begin: number): number {
  const nextChange = (at: number): number => {
    for (let look = at; look <= at + 2 * CONTEXT_LINES && look < steps.length; look += 1) if (steps[look]!.kind !== ' ') return look;
    return -1;
  };
  const first = nextChange(begin);
  if (first === -1 || first > begin + CONTEXT_LINES) return begin;
  let last = first;
  for (let next = first; next !== -1; next = nextChange(last + 1)) last = next;
  return Math.min(steps.length, last + 1 + CONTEXT_LINES);
}
