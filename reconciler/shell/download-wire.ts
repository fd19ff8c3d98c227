// Asks a server one question at a time; its answer is a head and a body that is taken at one's own pace. Connections that are free are asked again.
import { openConnection, type Connection, type Take } from './download-connection.ts';
import { isOfWire } from './download-faults.ts';
import type { Head } from './download-framing.ts';
import type { Proxies } from './download-socket.ts';

/** All connections of one download. `free`: those without a question, by the place they lead to. */
export type Pool = { readonly proxies: Proxies; readonly stall_ms: number; readonly buffer_bytes: number; readonly free: Map<string, Connection[]> };
/** What is asked through it ends with the signal. */
export type Wire = { readonly pool: Pool; readonly signal: AbortSignal };

export type Reply = {
  readonly head: Head;
  /** Throws when the connection ends before the body does. To be called once. */
  readonly read: (take: Take) => Promise<void>;
  /** What has not come by now is not wanted; without effect once all has. */
  readonly close: () => void;
};

/** Throws what went wrong before the head was there. */
export async function askFor(wire: Wire, url: URL, headers: Readonly<Record<string, string>>): Promise<Reply> {
  wire.signal.throwIfAborted();
  for (;;) {
    const kept = wire.pool.free.get(url.origin)?.pop();
    if (kept === undefined) return replyOf(wire, await openConnection(url, { ...wire.pool, signal: wire.signal }), { url, headers });
    if (!kept.isFree()) continue;
    try {
      return await replyOf(wire, kept, { url, headers });
    } catch (error) {
      // Servers end a connection that rests, sometimes just when it is asked again: another one answers.
      if (!isOfWire(error) || error.code !== 'ECONNRESET') throw error;
    }
  }
}

async function replyOf(wire: Wire, connection: Connection, question: { readonly url: URL; readonly headers: Readonly<Record<string, string>> }): Promise<Reply> {
  const { pool, signal } = wire;
  const { origin } = question.url;
  /** Once it is free again it is another's. */
  let isOwn = true;
  const stop = (): void => connection.close(signal.reason as Error);
  const settle = (): void => {
    isOwn = false;
    signal.removeEventListener('abort', stop);
  };
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    return {
      head: await connection.ask(question.url, question.headers),
      async read(take) {
        try {
          await connection.read(take);
        } finally {
          settle();
        }
        if (connection.isFree()) pool.free.set(origin, [...(pool.free.get(origin) ?? []), connection]);
      },
      close() {
        if (!isOwn) return;
        settle();
        connection.close();
      },
    };
  } catch (error) {
    settle();
    connection.close();
    throw error;
  }
}

/** Ends the connections that nobody asks any more. */
export function closeFree(pool: Pool): void {
  for (const connection of [...pool.free.values()].flat()) connection.close();
}
