// Unified diffs with the secrets masked: both sides are rebuilt from the diff, masked by schema, and put back line by line.

type Hunk = { readonly from: number; readonly to: number; readonly lines: readonly string[] };

function hunksOf(diff: string): { readonly head: readonly string[]; readonly hunks: readonly Hunk[] } {
  const lines = diff.split('\n');
  const first = lines.findIndex((line) => line.startsWith('@@ '));
  const head = first === -1 ? lines : lines.slice(0, first);
  const hunks: Hunk[] = [];
  let body: string[] = [];
  for (const line of first === -1 ? [] : lines.slice(first)) {
    const found = /^@@ -(\d+),\d+ \+(\d+),\d+ @@/.exec(line);
    if (found === null) body.push(line);
    else {
      body = [];
      hunks.push({ from: Number(found[1]), to: Number(found[2]), lines: body });
    }
  }
  return { head, hunks };
}

/** The other side of a diff; null when the diff was not made from this text. `side` says which one `text` is. */
export function otherSide(diff: string, text: string, side: 'before' | 'after'): string | null {
  const [own, other] = side === 'before' ? ['-', '+'] : ['+', '-'];
  const lines = text.split('\n');
  const out: string[] = [];
  let at = 0;
  for (const hunk of hunksOf(diff).hunks) {
    const start = (side === 'before' ? hunk.from : hunk.to) - 1;
    if (start < at) return null;
    out.push(...lines.slice(at, start));
    at = start;
    for (const line of hunk.lines) {
      const mark = line[0];
      if (mark === ' ' || mark === own) {
        if (lines[at] !== line.slice(1)) return null;
        at += 1;
      }
      if (mark === ' ' || mark === other) out.push(line.slice(1));
    }
  }
  return [...out, ...lines.slice(at)].join('\n');
}

/**
 * The diff as it may be shown. `before` is the text it starts from. Null when that cannot be told safely: then nothing is
 * shown rather than a secret.
 */
export function redactDiff(diff: string, before: string, redact: (text: string) => string | null): string | null {
  if (diff === '') return '';
  const after = otherSide(diff, before, 'before');
  if (after === null) return null;
  const left = redact(before)?.split('\n');
  const right = redact(after)?.split('\n');
  if (left === undefined || right === undefined || left.length !== before.split('\n').length || right.length !== after.split('\n').length) return null;
  const { head, hunks } = hunksOf(diff);
  const out = [...head];
  const headers = diff.split('\n').filter((line) => line.startsWith('@@ '));
  hunks.forEach((hunk, index) => {
    out.push(headers[index] ?? '');
    let from = hunk.from - 1;
    let to = hunk.to - 1;
    for (const line of hunk.lines) {
      const mark = line[0];
      out.push(mark === '+' ? `+${right[to]}` : `${mark}${left[from]}`);
      if (mark !== '+') from += 1;
      if (mark !== '-') to += 1;
    }
  });
  return out.join('\n');
}
