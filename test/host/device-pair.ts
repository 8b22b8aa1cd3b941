/** Two packet devices joined back to back: what one sends the other gets, in order, on a later turn of the event loop. */

import type { PacketDevice, ReceivePacket } from '../../src/host/packet-device.js';

class PairedDevice implements PacketDevice {
  other: PairedDevice | undefined;
  closed = false;
  /** Nothing gets through while this is false. */
  connected = true;
  private receive: ReceivePacket | undefined;

  send(packet: Uint8Array): void {
    const copy = packet.slice();
    setImmediate(() => {
      const { other } = this;
      if (other !== undefined && !other.closed && this.connected) other.receive?.(copy);
    });
  }

  onPacket(receive: ReceivePacket): void {
    this.receive = receive;
  }

  close(): void {
    this.closed = true;
  }
}

export function createDevicePair(): [PairedDevice, PairedDevice] {
  const [a, b] = [new PairedDevice(), new PairedDevice()];
  a.other = b;
  b.other = a;
  return [a, b];
}
