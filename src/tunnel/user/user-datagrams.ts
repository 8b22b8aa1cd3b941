/** UDP sockets of this program's own inside the tunnel: each has a port at our tunnel addresses, and speaks to whomever it wants. */

import { emitUdpPacket, parseUdpPacket, UDP_PACKET_OVERHEAD_BYTES, type UdpAddress, type UdpPacket } from './udp-packet.js';
import type { UserDevice } from './user-device.js';

/** One datagram; `payload` is borrowed until return. */
export type TakeDatagram = (payload: Uint8Array, from: UdpAddress) => void;

export interface UserUdpSocket {
  readonly port: number;
  /** False: there is no address of that IP version here, or it is too long. */
  send(payload: Uint8Array, to: UdpAddress): boolean;
  close(): void;
}

const FIRST_PORT = 32_768;
const LAST_PORT = 60_999;
const PAYLOAD_MAX_BYTES = 65_000;
const packet = new Uint8Array(PAYLOAD_MAX_BYTES + UDP_PACKET_OVERHEAD_BYTES);

export class UserDatagrams {
  readonly counters = { userUdpUnknownPort: 0, userUdpMalformed: 0 };
  readonly #device: UserDevice;
  /** By length: 4 and 16 bytes. */
  readonly #own: ReadonlyMap<number, Uint8Array>;
  readonly #sockets = new Map<number, TakeDatagram>();
  #nextPort: number;

  /** `own`: our tunnel addresses, the first of each IP version counts. `random`: in [0, 1). */
  constructor(device: UserDevice, own: readonly Uint8Array[], random: () => number) {
    this.#device = device;
    this.#own = new Map([...own].reverse().map((address) => [address.length, address]));
    this.#nextPort = FIRST_PORT + Math.floor(random() * (LAST_PORT - FIRST_PORT));
    device.onPacket = (bytes, offset, length, segmentBytes) => this.#take(bytes, offset, length, segmentBytes);
  }

  /** undefined: all ports are taken. */
  open(take: TakeDatagram): UserUdpSocket | undefined {
    if (this.#sockets.size > LAST_PORT - FIRST_PORT) return undefined;
    while (this.#sockets.has(this.#nextPort)) this.#advance();
    const port = this.#nextPort;
    this.#advance();
    this.#sockets.set(port, take);
    return {
      port,
      send: (payload, to) => {
        const address = this.#own.get(to.address.length);
        if (address === undefined || payload.length > PAYLOAD_MAX_BYTES || !this.#sockets.has(port)) return false;
        this.#device.send(packet, emitUdpPacket(packet, { address, port }, to, payload));
        return true;
      },
      close: () => void this.#sockets.delete(port),
    };
  }

  #advance(): void {
    this.#nextPort = this.#nextPort === LAST_PORT ? FIRST_PORT : this.#nextPort + 1;
  }

  #take(bytes: Uint8Array, offset: number, length: number, segmentBytes: number): void {
    const found = parseUdpPacket(bytes, offset, length);
    if (found === undefined) {
      this.counters.userUdpMalformed++;
      return;
    }
    const take = this.#sockets.get(found.destination.port);
    if (take === undefined) this.counters.userUdpUnknownPort++;
    else forEachDatagram(found, segmentBytes, (payload) => take(payload, found.source));
  }
}

/** Those that were joined, each by itself. */
export function forEachDatagram({ payload }: UdpPacket, segmentBytes: number, visit: (payload: Uint8Array) => void): void {
  if (segmentBytes === 0 || payload.length <= segmentBytes) {
    visit(payload);
    return;
  }
  for (let at = 0; at < payload.length; at += segmentBytes) visit(payload.subarray(at, Math.min(at + segmentBytes, payload.length)));
}
