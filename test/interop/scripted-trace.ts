/**
 * An MPTCP v1 connection written out by hand, segment by segment: MP_CAPABLE, data each way, an MP_JOIN, data on both subflows, ADD_ADDR with
 * echo, DATA_FIN both ways. The keys and HMACs come from node:crypto. A test bends one thing and expects the checker to find it.
 */

import { createHash, createHmac } from 'node:crypto';
import { emitAddAddr } from '../../src/mptcp-over-udp/wire/add-addr.js';
import { dssChecksum } from '../../src/mptcp-over-udp/wire/checksum.js';
import { emitDss } from '../../src/mptcp-over-udp/wire/dss.js';
import { emitMpCapable } from '../../src/mptcp-over-udp/wire/mp-capable.js';
import { emitMpJoin } from '../../src/mptcp-over-udp/wire/mp-join.js';
import * as seg from '../../src/mptcp-over-udp/wire/segment.js';
import { concat, hex, tcpPacket } from '../mptcp-over-udp/wire/packets.js';

export interface TraceBend {
  joinSynAckHmac?: boolean;
  joinAckHmac?: boolean;
  addAddrHmac?: boolean;
  keyEcho?: boolean;
  token?: boolean;
  dssChecksum?: boolean;
  payloadByte?: boolean;
  mappingChanged?: boolean;
  dsnGap?: boolean;
  ackBeyond?: boolean;
  finUnacknowledged?: boolean;
  dataBeforeFourthAck?: boolean;
  checksumMissing?: boolean;
  mappingMissing?: boolean;
}

export interface TracePacket {
  bytes: Uint8Array;
  path: 0 | 1;
  direction: 'in' | 'out';
}

const KEYS = [hex('0001020304050607'), hex('f0f1f2f3f4f5f6f7')] as const;
const NONCES = [0x11223344, 0xaabbccdd] as const;
const ADDRESSES = [
  [hex('0a4d0002'), hex('c6336401')],
  [hex('0a4d0102'), hex('c6336401')],
] as const;
const INITIAL = [
  [0xfffffff0, 7000],
  [123456, 0x80000000],
] as const;

const digest = (key: Uint8Array): Buffer => createHash('sha256').update(key).digest();
const idsn = (host: number): bigint => digest(KEYS[host]!).readBigUInt64BE(24);

function hmac(senderHost: number, message: Uint8Array): Buffer {
  return createHmac('sha256', Buffer.concat([KEYS[senderHost]!, KEYS[1 - senderHost]!]))
    .update(message)
    .digest();
}

function joinMessage(senderHost: number): Buffer {
  const message = Buffer.alloc(8);
  message.writeUInt32BE(NONCES[senderHost]!, 0);
  message.writeUInt32BE(NONCES[1 - senderHost]!, 4);
  return message;
}

function flip(bytes: Uint8Array, wanted: boolean | undefined): Uint8Array {
  const copy = Uint8Array.from(bytes);
  if (wanted === true) copy[copy.length - 1]! ^= 1;
  return copy;
}

/** With `checksums`, DSS checksums are negotiated. */
export function scriptedTrace(checksums: boolean, bend: TraceBend = {}): TracePacket[] {
  const packets: TracePacket[] = [];
  const scratch = seg.createTcpSegment().mptcp;
  const option = (emit: (out: Uint8Array) => number): Uint8Array => {
    const out = new Uint8Array(40).fill(0xa5);
    return out.slice(0, emit(out));
  };
  // Next payload offset to send, per subflow and host; 1 after the SYN.
  const next = [
    [1, 1],
    [1, 1],
  ] as [[number, number], [number, number]];

  const send = (path: 0 | 1, host: 0 | 1, flags: number, options: Uint8Array, payload: Uint8Array = new Uint8Array(0)): void => {
    const isSyn = (flags & seg.SYN) !== 0;
    const peer = 1 - host;
    const bytes = tcpPacket({
      source: ADDRESSES[path]![host]!,
      destination: ADDRESSES[path]![peer]!,
      sourcePort: host === 0 ? 40000 + path : 443,
      destinationPort: host === 0 ? 443 : 40000 + path,
      sequenceNumber: (INITIAL[path]![host]! + (isSyn ? 0 : next[path]![host]!)) >>> 0,
      acknowledgmentNumber: (flags & seg.ACK) === 0 ? 0 : (INITIAL[path]![peer]! + next[path]![peer]!) >>> 0,
      flags,
      options,
      payload,
    });
    next[path]![host]! += payload.length;
    packets.push({ bytes, path, direction: host === 0 ? 'out' : 'in' });
  };
  const ack = (host: 0 | 1, offset: number): Partial<seg.Dss> => {
    const value = BigInt.asUintN(64, idsn(1 - host) + BigInt(offset));
    return { dataAckBytes: 8, dataAckHigh: Number(value >> 32n), dataAckLow: Number(value & 0xffffffffn) };
  };
  const mapping = (host: 0 | 1, dsn: number, ssn: number, payload: Uint8Array, dataFin = false): Partial<seg.Dss> => {
    const value = BigInt.asUintN(64, idsn(host) + BigInt(dsn));
    const [high, low] = [Number(value >> 32n), Number(value & 0xffffffffn)];
    const dataLength = payload.length + (dataFin ? 1 : 0);
    const checksum = checksums ? dssChecksum(high, low, ssn, dataLength, payload, 0, payload.length) : 0;
    return { dsnBytes: 8, dsnHigh: high, dsnLow: low, subflowSequenceNumber: ssn, dataLength, hasChecksum: checksums, checksum, dataFin };
  };
  const dss = (...parts: Partial<seg.Dss>[]): Uint8Array => {
    const empty: seg.Dss = { ...scratch.dss, dataAckBytes: 0, dsnBytes: 0, dataFin: false, hasChecksum: false };
    return option((out) => emitDss(out, 0, Object.assign(empty, ...parts)));
  };
  const text = (value: string): Uint8Array => new TextEncoder().encode(value);

  // MP_CAPABLE
  const flags = checksums ? 0x81 : 0x01;
  const [keyA, keyB] = [KEYS[0], KEYS[1]];
  const capable = (length: number, senderKey: Uint8Array, receiverKey: Uint8Array, dataLength = 0, checksum = 0): Uint8Array =>
    option((out) => emitMpCapable(out, 0, { version: 1, flags, length, senderKey, receiverKey, dataLength, checksum }));
  send(0, 0, seg.SYN, capable(4, keyA, keyB));
  send(0, 1, seg.SYN | seg.ACK, capable(12, keyB, keyA));
  send(0, 0, seg.ACK, capable(20, keyA, flip(keyB, bend.keyEcho)));
  const hello = text('hello, ');
  const first = mapping(0, 1, 1, hello);
  send(0, 0, seg.ACK | seg.PSH, capable(checksums ? 24 : 22, keyA, keyB, hello.length, first.checksum ?? 0), hello);
  send(0, 1, seg.ACK, dss(ack(1, bend.ackBeyond === true ? 9 : 8)));

  // ADD_ADDR, on pure ACKs
  const address = concat(ADDRESSES[1][1], new Uint8Array(12));
  const addMessage = concat(Uint8Array.of(3), ADDRESSES[1][1], Uint8Array.of(0, 0));
  const add = {
    isVersion0: false,
    echo: false,
    ipVersion: 4,
    addressId: 3,
    address,
    port: 0,
    hmac: flip(hmac(1, addMessage).subarray(24), bend.addAddrHmac),
  } as const;
  send(
    0,
    1,
    seg.ACK,
    concat(
      dss(ack(1, 8)),
      option((out) => emitAddAddr(out, 0, add)),
    ),
  );
  send(
    0,
    0,
    seg.ACK,
    option((out) => emitAddAddr(out, 0, { ...add, echo: true })),
  );

  // MP_JOIN
  const join = { ...scratch.mpJoin, backup: false, addressId: 1 };
  const token = digest(KEYS[1]).readUInt32BE(0) ^ (bend.token === true ? 1 : 0);
  send(
    1,
    0,
    seg.SYN,
    option((out) => emitMpJoin(out, 0, { ...join, length: 12, token: token >>> 0, nonce: NONCES[0] })),
  );
  const hmacB = flip(hmac(1, joinMessage(1)).subarray(0, 8), bend.joinSynAckHmac);
  send(
    1,
    1,
    seg.SYN | seg.ACK,
    option((out) => emitMpJoin(out, 0, { ...join, length: 16, nonce: NONCES[1], hmac: hmacB })),
  );
  const hmacA = flip(hmac(0, joinMessage(0)).subarray(0, 20), bend.joinAckHmac);
  send(
    1,
    0,
    seg.ACK,
    option((out) => emitMpJoin(out, 0, { ...join, length: 24, hmac: hmacA })),
  );
  if (bend.dataBeforeFourthAck !== true) send(1, 1, seg.ACK, dss(ack(1, 8)));

  // One mapping over two segments on the join, the second half after newer data went over the first subflow.
  const wide = text('wide world of links');
  const wideMapping = mapping(0, bend.dsnGap === true ? 9 : 8, 1, wide);
  if (bend.dssChecksum === true) wideMapping.checksum = (wideMapping.checksum ?? 0) ^ 1;
  if (bend.checksumMissing === true) wideMapping.hasChecksum = !checksums;
  const sent = bend.payloadByte === true ? flip(wide, true) : wide;
  const changed = bend.mappingChanged === true ? mapping(0, 10, 1, wide) : wideMapping;
  send(1, 0, seg.ACK, dss(wideMapping), sent.subarray(0, 10));
  const tail = text(' and back');
  const tailOption = bend.mappingMissing === true ? dss(ack(0, 1)) : dss(mapping(0, 27, 8, tail), ack(0, 1));
  send(0, 0, seg.ACK | seg.PSH, tailOption, tail);
  send(0, 1, seg.ACK, dss(ack(1, 8)));
  send(1, 0, seg.ACK | seg.PSH, dss(changed), sent.subarray(10));
  send(1, 1, seg.ACK, dss(ack(1, 36)));

  // The answer with a DATA_FIN merged into it, 4-byte forms; then a DATA_FIN alone.
  const answer = text('answer');
  const narrow = { ...mapping(1, 1, 1, answer, true), dsnBytes: 4 as const };
  send(1, 1, seg.ACK | seg.PSH, dss(narrow, { ...ack(1, 36), dataAckBytes: 4 }), answer);
  send(1, 0, seg.ACK, dss(ack(0, 8)));
  send(0, 0, seg.ACK, dss(mapping(0, 36, 0, new Uint8Array(0), true), ack(0, 8)));
  if (bend.finUnacknowledged !== true) send(0, 1, seg.ACK, dss(ack(1, 37)));
  for (const path of [0, 1] as const) {
    send(path, 0, seg.FIN | seg.ACK, dss(ack(0, 8)));
    next[path]![0]++;
    send(path, 1, seg.FIN | seg.ACK, dss(ack(1, bend.finUnacknowledged === true ? 36 : 37)));
    next[path]![1]++;
    send(path, 0, seg.ACK, dss(ack(0, 8)));
  }
  return packets;
}
