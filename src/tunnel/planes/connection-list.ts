/**
 * Lists stream-plane connections. Rates come of two looks: a look within half a second of the last one repeats what that found. Nothing is kept for
 * connections while nobody looks.
 */

import type { MptcpConnection } from '../../mptcp-over-udp/mptcp/connection.js';
import type { Subflow } from '../../mptcp-over-udp/mptcp/subflow.js';
import { formatIp } from '../../tun/ip-prefix.js';
import type { ConnectionPage, ConnectionQuery, ConnectionView, SubflowView } from '../connections.js';
import { CONNECTIONS_PAGE_MAX_COUNT } from '../connections.js';
import { formatEndpoint } from '../path/address-record.js';

const MIN_INTERVAL_MS = 500;

export interface ListedConnection {
  peer: string;
  connection: MptcpConnection;
  pathName: (pathId: number) => string;
  /** Number of the rule that it goes by, -1 or absent: none. */
  rule?: number;
}

/** Of a connection or a subflow. */
class Meter {
  rxBytesPerSec = -1;
  txBytesPerSec = -1;
  #rxBytes = 0;
  #txBytes = 0;
  #atMs = -1;

  look(rxBytes: number, txBytes: number, nowMs: number): this {
    const elapsedMs = nowMs - this.#atMs;
    if (this.#atMs >= 0 && elapsedMs < MIN_INTERVAL_MS) return this;
    if (this.#atMs >= 0) {
      this.rxBytesPerSec = (Math.max(0, rxBytes - this.#rxBytes) * 1000) / elapsedMs;
      this.txBytesPerSec = (Math.max(0, txBytes - this.#txBytes) * 1000) / elapsedMs;
    }
    this.#rxBytes = rxBytes;
    this.#txBytes = txBytes;
    this.#atMs = nowMs;
    return this;
  }
}

interface Looked extends ListedConnection {
  meter: Meter;
}

export class ConnectionList {
  readonly #meters = new WeakMap<object, Meter>();

  /** Looks at all of them, and describes those that are asked for. */
  page(all: Iterable<ListedConnection>, { order, offset, limit }: ConnectionQuery, nowMs: number): ConnectionPage {
    const looked: Looked[] = [];
    for (const listed of all) {
      const { connection } = listed;
      const meter = this.#look(connection, receivedBytes(connection), ackedBytes(connection), nowMs);
      for (const subflow of connection.subflows) this.#look(subflow, subflowReceivedBytes(subflow), subflowAckedBytes(subflow), nowMs);
      looked.push({ ...listed, meter });
    }
    // Equal ones stay in the order in which they were opened.
    looked.sort((a, b) => weight(b, order, nowMs) - weight(a, order, nowMs));
    const wanted = looked.slice(offset, offset + Math.min(limit, CONNECTIONS_PAGE_MAX_COUNT));
    return { total: looked.length, connections: wanted.map((one) => this.#view(one, nowMs)) };
  }

  #look(of: object, rxBytes: number, txBytes: number, nowMs: number): Meter {
    let meter = this.#meters.get(of);
    if (meter === undefined) {
      meter = new Meter();
      this.#meters.set(of, meter);
    }
    return meter.look(rxBytes, txBytes, nowMs);
  }

  #view({ peer, connection, pathName, rule = -1, meter }: Looked, nowMs: number): ConnectionView {
    const { tuple } = connection;
    const local = formatEndpoint(formatIp(tuple.localAddress), tuple.localPort);
    const remote = formatEndpoint(formatIp(tuple.remoteAddress), tuple.remotePort);
    const isClient = connection.role === 'client';
    return {
      id: connection.local.token,
      peer,
      direction: isClient ? 'outgoing' : 'incoming',
      source: isClient ? local : remote,
      destination: isClient ? remote : local,
      state: connectionState(connection),
      ...(rule < 0 ? {} : { rule: rule + 1 }),
      rxBytes: receivedBytes(connection),
      txBytes: ackedBytes(connection),
      rxBytesPerSec: meter.rxBytesPerSec,
      txBytesPerSec: meter.txBytesPerSec,
      unackedBytes: connection.dataNxt - connection.dataUna,
      queuedBytes: connection.sendBuffer.queuedBytes,
      peerWindowBytes: Math.max(0, connection.peerWindowEdge - connection.dataNxt),
      idleMs: Math.max(0, nowMs - connection.lastActivityMs),
      subflows: connection.subflows.map((subflow) => this.#subflowView(subflow, pathName, nowMs)),
    };
  }

  #subflowView(subflow: Subflow, pathName: (pathId: number) => string, nowMs: number): SubflowView {
    const { recovery, pathId } = subflow;
    const rxBytes = subflowReceivedBytes(subflow);
    const txBytes = subflowAckedBytes(subflow);
    const meter = this.#look(subflow, rxBytes, txBytes, nowMs);
    return {
      pathId,
      path: pathName(pathId),
      state: subflow.state,
      role: subflow.role,
      rttMs: recovery.rtt.srttMs,
      cwndBytes: recovery.congestion.cwndBytes,
      inflightBytes: recovery.queue.inflightBytes,
      retransmittedBytes: recovery.retransmittedBytes,
      rxBytes,
      txBytes,
      rxBytesPerSec: meter.rxBytesPerSec,
      txBytesPerSec: meter.txBytesPerSec,
      backup: subflow.remoteBackup,
      benched: subflow.benched,
    };
  }
}

function weight({ meter, connection }: Looked, order: ConnectionQuery['order'], nowMs: number): number {
  switch (order) {
    case 'rate':
      return meter.rxBytesPerSec + meter.txBytesPerSec;
    case 'bytes':
      return receivedBytes(connection) + ackedBytes(connection);
    case 'idle':
      return nowMs - connection.lastActivityMs;
  }
}

function connectionState(connection: MptcpConnection): ConnectionView['state'] {
  if (connection.finishing || connection.remoteDataFinOffset >= 0 || connection.closed) return 'closing';
  const [first] = connection.subflows;
  const opening = connection.subflows.length <= 1 && (first === undefined || !first.confirmed);
  return opening && receivedBytes(connection) === 0 ? 'opening' : 'open';
}

/** Positions begin at 1. */
function receivedBytes(connection: MptcpConnection): number {
  return Math.max(0, connection.reassembly.readOffset - 1);
}

function ackedBytes(connection: MptcpConnection): number {
  return Math.max(0, connection.dataUna - 1);
}

/** The SYN takes a number. */
function subflowReceivedBytes(subflow: Subflow): number {
  return Math.max(0, subflow.rcvNxt - 1);
}

function subflowAckedBytes(subflow: Subflow): number {
  return Math.max(0, subflow.recovery.sndUna - 1);
}
