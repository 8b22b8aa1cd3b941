/** A connection of this program's own until it is answered: "unreachable" comes as an ICMP error of its own, and the reset that follows would say "refused". */

import type { ByteStreamHandler } from '../../mptcp-over-udp/byte-stream.js';
import type { FourTuple } from '../../mptcp-over-udp/tcp/header-template.js';
import type { CloseReason } from '../../mptcp-over-udp/tcp/tcp-connection.js';

export class DialNotices implements ByteStreamHandler {
  unreachable = false;
  readonly #handler: ByteStreamHandler;
  readonly #settled: () => void;

  /** `settled`: answered, or over. */
  constructor(handler: ByteStreamHandler, settled: () => void) {
    this.#handler = handler;
    this.#settled = settled;
  }

  onEstablished(nowMs: number): void {
    this.#settled();
    this.#handler.onEstablished(nowMs);
  }

  onData(bytes: Uint8Array, at: number, length: number): number {
    return this.#handler.onData(bytes, at, length);
  }

  onEnd(nowMs: number): void {
    this.#handler.onEnd(nowMs);
  }

  onWritable(nowMs: number): void {
    this.#handler.onWritable(nowMs);
  }

  onClosed(reason: CloseReason, nowMs: number): void {
    this.#settled();
    this.#handler.onClosed(this.unreachable && reason === 'refused' ? 'unreachable' : reason, nowMs);
  }
}

export function isSameTuple(a: FourTuple, b: FourTuple): boolean {
  return (
    a.localPort === b.localPort &&
    a.remotePort === b.remotePort &&
    isSameAddress(a.localAddress, b.localAddress) &&
    isSameAddress(a.remoteAddress, b.remoteAddress)
  );
}

function isSameAddress(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
