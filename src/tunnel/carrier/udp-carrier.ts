/**
 * One UDP socket, bound as a path asks for, that may be missing for a while: a device that is not there yet, an address that is not configured
 * yet. Opening again replaces the socket; who sends on it asks for `handle` anew.
 */

import type { NativeAddon, UdpHandle, Watcher } from '../../tun/native.js';
import type { Carrier, RelayWay } from './carrier.js';
import { errnoName } from './errno-names.js';

/** A small integer: sizes are asked for with every packet, and with infinity among them each would be a number on the heap. */
const ANY_BYTES = 65_535;
const BUFFER_BYTES = 8 * 1024 * 1024;

export interface UdpCarrierOptions {
  family: 4 | 6;
  /** 0: the kernel chooses. */
  port: number;
  address: string | undefined;
  device: string | undefined;
  mark: number | undefined;
  /** An address of `device` now, "" when there is none: it stands for the device where the kernel lets only root bind to one (before Linux 5.7). */
  deviceAddress?: () => string;
}

/** Error codes after which the same socket can never send again: its device is another one now, or gone. */
const DEAD_SOCKET_CODES: ReadonlySet<string> = new Set(['ENODEV', 'ENXIO', 'EBADF']);

export class UdpCarrier implements Carrier {
  readonly kind = 'udp';
  readonly maxDatagramBytes = ANY_BYTES;
  readonly options: UdpCarrierOptions;
  readonly #native: NativeAddon;
  readonly #onReadable: (carrier: UdpCarrier) => void;
  #handle: UdpHandle | undefined;
  #watcher: Watcher | undefined;
  #port = 0;
  #standInAddress = '';
  /** Why there is no socket, or why it refused the last send: an errno name, "" when all is well. */
  lastErrorCode = '';
  dirty = false;
  refusedDatagrams = 0;
  relay: RelayWay | undefined;

  constructor(native: NativeAddon, options: UdpCarrierOptions, onReadable: (carrier: UdpCarrier) => void) {
    this.#native = native;
    this.options = options;
    this.#onReadable = onReadable;
  }

  get handle(): UdpHandle | undefined {
    return this.#handle;
  }

  /** Local port, 0 without a socket. */
  get port(): number {
    return this.#port;
  }

  /** The address of the device that it is bound to instead of the device; "" when it is not. */
  get standInAddress(): string {
    return this.#standInAddress;
  }

  /** The socket is gone for good and must be opened again. */
  get needsReopen(): boolean {
    if (this.#handle === undefined || DEAD_SOCKET_CODES.has(this.lastErrorCode)) return true;
    return this.#standInAddress !== '' && this.options.deviceAddress?.() !== this.#standInAddress;
  }

  /** Opens, or opens again, or adopts what another process has bound. On failure there is no socket, and the reason is in `lastErrorCode` as well as thrown. */
  open(descriptor?: number): void {
    this.close();
    try {
      const handle = this.#openOnDevice(descriptor);
      this.#handle = handle;
      this.#port = this.#native.udpPort(handle);
      this.#watcher = this.#native.watchReadable(handle, () => this.#onReadable(this));
      this.lastErrorCode = '';
    } catch (cause) {
      this.lastErrorCode = (cause as { code?: string }).code ?? 'EIO';
      throw cause;
    }
  }

  /** By its source alone a packet leaves by the right interface only where the host's routes follow the source. */
  #openOnDevice(descriptor: number | undefined): UdpHandle {
    const { address, device, deviceAddress } = this.options;
    this.#standInAddress = '';
    try {
      return this.#openSocket(address, device, descriptor);
    } catch (cause) {
      const { code, syscall } = cause as NodeJS.ErrnoException;
      const standIn = address ?? deviceAddress?.() ?? '';
      if (code !== 'EPERM' || syscall !== 'SO_BINDTODEVICE' || standIn === '') throw cause;
      const handle = this.#openSocket(standIn, undefined, descriptor);
      if (address === undefined) this.#standInAddress = standIn;
      return handle;
    }
  }

  #openSocket(address: string | undefined, device: string | undefined, descriptor: number | undefined): UdpHandle {
    const { family, port, mark } = this.options;
    return this.#native.udpOpen({
      family,
      port,
      ...(address === undefined ? {} : { address }),
      ...(device === undefined ? {} : { device }),
      ...(mark === undefined ? {} : { mark }),
      ...(descriptor === undefined ? {} : { descriptor }),
      receiveBufferBytes: BUFFER_BYTES,
      sendBufferBytes: BUFFER_BYTES,
    });
  }

  flush(): number {
    return this.#handle === undefined ? 0 : this.#native.udpFlush(this.#handle);
  }

  sendRaw(address: Uint8Array, bytes: Uint8Array, length: number): number {
    return this.#handle === undefined ? 0 : this.#native.udpSendRaw(this.#handle, address, bytes, 0, length);
  }

  takeError(): string {
    return this.#handle === undefined ? '' : errnoName(this.#native.udpLastError(this.#handle));
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    if (this.#handle !== undefined) this.#native.udpClose(this.#handle);
    this.#handle = undefined;
    this.#port = 0;
    this.#standInAddress = '';
    this.dirty = false;
  }
}
