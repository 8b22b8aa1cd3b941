/**
 * One parsed TCP segment (or super-segment), with its MPTCP options: the struct that `parseSegment` fills and the engine reads.
 * One instance is reused for every packet: nothing in it outlives the call that it was parsed for. Fields of an option hold
 * meaning only when its bit is set in `options.seen`.
 */

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

/** Bits of `MptcpOptions.seen`, 1 << subtype (RFC 8684, 8.1). */
export const SEEN_MP_CAPABLE = 1 << 0;
export const SEEN_MP_JOIN = 1 << 1;
export const SEEN_DSS = 1 << 2;
export const SEEN_ADD_ADDR = 1 << 3;
export const SEEN_REMOVE_ADDR = 1 << 4;
export const SEEN_MP_PRIO = 1 << 5;
export const SEEN_MP_FAIL = 1 << 6;
export const SEEN_MP_FASTCLOSE = 1 << 7;
export const SEEN_MP_TCPRST = 1 << 8;

/** RFC 8684, 3.1. Forms by length: 4 (SYN), 12 (SYN/ACK: sender key), 20 (third ACK: both keys), 22 (+ data length), 24 (+ checksum). */
export interface MpCapable {
  version: number;
  /** A 0x80 checksum required, B 0x40, C 0x20 no joins to this address, H 0x01 HMAC-SHA256. */
  flags: number;
  length: number;
  /** The option sender's key, 8 bytes; valid when length >= 12. */
  senderKey: Uint8Array;
  /** The option receiver's key, 8 bytes; valid when length >= 20. */
  receiverKey: Uint8Array;
  /** Data-level length; valid when length >= 22. */
  dataLength: number;
  /** Valid when length = 24. */
  checksum: number;
}

/** RFC 8684, 3.2. Forms by length: 12 (SYN: token, nonce), 16 (SYN/ACK: 8-byte HMAC, nonce), 24 (ACK: 20-byte HMAC). */
export interface MpJoin {
  length: number;
  backup: boolean;
  addressId: number;
  token: number;
  nonce: number;
  /** First 8 or 20 bytes valid. */
  hmac: Uint8Array;
}

/** RFC 8684, 3.3. Numbers are as on the wire; `*Bytes` says how many of them are valid (0, 4, 8). */
export interface Dss {
  dataFin: boolean;
  dataAckBytes: 0 | 4 | 8;
  dataAckHigh: number;
  dataAckLow: number;
  /** 0: no mapping in this option. */
  dsnBytes: 0 | 4 | 8;
  dsnHigh: number;
  dsnLow: number;
  /** Relative to the subflow's initial sequence number. */
  subflowSequenceNumber: number;
  dataLength: number;
  hasChecksum: boolean;
  checksum: number;
}

/** RFC 8684, 3.4.1. */
export interface AddAddr {
  /** The form of RFC 6824: no HMAC, no echo. */
  isVersion0: boolean;
  echo: boolean;
  ipVersion: 4 | 6;
  addressId: number;
  /** 16 bytes, the first 4 or 16 valid. */
  address: Uint8Array;
  /** 0: none given. */
  port: number;
  /** 8 bytes, valid when !echo. */
  hmac: Uint8Array;
}

export interface MptcpOptions {
  /** Bit set of SEEN_*. */
  seen: number;
  /** Options of kind 30 that were malformed and ignored. */
  malformedCount: number;
  mpCapable: MpCapable;
  mpJoin: MpJoin;
  dss: Dss;
  addAddr: AddAddr;
  removeAddrIds: Uint8Array;
  removeAddrCount: number;
  /** addressId -1: the subflow that carried it. */
  mpPrio: { backup: boolean; addressId: number };
  mpFail: { dsnHigh: number; dsnLow: number };
  /** The receiver's key, 8 bytes. */
  fastcloseKey: Uint8Array;
  /** reason 0-6; flags: U V W 0x8..0x2, T (transient) 0x1. */
  tcpRst: { flags: number; reason: number };
}

export interface TcpSegment {
  /** The buffer and where the IP packet starts in it; borrowed for the call. */
  bytes: Uint8Array;
  ipVersion: 4 | 6;
  /** Offsets in `bytes` of the addresses (4 or 16 bytes each). */
  sourceAddressOffset: number;
  destinationAddressOffset: number;
  sourcePort: number;
  destinationPort: number;
  sequenceNumber: number;
  acknowledgmentNumber: number;
  flags: number;
  /** As on the wire, unscaled. */
  window: number;
  payloadOffset: number;
  payloadBytes: number;
  /** Two ECN bits of the IP header. */
  ecn: number;
  /** 0: option absent. */
  mss: number;
  /** -1: option absent. */
  windowScale: number;
  sackPermitted: boolean;
  hasTimestamps: boolean;
  timestampValue: number;
  timestampEcho: number;
  sackCount: number;
  /** Left and right edges of up to 4 blocks. */
  sack: Uint32Array;
  /** -1: no Fast Open option; 0: a request; else the cookie's length, and where it is in `bytes`. */
  fastOpenCookieBytes: number;
  fastOpenCookieOffset: number;
  mptcp: MptcpOptions;
}

export function createTcpSegment(): TcpSegment {
  return {
    bytes: new Uint8Array(0),
    ipVersion: 4,
    sourceAddressOffset: 0,
    destinationAddressOffset: 0,
    sourcePort: 0,
    destinationPort: 0,
    sequenceNumber: 0,
    acknowledgmentNumber: 0,
    flags: 0,
    window: 0,
    payloadOffset: 0,
    payloadBytes: 0,
    ecn: 0,
    mss: 0,
    windowScale: -1,
    sackPermitted: false,
    hasTimestamps: false,
    timestampValue: 0,
    timestampEcho: 0,
    sackCount: 0,
    sack: new Uint32Array(8),
    fastOpenCookieBytes: -1,
    fastOpenCookieOffset: 0,
    mptcp: {
      seen: 0,
      malformedCount: 0,
      mpCapable: {
        version: 0,
        flags: 0,
        length: 0,
        senderKey: new Uint8Array(8),
        receiverKey: new Uint8Array(8),
        dataLength: 0,
        checksum: 0,
      },
      mpJoin: { length: 0, backup: false, addressId: 0, token: 0, nonce: 0, hmac: new Uint8Array(20) },
      dss: {
        dataFin: false,
        dataAckBytes: 0,
        dataAckHigh: 0,
        dataAckLow: 0,
        dsnBytes: 0,
        dsnHigh: 0,
        dsnLow: 0,
        subflowSequenceNumber: 0,
        dataLength: 0,
        hasChecksum: false,
        checksum: 0,
      },
      addAddr: {
        isVersion0: false,
        echo: false,
        ipVersion: 4,
        addressId: 0,
        address: new Uint8Array(16),
        port: 0,
        hmac: new Uint8Array(8),
      },
      removeAddrIds: new Uint8Array(37),
      removeAddrCount: 0,
      mpPrio: { backup: false, addressId: -1 },
      mpFail: { dsnHigh: 0, dsnLow: 0 },
      fastcloseKey: new Uint8Array(8),
      tcpRst: { flags: 0, reason: 0 },
    },
  };
}
