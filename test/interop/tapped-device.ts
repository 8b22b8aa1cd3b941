/** A packet device with a tap and a middlebox on it: each packet is seen as its sender made it, cut as on a wire, and may be changed, kept or multiplied. */

import type { PacketDevice, ReceivePacket } from '../../src/host/packet-device.js';
import { cutSegments } from '../../src/mptcp-over-udp/wire/cut-segments.js';
import { parseSegment } from '../../src/mptcp-over-udp/wire/parse-segment.js';
import { createTcpSegment, type TcpSegment } from '../../src/mptcp-over-udp/wire/segment.js';

/** What becomes of a packet: itself, another one, several, or nothing. */
export type Passed = Uint8Array | readonly Uint8Array[] | undefined;

/** Sees every packet as its sender made it, cut as on the wire. */
type OnWire = (direction: 'in' | 'out', packet: Uint8Array) => Passed;

function forward(passed: Passed, send: (packet: Uint8Array) => void): void {
  if (passed instanceof Uint8Array) send(passed);
  else for (const packet of passed ?? []) send(packet);
}

export class TappedDevice implements PacketDevice {
  private readonly device: PacketDevice;
  private readonly onWire: OnWire;

  constructor(device: PacketDevice, onWire: OnWire) {
    this.device = device;
    this.onWire = onWire;
  }

  send(packet: Uint8Array): void {
    forward(this.onWire('out', packet.slice()), (passed) => this.device.send(passed));
  }

  sendSegments(header: Uint8Array, headerBytes: number, payload: Uint8Array, at: number, bytes: number, segmentBytes: number): void {
    let whole = true;
    const cut: Uint8Array[] = [];
    cutSegments(header, headerBytes, payload, at, bytes, segmentBytes, (packet, length) => {
      const sent = packet.slice(0, length);
      const result = this.onWire('out', sent);
      whole &&= result === sent;
      forward(result, (passed) => cut.push(passed));
    });
    if (whole) this.device.sendSegments?.(header, headerBytes, payload, at, bytes, segmentBytes);
    else for (const packet of cut) this.device.send(packet);
  }

  onPacket(receive: ReceivePacket): void {
    this.device.onPacket((packet, offset = 0, length = packet.length, segmentBytes = 0) => {
      const sent = packet.slice(offset, offset + length);
      const result = this.onWire('in', sent);
      if (result === sent) receive(packet, offset, length, segmentBytes);
      else forward(result, receive);
    });
  }

  onBatchEnd(handle: () => void): void {
    this.device.onBatchEnd?.(handle);
  }

  close(): void {
    this.device.close?.();
  }
}

const parsed = createTcpSegment();

/** Reads a packet for a middlebox; the result is good until the next call. */
export function parsePacket(packet: Uint8Array): TcpSegment | undefined {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  return parseSegment(packet, view, 0, packet.length, false, parsed) === '' ? parsed : undefined;
}
