/** The inner device of a tunnel without a TUN: packets are made and taken by this program. There is no TCP behind it: streams are dialled. */

import type { TunReadHandlers } from '../../tun/tun-packets.js';
import type { InnerDevice } from '../inner-device.js';

/** One whole IP packet, or with `segmentBytes` > 0 several datagrams of one flow joined. Borrowed until return. */
export type TakePacket = (packet: Uint8Array, offset: number, length: number, segmentBytes: number) => void;

export class UserDevice implements InnerDevice {
  readonly counters = { userRxPackets: 0, userTxPackets: 0 };
  /** Who takes what peers have sent; absent: nobody. */
  onPacket: TakePacket | undefined;
  #handlers: TunReadHandlers | undefined;
  #batchEnds = false;

  start(handlers: TunReadHandlers): void {
    this.#handlers = handlers;
  }

  /** A packet of this program's own, checksums complete; borrowed until return. */
  send(packet: Uint8Array, length: number): void {
    const handlers = this.#handlers;
    if (handlers === undefined) return;
    this.counters.userRxPackets++;
    handlers.onPacket(packet, 0, length, 0, 0, 0, 0, performance.now());
    if (this.#batchEnds) return;
    this.#batchEnds = true;
    setImmediate(() => {
      this.#batchEnds = false;
      this.#handlers?.onBatchEnd(performance.now());
    });
  }

  readonly writePacket = (packet: Uint8Array, offset: number, length: number, segmentBytes = 0): void => {
    this.counters.userTxPackets++;
    this.onPacket?.(packet, offset, length, segmentBytes);
  };

  sendSegments(): void {}

  close(): void {
    this.#handlers = undefined;
    this.onPacket = undefined;
  }
}
