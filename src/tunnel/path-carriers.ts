/** Which carriers the paths of a client go over: one choice for each path that has more than UDP to choose from. */

import { CARRIER_KINDS, type Carrier, type CarrierKind } from './carrier/carrier.js';
import { type CarriedPath, CarrierChoice, type CarrierTimes } from './carrier/carrier-choice.js';
import type { ResolvedAddress } from './carrier/endpoint.js';
import { createProofMaker } from './carrier/peer-proof.js';
import type { DialOptions, TransportKind } from './carrier/transport.js';
import { TransportCarrier } from './carrier/transport-carrier.js';
import type { Transports } from './carrier/transports.js';
import type { Uplink } from './carrier/uplink.js';
import type { PathConfig, PeerConfig } from './config.js';
import { emitAddressRecord } from './path/address-record.js';
import type { LinkContext } from './path/link-context.js';
import type { Path } from './path/path.js';
import type { Peer } from './path/peer.js';
import type { SessionDriver } from './path/session-driver.js';

export interface PathCarriersOptions {
  context: LinkContext;
  driver: SessionDriver;
  transports: Transports;
  privateKey: Uint8Array;
  mark: number | undefined;
  receive: (carrier: Carrier) => void;
  times: CarrierTimes;
}

interface Carried {
  readonly uplink: Uplink;
  readonly path: Path;
  readonly choice: CarrierChoice;
  place: ResolvedAddress;
}

export class PathCarriers {
  readonly #options: PathCarriersOptions;
  readonly #carried = new Map<Path, Carried>();
  readonly #proofs = new Map<Peer, (wallClockMs: number) => Uint8Array>();

  constructor(options: PathCarriersOptions) {
    this.#options = options;
  }

  /** The best first; never empty. What cannot be loaded is none. */
  kindsOf(path: PathConfig, peer: PeerConfig): readonly CarrierKind[] {
    if (path.via !== undefined) return ['udp'];
    const wanted = path.carrier ?? 'auto';
    if (wanted !== 'auto') return [wanted];
    // A relay forwards UDP.
    if (path.via !== undefined) return ['udp'];
    return CARRIER_KINDS.filter((kind) => kind === 'udp' || (portOf(peer, kind) !== undefined && this.#options.transports.has(kind)));
  }

  /** The path leads to `place` over `uplink`; UDP is its carrier, where it may be. */
  add(uplink: Uplink, path: Path, place: ResolvedAddress, nowMs: number): void {
    const kinds = this.kindsOf(uplink.config, path.peer.config);
    if (kinds.length === 1 && kinds[0] === 'udp') return;
    const { transports, times, receive, context } = this.#options;
    const carried: Carried = {
      uplink,
      path,
      place,
      choice: new CarrierChoice(
        {
          path: this.#carriedPath(path, (kind) => emitAddressRecord(carried.place.address, portOf(path.peer.config, kind)!)),
          kinds,
          udp: () => uplink.carrier(carried.place.family),
          dial: (kind, events) => transports.dial(kind, this.#dialOptions(carried, kind), events),
          carry: (transport) => new TransportCarrier(context.native, transport, receive),
          times,
          now: () => performance.now(),
          wake: () => context.arm(performance.now()),
        },
        nowMs,
      ),
    };
    this.#carried.set(path, carried);
  }

  /** There is something to choose for some path. */
  get isNeeded(): boolean {
    return this.#carried.size > 0;
  }

  /** It leads elsewhere from now on, over UDP at first. */
  point(path: Path, place: ResolvedAddress): void {
    const carried = this.#carried.get(path);
    if (carried === undefined) return;
    carried.place = place;
    carried.choice.reset();
    if (path.carrier?.kind !== 'udp') path.carrier = undefined;
  }

  handleLinkBack(path: Path, nowMs: number): void {
    this.#carried.get(path)?.choice.handleLinkBack(nowMs);
  }

  /** The uplink of the path cannot be used: nor can what was dialled over it. */
  handleLinkLost(path: Path): void {
    const carried = this.#carried.get(path);
    if (carried === undefined) return;
    carried.choice.reset();
    const usesUdp = this.kindsOf(carried.uplink.config, path.peer.config).includes('udp');
    if (path.carrier?.kind === 'udp') return;
    path.carrier = usesUdp ? carried.uplink.carrier(carried.place.family) : undefined;
    path.target = emitAddressRecord(carried.place.address, this.#portOf(path, 'udp'));
    path.retarget(this.#options.context.epochs.values());
  }

  remove(path: Path): void {
    this.#carried.get(path)?.choice.reset();
    this.#carried.delete(path);
  }

  handleTimeout(nowMs: number): void {
    for (const { choice, path } of this.#carried.values()) {
      choice.handleTimeout(nowMs);
      path.carrierProblem = choice.problem;
      this.#options.context.arm(choice.nextTimeoutMs());
    }
  }

  close(): void {
    for (const path of [...this.#carried.keys()]) this.remove(path);
  }

  #carriedPath(path: Path, targetFor: (kind: CarrierKind) => Uint8Array): CarriedPath {
    const { context, driver } = this.#options;
    return {
      get isUp() {
        return path.state === 'up';
      },
      get carrier() {
        return path.carrier;
      },
      use: (carrier, reason) => {
        const nowMs = performance.now();
        path.candidate = undefined;
        path.formerCarrier = undefined;
        path.carrier = carrier;
        if (carrier !== undefined) path.target = targetFor(carrier.kind);
        path.validated = false;
        path.validation = driver.newValidation(nowMs);
        path.helloPending = true;
        path.retarget(context.epochs.values());
        if (carrier === undefined) path.machine.handleLinkLost(nowMs, reason);
        else if (path.machine.linkLost) path.machine.handleLinkBack(nowMs);
        path.machine.probeSoon();
        driver.restartRoutes(path.peer, nowMs);
        context.pathChanged(path, nowMs);
      },
      tryBeside: (carrier) => {
        if (path.peer.sendEpoch === undefined || carrier.handle === undefined) return false;
        const nowMs = performance.now();
        const validation = driver.newValidation(nowMs);
        validation.trust();
        path.candidate = { carrier, address: targetFor(carrier.kind), validation };
        context.arm(nowMs);
        return true;
      },
      giveUpBeside: () => {
        path.candidate = undefined;
      },
    };
  }

  #dialOptions({ uplink, path, place }: Carried, kind: TransportKind): DialOptions {
    const { config } = path.peer;
    return {
      address: place.address,
      port: this.#portOf(path, kind),
      serverName: config.serverName ?? config.endpoint?.replace(/:\d+$/, '').replace(/^\[|\]$/g, '') ?? '',
      certificateSha256: config.certificateSha256,
      device: uplink.config.interface,
      localAddress: uplink.config.address,
      deviceAddress: uplink.localAddress(place.family) || undefined,
      mark: this.#options.mark,
      mtuBytes: uplink.mtuBytes,
      proof: this.#proofFor(path.peer),
      freshProof: () => this.#proofFor(path.peer),
    };
  }

  #portOf(path: Path, kind: CarrierKind): number {
    return portOf(path.peer.config, kind)!;
  }

  #proofFor(peer: Peer): Uint8Array {
    let make = this.#proofs.get(peer);
    if (make === undefined) {
      make = createProofMaker(this.#options.privateKey, peer.config.publicKey);
      this.#proofs.set(peer, make);
    }
    return make(Date.now());
  }
}

/** Where the peer listens for that kind; undefined: it does not. */
export function portOf(peer: PeerConfig, kind: CarrierKind): number | undefined {
  switch (kind) {
    case 'udp':
      return Number(/:(\d+)$/.exec(peer.endpoint ?? '')?.[1]);
    case 'quic':
      return peer.quicPort;
    case 'webtransport':
      return peer.webtransportPort;
  }
}
