/** A UDP socket of QUIC: batches in, batches out. */

import { ADDRESS_BYTES, type NativeAddon, type UdpHandle, type Watcher } from '../../../tun/native.js';

const BUFFER_BYTES = 4 * 1024 * 1024;
const RECEIVE_BYTES = 1024 * 1024;
const RECEIVE_DATAGRAMS = 1024;
/** In one turn of the event loop. */
const MAX_CALLS = 8;

const received = new Uint8Array(RECEIVE_BYTES);
const lengths = new Int32Array(RECEIVE_DATAGRAMS);
const addresses = new Uint8Array(RECEIVE_DATAGRAMS * ADDRESS_BYTES);

export interface QuicSocketOptions {
  readonly family: 4 | 6;
  readonly port: number;
  readonly address: string | undefined;
  readonly device: string | undefined;
  readonly mark: number | undefined;
  /** Stands in for `device` where only root may bind to one (before Linux 5.7). */
  readonly deviceAddress?: string | undefined;
}

export class QuicSocket {
  readonly port: number;
  readonly descriptor: number;
  readonly #native: NativeAddon;
  readonly #handle: UdpHandle;
  readonly #watcher: Watcher;
  #closed = false;

  /** Throws as udpOpen. `take`: borrowed until return; `address` is the record of where it came from. */
  constructor(
    native: NativeAddon,
    options: QuicSocketOptions,
    take: (datagram: Uint8Array, address: Uint8Array) => void,
    endBatch: () => void,
  ) {
    this.#native = native;
    this.#handle = openOnDevice(native, options);
    this.port = native.udpPort(this.#handle);
    this.descriptor = native.udpFd(this.#handle);
    this.#watcher = native.watchReadable(this.#handle, () => this.#read(take, endBatch));
  }

  stage(address: Uint8Array, bytes: Uint8Array, length: number): void {
    if (!this.#closed) this.#native.udpStageRaw(this.#handle, address, bytes, 0, length);
  }

  flush(): void {
    if (!this.#closed) this.#native.udpFlush(this.#handle);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watcher.close();
    this.#native.udpClose(this.#handle);
  }

  #read(take: (datagram: Uint8Array, address: Uint8Array) => void, endBatch: () => void): void {
    for (let call = 0; call < MAX_CALLS && !this.#closed; call++) {
      const count = this.#native.udpReceiveRaw(this.#handle, received, lengths, addresses);
      if (count <= 0) break;
      let at = 0;
      for (let i = 0; i < count; i++) {
        const length = lengths[i]!;
        take(received.subarray(at, at + length), addresses.subarray(i * ADDRESS_BYTES, (i + 1) * ADDRESS_BYTES));
        at += length;
      }
    }
    endBatch();
  }
}

function openOnDevice(native: NativeAddon, options: QuicSocketOptions): UdpHandle {
  try {
    return open(native, options);
  } catch (cause) {
    const { code, syscall } = cause as NodeJS.ErrnoException;
    const address = options.address ?? options.deviceAddress;
    if (code !== 'EPERM' || syscall !== 'SO_BINDTODEVICE' || address === undefined) throw cause;
    return open(native, { ...options, address, device: undefined });
  }
}

function open(native: NativeAddon, { family, port, address, device, mark }: QuicSocketOptions): UdpHandle {
  return native.udpOpen({
    family,
    port,
    ...(address === undefined ? {} : { address }),
    ...(device === undefined ? {} : { device }),
    ...(mark === undefined ? {} : { mark }),
    receiveBufferBytes: BUFFER_BYTES,
    sendBufferBytes: BUFFER_BYTES,
  });
}
