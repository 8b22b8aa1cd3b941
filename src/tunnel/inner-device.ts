/** Where the inner packets of a tunnel come from and go to: the TUN, or, in a program without one, the program itself. */

import type { SegmentSink } from '../mptcp-over-udp/segment-sink.js';
import type { TunReadHandlers } from '../tun/tun-packets.js';
import type { WriteTun } from './planes/datagram-plane.js';

export interface InnerDevice extends SegmentSink {
  readonly counters: Readonly<Record<string, number>>;
  /** Packets come from now on. */
  start(handlers: TunReadHandlers): void;
  readonly writePacket: WriteTun;
  close(): void;
}
