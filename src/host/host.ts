/**
 * A host that speaks MPTCP on packet devices, for programs: `connect` and `listen` give Node streams, and everything that `ip mptcp` and `ss` let
 * one see and set on a kernel can be seen and set here. The engine is `MptcpHost`; this drives it and decides which subflows there are.
 */

import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { CongestionControlFactory } from '../mptcp-over-udp/congestion/congestion-control.js';
import type { MptcpConnection } from '../mptcp-over-udp/mptcp/connection.js';
import { MptcpHost } from '../mptcp-over-udp/mptcp/host.js';
import type { AnnouncedAddress } from '../mptcp-over-udp/mptcp/path-signals.js';
import type { Subflow } from '../mptcp-over-udp/mptcp/subflow.js';
import type { Scheduler } from '../mptcp-over-udp/scheduler/scheduler.js';
import type { SegmentSink } from '../mptcp-over-udp/segment-sink.js';
import { cutSegments } from '../mptcp-over-udp/wire/cut-segments.js';
import { congestionControlNamed, schedulerNamed } from './algorithms.js';
import { Driver } from './driver.js';
import { equalAddress, formatEndpoint, requireAddress, requirePort } from './endpoint-text.js';
import { HostError } from './host-error.js';
import { connectionEvent, type HostEvent, subflowEvent } from './host-events.js';
import { Listener, type ListenOptions } from './listener.js';
import { type AddressOptions, LocalAddresses } from './local-addresses.js';
import { MptcpSocket, type MptcpSocketOptions, type SocketHost, type SubflowOptions, type SubflowSelector } from './mptcp-socket.js';
import type { PacketDevice } from './packet-device.js';
import { PathManager, type PathManagerLimits } from './path-manager.js';
import { openTunDevice } from './tun-device.js';

const DEFAULT_MTU_BYTES = 1500;
const FIRST_EPHEMERAL_PORT = 32_768;
const EPHEMERAL_PORTS = 28_232;
/** `close` lets finished connections close their subflows for so long. */
const CLOSE_PATIENCE_MS = 500;
const DEFAULT_LIMITS: PathManagerLimits = { subflows: 7, acceptedAddresses: 7 };

export interface DeviceOptions {
  /** A TUN by name, or any packet device. The host closes it. */
  device: string | PacketDevice;
  /** The host's addresses on it. */
  addresses: readonly (string | Omit<AddressOptions, 'device'>)[];
  mtuBytes?: number;
}

export interface HostOptions {
  devices: readonly DeviceOptions[];
  /** A name, or one of your own; default ecf. */
  scheduler?: string | Scheduler;
  /** Default bbr. */
  congestionControl?: string | CongestionControlFactory;
  limits?: Partial<PathManagerLimits>;
  /** Ask for DSS checksums (net.mptcp.checksum_enabled); default false. */
  checksum?: boolean;
  /** Tell peers not to join to the initial address and port (net.mptcp.allow_join_initial_addr_port = 0); default false. */
  denyJoinInitial?: boolean;
  /** An ADD_ADDR that is not echoed is repeated after this (net.mptcp.add_addr_timeout). */
  announceTimeoutMs?: number;
  /**
   * Give TCP Fast Open cookies, and take the data of SYNs that carry one (RFC 7413; net.ipv4.tcp_fastopen = 2); default false. Such data may reach
   * `onConnection` twice, where a SYN was repeated on its way: only for requests that may be answered twice. 'early-answers': on MPTCP connections, too,
   * answers go before the third ACK, which saves a round trip more; for clients that are known not to be Linux, which falls back to plain TCP then.
   */
  fastOpen?: boolean | 'early-answers';
  /** How `resetAndDestroy` tells the peer (RFC 8684, 3.5): MP_FASTCLOSE on RSTs (default), or on an ACK, repeated until the peer's RST. */
  abortForm?: 'reset' | 'ack';
  /** Find out by probes what a path carries when large packets vanish on it (RFC 8899; net.ipv4.tcp_mtu_probing = 1); default true. */
  mtuSearch?: boolean;
}

export interface ConnectOptions {
  host: string;
  port: number;
  /** Default: the first address of the same family. */
  localAddress?: string;
  localPort?: number;
  /** Default true: our side stays open after the peer's has ended. */
  allowHalfOpen?: boolean;
  /** Default mptcp; tcp asks for none of it. */
  protocol?: 'mptcp' | 'tcp';
  /**
   * TCP Fast Open: ask the peer for a cookie, and once there is one, send what is written in the same turn along with the SYN, which saves a round trip.
   * Only for data that may arrive twice (RFC 7413, 2.1). Default false.
   */
  fastOpen?: boolean;
}

export interface HostEventMap {
  /** Every event; each is also emitted under its own name. */
  event: [event: HostEvent];
}

/** Opens the devices. Throws HostError, with nothing left open. */
export function createHost(options: HostOptions): Host {
  return new Host(options);
}

export class Host extends EventEmitter implements SocketHost {
  readonly addresses = new LocalAddresses();
  private readonly devices: PacketDevice[] = [];
  private readonly engine: MptcpHost;
  private readonly driver: Driver;
  private readonly paths: PathManager;
  private readonly sockets = new Map<MptcpConnection, MptcpSocket>();
  private readonly ports = new Map<number, Listener>();
  private nextPort = FIRST_EPHEMERAL_PORT + Math.floor(Math.random() * EPHEMERAL_PORTS);
  /** Finished for their owners; the engine closes their subflows. */
  private readonly leaving = new Set<MptcpConnection>();
  private inBatch = false;
  private closing: Promise<void> | undefined;

  constructor(options: HostOptions) {
    super();
    const { scheduler = 'ecf', congestionControl = 'bbr' } = options;
    this.engine = new MptcpHost({
      sink: this.sink,
      randomBytes: (count) => randomBytes(count),
      scheduler: typeof scheduler === 'string' ? schedulerNamed(scheduler) : scheduler,
      checksum: options.checksum ?? false,
      denyJoinInitial: options.denyJoinInitial ?? false,
      abortForm: options.abortForm ?? 'reset',
      mtuSearch: options.mtuSearch ?? true,
      fastOpen: (options.fastOpen ?? false) !== false,
      fastOpenEarlyAnswers: options.fastOpen === 'early-answers',
      ...(options.announceTimeoutMs === undefined ? {} : { announceTimeoutMs: options.announceTimeoutMs }),
      congestionControl: typeof congestionControl === 'string' ? congestionControlNamed(congestionControl) : congestionControl,
      events: {
        onIncoming: (connection, nowMs) => this.handleIncoming(connection, nowMs),
        onJoinsDue: (connection, nowMs) => this.paths.planJoins(connection, nowMs),
        onSubflowEstablished: (connection, subflow) => {
          const socket = this.sockets.get(connection);
          if (socket !== undefined) socket.subflowCount++;
          this.report(subflowEvent('sub_established', subflow));
        },
        onAnnounced: (connection, address, nowMs) => this.handleAnnounced(connection, address, nowMs),
        onRemoved: (connection, addressIds) => this.handleRemoved(connection, addressIds),
        onPriority: (_connection, subflow) => this.report(subflowEvent('sub_priority', subflow)),
        localAddressId: (connection, address) => this.paths.localAddressId(connection, address),
        onSubflowClosed: (_connection, subflow, reason) => {
          if (subflow.confirmed) this.report(subflowEvent('sub_closed', subflow, { reason }));
        },
      },
    });
    this.paths = new PathManager(this.engine, this.addresses, { ...DEFAULT_LIMITS, ...options.limits }, (local, remote, port) =>
      this.freePort(local, remote, port),
    );
    this.driver = new Driver(this.engine);
    try {
      for (const device of options.devices) this.addDevice(device);
    } catch (error) {
      this.driver.close();
      for (const device of this.devices) device.close?.();
      throw error;
    }
  }

  // ---- connections ----

  /** The stream can be written to at once; 'connect' says when the handshake is done, 'error' when it failed. */
  connect(options: ConnectOptions): MptcpSocket {
    this.requireOpen();
    const remoteAddress = requireAddress(options.host, 'host');
    const remotePort = requirePort(options.port, 'port');
    const local =
      options.localAddress === undefined
        ? this.addresses.all.find((address) => address.bytes.length === remoteAddress.length)
        : this.addresses.require(options.localAddress);
    if (local === undefined || local.bytes.length !== remoteAddress.length) {
      throw new HostError('EADDRNOTAVAIL', `the host has no address to reach ${options.host} from (${this.addresses.text()})`);
    }
    const localPort =
      options.localPort === undefined ? this.freePort(local.bytes, remoteAddress, remotePort) : requirePort(options.localPort, 'localPort');
    const ipVersion = local.bytes.length === 4 ? 4 : 6;
    const tuple = { ipVersion, localAddress: local.bytes, localPort, remoteAddress, remotePort } as const;
    // The engine wants the handler first, the socket wants the connection: nothing calls back before the next poll.
    const { fastOpen = false, allowHalfOpen = true } = options;
    const connection = this.engine.connect(tuple, local.device, NO_HANDLER, performance.now(), { fastOpen });
    const socket = this.makeSocket(connection, { allowHalfOpen, writesEarly: fastOpen }, () => undefined);
    if (options.protocol === 'tcp') usePlainTcp(connection);
    this.report(connectionEvent('created', connection, { serverSide: false }));
    this.wake();
    return socket;
  }

  /** Accepts on this port of every address, or of one. `onConnection` gets established connections. */
  listen(port: number, onConnection: (socket: MptcpSocket) => void, options: ListenOptions = {}): Listener {
    this.requireOpen();
    requirePort(port, 'port');
    if (this.ports.has(port)) throw new HostError('EADDRINUSE', `port ${port} is in use on this host`);
    const address = options.address === undefined ? undefined : this.addresses.require(options.address).bytes;
    const listener = new Listener(port, address, options, onConnection, () => this.ports.delete(port));
    this.ports.set(port, listener);
    return listener;
  }

  get connections(): MptcpSocket[] {
    return [...this.sockets.values()];
  }

  /** What the engine counted, by name. */
  get counters(): Readonly<Record<string, number>> {
    return this.engine.counters;
  }

  // ---- addresses and paths ----

  /** From now on connections may use it, those that are open too. */
  addAddress(options: AddressOptions): void {
    if (this.devices[options.device ?? 0] === undefined) throw new RangeError(`device must be below ${this.devices.length}`);
    const added = this.addresses.add(options);
    for (const connection of this.sockets.keys()) {
      this.paths.noteAdded(connection, added);
      if (connection.peerProved) this.paths.planJoins(connection, performance.now());
    }
    this.wake();
  }

  /** The subflows from it are reset, the peers told by REMOVE_ADDR. */
  removeAddress(address: string): void {
    const bytes = requireAddress(address, 'address');
    const removed = this.addresses.find(bytes);
    if (removed === undefined) throw new HostError('EADDRNOTAVAIL', `${address} is none of this host's addresses`);
    for (const socket of this.connections) {
      this.withdraw(socket, address);
    }
    this.addresses.remove(bytes);
    this.wake();
  }

  /** A device that is known to be dead (false) is not sent on, and what went over it goes over others. */
  setDeviceUsable(device: number, usable: boolean): void {
    this.engine.paths.setUsable(device, usable, performance.now());
    this.wake();
  }

  // ---- for sockets ----

  wake(): void {
    // Within a batch of a device its end polls.
    if (!this.inBatch) this.driver.wake();
  }

  addSubflow(socket: MptcpSocket, options: SubflowOptions): void {
    const { tuple } = socket.connection;
    const local = this.addresses.require(options.localAddress);
    const remote = options.remoteAddress === undefined ? tuple.remoteAddress : requireAddress(options.remoteAddress, 'remoteAddress');
    const remotePort = options.remotePort === undefined ? tuple.remotePort : requirePort(options.remotePort, 'remotePort');
    if (remote.length !== local.bytes.length) throw new TypeError('localAddress and remoteAddress must be of one family');
    if (this.paths.join(socket.connection, local, remote, remotePort, options.backup ?? local.backup, performance.now()) === undefined) {
      throw new HostError('ENOTSUP', 'no subflow can be added: the connection is not (or no longer) MPTCP, or has enough of them');
    }
    this.wake();
  }

  removeSubflow(socket: MptcpSocket, selector: SubflowSelector): void {
    const subflow = this.selectSubflow(socket, selector);
    this.paths.noteRemoved(subflow);
    socket.connection.dropSubflow(subflow, performance.now());
    this.wake();
  }

  setBackup(socket: MptcpSocket, selector: SubflowSelector, backup: boolean): void {
    this.selectSubflow(socket, selector).setBackup(backup);
    this.wake();
  }

  announce(socket: MptcpSocket, address: string): void {
    this.paths.announce(socket.connection, this.addresses.require(address), performance.now());
    this.wake();
  }

  withdraw(socket: MptcpSocket, address: string): void {
    this.paths.withdraw(socket.connection, this.addresses.require(address), performance.now());
    this.wake();
  }

  /** Resets what is open, closes the devices. */
  close(): Promise<void> {
    this.closing ??= this.closeOnce();
    return this.closing;
  }

  private async closeOnce(): Promise<void> {
    for (const listener of this.ports.values()) listener.refuse();
    for (const socket of this.connections) socket.resetAndDestroy();
    this.driver.run();
    // Connections that have exchanged all data still close their subflows: a reset now would be for nothing.
    const deadlineMs = performance.now() + CLOSE_PATIENCE_MS;
    while ([...this.leaving].some(isStillClosing) && performance.now() < deadlineMs) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    this.driver.close();
    for (const device of this.devices) device.close?.();
    await Promise.all(this.connections.map((socket) => socket.whenClosed));
  }

  // ---- packets ----

  private readonly sink: SegmentSink = {
    sendSegments: (pathId, header, headerBytes, payload, payloadOffset, payloadBytes, segmentBytes) => {
      const device = this.devices[pathId];
      if (device === undefined) return;
      if (device.sendSegments !== undefined) {
        device.sendSegments(header, headerBytes, payload, payloadOffset, payloadBytes, segmentBytes);
        return;
      }
      cutSegments(header, headerBytes, payload, payloadOffset, payloadBytes, segmentBytes, (packet, length) =>
        device.send(packet.subarray(0, length)),
      );
    },
  };

  private addDevice(options: DeviceOptions): void {
    const device = typeof options.device === 'string' ? openTunDevice({ name: options.device }) : options.device;
    const id = this.devices.length;
    this.devices.push(device);
    for (const address of options.addresses) {
      this.addresses.add({ ...(typeof address === 'string' ? { address } : address), device: id });
    }
    this.engine.paths.set({
      id,
      localAddress: this.addresses.all.find((address) => address.device === id)?.bytes ?? new Uint8Array(4),
      remoteAddress: new Uint8Array(4),
      usable: true,
      rttMs: 0,
      mtuBytes: options.mtuBytes ?? DEFAULT_MTU_BYTES,
      memory: { minRttMs: -1, bandwidthBytesPerSec: 0 },
    });
    const hasBatches = device.onBatchEnd !== undefined;
    device.onPacket((packet, offset = 0, length = packet.length, segmentBytes = 0) => {
      this.inBatch = hasBatches;
      this.handlePacket(packet, offset, length, segmentBytes > 0, id);
      if (!hasBatches) this.driver.wake();
    });
    device.onBatchEnd?.(() => {
      this.inBatch = false;
      this.driver.run();
    });
  }

  private handlePacket(packet: Uint8Array, offset: number, length: number, coalesced: boolean, device: number): void {
    if (length < 20) return;
    const isV4 = (packet[offset] as number) >> 4 === 4;
    // What is for others is not ours to refuse.
    if (isV4 ? !this.addresses.holds(packet, offset + 16, 4) : length < 40 || !this.addresses.holds(packet, offset + 24, 16)) return;
    this.engine.handlePacket(packet, offset, length, coalesced, device, performance.now());
  }

  // ---- from the engine ----

  private handleIncoming(connection: MptcpConnection, nowMs: number): void {
    const { localAddress, localPort } = connection.tuple;
    const listener = this.ports.get(localPort);
    if (listener === undefined || !listener.takes(localAddress)) {
      connection.reject(true, nowMs);
      return;
    }
    if (listener.options.protocol === 'tcp') usePlainTcp(connection);
    const { allowHalfOpen = true } = listener.options;
    this.makeSocket(connection, { allowHalfOpen, writesEarly: false }, (socket) => listener.deliver(socket));
    connection.accept();
  }

  private handleAnnounced(connection: MptcpConnection, announced: AnnouncedAddress, nowMs: number): void {
    const { addressId, address, port } = announced;
    this.report(
      connectionEvent('announced', connection, {
        addressId,
        remoteAddress: formatEndpoint(address),
        remotePort: port === 0 ? connection.tuple.remotePort : port,
      }),
    );
    this.paths.noteAnnounced(connection, { id: addressId, bytes: address, port }, nowMs);
  }

  private handleRemoved(connection: MptcpConnection, addressIds: Uint8Array): void {
    for (const addressId of addressIds) {
      this.report(connectionEvent('removed', connection, { addressId }));
      this.paths.noteWithdrawn(connection, addressId);
    }
  }

  private makeSocket(connection: MptcpConnection, options: MptcpSocketOptions, established: (socket: MptcpSocket) => void): MptcpSocket {
    const serverSide = connection.role === 'server';
    const socket = new MptcpSocket(
      connection,
      this,
      {
        onEstablished: () => {
          if (serverSide) this.report(connectionEvent('created', connection, { serverSide }));
          this.report(connectionEvent('established', connection, { serverSide, fallback: connection.fallback }));
          established(socket);
        },
        onClosed: (_socket, reason) => {
          this.sockets.delete(connection);
          if (!connection.closed) this.noteLeaving(connection);
          this.report(connectionEvent('closed', connection, { reason, fallback: connection.fallback }));
        },
      },
      options,
    );
    connection.setHandler(socket);
    this.sockets.set(connection, socket);
    return socket;
  }

  private noteLeaving(connection: MptcpConnection): void {
    for (const other of this.leaving) if (other.closed) this.leaving.delete(other);
    this.leaving.add(connection);
  }

  private report(event: HostEvent): void {
    this.emit('event', event);
    this.emit(event.name, event);
  }

  private selectSubflow(socket: MptcpSocket, selector: SubflowSelector): Subflow {
    const found = socket.connection.subflows.find(
      ({ tuple }) =>
        (selector.localAddress === undefined || formatEndpoint(tuple.localAddress) === selector.localAddress) &&
        (selector.localPort === undefined || tuple.localPort === selector.localPort) &&
        (selector.remoteAddress === undefined || formatEndpoint(tuple.remoteAddress) === selector.remoteAddress) &&
        (selector.remotePort === undefined || tuple.remotePort === selector.remotePort),
    );
    if (found === undefined) throw new HostError('ENOENT', 'the connection has no such subflow');
    return found;
  }

  private freePort(local: Uint8Array, remote: Uint8Array, remotePort: number): number {
    for (let tries = 0; tries < EPHEMERAL_PORTS; tries++) {
      this.nextPort = this.nextPort + 1 < FIRST_EPHEMERAL_PORT + EPHEMERAL_PORTS ? this.nextPort + 1 : FIRST_EPHEMERAL_PORT;
      if (!this.isTaken(local, this.nextPort, remote, remotePort)) return this.nextPort;
    }
    throw new HostError('EADDRNOTAVAIL', `no free port to ${formatEndpoint(remote)} port ${remotePort}`);
  }

  private isTaken(local: Uint8Array, localPort: number, remote: Uint8Array, remotePort: number): boolean {
    if (this.ports.has(localPort)) return true;
    for (const connection of this.sockets.keys()) {
      for (const { tuple } of connection.subflows) {
        if (tuple.localPort !== localPort || tuple.remotePort !== remotePort) continue;
        if (equalAddress(tuple.localAddress, local) && equalAddress(tuple.remoteAddress, remote)) return true;
      }
    }
    return false;
  }

  private requireOpen(): void {
    if (this.closing !== undefined) throw new HostError('ECANCELED', 'the host is closed');
  }
}

function isStillClosing(connection: MptcpConnection): boolean {
  return !connection.closed && connection.subflows.some((subflow) => subflow.state !== 'time-wait');
}

function usePlainTcp(connection: MptcpConnection): void {
  const subflow = connection.subflows[0];
  if (subflow !== undefined && !connection.fallback) connection.fallbackState.start(subflow);
}

const NO_HANDLER = {
  onEstablished: () => undefined,
  onData: () => 0,
  onEnd: () => undefined,
  onWritable: () => undefined,
  onClosed: () => undefined,
};
