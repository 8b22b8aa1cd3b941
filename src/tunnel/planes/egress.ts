/**
 * The far end of a connection that a peer opens: dialled as a socket of this host's kernel (`socket-egress.ts`), or by our own TCP over the TUN
 * (here), which keeps the source address and leaves the way to this host's routes, firewall and address translation.
 */

import type { ByteStream, ByteStreamHandler } from '../../mptcp-over-udp/byte-stream.js';
import type { EndpointHost } from '../../mptcp-over-udp/tcp/endpoint-host.js';
import type { FourTuple } from '../../mptcp-over-udp/tcp/header-template.js';
import type { IcmpErrorKind } from '../../mptcp-over-udp/wire/icmp.js';
import { formatIp } from '../../tun/ip-prefix.js';
import { ReadTurns } from './read-turns.js';
import { SocketStream } from './socket-egress.js';

export interface DialledStream extends ByteStream {
  /** When it closed as unreachable: what exactly, as far as it is known. */
  readonly unreachable: IcmpErrorKind | undefined;
}

/**
 * Dials `tuple.local*`, the destination, for `tuple.remote*`, the source, as the peer's SYN has them. `handler` hears that the destination has
 * answered (`onEstablished`), or how the attempt ended (`onClosed`): refused, unreachable, timeout.
 */
export type Egress = (tuple: FourTuple, handler: ByteStreamHandler, nowMs: number) => DialledStream;

/** `wake`: after whatever a socket brought. */
export function createSocketEgress(wake: () => void): Egress {
  const turns = new ReadTurns();
  return (tuple, handler) => new SocketStream(formatIp(tuple.localAddress), tuple.localPort, handler, turns, wake);
}

export function createTunEgress(endpoints: EndpointHost): Egress {
  return (tuple, handler, nowMs) => endpoints.connect(swapped(tuple), handler, nowMs);
}

/** As the other side of the connection sees it. */
export function swapped({ ipVersion, localAddress, localPort, remoteAddress, remotePort }: FourTuple): FourTuple {
  return { ipVersion, localAddress: remoteAddress, localPort: remotePort, remoteAddress: localAddress, remotePort: localPort };
}
