/** Asks the kernel which host conditions (user, fwmark) a packet out of the TUN fitted when it went in: see nft-rules.ts. */

import type { IpPacketFacts } from '../../mptcp-over-udp/wire/ip-header.js';
import type { NativeAddon, NftHandle } from '../../tun/native.js';
import { ownerSetName } from './nft-rules.js';

/** NFPROTO_INET. */
const FAMILY_INET = 1;
/** Of a concatenation each field begins at a multiple of four bytes. */
const FIELD_BYTES = 4;

export class OwnerSets {
  readonly counters = { ownerLookups: 0, ownerLookupErrors: 0 };
  readonly #native: Pick<NativeAddon, 'nftOpen' | 'nftHasElement' | 'nftClose'>;
  readonly #table: string;
  readonly #handle: NftHandle;
  /** By length. */
  readonly #keys = new Map<number, Uint8Array>();

  /** Throws what the addon throws when there is no such socket to be had. */
  constructor(native: Pick<NativeAddon, 'nftOpen' | 'nftHasElement' | 'nftClose'>, table: string) {
    this.#native = native;
    this.#table = table;
    this.#handle = native.nftOpen();
  }

  /** `condition`: its place among the distinct ones of the rules in force. One question to the kernel: for the first packet of a flow. */
  holds(condition: number, bytes: Uint8Array, facts: IpPacketFacts): boolean {
    const hasPorts = facts.hasPorts && !facts.isFragment;
    const set = ownerSetName(condition, facts.version, hasPorts);
    this.counters.ownerLookups++;
    const result = this.#native.nftHasElement(this.#handle, FAMILY_INET, this.#table, set, this.#key(bytes, facts, hasPorts));
    if (result < 0) this.counters.ownerLookupErrors++;
    return result === 1;
  }

  close(): void {
    this.#native.nftClose(this.#handle);
  }

  #key(bytes: Uint8Array, facts: IpPacketFacts, hasPorts: boolean): Uint8Array {
    const { addressBytes, sourceAddressOffset: from, destinationAddressOffset: to } = facts;
    const length = 2 * addressBytes + FIELD_BYTES + (hasPorts ? 2 * FIELD_BYTES : 0);
    let key = this.#keys.get(length);
    if (key === undefined) {
      key = new Uint8Array(length);
      this.#keys.set(length, key);
    }
    key.set(bytes.subarray(from, from + addressBytes));
    key.set(bytes.subarray(to, to + addressBytes), addressBytes);
    const at = 2 * addressBytes;
    key[at] = facts.protocol;
    if (!hasPorts) return key;
    key[at + 4] = facts.sourcePort >>> 8;
    key[at + 5] = facts.sourcePort;
    key[at + 8] = facts.destinationPort >>> 8;
    key[at + 9] = facts.destinationPort;
    return key;
  }
}
