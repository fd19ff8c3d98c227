// The sending side of a live socket, bounded: a slow reader loses log lines first and the connection in the end.
import type { WebSocket } from 'ws';
import type { LogFrame, ServerFrame } from '../schema/wire.gen.ts';
import { gapFrame } from './frames.ts';
import { endSocket } from './sockets.ts';

/** Above this many unsent bytes log lines are left out: some thousands of lines. */
const LOGS_MAX_BYTES = 2 ** 20;
/** Above this nothing is sent any more and the connection ends: without logs it takes minutes of not reading. */
const ALL_MAX_BYTES = 8 * 2 ** 20;
/** So long may a reader be behind before the connection ends. */
const BEHIND_MAX_MS = 30_000;
const TRY_AGAIN_LATER = 1013;

export type Outlet = {
  readonly send: (frame: ServerFrame | string) => void;
  /** A log line, already as text; may be left out. */
  readonly log: (id: string, text: string) => void;
  /** Counts a line as left out. */
  readonly drop: (id: string) => void;
  /** Called each second: says what was left out as soon as there is room, ends who stays behind. */
  readonly tend: () => void;
};

export function openOutlet(socket: WebSocket, clock: () => number = () => performance.now()): Outlet {
  const dropped = new Map<string, number>();
  let behindSince: number | null = null;
  const drop = (id: string): void => { dropped.set(id, (dropped.get(id) ?? 0) + 1); };
  const isOpen = (): boolean => socket.readyState === socket.OPEN;
  const giveUp = (): void => endSocket(socket, TRY_AGAIN_LATER, 'not reading fast enough');
  const write = (text: string): void => {
    if (!isOpen()) return;
    if (socket.bufferedAmount > ALL_MAX_BYTES) giveUp();
    else socket.send(text);
  };
  const tellGaps = (): void => {
    for (const [id, count] of dropped) {
      const gap: LogFrame = gapFrame(id, { dropped: count, at: new Date().toISOString() });
      write(JSON.stringify(gap));
    }
    dropped.clear();
  };
  return {
    send: (frame) => write(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    log(id, text) {
      if (socket.bufferedAmount > LOGS_MAX_BYTES || dropped.has(id)) drop(id);
      else write(text);
    },
    drop,
    tend() {
      if (!isOpen()) return;
      if (socket.bufferedAmount <= LOGS_MAX_BYTES) {
        behindSince = null;
        tellGaps();
        return;
      }
      behindSince ??= clock();
      if (clock() - behindSince > BEHIND_MAX_MS) giveUp();
    },
  };
}
