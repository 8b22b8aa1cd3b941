/** Does a segment of the host match what the script expects? Numbers are compared relative; HMACs, tokens, keys and checksums are verified. */

import {
  ACK,
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
} from '../../../src/mptcp-over-udp/wire/segment.js';
import { hostByte } from './script-codec.js';
import { addAddrHmac, dssChecksum, handshakeHmac } from './script-crypto.js';
import type { Flow, SentSegment } from './script-flow.js';
import type { ScriptPeer } from './script-peer.js';
import type { CapableSpec, DssSpec, SegmentSpec } from './script-segment.js';
import { flagsText } from './script-trace.js';

type Faults = string[];

const SUBTYPES: readonly [number, string, (spec: SegmentSpec) => boolean][] = [
  [SEEN_MP_CAPABLE, 'MP_CAPABLE', (spec) => spec.capable !== undefined],
  [SEEN_MP_JOIN, 'MP_JOIN', (spec) => spec.join !== undefined],
  [SEEN_ADD_ADDR, 'ADD_ADDR', (spec) => spec.addAddr !== undefined],
  [SEEN_REMOVE_ADDR, 'REMOVE_ADDR', (spec) => spec.removeAddr !== undefined],
  [SEEN_MP_PRIO, 'MP_PRIO', (spec) => spec.prio !== undefined],
  [SEEN_MP_FAIL, 'MP_FAIL', (spec) => spec.fail !== undefined],
  [SEEN_MP_FASTCLOSE, 'MP_FASTCLOSE', (spec) => spec.fastclose !== undefined],
];

function same(faults: Faults, what: string, got: unknown, wanted: unknown): void {
  if (wanted !== undefined && got !== wanted) faults.push(`${what} is ${String(got)}, expected ${String(wanted)}`);
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

export function faultsOf(s: ScriptPeer, flow: Flow, spec: SegmentSpec, got: SentSegment): Faults {
  const faults: Faults = [];
  const seq = (got.sequenceNumber - flow.hostIss) >>> 0;
  // PSH is a hint (RFC 9293, 3.9.1.2), and a RST may carry an ACK or not.
  const ignored = PSH | ((spec.flags & RST) !== 0 ? ACK : 0);
  if ((got.flags & ~ignored) !== (spec.flags & ~ignored))
    faults.push(`flags are ${flagsText(got.flags)}, expected ${flagsText(spec.flags)}`);
  if (!got.checksumValid) faults.push('TCP checksum is wrong');
  same(faults, 'seq', seq, spec.seq);
  if ((got.flags & ACK) !== 0) same(faults, 'ack', (got.acknowledgmentNumber - flow.peerIss) >>> 0, spec.ack);
  same(faults, 'win', got.window, spec.win);
  same(faults, 'payload', got.payload.length, spec.len);
  same(faults, 'MSS', got.mss, (spec.flags & SYN) !== 0 ? spec.mss : undefined);
  same(faults, 'window scale', got.windowScale, spec.wscale);
  same(faults, 'SACK permitted', got.sackPermitted, spec.sackOk);
  checkTimestamps(faults, spec, got);
  checkFastOpen(faults, spec, got);
  if (spec.sack !== undefined) same(faults, 'SACK', sackText(flow, got), spec.sack.map(([l, r]) => `${l}-${r}`).join(' '));
  checkPayload(faults, flow, seq, got);
  checkMptcp(faults, s, flow, spec, got);
  return faults;
}

function sackText(flow: Flow, got: SentSegment): string {
  const edges = got.sack.map((edge) => (edge - flow.peerIss) >>> 0);
  return edges.flatMap((edge, i) => (i % 2 === 0 ? [`${edge}-${edges[i + 1]}`] : [])).join(' ');
}

function checkTimestamps(faults: Faults, spec: SegmentSpec, got: SentSegment): void {
  if (spec.ts === undefined) return;
  same(faults, 'timestamps present', got.hasTimestamps, spec.ts !== false);
  if (spec.ts === false) return;
  same(faults, 'TSval', got.timestampValue, spec.ts.value);
  same(faults, 'TSecr', got.timestampEcho, spec.ts.echo);
}

function checkFastOpen(faults: Faults, { fastOpen }: SegmentSpec, got: SentSegment): void {
  if (fastOpen === undefined) return;
  same(faults, 'Fast Open option present', got.fastOpen !== undefined, fastOpen !== false);
  if (typeof fastOpen !== 'boolean') same(faults, 'Fast Open cookie', got.fastOpen?.join(), fastOpen.join());
}

/** Every byte that the host sends is at its place in the stream that the application wrote. */
function checkPayload(faults: Faults, flow: Flow, seq: number, got: SentSegment): void {
  if (got.payload.length === 0) return;
  const mapping = flow.mappings.findLast((known) => seq >= known.ssn && seq < known.ssn + known.length);
  const isSyn = (got.flags & SYN) !== 0;
  const first = mapping === undefined ? seq + (isSyn ? 1 : 0) : mapping.dsn + (seq - mapping.ssn) + flow.hostSynBytes;
  const wrong = got.payload.findIndex((byte, i) => byte !== hostByte(first + i));
  if (wrong >= 0) faults.push(`payload byte ${wrong} is not what the application wrote at ${first + wrong}`);
}

function checkMptcp(faults: Faults, s: ScriptPeer, flow: Flow, spec: SegmentSpec, got: SentSegment): void {
  const { seen } = got.mptcp;
  if (got.mptcp.malformedCount > 0) faults.push('a malformed MPTCP option');
  if (spec.plain === true) {
    if (seen !== 0) faults.push('an MPTCP option, expected none');
    return;
  }
  for (const [bit, name, wanted] of SUBTYPES) {
    if (((seen & bit) !== 0) !== wanted(spec)) faults.push(`${name} is ${wanted(spec) ? 'missing' : 'there, not expected'}`);
  }
  if (spec.tcpRst !== undefined && (seen & SEEN_MP_TCPRST) === 0) faults.push('MP_TCPRST is missing');
  if (spec.capable !== undefined && (seen & SEEN_MP_CAPABLE) !== 0) checkCapable(faults, s, spec.capable, got);
  if (spec.join !== undefined && (seen & SEEN_MP_JOIN) !== 0) checkJoin(faults, s, flow, spec, got);
  checkDss(faults, s, flow, spec, got);
  if (spec.addAddr !== undefined && (seen & SEEN_ADD_ADDR) !== 0) checkAddAddr(faults, s, spec, got);
  const removed = [...got.mptcp.removeAddrIds.subarray(0, got.mptcp.removeAddrCount)].join();
  if ((seen & SEEN_REMOVE_ADDR) !== 0) same(faults, 'REMOVE_ADDR ids', removed, spec.removeAddr?.join());
  if ((seen & SEEN_MP_PRIO) !== 0) same(faults, 'MP_PRIO backup', got.mptcp.mpPrio.backup, spec.prio?.backup);
  if ((seen & SEEN_MP_FAIL) !== 0) {
    same(faults, 'MP_FAIL dsn', s.relativeDsn('peer', got.mptcp.mpFail.dsnHigh, got.mptcp.mpFail.dsnLow, 8), spec.fail?.dsn);
  }
  if ((seen & SEEN_MP_FASTCLOSE) !== 0 && !equalBytes(got.mptcp.fastcloseKey, s.peer.key)) faults.push("FASTCLOSE without the peer's key");
  if ((seen & SEEN_MP_TCPRST) !== 0) {
    same(faults, 'MP_TCPRST reason', got.mptcp.tcpRst.reason, spec.tcpRst?.reason);
    same(faults, 'MP_TCPRST flags', got.mptcp.tcpRst.flags, spec.tcpRst?.flags);
  }
}

function checkCapable(faults: Faults, s: ScriptPeer, spec: CapableSpec, got: SentSegment): void {
  const { mpCapable } = got.mptcp;
  same(faults, 'MP_CAPABLE version', mpCapable.version, spec.version ?? s.version);
  same(faults, 'MP_CAPABLE flags', mpCapable.flags, spec.flags);
  same(faults, 'MP_CAPABLE length', mpCapable.length, spec.length);
  if (mpCapable.length >= 22) same(faults, 'MP_CAPABLE data length', mpCapable.dataLength, spec.dataLength);
  if (mpCapable.length >= 12 && !equalBytes(mpCapable.senderKey, s.hostKeys?.key ?? new Uint8Array(8)))
    faults.push("MP_CAPABLE changes the host's key");
  if (mpCapable.length >= 20 && !equalBytes(mpCapable.receiverKey, s.peer.key)) faults.push("MP_CAPABLE does not echo the peer's key");
  if (mpCapable.length === 24 && spec.checksum === true)
    same(faults, 'checksum', mpCapable.checksum, dssChecksum(s.hostIdsn() + 1n, 1, mpCapable.dataLength, got.payload));
}

function checkJoin(faults: Faults, s: ScriptPeer, flow: Flow, spec: SegmentSpec, got: SentSegment): void {
  const { mpJoin } = got.mptcp;
  if (mpJoin.length !== 24) {
    same(faults, 'MP_JOIN backup', mpJoin.backup, spec.join?.backup);
    same(faults, 'MP_JOIN address id', mpJoin.addressId, spec.join?.id);
  }
  if (mpJoin.length === 12) {
    same(faults, 'MP_JOIN token', mpJoin.token, s.peer.token);
    return;
  }
  const bytes = mpJoin.length === 16 ? 8 : 20;
  const right = handshakeHmac(s.hostKeys?.key ?? new Uint8Array(8), s.peer.key, flow.hostNonce, flow.peerNonce, s.version);
  if (!equalBytes(mpJoin.hmac.subarray(0, bytes), right.subarray(0, bytes))) faults.push('MP_JOIN HMAC is wrong');
}

function checkDss(faults: Faults, s: ScriptPeer, flow: Flow, spec: SegmentSpec, got: SentSegment): void {
  const { dss, seen } = got.mptcp;
  const wanted: DssSpec | undefined = spec.dss;
  if ((seen & SEEN_DSS) === 0) {
    if (wanted !== undefined) faults.push('DSS is missing');
    return;
  }
  if (dss.dataAckBytes !== 0)
    same(faults, 'DATA_ACK', s.relativeDsn('peer', dss.dataAckHigh, dss.dataAckLow, dss.dataAckBytes), wanted?.ack);
  else if (wanted?.ack !== undefined) faults.push('DATA_ACK is missing');
  same(faults, 'DATA_ACK bytes', dss.dataAckBytes, wanted?.ackBytes);
  same(faults, 'DATA_FIN', dss.dataFin, wanted?.fin ?? false);
  if (dss.dsnBytes === 0) {
    if (wanted?.dsn !== undefined) faults.push('mapping is missing');
    return;
  }
  if (wanted?.dsn === undefined && got.payload.length === 0) faults.push('a mapping, expected none');
  const dsn = s.relativeDsn('host', dss.dsnHigh, dss.dsnLow, dss.dsnBytes);
  same(faults, 'DSN', dsn, wanted?.dsn);
  same(faults, 'DSN bytes', dss.dsnBytes, wanted?.dsnBytes);
  same(faults, 'SSN', dss.subflowSequenceNumber, wanted?.ssn);
  same(faults, 'data-level length', dss.dataLength, wanted?.length);
  if (wanted?.checksum === false) same(faults, 'checksum present', dss.hasChecksum, false);
  if (wanted?.checksum === true) {
    // Over all that the mapping covers, whatever part of it this segment carries; a DATA_FIN counts in the length and has no byte.
    const covered = Uint8Array.from({ length: dss.dataLength - (dss.dataFin ? 1 : 0) }, (_, i) => hostByte(dsn + flow.hostSynBytes + i));
    const right = dssChecksum((s.hostIdsn() + BigInt(dsn)) & 0xffff_ffff_ffff_ffffn, dss.subflowSequenceNumber, dss.dataLength, covered);
    same(faults, 'checksum present', dss.hasChecksum, true);
    same(faults, 'checksum', dss.checksum, right);
  }
  if (typeof wanted?.checksum === 'number') same(faults, 'checksum', dss.checksum, wanted.checksum);
}

function checkAddAddr(faults: Faults, s: ScriptPeer, spec: SegmentSpec, got: SentSegment): void {
  const { addAddr } = got.mptcp;
  const address = addAddr.address.subarray(0, addAddr.ipVersion === 4 ? 4 : 16);
  same(faults, 'ADD_ADDR id', addAddr.addressId, spec.addAddr?.id);
  same(faults, 'ADD_ADDR echo', addAddr.echo, spec.addAddr?.echo ?? false);
  same(faults, 'ADD_ADDR port', addAddr.port, spec.addAddr?.port);
  if (spec.addAddr?.address !== undefined) same(faults, 'ADD_ADDR address', address.join('.'), spec.addAddr.address.join('.'));
  if (addAddr.echo) return;
  const right = addAddrHmac(s.hostKeys?.key ?? new Uint8Array(8), s.peer.key, addAddr.addressId, address, addAddr.port);
  if (!equalBytes(addAddr.hmac, right)) faults.push('ADD_ADDR HMAC is wrong');
}
