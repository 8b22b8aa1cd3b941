/** Who this host, and its peers, are to the relays that it uses. */

import { importPrivateKey, type X25519KeyPair } from '../../crypto/x25519.js';
import type { Carrier } from '../carrier/carrier.js';
import type { ResolvedEndpoint } from '../carrier/endpoint.js';
import { emitAddressRecord, sameRemote } from '../path/address-record.js';
import type { Peer } from '../path/peer.js';
import { TunnelError } from '../tunnel-api.js';
import { type BindingEvent, RelayBinding } from './relay-binding.js';
import { isSameRelay, type RelayConfig } from './relay-config.js';
import { NOBODY, relayIdOf, relayKeyOf, textOf } from './relay-identity.js';
import { RelayLeg } from './relay-leg.js';

/** A relay that is silent for so long is asked for under its next address. */
const SILENT_MS = 10_000;

export class RelayMembership {
  readonly config: RelayConfig;
  readonly #key: Uint8Array;
  readonly #id: Uint8Array;
  readonly #peerIds = new WeakMap<Peer, string>();

  constructor(config: RelayConfig, key: Uint8Array, id: Uint8Array) {
    this.config = config;
    this.#key = key;
    this.#id = id;
  }

  /** As text. */
  idOf(peer: Peer): string {
    let id = this.#peerIds.get(peer);
    if (id === undefined) {
      id = textOf(relayIdOf(this.config.publicKey, peer.config.publicKey));
      this.#peerIds.set(peer, id);
    }
    return id;
  }

  /** A leg over `carrier`, which knows it from now on. `peer` undefined: a place where we wait to be called. */
  makeLeg(
    peer: Peer | undefined,
    way: Uint8Array,
    carrier: Carrier,
    address: Uint8Array,
    onEvent: (leg: RelayLeg, event: BindingEvent, nowMs: number) => void,
    nowMs: number,
  ): RelayLeg {
    const wanted = peer === undefined ? NOBODY : Buffer.from(this.idOf(peer), 'latin1');
    const binding = new RelayBinding({ key: this.#key, sender: this.#id, wanted, way, nowMs });
    const leg = new RelayLeg(this.config, binding, carrier, address, onEvent);
    carrier.relay = leg;
    return leg;
  }
}

export class RelayMemberships {
  readonly #own: X25519KeyPair;
  readonly #known: RelayMembership[] = [];

  constructor(privateKey: Uint8Array) {
    this.#own = importPrivateKey(privateKey);
  }

  /** Throws TunnelError `relay-key` when the relay's key is weak. */
  of(config: RelayConfig): RelayMembership {
    const known = this.#known.find((one) => isSameRelay(one.config, config));
    if (known !== undefined) return known;
    const key = relayKeyOf(this.#own, config.publicKey);
    if (key === undefined)
      throw new TunnelError('relay-key', `The key of relay ${config.endpoint} is none that a relay can have: copy it anew.`);
    const membership = new RelayMembership(config, key, relayIdOf(config.publicKey, this.#own.publicKey));
    this.#known.push(membership);
    return membership;
  }
}

export function isSilent({ binding }: RelayLeg, nowMs: number): boolean {
  return binding.state === 'silent' && binding.inStateMs(nowMs) > SILENT_MS;
}

/** Of the same IP version, in turn; undefined: there is no other. */
export function nextAddress(current: Uint8Array, { addresses, port }: ResolvedEndpoint): Uint8Array | undefined {
  const records = addresses.filter(({ family }) => family === current[0]).map(({ address }) => emitAddressRecord(address, port));
  const at = records.findIndex((record) => sameRemote(record, current, 0));
  return at >= 0 && records.length === 1 ? undefined : records[(at + 1) % records.length];
}
