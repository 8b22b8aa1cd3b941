/**
 * Initial sequence numbers of connections that we open to hosts that may remember an earlier one (RFC 6528): of one four-tuple they go up, so that a host in
 * TIME-WAIT takes a new SYN for new (RFC 9293, 3.10.7.4); of another they tell nothing.
 */

import { createHmac } from 'node:crypto';
import { readU32 } from '../wire/big-endian.js';
import type { FourTuple } from './header-template.js';

const SECRET_BYTES = 32;
/** M counts up every 4 microseconds. */
const COUNTS_PER_MS = 250;

export class InitialSequenceNumbers {
  private readonly secret: Uint8Array;

  constructor(randomBytes: (count: number) => Uint8Array) {
    this.secret = randomBytes(SECRET_BYTES);
  }

  next({ localAddress, localPort, remoteAddress, remotePort }: FourTuple, nowMs: number): number {
    const ports = Uint16Array.of(localPort, remotePort);
    const hash = createHmac('sha256', this.secret).update(localAddress).update(remoteAddress).update(ports).digest();
    return (readU32(hash, 0) + (Math.floor(nowMs * COUNTS_PER_MS) % 0x1_0000_0000)) >>> 0;
  }
}
