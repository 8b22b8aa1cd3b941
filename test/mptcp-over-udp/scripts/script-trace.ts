/** Segments as text, one a line: what a failed script prints. */

import {
  ACK,
  FIN,
  PSH,
  RST,
  SEEN_ADD_ADDR,
  SEEN_DSS,
  SEEN_MP_CAPABLE,
  SEEN_MP_FAIL,
  SEEN_MP_FASTCLOSE,
  SEEN_MP_JOIN,
  SEEN_MP_PRIO,
  SEEN_MP_TCPRST,
  SEEN_REMOVE_ADDR,
  SYN,
  type TcpSegment,
} from '../../../src/mptcp-over-udp/wire/segment.js';
import type { Flow } from './script-flow.js';
import type { ScriptPeer } from './script-peer.js';

const LETTERS: readonly [number, string][] = [
  [SYN, 'S'],
  [FIN, 'F'],
  [RST, 'R'],
  [PSH, 'P'],
  [ACK, '.'],
];

export function flagsText(flags: number): string {
  return LETTERS.map(([bit, letter]) => ((flags & bit) === 0 ? '' : letter)).join('') || '-';
}

/** `fromHost`: the direction says whose initial numbers are whose. */
export function segmentText(s: ScriptPeer, flow: Flow, segment: TcpSegment, fromHost: boolean): string {
  const [mine, others] = fromHost ? [flow.hostIss, flow.peerIss] : [flow.peerIss, flow.hostIss];
  const seq = (segment.sequenceNumber - mine) >>> 0;
  const parts = [`${flagsText(segment.flags)} ${seq}:${seq + segment.payloadBytes}(${segment.payloadBytes})`];
  if ((segment.flags & ACK) !== 0) parts.push(`ack ${(segment.acknowledgmentNumber - others) >>> 0}`);
  parts.push(`win ${segment.window}`);
  if (segment.mss > 0) parts.push(`mss ${segment.mss}`);
  if (segment.windowScale >= 0) parts.push(`wscale ${segment.windowScale}`);
  if (segment.sackPermitted) parts.push('sackOK');
  if (segment.hasTimestamps) parts.push(`TS ${segment.timestampValue} ${segment.timestampEcho}`);
  for (let i = 0; i < segment.sackCount; i++)
    parts.push(`sack ${((segment.sack[2 * i] as number) - others) >>> 0}-${((segment.sack[2 * i + 1] as number) - others) >>> 0}`);
  parts.push(...mptcpTexts(s, segment, fromHost));
  return parts.join(' ');
}

function mptcpTexts(s: ScriptPeer, segment: TcpSegment, fromHost: boolean): string[] {
  const { mptcp } = segment;
  const [mine, others] = fromHost ? (['host', 'peer'] as const) : (['peer', 'host'] as const);
  const texts: string[] = [];
  const put = (bit: number, text: () => string): void => {
    if ((mptcp.seen & bit) !== 0) texts.push(`<${text()}>`);
  };
  put(SEEN_MP_CAPABLE, () => {
    const { length, version, flags, dataLength } = mptcp.mpCapable;
    return `MP_CAPABLE ${length} v${version} flags ${flags.toString(16)}${length >= 22 ? ` len ${dataLength}` : ''}`;
  });
  put(SEEN_MP_JOIN, () => `MP_JOIN ${mptcp.mpJoin.length} id ${mptcp.mpJoin.addressId}${mptcp.mpJoin.backup ? ' backup' : ''}`);
  put(SEEN_DSS, () => {
    const { dss } = mptcp;
    const ack = dss.dataAckBytes === 0 ? '' : ` ack ${s.relativeDsn(others, dss.dataAckHigh, dss.dataAckLow, dss.dataAckBytes)}`;
    if (dss.dsnBytes === 0) return `DSS${ack}`;
    const dsn = s.relativeDsn(mine, dss.dsnHigh, dss.dsnLow, dss.dsnBytes);
    const checksum = dss.hasChecksum ? ` checksum ${dss.checksum}` : '';
    return `DSS${ack} dsn ${dsn} ssn ${dss.subflowSequenceNumber} len ${dss.dataLength}${checksum}${dss.dataFin ? ' DATA_FIN' : ''}`;
  });
  put(SEEN_ADD_ADDR, () => {
    const { echo, addressId, address, ipVersion, port } = mptcp.addAddr;
    return `ADD_ADDR${echo ? ' echo' : ''} id ${addressId} ${address.subarray(0, ipVersion === 4 ? 4 : 16).join('.')} port ${port}`;
  });
  put(SEEN_REMOVE_ADDR, () => `REMOVE_ADDR ${mptcp.removeAddrIds.subarray(0, mptcp.removeAddrCount).join()}`);
  put(SEEN_MP_PRIO, () => `MP_PRIO${mptcp.mpPrio.backup ? ' backup' : ''}`);
  put(SEEN_MP_FAIL, () => `MP_FAIL dsn ${s.relativeDsn(others, mptcp.mpFail.dsnHigh, mptcp.mpFail.dsnLow, 8)}`);
  put(SEEN_MP_FASTCLOSE, () => 'FASTCLOSE');
  put(SEEN_MP_TCPRST, () => `TCPRST reason ${mptcp.tcpRst.reason} flags ${mptcp.tcpRst.flags}`);
  return texts;
}
