// Picks ports: the one asked for while it is free, else a free one; never a standard one.
import getPort from 'get-port';
import { createServer } from 'node:net';

/** Ports that people and frameworks use by habit: taking one would surprise somebody. */
const STANDARD_PORTS: ReadonlySet<number> = new Set([1080, 1433, 1521, 2375, 2376, 3000, 3001, 3128, 3306, 3389, 4000, 4200, 4321, 5000, 5001, 5173, 5432, 5601, 5672, 5900, 6006, 6379, 7000, 7860, 8000, 8001, 8008, 8080, 8081, 8086, 8088, 8443, 8501, 8787, 8888, 9000, 9001, 9090, 9091, 9100, 9200, 9418, 9443, 10000, 11211, 11434, 15672, 27017]);
/** Below it only root may listen. */
const LOWEST_PORT = 1024;
/** A free port that turns out to be a standard one is drawn again, so often. */
const DRAWS = 20;

export type PortWish = { readonly preferred: number | null; readonly avoid: ReadonlySet<number>; readonly host: string };

/** A port nobody listens on now. Somebody may take it a moment later: whoever listens must be able to say so. */
export async function pickPort(wish: PortWish): Promise<number> {
  const { preferred, avoid, host } = wish;
  if (preferred !== null && isOurs(preferred) && !avoid.has(preferred) && (await isFree(preferred, host))) return preferred;
  for (let draw = 0; draw < DRAWS; draw += 1) {
    const port = await getPort({ host, exclude: avoid });
    if (isOurs(port)) return port;
  }
  throw new Error(`no free port was found on ${host}; close what holds them, \`ss -ltn\` lists it`);
}

const isOurs = (port: number): boolean => port >= LOWEST_PORT && !STANDARD_PORTS.has(port);

/** Whether one could listen there now. */
export function isFree(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
