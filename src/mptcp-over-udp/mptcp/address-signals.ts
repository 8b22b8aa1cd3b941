/** Addresses that a connection announces, withdraws and is told of (RFC 8684, 3.4). */

import { NEVER_MS } from '../tcp/tcp-connection.js';
import { sendAck } from '../tcp/tcp-output.js';
import type { MptcpConnection } from './connection.js';
import { type AnnouncedAddress, addAddrHmac } from './path-signals.js';
import { RST_UNSPECIFIED } from './subflow.js';

/** As Linux: an ADD_ADDR without echo is sent three times. */
const MAX_ANNOUNCE_COUNT = 3;

interface Announcement {
  readonly address: AnnouncedAddress;
  count: number;
}

export class AddressSignals {
  private readonly connection: MptcpConnection;
  /** Announced, and not echoed yet. */
  private readonly announcements: Announcement[] = [];
  /** `sendDue` wants to be called then. */
  deadlineMs = NEVER_MS;

  constructor(connection: MptcpConnection) {
    this.connection = connection;
  }

  /** ADD_ADDR, repeated until it is echoed. Throws RangeError when the id is 0, the initial address's. */
  announce(address: AnnouncedAddress, nowMs: number): void {
    if (address.addressId === 0) throw new RangeError('addressId 0 is that of the initial subflow');
    if (this.connection.fallback || !this.connection.hasRemoteKey) return;
    this.announcements.push({ address, count: 0 });
    this.deadlineMs = nowMs;
    this.connection.markDirty();
  }

  /** REMOVE_ADDR; our subflows from these addresses are closed. */
  withdraw(addressIds: Uint8Array, nowMs: number): void {
    for (let i = this.announcements.length - 1; i >= 0; i--) {
      if (addressIds.includes((this.announcements[i] as Announcement).address.addressId)) this.announcements.splice(i, 1);
    }
    const dying = this.connection.subflows.filter((subflow) => addressIds.includes(subflow.addressId));
    const carrier = this.connection.subflows.find((subflow) => subflow.usable && !dying.includes(subflow)) ?? this.connection.subflows[0];
    if (carrier === undefined || this.connection.fallback) return;
    carrier.signal({ kind: 'remove-addr', addressIds });
    sendAck(carrier);
    for (const subflow of dying) if (subflow !== carrier) subflow.reset(RST_UNSPECIFIED, nowMs);
  }

  onAnnounced(address: AnnouncedAddress, nowMs: number): void {
    this.connection.host.events?.onAnnounced?.(this.connection, address, nowMs);
  }

  onEcho(address: AnnouncedAddress): void {
    const i = this.announcements.findIndex(({ address: known }) => known.addressId === address.addressId && known.port === address.port);
    if (i >= 0) this.announcements.splice(i, 1);
    else this.connection.host.count('mptcp-echo-unexpected');
  }

  /** Subflows to the withdrawn addresses end (the peer's own RSTs may be lost). */
  onRemoved(addressIds: Uint8Array, nowMs: number): void {
    this.connection.host.events?.onRemoved?.(this.connection, addressIds, nowMs);
    for (const subflow of this.connection.subflows.slice()) {
      const remoteId = subflow.role.startsWith('capable') ? 0 : subflow.remoteAddressId;
      if (addressIds.includes(remoteId) && this.connection.subflows.length > 1) subflow.reset(RST_UNSPECIFIED, nowMs);
    }
  }

  sendDue(nowMs: number): void {
    this.deadlineMs = NEVER_MS;
    const subflow = this.connection.subflows.find((candidate) => candidate.usable);
    if (subflow === undefined || this.connection.fallback) return;
    for (const announcement of this.announcements.slice()) {
      if (announcement.count >= (this.connection.version === 0 ? 1 : MAX_ANNOUNCE_COUNT)) {
        this.announcements.splice(this.announcements.indexOf(announcement), 1);
        continue;
      }
      announcement.count++;
      const { addressId, address, port } = announcement.address;
      subflow.signal({
        kind: 'add-addr',
        address: announcement.address,
        hmac:
          this.connection.version === 0
            ? undefined
            : addAddrHmac(this.connection.local.key, this.connection.remoteKey, addressId, address, port),
      });
      this.deadlineMs = nowMs + this.connection.host.announceTimeoutMs;
    }
  }
}
