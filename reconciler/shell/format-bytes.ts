// Reads the head of a model file step by step: never more than its bounds, and what is wrong with it is kept in words.
/** The first read after a jump is small, for most often the next thing is another jump; what follows in a row is read in larger steps. */
const FIRST_BYTES = 1 << 12;
const WINDOW_BYTES = 1 << 18;
/** The largest heads known, of models with 300,000 tokens, have 30 MB. A file that wants more read is made to keep us busy. */
const READ_MAX_BYTES = 1 << 28;
const QUOTED_MAX_CHARS = 80;
const VARINT_MAX_BYTES = 10;

/**
 * A place in the file and the first fault. After a fault every read gives zeros and moves nothing, so that a caller may look at `fault`
 * when it suits him: once each round of a loop is enough.
 */
export type Reader = {
  readonly size_bytes: number;
  readonly at: () => number;
  readonly left: () => number;
  /** What is wrong, to stand after the name of the file; null while all is well. */
  readonly fault: () => string | null;
  /** Only the first counts: the rest follows from it. */
  readonly fail: (why: string) => void;
  readonly skip: (bytes: number, what: string) => void;
  /** The bytes stay as they are until the next read. */
  readonly take: (bytes: number, what: string) => Promise<Buffer>;
  readonly u8: (what: string) => Promise<number>;
  readonly u32: (what: string) => Promise<number>;
  /** Above 2^53 the last digits are lost; every bound is far below. */
  readonly u64: (what: string) => Promise<number>;
  /** A protobuf number; -1 stands for everything below zero. */
  readonly varint: (what: string) => Promise<number>;
  /** As `take`, for as much as the caller has a bound for. */
  readonly copy: (bytes: number, what: string) => Promise<Buffer>;
  /** Passes `count` texts that each begin with their length in eight bytes, without a promise for each of them. */
  readonly skipTexts: (count: number, what: string) => Promise<void>;
};

/** What stands in a file, for a message: short, and without anything that could be taken for our own words. */
export const quote = (text: string): string => JSON.stringify(text.length > QUOTED_MAX_CHARS ? `${text.slice(0, QUOTED_MAX_CHARS)}…` : text);

export const damaged = (how: string): string => `is damaged: ${how}; fetch it again, or take it from another source`;

/** 1234567 → `1,234,567`. */
export const grouped = (count: number): string => String(count).replace(/\B(?=(\d{3})+$)/g, ',');

export const plural = (count: number, word: string): string => `${grouped(count)} ${word}${count === 1 ? '' : 's'}`;

export function cutShort(missing_bytes: number, whole_bytes: number): string {
  return `is cut short: ${plural(missing_bytes, 'byte')} of ${grouped(whole_bytes)} ${missing_bytes === 1 ? 'is' : 'are'} missing; fetch it again`;
}

/** Fills `into` from `offset` on with at most `length` bytes of the file from `position` on, as a file handle does. */
export type ReadAt = (into: Buffer, offset: number, length: number, position: number) => Promise<{ readonly bytesRead: number }>;

export function openReader(readAt: ReadAt, size_bytes: number, signal: AbortSignal): Reader {
  let space = Buffer.alloc(FIRST_BYTES);
  let base = 0; // Where in the file the window begins …
  let held = 0; // … and how much of it is filled.
  let at = 0;
  let wanted_bytes = FIRST_BYTES;
  let spent_bytes = 0;
  let fault: string | null = null;

  const fail = (why: string): void => { fault ??= why; };
  const left = (): number => size_bytes - at;
  const has = (bytes: number): boolean => at >= base && at + bytes <= base + held;

  /** Makes sure that `bytes` from here on are in the window; false after a fault. */
  async function fill(bytes: number, what: string): Promise<boolean> {
    if (bytes > WINDOW_BYTES) throw new Error(`bkg asks for ${bytes} bytes at once: ${what}`);
    if (fault !== null) return false;
    if (has(bytes)) return true;
    if (bytes > left()) fail(`is cut short: it ends within ${what}; fetch it again`);
    else if (spent_bytes > READ_MAX_BYTES) fail(damaged(`more than ${grouped(READ_MAX_BYTES)} bytes of it are said to be no weights`));
    if (fault !== null) return false;
    signal.throwIfAborted();
    wanted_bytes = at === base + held ? Math.min(wanted_bytes * 2, WINDOW_BYTES) : FIRST_BYTES;
    base = at;
    held = 0;
    const most = Math.min(Math.max(wanted_bytes, bytes), left());
    // Most heads need no more than the first bytes: only then a window of the full size.
    if (most > space.length) space = Buffer.alloc(WINDOW_BYTES);
    while (held < bytes) {
      const { bytesRead } = await readAt(space, held, most - held, base + held);
      if (bytesRead === 0) fail('became shorter while it was read; try again');
      if (bytesRead === 0) return false;
      held += bytesRead;
      spent_bytes += bytesRead;
    }
    return true;
  }

  async function take(bytes: number, what: string): Promise<Buffer> {
    if (!has(bytes) || fault !== null) {
      if (!(await fill(bytes, what))) return Buffer.alloc(bytes);
    }
    at += bytes;
    return space.subarray(at - bytes - base, at - base);
  }

  function skip(bytes: number, what: string): void {
    if (fault !== null) return;
    if (bytes > left()) fail(`is cut short or damaged: ${what} should have ${grouped(bytes)} bytes, only ${grouped(left())} are left; fetch it again`);
    else at += bytes;
  }

  async function skipTexts(count: number, what: string): Promise<void> {
    for (let index = 0; index < count && fault === null; index += 1) {
      if (!has(8) && !(await fill(8, what))) return;
      const bytes = Number(space.readBigUInt64LE(at - base));
      at += 8;
      skip(bytes, what);
    }
  }

  async function varint(what: string): Promise<number> {
    let value = 0;
    for (let index = 0; index < VARINT_MAX_BYTES; index += 1) {
      if (!has(1) && !(await fill(1, what))) return 0;
      const byte = space[at - base] ?? 0;
      at += 1;
      // The tenth byte holds the sign: a negative number takes all ten.
      if (index === VARINT_MAX_BYTES - 1) return (byte & 1) === 1 ? -1 : value;
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) return value;
    }
    return value;
  }

  async function copy(bytes: number, what: string): Promise<Buffer> {
    const end = at + bytes;
    skip(bytes, what);
    if (fault !== null) return Buffer.alloc(0);
    at -= bytes;
    const copied = Buffer.alloc(bytes);
    while (at < end && fault === null) {
      const done = bytes - (end - at);
      (await take(Math.min(bytes - done, WINDOW_BYTES), what)).copy(copied, done);
    }
    return copied;
  }

  return {
    size_bytes, at: () => at, left, fault: () => fault, fail, skip, take, copy, skipTexts, varint,
    u8: async (what) => (await take(1, what)).readUInt8(0),
    u32: async (what) => (await take(4, what)).readUInt32LE(0),
    u64: async (what) => Number((await take(8, what)).readBigUInt64LE(0)),
  };
}
