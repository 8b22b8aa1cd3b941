/** One TCP connection as a script's peer sees it: addresses, both initial sequence numbers, and the segments of the host not yet expected. */

import type { FourTuple } from '../../../src/mptcp-over-udp/tcp/header-template.js';
import { fastOpenCookieOf } from '../../../src/mptcp-over-udp/wire/fast-open.js';
import { verifyTcpChecksum } from '../../../src/mptcp-over-udp/wire/parse-segment.js';
import type { MptcpOptions, TcpSegment } from '../../../src/mptcp-over-udp/wire/segment.js';
import type { SegmentSpec } from './script-segment.js';

/** A segment of the host, as parsed from its bytes. */
export interface SentSegment {
  atMs: number;
  pathId: number;
  flags: number;
  sequenceNumber: number;
  acknowledgmentNumber: number;
  window: number;
  payload: Uint8Array;
  optionBytes: number;
  mss: number;
  windowScale: number;
  sackPermitted: boolean;
  hasTimestamps: boolean;
  timestampValue: number;
  timestampEcho: number;
  /** Edges, two a block. */
  sack: number[];
  /** Empty: a request; undefined: no Fast Open option. */
  fastOpen: Uint8Array | undefined;
  mptcp: MptcpOptions;
  checksumValid: boolean;
}

/** Who carries out what a flow is told. */
export interface FlowOwner {
  injectOn(flow: Flow, atMs: number, spec: SegmentSpec): void;
  expectOn(flow: Flow, atMs: number, spec: SegmentSpec, toleranceMs?: number): SentSegment;
  expectNothingOn(flow: Flow, untilMs: number): void;
}

export class Flow {
  readonly name: string;
  /** Local is the host's side. */
  readonly tuple: FourTuple;
  readonly pathId: number;
  readonly peerIss: number;
  hostIss = 0;
  hostIssKnown = false;
  /** Next sequence number of the peer, one past the highest of the host, both relative. */
  peerNext = 0;
  hostNext = 0;
  /** Payload that came with the SYN and was acknowledged by the SYN/ACK, of either side. */
  peerSynBytes = 0;
  hostSynBytes = 0;
  peerNonce: number;
  hostNonce = 0;
  /** Whose MP_JOIN SYN opened it. */
  readonly isJoin: boolean;
  readonly unexpected: SentSegment[] = [];
  /** Mappings of the host, by subflow sequence number: for checking payloads. */
  readonly mappings: { ssn: number; dsn: number; length: number }[] = [];
  private readonly owner: FlowOwner;

  constructor(owner: FlowOwner, name: string, tuple: FourTuple, pathId: number, index: number, isJoin: boolean) {
    this.owner = owner;
    this.name = name;
    this.tuple = tuple;
    this.pathId = pathId;
    this.isJoin = isJoin;
    this.peerIss = (0xffff_ff00 + index * 0x0100_0000) >>> 0;
    this.peerNonce = 0x5c21_9000 + index;
  }

  inject(atMs: number, spec: SegmentSpec): void {
    this.owner.injectOn(this, atMs, spec);
  }

  /** The next segment of the host on this flow is this one, at this time. */
  expect(atMs: number, spec: SegmentSpec, toleranceMs?: number): SentSegment {
    return this.owner.expectOn(this, atMs, spec, toleranceMs);
  }

  /** Until then the host sends nothing on this flow. */
  expectNothing(untilMs: number): void {
    this.owner.expectNothingOn(this, untilMs);
  }
}

/** A copy: the parsed segment and its packet are used again. */
export function sentSegment(atMs: number, pathId: number, parsed: TcpSegment, packet: Uint8Array): SentSegment {
  return {
    atMs,
    pathId,
    flags: parsed.flags,
    sequenceNumber: parsed.sequenceNumber,
    acknowledgmentNumber: parsed.acknowledgmentNumber,
    window: parsed.window,
    payload: packet.slice(parsed.payloadOffset, parsed.payloadOffset + parsed.payloadBytes),
    optionBytes: parsed.payloadOffset - (parsed.ipVersion === 4 ? 40 : 60),
    mss: parsed.mss,
    windowScale: parsed.windowScale,
    sackPermitted: parsed.sackPermitted,
    hasTimestamps: parsed.hasTimestamps,
    timestampValue: parsed.timestampValue,
    timestampEcho: parsed.timestampEcho,
    sack: [...parsed.sack.subarray(0, 2 * parsed.sackCount)],
    fastOpen: fastOpenCookieOf(parsed),
    mptcp: structuredClone(parsed.mptcp),
    checksumValid: verifyTcpChecksum(packet, 0, packet.length),
  };
}
