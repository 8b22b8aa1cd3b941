/** The TUN as the planes see it. */

import type { NativeAddon, TunHandle } from '../tun/native.js';
import { TunPackets, type TunReadHandlers } from '../tun/tun-packets.js';
import { adoptOrOpen, type DescriptorStore } from './descriptor-store.js';
import type { InnerDevice } from './inner-device.js';
import { TunnelError } from './tunnel-api.js';

export class TunPort implements InnerDevice {
  private readonly packets: TunPackets;

  constructor(native: NativeAddon, tun: TunHandle) {
    this.packets = new TunPackets(native, tun);
  }

  get counters() {
    const { rxPackets, txPackets, writeErrors, readErrors } = this.packets.counters;
    return { tunRxPackets: rxPackets, tunTxPackets: txPackets, tunWriteErrors: writeErrors, tunReadErrors: readErrors };
  }

  start(handlers: TunReadHandlers): void {
    this.packets.start(handlers);
  }

  sendSegments(
    _pathId: number,
    header: Uint8Array,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): void {
    this.packets.writeSegments(header, headerBytes, payload, payloadOffset, payloadBytes, segmentBytes);
  }

  /** segmentBytes > 0: a joined packet of the link layer; it is changed in place. */
  readonly writePacket = (packet: Uint8Array, offset: number, length: number, segmentBytes = 0): void => {
    if (segmentBytes > 0) this.packets.writeJoined(packet, offset, length, segmentBytes);
    else this.packets.writePacket(packet, offset, length);
  };

  close(): void {
    this.packets.close();
  }
}

/** Throws TunnelError, which says what to do. */
export function openTun(native: NativeAddon, name: string, store: DescriptorStore): TunHandle {
  try {
    const kept = `tun.${name}`;
    const tun = adoptOrOpen(store, kept, (descriptor) =>
      native.tunOpen({ name, offloads: true, ...(descriptor === undefined ? {} : { descriptor }) }),
    );
    store.keep(kept, native.tunFd(tun));
    return tun;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new TunnelError(code ?? 'tun', tunErrorMessage(name, code, (cause as Error).message), { cause });
  }
}

function tunErrorMessage(name: string, code: string | undefined, message: string): string {
  switch (code) {
    case 'EPERM':
    case 'EACCES':
      return `cannot open the device ${name}: run as root (or with CAP_NET_ADMIN), or let root make it for you: ip tuntap add ${name} mode tun user ${process.geteuid?.()}`;
    case 'EBUSY':
      return `the device ${name} is in use: another tunnel runs under that name`;
    case 'ENOENT':
      return '/dev/net/tun does not exist: load the kernel module tun (modprobe tun)';
    default:
      return `cannot open the device ${name}: ${message}`;
  }
}
