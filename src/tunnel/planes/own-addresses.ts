/** Which addresses are this host's own on the tunnel's device: what lies behind others is a network. */

import { parsePrefix } from '../../tun/ip-prefix.js';

/** `addresses`: "10.77.0.2/24". Throws RangeError on one that is none. */
export function createOwnAddressTest(addresses: readonly string[]): (address: Uint8Array) => boolean {
  const own = addresses.map((text) => {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw new RangeError(`own address "${text}" is neither an IPv4 nor an IPv6 address`);
    return prefix.bytes;
  });
  return (address) => own.some((bytes) => bytes.length === address.length && bytes.every((byte, i) => byte === address[i]));
}
