/** From a segment in a script's words to the bytes of the packet that the peer sends. */

import { emitAddAddr } from '../../../src/mptcp-over-udp/wire/add-addr.js';
import { emitDss } from '../../../src/mptcp-over-udp/wire/dss.js';
import { emitFastOpen } from '../../../src/mptcp-over-udp/wire/fast-open.js';
import { emitFastclose } from '../../../src/mptcp-over-udp/wire/fastclose.js';
import { emitMpCapable } from '../../../src/mptcp-over-udp/wire/mp-capable.js';
import { emitMpFail } from '../../../src/mptcp-over-udp/wire/mp-fail.js';
import { emitMpJoin } from '../../../src/mptcp-over-udp/wire/mp-join.js';
import { emitMpPrio } from '../../../src/mptcp-over-udp/wire/mp-prio.js';
import { emitRemoveAddr } from '../../../src/mptcp-over-udp/wire/remove-addr.js';
import { ACK, type MpCapable, RST, SYN } from '../../../src/mptcp-over-udp/wire/segment.js';
import { emitMss, emitSack, emitSackPermitted, emitTimestamps, emitWindowScale } from '../../../src/mptcp-over-udp/wire/tcp-options.js';
import { emitTcpRst } from '../../../src/mptcp-over-udp/wire/tcp-rst.js';
import { tcpPacket } from '../wire/packets.js';
import { addAddrHmac, dssChecksum, handshakeHmac, high, low } from './script-crypto.js';
import type { Flow } from './script-flow.js';
import type { ScriptPeer } from './script-peer.js';
import type { CapableSpec, DssSpec, SegmentSpec } from './script-segment.js';

const NO_KEY = new Uint8Array(8);
/** Where each direction's bytes differ, so that an echo does not pass. */
const PEER_SALT = 0x51;

/** The byte at a data-level position (1 is the first) of what the peer sends, and of what the host does. */
export function peerByte(position: number): number {
  return ((position * 7 + (position >> 8)) ^ PEER_SALT) & 0xff;
}

export function hostByte(position: number): number {
  return (position * 13 + (position >> 8)) & 0xff;
}

export function peerPayload(position: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => peerByte(position + i));
}

/** What a well-behaved peer of an established MPTCP connection puts into each segment. */
function withDefaults(s: ScriptPeer, spec: SegmentSpec, ssn: number): SegmentSpec {
  const bare = spec.capable ?? spec.join ?? spec.dss ?? spec.fastclose;
  if (!s.mptcp || spec.plain === true || bare !== undefined || (spec.flags & (SYN | RST)) !== 0) return spec;
  const length = spec.len ?? 0;
  const dss: DssSpec = { ack: s.hostDataNext };
  if (length > 0) {
    dss.dsn = s.peerDataNext;
    dss.ssn = ssn;
    if (s.checksums) dss.checksum = true;
  }
  return { ...spec, dss };
}

export function emitSpec(s: ScriptPeer, flow: Flow, written: SegmentSpec): { packet: Uint8Array; spec: SegmentSpec } {
  const seq = written.seq ?? flow.peerNext;
  // RFC 8684 (B.2): what came with the SYN is counted neither in SSNs nor in DSNs.
  const ssn = seq - flow.peerSynBytes;
  const spec = withDefaults(s, written, ssn);
  const length = spec.len ?? 0;
  const position = spec.payloadAt ?? flow.peerSynBytes + (spec.dss?.dsn ?? (spec.capable !== undefined ? 1 : Math.max(1, ssn)));
  const payload = peerPayload(position, length);
  const options = emitOptions(s, flow, spec, ssn, payload);
  if (spec.corrupt === true && length > 0) payload[length >> 1] = (payload[length >> 1] as number) ^ 0x20;
  const packet = tcpPacket({
    source: flow.tuple.remoteAddress,
    destination: flow.tuple.localAddress,
    sourcePort: flow.tuple.remotePort,
    destinationPort: flow.tuple.localPort,
    sequenceNumber: (flow.peerIss + seq) >>> 0,
    acknowledgmentNumber: (spec.flags & ACK) === 0 ? 0 : (flow.hostIss + (spec.ack ?? flow.hostNext)) >>> 0,
    flags: spec.flags,
    window: spec.win ?? 65_535,
    options,
    payload,
  });
  return { packet, spec: { ...spec, seq } };
}

function emitOptions(s: ScriptPeer, flow: Flow, spec: SegmentSpec, ssn: number, payload: Uint8Array): Uint8Array {
  const out = new Uint8Array(128);
  let at = 0;
  if (spec.mss !== undefined) at += emitMss(out, at, spec.mss);
  if (spec.sackOk === true) at += emitSackPermitted(out, at);
  if (spec.wscale !== undefined) at += emitWindowScale(out, at, spec.wscale);
  if (spec.ts !== undefined && spec.ts !== false) at += emitTimestamps(out, at, spec.ts.value ?? 0, spec.ts.echo ?? 0);
  if (spec.sack !== undefined) {
    const edges = Uint32Array.from(spec.sack.flat().map((edge) => (flow.hostIss + edge) >>> 0));
    at += emitSack(out, at, edges, spec.sack.length);
  }
  if (spec.fastOpen !== undefined && spec.fastOpen !== false)
    at += emitFastOpen(out, at, spec.fastOpen === true ? new Uint8Array(0) : spec.fastOpen);
  if (spec.capable !== undefined) at += emitMpCapable(out, at, capableOption(s, spec, spec.capable, payload));
  if (spec.join !== undefined) at += emitJoin(s, flow, spec, out, at);
  if (spec.dss !== undefined) at += emitDssSpec(s, spec.dss, ssn, payload, out, at);
  if (spec.addAddr !== undefined) at += emitAddAddrSpec(s, spec, out, at);
  if (spec.removeAddr !== undefined) at += emitRemoveAddr(out, at, Uint8Array.from(spec.removeAddr), spec.removeAddr.length);
  if (spec.prio !== undefined) at += emitMpPrio(out, at, spec.prio.backup);
  if (spec.fail !== undefined) {
    const dsn = s.hostIdsn() + BigInt(spec.fail.dsn);
    at += emitMpFail(out, at, high(dsn), low(dsn));
  }
  if (spec.fastclose !== undefined) at += emitFastclose(out, at, spec.fastclose.key ?? s.hostKeys?.key ?? NO_KEY);
  if (spec.tcpRst !== undefined) at += emitTcpRst(out, at, spec.tcpRst.flags ?? 0, spec.tcpRst.reason ?? 0);
  if (spec.raw !== undefined) {
    out.set(spec.raw, at);
    at += spec.raw.length;
  }
  if (at > 40) throw new Error(`a script's segment has ${at} bytes of options, TCP has room for 40`);
  return out.subarray(0, at);
}

function capableOption(s: ScriptPeer, spec: SegmentSpec, capable: CapableSpec, payload: Uint8Array): MpCapable {
  const isSyn = (spec.flags & SYN) !== 0;
  const dataLength = capable.dataLength ?? payload.length;
  const synLength = s.version === 0 ? 12 : 4;
  const byPlace = isSyn
    ? (spec.flags & ACK) === 0
      ? synLength
      : 12
    : payload.length === 0
      ? 20
      : capable.checksum === undefined
        ? 22
        : 24;
  return {
    version: capable.version ?? s.version,
    flags: capable.flags ?? 0x01,
    length: capable.length ?? byPlace,
    senderKey: capable.senderKey ?? s.peer.key,
    receiverKey: capable.receiverKey ?? s.hostKeys?.key ?? NO_KEY,
    dataLength,
    checksum: capable.checksum === true ? dssChecksum(s.peer.idsn + 1n, 1, dataLength, payload) : (capable.checksum ?? 0),
  };
}

function emitJoin(s: ScriptPeer, flow: Flow, spec: SegmentSpec, out: Uint8Array, at: number): number {
  const join = spec.join ?? {};
  const isSyn = (spec.flags & SYN) !== 0;
  if (isSyn) flow.peerNonce = join.nonce ?? flow.peerNonce;
  return emitMpJoin(out, at, {
    length: isSyn ? ((spec.flags & ACK) === 0 ? 12 : 16) : 24,
    backup: join.backup ?? false,
    addressId: join.id ?? flow.pathId + 1,
    token: join.token ?? s.hostKeys?.token ?? 0,
    nonce: flow.peerNonce,
    hmac: join.hmac ?? handshakeHmac(s.peer.key, s.hostKeys?.key ?? NO_KEY, flow.peerNonce, flow.hostNonce, s.version),
  });
}

function emitDssSpec(s: ScriptPeer, dss: DssSpec, seq: number, payload: Uint8Array, out: Uint8Array, at: number): number {
  const dataAck = s.hostIdsn() + BigInt(dss.ack ?? 0);
  const dsn = (s.peer.idsn + BigInt(dss.dsn ?? 0)) & 0xffff_ffff_ffff_ffffn;
  const hasMapping = dss.dsn !== undefined;
  const isFin = dss.fin ?? false;
  const length = dss.length ?? payload.length + (isFin ? 1 : 0);
  const ssn = dss.ssn ?? (payload.length > 0 ? seq : 0);
  const checksum = dss.checksum === true ? dssChecksum(dsn, ssn, length, payload) : typeof dss.checksum === 'number' ? dss.checksum : 0;
  return emitDss(out, at, {
    dataFin: isFin,
    dataAckBytes: dss.ack === undefined ? 0 : (dss.ackBytes ?? 4),
    dataAckHigh: high(dataAck),
    dataAckLow: low(dataAck),
    dsnBytes: hasMapping ? (dss.dsnBytes ?? 8) : 0,
    dsnHigh: high(dsn),
    dsnLow: low(dsn),
    subflowSequenceNumber: ssn,
    dataLength: length,
    hasChecksum: dss.checksum !== undefined && dss.checksum !== false,
    checksum,
  });
}

function emitAddAddrSpec(s: ScriptPeer, spec: SegmentSpec, out: Uint8Array, at: number): number {
  const { id = 9, echo = false, address = Uint8Array.of(192, 0, 2, 9), port = 0, hmac } = spec.addAddr ?? {};
  const padded = new Uint8Array(16);
  padded.set(address);
  return emitAddAddr(out, at, {
    isVersion0: false,
    echo,
    ipVersion: address.length === 4 ? 4 : 6,
    addressId: id,
    address: padded,
    port,
    hmac: hmac ?? addAddrHmac(s.peer.key, s.hostKeys?.key ?? NO_KEY, id, address, port),
  });
}
