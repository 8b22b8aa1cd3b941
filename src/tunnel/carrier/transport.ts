/**
 * The seam between a path's carrier and what is not plain UDP: one connection of QUIC or WebTransport that carries whole datagrams both ways, in any order, some lost.
 * The datagrams are sealed already; a transport neither knows nor needs whose they are.
 */

export type TransportKind = 'quic' | 'webtransport';

/** What a transport tells its owner. Never from within a call of the owner's; nothing after onClose. */
export interface TransportEvents {
  /** From now on `sendDatagrams` is worth calling. Never on one that was accepted: it is open. */
  onOpen(): void;
  /** `count` datagrams back to back in `bytes`, `lengths[i]` bytes each. Both borrowed until return. As many at once as have come: calls cost. */
  onDatagrams(bytes: Uint8Array, lengths: Int32Array, count: number): void;
  /** It could not be opened, or is over. `reason` is for people: "TLS: the certificate is not the one of the invite". */
  onClose(reason: string): void;
}

export interface TransportAddress {
  /** IP literal without brackets or zone; IPv4 never mapped into IPv6. "" when unknown. */
  readonly address: string;
  readonly port: number;
}

export interface TransportCounters {
  readonly sentDatagrams: number;
  readonly receivedDatagrams: number;
  /** Ours, not sent: too long, no room, or waited too long in our queue. */
  readonly droppedDatagrams: number;
}

export interface Transport {
  readonly kind: TransportKind;
  /** Where a kind has several: over which it goes, for people: "HTTP/3". Known when it is open. */
  readonly protocol?: string | undefined;
  /** Of one datagram; at least 1280. Known when it is open, and does not change. */
  readonly maxDatagramBytes: number;
  readonly local: TransportAddress;
  readonly remote: TransportAddress;
  readonly counters: TransportCounters;
  /**
   * `count` datagrams back to back in `bytes`, `lengths[i]` bytes each; borrowed until return. What has no room, or waits longer than the queue may be, is dropped and counted:
   * a path has a short queue. Nothing before onOpen.
   */
  sendDatagrams(bytes: Uint8Array, lengths: Int32Array, count: number): void;
  /** What goes over it does not work, though it is open. Where it has another way to choose, it may look whether that is better, and end. */
  doubt?(): void;
  /** What goes over it works, now or again. */
  trust?(): void;
  /** At once, with a goodbye if one can be said. No onClose follows. */
  close(): void;
}

export interface DialOptions {
  /** Where to: an IP literal. */
  readonly address: string;
  readonly port: number;
  /** Of TLS (SNI) and of the request's authority. */
  readonly serverName: string;
  /** SHA-256 of the DER of the only certificate that is right; undefined: one that the host's authorities vouch for under `serverName`. */
  readonly certificateSha256: Uint8Array | undefined;
  /** What the way out is bound to: SO_BINDTODEVICE, source address, SO_MARK. */
  readonly device: string | undefined;
  readonly localAddress: string | undefined;
  /** An address of `device`, for hosts where only root may bind to the device; undefined: it has none. */
  readonly deviceAddress?: string | undefined;
  readonly mark: number | undefined;
  /** Of the interface, IP header included: no packet of ours is longer. */
  readonly mtuBytes: number;
  /** PROOF_BYTES of peer-proof.ts: shown to the server before it does anything for us. */
  readonly proof: Uint8Array;
  /** Another one, for who tries in more ways than one, or later; undefined: there is but `proof`. */
  readonly freshProof?: (() => Uint8Array) | undefined;
}

/** Never throws: what goes wrong comes as onClose. */
export type DialTransport = (options: DialOptions, events: TransportEvents) => Transport;

export interface ListenOptions {
  /** On all addresses, IPv4 and IPv6. */
  readonly port: number;
  readonly mark: number | undefined;
  /** PEM, certificate first, then its chain. */
  readonly certificate: string;
  readonly privateKey: string;
  /** (webtransport) folder of static files for everybody else; undefined: 404 to all. */
  readonly webFolder: string | undefined;
  /** Is that the proof of a peer? Asked before anything is done for who shows it; `source` is the text of its address and port. */
  readonly checkProof: (proof: Uint8Array, source: string) => boolean;
  /** A peer has come: who listens to it from now on. */
  readonly onTransport: (transport: Transport) => TransportEvents;
  readonly warn: (message: string) => void;
}

export interface TransportListener {
  readonly port: number;
  /** Refused strangers, bounded resources, restarts of a worker: by name, for `status`. */
  readonly counters: Readonly<Record<string, number>>;
  close(): Promise<void>;
}

/** Rejects with TunnelError `listen` (taken port, privilege, unusable certificate), which says what to do. */
export type ListenForTransports = (options: ListenOptions) => Promise<TransportListener>;

/** One kind. Loaded only where it is configured: its package may be missing, which `load…` of its module rejects with TunnelError `carrier-missing`. */
export interface TransportProvider {
  readonly kind: TransportKind;
  readonly dial: DialTransport;
  readonly listen: ListenForTransports;
  /** Ends workers and what else it holds, with all its transports. */
  close(): Promise<void>;
}
