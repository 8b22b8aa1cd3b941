/** Where a peer listens, as written in the configuration: an IP literal or a name, and a port. */

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { parseEndpoint as splitEndpoint } from '../config-schema.js';
import { TunnelError } from '../tunnel-api.js';

export interface ResolvedAddress {
  address: string;
  family: 4 | 6;
}

export interface ResolvedEndpoint {
  addresses: readonly ResolvedAddress[];
  port: number;
}

export interface EndpointText {
  host: string;
  port: number;
}

/** "203.0.113.1:5180", "[2001:db8::1]:5180", "host:5180". Throws TunnelError `endpoint`. */
export function parseEndpoint(text: string): EndpointText {
  const parts = splitEndpoint(text.trim());
  if (parts === undefined) throw new TunnelError('endpoint', `endpoint "${text}" is not "address:port", "[IPv6]:port" or "name:port"`);
  return parts;
}

/** `ask` has the addresses of a name; default: the host's resolver. Rejects with TunnelError `endpoint-unresolved`, saying what to do. */
export async function resolveEndpoint(
  text: string,
  ask: (host: string) => Promise<ResolvedAddress[]> = systemLookup,
): Promise<ResolvedEndpoint> {
  const { host, port } = parseEndpoint(text);
  const literal = isIP(host);
  if (literal === 4 || literal === 6) return { addresses: [{ address: host, family: literal }], port };
  try {
    return { addresses: await ask(host), port };
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    const message = `The name "${host}" of endpoint "${text}" cannot be resolved (${code}): check it and the DNS, or give the IP address.`;
    throw new TunnelError('endpoint-unresolved', message, { cause });
  }
}

/** "203.0.113.1:5180" -> ["203.0.113.1"]; a name -> []. Throws as parseEndpoint does. */
export function literalAddress(endpoint: string | undefined): string[] {
  if (endpoint === undefined) return [];
  const { host } = parseEndpoint(endpoint);
  return isIP(host) === 0 ? [] : [host];
}

export async function systemLookup(host: string): Promise<ResolvedAddress[]> {
  const found = await lookup(host, { all: true });
  return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }));
}
