// Ends a text before a stop string, wherever pieces are cut; what may be the beginning of one waits.

export function openStops(stops: readonly string[], tell: (text: string) => void) {
  let said = '';
  let held = '';
  const say = (text: string): void => {
    if (text === '') return;
    said += text;
    tell(text);
  };
  return {
    /** True when a stop string has come: it and what follows are not part of the text. */
    push(piece: string): boolean {
      held += piece;
      const found = stops.map((stop) => held.indexOf(stop)).filter((at) => at >= 0);
      if (found.length > 0) {
        say(held.slice(0, Math.min(...found)));
        held = '';
        return true;
      }
      const keep = longestBeginning(held, stops);
      say(held.slice(0, held.length - keep));
      held = held.slice(held.length - keep);
      return false;
    },
    /** No stop came: what waited is text after all. */
    end(): void {
      say(held);
      held = '';
    },
    text: (): string => said,
  };
}

/** Length of the longest end of `text` that begins a stop string. */
function longestBeginning(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length -= 1) {
      if (text.endsWith(stop.slice(0, length))) longest = length;
    }
  }
  return longest;
}
