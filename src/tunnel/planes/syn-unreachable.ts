/** ICMP for a connection attempt that egress could not make: an error in answer to a SYN, rebuilt from its four-tuple. */

import { type FourTuple, HeaderTemplate } from '../../mptcp-over-udp/tcp/header-template.js';
import { emitIcmpError, MAX_ICMP_ERROR_BYTES } from '../../mptcp-over-udp/wire/icmp.js';
import { patchIpLength } from '../../mptcp-over-udp/wire/ip-header.js';
import { SYN } from '../../mptcp-over-udp/wire/segment.js';

export const MAX_NOTICE_BYTES = MAX_ICMP_ERROR_BYTES;

/**
 * Writes "host unreachable" for a SYN from `tuple.remote*` to `tuple.local*` to `out` and returns its length. It comes from the address that could not
 * be reached, since that alone is sure to be routed through the tunnel.
 */
export function emitSynUnreachable(out: Uint8Array, tuple: FourTuple): number {
  const template = new HeaderTemplate({
    ipVersion: tuple.ipVersion,
    localAddress: tuple.remoteAddress,
    localPort: tuple.remotePort,
    remoteAddress: tuple.localAddress,
    remotePort: tuple.localPort,
  });
  const headerBytes = template.finish(0, 0, SYN, 0, template.optionsAt);
  patchIpLength(template.bytes, 0, headerBytes);
  return emitIcmpError(out, 'host-unreachable', 0, tuple.localAddress, template.bytes, 0, headerBytes);
}
