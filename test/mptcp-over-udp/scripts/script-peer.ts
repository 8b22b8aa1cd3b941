/**
 * What the peer of a script knows: its own keys, the host's as soon as they have been shown, and how far each stream of data has come. The script's
 * segments are made and judged by it.
 */

import { ACK, FIN, RST, SEEN_DSS, SEEN_MP_CAPABLE, SEEN_MP_JOIN, SYN } from '../../../src/mptcp-over-udp/wire/segment.js';
import { peerPayload } from './script-codec.js';
import { addAddrHmac, dssChecksum, keysOf, type PeerKeys } from './script-crypto.js';
import type { Flow, SentSegment } from './script-flow.js';

const DEFAULT_KEY = Uint8Array.of(0x70, 0x65, 0x65, 0x72, 0x6b, 0x65, 0x79, 0x31);

export class ScriptPeer {
  readonly peer: PeerKeys;
  readonly version: 0 | 1;
  /** Known once the host has shown its key. */
  hostKeys: PeerKeys | undefined;
  /** The connection is MPTCP: injected segments carry a DSS unless told otherwise. */
  mptcp = false;
  /** Checksums are negotiated: injected mappings carry one. */
  checksums = false;
  /** Next data sequence numbers as the peer sees them. */
  hostDataNext = 1;
  peerDataNext = 1;

  constructor(version: 0 | 1 = 1, key: Uint8Array = DEFAULT_KEY) {
    this.version = version;
    this.peer = keysOf(key, version);
  }

  hostIdsn(): bigint {
    return this.hostKeys?.idsn ?? 0n;
  }

  /** A data sequence number of the host's or the peer's stream, from its IDSN. */
  relativeDsn(whose: 'host' | 'peer', dsnHigh: number, dsnLow: number, bytes: number): number {
    const idsn = whose === 'host' ? this.hostIdsn() : this.peer.idsn;
    if (bytes === 4) return (dsnLow - Number(idsn & 0xffff_ffffn)) >>> 0;
    return Number(BigInt.asIntN(64, ((BigInt(dsnHigh) << 32n) | BigInt(dsnLow)) - idsn));
  }

  /** HMAC of an ADD_ADDR of the peer, for options that lie about one of its parts. */
  addAddrHmac(id: number, address: Uint8Array, port: number): Uint8Array {
    return addAddrHmac(this.peer.key, this.hostKeys?.key ?? new Uint8Array(8), id, address, port);
  }

  /** Checksum of a mapping of the peer that covers more than one segment. */
  peerChecksum(dsn: number, ssn: number, length: number): number {
    return dssChecksum(this.peer.idsn + BigInt(dsn), ssn, length, peerPayload(dsn, length));
  }

  /** What the peer learns from a segment of the host: initial sequence number, key, nonce, mappings. */
  protected learn(flow: Flow, sent: SentSegment): void {
    if (!flow.hostIssKnown && (sent.flags & SYN) !== 0) {
      flow.hostIss = sent.sequenceNumber;
      flow.hostIssKnown = true;
    }
    const seq = (sent.sequenceNumber - flow.hostIss) >>> 0;
    const end = seq + sent.payload.length + ((sent.flags & SYN) !== 0 ? 1 : 0) + ((sent.flags & FIN) !== 0 ? 1 : 0);
    if ((sent.flags & (SYN | ACK)) === (SYN | ACK)) flow.peerSynBytes = ((sent.acknowledgmentNumber - flow.peerIss) >>> 0) - 1;
    if ((sent.flags & RST) === 0) flow.hostNext = Math.max(flow.hostNext, end);
    const { mpCapable, mpJoin, dss, seen } = sent.mptcp;
    if ((seen & SEEN_MP_CAPABLE) !== 0 && mpCapable.length >= 12 && this.hostKeys === undefined)
      this.hostKeys = keysOf(mpCapable.senderKey.slice(), this.version);
    if ((seen & SEEN_MP_JOIN) !== 0 && mpJoin.length <= 16) flow.hostNonce = mpJoin.nonce;
    if ((seen & SEEN_MP_CAPABLE) !== 0 && mpCapable.length >= 22) this.learnMapping(flow, 1, 1, mpCapable.dataLength, false);
    if ((seen & SEEN_DSS) !== 0 && dss.dsnBytes !== 0) {
      const dsn = this.relativeDsn('host', dss.dsnHigh, dss.dsnLow, dss.dsnBytes);
      this.learnMapping(flow, dss.subflowSequenceNumber, dsn, dss.dataLength, dss.dataFin);
    }
  }

  private learnMapping(flow: Flow, ssn: number, dsn: number, length: number, isFin: boolean): void {
    // RFC 8684 (3.3.1): length 0 is without end.
    const bytes = length === 0 ? Number.POSITIVE_INFINITY : length - (isFin ? 1 : 0);
    if (bytes > 0 && ssn > 0) flow.mappings.push({ ssn: ssn + flow.hostSynBytes, dsn, length: bytes });
    this.hostDataNext = Math.max(this.hostDataNext, dsn + length);
  }
}
