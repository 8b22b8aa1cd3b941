/** The server's side of invites: makes them, lets their holders enrol a key of their own, and keeps the peers that came of it. */

import { randomBytes } from 'node:crypto';
import { formatKey, parseKey } from '../../crypto/keys.js';
import { publicKeyOf } from '../../crypto/x25519.js';
import { parsePrefix, prefixContains } from '../../tun/ip-prefix.js';
import { serverCertificate } from '../carrier/server-certificate.js';
import type { InterfaceConfig, PeerConfig, TunnelConfig } from '../config.js';
import { knownAre } from '../did-you-mean.js';
import type { PeerLink, PeerState } from '../link.js';
import { peerDirectory, peerNameFault, removePeerFile, writePeerFile } from '../peer-directory.js';
import type { PeerMessage } from '../session/slow-control.js';
import type { PeerTrafficStatus } from '../status.js';
import { type Tunnel, TunnelError, type TunnelLog } from '../tunnel-api.js';
import { allocateAddresses } from './address-pool.js';
import { deriveInviteKeys, derivePeerPresharedKey, verifyProof } from './enrolment-proof.js';
import { formatInvite, INVITE_SECRET_BYTES, type InviteCarriers } from './invite-line.js';
import { InviteStore, inviteFile, type StoredInvite } from './invite-store.js';
import { defaultRoutes, serverEndpoints } from './server-place.js';

export interface EnrolmentOptions {
  config: TunnelConfig;
  /** Absolute. */
  configFile: string;
  tunnel: Tunnel;
  log: TunnelLog;
  /** Milliseconds since 1970. */
  wallClock?: () => number;
}

export interface InviteOptions {
  peer: string;
  expiresInMs: number;
  /** "vpn.example.org" or with a port, instead of what the configuration says. */
  endpoint?: string;
  /** What the client sends into the tunnel; default: all, where there is [egress]. */
  routes?: readonly string[];
}

export interface MadeInvite {
  line: string;
  peer: string;
  addresses: readonly string[];
  endpoints: readonly string[];
  routes: readonly string[];
  expiresAtMs: number;
  /** What may be wrong with it; "" when nothing is known. */
  warning: string;
}

export interface ListedInvite {
  peer: string;
  addresses: readonly string[];
  createdAtMs: number;
  expiresAtMs: number;
}

export interface ListedPeer {
  name: string;
  publicKey: string;
  state: PeerState;
  allowedIps: readonly string[];
  /** Open now. */
  connections: number;
  traffic?: PeerTrafficStatus;
  /** Absent: no limit. */
  limitUpBytesPerSec?: number;
  limitDownBytesPerSec?: number;
}

/** After an enrolment its answer may have been lost: the holder may ask again for so long. */
const GRACE_MS = 30_000;
const LONGEST_TIMER_MS = 0x7fff_ffff;
/** No name of a peer has a colon. */
const INVITE_PREFIX = 'invite:';

export class Enrolment {
  readonly #options: EnrolmentOptions;
  readonly #wallClock: () => number;
  readonly #store: InviteStore;
  readonly #directory: string;
  readonly #ownPublicKey: Uint8Array;
  /** By the peer's name: invites that were used just now. */
  readonly #used = new Map<string, { publicKey: Uint8Array; timer: NodeJS.Timeout }>();
  /** Enrolments one after another. */
  #queue: Promise<void> = Promise.resolve();
  #expiry: NodeJS.Timeout | undefined;
  #closed = false;

  /** Throws ConfigError when the file of invites is damaged. */
  constructor(options: EnrolmentOptions) {
    this.#options = options;
    this.#wallClock = options.wallClock ?? Date.now;
    this.#store = InviteStore.read(inviteFile(options.configFile));
    this.#directory = peerDirectory(options.configFile);
    this.#ownPublicKey = publicKeyOf(options.config.interface.privateKey);
  }

  /** Open invites of an earlier run are open again. */
  async start(): Promise<void> {
    this.#options.tunnel.setMessageHandler((peer, message) => this.#handleMessage(peer, message));
    // A crash between the peer's file and the end of its invite leaves both.
    this.#store.remove(this.#store.invites.filter((invite) => this.#isKnown(invite.peer)));
    await this.#expire();
    for (const invite of this.#store.invites) await this.#options.tunnel.addPeer(inviteAsPeer(invite));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#expiry);
    for (const { timer } of this.#used.values()) clearTimeout(timer);
  }

  /** Throws TunnelError that says what to do. */
  async invite({ peer, expiresInMs, endpoint, routes }: InviteOptions): Promise<MadeInvite> {
    const { config, tunnel, log } = this.#options;
    const { listenPort } = config.interface;
    if (listenPort === undefined)
      throw new TunnelError('no-server', `${config.interface.name} is a client: invite on its server, where listen_port is`);
    this.#requireFree(peer);
    const addresses = this.#addressesFor(peer);
    const place = serverEndpoints(endpoint ?? config.interface.publicEndpoint, listenPort, config.interface.name);
    const secret = new Uint8Array(randomBytes(INVITE_SECRET_BYTES));
    const keys = deriveInviteKeys(secret);
    const nowMs = this.#wallClock();
    const made = {
      peer,
      addresses: addresses.map((address, i) => `${address.split('/')[0]}/${parsePrefix(config.interface.addresses[i]!)!.length}`),
      endpoints: place.endpoints,
      routes: routes ?? defaultRoutes(config),
      expiresAtMs: nowMs + expiresInMs,
    };
    const carriers = await inviteCarriers(config.interface);
    const line = formatInvite({ ...made, ...carriers, serverPublicKey: this.#ownPublicKey, secret, tunnel: config.interface.name });
    const stored: StoredInvite = {
      peer,
      publicKey: formatKey(publicKeyOf(keys.privateKey)),
      presharedKey: formatKey(keys.presharedKey),
      addresses,
      createdAtMs: nowMs,
      expiresAtMs: made.expiresAtMs,
    };
    this.#store.add(stored);
    await tunnel.addPeer(inviteAsPeer(stored));
    this.#armExpiry();
    log.info(`invite for ${peer}: made, ${addresses.join(', ')}`);
    return { line, ...made, warning: place.warning };
  }

  async listInvites(): Promise<ListedInvite[]> {
    await this.#expire();
    return this.#store.invites.map(({ peer, addresses, createdAtMs, expiresAtMs }) => ({ peer, addresses, createdAtMs, expiresAtMs }));
  }

  /** Throws TunnelError when there is none for that name. */
  async revoke(peer: string): Promise<void> {
    const invite = this.#store.invites.find((one) => one.peer === peer);
    if (invite === undefined)
      throw new TunnelError('no-invite', `there is no open invite for ${peer}: ${knownAre(this.#store.invites.map((one) => one.peer))}`);
    this.#store.remove([invite]);
    await this.#options.tunnel.removePeer(INVITE_PREFIX + peer);
    this.#options.log.info(`invite for ${peer}: revoked`);
  }

  listPeers(): ListedPeer[] {
    const allowedIps = new Map(this.#peers().map((peer) => [peer.name, peer.allowedIps]));
    return this.#options.tunnel
      .status()
      .peers.map(({ paths: _, lastError: __, ...peer }) => ({ ...peer, allowedIps: allowedIps.get(peer.name) ?? [] }));
  }

  /** For good: its file goes too. Throws TunnelError. */
  async removePeer(name: string): Promise<void> {
    const { config, configFile, tunnel } = this.#options;
    const fault = peerNameFault(name);
    if (fault !== undefined) throw new TunnelError('no-peer', fault);
    if (!removePeerFile(this.#directory, name) && this.#isKnown(name)) {
      const inMain = config.peers.some((peer) => peer.name === name);
      throw new TunnelError('in-main-file', `${name} is no peer of ${this.#directory}${inMain ? `: take it out of ${configFile}` : ''}`);
    }
    if (!(await tunnel.removePeer(name)))
      throw new TunnelError('no-peer', `there is no peer named ${name}: ${knownAre(this.#peers().map((peer) => peer.name))}`);
  }

  #peers(): PeerLink[] {
    return this.#options.tunnel.peers.filter((peer) => !peer.enrolling);
  }

  #isKnown(name: string): boolean {
    return this.#peers().some((peer) => peer.name === name);
  }

  #requireFree(peer: string): void {
    const fault = peerNameFault(peer);
    if (fault !== undefined) throw new TunnelError('bad-name', fault);
    const tunnel = this.#options.config.interface.name;
    if (this.#isKnown(peer))
      throw new TunnelError(
        'exists',
        `${peer} is a peer already: choose another name, or remove it with \`mptunnel peer remove ${tunnel} ${peer}\``,
      );
    if (this.#store.invites.some((invite) => invite.peer === peer) || this.#used.has(peer))
      throw new TunnelError('exists', `${peer} is invited already: revoke that with \`mptunnel invite revoke ${tunnel} ${peer}\``);
  }

  /** Whoever comes again under a name gets what that name had; others get what nobody ever had, while there is such. */
  #addressesFor(peer: string): string[] {
    const own = this.#options.config.interface.addresses;
    const taken = [...this.#peers().flatMap(({ allowedIps }) => allowedIps), ...this.#store.invites.flatMap(({ addresses }) => addresses)];
    // A default route towards a peer leaves the addresses of the tunnel to others.
    const specific = [...new Set(taken)].filter((prefix) => parsePrefix(prefix)!.length > 0 && !own.some((one) => covers(prefix, one)));
    const lease = this.#store.lease(peer);
    if (
      lease !== undefined &&
      lease.length === own.length &&
      lease.every((address, i) => !specific.includes(address) && within(own[i]!, address))
    )
      return [...lease];
    const fresh = allocateAddresses(own, [...specific, ...this.#store.leasedAddresses(peer)]);
    if (fresh !== undefined) return fresh;
    this.#store.dropLeases(new Set([...this.#peers().map(({ name }) => name), ...this.#store.invites.map((invite) => invite.peer)]));
    const reused = allocateAddresses(own, specific);
    if (reused !== undefined) return reused;
    throw new TunnelError('no-address', `no address of ${own.join(', ')} is free: give [interface] address a shorter prefix`);
  }

  // ---- a holder enrols ----

  #handleMessage(from: PeerLink, message: PeerMessage): void {
    if (!from.enrolling || message.kind !== 'enrol') return;
    this.#queue = this.#queue
      .then(() => this.#enrol(from, message))
      .catch((error: unknown) => {
        this.#options.log.warn(`enrolment of ${from.name} failed: ${(error as Error).message}`);
        this.#options.tunnel.sendMessage(from, { kind: 'enrol-refused', reason: 'failed' });
      });
  }

  async #enrol(from: PeerLink, { publicKey, nonce, box }: Extract<PeerMessage, { kind: 'enrol' }>): Promise<void> {
    const { config, tunnel, log } = this.#options;
    const name = from.name.slice(INVITE_PREFIX.length);
    const refuse = (reason: 'used' | 'expired' | 'bad-proof'): void => {
      log.warn(`enrolment of ${name} refused: ${reason}`);
      tunnel.sendMessage(from, { kind: 'enrol-refused', reason });
    };
    const used = this.#used.get(name);
    if (used !== undefined) {
      if (Buffer.compare(used.publicKey, publicKey) !== 0) return refuse('used');
      tunnel.sendMessage(from, { kind: 'enrolled', publicKey });
      return;
    }
    const invite = this.#store.invites.find((one) => one.peer === name);
    if (invite === undefined || this.#closed) return;
    if (this.#wallClock() >= invite.expiresAtMs) return refuse('expired');
    const invitePublicKey = parseKey(invite.publicKey, 'publicKey');
    if (!verifyProof({ invitePublicKey, publicKey, nonce }, box, config.interface.privateKey)) return refuse('bad-proof');
    await this.#replace(invite, Uint8Array.from(publicKey));
    tunnel.sendMessage(from, { kind: 'enrolled', publicKey });
  }

  /** The peer is there, also after a crash, before its invite is void. */
  async #replace(invite: StoredInvite, publicKey: Uint8Array): Promise<void> {
    const { tunnel, log } = this.#options;
    const presharedKey = derivePeerPresharedKey(parseKey(invite.presharedKey, 'presharedKey'), publicKey, this.#ownPublicKey);
    const peer: PeerConfig = { name: invite.peer, publicKey, presharedKey, endpoint: undefined, allowedIps: invite.addresses };
    await tunnel.addPeer(peer);
    try {
      writePeerFile(this.#directory, peer, `Enrolled ${new Date(this.#wallClock()).toISOString()} by invite.`);
      this.#store.remove([invite]);
    } catch (error) {
      await tunnel.removePeer(peer.name);
      removePeerFile(this.#directory, peer.name);
      throw error;
    }
    const timer = setTimeout(() => this.#forgetUsed(invite.peer), GRACE_MS);
    this.#used.set(invite.peer, { publicKey, timer });
    log.info(`peer ${invite.peer}: enrolled ${formatKey(publicKey)}`);
  }

  #forgetUsed(peer: string): void {
    this.#used.delete(peer);
    void this.#options.tunnel.removePeer(INVITE_PREFIX + peer);
  }

  // ---- time passes ----

  async #expire(): Promise<void> {
    const expired = this.#store.invites.filter((invite) => invite.expiresAtMs <= this.#wallClock());
    this.#store.remove(expired);
    for (const { peer } of expired) {
      this.#options.log.info(`invite for ${peer}: expired`);
      await this.#options.tunnel.removePeer(INVITE_PREFIX + peer);
    }
    this.#armExpiry();
  }

  #armExpiry(): void {
    clearTimeout(this.#expiry);
    const nextMs = Math.min(...this.#store.invites.map((invite) => invite.expiresAtMs));
    if (nextMs === Number.POSITIVE_INFINITY || this.#closed) return;
    const delayMs = Math.min(LONGEST_TIMER_MS, Math.max(0, nextMs - this.#wallClock()));
    this.#expiry = setTimeout(() => void this.#expire().catch((error: Error) => this.#options.log.warn(error.message)), delayMs);
    this.#expiry.unref();
  }
}

async function inviteCarriers({ carriers, name }: InterfaceConfig): Promise<{ carriers?: InviteCarriers }> {
  if (carriers === undefined) return {};
  const { quicPort, webtransportPort } = carriers;
  const { selfSigned, sha256 } = await serverCertificate(carriers, name);
  return {
    carriers: {
      ...(quicPort === undefined ? {} : { quicPort }),
      ...(webtransportPort === undefined ? {} : { webtransportPort }),
      ...(selfSigned ? { certificateSha256: sha256 } : {}),
    },
  };
}

function inviteAsPeer({ peer, publicKey, presharedKey }: StoredInvite): PeerConfig {
  return {
    name: INVITE_PREFIX + peer,
    publicKey: parseKey(publicKey, 'publicKey'),
    presharedKey: parseKey(presharedKey, 'presharedKey'),
    endpoint: undefined,
    allowedIps: [],
    enrolling: true,
  };
}

/** `prefix` holds the whole network of the address "10.77.0.1/24". */
function covers(prefix: string, address: string): boolean {
  const [outer, inner] = [parsePrefix(prefix)!, parsePrefix(address)!];
  return outer.length <= inner.length && prefixContains(outer, inner);
}

function within(own: string, address: string): boolean {
  const network = parsePrefix(own)!;
  return prefixContains(network, parsePrefix(address)!);
}
