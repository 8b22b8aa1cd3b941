/** A carrier over a transport: packets are staged on a port in memory, and what is staged goes to the transport with each flush. */

import type { NativeAddon, UdpHandle } from '../../tun/native.js';
import { emitAddressRecord } from '../path/address-record.js';
import type { Carrier } from './carrier.js';
import { errnoName } from './errno-names.js';
import type { Transport, TransportKind } from './transport.js';

/** Shared by all: of one flush at a time. */
const TAKE_BYTES = 256 * 1024;
const TAKE_DATAGRAMS = 512;
let takenBytes: Uint8Array | undefined;
let takenLengths: Int32Array | undefined;
const oneLength = new Int32Array(1);

export class TransportCarrier implements Carrier {
  readonly kind: TransportKind;
  readonly needsReopen = false;
  readonly transport: Transport;
  readonly #native: NativeAddon;
  readonly #receive: (carrier: Carrier) => void;
  #handle: UdpHandle | undefined;
  #receiveAgain: NodeJS.Immediate | undefined;
  lastErrorCode = '';
  dirty = false;
  refusedDatagrams = 0;

  /** `transport` is open. */
  constructor(native: NativeAddon, transport: Transport, receive: (carrier: Carrier) => void) {
    this.kind = transport.kind;
    this.transport = transport;
    this.#native = native;
    this.#receive = receive;
    this.#handle = native.memoryOpen(this.addressRecord(), transport.local.port);
  }

  get handle(): UdpHandle | undefined {
    return this.#handle;
  }

  get port(): number {
    return this.transport.local.port;
  }

  get protocol(): string | undefined {
    return this.transport.protocol;
  }

  get maxDatagramBytes(): number {
    return this.transport.maxDatagramBytes;
  }

  /** Where its datagrams come from. */
  addressRecord(): Uint8Array {
    const { address, port } = this.transport.remote;
    return emitAddressRecord(address, port);
  }

  /** The transport has brought datagrams. */
  handleDatagrams(bytes: Uint8Array, lengths: Int32Array, count: number): void {
    if (this.#handle === undefined) return;
    this.#native.memoryPut(this.#handle, bytes, lengths, count);
    this.#drain();
  }

  flush(): number {
    const handle = this.#handle;
    if (handle === undefined) return 0;
    const native = this.#native;
    const refused = native.udpFlush(handle);
    takenBytes ??= new Uint8Array(TAKE_BYTES);
    takenLengths ??= new Int32Array(TAKE_DATAGRAMS);
    for (;;) {
      const count = native.memoryTake(handle, takenBytes, takenLengths);
      if (count === 0) return refused;
      this.transport.sendDatagrams(takenBytes, takenLengths, count);
      // It may have closed us.
      if (this.#handle !== handle) return refused;
    }
  }

  sendRaw(_address: Uint8Array, bytes: Uint8Array, length: number): number {
    oneLength[0] = length;
    this.transport.sendDatagrams(bytes.subarray(0, length), oneLength, 1);
    return length;
  }

  takeError(): string {
    return this.#handle === undefined ? '' : errnoName(this.#native.udpLastError(this.#handle));
  }

  /** The transport stays as it is. */
  close(): void {
    if (this.#receiveAgain !== undefined) clearImmediate(this.#receiveAgain);
    if (this.#handle !== undefined) this.#native.udpClose(this.#handle);
    this.#handle = undefined;
    this.dirty = false;
  }

  /** What is left after a turn's worth waits for the next turn of the event loop. */
  #drain(): void {
    this.#receive(this);
    if (this.#handle === undefined || this.#receiveAgain !== undefined || this.#native.memoryWaiting(this.#handle) === 0) return;
    this.#receiveAgain = setImmediate(() => {
      this.#receiveAgain = undefined;
      this.#drain();
    });
  }
}
