/**
 * The signalling options that a subflow has to send (RFC 8684, 3.3.8, 3.4, 3.7): each rides on an ACK of its own or beside a DSS, wherever the 40 bytes of
 * option space allow. ADD_ADDR is repeated until it is echoed, FASTCLOSE until it is answered.
 */

import { createHmac } from 'node:crypto';
import { addAddrLength, emitAddAddr } from '../wire/add-addr.js';
import { emitFastclose } from '../wire/fastclose.js';
import { emitMpFail } from '../wire/mp-fail.js';
import { emitMpPrio } from '../wire/mp-prio.js';
import { emitRemoveAddr } from '../wire/remove-addr.js';
import { createTcpSegment } from '../wire/segment.js';

export interface AnnouncedAddress {
  readonly addressId: number;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** 0: the port of the connection. */
  readonly port: number;
}

export type Signal =
  /** Without an HMAC in the form of RFC 6824. */
  | { readonly kind: 'add-addr'; readonly address: AnnouncedAddress; readonly hmac: Uint8Array | undefined }
  | { readonly kind: 'echo'; readonly address: AnnouncedAddress }
  | { readonly kind: 'remove-addr'; readonly addressIds: Uint8Array }
  | { readonly kind: 'prio'; readonly backup: boolean }
  | { readonly kind: 'fastclose'; readonly key: Uint8Array }
  | { readonly kind: 'fail'; readonly dsnHigh: number; readonly dsnLow: number };

const scratch = createTcpSegment().mptcp.addAddr;

export function signalLength(signal: Signal): number {
  switch (signal.kind) {
    case 'add-addr':
    case 'echo':
      return addAddrLength(
        signal.address.address.length === 4 ? 4 : 6,
        signal.address.port !== 0,
        signal.kind === 'echo' || signal.hmac === undefined,
      );
    case 'remove-addr':
      return 3 + signal.addressIds.length;
    case 'prio':
      return 3;
    case 'fail':
    case 'fastclose':
      return 12;
  }
}

export function emitSignal(out: Uint8Array, at: number, signal: Signal): number {
  switch (signal.kind) {
    case 'add-addr':
    case 'echo':
      scratch.echo = signal.kind === 'echo';
      scratch.isVersion0 = signal.kind === 'add-addr' && signal.hmac === undefined;
      scratch.ipVersion = signal.address.address.length === 4 ? 4 : 6;
      scratch.addressId = signal.address.addressId;
      scratch.address.set(signal.address.address);
      scratch.port = signal.address.port;
      if (signal.kind === 'add-addr' && signal.hmac !== undefined) scratch.hmac = signal.hmac;
      return emitAddAddr(out, at, scratch);
    case 'remove-addr':
      return emitRemoveAddr(out, at, signal.addressIds, signal.addressIds.length);
    case 'prio':
      return emitMpPrio(out, at, signal.backup);
    case 'fastclose':
      return emitFastclose(out, at, signal.key);
    case 'fail':
      return emitMpFail(out, at, signal.dsnHigh, signal.dsnLow);
  }
}

/** Right 64 bits of HMAC-SHA256(sender's key || receiver's key, id || address || port), RFC 8684, 3.4.1. The port is 0 when none is given. */
export function addAddrHmac(
  senderKey: Uint8Array,
  receiverKey: Uint8Array,
  addressId: number,
  address: Uint8Array,
  port: number,
): Uint8Array {
  const key = new Uint8Array(16);
  key.set(senderKey, 0);
  key.set(receiverKey, 8);
  const message = new Uint8Array(1 + address.length + 2);
  message[0] = addressId;
  message.set(address, 1);
  message[message.length - 2] = port >> 8;
  message[message.length - 1] = port & 0xff;
  return createHmac('sha256', key).update(message).digest().subarray(24, 32);
}
