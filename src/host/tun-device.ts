/** A TUN as a packet device: super-packets both ways, cut and joined by the kernel. */

import { loadNative, type NativeAddon, type TunHandle } from '../tun/native.js';
import { TunPackets } from '../tun/tun-packets.js';
import { HostError } from './host-error.js';
import type { PacketDevice, ReceivePacket } from './packet-device.js';

export interface TunDeviceOptions {
  /** An existing device or one to be made; may hold "%d". */
  name: string;
  /** Default true: the kernel hands over and takes super-packets. False: segments as on a wire, with complete checksums. */
  offloads?: boolean;
}

/** Opens it; setting addresses and routes on it is the caller's. Throws HostError. */
export function openTunDevice(options: TunDeviceOptions): TunDevice {
  const native = loadNative();
  try {
    return new TunDevice(native, native.tunOpen({ name: options.name, offloads: options.offloads ?? true }));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new HostError(code ?? 'tun', `cannot open the device ${options.name}: ${adviceFor(code) ?? message}`, { cause });
  }
}

function adviceFor(code: string | undefined): string | undefined {
  if (code === 'EPERM' || code === 'EACCES') return 'run as root (or with CAP_NET_ADMIN)';
  if (code === 'EBUSY') return 'another program has it open';
  if (code === 'ENOENT') return '/dev/net/tun does not exist: load the kernel module tun (modprobe tun)';
  return undefined;
}

export class TunDevice implements PacketDevice {
  readonly name: string;
  private readonly packets: TunPackets;
  private batchEnd: (() => void) | undefined;

  constructor(native: NativeAddon, tun: TunHandle) {
    this.packets = new TunPackets(native, tun);
    this.name = native.tunName(tun);
  }

  get counters(): TunPackets['counters'] {
    return this.packets.counters;
  }

  onPacket(receive: ReceivePacket): void {
    this.packets.start({
      onPacket: (bytes, offset, length, _gsoType, gsoSize) => receive(bytes, offset, length, gsoSize),
      onBatchEnd: () => this.batchEnd?.(),
      // Counted; its subflows find out by themselves that nothing comes any more.
      onFailure: () => undefined,
    });
  }

  onBatchEnd(handle: () => void): void {
    this.batchEnd = handle;
  }

  send(packet: Uint8Array): void {
    this.packets.writePacket(packet, 0, packet.length);
  }

  sendSegments(
    header: Uint8Array,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): void {
    this.packets.writeSegments(header, headerBytes, payload, payloadOffset, payloadBytes, segmentBytes);
  }

  close(): void {
    this.packets.close();
  }
}
