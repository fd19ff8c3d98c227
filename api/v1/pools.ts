// Connections to the engines: one pool per incarnation, let go with it.
import { Pool } from 'undici';

/** Where one incarnation answers. `name` is of that incarnation alone: a new process on the same port gets no connection of the old one. */
export type Address = { readonly name: string; readonly port: number };

export function openPools() {
  const pools = new Map<string, Pool>();
  /** Their process is no longer routed to, but answers that have begun come to their end. */
  const leaving = new Set<Pool>();
  return {
    of(address: Address): Pool {
      const known = pools.get(address.name);
      if (known !== undefined) return known;
      // Timeouts are set with each request; connections are bounded by the limits, not here: a queue inside the pool is invisible.
      // undici leaves TCP_NODELAY off.
      const made = new Pool(`http://127.0.0.1:${address.port}`, { connections: null, pipelining: 1, connect: { noDelay: true } });
      pools.set(address.name, made);
      return made;
    },
    /** Lets go of the incarnations that are no longer routed to. */
    keep(names: ReadonlySet<string>): void {
      for (const [name, pool] of pools) {
        if (names.has(name)) continue;
        pools.delete(name);
        leaving.add(pool);
        void pool.close().finally(() => leaving.delete(pool));
      }
    },
    async close(): Promise<void> {
      const all = [...pools.values(), ...leaving];
      pools.clear();
      await Promise.all(all.map((pool) => pool.destroy()));
    },
  };
}
