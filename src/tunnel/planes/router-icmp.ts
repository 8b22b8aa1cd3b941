/** What a router says of packets that it cannot pass on (RFC 1812, 4.3; RFC 4443), limited in number. */

import { emitIcmpError, type IcmpErrorKind, MAX_ICMP_ERROR_BYTES } from '../../mptcp-over-udp/wire/icmp.js';
import type { IpPacketFacts } from '../../mptcp-over-udp/wire/ip-header.js';

/** RFC 4443, 2.4 (f) and RFC 1812, 4.3.2.8: errors are limited; as many as Linux sends. */
const ICMP_PER_SECOND = 1000;
const ICMP_BURST = 50;
/** RFC 7600, 3: what a router without an IPv4 address calls itself. */
const DUMMY_IPV4 = Uint8Array.of(192, 0, 0, 8);

export class RouterIcmp {
  readonly counters = { icmpSent: 0, icmpLimited: 0 };
  /** The error that was made last. */
  readonly packet = new Uint8Array(MAX_ICMP_ERROR_BYTES);
  readonly #own: readonly Uint8Array[];
  #tokens = ICMP_BURST;
  #refilledMs = Number.NEGATIVE_INFINITY;

  /** `ownAddresses`: 4 or 16 bytes each. */
  constructor(ownAddresses: readonly Uint8Array[]) {
    this.#own = ownAddresses;
  }

  /** Makes the error for a packet of the host or of hosts behind it; its length, 0 when none is to be sent. */
  toHost(kind: IcmpErrorKind, mtuBytes: number, bytes: Uint8Array, offset: number, facts: IpPacketFacts, nowMs: number): number {
    const source = this.#sourceFor(kind, bytes, facts);
    const length = source === undefined ? 0 : emitIcmpError(this.packet, kind, mtuBytes, source, bytes, offset, facts.totalBytes);
    if (length === 0) return 0;
    if (!this.#takeToken(nowMs)) return 0;
    this.counters.icmpSent++;
    return length;
  }

  /** Makes the refusal of a packet that came from a peer; from the address that may not be reached: that is routed to us. */
  refusal(bytes: Uint8Array, offset: number, facts: IpPacketFacts, nowMs: number): number {
    const at = facts.destinationAddressOffset;
    const source = bytes.slice(at, at + facts.addressBytes);
    const length = emitIcmpError(this.packet, 'admin-prohibited', 0, source, bytes, offset, facts.totalBytes);
    return length > 0 && this.#takeToken(nowMs) ? length : 0;
  }

  /**
   * A kernel takes no packet from outside that bears one of its own IPv4 addresses, nor passes it on to hosts behind it. So it is the address that could not be
   * reached, which also passes reverse-path filters; a hop has RFC 7600's dummy. With IPv6 that holds for what we sent ourselves, not for hosts
   * behind us: towards them it is our address, as a router's.
   */
  #sourceFor(kind: IcmpErrorKind, bytes: Uint8Array, facts: IpPacketFacts): Uint8Array | undefined {
    const { addressBytes, sourceAddressOffset, destinationAddressOffset } = facts;
    const destination = (): Uint8Array => bytes.slice(destinationAddressOffset, destinationAddressOffset + addressBytes);
    if (addressBytes === DUMMY_IPV4.length) return kind === 'time-exceeded' ? DUMMY_IPV4 : destination();
    let own: Uint8Array | undefined;
    for (const address of this.#own) {
      if (address.length !== addressBytes) continue;
      own ??= address;
      if (sameBytes(address, bytes, sourceAddressOffset)) return kind === 'time-exceeded' ? address : destination();
    }
    return own;
  }

  #takeToken(nowMs: number): boolean {
    const refill = ((nowMs - this.#refilledMs) * ICMP_PER_SECOND) / 1000;
    this.#tokens = Math.min(ICMP_BURST, this.#tokens + Math.max(0, refill));
    this.#refilledMs = nowMs;
    if (this.#tokens < 1) {
      this.counters.icmpLimited++;
      return false;
    }
    this.#tokens--;
    return true;
  }
}

function sameBytes(address: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < address.length; i++) if (address[i] !== bytes[at + i]) return false;
  return true;
}
