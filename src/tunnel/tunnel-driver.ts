/** What becomes of each packet, from the device and from paths; and when the planes are polled: at the end of a batch, woken by what else has happened, and by one fine timer. */

import { UNKNOWN_CONNECTION } from '../mptcp-over-udp/tcp/endpoint-host.js';
import { createIpPacketFacts, PROTOCOL_TCP, parseIpPacket } from '../mptcp-over-udp/wire/ip-header.js';
import type { FineTimer, NativeAddon } from '../tun/native.js';
import type { PeerLimits } from './gateway/peer-limits.js';
import type { LinkObserver, PathLink, PeerLink } from './link.js';
import type { CountingLinkLayer } from './link-layer.js';
import type { DatagramPlane } from './planes/datagram-plane.js';
import type { StreamPlane } from './planes/stream-plane.js';
import type { PeerMessage } from './session/slow-control.js';

/** A timer that is due within this is run at once: arming it costs as much. */
const TIMER_SLACK_MS = 0.02;

/** What is no packet; the driver is woken afterwards. */
export type LinkChanges = Pick<Required<LinkObserver>, 'onPathChange' | 'onPathRemoved' | 'onPeerChange' | 'onMessage'>;

export class TunnelDriver implements LinkObserver {
  link: CountingLinkLayer | undefined;
  /** undefined before there are any, and when the tunnel closes: what still arrives then finds none. */
  streams: StreamPlane | undefined;
  datagrams: DatagramPlane | undefined;
  private readonly changes: LinkChanges;
  private readonly facts = createIpPacketFacts();
  private limits: PeerLimits | undefined;
  private timer: FineTimer | undefined;
  private wakePending = false;
  private stopped = false;

  constructor(changes: LinkChanges) {
    this.changes = changes;
  }

  /** The planes are there. */
  start(native: NativeAddon, limits: PeerLimits): void {
    this.limits = limits;
    this.timer = native.createFineTimer(() => this.drive(performance.now()));
  }

  /** Nothing happens any more but by batches of the link layer. */
  stop(): void {
    this.stopped = true;
  }

  /** Connections end, and planes with them. */
  close(): void {
    this.streams?.abortAll(performance.now());
    this.link?.flush();
    this.streams = undefined;
    this.datagrams = undefined;
    this.timer?.close();
  }

  drive(nowMs: number): void {
    if (this.stopped) return;
    this.poll(nowMs);
    this.link?.flush();
  }

  /** Sockets' events come one by one: what they caused is sent once, at the end of this turn of the event loop. */
  wake(): void {
    if (this.wakePending) return;
    this.wakePending = true;
    setImmediate(() => {
      this.wakePending = false;
      this.drive(performance.now());
    });
  }

  private poll(nowMs: number): void {
    const { streams, datagrams, limits, link } = this;
    if (streams === undefined || datagrams === undefined) return;
    limits?.poll(nowMs);
    streams.poll(nowMs);
    datagrams.poll(nowMs);
    link?.poll(nowMs);
    const at = Math.min(
      streams.nextTimeoutMs(),
      datagrams.nextTimeoutMs(),
      limits?.nextTimeoutMs(nowMs) ?? Infinity,
      link?.nextTimeoutMs(nowMs) ?? Infinity,
    );
    if (at === Number.POSITIVE_INFINITY) this.timer?.disarm();
    else this.timer?.arm(Math.max(1, Math.ceil(Math.max(TIMER_SLACK_MS, at - performance.now()) * 1000)));
  }

  // ---- from the device ----

  readonly handleTunPacket = (
    bytes: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
    nowMs: number,
  ): void => {
    const { streams, datagrams } = this;
    // Native MPTCP, fragments and what does not parse are the datagram plane's.
    if (streams === undefined || datagrams === undefined) return;
    if (!isTcp(bytes, offset)) {
      if (streams.handleTunIcmp(bytes, offset, length, nowMs)) return;
    } else if (streams.isAsked) {
      const result = streams.handleTunPacket(bytes, offset, length, nowMs);
      if (result === '') return;
      if (result === UNKNOWN_CONNECTION && streams.isTerminator && !this.isKnownFlow(bytes, offset, length, nowMs)) {
        streams.endpoints.resetLast();
        return;
      }
    }
    datagrams.handleTunPacket(bytes, offset, length, gsoType, gsoSize, csumStart, csumOffset, nowMs);
  };

  /** TCP that the datagram plane carries already: the peer sent it so. */
  private isKnownFlow(bytes: Uint8Array, offset: number, length: number, nowMs: number): boolean {
    return (
      parseIpPacket(bytes, offset, length, this.facts) === '' && (this.datagrams?.flows.find(bytes, this.facts, false, nowMs) ?? -1) >= 0
    );
  }

  // ---- from the link layer ----

  onStreamPacket(
    peer: PeerLink,
    path: PathLink,
    bytes: Uint8Array,
    offset: number,
    length: number,
    segmentBytes: number,
    nowMs: number,
  ): void {
    if (peer.enrolling) return;
    this.streams?.handlePathPacket(peer, path, bytes, offset, length, segmentBytes > 0, nowMs);
  }

  onDatagramPacket(
    peer: PeerLink,
    path: PathLink,
    bytes: Uint8Array,
    offset: number,
    length: number,
    nowMs: number,
    segmentBytes: number,
  ): void {
    if (peer.enrolling) return;
    if (this.streams?.handleUnreachable(bytes, offset, length) === true) return;
    this.datagrams?.handlePathPacket(peer, path, bytes, offset, length, nowMs, segmentBytes);
  }

  onBatchEnd(nowMs: number): void {
    this.poll(nowMs);
  }

  onPathChange(peer: PeerLink, path: PathLink, nowMs: number): void {
    this.changes.onPathChange(peer, path, nowMs);
    this.wake();
  }

  onPathRemoved(peer: PeerLink, path: PathLink, nowMs: number): void {
    this.changes.onPathRemoved(peer, path, nowMs);
    this.wake();
  }

  onPeerChange(peer: PeerLink, nowMs: number): void {
    this.changes.onPeerChange(peer, nowMs);
    this.wake();
  }

  onMessage(peer: PeerLink, message: PeerMessage, nowMs: number): void {
    this.changes.onMessage(peer, message, nowMs);
  }
}

function isTcp(bytes: Uint8Array, offset: number): boolean {
  const first = bytes[offset] as number;
  return first >> 4 === 4 ? bytes[offset + 9] === PROTOCOL_TCP : first >> 4 === 6 && bytes[offset + 6] === PROTOCOL_TCP;
}
