// Plugins in the memory as short lines, for the tests of fit: `chat:4 idle@10`, `coder:6 running`, `web:0 needs=chat`.
import type { Loadable } from './fit-world.ts';

/**
 * `name:bytes`, then words: `absent` (default), `idle@7` (there, last used at 7), `busy@7` (answers a request), `starting`, `leaving`,
 * `running` (declared so, and there), `due` (declared running, not there), `stopped`, `needs=a,b`. Bytes `?`: nobody knows.
 */
export function loadable(line: string): Loadable {
  const [head = '', ...words] = line.split(' ');
  const [plugin = '', size = '0'] = head.split(':');
  const known = new Map(words.map((word) => word.split(/[@=]/, 2) as [string, string | undefined]));
  const presence = known.has('starting') ? 'starting' : known.has('leaving') ? 'leaving' : known.has('idle') || known.has('busy') || known.has('running') ? 'here' : 'absent';
  const last = known.get('idle') ?? known.get('busy');
  return {
    plugin,
    state: known.has('running') || known.has('due') ? 'running' : known.has('stopped') ? 'stopped' : 'ondemand',
    presence,
    memory_bytes: size === '?' ? null : Number(size),
    inFlight: known.has('busy') ? 1 : 0,
    last: last === undefined ? null : Number(last),
    needs: known.get('needs')?.split(',') ?? [],
  };
}
