// How HTTP/1.1 cuts a stream of bytes into a head and a body: the head as text, the body by length, in chunks, or until the end.

/** Real heads have 2 KiB, those of hubs with signed addresses 8. */
export const HEAD_MAX_BYTES = 64 * 1024;
/** A chunk's size in hexadecimal and what may follow it. */
const SIZE_LINE_MAX = 4 * 1024;
const CRLF = '\r\n';
const LF = 10;

export type Head = {
  readonly status: number;
  /** Names in lower case; of one that stands twice, the first. */
  readonly headers: ReadonlyMap<string, string>;
  /** How long the body is, if that is told beforehand. */
  readonly length: number | null;
  /** Its end is told by the end of the connection, which a cut looks like, too. */
  readonly endless: boolean;
  readonly keepsOpen: boolean;
};

/** What this side cannot make sense of. */
export const notHttp = (message: string): Error => Object.assign(new Error(message), { code: 'NOT_HTTP' });
export const isNotHttp = (error: unknown): error is Error => (error as NodeJS.ErrnoException).code === 'NOT_HTTP';

/** The head without its closing empty line. Throws when it is none. */
export function parseHead(text: string): Head {
  const [first = '', ...lines] = text.split(CRLF);
  const begin = /^HTTP\/1\.([01]) ([1-5][0-9][0-9])(?: |$)/.exec(first);
  if (begin === null) throw notHttp(`it does not speak HTTP: "${first.slice(0, 40)}"`);
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name = '', value = ''] = /^([^\s:]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === '') throw notHttp(`its head has a line that is none: "${line.slice(0, 40)}"`);
    const known = headers.get(name.toLowerCase());
    if (known === undefined) headers.set(name.toLowerCase(), value);
    else if (name.toLowerCase() === 'content-length' && known !== value) throw notHttp(`it tells two lengths, ${known} and ${value}`);
  }
  const status = Number(begin[2]);
  const coding = headers.get('transfer-encoding')?.toLowerCase();
  if (coding !== undefined && coding !== 'chunked') throw notHttp(`it sends the file as "${coding}"`);
  const told = headers.get('content-length');
  if (told !== undefined && !/^[0-9]{1,15}$/.test(told)) throw notHttp(`its length is no number: "${told.slice(0, 40)}"`);
  const empty = status < 200 || status === 204 || status === 304;
  const length = empty ? 0 : coding !== undefined || told === undefined ? null : Number(told);
  const connection = headers.get('connection')?.toLowerCase() ?? (begin[1] === '1' ? 'keep-alive' : 'close');
  const endless = length === null && coding === undefined;
  return { status, headers, length, endless, keepsOpen: !endless && !connection.includes('close') };
}

/** Hands on what of the bytes is the body's; returns how many of them it took once the body has ended, null while it goes on. */
export type Framing = (bytes: Buffer, take: (part: Buffer) => void) => number | null;

export function framingOf(head: Head): Framing {
  if (head.endless) return (bytes, take) => { if (bytes.length > 0) take(bytes); return null; };
  return head.length === null ? inChunks() : byLength(head.length);
}

function byLength(length: number): Framing {
  let left = length;
  return (bytes, take) => {
    const part = Math.min(left, bytes.length);
    left -= part;
    if (part > 0) take(bytes.subarray(0, part));
    return left === 0 ? part : null;
  };
}

function inChunks(): Framing {
  /** Bytes of the chunk that are to come. */
  let left = 0;
  let line = '';
  let expected: 'size' | 'data' | 'end of data' | 'trailer' = 'size';
  const endOfLine = (text: string): boolean => {
    if (expected === 'size') {
      const size = /^([0-9a-f]{1,12})[ \t]*(?:;.*)?$/i.exec(text)?.[1];
      if (size === undefined) throw notHttp(`a chunk begins with "${text.slice(0, 40)}"`);
      left = Number.parseInt(size, 16);
      expected = left === 0 ? 'trailer' : 'data';
      return false;
    }
    if (expected === 'trailer') return text === '';
    if (text !== '') throw notHttp('a chunk is longer than it says');
    expected = 'size';
    return false;
  };
  return (bytes, take) => {
    for (let at = 0; at < bytes.length;) {
      if (expected === 'data') {
        const part = Math.min(left, bytes.length - at);
        take(bytes.subarray(at, at + part));
        [at, left] = [at + part, left - part];
        if (left === 0) expected = 'end of data';
        continue;
      }
      const end = bytes.indexOf(LF, at);
      line += bytes.toString('latin1', at, end === -1 ? bytes.length : end);
      if (line.length > SIZE_LINE_MAX) throw notHttp('the size of a chunk has no end');
      if (end === -1) return null;
      const text = line.replace(/\r$/, '');
      [at, line] = [end + 1, ''];
      if (endOfLine(text)) return at;
    }
    return null;
  };
}
