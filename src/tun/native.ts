/**
 * The surface of the native addon (`src/tun/native/*.c`): system calls and byte work, no policy. Every call is synchronous and
 * batch-shaped; readiness comes from `watchReadable`. Arguments that are buffers are borrowed until return (except where said);
 * every offset and length is checked against its buffer and a wrong one throws RangeError. Failed system calls during set-up throw an
 * Error with `code` (errno name) and `syscall`; on the hot path they are returned as numbers, as each function says.
 *
 * Vocabulary: a *super-packet* is one IP packet of up to 64 KB with a segment size beside it: it stands for the segments that
 * it will be cut into. Handles are opaque, owned by the caller, and closed once; use after close throws TypeError.
 */

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

export interface TunHandle {
  readonly kind: 'tun';
}
export interface UdpHandle {
  readonly kind: 'udp';
}
export interface SealerHandle {
  readonly kind: 'sealer';
}
export interface SenderHandle {
  readonly kind: 'sender';
}
export interface OpenTableHandle {
  readonly kind: 'open-table';
}
export interface RelayHandle {
  readonly kind: 'relay';
}
export interface NftHandle {
  readonly kind: 'nftables';
}

/** Level-triggered readiness through uv_poll. A paused watcher costs nothing; `close` is idempotent. It keeps the event loop alive while active. */
export interface Watcher {
  pause(): void;
  resume(): void;
  close(): void;
}

/** A timerfd behind uv_poll, for delays finer than the event loop's millisecond. `arm` replaces an earlier arming. */
export interface FineTimer {
  arm(delayMicroseconds: number): void;
  disarm(): void;
  close(): void;
}

export type AeadName = 'aes-256-gcm' | 'chacha20-poly1305';
/** Who computes an AEAD; all make the same bytes. `fastest`: what measures faster on this machine. */
export type AeadEngine = 'openssl' | 'ipsec-mb' | 'fastest';

/** virtio_net_hdr gso_type values, as the kernel's. */
export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_UDP_L4 = 5;
export const GSO_TCPV6 = 4;
/** OR-ed to gso_type when the first segment carries CWR. */
export const GSO_ECN = 0x80;
/** OR-ed to GSO_UDP_L4 by `tunReadBatch`: all segments have the first one's IPv4 identification. */
export const GSO_FIXED_ID = 0x40;
/** Flag in a TUN descriptor: the checksum field holds only the pseudo-header sum. */
export const VNET_NEEDS_CSUM = 1;

/** int32 fields of one TUN descriptor. */
export const TUN_DESCRIPTOR_INTS = 8;
export const TUN_OFFSET = 0;
export const TUN_LENGTH = 1;
export const TUN_FLAGS = 2;
export const TUN_GSO_TYPE = 3;
export const TUN_GSO_SIZE = 4;
export const TUN_CSUM_START = 5;
export const TUN_CSUM_OFFSET = 6;
export const TUN_HEADER_LENGTH = 7;

/** int32 fields of one receive descriptor. */
export const RX_DESCRIPTOR_INTS = 16;
/**
 * RX_KIND_RAW: a datagram that no opener claimed, bytes as received. RX_KIND_PACKET: an opened plaintext, maybe coalesced. RX_KIND_UNKNOWN_BASE: an authentic
 * compressed segment that could not be read; RX_UNKNOWN_BASE_ID is the base that it named (-1: none), and there are no bytes.
 */
export const RX_KIND = 0;
export const RX_OFFSET = 1;
export const RX_LENGTH = 2;
/** Payload bytes of each coalesced TCP segment but the last, or 0 when it is a single packet. */
export const RX_SEGMENT_BYTES = 3;
/** How many datagrams this descriptor stands for (>= 1). */
export const RX_DATAGRAMS = 4;
/** First byte of the datagram header. */
export const RX_TYPE = 5;
export const RX_PATH_ID = 6;
/** Receiver index as int32 (use >>> 0). */
export const RX_RECEIVER_INDEX = 7;
/** Highest packet number among the datagrams: high 16 and low 32 bits. */
export const RX_PACKET_NUMBER_HIGH = 8;
export const RX_PACKET_NUMBER_LOW = 9;
/** Index of the address record (in `addresses`) of the datagrams' source. */
export const RX_ADDRESS = 10;
/** Sum of the datagrams' UDP payload bytes. */
export const RX_WIRE_BYTES = 11;
/** IP + TCP header bytes of a coalesced super-packet, else 0. */
export const RX_HEADER_LENGTH = 12;
/** 1: it came with compressed headers, and its TCP checksum is zero. */
export const RX_COMPRESSED = 13;
export const RX_UNKNOWN_BASE_ID = RX_SEGMENT_BYTES;
export const RX_KIND_RAW = 0;
export const RX_KIND_PACKET = 1;
export const RX_KIND_UNKNOWN_BASE = 2;

/**
 * Address record, 48 bytes (for sending, the interface index counts for link-local IPv6 only): [0] family 4 or 6, [1] 0, [2..3] port big-endian, [4..19] remote address (IPv4 in the first four),
 * [20..35] local address the datagram was sent to (or all zero: let the kernel choose), [36..39] interface index little-endian, [40..47] zero.
 */
export const ADDRESS_BYTES = 48;

/**
 * Data datagram: 12 bytes of header, ciphertext, 16 bytes of tag.
 *
 *      0        1        2 3 4 5            6 7 8 9 10 11
 *   +--------+--------+------------------+------------------+
 *   | type   | pathId | receiverIndex BE | packetNumber BE  |
 *   +--------+--------+------------------+------------------+
 *
 * The header is the AEAD's associated data; the nonce is 3 zero bytes, pathId, 2 zero bytes, packetNumber (48 bits): 12 bytes in all.
 *
 * Stream segments with compressed headers (docs/header-compression.md) have a shorter one; the nonce is the same:
 *
 *      0               1 2                  3 4 (long: 3 4 5)
 *   +---------------+--------------------+---------------------+
 *   | 1 long 0 path | receiverIndex, low | packetNumber, low   |
 *   +---------------+--------------------+---------------------+
 */
export const COMPRESSED_HEADER_BYTES = 5;
export const DATA_HEADER_BYTES = 12;
export const AEAD_TAG_BYTES = 16;
/** Types that `receive` opens. Any other first byte is handed up raw. */
export const TYPE_STREAM = 0x10;
export const TYPE_DATAGRAM = 0x11;
export const TYPE_CONTROL = 0x12;
/** Path ids are below this. */
export const MAX_PATHS = 32;

export interface ReceiveCounters {
  datagrams: number;
  bytes: number;
  /** AEAD tag did not verify. */
  badTag: number;
  /** Packet number already seen or older than the window (RFC 6479). */
  replayed: number;
  /** Data type with a receiver index that is not in the table, too short, or a path id >= MAX_PATHS. */
  unknown: number;
  /** Datagrams that recvmmsg reported as truncated. */
  truncated: number;
  /** Compressed segments whose base we don't have, or that make no sense. */
  unknownBase: number;
}

export interface RelayCounters {
  forwardedDatagrams: number;
  forwardedBytes: number;
  /** From a place that has no other. */
  unknownSources: number;
  /** Beyond what a pair may carry. */
  overRate: number;
  /** For the relay itself, but too long, or there was no room. */
  droppedMessages: number;
}

/** int32 fields of what `relayForward` hands over: offset and length in the arena, index of the address record. */
export const RELAY_DESCRIPTOR_INTS = 3;

export interface SendCounters {
  sentDatagrams: number;
  /** Messages handed to the kernel: UDP_SEGMENT runs count once. */
  sentMessages: number;
  refusedDatagrams: number;
  /** 1 once UDP_SEGMENT has turned out not to work on this socket; from then on every datagram is a message. */
  segmentationFallbacks: number;
  /** How many datagrams a UDP_SEGMENT run may hold: 128, 64 on older kernels, 1 after the fallback. */
  maxSegments: number;
}

/** int32 fields of what `lastCut` tells. */
export const CUT_INTS = 4;
export const CUT_SEGMENT_BYTES = 0;
/** Bytes of each datagram beside the payload. */
export const CUT_OVERHEAD_BYTES = 1;
/** 1: the headers went compressed. */
export const CUT_COMPRESSED = 2;
/** Bases that the peer has not confirmed, of all flows of the sender. */
export const CUT_PENDING_BASES = 3;

/** Room that a base takes on the wire, at most. */
export const BASE_MAX_BYTES = 126;
export const BASE_STORED = 0;
/** An older one than what we have, or there is no such opener. */
export const BASE_STALE = 1;
export const BASE_MALFORMED = 2;

export interface NativeAddon {
  // ---- TUN ----
  /** Opens /dev/net/tun as IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, non-blocking. `offloads`: TUN_F_CSUM|TSO4|TSO6, and USO4|USO6 from Linux 6.2 on (else none). `name` may hold "%d". `descriptor`: that of a TUN of that name
   * which was opened so, by another process; it is ours then, or closed when it throws (EINVAL: another device; EBADFD: the device is gone). */
  tunOpen(options: { name: string; offloads: boolean; descriptor?: number }): TunHandle;
  tunName(tun: TunHandle): string;
  tunFd(tun: TunHandle): number;
  tunClose(tun: TunHandle): void;
  /**
   * Reads up to `maxPackets` packets, packet i into arena[i * slotBytes ..]; one TUN descriptor each. slotBytes >= 1600, and >= 65,600 with offloads; a
   * packet longer than its slot is lost. TUN_HEADER_LENGTH is the IP + transport header of a GSO packet, 0 for another one.
   * Returns the number read (0: would block), or -errno when the device failed.
   */
  tunRead(tun: TunHandle, arena: Uint8Array, slotBytes: number, maxPackets: number, descriptors: Int32Array): number;
  /**
   * Reads packets one after the other into the arena, until none is there, `descriptors` are used up or a further one might not fit. Datagrams of one UDP flow that
   * follow each other with the same header and size (the last may be shorter) come as one super-packet of GSO_UDP_L4: IPv6, or IPv4 with DF; a checksum that
   * is not left to us is verified first. arena >= 65,592 bytes. Returns descriptors filled (0: would block), or -errno when the device failed.
   */
  tunReadBatch(tun: TunHandle, arena: Uint8Array, descriptors: Int32Array): number;
  /** Writes one packet (vnet fields as in a TUN descriptor; csumStart 0: checksums are complete). 0 or -errno. */
  tunWritePacket(
    tun: TunHandle,
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
  ): number;
  /**
   * Writes a TCP super-packet: `header` is the IP + TCP header of the first segment (lengths and checksums are filled in natively);
   * the payload follows from another buffer. segmentBytes = payload bytes per segment. FIN/PSH in the template belong to the last segment. 0 or -errno.
   */
  tunWriteSegments(
    tun: TunHandle,
    header: Uint8Array,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): number;
  /**
   * Writes a joined packet of `receive` (TYPE_DATAGRAM), TCP or UDP, as one super-packet; its lengths and checksums are written in place. Where the kernel takes no UDP
   * super-packets (before Linux 6.2), datagram by datagram. 0 or -errno.
   */
  tunWriteJoined(tun: TunHandle, packet: Uint8Array, offset: number, length: number, segmentBytes: number): number;

  // ---- UDP ----
  /**
   * Non-blocking UDP socket with UDP_GRO, IP(V6)_PKTINFO, ancillary addresses. family 6 is dual-stack unless `ipv6Only`. `device`: SO_BINDTODEVICE.
   * `mark`: SO_MARK. Buffers are set with SO_*BUFFORCE and fall back to SO_*BUF. Sets IP_MTU_DISCOVER to PMTUDISC_PROBE (DF set, no kernel PMTU cache).
   * `descriptor`: a socket that is bound already, by another process; it is ours then, or closed when it throws (EINVAL: another family or port).
   */
  udpOpen(options: {
    family: 4 | 6;
    address?: string;
    port: number;
    device?: string;
    mark?: number;
    receiveBufferBytes: number;
    sendBufferBytes: number;
    ipv6Only?: boolean;
    reusePort?: boolean;
    descriptor?: number;
  }): UdpHandle;
  /** Local port after bind. */
  udpPort(udp: UdpHandle): number;
  udpFd(udp: UdpHandle): number;
  udpClose(udp: UdpHandle): void;
  /** Sends one datagram now. Bytes sent, or -errno. */
  udpSendRaw(udp: UdpHandle, address: Uint8Array, bytes: Uint8Array, offset: number, length: number): number;
  /**
   * Sends all that is staged on this socket (sendmmsg of UDP_SEGMENT runs). Returns the number of datagrams that the kernel refused since the last call
   * (dropped and counted), those of a flush that a full stage caused included.
   */
  udpFlush(udp: UdpHandle): number;
  /** errno of the last refused send (0 if none since the last call), e.g. ENETUNREACH: a hint that the path is down. */
  udpLastError(udp: UdpHandle): number;
  /** Totals since the socket was opened. */
  udpCounters(udp: UdpHandle): SendCounters;

  /**
   * Datagrams as they are, back to back into `out` (64 KB at least), each with its length and address record. One receive call (16 messages, each of one datagram or, with
   * GRO, of several). Returns how many; 0: would block; or -errno. What has no room stays, and fires the watcher on the next turn of the event loop.
   */
  udpReceiveRaw(udp: UdpHandle, out: Uint8Array, lengths: Int32Array, addresses: Uint8Array): number;
  /** Stages one datagram for `udpFlush`; those of one size to one address leave as one message. */
  udpStageRaw(udp: UdpHandle, address: Uint8Array, bytes: Uint8Array, offset: number, length: number): void;
  /** Puts /dev/null in the place of what a thread has open that hangs and will not close it: a port is free again. */
  vacateDescriptor(descriptor: number): void;

  // ---- ports without a socket ----
  /**
   * A port in memory, to be used as a UDP socket is: what is staged on it is taken with `memoryTake` after `udpFlush`, what was put in is received as if it had come from
   * `remote`, an address record. `port`: what `udpPort` says. It has no descriptor, no watcher and takes no `udpSendRaw`.
   */
  memoryOpen(remote: Uint8Array, port: number): UdpHandle;
  /** `count` datagrams back to back in `bytes`, copied. Returns how many had no room (2 MB or 4096 datagrams wait at most). */
  memoryPut(port: UdpHandle, bytes: Uint8Array, lengths: Int32Array, count: number): number;
  /** Moves datagrams that were flushed into `out`, back to back, as many as it and `lengths` have room for. Returns how many. */
  memoryTake(port: UdpHandle, out: Uint8Array, lengths: Int32Array): number;
  /** Datagrams that were put in and are not received yet. */
  memoryWaiting(port: UdpHandle): number;

  // ---- TCP ----
  /**
   * A non-blocking TCP socket, neither connected nor listening, for `new net.Socket({ fd })` or `server.listen({ fd })`; its descriptor is the caller's. `device`: SO_BINDTODEVICE,
   * `mark`: SO_MARK. `port` 0: bound to `address` alone, or not at all (to a free port with `dualStack`). `dualStack`: one of family 6 takes IPv4 too. `notSentLowatBytes`: of TCP_NOTSENT_LOWAT.
   */
  tcpOpen(options: {
    family: 4 | 6;
    address?: string;
    port: number;
    device?: string;
    mark?: number;
    dualStack?: boolean;
    notSentLowatBytes: number;
  }): number;
  /** How much unsent data the kernel holds before the socket is not writable. 0 or -errno. */
  tcpNotSentLowat(fd: number, bytes: number): number;

  // ---- sealing ----
  /** One key for one direction of one session epoch. The key is copied. */
  createSealer(options: { aead: AeadName; key: Uint8Array; receiverIndex: number; engine?: AeadEngine }): SealerHandle;
  /** Wipes the key. Its senders throw afterwards. */
  destroySealer(sealer: SealerHandle): void;
  /**
   * A sealer on one path: it owns that path's packet number, from 0, so a nonce cannot repeat. A second sender for the same sealer and
   * pathId throws RangeError.
   */
  createSender(udp: UdpHandle, sealer: SealerHandle, pathId: number, address: Uint8Array): SenderHandle;
  /** Changes where it sends (roaming) or on which socket; the packet number goes on, what is staged leaves as it was. */
  senderSetTarget(sender: SenderHandle, udp: UdpHandle, address: Uint8Array): void;
  /** The packet number that the next datagram will carry. */
  senderPacketNumber(sender: SenderHandle): number;
  /**
   * Cuts a TCP super-segment, finishes each segment's IP and TCP header from the template (lengths, IPv4 id 0 with DF, sequence number,
   * FIN/PSH only on the last, CWR only on the first, checksums), seals each, and stages the datagrams on the sender's socket.
   * payloadBytes 0 makes one bare segment. Options are repeated in every segment. Flushes by itself when the stage is full. Returns datagrams made.
   */
  sealSegments(
    sender: SenderHandle,
    type: number,
    header: Uint8Array,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): number;
  /**
   * Seals a whole IP packet as read from the TUN (cut when it is a GSO super-packet, with the IPv4 id counting up; checksum finished when csumStart > 0), or any
   * plaintext with gsoType 0. Returns datagrams made: 0 when a GSO packet's headers are not what gsoType says (it is dropped).
   */
  sealPacket(
    sender: SenderHandle,
    type: number,
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
  ): number;

  // ---- compression of stream headers ----
  /**
   * From now on `sealSegments` of TYPE_STREAM compresses what it can, and cuts smaller than told what would not fit into `maxDatagramBytes` (UDP payload).
   * 0: no more.
   */
  senderCompress(sender: SenderHandle, maxDatagramBytes: number): void;
  /** The peer has seen this packet number: it bounds how much of the number must be sent. */
  senderAcked(sender: SenderHandle, packetNumber: number): void;
  /** How the last `sealSegments` of this sender was cut; `out` has CUT_INTS elements. */
  lastCut(sender: SenderHandle, out: Int32Array): void;
  /**
   * Writes the next base that waits for the peer and was not sent for `repeatMs` (doubled with each repetition): serial u32, id u16, header. Bytes written,
   * 0 when none is due. `out` has room for BASE_MAX_BYTES.
   */
  nextBase(sender: SenderHandle, nowMs: number, repeatMs: number, out: Uint8Array, offset: number): number;
  /** The peer has stored that base: it is used from now on. */
  confirmBase(sender: SenderHandle, id: number, serial: number): void;
  /** The peer does not have that base: whole headers until it has another. */
  loseBase(sender: SenderHandle, id: number): void;
  /** (Receiver) stores a base as `nextBase` wrote it, which came in datagram `packetNumber` of that opener and path. BASE_STORED: confirm it. */
  installBase(
    table: OpenTableHandle,
    receiverIndex: number,
    pathId: number,
    packetNumber: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): number;

  // ---- opening ----
  createOpenTable(): OpenTableHandle;
  /**
   * Adds a receive key under our receiver index, with fresh RFC 6479 windows for its paths. `compressed`: it takes compressed segments too, and is the only one of
   * these with that lower half of the index (RangeError).
   */
  addOpener(
    table: OpenTableHandle,
    options: { receiverIndex: number; aead: AeadName; key: Uint8Array; engine?: AeadEngine; compressed?: boolean },
  ): void;
  removeOpener(table: OpenTableHandle, receiverIndex: number): void;
  closeOpenTable(table: OpenTableHandle): void;
  /**
   * Receives a batch (recvmmsg + GRO, `rounds` times at most or until it would block), opens what the table knows, drops what fails (counted), joins runs of
   * TYPE_STREAM TCP segments of one flow and path whose sequence numbers follow and whose other header bytes and options are identical (up to 64 KB;
   * joined: first segment's header, then all payloads; PSH/FIN end a run and are OR-ed into that header), likewise of TYPE_DATAGRAM both TCP segments and
   * datagrams of UDP (of the same size but the last; IPv6, or IPv4 with DF) whose IPv4 identification stands still or counts up, and fills descriptors in order of arrival. `arena` >= 256 KB; `descriptors` and `addresses` have room for one at least. Returns the number of descriptors, or -errno.
   *
   * A joined packet's lengths and IPv4 header checksum are those of the whole; its transport checksum is the first segment's and means nothing any more. Of
   * TYPE_DATAGRAM only what has a right checksum is joined, since it gets a new one; of TYPE_STREAM none is verified: the peer's stack made it, and the AEAD has done better.
   *
   * What was received but found no room in `arena`, `descriptors` or `addresses` stays with the socket, and the next call begins with it. Call again while the
   * result is > 0, a bounded number of times; when data is left then, the socket's watcher fires on the next turn of the event loop, as it does for data in the
   * kernel. 0 may be returned while datagrams were dropped (all of a batch failed to open).
   */
  receive(
    udp: UdpHandle,
    table: OpenTableHandle,
    arena: Uint8Array,
    descriptors: Int32Array,
    addresses: Uint8Array,
    rounds: number,
  ): number;
  /** Totals since the table was made. */
  receiveCounters(table: OpenTableHandle): ReceiveCounters;

  // ---- relaying ----
  /** Forwards what `udp` receives, between pairs of places; nothing else may receive there. It holds the socket; `seed`: 8 random bytes. */
  relayCreate(udp: UdpHandle, seed: Uint8Array): RelayHandle;
  /** What comes from `a` goes to `b` from now on, and the other way round; address records. A place that had another one loses it. `bytesPerSec`: of IP packets, both ways together; 0: no limit. */
  relayConnect(relay: RelayHandle, a: Uint8Array, b: Uint8Array, bytesPerSec: number): void;
  /** What comes from there goes nowhere; call it for both places of a pair. */
  relayDisconnect(relay: RelayHandle, place: Uint8Array): void;
  /**
   * Rounds of recvmmsg and sendmmsg, until it would block or `rounds` are over. Datagrams whose first byte is `mark` are not forwarded but put into `arena`. Returns how many
   * (longer ones than 64 bytes, and what finds no room, are dropped and counted), or -errno.
   */
  relayForward(relay: RelayHandle, mark: number, arena: Uint8Array, descriptors: Int32Array, addresses: Uint8Array, rounds: number): number;
  relayCounters(relay: RelayHandle): RelayCounters;
  relayClose(relay: RelayHandle): void;

  // ---- loop ----
  /** One watcher for a handle at a time. Closing the handle closes its watcher. After an error of a TUN (its device was removed) it fires once and is paused. */
  watchReadable(handle: TunHandle | UdpHandle, onReadable: () => void): Watcher;
  createFineTimer(onExpire: () => void): FineTimer;

  /**
   * Asks for another time slice of the calling thread than the scheduler's 3 ms (100 to 100,000 µs; Linux 6.12). A task with a longer one can be preempted by those with
   * shorter ones as they wake. False when the thread has a real-time policy or the kernel refuses; older kernels ignore it.
   */
  requestTimeSlice(microseconds: number): boolean;

  /**
   * One datagram to a service manager's socket (sd_notify(3)): a path, or "@" and a name of the abstract namespace. `descriptor` goes along for it to keep;
   * -1: none. 0, or a negative errno.
   */
  notifyService(socket: string, state: string, descriptor: number): number;

  // ---- nftables ----
  /** A netlink socket for the questions below. */
  nftOpen(): NftHandle;
  /**
   * Is there such an element in the set? `family`: 1 inet, 2 ip, 10 ip6. `key`: as the kernel has it, 64 bytes at most: each field of a concatenation from a multiple of four
   * bytes on, padded with zeros. Answered within the call (some 5 µs): 1, 0 (also when there is no such table or set), or -errno.
   */
  nftHasElement(nft: NftHandle, family: number, table: string, set: string, key: Uint8Array): number;
  nftClose(nft: NftHandle): void;

  // ---- self-knowledge ----
  /**
   * Nanoseconds per 1400-byte seal of each AEAD, measured once per process over a few hundred rounds: what this CPU does fastest; and by which engine,
   * "openssl 3.0.15" or "ipsec-mb 1.3.0".
   */
  measureAead(): { aes256gcmNs: number; chacha20Poly1305Ns: number; aes256gcmEngine: string; chacha20Poly1305Engine: string };
  /**
   * Seals or opens once under a key of its own, in place: `bytes` ends with the 16 bytes of the tag. For published vectors: data goes through senders and
   * open tables, which own their nonces. False when the tag is wrong.
   */
  aeadOnce(
    options: { aead: AeadName; key: Uint8Array; engine?: AeadEngine },
    seal: boolean,
    nonce: Uint8Array,
    associatedData: Uint8Array,
    bytes: Uint8Array,
  ): boolean;
  /** For all sealers and openers of the process that are made from now on without an engine of their own. Throws what is missing for it. */
  useAeadEngine(engine: AeadEngine): void;
}

let loaded: NativeAddon | undefined;

/**
 * The addon, loaded on first use. Throws with what to do when it is not built. MPTUNNEL_AEAD_ENGINE in the environment names the AEAD engine
 * (`openssl`, `ipsec-mb`); without it, it is the fastest.
 */
export function loadNative(): NativeAddon {
  if (loaded !== undefined) return loaded;
  const addon = loadAddon();
  const engine = process.env.MPTUNNEL_AEAD_ENGINE ?? '';
  if (engine !== '') addon.useAeadEngine(aeadEngineOf(engine));
  loaded = addon;
  return loaded;
}

function aeadEngineOf(text: string): AeadEngine {
  if (text === 'openssl' || text === 'ipsec-mb' || text === 'fastest') return text;
  throw new Error(`MPTUNNEL_AEAD_ENGINE is "${text}": it must be openssl, ipsec-mb or fastest.`);
}

function loadAddon(): NativeAddon {
  const require = createRequire(import.meta.url);
  // dist/src/tun/native.js -> project root, where node-gyp-build looks for build/Release and prebuilds/.
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  try {
    return require('node-gyp-build')(root) as NativeAddon;
  } catch (cause) {
    throw new Error('The native addon is not built: run `npm run setup` in the folder of mptunnel.', { cause });
  }
}
