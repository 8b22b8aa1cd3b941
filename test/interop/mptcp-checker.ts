/**
 * An oracle for captures that speak MPTCP v1 (RFC 8684): it verifies what Wireshark does not, every HMAC and every DSS checksum, and what holds
 * between segments: keys echoed, tokens known, mappings repeated unchanged, nothing acknowledged that was not carried, DATA_FIN acknowledged.
 * Hosts of a connection are 0, who sent the MP_CAPABLE SYN, and 1. The crypto here is deliberately not that of `src/`.
 */

import { createHash, createHmac } from 'node:crypto';
import { FAULT_FRAGMENT, FAULT_NOT_TCP, parseSegment, verifyTcpChecksum } from '../../src/mptcp-over-udp/wire/parse-segment.js';
import * as seg from '../../src/mptcp-over-udp/wire/segment.js';
import { dsnOffset, unwrapOffset } from '../../src/mptcp-over-udp/wire/sequence.js';
import { DataStream, SubflowLedger } from './data-ledger.js';

export interface CheckReport {
  /** MPTCP connections whose keys were exchanged and agree. */
  connections: number;
  /** MP_JOIN handshakes with both HMACs verified. */
  joins: number;
  /** DSS checksums verified. */
  checksums: number;
  /** ADD_ADDR HMACs verified. */
  addAddrs: number;
  /** Connections whose DATA_FINs of both sides were acknowledged. */
  closed: number;
  /**
   * Per connection and subflow: "source:port > destination:port" and the mapped payload bytes each way; "fresh" are those that no subflow had
   * carried before.
   */
  subflows: {
    connection: number;
    flow: string;
    isJoin: boolean;
    upBytes: number;
    downBytes: number;
    upFreshBytes: number;
    downFreshBytes: number;
  }[];
  faults: string[];
}

export interface CheckOptions {
  /** False for captures of a kernel that leaves checksums to the device. */
  tcpChecksums?: boolean;
}

type Host = 0 | 1;

interface Connection {
  id: number;
  keys: [Uint8Array | undefined, Uint8Array | undefined];
  streams: [DataStream, DataStream] | undefined;
  checksumRequired: boolean;
  /** FASTCLOSE, infinite mapping or a reset first subflow: DATA_FIN is no longer due. */
  isAborted: boolean;
  subflows: Subflow[];
}

interface Subflow {
  connection: Connection;
  name: string;
  isJoin: boolean;
  opener: Host;
  initialSequenceNumbers: [number, number];
  synAckSeen: boolean;
  /** Keys (MP_CAPABLE) or HMACs (MP_JOIN) are complete. */
  isProven: boolean;
  fourthAckSeen: boolean;
  nonces: [number, number];
  /** Payload of the SYN that the SYN/ACK acknowledged: counted neither in SSNs nor in DSNs (RFC 8684, B.2). */
  synBytes: [number, number];
  /** Of a server that answers such data before the third ACK: to be looked at when both keys are known. */
  early: Uint8Array[];
  /** Newest payload offset of each host, for unwrapping. */
  newest: [number, number];
  ledgers: [SubflowLedger, SubflowLedger] | undefined;
}

const MAX_FAULTS = 200;

/** Checks the packets, IP header first, in the order of the capture. */
export function checkMptcp(packets: Iterable<Uint8Array>, options: CheckOptions = {}): CheckReport {
  const checker = new MptcpChecker(options);
  for (const packet of packets) checker.handlePacket(packet);
  return checker.finish();
}

export class MptcpChecker {
  readonly #tcpChecksums: boolean;
  readonly #flows = new Map<string, { subflow: Subflow; host: Host }>();
  readonly #tokens = new Map<number, { connection: Connection; host: Host }>();
  readonly #connections: Connection[] = [];
  readonly #faults: string[] = [];
  readonly #segment = seg.createTcpSegment();
  #packetNumber = 0;
  #joins = 0;
  #addAddrs = 0;
  #extraChecksums = 0;

  constructor(options: CheckOptions = {}) {
    this.#tcpChecksums = options.tcpChecksums ?? true;
  }

  handlePacket(packet: Uint8Array): void {
    this.#packetNumber++;
    const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
    const fault = parseSegment(packet, view, 0, packet.length, false, this.#segment);
    if (fault === FAULT_NOT_TCP || fault === FAULT_FRAGMENT) return;
    if (fault !== '') {
      this.#fault(fault);
      return;
    }
    if (this.#tcpChecksums && !verifyTcpChecksum(packet, 0, packet.length)) this.#fault('TCP checksum wrong');
    if (this.#segment.mptcp.malformedCount > 0) this.#fault('malformed MPTCP option');
    const isSyn = (this.#segment.flags & seg.SYN) !== 0;
    if (isSyn && (this.#segment.flags & seg.ACK) === 0) {
      this.#handleSyn(packet);
      return;
    }
    const flow = this.#flows.get(flowKey(packet, this.#segment, false));
    if (flow === undefined) return;
    if (isSyn) this.#handleSynAck(flow.subflow, flow.host);
    else this.#handleSegment(packet, flow.subflow, flow.host);
  }

  finish(): CheckReport {
    let checksums = this.#extraChecksums;
    const subflows: CheckReport['subflows'] = [];
    for (const connection of this.#connections) {
      for (const subflow of connection.subflows) {
        const [up, down] = subflow.ledgers ?? [];
        checksums += (up?.checksumsVerified ?? 0) + (down?.checksumsVerified ?? 0);
        for (const ledger of [up, down]) {
          if (ledger !== undefined && ledger.unmappedBytes > 0 && !connection.isAborted) {
            this.#note(`${subflow.name}: ${ledger.unmappedBytes} bytes never got a mapping`);
          }
        }
        const { isJoin, name: flow } = subflow;
        subflows.push({
          connection: connection.id,
          flow,
          isJoin,
          upBytes: up?.carriedBytes ?? 0,
          downBytes: down?.carriedBytes ?? 0,
          upFreshBytes: up?.freshBytes ?? 0,
          downFreshBytes: down?.freshBytes ?? 0,
        });
      }
      for (const stream of connection.isAborted ? [] : (connection.streams ?? [])) {
        if (stream.fin !== -1 && !stream.isFinished) this.#note(`connection ${connection.id}: a DATA_FIN was never acknowledged`);
      }
    }
    const established = this.#connections.filter((connection) => connection.keys[0] !== undefined && connection.keys[1] !== undefined);
    return {
      connections: established.length,
      joins: this.#joins,
      checksums,
      addAddrs: this.#addAddrs,
      closed: established.filter((connection) => connection.streams?.every((stream) => stream.isFinished)).length,
      subflows,
      faults: this.#faults,
    };
  }

  #handleSyn(packet: Uint8Array): void {
    const { mptcp, sequenceNumber } = this.#segment;
    const key = flowKey(packet, this.#segment, false);
    const known = this.#flows.get(key);
    if (known !== undefined && known.subflow.initialSequenceNumbers[known.host] === sequenceNumber) return;
    const isJoin = (mptcp.seen & seg.SEEN_MP_JOIN) !== 0;
    this.#flows.delete(key);
    this.#flows.delete(flowKey(packet, this.#segment, true));
    if (!isJoin && (mptcp.seen & seg.SEEN_MP_CAPABLE) === 0) return;
    const owner = isJoin ? this.#tokens.get(mptcp.mpJoin.token) : undefined;
    if (isJoin && owner === undefined) {
      this.#fault(`MP_JOIN for token ${mptcp.mpJoin.token.toString(16)}, which nobody has`);
      return;
    }
    if (!isJoin && (mptcp.mpCapable.length !== 4 || mptcp.mpCapable.version !== 1))
      this.#fault('MP_CAPABLE SYN is not version 1 without a key');
    const connection = owner?.connection ?? this.#newConnection();
    const opener: Host = owner === undefined ? 0 : owner.host === 0 ? 1 : 0;
    const subflow: Subflow = {
      connection,
      name: flowName(packet, this.#segment),
      isJoin,
      opener,
      initialSequenceNumbers: opener === 0 ? [sequenceNumber, -1] : [-1, sequenceNumber],
      synAckSeen: false,
      isProven: false,
      fourthAckSeen: false,
      nonces: [0, 0],
      synBytes: [0, 0],
      early: [],
      newest: [0, 0],
      ledgers: undefined,
    };
    if (isJoin) subflow.nonces[opener] = mptcp.mpJoin.nonce;
    else connection.checksumRequired = (mptcp.mpCapable.flags & 0x80) !== 0;
    connection.subflows.push(subflow);
    this.#flows.set(key, { subflow, host: opener });
    this.#flows.set(flowKey(packet, this.#segment, true), { subflow, host: opener === 0 ? 1 : 0 });
  }

  #newConnection(): Connection {
    const connection: Connection = {
      id: this.#connections.length,
      keys: [undefined, undefined],
      streams: undefined,
      checksumRequired: false,
      isAborted: false,
      subflows: [],
    };
    this.#connections.push(connection);
    return connection;
  }

  #handleSynAck(subflow: Subflow, host: Host): void {
    const { mptcp, sequenceNumber } = this.#segment;
    if (host === subflow.opener) {
      this.#fault('SYN/ACK from the side that sent the SYN');
      return;
    }
    subflow.initialSequenceNumbers[host] = sequenceNumber;
    subflow.synAckSeen = true;
    const { connection, opener } = subflow;
    subflow.synBytes[opener] = (this.#segment.acknowledgmentNumber - subflow.initialSequenceNumbers[opener] - 1) >>> 0;
    if (subflow.isJoin && subflow.synBytes[opener] > 0) this.#fault('a SYN/ACK to an MP_JOIN acknowledges data');
    if (!subflow.isJoin) {
      // No MP_CAPABLE in the SYN/ACK: plain TCP from here on.
      if ((mptcp.seen & seg.SEEN_MP_CAPABLE) === 0) {
        this.#forget(subflow);
        return;
      }
      if (mptcp.mpCapable.length !== 12) {
        this.#fault('MP_CAPABLE SYN/ACK without exactly one key');
        return;
      }
      if ((mptcp.mpCapable.flags & 0x01) === 0) this.#fault('MP_CAPABLE SYN/ACK without HMAC-SHA256');
      if ((mptcp.mpCapable.flags & 0x80) !== 0) connection.checksumRequired = true;
      const key = mptcp.mpCapable.senderKey.slice();
      if (connection.keys[1] !== undefined && !equal(connection.keys[1], key)) this.#fault('key changed in a retransmitted SYN/ACK');
      connection.keys[1] = key;
      this.#tokens.set(tokenOf(key), { connection, host: 1 });
      return;
    }
    if ((mptcp.seen & seg.SEEN_MP_JOIN) === 0) {
      this.#fault('SYN/ACK to an MP_JOIN without MP_JOIN');
      return;
    }
    subflow.nonces[host] = mptcp.mpJoin.nonce;
    const expected = this.#joinHmac(subflow, host);
    if (expected === undefined) {
      this.#fault('MP_JOIN answered before the keys were exchanged');
      return;
    }
    if (!equal(expected.subarray(0, 8), mptcp.mpJoin.hmac.subarray(0, 8))) this.#fault('MP_JOIN SYN/ACK: HMAC wrong');
  }

  /** RFC 8684, 3.2: keys and nonces, the sender's first. */
  #joinHmac(subflow: Subflow, sender: Host): Uint8Array | undefined {
    const receiver: Host = sender === 0 ? 1 : 0;
    const senderKey = subflow.connection.keys[sender];
    const receiverKey = subflow.connection.keys[receiver];
    if (senderKey === undefined || receiverKey === undefined) return undefined;
    const message = Buffer.alloc(8);
    message.writeUInt32BE(subflow.nonces[sender], 0);
    message.writeUInt32BE(subflow.nonces[receiver], 4);
    return hmacSha256(senderKey, receiverKey, message);
  }

  #forget(subflow: Subflow): void {
    for (const [key, flow] of this.#flows) if (flow.subflow === subflow) this.#flows.delete(key);
    subflow.connection.subflows = [];
  }

  #handleSegment(packet: Uint8Array, subflow: Subflow, host: Host): void {
    const { mptcp, flags } = this.#segment;
    const { connection } = subflow;
    if (!subflow.synAckSeen) {
      if ((flags & seg.RST) === 0) this.#fault('segment before the SYN/ACK');
      return;
    }
    if ((mptcp.seen & seg.SEEN_MP_FASTCLOSE) !== 0) {
      connection.isAborted = true;
      const key = connection.keys[host === 0 ? 1 : 0];
      if (key === undefined || !equal(key, mptcp.fastcloseKey)) this.#fault("MP_FASTCLOSE with a key that is not the receiver's");
    }
    if ((flags & seg.RST) !== 0) {
      if (connection.subflows.every((other) => !other.isJoin)) connection.isAborted = true;
      return;
    }
    if (!subflow.isProven && host === subflow.opener && !this.#proveSubflow(subflow)) return;
    if (!subflow.isProven || connection.streams === undefined) {
      if (this.#segment.payloadBytes === 0) return;
      if (subflow.synBytes[subflow.opener] > 0 && host !== subflow.opener) this.#noteEarly(packet, subflow);
      else this.#fault('data before the handshake is complete');
      return;
    }
    if ((mptcp.seen & seg.SEEN_MP_CAPABLE) !== 0) this.#checkKeys(connection, host);
    if (subflow.isJoin && host !== subflow.opener) subflow.fourthAckSeen = true;
    if (subflow.isJoin && !subflow.fourthAckSeen && this.#segment.payloadBytes > 0) this.#fault('data on a join before the fourth ACK');
    if ((mptcp.seen & seg.SEEN_ADD_ADDR) !== 0 && !mptcp.addAddr.echo) this.#checkAddAddr(connection, host);
    this.#handleData(packet, subflow, host);
    for (const earlier of subflow.early.splice(0)) {
      parseSegment(earlier, new DataView(earlier.buffer), 0, earlier.length, false, this.#segment);
      this.#handleData(earlier, subflow, subflow.opener === 0 ? 1 : 0);
    }
  }

  #noteEarly(packet: Uint8Array, subflow: Subflow): void {
    if ((this.#segment.mptcp.seen & seg.SEEN_DSS) === 0) this.#fault('data before the third ACK without a DSS');
    if (this.#segment.mptcp.dss.dataAckBytes !== 0) this.#fault('a DATA_ACK before the third ACK has brought the key');
    subflow.early.push(packet.slice());
  }

  /** The third ACK. False: the subflow is plain TCP, or proves nothing. */
  #proveSubflow(subflow: Subflow): boolean {
    const { mptcp } = this.#segment;
    const { connection, opener } = subflow;
    if (subflow.isJoin) {
      if ((mptcp.seen & seg.SEEN_MP_JOIN) === 0) {
        this.#fault('the third ACK of a join lacks MP_JOIN');
        return false;
      }
      const expected = this.#joinHmac(subflow, opener);
      if (expected === undefined || !equal(expected.subarray(0, 20), mptcp.mpJoin.hmac)) {
        this.#fault('MP_JOIN ACK: HMAC wrong');
        return false;
      }
      this.#joins++;
    } else {
      if ((mptcp.seen & seg.SEEN_MP_CAPABLE) === 0) {
        if ((mptcp.seen & seg.SEEN_DSS) !== 0) this.#fault('DSS before the third ACK brought the keys');
        else this.#forget(subflow);
        return false;
      }
      if (mptcp.mpCapable.length < 20) {
        this.#fault('MP_CAPABLE ACK without both keys');
        return false;
      }
      const key = mptcp.mpCapable.senderKey.slice();
      connection.keys[0] = key;
      this.#checkKeys(connection, 0);
      this.#tokens.set(tokenOf(key), { connection, host: 0 });
      connection.streams = [streamOf(key), streamOf(connection.keys[1]!)];
    }
    subflow.isProven = true;
    subflow.ledgers = [new SubflowLedger(connection.streams![0]), new SubflowLedger(connection.streams![1])];
    return true;
  }

  #checkKeys(connection: Connection, sender: Host): void {
    const { senderKey, receiverKey, length } = this.#segment.mptcp.mpCapable;
    if (length < 20) {
      this.#fault('MP_CAPABLE after the handshake without both keys');
      return;
    }
    const receiver: Host = sender === 0 ? 1 : 0;
    if (!equal(senderKey, connection.keys[sender]!)) this.#fault("MP_CAPABLE ACK: sender's key changed");
    if (!equal(receiverKey, connection.keys[receiver]!)) this.#fault("MP_CAPABLE ACK does not echo the peer's key");
  }

  /** RFC 8684, 3.4.1: the right 64 bits; the port is 0 when absent. */
  #checkAddAddr(connection: Connection, host: Host): void {
    const { addressId, address, ipVersion, port, hmac } = this.#segment.mptcp.addAddr;
    const message = Buffer.from([addressId, ...address.subarray(0, ipVersion === 4 ? 4 : 16), port >>> 8, port & 0xff]);
    const expected = hmacSha256(connection.keys[host]!, connection.keys[host === 0 ? 1 : 0]!, message);
    if (equal(expected.subarray(24), hmac)) this.#addAddrs++;
    else this.#fault('ADD_ADDR: HMAC wrong');
  }

  #handleData(packet: Uint8Array, subflow: Subflow, host: Host): void {
    const { mptcp, payloadBytes, payloadOffset, sequenceNumber } = this.#segment;
    const { connection } = subflow;
    const ledger = subflow.ledgers![host];
    const report = (fault: string): void => this.#fault(`${subflow.name}: ${fault}`);
    const offset = unwrapOffset(sequenceNumber, subflow.initialSequenceNumbers[host], subflow.newest[host]);
    const ssn = offset - subflow.synBytes[host];
    if (connection.isAborted) return;
    if ((mptcp.seen & seg.SEEN_DSS) !== 0) this.#handleDss(subflow, host, ssn);
    else if ((mptcp.seen & seg.SEEN_MP_CAPABLE) !== 0 && mptcp.mpCapable.length >= 22) {
      const { dataLength, checksum, length } = mptcp.mpCapable;
      if ((length === 24) !== connection.checksumRequired) report('MP_CAPABLE: a checksum is present other than negotiated');
      ledger.addMapping({ ssn: 1, dsn: 1, payloadBytes: dataLength, dataLength, checksum: length === 24 ? checksum : -1 }, report);
    }
    if (payloadBytes === 0 || connection.isAborted) return;
    subflow.newest[host] = Math.max(subflow.newest[host], offset);
    ledger.addPayload(ssn, packet.subarray(payloadOffset, payloadOffset + payloadBytes), report);
  }

  #handleDss(subflow: Subflow, host: Host, ssnNow: number): void {
    const { dss } = this.#segment.mptcp;
    const { connection } = subflow;
    const stream = connection.streams![host];
    const peerStream = connection.streams![host === 0 ? 1 : 0];
    const report = (fault: string): void => this.#fault(`${subflow.name}: ${fault}`);
    if (dss.dsnBytes !== 0) this.#handleMapping(subflow, host, stream, ssnNow, report);
    if (dss.dataAckBytes === 0) return;
    const offset =
      dss.dataAckBytes === 8
        ? dsnOffset(dss.dataAckHigh, dss.dataAckLow, peerStream.idsnHigh, peerStream.idsnLow)
        : unwrapOffset(dss.dataAckLow, peerStream.idsnLow, peerStream.acknowledged);
    if (offset < 0) report('DATA_ACK outside of the connection');
    else if (!connection.isAborted) peerStream.acknowledge(offset, report);
  }

  #handleMapping(subflow: Subflow, host: Host, stream: DataStream, ssnNow: number, report: (fault: string) => void): void {
    const { dss } = this.#segment.mptcp;
    const { connection } = subflow;
    if (dss.dataLength === 0) {
      connection.isAborted = true;
      if (connection.subflows.length > 1) report('infinite mapping on a connection with several subflows');
      return;
    }
    if (dss.hasChecksum !== connection.checksumRequired) report('DSS: a checksum is present other than negotiated');
    const dsn =
      dss.dsnBytes === 8
        ? dsnOffset(dss.dsnHigh, dss.dsnLow, stream.idsnHigh, stream.idsnLow)
        : unwrapOffset(dss.dsnLow, stream.idsnLow, stream.frontier);
    if (dsn < 1) {
      report('DSN outside of the connection');
      return;
    }
    const payloadBytes = dss.dataLength - (dss.dataFin ? 1 : 0);
    const checksum = dss.hasChecksum ? dss.checksum : -1;
    const ledger = subflow.ledgers![host];
    if (payloadBytes === 0) {
      if (dss.subflowSequenceNumber !== 0) report('a DATA_FIN alone must have SSN 0');
      if (dss.hasChecksum) ledger.verifyChecksum({ ssn: 0, dsn, payloadBytes, dataLength: 1, checksum }, new Uint8Array(0), report);
    } else {
      const ssn = ssnNow + ((dss.subflowSequenceNumber - ssnNow) | 0);
      ledger.addMapping({ ssn, dsn, payloadBytes, dataLength: dss.dataLength, checksum }, report);
    }
    // A DATA_FIN merged into a mapping may come before the bytes that precede it: it is held against what is carried later.
    if (dss.dataFin) stream.finish(dsn + payloadBytes, report);
  }

  #fault(text: string): void {
    this.#note(`packet ${this.#packetNumber}: ${text}`);
  }

  #note(text: string): void {
    if (this.#faults.length < MAX_FAULTS) this.#faults.push(text);
  }
}

function flowKey(packet: Uint8Array, segment: seg.TcpSegment, reversed: boolean): string {
  const addressBytes = segment.ipVersion === 4 ? 4 : 16;
  const address = (at: number): string => Buffer.from(packet.subarray(at, at + addressBytes)).toString('hex');
  const source = `${address(segment.sourceAddressOffset)} ${segment.sourcePort}`;
  const destination = `${address(segment.destinationAddressOffset)} ${segment.destinationPort}`;
  return reversed ? `${destination} ${source}` : `${source} ${destination}`;
}

function flowName(packet: Uint8Array, segment: seg.TcpSegment): string {
  const text = (at: number): string =>
    segment.ipVersion === 4 ? packet.subarray(at, at + 4).join('.') : `[${Buffer.from(packet.subarray(at, at + 16)).toString('hex')}]`;
  return `${text(segment.sourceAddressOffset)}:${segment.sourcePort} > ${text(segment.destinationAddressOffset)}:${segment.destinationPort}`;
}

/** RFC 8684, 3.2: the first 32 bits of SHA-256 of the key. */
function tokenOf(key: Uint8Array): number {
  return createHash('sha256').update(key).digest().readUInt32BE(0);
}

/** RFC 8684, 3.1: the IDSN is the last 64 bits. */
function streamOf(key: Uint8Array): DataStream {
  const digest = createHash('sha256').update(key).digest();
  return new DataStream(digest.readUInt32BE(24), digest.readUInt32BE(28));
}

function hmacSha256(firstKey: Uint8Array, secondKey: Uint8Array, message: Uint8Array): Uint8Array {
  return createHmac('sha256', Buffer.concat([firstKey, secondKey]))
    .update(message)
    .digest();
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
