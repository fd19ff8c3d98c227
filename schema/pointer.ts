// JSON Pointers (RFC 6901): taken apart, put together, and said in words a person can find in the file.

/** The keys a pointer walks through; `''` gives none. */
export function tokensOf(pointer: string): readonly string[] {
  if (pointer === '') return [];
  return pointer
    .slice(1)
    .split('/')
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** One key as a part of a pointer. */
export function escapeToken(token: string): string {
  return token.includes('~') || token.includes('/') ? token.replaceAll('~', '~0').replaceAll('/', '~1') : token;
}

/** The pointer that walks through these keys. */
export function pointerOf(tokens: readonly (string | number)[]): string {
  let text = '';
  for (const token of tokens) text += `/${escapeToken(String(token))}`;
  return text;
}

/** A pointer as people read it: `plugins.coder.needs[0]`; the whole document is "the file". */
export function labelOf(pointer: string): string {
  let text = '';
  for (const token of tokensOf(pointer)) {
    if (/^[0-9]+$/.test(token)) text += `[${token}]`;
    else if (/^[\w$-]+$/.test(token)) text += text === '' ? token : `.${token}`;
    else text += `[${JSON.stringify(token)}]`;
  }
  return text === '' ? 'the file' : text;
}
