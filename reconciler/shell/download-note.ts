// What a part says of itself, in a file beside it: what it is of, which bytes are here, which of them for certain; a note that is not whole is not believed.
import { fstatSync, readSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { Identity } from './download-http.ts';
import { withSpan, type Span, type Spans } from './download-spans.ts';

/** Notes take turns in two places: half of one never hides the other. Gaps are few, for bytes are asked for in order. */
const NOTE_BYTES = 4096;
const VERSION = 1;

export type Note = {
  /** The kernel keeps what was written to it through a kill, not through its own end. */
  readonly boot: string;
  readonly identity: Identity;
  /** The server answers questions for parts. */
  readonly ranged: boolean;
  readonly have: Spans;
  /** What of them is on the disk for certain. */
  readonly safe: Spans;
};

/** As it is written: spans as flat pairs, each from its first byte to before its last. The higher number is the newer note. */
type Written = Omit<Note, 'have' | 'safe'> & { readonly version: number; readonly seq: number; readonly have: readonly number[]; readonly safe: readonly number[] };

/** `before`: the newest that is whole; null when there is none. */
export function openNotes(fd: number) {
  const last = [0, 1].map((place) => readNote(fd, place)).reduce((best, note) => (note !== null && (best === null || note.seq > best.seq) ? note : best), null);
  let seq = last?.seq ?? 0;
  return {
    before: last === null ? null : ({ ...last, have: spansOf(last.have), safe: spansOf(last.safe) } satisfies Note),
    /** Both places are there from now on, whatever the disk holds later. */
    reserve(): void {
      if (fstatSync(fd).size < 2 * NOTE_BYTES) writeSync(fd, Buffer.alloc(2 * NOTE_BYTES), 0, 2 * NOTE_BYTES, 0);
    },
    write(note: Note): void {
      seq += 1;
      writeSync(fd, encode({ ...note, version: VERSION, seq, have: pairsOf(note.have), safe: pairsOf(note.safe) }), (seq % 2) * NOTE_BYTES);
    },
  };
}

/** What stands behind the line's end is left over from a longer note. */
function readNote(fd: number, place: number): Written | null {
  const bytes = Buffer.alloc(NOTE_BYTES);
  const [line = ''] = bytes.toString('utf8', 0, readSync(fd, bytes, 0, NOTE_BYTES, place * NOTE_BYTES)).split('\n', 1);
  const [, sum, text = ''] = /^([0-9]+) (.*)$/.exec(line) ?? [];
  if (sum !== String(crc32(text))) return null;
  const note = JSON.parse(text) as Written;
  return note.version === VERSION ? note : null;
}

/** Its checksum in front, so that half of it is never taken for the whole. With more gaps than fit, the last spans are left out. */
function encode(note: Written): string {
  const text = JSON.stringify(note);
  const line = `${crc32(text)} ${text}\n`;
  if (Buffer.byteLength(line) <= NOTE_BYTES) return line;
  if (note.have.length === 0 && note.safe.length === 0) throw new Error('a note of a download does not fit its place');
  return encode({ ...note, have: note.have.slice(0, -2), safe: note.safe.slice(0, -2) });
}

const pairsOf = (spans: Spans): readonly number[] => spans.flatMap(({ from, to }) => [from, to]);

function spansOf(pairs: readonly number[]): Spans {
  const spans: Span[] = [];
  for (let at = 0; at + 1 < pairs.length; at += 2) spans.push({ from: pairs[at] ?? 0, to: pairs[at + 1] ?? 0 });
  return spans.reduce<Spans>(withSpan, []);
}
