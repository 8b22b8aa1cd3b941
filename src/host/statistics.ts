/** What `ss -Mi` shows, of our side. Snapshots: plain data. */

import type { MptcpConnection } from '../mptcp-over-udp/mptcp/connection.js';
import type { Subflow } from '../mptcp-over-udp/mptcp/subflow.js';
import type { TcpState } from '../mptcp-over-udp/tcp/tcp-state.js';
import { formatEndpoint } from './endpoint-text.js';

export interface SubflowStatistics {
  localAddress: string;
  localPort: number;
  remoteAddress: string;
  remotePort: number;
  /** Index of the device that it uses. */
  device: number;
  state: TcpState;
  /** MP_CAPABLE; else MP_JOIN, by us or by the peer. */
  role: Subflow['role'];
  /** Address id of the side that opened it, 0 for the initial one. */
  addressId: number;
  /** May carry data: the handshake is complete. */
  confirmed: boolean;
  /** The peer asked us to use it as a backup. */
  remoteBackup: boolean;
  mssBytes: number;
  cwndBytes: number;
  ssthreshBytes: number;
  /** Smoothed, its variance, and the minimum; -1 before the first sample. */
  rttMs: number;
  rttvarMs: number;
  minRttMs: number;
  rtoMs: number;
  inflightBytes: number;
  lostBytes: number;
  retransmittedBytes: number;
  /** Payload acknowledged by the peer, and received in order. */
  bytesAcked: number;
  bytesReceived: number;
  pacingRateBytesPerSec: number;
  congestionControl: string;
}

export interface ConnectionStatistics {
  token: number;
  remoteToken: number;
  role: 'client' | 'server';
  fallback: boolean;
  /** Data-level bytes that have their DATA_ACK, that wait for it, and that wait to be sent. */
  bytesAcked: number;
  bytesUnacked: number;
  bytesQueued: number;
  /** In order, and the reader's. */
  bytesReceived: number;
  receiveWindowBytes: number;
  sendWindowBytes: number;
  dataFinSent: boolean;
  dataFinAcked: boolean;
  scheduler: string;
  subflows: SubflowStatistics[];
}

export function subflowStatistics(subflow: Subflow): SubflowStatistics {
  const { tuple, recovery } = subflow;
  const { congestion, rtt, queue } = recovery;
  return {
    localAddress: formatEndpoint(tuple.localAddress),
    localPort: tuple.localPort,
    remoteAddress: formatEndpoint(tuple.remoteAddress),
    remotePort: tuple.remotePort,
    device: subflow.pathId,
    state: subflow.state,
    role: subflow.role,
    addressId: subflow.addressId,
    confirmed: subflow.confirmed,
    remoteBackup: subflow.remoteBackup,
    mssBytes: subflow.mssBytes,
    cwndBytes: congestion.cwndBytes,
    ssthreshBytes: congestion.ssthreshBytes,
    rttMs: rtt.srttMs,
    rttvarMs: rtt.rttvarMs,
    minRttMs: rtt.minRttMs,
    rtoMs: rtt.rtoMs,
    inflightBytes: queue.inflightBytes,
    lostBytes: queue.lostBytes,
    retransmittedBytes: recovery.retransmittedBytes,
    bytesAcked: Math.max(0, recovery.sndUna - 1),
    bytesReceived: Math.max(0, subflow.rcvNxt - 1),
    pacingRateBytesPerSec: congestion.pacingRateBytesPerSec,
    congestionControl: congestion.name,
  };
}

export function connectionStatistics(connection: MptcpConnection): ConnectionStatistics {
  return {
    token: connection.local.token,
    remoteToken: connection.remoteToken,
    role: connection.role,
    fallback: connection.fallback,
    bytesAcked: connection.dataUna - 1,
    bytesUnacked: connection.dataNxt - connection.dataUna,
    bytesQueued: connection.sendBuffer.queuedBytes,
    bytesReceived: connection.reassembly.readOffset - 1,
    receiveWindowBytes: connection.receiveWindow.limitBytes,
    sendWindowBytes: Math.max(0, connection.peerWindowEdge - connection.dataNxt),
    dataFinSent: connection.dataFinOffset >= 0,
    dataFinAcked: connection.dataFinAcked,
    scheduler: connection.host.scheduler.name,
    subflows: connection.subflows.map(subflowStatistics),
  };
}
