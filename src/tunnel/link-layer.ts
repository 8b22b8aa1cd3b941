/** The link layer (link.ts) over UDP: sockets, sessions and paths put together, driven by readiness and one timer. */

import { randomBytes } from 'node:crypto';
import type { NativeAddon, OpenTableHandle } from '../tun/native.js';
import { CARRIER_TIMES, type CarrierTimes } from './carrier/carrier-choice.js';
import { type ResolvedEndpoint, resolveEndpoint } from './carrier/endpoint.js';
import { readInterfaces } from './carrier/interface-info.js';
import { serverCertificate } from './carrier/server-certificate.js';
import { createTransportLoader, type LoadTransport, Transports } from './carrier/transports.js';
import type { Uplink } from './carrier/uplink.js';
import { isDialled, type PathConfig, type PeerConfig, type TunnelConfig } from './config.js';
import { type DescriptorStore, NO_STORE } from './descriptor-store.js';
import { EndpointWatch } from './endpoint-watch.js';
import type { LinkLayer, LinkObserver, PacketTap, PathChange, PathRestriction, PeerLink } from './link.js';
import { Listeners } from './listeners.js';
import { LinkContext } from './path/link-context.js';
import { PathControl } from './path/path-control.js';
import { Peer } from './path/peer.js';
import { ReceiveLoop } from './path/receive-loop.js';
import { SessionDriver, sessionPeer } from './path/session-driver.js';
import { PathCarriers, portOf } from './path-carriers.js';
import { RelayLinks } from './relay/relay-links.js';
import type { SessionConstants } from './session/constants.js';
import { createSessionEndpoint } from './session/endpoint.js';
import { FEATURE_HEADER_COMPRESSION, FEATURES } from './session/messages.js';
import type { PeerMessage } from './session/slow-control.js';
import type { AeadStatus, RelayPlaceStatus } from './status.js';
import { TunnelError, type TunnelLog } from './tunnel-api.js';
import { Uplinks } from './uplinks.js';

export interface LinkLayerOptions {
  config: TunnelConfig;
  native: NativeAddon;
  log: TunnelLog;
  /** SO_MARK of all outer packets. */
  mark?: number;
  /** Times and limits of the session, shrunk by tests. */
  session?: Partial<SessionConstants>;
  /** Where a peer listens; default: asks the DNS for names. */
  resolve?: (endpoint: string) => Promise<ResolvedEndpoint>;
  /** Where the listening socket outlives the process. */
  descriptors?: DescriptorStore;
  /** See ENDPOINT_PATIENCE_MS. */
  endpointPatienceMs?: number;
  /** See CARRIER_TIMES; shrunk by tests. */
  carrierTimes?: Partial<CarrierTimes>;
  /** Default: the packages that are installed. */
  loadTransport?: LoadTransport;
  /** Default: serverCertificate. */
  certificate?: typeof serverCertificate;
}

export interface CountingLinkLayer extends LinkLayer {
  /** What our handshakes offer, the preferred one first. */
  readonly aeads: readonly AeadStatus[];
  /** Where this side waits to be called. */
  readonly relayPlaces: readonly RelayPlaceStatus[];
  /** Drops, refusals and what else is worth counting, of the link layer, the session and the addon. */
  counters(): Record<string, number>;
}

const RETRY_MS = 3000;
/** A route of the session is peer * MAX_PATHS + path, below those of strangers (session-driver.ts). */
const PEER_IDS = 1 << 18;
/** Of a peer that is to be had by relays alone. */
const NOWHERE: ResolvedEndpoint = { addresses: [], port: 0 };
/** What a client without [[path]] has: whatever way the routing table says. */
const ANY_PATH: PathConfig = { name: 'default', interface: undefined, address: undefined };

export function createLinkLayer(options: LinkLayerOptions): CountingLinkLayer {
  return new UdpLinkLayer(options);
}

class UdpLinkLayer implements CountingLinkLayer {
  readonly aeads: readonly AeadStatus[];
  readonly #config: TunnelConfig;
  readonly #native: NativeAddon;
  readonly #log: TunnelLog;
  readonly #context: LinkContext;
  readonly #table: OpenTableHandle;
  readonly #driver: SessionDriver;
  readonly #control: PathControl;
  readonly #receiveLoop: ReceiveLoop;
  readonly #transports: Transports;
  readonly #carriers: PathCarriers;
  readonly #listeners: Listeners;
  readonly #relays: RelayLinks;
  readonly #uplinks: Uplinks;
  readonly #resolve: (endpoint: string) => Promise<ResolvedEndpoint>;
  readonly #endpointWatch: EndpointWatch;
  /** Initiators whose endpoint is not resolved yet. */
  #unresolved: Peer[];
  #nextPeerId = 0;
  #retryAtMs = Infinity;
  /** Raised by every interface event: what was read before it is stale. */
  #generation = 0;

  constructor({
    config,
    native,
    log,
    mark,
    session,
    descriptors = NO_STORE,
    resolve = resolveEndpoint,
    endpointPatienceMs,
    carrierTimes = {},
    loadTransport: load = createTransportLoader(),
    certificate = serverCertificate,
  }: LinkLayerOptions) {
    this.#config = config;
    this.#native = native;
    this.#log = log;
    this.#context = new LinkContext(native, log);
    for (const peer of config.peers) this.#context.addPeer(new Peer(this.#nextPeerId++, peer));
    this.aeads = measuredAeads(native);
    this.#table = native.createOpenTable();
    this.#driver = new SessionDriver(this.#context, this.#table, this.#createSession(session), randomBytes);
    this.#control = new PathControl(this.#context, this.#driver, this.#table);
    this.#receiveLoop = new ReceiveLoop(this.#context, this.#driver, this.#control, this.#table);
    this.#unresolved = this.#context.peers.filter((peer) => peer.initiator);
    const { receive } = this.#receiveLoop;
    const { privateKey } = config.interface;
    const [context, driver, control] = [this.#context, this.#driver, this.#control];
    this.#transports = new Transports(load);
    const transports = this.#transports;
    this.#listeners = new Listeners({ config: config.interface, native, log, mark, descriptors, transports, certificate, receive });
    for (const peer of context.peers) this.#listeners.addPeer(peer);
    const times = { ...CARRIER_TIMES, ...carrierTimes };
    this.#carriers = new PathCarriers({ context, driver, transports, privateKey, mark, receive, times });
    this.#relays = new RelayLinks({ context, driver, privateKey, relays: config.interface.relays ?? [], mark, receive, resolve });
    const [carriers, relays] = [this.#carriers, this.#relays];
    this.#uplinks = new Uplinks({ context, driver, control, native, mark, receive, carriers, relays });
    this.#makeUplinks();
    this.#resolve = resolve;
    this.#endpointWatch = new EndpointWatch({
      resolve,
      moveOn: (peer, endpoint) => !this.#context.closed && this.#uplinks.moveOn(peer, endpoint, performance.now()),
      log: (message) => log.info(message),
      ...(endpointPatienceMs === undefined ? {} : { patienceMs: endpointPatienceMs }),
    });
    this.#context.onTimer = (nowMs) => this.#handleTimer(nowMs);
    this.#context.onPeerPathsChanged = (peer, nowMs) => {
      this.#driver.updateRoutes(peer, nowMs);
      if (peer.initiator && this.#carriers.isNeeded) this.#context.arm(nowMs);
    };
    this.#context.onSendRefused = (path) => {
      this.#control.tellDown(path);
      // Refused in a flush: what it stages would wait for the next.
      this.#context.flush();
    };
  }

  get peers(): readonly PeerLink[] {
    return this.#context.peers;
  }

  get relayPlaces(): readonly RelayPlaceStatus[] {
    return this.#relays.places;
  }

  addPeer(config: PeerConfig): PeerLink {
    const context = this.#context;
    if (context.closed) throw new TunnelError('closed', 'the tunnel is closing');
    if (context.peers.some(({ name }) => name === config.name)) throw new RangeError(`peer name "${config.name}" is taken`);
    while (context.peer(this.#nextPeerId) !== undefined) this.#nextPeerId = (this.#nextPeerId + 1) % PEER_IDS;
    const peer = new Peer(this.#nextPeerId, config);
    this.#nextPeerId = (this.#nextPeerId + 1) % PEER_IDS;
    this.#driver.add(peer);
    this.#listeners.addPeer(peer);
    if (peer.initiator) {
      this.#unresolved.push(peer);
      this.#makeUplinks();
      this.#retryAtMs = performance.now();
      context.arm(this.#retryAtMs);
    }
    return peer;
  }

  removePeer(link: PeerLink): void {
    const context = this.#context;
    const peer = context.peers.find((one) => one === link);
    if (peer === undefined || context.closed) return;
    this.#control.sendClose(peer);
    context.flush();
    this.#unresolved = this.#unresolved.filter((one) => one !== peer);
    this.#uplinks.forgetPeer(peer);
    this.#listeners.removePeer(peer);
    this.#driver.remove(peer, performance.now());
  }

  sendMessage(link: PeerLink, message: PeerMessage): boolean {
    const peer = this.#context.peers.find((one) => one === link);
    if (peer === undefined || this.#context.closed || !this.#control.sendMessage(peer, message)) return false;
    this.#context.flush();
    return true;
  }

  async start(observer: LinkObserver): Promise<void> {
    this.#context.observer = observer;
    try {
      await this.#loadTransports();
      await this.#listeners.open();
      this.#context.listener = this.#listeners.udp;
      await this.#relays.start();
      const failure = await this.#resolveEndpoints();
      const initiators = this.#context.peers.filter((peer) => peer.initiator);
      // Where paths come by themselves there may be no network yet.
      if (failure !== undefined && this.#unresolved.length === initiators.length && this.#config.autoPaths === undefined) throw failure;
      const interfaces = await readInterfaces();
      for (const uplink of this.#uplinks.all) this.#uplinks.refresh(uplink, interfaces, performance.now());
      for (const peer of this.#context.peers) this.#driver.updateRoutes(peer, performance.now());
      if (this.#config.autoPaths === undefined) this.#requireUplink();
    } catch (error) {
      await this.close();
      throw error;
    }
    for (const uplink of this.#uplinks.all) if (uplink.problem !== '') this.#log.warn(`path ${uplink.config.name}: ${uplink.problem}`);
    this.#scheduleRetry(performance.now());
  }

  flush(): void {
    if (!this.#context.closed) this.#context.flush();
  }

  poll(nowMs: number): void {
    this.#context.drainHeld(nowMs);
  }

  nextTimeoutMs(nowMs: number): number {
    return this.#context.heldDueMs(nowMs);
  }

  setTap(tap: PacketTap | undefined): void {
    this.#context.tap = tap;
  }

  onInterfaceChange(interfaceName: string, up: boolean): void {
    const context = this.#context;
    if (context.closed) return;
    this.#generation++;
    const nowMs = performance.now();
    if (!up) {
      for (const uplink of this.#uplinks.all) {
        if (uplink.standsOn(interfaceName)) this.#uplinks.lose(uplink, `interface "${interfaceName}" is down`, nowMs);
      }
      this.#scheduleRetry(nowMs);
      return;
    }
    void this.#reread((uplink) => uplink.standsOn(interfaceName));
  }

  async addPath(config: PathConfig): Promise<string> {
    this.#requireClient();
    const uplink = this.#uplinks.add(config, performance.now());
    await this.#resolveRelays();
    const interfaces = await readInterfaces();
    const nowMs = performance.now();
    if (this.#context.closed || !this.#uplinks.all.includes(uplink)) return uplink.problem;
    // An interface event meanwhile has its own reading, and looks at this uplink too.
    this.#uplinks.refresh(uplink, interfaces, nowMs);
    for (const peer of this.#context.peers) this.#driver.updateRoutes(peer, nowMs);
    this.#scheduleRetry(nowMs);
    this.#handleTimer(nowMs);
    return uplink.problem;
  }

  get pathConfigs(): readonly PathConfig[] {
    return this.#uplinks.all.map(({ config }) => config);
  }

  removePath(name: string): void {
    this.#requireClient();
    this.#uplinks.remove(name, performance.now());
    this.#handleTimer(performance.now());
  }

  changePath(name: string, change: PathChange): void {
    this.#requireClient();
    this.#uplinks.change(name, change, performance.now());
    this.#handleTimer(performance.now());
  }

  restrictPath(name: string, restriction: PathRestriction, reason: string): void {
    this.#requireClient();
    const uplink = this.#uplinks.restrict(name, restriction, reason, performance.now());
    this.#handleTimer(performance.now());
    // Its sockets may be opened again.
    if (restriction !== 'off') void this.#reread((one) => one === uplink);
  }

  counters(): Record<string, number> {
    return {
      ...this.#context.counters,
      ...this.#driver.counters,
      ...this.#native.receiveCounters(this.#table),
      ...this.#transports.counters(),
    };
  }

  async close(): Promise<void> {
    const context = this.#context;
    if (context.closed) return;
    for (const peer of context.peers) this.#control.sendClose(peer);
    context.flush();
    context.closed = true;
    context.disarm();
    this.#driver.close();
    this.#listeners.close();
    this.#carriers.close();
    this.#relays.close();
    this.#uplinks.close();
    await this.#transports.close();
    this.#native.closeOpenTable(this.#table);
  }

  #requireClient(): void {
    if (this.#context.peers.some((peer) => peer.initiator)) return;
    throw new TunnelError('no-client', 'No peer has an endpoint here: its paths are those that the other side has.');
  }

  /** Those of the configuration, once somebody is to be dialled. */
  #makeUplinks(): void {
    if (this.#unresolved.length === 0 || this.#uplinks.all.length > 0) return;
    const usesAnyPath = this.#config.paths.length === 0 && this.#config.autoPaths === undefined;
    const configs = usesAnyPath ? [ANY_PATH] : this.#config.paths;
    for (const path of configs) this.#uplinks.add(path, performance.now());
  }

  #createSession(overrides: Partial<SessionConstants> | undefined) {
    const options = {
      privateKey: this.#config.interface.privateKey,
      peers: this.#context.peers.map(sessionPeer),
      aeads: this.aeads,
      features: this.#config.stream.headerCompression === false ? FEATURES & ~FEATURE_HEADER_COMPRESSION : FEATURES,
      randomBytes: (count: number) => randomBytes(count),
      wallClockMs: Date.now(),
      nowMs: performance.now(),
    };
    return createSessionEndpoint(options, overrides);
  }

  /** Of those kinds that a path of ours must, or may, go over. Rejects with TunnelError `carrier-missing` where it must. */
  async #loadTransports(): Promise<void> {
    for (const kind of ['quic', 'webtransport'] as const) {
      if (!this.#config.peers.some((peer) => isDialled(peer) && portOf(peer, kind) !== undefined)) continue;
      const must = this.#config.paths.some(({ carrier }) => carrier === kind);
      const may = this.#config.paths.length === 0 || this.#config.paths.some(({ carrier = 'auto' }) => carrier === 'auto');
      if (!must && !may) continue;
      try {
        await this.#transports.require(kind);
      } catch (error) {
        if (must || !(error instanceof TunnelError)) throw error;
        this.#log.warn(error.message);
      }
    }
  }

  /** Finds the relays of our paths. The last failure, if any. */
  async #resolveRelays(): Promise<TunnelError | undefined> {
    let failure: TunnelError | undefined;
    for (const relay of this.#uplinks.unknownRelays) {
      try {
        const places = await this.#resolve(relay);
        if (!this.#context.closed) this.#uplinks.setRelay(relay, places, performance.now());
      } catch (error) {
        if (!(error instanceof TunnelError)) throw error;
        failure = error;
        for (const peer of this.#context.peers) if (peer.config.dialledByRelay === true) peer.lastError = error.message;
      }
    }
    return failure;
  }

  /** Makes the paths of peers whose endpoint is known now. The last failure, if any. */
  async #resolveEndpoints(): Promise<TunnelError | undefined> {
    let failure = await this.#resolveRelays();
    for (const peer of [...this.#unresolved]) {
      try {
        const { endpoint: written } = peer.config;
        const endpoint = written === undefined ? NOWHERE : await this.#resolve(written);
        if (this.#context.closed) return undefined;
        // It may have gone meanwhile.
        if (!this.#unresolved.includes(peer)) continue;
        this.#uplinks.setEndpoint(peer, endpoint, performance.now());
        this.#unresolved = this.#unresolved.filter((one) => one !== peer);
      } catch (error) {
        if (!(error instanceof TunnelError)) throw error;
        failure = error;
        peer.lastError = error.message;
      }
    }
    return failure;
  }

  #requireUplink(): void {
    const { all } = this.#uplinks;
    if (all.length === 0 || all.some((uplink) => uplink.problem === '')) return;
    const reasons = all.map((uplink) => `${uplink.config.name}: ${uplink.problem}`).join('; ');
    throw new TunnelError('no-path', `No path can be used. ${reasons}.`);
  }

  /** Reads the interfaces and looks at the uplinks that `concerns` picks, or that wait for something. */
  async #reread(concerns: (uplink: Uplink) => boolean): Promise<void> {
    const generation = this.#generation;
    const interfaces = await readInterfaces();
    if (this.#context.closed || generation !== this.#generation) return;
    const nowMs = performance.now();
    for (const uplink of this.#uplinks.all) {
      if (!concerns(uplink) && !this.#uplinks.waits(uplink)) continue;
      this.#uplinks.refresh(uplink, interfaces, nowMs);
      if (!concerns(uplink)) continue;
      for (const peer of this.#context.peers) peer.path(uplink.index)?.machine.probeSoon();
    }
    for (const peer of this.#context.peers) this.#driver.updateRoutes(peer, nowMs);
    this.#scheduleRetry(nowMs);
    this.#handleTimer(nowMs);
  }

  #scheduleRetry(nowMs: number): void {
    const isLost = this.#uplinks.unknownRelays.length > 0 || this.#relays.needsRetry(nowMs);
    const wanted = this.#unresolved.length > 0 || isLost || this.#uplinks.all.some((uplink) => this.#uplinks.waits(uplink));
    if (!wanted) this.#retryAtMs = Infinity;
    else if (this.#retryAtMs === Infinity) this.#retryAtMs = nowMs + RETRY_MS;
    this.#context.arm(this.#retryAtMs);
  }

  async #retry(): Promise<void> {
    if (this.#unresolved.length > 0) await this.#resolveEndpoints();
    else await this.#resolveRelays();
    if (!this.#context.closed) await this.#relays.retry();
    const resolved = this.#context.peers.filter((peer) => peer.initiator && !this.#unresolved.includes(peer));
    if (!this.#context.closed) await this.#endpointWatch.look(resolved, performance.now());
    if (!this.#context.closed) await this.#reread(() => false);
    // An interface event may have made that void: it has its own.
    if (!this.#context.closed) this.#scheduleRetry(performance.now());
  }

  #handleTimer(nowMs: number): void {
    const context = this.#context;
    if (context.closed) return;
    this.#driver.handleTimeout(nowMs);
    this.#carriers.handleTimeout(nowMs);
    this.#relays.handleTimeout(nowMs);
    for (const peer of context.peers) {
      for (const path of peer.paths) this.#control.handleTimeout(path, nowMs);
    }
    context.flush();
    for (const peer of context.peers) {
      for (const path of peer.paths) context.arm(path.nextTimeoutMs(nowMs));
    }
    if (nowMs >= this.#retryAtMs) {
      this.#retryAtMs = Infinity;
      void this.#retry();
    } else {
      this.#scheduleRetry(nowMs);
    }
  }
}

/** The fastest first. */
function measuredAeads(native: NativeAddon): AeadStatus[] {
  const { aes256gcmNs, aes256gcmEngine, chacha20Poly1305Ns, chacha20Poly1305Engine } = native.measureAead();
  const aeads: AeadStatus[] = [
    { name: 'aes-256-gcm', engine: aes256gcmEngine, sealNs: aes256gcmNs },
    { name: 'chacha20-poly1305', engine: chacha20Poly1305Engine, sealNs: chacha20Poly1305Ns },
  ];
  return aeads.sort((a, b) => a.sealNs - b.sealNs);
}
