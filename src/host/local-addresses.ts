/** The addresses of a host: which device each is on, its address id (RFC 8684, 3.4), and what it is for. */

import { equalAddress, formatEndpoint, requireAddress } from './endpoint-text.js';
import { HostError } from './host-error.js';

/** The flags are those of `ip mptcp endpoint`. */
export interface AddressOptions {
  address: string;
  /** Index into the host's devices; default 0. */
  device?: number;
  /** Connections that we opened join from it; default true. */
  subflow?: boolean;
  /** Announced by ADD_ADDR to whoever connects to us; default false. */
  signal?: boolean;
  /** Port that goes with the announcement; default: none. */
  port?: number;
  /** Its subflows are backups. */
  backup?: boolean;
  /** Joins go from it to every address of the peer, not to one. */
  fullmesh?: boolean;
}

export interface LocalAddress {
  /** 1 .. 255; on the connection whose initial subflow it carries it counts as 0. */
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly device: number;
  readonly subflow: boolean;
  readonly signal: boolean;
  readonly port: number;
  backup: boolean;
  readonly fullmesh: boolean;
}

const MAX_ADDRESS_ID = 255;

export class LocalAddresses {
  readonly all: LocalAddress[] = [];
  private lastId = 0;

  /** Throws HostError when it is there already or ids have run out. */
  add(options: AddressOptions): LocalAddress {
    const bytes = requireAddress(options.address, 'address');
    if (this.find(bytes) !== undefined) throw new HostError('EEXIST', `the host has ${options.address} already`);
    const id = this.allocateId();
    const added: LocalAddress = {
      id,
      bytes,
      device: options.device ?? 0,
      subflow: options.subflow ?? true,
      signal: options.signal ?? false,
      port: options.port ?? 0,
      backup: options.backup ?? false,
      fullmesh: options.fullmesh ?? false,
    };
    this.all.push(added);
    return added;
  }

  /** An id that was given back is used last: a REMOVE_ADDR for it may still be under way (RFC 8684, 3.4.2). */
  private allocateId(): number {
    for (let i = 0; i < MAX_ADDRESS_ID; i++) {
      this.lastId = (this.lastId % MAX_ADDRESS_ID) + 1;
      if (!this.all.some((address) => address.id === this.lastId)) return this.lastId;
    }
    throw new HostError('ENOSPC', `no more than ${MAX_ADDRESS_ID} addresses`);
  }

  remove(bytes: Uint8Array): LocalAddress | undefined {
    const at = this.all.findIndex((address) => equalAddress(address.bytes, bytes));
    return at < 0 ? undefined : this.all.splice(at, 1)[0];
  }

  find(bytes: Uint8Array): LocalAddress | undefined {
    return this.all.find((address) => equalAddress(address.bytes, bytes));
  }

  /** Throws HostError when the host has no such address. */
  require(text: string): LocalAddress {
    const found = this.find(requireAddress(text, 'localAddress'));
    if (found === undefined) throw new HostError('EADDRNOTAVAIL', `${text} is none of this host's addresses (${this.text()})`);
    return found;
  }

  /** Is it ours? Reads the destination out of a packet. */
  holds(packet: Uint8Array, at: number, length: number): boolean {
    for (let i = 0; i < this.all.length; i++) {
      const { bytes } = this.all[i] as LocalAddress;
      if (bytes.length !== length) continue;
      let same = 0;
      while (same < length && bytes[same] === packet[at + same]) same++;
      if (same === length) return true;
    }
    return false;
  }

  text(): string {
    return this.all.map((address) => formatEndpoint(address.bytes)).join(', ');
  }
}
