/**
 * UDP of peers without a TUN of ours: as a NAT does (RFC 4787: endpoint-independent mapping and filtering by port), each address and port of a peer has a socket of this host,
 * for as long as it is used. Needs no privilege.
 */

import { createSocket, type Socket } from 'node:dgram';
import { formatIp, parseIp } from '../../tun/ip-prefix.js';
import { emitUdpPacket, parseUdpPacket, UDP_PACKET_OVERHEAD_BYTES, type UdpAddress } from './udp-packet.js';
import { forEachDatagram } from './user-datagrams.js';
import type { UserDevice } from './user-device.js';

/** RFC 4787 (4.3) wants two minutes at least. */
const IDLE_MS = 120_000;
const SWEEP_MS = 10_000;
const MAX_MAPPINGS = 2048;
/** Of one peer's address. */
const MAX_MAPPINGS_PER_ADDRESS = 512;
const packet = new Uint8Array(65_536 + UDP_PACKET_OVERHEAD_BYTES);

interface Mapping {
  readonly inner: UdpAddress;
  readonly socket: Socket;
  lastUsedMs: number;
}

export class UdpEgress {
  readonly counters = { udpEgressMappings: 0, udpEgressRefused: 0, udpEgressNotUdp: 0, udpEgressErrors: 0 };
  readonly #device: UserDevice;
  readonly #isOwn: (address: Uint8Array) => boolean;
  /** The longest unused first. */
  readonly #mappings = new Map<string, Mapping>();
  readonly #perAddress = new Map<string, number>();
  readonly #sweep: NodeJS.Timeout;

  /** `isOwn`: addresses of the tunnel, behind which nobody listens. */
  constructor(device: UserDevice, isOwn: (address: Uint8Array) => boolean) {
    this.#device = device;
    this.#isOwn = isOwn;
    device.onPacket = (bytes, offset, length, segmentBytes) => this.#take(bytes, offset, length, segmentBytes);
    this.#sweep = setInterval(() => this.#forgetIdle(performance.now() - IDLE_MS), SWEEP_MS);
    this.#sweep.unref();
  }

  close(): void {
    clearInterval(this.#sweep);
    for (const { socket } of this.#mappings.values()) socket.close();
    this.#mappings.clear();
  }

  #take(bytes: Uint8Array, offset: number, length: number, segmentBytes: number): void {
    const found = parseUdpPacket(bytes, offset, length);
    if (found === undefined || this.#isOwn(found.destination.address)) {
      this.counters.udpEgressNotUdp++;
      return;
    }
    const mapping = this.#mappingFor(found.source);
    if (mapping === undefined) {
      this.counters.udpEgressRefused++;
      return;
    }
    const host = formatIp(found.destination.address);
    const { port } = found.destination;
    // The socket sends later: the payload is ours only until return.
    forEachDatagram(found, segmentBytes, (payload) =>
      mapping.socket.send(payload.slice(), port, host, (error) => {
        if (error !== null) this.counters.udpEgressErrors++;
      }),
    );
  }

  #mappingFor(inner: UdpAddress): Mapping | undefined {
    const address = formatIp(inner.address);
    const key = `${address} ${inner.port}`;
    let mapping = this.#mappings.get(key);
    if (mapping === undefined) {
      const count = this.#perAddress.get(address) ?? 0;
      if (count >= MAX_MAPPINGS_PER_ADDRESS) return undefined;
      if (this.#mappings.size >= MAX_MAPPINGS) this.#drop(this.#mappings.keys().next().value!);
      mapping = this.#open(inner, key);
      this.#perAddress.set(address, count + 1);
    }
    mapping.lastUsedMs = performance.now();
    this.#mappings.delete(key);
    this.#mappings.set(key, mapping);
    return mapping;
  }

  #open(inner: UdpAddress, key: string): Mapping {
    const socket = createSocket(inner.address.length === 4 ? 'udp4' : 'udp6');
    const mapping: Mapping = { inner, socket, lastUsedMs: 0 };
    socket.on('message', (payload, from) => {
      const address = parseIp(from.address.replace(/%.*$/, ''));
      if (address === undefined || address.length !== inner.address.length) return;
      mapping.lastUsedMs = performance.now();
      this.#device.send(packet, emitUdpPacket(packet, { address, port: from.port }, inner, payload));
    });
    socket.on('error', () => {
      this.counters.udpEgressErrors++;
      this.#drop(key);
    });
    this.counters.udpEgressMappings++;
    return mapping;
  }

  #forgetIdle(beforeMs: number): void {
    for (const [key, { lastUsedMs }] of this.#mappings) if (lastUsedMs < beforeMs) this.#drop(key);
  }

  #drop(key: string): void {
    const mapping = this.#mappings.get(key);
    if (mapping === undefined) return;
    this.#mappings.delete(key);
    const address = formatIp(mapping.inner.address);
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left === 0) this.#perAddress.delete(address);
    else this.#perAddress.set(address, left);
    mapping.socket.removeAllListeners('message');
    mapping.socket.close();
  }
}
