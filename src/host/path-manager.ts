/**
 * Which subflows a connection has (RFC 8684, 3.4): a client joins from each of its other addresses to where the connection went first, and from
 * one address (with `fullmesh`, from each) to what the peer announces. Policy only; the engine sends.
 */

import type { MptcpConnection } from '../mptcp-over-udp/mptcp/connection.js';
import type { MptcpHost } from '../mptcp-over-udp/mptcp/host.js';
import type { Subflow } from '../mptcp-over-udp/mptcp/subflow.js';
import { equalAddress } from './endpoint-text.js';
import type { LocalAddress, LocalAddresses } from './local-addresses.js';

export interface PathManagerLimits {
  /** Joins that we open, beyond the initial subflow; default 7. */
  subflows: number;
  /** Announced addresses that are used, per connection; default 7. */
  acceptedAddresses: number;
}

export interface RemoteAddress {
  id: number;
  bytes: Uint8Array;
  port: number;
}

/** What the path manager remembers of one connection. */
interface ConnectionPlan {
  /** Announced by the peer and not withdrawn. */
  readonly announced: RemoteAddress[];
  /** Pairs that were removed by hand, and stay so. */
  readonly removed: { local: Uint8Array; remote: Uint8Array; remotePort: number }[];
  /** Our ids that the peer knows. */
  readonly told: Set<number>;
  /** Our addresses that this connection has done with. */
  readonly withdrawn: Uint8Array[];
}

export class PathManager {
  private readonly engine: MptcpHost;
  private readonly addresses: LocalAddresses;
  private readonly limits: PathManagerLimits;
  private readonly allocatePort: (local: Uint8Array, remote: Uint8Array, remotePort: number) => number;
  private readonly plans = new WeakMap<MptcpConnection, ConnectionPlan>();

  constructor(
    engine: MptcpHost,
    addresses: LocalAddresses,
    limits: PathManagerLimits,
    allocatePort: (local: Uint8Array, remote: Uint8Array, remotePort: number) => number,
  ) {
    this.engine = engine;
    this.addresses = addresses;
    this.limits = limits;
    this.allocatePort = allocatePort;
  }

  /** Opens what is missing. */
  planJoins(connection: MptcpConnection, nowMs: number): void {
    const { tuple } = connection;
    const plan = this.planOf(connection);
    for (const local of this.addresses.all) {
      if (plan.withdrawn.some((address) => equalAddress(address, local.bytes))) continue;
      const isInitial = equalAddress(local.bytes, tuple.localAddress);
      if (connection.role === 'client' && local.subflow && !isInitial) this.joinFrom(connection, plan, local, nowMs);
      if (isInitial && !local.fullmesh) for (const remote of plan.announced) this.joinTo(connection, plan, local, remote, nowMs);
      if (local.fullmesh) for (const remote of plan.announced) this.joinTo(connection, plan, local, remote, nowMs);
      if (local.signal && !isInitial && !plan.told.has(local.id)) this.announce(connection, local, nowMs);
    }
  }

  /** ADD_ADDR. */
  announce(connection: MptcpConnection, local: LocalAddress, nowMs: number): void {
    this.planOf(connection).told.add(local.id);
    connection.addresses.announce({ addressId: local.id, address: local.bytes, port: local.port }, nowMs);
  }

  /** REMOVE_ADDR; the engine closes our subflows from there. */
  withdraw(connection: MptcpConnection, local: LocalAddress, nowMs: number): void {
    const plan = this.planOf(connection);
    plan.told.delete(local.id);
    plan.withdrawn.push(local.bytes);
    connection.addresses.withdraw(Uint8Array.of(this.idOn(connection, local)), nowMs);
  }

  /** The host has it, perhaps again. */
  noteAdded(connection: MptcpConnection, local: LocalAddress): void {
    const { withdrawn } = this.planOf(connection);
    const at = withdrawn.findIndex((address) => equalAddress(address, local.bytes));
    if (at >= 0) withdrawn.splice(at, 1);
  }

  noteAnnounced(connection: MptcpConnection, remote: RemoteAddress, nowMs: number): void {
    const { announced } = this.planOf(connection);
    const known = announced.find((address) => address.id === remote.id);
    if (known !== undefined || announced.length >= this.limits.acceptedAddresses) return;
    announced.push(remote);
    this.planJoins(connection, nowMs);
  }

  noteWithdrawn(connection: MptcpConnection, addressId: number): void {
    const { announced } = this.planOf(connection);
    const at = announced.findIndex((address) => address.id === addressId);
    if (at >= 0) announced.splice(at, 1);
  }

  noteRemoved(subflow: Subflow): void {
    const { localAddress, remoteAddress, remotePort } = subflow.tuple;
    this.planOf(subflow.connection).removed.push({ local: localAddress, remote: remoteAddress, remotePort });
  }

  /** By hand: whatever the plan says. */
  join(
    connection: MptcpConnection,
    local: LocalAddress,
    remote: Uint8Array,
    remotePort: number,
    backup: boolean,
    nowMs: number,
  ): Subflow | undefined {
    const ipVersion = local.bytes.length === 4 ? 4 : 6;
    const localPort = this.allocatePort(local.bytes, remote, remotePort);
    const tuple = { ipVersion, localAddress: local.bytes, localPort, remoteAddress: remote, remotePort } as const;
    const subflow = this.engine.join(connection, tuple, local.device, this.idOn(connection, local), nowMs);
    if (subflow !== undefined) subflow.localBackup = backup;
    return subflow;
  }

  /** RFC 8684 (3.4.1): the address of the initial subflow has id 0. */
  idOn(connection: MptcpConnection, local: LocalAddress): number {
    return equalAddress(local.bytes, connection.tuple.localAddress) ? 0 : local.id;
  }

  /** Of the address that a peer's join has come to; undefined: none of ours. */
  localAddressId(connection: MptcpConnection, address: Uint8Array): number | undefined {
    const local = this.addresses.find(address);
    return local === undefined ? undefined : this.idOn(connection, local);
  }

  /** To where the connection went first; when that is of another family, to what was announced. */
  private joinFrom(connection: MptcpConnection, plan: ConnectionPlan, local: LocalAddress, nowMs: number): void {
    const { remoteAddress, remotePort } = connection.tuple;
    const initial = { id: 0, bytes: remoteAddress, port: remotePort };
    const mayUseInitial = remoteAddress.length === local.bytes.length && !connection.remoteDeniesJoinInitial;
    const remote = mayUseInitial ? initial : plan.announced.find((address) => address.bytes.length === local.bytes.length);
    if (remote !== undefined) this.joinTo(connection, plan, local, remote, nowMs);
  }

  private joinTo(connection: MptcpConnection, plan: ConnectionPlan, local: LocalAddress, remote: RemoteAddress, nowMs: number): void {
    if (local.bytes.length !== remote.bytes.length) return;
    const remotePort = remote.port === 0 ? connection.tuple.remotePort : remote.port;
    if (connection.subflows.filter((subflow) => subflow.role === 'join-client').length >= this.limits.subflows) return;
    if (connection.subflows.some((subflow) => isBetween(subflow, local.bytes, remote.bytes))) return;
    const removed = plan.removed.some((pair) => equalAddress(pair.local, local.bytes) && equalAddress(pair.remote, remote.bytes));
    if (!removed) this.join(connection, local, remote.bytes, remotePort, local.backup, nowMs);
  }

  private planOf(connection: MptcpConnection): ConnectionPlan {
    let plan = this.plans.get(connection);
    if (plan === undefined) {
      plan = { announced: [], removed: [], told: new Set(), withdrawn: [] };
      this.plans.set(connection, plan);
    }
    return plan;
  }
}

function isBetween(subflow: Subflow, local: Uint8Array, remote: Uint8Array): boolean {
  return equalAddress(subflow.tuple.localAddress, local) && equalAddress(subflow.tuple.remoteAddress, remote);
}
