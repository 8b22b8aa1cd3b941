/**
 * Joins two byte streams: what one delivers the other is given, with back-pressure; a half-close crosses as a half-close, a reset as a reset.
 * Both streams' handlers come from here.
 */

import type { ByteStream, ByteStreamHandler } from '../../mptcp-over-udp/byte-stream.js';
import type { TurnTaker } from '../../mptcp-over-udp/path-limit.js';
import type { CloseReason } from '../../mptcp-over-udp/tcp/tcp-connection.js';

/** What holds a stream below a limit that it shares with others. */
export interface StreamGate {
  /** How many of `wantedBytes` may pass now; 0: `taker` is called when it is its turn. */
  streamRoomBytes(taker: TurnTaker, wantedBytes: number): number;
  /** So many did. */
  chargeStream(bytes: number): void;
}

/** Where such a gate stands, while there is one. */
export interface StreamGatePlace {
  readonly in: StreamGate | undefined;
  readonly out: StreamGate | undefined;
}

/** One side of the splice: what comes out of `from` goes into `to`. */
export class SpliceHalf implements ByteStreamHandler, TurnTaker {
  waitsForTurn = false;
  private readonly to: ByteStream;
  private readonly established: (nowMs: number) => void;
  private readonly closed: (reason: CloseReason, nowMs: number) => void;
  private gates: StreamGatePlace | undefined;
  private direction: keyof StreamGatePlace = 'in';
  private from: ByteStream | undefined;

  /** `closed` decides what becomes of the other side; `established` likewise. */
  constructor(to: ByteStream, established: (nowMs: number) => void, closed: (reason: CloseReason, nowMs: number) => void) {
    this.to = to;
    this.established = established;
    this.closed = closed;
  }

  /** Passes no more than the gate lets through. `from`: what this half is the handler of. */
  gateBy(gates: StreamGatePlace, direction: keyof StreamGatePlace, from: ByteStream): this {
    this.gates = gates;
    this.direction = direction;
    this.from = from;
    return this;
  }

  onEstablished(nowMs: number): void {
    this.established(nowMs);
  }

  onData(bytes: Uint8Array, at: number, length: number): number {
    const gate = this.gates?.[this.direction];
    return gate === undefined ? this.to.write(bytes, at, length) : this.passGate(gate, bytes, at, length);
  }

  takeTurn(): void {
    this.from?.resumeReading();
  }

  private passGate(gate: StreamGate, bytes: Uint8Array, at: number, length: number): number {
    let done = 0;
    while (done < length) {
      const room = gate.streamRoomBytes(this, length - done);
      if (room === 0) break;
      const taken = this.to.write(bytes, at + done, room);
      gate.chargeStream(taken);
      done += taken;
      if (taken < room) break;
    }
    return done;
  }

  onEnd(): void {
    this.to.finish();
  }

  /** `from` can be written to again: its other side may be read on. */
  onWritable(): void {
    this.to.resumeReading();
  }

  onClosed(reason: CloseReason, nowMs: number): void {
    this.closed(reason, nowMs);
  }
}
