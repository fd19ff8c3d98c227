// Addresses that bkg listens on: which text is one, which of them only this machine reaches, and where it reaches the others.

/** Of every machine, IPv4: what listens beyond it is reached here as well. */
export const LOOPBACK = '127.0.0.1';

const BYTE = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const IPV4 = new RegExp(`^(${BYTE}\\.){3}${BYTE}$`);
const LOOPBACK_IPV4 = new RegExp(`^127(\\.${BYTE}){3}$`);
const IPV6_GROUPS = 8;

/** Its eight groups; null for what is none. Without a zone: an address with one means something on one machine only. */
function groupsOf(text: string): readonly number[] | null {
  const last = text.slice(text.lastIndexOf(':') + 1);
  // ::ffff:192.0.2.1 has its last two groups as IPv4.
  const bytes = IPV4.test(last) ? last.split('.').map(Number) : null;
  const plain = bytes === null ? text : `${text.slice(0, -last.length)}${(bytes[0]! * 256 + bytes[1]!).toString(16)}:${(bytes[2]! * 256 + bytes[3]!).toString(16)}`;
  const halves = plain.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const given = halves.flat();
  const isWhole = halves.length === 1 ? given.length === IPV6_GROUPS : halves.length === 2 && given.length < IPV6_GROUPS;
  if (!isWhole || !given.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return null;
  const [front = [], back = []] = halves;
  return [...front, ...Array<string>(IPV6_GROUPS - given.length).fill('0'), ...back].map((group) => Number.parseInt(group, 16));
}

/**
 * What a server may be told to listen on, an address or localhost, in one way of writing: two that mean the same are the same. Null for
 * anything else.
 */
export function addressOf(text: string): string | null {
  if (/^localhost$/i.test(text)) return 'localhost';
  if (IPV4.test(text)) return text;
  const groups = text.includes(':') ? groupsOf(text) : null;
  if (groups === null) return null;
  const leading = groups.findIndex((group) => group !== 0);
  if (leading === -1) return '::';
  if (leading === 7 && groups[7] === 1) return '::1';
  // IPv4 in the clothes of IPv6.
  if (leading === 5 && groups[5] === 0xffff) return groups.slice(6).flatMap((group) => [group >> 8, group & 0xff]).join('.');
  return text.toLowerCase();
}

/** Only this machine reaches it. */
export const isLoopbackHost = (host: string): boolean => host === 'localhost' || host === '::1' || LOOPBACK_IPV4.test(host);

/** Every address of the machine. */
export const isAnyHost = (host: string): boolean => host === '0.0.0.0' || host === '::';

/** Where this machine itself reaches what listens on `host`: the doors always open there, too. */
export const nearHost = (host: string): string => (isLoopbackHost(host) ? host : LOOPBACK);

/** Where the bus listens: plugins are on this machine, whoever else may come to the other doors. */
export const busHost = (host: string): string => (host === '::1' ? host : LOOPBACK);

/** An address as it stands in a URL. */
export const inUrl = (host: string): string => (host.includes(':') ? `[${host}]` : host);
