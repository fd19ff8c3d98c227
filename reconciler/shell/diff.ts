// Unified text diffs for people: what an edit changes, and what changed meanwhile.

/** Lines kept around a change. */
const CONTEXT_LINES = 3;
/** The table of a comparison grows with the square: above this the middle is shown as replaced whole. */
const MAX_CELLS = 4_000_000;

type Step = { readonly kind: ' ' | '-' | '+'; readonly line: string };

/** Empty when both are equal. */
export function unifiedDiff(before: string, after: string, labels: { readonly from: string; readonly to: string }): string {
  if (before === after) return '';
  const steps = compare(before.split('\n'), after.split('\n'));
  const hunks = hunksOf(steps);
  return [`--- ${labels.from}`, `+++ ${labels.to}`, ...hunks].join('\n');
}

function compare(a: readonly string[], b: readonly string[]): readonly Step[] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const same = (lines: readonly string[]): Step[] => lines.map((line) => ({ kind: ' ', line }));
  return [...same(a.slice(0, start)), ...middle(a.slice(start, a.length - end), b.slice(start, b.length - end)), ...same(a.slice(a.length - end))];
}

/** Longest common subsequence by table; what is between common head and tail is small as a rule. */
function middle(a: readonly string[], b: readonly string[]): readonly Step[] {
  const whole = (): Step[] => [...a.map((line): Step => ({ kind: '-', line })), ...b.map((line): Step => ({ kind: '+', line }))];
  if (a.length === 0 || b.length === 0 || a.length * b.length > MAX_CELLS) return whole();
  const width = b.length + 1;
  const table = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1]! + 1 : Math.max(table[(i + 1) * width + j]!, table[i * width + j + 1]!);
    }
  }
  const steps: Step[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) steps.push({ kind: ' ', line: a[i++]! }), (j += 1);
    else if (j === b.length || (i < a.length && table[(i + 1) * width + j]! >= table[i * width + j + 1]!)) steps.push({ kind: '-', line: a[i++]! });
    else steps.push({ kind: '+', line: b[j++]! });
  }
  return steps;
}

function hunksOf(steps: readonly Step[]): readonly string[] {
  const out: string[] = [];
  const near = new Set<number>();
  steps.forEach((step, index) => {
    if (step.kind !== ' ') for (let at = index - CONTEXT_LINES; at <= index + CONTEXT_LINES; at += 1) near.add(at);
  });
  let from = 1;
  let to = 1;
  for (let index = 0; index < steps.length; ) {
    if (!near.has(index)) {
      from += 1;
      to += 1;
      index += 1;
      continue;
    }
    let end = index;
    while (end < steps.length && near.has(end)) end += 1;
    const hunk = steps.slice(index, end);
    const removed = hunk.filter((step) => step.kind !== '+').length;
    const added = hunk.filter((step) => step.kind !== '-').length;
    out.push(`@@ -${from},${removed} +${to},${added} @@`, ...hunk.map((step) => step.kind + step.line));
    from += removed;
    to += added;
    index = end;
  }
  return out;
}
