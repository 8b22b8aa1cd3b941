/** The IP and TCP header of one connection, written once and patched for each segment. */

import { emitIpHeader } from '../wire/ip-header.js';
import { padOptions } from '../wire/tcp-options.js';

export const MAX_OPTION_BYTES = 40;

/** Addresses are 4 or 16 bytes. Local is the side that sends. */
export interface FourTuple {
  readonly ipVersion: 4 | 6;
  readonly localAddress: Uint8Array;
  readonly remoteAddress: Uint8Array;
  readonly localPort: number;
  readonly remotePort: number;
}

const HOP_LIMIT = 64;
/** Templates are cut from slabs: a buffer and a view each would cost more than what they hold. A connection that lives long keeps no more than one slab. */
const SLAB_BYTES = 800;

let slab = new DataView(new ArrayBuffer(0));
let slabUsedBytes = 0;

export class HeaderTemplate {
  readonly bytes: Uint8Array;
  /** Where the TCP options begin. */
  readonly optionsAt: number;
  /** Of the slab. */
  private readonly view: DataView;
  private readonly start: number;
  private readonly tcpAt: number;

  constructor(tuple: FourTuple) {
    const ipHeaderBytes = tuple.ipVersion === 4 ? 20 : 40;
    const length = ipHeaderBytes + 20 + MAX_OPTION_BYTES;
    if (slabUsedBytes + length > slab.byteLength) {
      slab = new DataView(new ArrayBuffer(SLAB_BYTES));
      slabUsedBytes = 0;
    }
    this.start = slabUsedBytes;
    slabUsedBytes += length;
    this.view = slab;
    this.bytes = new Uint8Array(slab.buffer, this.start, length);
    emitIpHeader(this.bytes, 0, tuple.ipVersion, tuple.localAddress, tuple.remoteAddress, HOP_LIMIT, 0);
    this.tcpAt = ipHeaderBytes;
    this.optionsAt = ipHeaderBytes + 20;
    this.view.setUint16(this.start + this.tcpAt, tuple.localPort);
    this.view.setUint16(this.start + this.tcpAt + 2, tuple.remotePort);
  }

  /** Finishes the header after options were written in [optionsAt, optionsEnd). Returns the header's length. */
  finish(sequenceNumber: number, acknowledgmentNumber: number, flags: number, window: number, optionsEnd: number): number {
    const end = padOptions(this.bytes, this.optionsAt, optionsEnd);
    const view = this.view;
    const at = this.start + this.tcpAt;
    view.setUint32(at + 4, sequenceNumber);
    view.setUint32(at + 8, acknowledgmentNumber);
    view.setUint8(at + 12, ((end - this.tcpAt) >> 2) << 4);
    view.setUint8(at + 13, flags);
    view.setUint16(at + 14, window);
    view.setUint32(at + 16, 0);
    return end;
  }
}
