/** TCP sockets that leave by a given interface, and one that listens on all addresses: Node's own can neither be bound to a device nor marked. */

import { isIPv6, type Server, Socket } from 'node:net';
import type { NativeAddon } from '../../../tun/native.js';
import type { DialOptions, TransportAddress } from '../transport.js';

/** Until the rate is known. */
const FIRST_NOT_SENT_LOWAT_BYTES = 64 * 1024;

/** Not connected yet. Throws as tcpOpen does. */
export function openBoundSocket(native: NativeAddon, options: DialOptions): Socket {
  const { device, localAddress, deviceAddress, mark } = options;
  const wanted = {
    family: isIPv6(options.address) ? (6 as const) : (4 as const),
    port: 0,
    notSentLowatBytes: FIRST_NOT_SENT_LOWAT_BYTES,
    ...(localAddress !== undefined && { address: localAddress }),
    ...(mark !== undefined && { mark }),
  };
  // Reading begins when it is connected.
  return new Socket({
    fd: openOnDevice(native, wanted, device, deviceAddress),
    readable: true,
    writable: true,
    manualStart: true,
  } as object);
}

function openOnDevice(
  native: NativeAddon,
  wanted: Parameters<NativeAddon['tcpOpen']>[0],
  device: string | undefined,
  deviceAddress: string | undefined,
): number {
  if (device === undefined) return native.tcpOpen(wanted);
  try {
    return native.tcpOpen({ ...wanted, device });
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    // Before Linux 5.7 it needs CAP_NET_RAW. The address alone leads out by its interface where the routes follow the source.
    const address = wanted.address ?? deviceAddress;
    if (code !== 'EPERM' || syscall !== 'SO_BINDTODEVICE' || address === undefined) throw error;
    return native.tcpOpen({ ...wanted, address });
  }
}

/** The descriptor of a socket that is bound on all addresses. Throws as tcpOpen does. */
export function openListeningSocket(native: NativeAddon, port: number, mark: number | undefined): number {
  const wanted = { port, notSentLowatBytes: FIRST_NOT_SENT_LOWAT_BYTES, ...(mark !== undefined && { mark }) };
  try {
    return native.tcpOpen({ ...wanted, family: 6, dualStack: true });
  } catch (error) {
    // A host without IPv6.
    if ((error as NodeJS.ErrnoException).code !== 'EAFNOSUPPORT' && (error as NodeJS.ErrnoException).code !== 'EADDRNOTAVAIL') throw error;
    return native.tcpOpen({ ...wanted, family: 4, address: '0.0.0.0' });
  }
}

/** What sets the limit of unsent data on a connected socket. Node shows the descriptor only on its handle; without it the first limit stays. */
export function unsentLimiter(native: NativeAddon, socket: Socket): (bytes: number) => void {
  const handle = (socket as unknown as { _handle?: { fd?: number } | null })._handle;
  return (bytes) => {
    const fd = socket.destroyed ? undefined : handle?.fd;
    if (fd !== undefined && fd >= 0) native.tcpNotSentLowat(fd, bytes);
  };
}

/** IPv4 is never mapped into IPv6, and there is no zone. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return '';
  return address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
}

export function localOf(socket: Socket): TransportAddress {
  return { address: plainAddress(socket.localAddress), port: socket.localPort ?? 0 };
}

export function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
