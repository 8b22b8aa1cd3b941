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

export class HeaderTemplate {
  readonly bytes: Uint8Array;
  /** Where the TCP options begin. */
  readonly optionsAt: number;
  private readonly view: DataView;
  private readonly tcpAt: number;

  constructor(tuple: FourTuple) {
    const ipHeaderBytes = tuple.ipVersion === 4 ? 20 : 40;
    this.bytes = new Uint8Array(ipHeaderBytes + 20 + MAX_OPTION_BYTES);
    this.view = new DataView(this.bytes.buffer);
    emitIpHeader(this.bytes, 0, tuple.ipVersion, tuple.localAddress, tuple.remoteAddress, HOP_LIMIT, 0);
    this.tcpAt = ipHeaderBytes;
    this.optionsAt = ipHeaderBytes + 20;
    this.view.setUint16(this.tcpAt, tuple.localPort);
    this.view.setUint16(this.tcpAt + 2, tuple.remotePort);
  }

  /** Finishes the header after options were written in [optionsAt, optionsEnd). Returns the header's length. */
  finish(sequenceNumber: number, acknowledgmentNumber: number, flags: number, window: number, optionsEnd: number): number {
    const end = padOptions(this.bytes, this.optionsAt, optionsEnd);
    const view = this.view;
    const at = this.tcpAt;
    view.setUint32(at + 4, sequenceNumber);
    view.setUint32(at + 8, acknowledgmentNumber);
    this.bytes[at + 12] = ((end - at) >> 2) << 4;
    this.bytes[at + 13] = flags;
    view.setUint16(at + 14, window);
    view.setUint32(at + 16, 0);
    return end;
  }
}
