/** How a relay is written: "relay.example:5181#KEY", the key being its public one. */

import { parseKey } from '../../crypto/keys.js';
import { formatEndpoint } from '../path/address-record.js';

export interface RelayConfig {
  /** "relay.example:5181": how people know it. */
  readonly endpoint: string;
  readonly publicKey: Uint8Array;
}

/** undefined: it is no relay. `isEndpoint` says whether the part before "#" is "host:port". */
export function parseRelay(text: string, isEndpoint: (endpoint: string) => boolean): RelayConfig | undefined {
  const at = text.indexOf('#');
  if (at < 0) return undefined;
  const endpoint = text.slice(0, at).trim();
  if (!isEndpoint(endpoint)) return undefined;
  try {
    return { endpoint, publicKey: parseKey(text.slice(at + 1), 'key') };
  } catch {
    return undefined;
  }
}

export function isSameRelay(one: RelayConfig | undefined, other: RelayConfig | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return one.endpoint === other.endpoint && one.publicKey.every((byte, i) => byte === other.publicKey[i]);
}

export function formatRelay(host: string, port: number, publicKey: string): string {
  return `${formatEndpoint(host, port)}#${publicKey}`;
}
