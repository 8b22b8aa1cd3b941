/**
 * One way out of this host, a `[[path]]` of the configuration: its sockets (one per address family in use) and the interface that it stands on.
 * An uplink may come and go; why it cannot be used now is `problem`, in words for people.
 */

import type { NativeAddon } from '../../tun/native.js';
import type { PathConfig, PathPolicy } from '../config.js';
import type { PathRestriction } from '../link.js';
import { RateLimit } from '../path/rate-limit.js';
import type { InterfaceInfo } from './interface-info.js';
import { UdpCarrier } from './udp-carrier.js';
import { absentInterface, describeProblem, interfaceOf, interfaceProblem } from './uplink-interface.js';

const DEFAULT_MTU_BYTES = 1500;
const OWNED_FROM = 16;

export class Uplink {
  readonly index: number;
  /** How it is used may change, interface and address not. */
  config: PathConfig;
  readonly #native: NativeAddon;
  readonly #mark: number | undefined;
  readonly #onReadable: (carrier: UdpCarrier) => void;
  /** By family; where it goes by a relay each peer has one of its own. */
  readonly #carriers = new Map<number, UdpCarrier>();
  #info: InterfaceInfo | undefined;
  #openedOnIndex = -1;
  #limit: RateLimit | undefined;
  restriction: PathRestriction = 'none';
  /** Why it is not to be used at all; "" when it may be. */
  barred = '';
  /** "" when it can be used. */
  problem = 'its interface was not looked at yet';

  constructor(native: NativeAddon, index: number, config: PathConfig, mark: number | undefined, onReadable: (carrier: UdpCarrier) => void) {
    this.#native = native;
    this.index = index;
    this.config = config;
    this.#mark = mark;
    this.#onReadable = onReadable;
    this.setPolicy({});
  }

  /** Of what we send, whichever peer it goes to. */
  get limit(): RateLimit | undefined {
    return this.#limit;
  }

  setPolicy(change: PathPolicy): void {
    this.config = { ...this.config, ...change };
    const bytesPerSec = this.config.limitUpBytesPerSec ?? 0;
    if (bytesPerSec === 0) this.#limit = undefined;
    else if (this.#limit === undefined) this.#limit = new RateLimit(bytesPerSec);
    else if (this.#limit.bytesPerSec !== bytesPerSec) this.#limit.setRate(bytesPerSec);
  }

  get mtuBytes(): number {
    return Math.min(this.#info?.mtuBytes ?? DEFAULT_MTU_BYTES, 65_535);
  }

  /** The one family that its own address allows, undefined for both. */
  get onlyFamily(): 4 | 6 | undefined {
    if (this.config.address === undefined) return undefined;
    return this.config.address.includes(':') ? 6 : 4;
  }

  /** The address that its packets are likely to carry, "" when unknown. */
  localAddress(family: 4 | 6): string {
    if (this.config.address !== undefined) return this.config.address;
    return this.#info?.addresses.find((address) => address.includes(':') === (family === 6)) ?? '';
  }

  /** Its address, or the addresses of its interface, allow packets of that IP version; unknown: perhaps. */
  canReach(family: 4 | 6): boolean {
    if (this.onlyFamily !== undefined) return this.onlyFamily === family;
    return this.#info === undefined || this.localAddress(family) !== '';
  }

  /** Finds its interface among those that there are. */
  look(interfaces: readonly InterfaceInfo[]): void {
    this.#info = interfaceOf(this.config, interfaces);
  }

  /** The peer is gone. */
  closeOwnedCarrier(owner: number): void {
    this.#carriers.get(OWNED_FROM + owner)?.close();
    this.#carriers.delete(OWNED_FROM + owner);
  }

  /** No path needs the socket any more. */
  closeCarrier(family: 4 | 6): void {
    this.#carriers.get(family)?.close();
    this.#carriers.delete(family);
  }

  standsOn(interfaceName: string): boolean {
    return this.config.interface === interfaceName || this.#info?.name === interfaceName;
  }

  /** The socket of a family; it may be closed. `owner`: of that peer alone. */
  carrier(family: 4 | 6, owner?: number): UdpCarrier {
    const number = owner === undefined ? family : OWNED_FROM + owner;
    let carrier = this.#carriers.get(number);
    if (carrier === undefined) {
      const { address, interface: device } = this.config;
      const deviceAddress = (): string => this.localAddress(family);
      carrier = new UdpCarrier(this.#native, { family, port: 0, address, device, mark: this.#mark, deviceAddress }, this.#onReadable);
      this.#carriers.set(number, carrier);
    }
    return carrier;
  }

  /**
   * Looks at the interfaces that there are (an empty list: unknown), and opens what is missing or stands on a device that was replaced. The sockets
   * that changed; `problem` says why there is none.
   */
  refresh(interfaces: readonly InterfaceInfo[]): UdpCarrier[] {
    this.#info = interfaceOf(this.config, interfaces);
    this.problem = this.barred !== '' ? this.barred : interfaces.length === 0 ? '' : this.#interfaceProblem();
    if (this.problem !== '') return [];
    const replaced = this.#info !== undefined && this.#openedOnIndex >= 0 && this.#info.index !== this.#openedOnIndex;
    const opened: UdpCarrier[] = [];
    for (const carrier of this.#carriers.values()) {
      if (!replaced && !carrier.needsReopen) continue;
      try {
        carrier.open();
        opened.push(carrier);
      } catch (error) {
        this.problem = this.#openProblem(error as NodeJS.ErrnoException);
      }
    }
    if (this.problem === '') this.#openedOnIndex = this.#info?.index ?? -1;
    return opened;
  }

  close(): void {
    for (const carrier of this.#carriers.values()) carrier.close();
  }

  #interfaceProblem(): string {
    const info = this.#info;
    const problem = interfaceProblem(this.config, info);
    if (problem !== undefined) return describeProblem(problem);
    if (info === undefined) return '';
    for (const { options } of this.#carriers.values()) {
      const { family } = options;
      if (this.localAddress(family) === '') return `interface "${info.name}" has no IPv${family} address`;
    }
    return '';
  }

  #openProblem(error: NodeJS.ErrnoException): string {
    switch (error.code) {
      case 'ENODEV':
        return describeProblem(absentInterface(this.config.interface ?? ''));
      case 'EADDRNOTAVAIL':
        return `address ${this.config.address ?? 'of its interface'} is not configured on this host`;
      case 'EPERM':
      case 'EACCES':
        return 'binding to an interface needs root or CAP_NET_RAW here, and the interface has no address to bind to instead';
      default:
        return `its UDP socket cannot be opened: ${error.message}`;
    }
  }
}
