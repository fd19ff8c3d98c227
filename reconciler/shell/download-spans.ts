// Which bytes of a file are here: spans without overlap in rising order, as a pure sum.

/** From the first byte to before the last. */
export type Span = { readonly from: number; readonly to: number };
export type Spans = readonly Span[];

/** The spans with one more; what touches becomes one. */
export function withSpan(spans: Spans, more: Span): Spans {
  if (more.to <= more.from) return spans;
  const before = spans.filter((one) => one.to < more.from);
  const after = spans.filter((one) => one.from > more.to);
  const touched = spans.slice(before.length, spans.length - after.length);
  return [...before, { from: Math.min(more.from, touched[0]?.from ?? more.from), to: Math.max(more.to, touched.at(-1)?.to ?? more.to) }, ...after];
}

/** All bytes before this place are here. */
export const frontOf = (spans: Spans): number => (spans[0]?.from === 0 ? spans[0].to : 0);

export const sizeOf = (spans: Spans): number => spans.reduce((sum, one) => sum + one.to - one.from, 0);

/** What of them lies before a place. */
export const cutAt = (spans: Spans, end: number): Spans => spans.filter((one) => one.from < end).map((one) => ({ from: one.from, to: Math.min(one.to, end) }));

/** The first bytes before `total` that are in none of the spans, at most `most` of them; null when there are none. */
export function firstGap(spans: Spans, total: number, most: number): Span | null {
  const from = frontOf(spans);
  if (from >= total) return null;
  const next = spans.find((one) => one.from > from)?.from ?? total;
  return { from, to: Math.min(next, total, from + most) };
}
