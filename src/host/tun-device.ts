/** A TUN as a packet device: super-packets both ways, cut and joined by the kernel. */

import {
  loadNative,
  type NativeAddon,
  TUN_DESCRIPTOR_INTS,
  TUN_GSO_SIZE,
  TUN_GSO_TYPE,
  TUN_LENGTH,
  TUN_OFFSET,
  type TunHandle,
  type Watcher,
} from '../tun/native.js';
import { HostError } from './host-error.js';
import type { PacketDevice, ReceivePacket } from './packet-device.js';

const SLOT_BYTES = 66_048;
const SLOT_COUNT = 8;
/** Full batches read in one turn of the event loop. */
const MAX_ROUNDS = 4;

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
  readonly counters = { rxPackets: 0, txPackets: 0, readErrors: 0, writeErrors: 0 };
  private readonly native: NativeAddon;
  private readonly tun: TunHandle;
  private readonly arena = new Uint8Array(SLOT_BYTES * SLOT_COUNT);
  private readonly descriptors = new Int32Array(TUN_DESCRIPTOR_INTS * SLOT_COUNT);
  private receive: ReceivePacket | undefined;
  private batchEnd: (() => void) | undefined;
  private watcher: Watcher | undefined;

  constructor(native: NativeAddon, tun: TunHandle) {
    this.native = native;
    this.tun = tun;
    this.name = native.tunName(tun);
  }

  onPacket(receive: ReceivePacket): void {
    this.receive = receive;
    this.watcher = this.native.watchReadable(this.tun, () => this.read());
  }

  onBatchEnd(handle: () => void): void {
    this.batchEnd = handle;
  }

  send(packet: Uint8Array): void {
    this.noteWritten(this.native.tunWritePacket(this.tun, packet, 0, packet.length, 0, 0, 0, 0));
  }

  sendSegments(
    header: Uint8Array,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): void {
    const size = segmentBytes > 0 ? segmentBytes : Math.max(1, payloadBytes);
    this.noteWritten(this.native.tunWriteSegments(this.tun, header, headerBytes, payload, payloadOffset, payloadBytes, size));
  }

  close(): void {
    this.watcher?.close();
    this.native.tunClose(this.tun);
  }

  private read(): void {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const n = this.native.tunRead(this.tun, this.arena, SLOT_BYTES, SLOT_COUNT, this.descriptors);
      if (n < 0) {
        this.counters.readErrors++;
        break;
      }
      for (let i = 0; i < n; i++) this.dispatch(i * TUN_DESCRIPTOR_INTS);
      this.counters.rxPackets += n;
      this.batchEnd?.();
      if (n < SLOT_COUNT) break;
    }
  }

  private dispatch(base: number): void {
    const d = this.descriptors;
    const segmentBytes = d[base + TUN_GSO_TYPE] === 0 ? 0 : (d[base + TUN_GSO_SIZE] as number);
    this.receive?.(this.arena, d[base + TUN_OFFSET], d[base + TUN_LENGTH], segmentBytes);
  }

  private noteWritten(result: number): void {
    if (result < 0) this.counters.writeErrors++;
    else this.counters.txPackets++;
  }
}
