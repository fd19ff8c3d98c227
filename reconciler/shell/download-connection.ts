// One connection of a download: asks in HTTP/1.1, hands the bytes of the answer on as they come, notices when none come any more.
import type { Socket } from 'node:net';
import { ofWire } from './download-faults.ts';
import { framingOf, HEAD_MAX_BYTES, isNotHttp, notHttp, parseHead, type Framing, type Head } from './download-framing.ts';
import { openSocket, proxyAuthorization, proxyOf, type Way } from './download-socket.ts';

/** A silence is counted in so many looks. A thread that was held up itself looks once, and then hears first. */
const STALL_LOOKS = 4;
const HEAD_END = Buffer.from('\r\n\r\n');
const NOTHING = Buffer.alloc(0);
/** What may stand in a line of a request. */
const LINE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Milliseconds to wait before more is read, or `enough`. The bytes are gone when it returns. */
export type Take = (bytes: Buffer) => number | 'enough';

export type Connection = {
  /** Throws when the connection ends before the head of the answer is there. */
  readonly ask: (url: URL, headers: Readonly<Record<string, string>>) => Promise<Head>;
  /** The body of what was asked last; silence of the other side counts only meanwhile. Throws when the connection ends before it does. */
  readonly read: (take: Take) => Promise<void>;
  /** Another question may be asked here. */
  readonly isFree: () => boolean;
  /** Whoever waits for an answer is told why. */
  readonly close: (why?: Error) => void;
};

const cut = (host: string): Error => ofWire(Object.assign(new Error('the connection ended in the middle'), { code: 'ECONNRESET' }), host);

type Talk = {
  phase: 'idle' | 'head' | 'held' | 'body' | 'closed';
  /** What came and is not looked at yet. */
  waiting: Buffer;
  head: Head | null;
  framing: Framing | null;
  take: Take;
  quiet: number;
  /** It waits for its own sake: silence is not the other's. */
  pausing: NodeJS.Timeout | null;
  pending: { readonly resolve: () => void; readonly reject: (error: Error) => void } | null;
};

/** `signal` ends the opening only. */
export async function openConnection(url: URL, way: Way & { readonly buffer_bytes: number }): Promise<Connection> {
  const { host } = url;
  const talk: Talk = { phase: 'idle', waiting: NOTHING, head: null, framing: null, take: () => 'enough', quiet: 0, pausing: null, pending: null };
  const proxy = proxyOf(url, way.proxies);
  // Until it is asked, nothing is wanted of it.
  let hear: (bytes: Buffer) => boolean = () => false;
  const socket = await openSocket(url, way, { buffer: Buffer.allocUnsafe(way.buffer_bytes), hear: (bytes) => hear(bytes) });
  const end = (error: Error): void => {
    if (talk.phase === 'closed') return;
    talk.phase = 'closed';
    clearInterval(looking);
    if (talk.pausing !== null) clearTimeout(talk.pausing);
    socket.destroy();
    talk.pending?.reject(error);
    talk.pending = null;
  };
  const done = (phase: 'idle' | 'held'): void => {
    talk.phase = phase;
    talk.pending?.resolve();
    talk.pending = null;
  };
  hear = (bytes) => {
    try {
      return heard(talk, bytes, { socket, done, end: () => end(cut(host)) });
    } catch (error) {
      end(isNotHttp(error) ? ofWire(error, host) : (error as Error));
      return false;
    }
  };
  socket.on('error', (error) => end(ofWire(error, host)));
  socket.on('close', () => {
    // Only here the end of the connection is the end of the file.
    if (talk.phase === 'body' && talk.head?.endless === true && talk.pausing === null) done('idle');
    end(cut(host));
  });
  const looking = setInterval(() => {
    const awaits = talk.phase === 'head' || (talk.phase === 'body' && talk.pausing === null);
    talk.quiet = awaits ? talk.quiet + 1 : 0;
    if (talk.quiet > STALL_LOOKS) end(ofWire(Object.assign(new Error(`no byte came for ${way.stall_ms / 1000} s`), { code: 'STALLED' }), host));
  }, way.stall_ms / STALL_LOOKS);
  const waits = (begin: () => void): Promise<void> => new Promise((resolve, reject) => {
    if (talk.phase === 'closed') return reject(cut(host));
    talk.pending = { resolve, reject };
    talk.quiet = 0;
    begin();
  });
  return {
    async ask(to, headers) {
      const text = requestOf(to, headers, proxy);
      await waits(() => {
        Object.assign(talk, { phase: 'head', waiting: NOTHING, head: null });
        socket.write(text, 'latin1');
        socket.resume();
      });
      return talk.head as Head;
    },
    read: (take) => waits(() => {
      Object.assign(talk, { phase: 'body', take });
      const { waiting } = talk;
      talk.waiting = NOTHING;
      // Also without any: a body may be empty.
      if (hear(waiting)) socket.resume();
    }),
    isFree: () => talk.phase === 'idle' && talk.head?.keepsOpen !== false && !socket.destroyed,
    close: (why = cut(host)) => end(why),
  };
}

type Deeds = { readonly socket: Socket; readonly done: (phase: 'idle' | 'held') => void; readonly end: () => void };

/** Answers whether more may come now. */
function heard(talk: Talk, bytes: Buffer, on: Deeds): boolean {
  switch (talk.phase) {
    // Bytes that nobody asked for: what follows them cannot be told from an answer.
    case 'idle': on.end(); return false;
    case 'closed': return false;
    // The buffer is used again: what stays is copied.
    case 'held': talk.waiting = Buffer.concat([talk.waiting, bytes]); return false;
    case 'head': {
      talk.waiting = Buffer.concat([talk.waiting, bytes]);
      for (;;) {
        const end = talk.waiting.indexOf(HEAD_END);
        if (end === -1 && talk.waiting.length > HEAD_MAX_BYTES) throw notHttp('the head of its answer has no end');
        if (end === -1) return true;
        const head = parseHead(talk.waiting.toString('latin1', 0, end));
        talk.waiting = talk.waiting.subarray(end + HEAD_END.length);
        // "Go on" and "early hints" come before the answer.
        if (head.status < 200) continue;
        Object.assign(talk, { head, framing: framingOf(head) });
        on.done('held');
        return false;
      }
    }
    case 'body': return body(talk, bytes, on);
  }
}

function body(talk: Talk, bytes: Buffer, on: Deeds): boolean {
  talk.quiet = 0;
  let pause_ms = 0;
  let isEnough = false;
  const took = talk.head?.length === 0 ? 0 : talk.framing?.(bytes, (part) => {
    if (isEnough) return;
    const wish = talk.take(part);
    if (wish === 'enough') isEnough = true;
    else pause_ms += wish;
  }) ?? null;
  if (took !== null || isEnough) {
    const clean = took === bytes.length && talk.head?.keepsOpen === true;
    on.done('idle');
    if (!clean) on.end();
    return clean;
  }
  if (pause_ms <= 0) return true;
  // TLS hands on what it has deciphered, also when it was told to wait.
  if (talk.pausing !== null) clearTimeout(talk.pausing);
  talk.pausing = setTimeout(() => {
    talk.pausing = null;
    on.socket.resume();
  }, pause_ms);
  return false;
}

function requestOf(url: URL, headers: Readonly<Record<string, string>>, proxy: URL | null): string {
  const throughProxy = proxy !== null && url.protocol === 'http:';
  const path = throughProxy ? `${url.origin}${url.pathname}${url.search}` : `${url.pathname}${url.search}`;
  const lines = Object.entries({ host: url.host, ...headers, ...(throughProxy ? proxyAuthorization(proxy) : {}) });
  for (const [name, value] of lines) if (!LINE.test(value)) throw ofWire(Object.assign(new Error(`what is to be sent as ${name} has letters that cannot be sent`), { code: 'UNSENDABLE' }), url.host);
  return `GET ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
}
