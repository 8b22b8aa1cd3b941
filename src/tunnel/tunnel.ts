/** The composition root: device, planes, link layer and host network put together and driven by readiness and one fine timer. */

import { HostNetwork } from '../tun/host-network.js';
import { createLinkWatch, type LinkWatch } from '../tun/link-watch.js';
import { mptcpFault } from '../tun/mptcp-path-manager.js';
import { loadNative, type NativeAddon } from '../tun/native.js';
import { literalAddress } from './carrier/endpoint.js';
import type { PathConfig, PeerConfig, RuleConfig, TunnelConfig } from './config.js';
import type { ConnectionPage, ConnectionQuery } from './connections.js';
import { type DescriptorStore, NO_STORE } from './descriptor-store.js';
import { EventHub, type TunnelEventListener } from './event-hub.js';
import type { TunnelEvent, TunnelOccurrence } from './events.js';
import { type EgressPolicy, egressPolicyOf } from './gateway/egress-policy.js';
import { familiesOf, GatewayNetwork, gatewaySettings } from './gateway/gateway-network.js';
import type { LimitedPeer } from './gateway/peer-limits.js';
import type { InnerDevice } from './inner-device.js';
import type { PacketTap, PathChange, PathLink, PeerLink } from './link.js';
import { LinkEvents } from './link-events.js';
import { type CountingLinkLayer, createLinkLayer } from './link-layer.js';
import { NativeMptcp, ownAddresses } from './native-mptcp.js';
import { PeerMessages } from './peer-messages.js';
import { peerStatus } from './peer-status.js';
import { Readiness } from './readiness.js';
import { applyConfig, withPolicyOf } from './reconfigure.js';
import { RulesInForce } from './rules-in-force.js';
import type { PeerMessage } from './session/slow-control.js';
import type { TunnelStatus } from './status.js';
import { Trailing } from './trailing.js';
import { openTun, TunPort } from './tun-port.js';
import { type Reconfigured, type StartTunnel, type StartTunnelOptions, type Tunnel, TunnelError } from './tunnel-api.js';
import { type LinkChanges, TunnelDriver } from './tunnel-driver.js';
import { TunnelPaths } from './tunnel-paths.js';
import { TunnelPeers } from './tunnel-peers.js';
import { createPlanes } from './tunnel-planes.js';
import { requireNoDevice, type TunnelHost, UNTOUCHED_HOST } from './user/untouched-host.js';
import type { UserNetwork } from './user/user-network.js';
import { UserSpace } from './user/user-space.js';
import { outerResolve, relaysOf, wholeHostPlan } from './whole-host.js';

const FLOW_SWEEP_MS = 5_000;
/** Between two looks at what other programs have done to the host's network, while much is going on there. */
const HOST_REFRESH_MS = 500;
/**
 * Of the daemon's thread. Where all CPUs are busy, one that reads the datagrams which we write into the TUN is woken by the first of them, but would wait for the end of our slice, while
 * its socket's buffer (some 90 datagrams of 1200 bytes) overflows; with a slice longer than its own it runs at once.
 */
const TIME_SLICE_MICROSECONDS = 10_000;

/** Throws TunnelError or HostNetworkError, with nothing left behind. */
export const startTunnel: StartTunnel = async (options) => {
  const tunnel = new RunningTunnel(options);
  try {
    await tunnel.start();
  } catch (error) {
    await tunnel.close();
    throw error;
  }
  return tunnel;
};

class RunningTunnel implements Tunnel, LinkChanges {
  /** As applied last. */
  private config: TunnelConfig;
  private readonly events: EventHub;
  private readonly linkEvents: LinkEvents;
  private readonly native: NativeAddon;
  private readonly descriptors: DescriptorStore;
  private readonly hostNetwork: TunnelHost;
  private readonly startedMs = performance.now();
  private egress: EgressPolicy;
  private port: InnerDevice | undefined;
  private userSpace: UserSpace | undefined;
  private rules: RulesInForce | undefined;
  private watch: LinkWatch | undefined;
  private readonly refresh = new Trailing(
    HOST_REFRESH_MS,
    () => void this.hostNetwork.refresh().catch((error: Error) => this.events.log.warn(error.message)),
  );
  private nativeMptcp: NativeMptcp | undefined;
  private gateway: GatewayNetwork | undefined;
  private sweep: NodeJS.Timeout | undefined;
  private readonly driver: TunnelDriver = new TunnelDriver(this);
  private readonly known: TunnelPeers;
  private readonly messages: PeerMessages;
  private readonly paths: TunnelPaths;
  private state: TunnelStatus['state'] = 'starting';
  private closing: Promise<void> | undefined;
  private readonly readiness = new Readiness({
    peers: () => this.peers,
    endpointOf: ({ name }) => this.config.peers.find((peer) => peer.name === name)?.endpoint ?? relaysOf(this.config)[0]?.endpoint,
  });

  constructor({ config, log, descriptors = NO_STORE }: StartTunnelOptions) {
    this.config = config;
    this.descriptors = descriptors;
    this.events = new EventHub(log);
    this.linkEvents = new LinkEvents(this.events, (peer, path) => this.driver.streams?.bench(peer, path.id, performance.now()));
    this.native = loadNative();
    this.hostNetwork =
      config.interface.device === 'none' ? UNTOUCHED_HOST : new HostNetwork({ warn: (message) => this.events.log.warn(message) });
    this.egress = egressPolicyOf(config);
    this.known = new TunnelPeers({
      parts: this.driver,
      config: () => this.config,
      events: this.events,
      host: this.hostNetwork,
      onChange: () => this.gateway?.peersChanged(),
      wake: () => this.driver.wake(),
    });
    this.messages = new PeerMessages({
      peers: () => this.peers,
      send: (peer, message) => this.sendMessage(peer, message),
      permits: (address) => this.config.egress !== undefined && this.egress.permits(address),
      user: () => this.user,
      isClosing: () => this.closing !== undefined,
    });
    this.paths = new TunnelPaths({
      device: config.interface.name,
      link: () => this.startedLink,
      peers: () => this.peers,
      events: this.events,
      addUplink: (name) => this.hostNetwork.addUplink(name),
      drive: () => this.driver.drive(performance.now()),
    });
  }

  get peers(): readonly PeerLink[] {
    return this.known.all;
  }

  async start(): Promise<void> {
    const { config } = this;
    this.port = await this.openDevice();
    const { mark } = await this.hostNetwork.apply({
      device: config.interface.name,
      addresses: config.interface.addresses,
      mtuBytes: config.interface.mtuBytes,
      routes: config.peers.flatMap((peer) => [...peer.allowedIps]),
      // Beside automatic paths an interface may come later.
      uplinks: config.autoPaths !== undefined ? [] : config.paths.flatMap((path) => (path.interface === undefined ? [] : [path.interface])),
      outerAddresses: [...config.peers, ...relaysOf(config)].flatMap(({ endpoint }) => literalAddress(endpoint)),
      answersByTunnel: config.peers.some((peer) => peer.acceptForwards === true),
      ...wholeHostPlan(config),
    });
    const { native, descriptors } = this;
    const resolve = outerResolve(config, native, mark, () => this.paths.links);
    const link = createLinkLayer({
      config,
      native,
      descriptors,
      log: this.events.log,
      ...(mark === 0 ? {} : { mark }),
      ...(resolve && { resolve }),
    });
    this.driver.link = link;
    this.known.begin(config.peers);
    this.rules = this.makeRules(this.port);
    await this.rules.apply(config.rules ?? []);
    const { streams } = this.makePlanes(this.port, this.rules);
    this.known.beginLimits();
    this.userSpace?.start(streams, (message) => this.messages.sendToGateway(message));
    this.startNativeMptcp();
    this.driver.start(native, this.known.limits);
    await link.start(this.driver);
    this.port.start({
      onPacket: this.driver.handleTunPacket,
      onBatchEnd: (nowMs) => this.driver.drive(nowMs),
      onFailure: (errno) => this.handleTunFailure(errno),
    });
    await this.startGateway();
    this.paths.setAuto(config.autoPaths, config.paths);
    this.watch = createLinkWatch(
      (name, up) => {
        link.onInterfaceChange(name, up);
        this.driver.drive(performance.now());
      },
      (links) => {
        this.paths.handleLinks(links);
        this.warnOfOverlap();
      },
      () => this.refresh.soon(),
    );
    this.paths.watch();
    this.known.watch();
    this.native.requestTimeSlice(TIME_SLICE_MICROSECONDS);
    this.sweep = setInterval(() => this.driver.datagrams?.handleTimeout(performance.now()), FLOW_SWEEP_MS);
    this.state = 'up';
    this.events.emit({ type: 'tunnel', state: 'started', name: config.interface.name });
  }

  /** The TUN, or none where the configuration wants none. */
  private async openDevice(): Promise<InnerDevice> {
    const { config } = this;
    if (config.interface.device !== 'none') {
      await this.known.checkRoutes(config);
      return new TunPort(this.native, openTun(this.native, config.interface.name, this.descriptors));
    }
    requireNoDevice(config);
    this.userSpace = new UserSpace(config, () => this.driver.wake());
    return this.userSpace.device;
  }

  get user(): UserNetwork | undefined {
    return this.userSpace?.network;
  }

  async ready(timeoutMs: number): Promise<void> {
    await this.readiness.wait(timeoutMs);
    this.events.emit({ type: 'tunnel', state: 'ready', name: this.config.interface.name });
  }

  connections(query: ConnectionQuery): ConnectionPage {
    return this.driver.streams?.connections(query, performance.now()) ?? { total: 0, connections: [] };
  }

  onEvent(listener: TunnelEventListener): () => void {
    return this.events.listen(listener);
  }

  report(occurrence: TunnelOccurrence): void {
    this.events.emit(occurrence);
  }

  get recentEvents(): readonly TunnelEvent[] {
    return this.events.recent;
  }

  status(): TunnelStatus {
    const nowMs = performance.now();
    const { linkEvents } = this;
    const { link, streams, datagrams } = this.driver;
    const { rates, budgets } = this.paths;
    const { totals, refusedSources, limits } = this.known;
    const peers = this.peers
      .filter((peer) => !peer.enrolling)
      .map((peer) => peerStatus(peer, { rates, linkEvents, streams, budgets, totals, refusedSources, limits }, nowMs));
    return {
      name: this.config.interface.name,
      state: this.state,
      pid: process.pid,
      uptimeMs: Math.round(nowMs - this.startedMs),
      peers,
      connections: peers.reduce((sum, peer) => sum + peer.connections, 0),
      ...(datagrams && { datagrams: { flows: datagrams.flowsByMode(), resequencing: datagrams.resequencing } }),
      ...(link !== undefined && link.relayPlaces.length > 0 && { relays: link.relayPlaces }),
      ...(link && { aeads: link.aeads }),
      counters: {
        ...link?.counters(),
        ...streams?.allCounters(),
        ...datagrams?.counters,
        ...this.rules?.counters,
        ...this.port?.counters,
        ...this.userSpace?.counters,
        droppedByPeerLimit: limits.droppedPackets,
      },
    };
  }

  addPeer(config: PeerConfig): Promise<void> {
    return this.known.add(config);
  }

  removePeer(name: string): Promise<boolean> {
    return this.known.remove(name);
  }

  setMessageHandler(handler: (peer: PeerLink, message: PeerMessage) => void): void {
    this.messages.handler = handler;
  }

  sendMessage(peer: PeerLink, message: PeerMessage): boolean {
    return this.driver.link?.sendMessage(peer, message) ?? false;
  }

  setTap(tap: PacketTap | undefined): void {
    this.driver.link?.setTap(tap);
  }

  addPath(path: PathConfig): Promise<string> {
    return this.paths.add(path);
  }

  removePath(name: string): void {
    this.paths.remove(name);
  }

  changePath(name: string, change: PathChange): void {
    this.paths.change(name, change);
  }

  changePeer(name: string, change: LimitedPeer): void {
    this.known.change(name, change);
  }

  async reconfigure(config: TunnelConfig): Promise<Reconfigured> {
    if (config.interface.name !== this.config.interface.name)
      throw new TunnelError('other-tunnel', `The file is that of tunnel ${config.interface.name} now: restart to change the name.`);
    await this.known.checkRoutes(config);
    const result = await applyConfig(
      {
        paths: this.paths.explicit,
        addPath: (path) => this.addPath(path),
        removePath: (name) => this.removePath(name),
        changePath: (name, change) => this.changePath(name, change),
        setAutoPaths: (auto, explicit) => this.paths.setAuto(auto, explicit),
        setRules: (rules) => this.setRules(rules),
        setEgressPolicy: () => {
          this.egress = egressPolicyOf(config);
        },
        peers: this.known.configs,
        addPeer: (peer) => this.known.admit(peer),
        removePeer: (name) => this.removePeer(name),
        limitPeer: (peer) => this.known.limit(peer),
        setGateway: async (settings) => this.gateway?.setSettings(settings),
      },
      this.config,
      config,
    );
    // What waits for a restart is not forgotten: the next comparison names it again.
    const { paths, autoPaths, forwards } = config;
    const rules = result.left.some((line) => line.startsWith('[[rule]]')) ? this.config.rules : config.rules;
    const egress = withPolicyOf(this.config.egress, config.egress);
    const optional = { ...(autoPaths && { autoPaths }), ...(rules && { rules }), ...(forwards && { forwards }) };
    this.config = { ...withoutOptional(this.config), paths, egress, ...optional };
    return result;
  }

  close(reason?: string): Promise<void> {
    this.closing ??= this.closeOnce(reason);
    return this.closing;
  }

  // ---- from the link layer ----

  onPathChange(peer: PeerLink, path: PathLink, nowMs: number): void {
    this.linkEvents.handlePathChange(peer, path);
    // The streams of one that leaves are gone.
    if (peer !== this.known.leaving) this.driver.streams?.handlePathChange(peer, path, nowMs);
    if (peer.initiator && path.state === 'up') this.nativeMptcp?.notePath(path.name, path.backup);
    else if (peer.initiator) this.nativeMptcp?.noteBackup(path.name, path.backup);
  }

  onPathRemoved(peer: PeerLink, path: PathLink, nowMs: number): void {
    this.linkEvents.handlePathRemoved(peer, path);
    if (peer.initiator) this.paths.handleRemoved(path);
    this.driver.streams?.handlePathRemoved(peer, path, nowMs);
    this.driver.datagrams?.handlePathRemoved(peer, path);
    if (peer.initiator) this.nativeMptcp?.noteRemoved(path.name);
  }

  onPeerChange(peer: PeerLink, _nowMs: number): void {
    this.linkEvents.handlePeerChange(peer);
    if (peer.state !== 'up') this.driver.datagrams?.handlePeerDown(peer);
    this.readiness.handlePeerChange();
  }

  onMessage(peer: PeerLink, message: PeerMessage): void {
    this.messages.handle(peer, message);
  }

  // ---- planes and rules ----

  private makeRules(port: InnerDevice): RulesInForce {
    return new RulesInForce({
      device: this.config.interface.name,
      addresses: this.config.interface.addresses,
      lanInterfaces: this.config.lan?.interfaces ?? [],
      native: this.native,
      tables: () => this.hostNetwork.tables,
      makeBypassable: () => this.hostNetwork.makeBypassable(),
      deliver: (packet, segmentBytes) => port.writePacket(packet, 0, packet.length, segmentBytes),
      warn: (message) => this.events.log.warn(message),
    });
  }

  /** Flows under way go by them from their next packet on, connections over the paths that they name; which plane they are in stays. */
  private async setRules(rules: readonly RuleConfig[]): Promise<void> {
    const { rules: inForce } = this;
    const { datagrams, streams } = this.driver;
    if (inForce === undefined || datagrams === undefined || streams === undefined) return;
    await inForce.apply(rules);
    datagrams.setRules(rules);
    datagrams.dns.listener = inForce.hasDomains ? inForce : undefined;
    streams.handleRulesChange(performance.now());
  }

  private makePlanes(port: InnerDevice, rules: RulesInForce) {
    const planes = createPlanes({
      config: this.config,
      port,
      rules,
      peers: this.known,
      permitsDestination: (destination) => this.egress.permits(destination),
      onPathBenched: (peer, path, reason) => this.linkEvents.handleBenched(peer, path, reason),
      wake: () => this.driver.wake(),
    });
    Object.assign(this.driver, planes);
    return planes;
  }

  private startNativeMptcp(): void {
    const { nativeMptcpAddresses: extra } = this.config.interface;
    if (extra === undefined) return;
    const fault = mptcpFault();
    if (fault !== '') {
      this.events.log.warn(`native_mptcp has no effect: ${fault}`);
      return;
    }
    this.nativeMptcp = new NativeMptcp({
      own: ownAddresses(this.config.interface),
      extra,
      kernel: this.hostNetwork.pathAddresses(),
      onAssigned: (pathNames) => this.driver.datagrams?.setSubflowAddresses(pathNames),
      warn: (message) => this.events.log.warn(message),
    });
  }

  private warnOfOverlap(): void {
    this.known.routeNews().then(
      (message) => message !== undefined && this.closing === undefined && this.events.emit({ type: 'warning', message }),
      (error: Error) => this.events.log.warn(`networks of this host: ${error.message}`),
    );
  }

  private get startedLink(): CountingLinkLayer {
    const { link } = this.driver;
    if (link === undefined || this.closing !== undefined) throw new TunnelError('not-running', 'The tunnel is not up: try again.');
    return link;
  }

  // ---- beginning and end ----

  private async startGateway(): Promise<void> {
    const { config, hostNetwork } = this;
    if (config.interface.device === 'none') return;
    this.gateway = new GatewayNetwork({
      device: config.interface.name,
      host: hostNetwork,
      families: familiesOf(config),
      peers: () => this.known.configs,
      warn: (message) => this.events.emit({ type: 'warning', message }),
    });
    await this.gateway.setSettings(gatewaySettings(config));
  }

  private handleTunFailure(errno: number): void {
    this.events.log.warn(`the device ${this.config.interface.name} failed (errno ${errno}); was it deleted?`);
  }

  private async closeOnce(reason: string | undefined): Promise<void> {
    this.state = 'stopping';
    this.driver.stop();
    this.events.emit({ type: 'tunnel', state: 'stopping', name: this.config.interface.name, ...(reason === undefined ? {} : { reason }) });
    this.linkEvents.close();
    clearInterval(this.sweep);
    await this.paths.close();
    await this.known.close();
    this.watch?.close();
    this.refresh.close();
    this.rules?.close();
    this.userSpace?.close();
    this.driver.close();
    await this.driver.link?.close();
    await this.nativeMptcp?.close();
    await this.gateway?.close();
    await this.hostNetwork.undo();
    this.port?.close();
  }
}

function withoutOptional({ autoPaths: _, rules: __, forwards: ___, ...config }: TunnelConfig): TunnelConfig {
  return config;
}
