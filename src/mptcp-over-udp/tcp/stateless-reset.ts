/** RST for a segment that belongs to no connection (RFC 9293, 3.10.7.1), with MP_TCPRST when MPTCP was asked for (RFC 8684, 3.6). */

import { tupleOfSegment } from '../connection-table.js';
import type { SegmentSink } from '../segment-sink.js';
import { ACK, FIN, RST, SYN, type TcpSegment } from '../wire/segment.js';
import { seqAdd } from '../wire/sequence.js';
import { emitTcpRst } from '../wire/tcp-rst.js';
import { HeaderTemplate } from './header-template.js';

const EMPTY = new Uint8Array(0);

/** `reason`: of MP_TCPRST, put in only when the segment carried an MPTCP option. */
export function sendStatelessReset(sink: SegmentSink, pathId: number, segment: TcpSegment, reason: number): void {
  const template = new HeaderTemplate(tupleOfSegment(segment));
  const at = template.optionsAt;
  const optionsEnd = segment.mptcp.seen !== 0 ? at + emitTcpRst(template.bytes, at, 0, reason) : at;
  const hasAck = (segment.flags & ACK) !== 0;
  const length = segment.payloadBytes + ((segment.flags & SYN) !== 0 ? 1 : 0) + ((segment.flags & FIN) !== 0 ? 1 : 0);
  const headerBytes = hasAck
    ? template.finish(segment.acknowledgmentNumber, 0, RST, 0, optionsEnd)
    : template.finish(0, seqAdd(segment.sequenceNumber, length), RST | ACK, 0, optionsEnd);
  sink.sendSegments(pathId, template.bytes, headerBytes, EMPTY, 0, 0, 0);
}
