/** A TUN device of the test's own, read by the test. */

import * as native from '../../src/tun/native.js';
import { pauseMs, run } from './native-harness.js';

const SLOT_BYTES = 65_600;
const SLOTS = 8;

export interface TunPacket {
  bytes: Buffer;
  flags: number;
  gsoType: number;
  gsoSize: number;
  csumStart: number;
  csumOffset: number;
  headerLength: number;
}

/** A TUN device with an address of each family, and a queue of what the kernel sends into it. */
export class TestTun {
  readonly n = native.loadNative();
  readonly tun: native.TunHandle;
  readonly name: string;
  readonly slotBytes: number;
  readonly #arena: Uint8Array;
  readonly #descriptors = new Int32Array(SLOTS * native.TUN_DESCRIPTOR_INTS);
  readonly #watcher: native.Watcher;
  readonly #queue: TunPacket[] = [];
  #arrived = () => {};

  constructor(prefix: number, offloads: boolean) {
    this.tun = this.n.tunOpen({ name: 'tst%d', offloads });
    this.name = this.n.tunName(this.tun);
    this.slotBytes = offloads ? SLOT_BYTES : 1600;
    this.#arena = new Uint8Array(this.slotBytes * SLOTS);
    bringUp(this.name, prefix);
    this.#watcher = this.n.watchReadable(this.tun, () => this.#read());
  }

  #read(): void {
    const count = this.n.tunRead(this.tun, this.#arena, this.slotBytes, SLOTS, this.#descriptors);
    for (let i = 0; i < count; i++) {
      const [offset = 0, length = 0, flags = 0, gsoType = 0, gsoSize = 0, csumStart = 0, csumOffset = 0, headerLength = 0] =
        this.#descriptors.subarray(i * native.TUN_DESCRIPTOR_INTS);
      const bytes = Buffer.from(this.#arena.slice(offset, offset + length));
      this.#queue.push({ bytes, flags, gsoType, gsoSize, csumStart, csumOffset, headerLength });
    }
    this.#arrived();
  }

  /** The next packet for which `wanted` holds; others (neighbour discovery, reports) are skipped. */
  async next(wanted: (packet: TunPacket) => boolean): Promise<TunPacket> {
    for (;;) {
      for (let one = this.#queue.shift(); one !== undefined; one = this.#queue.shift()) if (wanted(one)) return one;
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
    }
  }

  close(): void {
    this.#watcher.close();
    this.n.tunClose(this.tun);
  }
}

export const isProtocol = (protocol: number) => (one: TunPacket) => one.bytes[one.bytes[0]! >> 4 === 4 ? 9 : 6] === protocol;

/** Gives a device 10.PREFIX.0.1/24 and fdPREFIX::1/64. */
export function bringUp(name: string, prefix: number): void {
  run('ip', 'addr', 'add', `10.${prefix}.0.1/24`, 'dev', name);
  run('ip', 'addr', 'add', `fd${prefix}::1/64`, 'dev', name, 'nodad');
  run('ip', 'link', 'set', name, 'up');
  // Until the kernel has taken its IPv6 address into use it drops what is sent to it.
  while (/tentative/.test(run('ip', '-6', 'addr', 'show', 'dev', name))) pauseMs(2);
}
