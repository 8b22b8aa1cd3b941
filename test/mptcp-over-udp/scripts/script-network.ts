/** Where scripts play: addresses, ports and sizes of the one host and its peer, and the four-tuples made of them. */

import type { FourTuple } from '../../../src/mptcp-over-udp/tcp/header-template.js';

/** Payload of a full segment is 1000 bytes beside a DSS of 24. */
export const MTU_BYTES = 1064;
export const FULL = 1000;
export const RTT_MS = 20;
export const CLIENT_ADDRESS = Uint8Array.of(10, 77, 0, 2);
export const SERVER_ADDRESS = Uint8Array.of(198, 51, 100, 2);
export const CLIENT_ADDRESS_6 = Uint8Array.of(0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2);
export const SERVER_ADDRESS_6 = Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2);
export const CLIENT_PORT = 40_000;
export const SERVER_PORT = 80;

/** Address of a join on a path: 1 is the host's side, 2 the peer's. */
export function pathAddress(pathId: number, side: number): Uint8Array {
  return Uint8Array.of(100, 127, pathId, side);
}

export function tupleOf(localAddress: Uint8Array, remoteAddress: Uint8Array, localPort: number, remotePort: number): FourTuple {
  return { ipVersion: localAddress.length === 4 ? 4 : 6, localAddress, remoteAddress, localPort, remotePort };
}

export function sameTuple(a: FourTuple, b: FourTuple): boolean {
  return (
    a.localPort === b.localPort &&
    a.remotePort === b.remotePort &&
    a.localAddress.join() === b.localAddress.join() &&
    a.remoteAddress.join() === b.remoteAddress.join()
  );
}
