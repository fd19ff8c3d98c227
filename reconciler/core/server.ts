// The doors as declared: where they listen, under which names and certificate, for whose pages, and what of that cannot be.
import { addressOf, isLoopbackHost, LOOPBACK } from '../../schema/addresses.ts';
import { pointerOf } from '../../schema/pointer.ts';
import type { FilledDeclared } from '../../schema/validate.ts';
import type { Env } from './interpolate.ts';
import type { People } from './people.ts';
import { type Base, joinPath } from './resolve-model.ts';
import type { Problem } from './types.ts';

export type DesiredServer = {
  readonly host: string;
  /** Names besides localhost and addresses that are answered to; in lower case. */
  readonly names: readonly string[];
  readonly ports: { readonly web: number; readonly api: number; readonly bus: number };
  /** Files with the certificate and its key, absolute; null: plain HTTP. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  /** Origins as browsers send them, or `*`; empty: pages of this appliance only. */
  readonly origins: readonly string[];
  readonly rateLimit: { readonly requestsPerMinute: number };
};

const PORT_MAX = 65_535;

type Said = Pick<Problem, 'code' | 'message' | 'hint'> & { readonly path: readonly string[] };

const said = ({ path, ...words }: Said): Problem => ({ ...words, pointer: pointerOf(['server', ...path]), line: null, column: null, severity: 'error' });

/** Ports in the environment win over those in the file; 0 asks for any free one. */
export function serverOf(filled: FilledDeclared, from: { readonly env: Env; readonly base: Base }): { readonly server: DesiredServer; readonly problems: readonly Problem[] } {
  const { server } = filled;
  const problems: Problem[] = [];
  const port = (key: 'web' | 'api' | 'bus', name: string): number => {
    const text = from.env[name];
    if (text === undefined || text === '') return server.ports[key];
    if (/^[0-9]+$/.test(text) && Number(text) <= PORT_MAX) return Number(text);
    problems.push(said({
      code: 'WrongEnvironment', path: ['ports', key], message: `The environment variable ${name} must be a port (0 to ${PORT_MAX}), but is ${JSON.stringify(text)}.`, hint: `Set ${name} to a number, or unset it.`,
    }));
    return server.ports[key];
  };
  const file = (path: string): string => joinPath(from.base.configFolder, path.replace(/^file:(\/\/(?=\/))?/, ''));
  const ports = { web: port('web', 'BKG_WEB_PORT'), api: port('api', 'BKG_API_PORT'), bus: port('bus', 'BKG_PLUGIN_BUS_PORT') };
  const host = addressOf(server.host);
  if (host === null) {
    problems.push(said({
      code: 'HostNotAddress', path: ['host'], message: 'server.host must be an address of this machine: bkg listens on addresses, not on names.',
      hint: 'Use 127.0.0.1 (this machine only), 0.0.0.0 or :: (every address), or one address of this machine. Names that it is called by go under server.names.',
    }));
  }
  return {
    problems,
    server: {
      host: host ?? LOOPBACK, names: server.names.map((name) => name.toLowerCase()), ports,
      tls: server.tls === undefined ? null : { cert: file(server.tls.cert), key: file(server.tls.key) },
      origins: (server.cors?.origins ?? []).map(asSent),
      rateLimit: { requestsPerMinute: server.rateLimit.requestsPerMinute },
    },
  };
}

/** Browsers leave out the port that the scheme implies. */
const asSent = (origin: string): string => origin.replace(/^(https:.*):443$|^(http:.*):80$/, '$1$2');

/** Other machines reach it, and none of them could prove who asks. */
export const isOpenToAll = (server: Pick<DesiredServer, 'host'>, people: People): boolean =>
  !isLoopbackHost(server.host) && !people.keys.some((key) => people.users.some(({ name }) => name === key.user)) && people.users.every((user) => user.password === null);

/** An open door with nobody to come in is a slip, and the worst moment to notice it is later. */
export const openToAll = (): Problem => said({
  code: 'OpenToAll', path: ['host'], message: 'server.host is an address that other machines reach, but nobody could prove who they are: no user has a password, and no key is declared.',
  hint: 'Listen on this machine only (host: 127.0.0.1) until a user has a password (`bkg user add`) or a key is declared (`bkg key mint`).',
});
