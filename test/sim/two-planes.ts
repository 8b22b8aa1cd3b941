/**
 * Two datagram planes joined by simulated links on a virtual clock. The paths between them are made of the program's own state machine, estimators
 * and acknowledgement schedule; only sealing and sockets are missing. Seeded: a run is repeated by its seed.
 */

import { emitIpHeader, patchIpLength } from '../../src/mptcp-over-udp/wire/ip-header.js';
import { parseIp } from '../../src/tun/ip-prefix.js';
import type { RuleConfig } from '../../src/tunnel/config.js';
import { AllowedIps } from '../../src/tunnel/gateway/allowed-ips.js';
import type { PathLink, PathState, PeerLink } from '../../src/tunnel/link.js';
import { AckSchedule } from '../../src/tunnel/path/ack-schedule.js';
import { DeliveryEstimator } from '../../src/tunnel/path/delivery-estimator.js';
import { PathShaper } from '../../src/tunnel/path/path-shaper.js';
import { PathStateMachine } from '../../src/tunnel/path/path-state.js';
import { RateLimit } from '../../src/tunnel/path/rate-limit.js';
import { ReturnDelay } from '../../src/tunnel/path/return-delay.js';
import { RttEstimator } from '../../src/tunnel/path/rtt-estimator.js';
import { SendStamps } from '../../src/tunnel/path/send-stamps.js';
import { DatagramPlane } from '../../src/tunnel/planes/datagram-plane.js';
import { createPrng } from './prng.js';
import { SimClock } from './sim-clock.js';
import { SimLink, type SimLinkOptions } from './sim-link.js';

export const CLIENT_HOST = '10.77.0.2';
export const SERVER_HOST = '198.51.100.1';
/** Seal, UDP and IPv4 around a packet. */
const WIRE_OVERHEAD_BYTES = 56;
const CONTROL_BYTES = 64;
const NUMBER_AT = 28;
/** State machines and acknowledgements are looked at so often. */
const TICK_MS = 1;

interface Datagram {
  /** other: traffic that is not ours. */
  kind: 'data' | 'ack' | 'probe' | 'reply' | 'other';
  packetNumber: number;
  bytes: Uint8Array;
  /** ack: largest, delay, datagrams, bytes; probe and reply: when the probe left. */
  values: readonly number[];
}

const NOTHING = new Uint8Array(0);

export class SimPath implements PathLink {
  readonly id: number;
  readonly name: string;
  readonly machine: PathStateMachine;
  readonly rtt = new RttEstimator();
  readonly returnDelay = new ReturnDelay();
  readonly delivery = new DeliveryEstimator();
  readonly out: SimLink<Datagram>;
  readonly innerMtuBytes = 1400;
  readonly segmentPayloadBytes = 0;
  readonly local = '';
  readonly remote = '';
  priority = 0;
  backup = false;
  cost = 0;
  rxBytes = 0;
  txBytes = 0;
  /** Packets of the plane that left by here, and the times of each change of state. */
  sentPackets = 0;
  limitDrops = 0;
  onPacket: (bytes: Uint8Array) => void = () => {};
  readonly #clock: SimClock;
  readonly #stamps = new SendStamps();
  readonly #acks = new AckSchedule();
  #packetNumber = 0;
  #dataBytes = 0;
  #passedBytes = 0;
  #shaper: PathShaper | undefined;

  constructor(clock: SimClock, id: number, name: string, out: SimLink<Datagram>) {
    this.#clock = clock;
    this.id = id;
    this.name = name;
    this.out = out;
    this.machine = new PathStateMachine(clock.nowMs);
  }

  get state(): PathState {
    return this.machine.state;
  }
  get stateReason(): string {
    return this.machine.reason;
  }

  get doubtful(): boolean {
    return this.machine.doubtful;
  }
  get rttMs(): number {
    return this.rtt.srttMs;
  }
  get minRttMs(): number {
    return this.rtt.minRttMs;
  }
  get rttvarMs(): number {
    return this.rtt.rttvarMs;
  }
  get returnQueueMs(): number {
    return this.returnDelay.excessMs;
  }
  get lossRatio(): number {
    return this.delivery.lossRatio;
  }
  get deliveryRateBytesPerSec(): number {
    return this.delivery.rateBytesPerSec;
  }
  get deliveredBytes(): number {
    return this.delivery.deliveredBytes;
  }
  get inflightBytes(): number {
    return this.#dataBytes - this.#passedBytes;
  }

  sendSegments(): void {
    throw new Error('the datagram plane has no segments');
  }

  /** 0: no limit. */
  setLimit(bytesPerSec: number): void {
    this.#shaper?.flush(this);
    this.#shaper = bytesPerSec === 0 ? undefined : new PathShaper(new RateLimit(bytesPerSec));
  }

  get limit(): RateLimit | undefined {
    return this.#shaper?.limit;
  }

  get heldMs(): number {
    return this.#shaper?.heldMs ?? 0;
  }

  sendPacket(packet: Uint8Array, offset: number, length: number): boolean {
    const { nowMs } = this.#clock;
    if (this.#shaper?.isClosed(nowMs) !== true) return this.emitPacket(packet, offset, length);
    const held = this.#shaper.hold(packet, offset, length, 0, 0, 0, 0, nowMs);
    if (!held) this.limitDrops++;
    return held;
  }

  emitPacket(packet: Uint8Array, offset: number, length: number): boolean {
    this.limit?.chargeDatagram(length + WIRE_OVERHEAD_BYTES);
    this.sentPackets++;
    this.#dataBytes += length + WIRE_OVERHEAD_BYTES;
    this.#send('data', packet.slice(offset, offset + length), [], true);
    this.machine.noteBusy(this.#clock.nowMs);
    return true;
  }

  receive(datagram: Datagram): void {
    const nowMs = this.#clock.nowMs;
    const { kind, values, bytes } = datagram;
    if (kind === 'other') return;
    this.machine.handleReceived(nowMs);
    this.#acks.handleReceived(datagram.packetNumber, 1, bytes.length + WIRE_OVERHEAD_BYTES, kind === 'data', nowMs);
    if (kind === 'data') {
      this.machine.noteBusy(nowMs);
      this.onPacket(bytes);
    } else if (kind === 'ack') this.#handleAck(values as [number, number, number, number, number], nowMs);
    else if (kind === 'probe') this.#send('reply', NOTHING, values, false);
    else this.#prove(values[0]!, 0, nowMs);
  }

  tick(nowMs: number): void {
    this.machine.handleTimeout(nowMs);
    this.delivery.update(nowMs);
    this.#shaper?.drain(this, nowMs);
    if (this.machine.pollProbe(nowMs)) this.#send('probe', NOTHING, [nowMs], true);
    if (this.#acks.dueMs() > nowMs) return;
    const { largest, largestReceivedMs, receivedDatagrams, receivedBytes } = this.#acks;
    this.#send('ack', NOTHING, [largest, nowMs - largestReceivedMs, receivedDatagrams, receivedBytes, nowMs], false);
    this.#acks.handleAckSent(nowMs);
  }

  #send(kind: Datagram['kind'], bytes: Uint8Array, values: readonly number[], eliciting: boolean): void {
    const nowMs = this.#clock.nowMs;
    const packetNumber = this.#packetNumber++;
    this.#stamps.push(packetNumber, nowMs, this.#dataBytes);
    if (eliciting) this.machine.noteElicitingSent(nowMs);
    this.out.send({ kind, packetNumber, bytes, values }, kind === 'data' ? bytes.length + WIRE_OVERHEAD_BYTES : CONTROL_BYTES);
  }

  #handleAck([largest, delayMs, datagrams, bytes, peerMs]: [number, number, number, number, number], nowMs: number): void {
    const isNews = largest > this.delivery.largestAcked;
    if (!this.delivery.handleAck(largest, datagrams, bytes, nowMs)) return;
    this.returnDelay.handleSample(peerMs, nowMs);
    this.#passedBytes = Math.max(this.#passedBytes, this.#stamps.sentBytes(largest));
    const sentMs = this.#stamps.find(largest);
    if (isNews && sentMs >= 0) this.#prove(sentMs, delayMs, nowMs);
  }

  #prove(sentMs: number, delayMs: number, nowMs: number): void {
    this.rtt.handleSample(nowMs - sentMs, delayMs, nowMs);
    this.machine.setRoundTrip(this.rtt.srttMs, this.rtt.rttvarMs);
    this.machine.handleProof(sentMs, nowMs);
  }
}

export interface PathShape extends SimLinkOptions {
  name?: string;
  priority?: number;
  backup?: boolean;
  cost?: number;
  /** Of both directions. */
  limitBytesPerSec?: number;
}

/** A packet that came out of a TUN. */
export interface Arrival {
  number: number;
  /** UDP destination port. */
  port: number;
  atMs: number;
  delayMs: number;
}

export interface PlaneSide {
  readonly plane: DatagramPlane;
  readonly paths: readonly SimPath[];
  readonly peer: PeerLink;
  readonly arrivals: Arrival[];
  /** ICMP errors and the like, which are no numbered packets. */
  readonly others: Uint8Array[];
  /** Called for each arrival. */
  onArrival: (arrival: Arrival, packet: Uint8Array) => void;
  /** Sends packet `number` from this side's host to the other's. */
  send(number: number, options?: { sourcePort?: number; port?: number; bytes?: number }): void;
}

export interface TwoPlanes {
  readonly clock: SimClock;
  readonly client: PlaneSide;
  readonly server: PlaneSide;
  /** Both directions of a path. */
  cut(pathId: number, cut: boolean): void;
  run(untilMs: number): void;
  /** `count` packets from `side`, evenly, starting now. */
  flow(side: PlaneSide, options: { packetsPerSec: number; seconds: number; port?: number; bytes?: number }): { sent: number };
}

export function createTwoPlanes(options: {
  paths: readonly PathShape[];
  clientRules?: readonly RuleConfig[];
  serverRules?: readonly RuleConfig[];
  seed?: number;
}): TwoPlanes {
  const clock = new SimClock(1000);
  const prng = createPrng(options.seed ?? 1);
  const sentMs = new Map<number, number>();
  const makePaths = (): SimPath[] =>
    options.paths.map((shape, id) => {
      const path = new SimPath(clock, id, shape.name ?? `link${id}`, new SimLink<Datagram>(clock, prng, shape));
      path.priority = shape.priority ?? 0;
      path.backup = shape.backup ?? false;
      path.cost = shape.cost ?? 0;
      path.setLimit(shape.limitBytesPerSec ?? 0);
      return path;
    });
  const clientPaths = makePaths();
  const serverPaths = makePaths();
  clientPaths.forEach((path, i) => {
    path.out.receiver = (datagram) => serverPaths[i]!.receive(datagram);
    serverPaths[i]!.out.receiver = (datagram) => path.receive(datagram);
  });
  const client = makeSide(clock, sentMs, clientPaths, true, options.clientRules);
  const server = makeSide(clock, sentMs, serverPaths, false, options.serverRules);
  const tick = (): void => {
    for (const path of clientPaths) path.tick(clock.nowMs);
    for (const path of serverPaths) path.tick(clock.nowMs);
    clock.schedule(clock.nowMs + TICK_MS, tick);
  };
  tick();
  return {
    clock,
    client,
    server,
    cut: (pathId, cut) => {
      clientPaths[pathId]!.out.blackhole = cut;
      serverPaths[pathId]!.out.blackhole = cut;
    },
    run: (untilMs) => clock.runUntil(untilMs),
    flow: (side, { packetsPerSec, seconds, port = 5004, bytes = 200 }) => {
      const sent = Math.round(packetsPerSec * seconds);
      const startMs = clock.nowMs;
      for (let i = 0; i < sent; i++) {
        clock.schedule(startMs + (i * 1000) / packetsPerSec, () => side.send(i, { port, bytes }));
      }
      return { sent };
    },
  };
}

function makeSide(
  clock: SimClock,
  sentMs: Map<number, number>,
  paths: SimPath[],
  initiator: boolean,
  rules: readonly RuleConfig[] | undefined,
): PlaneSide {
  const [own, other] = initiator ? [CLIENT_HOST, SERVER_HOST] : [SERVER_HOST, CLIENT_HOST];
  const peer: PeerLink = { name: 'peer', publicKey: '', state: 'up', lastError: '', initiator, paths, allowedIps: [], enrolling: false };
  const routes = new AllowedIps<PeerLink>();
  routes.add(`${other}/32`, peer);
  const side: PlaneSide = {
    plane: new DatagramPlane({
      routes,
      ownAddresses: [`${own}/24`],
      hashSeed: initiator ? 7 : 8,
      ...(rules === undefined ? {} : { rules }),
      writeTun: (bytes, offset, length) => deliver(bytes.slice(offset, offset + length)),
    }),
    paths,
    peer,
    arrivals: [],
    others: [],
    onArrival: () => {},
    send: (number, { sourcePort = 40_000, port = 5004, bytes = 200 } = {}) => {
      sentMs.set(keyOf(own, number, port), clock.nowMs);
      const packet = numberedUdp(own, other, sourcePort, port, number, bytes);
      side.plane.handleTunPacket(packet, 0, packet.length, 0, 0, 0, 0, clock.nowMs);
      arm();
    },
  };
  const deliver = (packet: Uint8Array): void => {
    const isLaterFragment = ((packet[6]! << 8) | packet[7]!) & 0x1fff;
    if (packet[9] !== 17 || isLaterFragment) {
      side.others.push(packet);
      return;
    }
    const view = new DataView(packet.buffer, packet.byteOffset);
    const [number, port] = [view.getUint32(NUMBER_AT), view.getUint16(22)];
    const atMs = clock.nowMs;
    const arrival = { number, port, atMs, delayMs: atMs - (sentMs.get(keyOf(other, number, port)) ?? Number.NaN) };
    side.arrivals.push(arrival);
    side.onArrival(arrival, packet);
  };
  let armedMs = Infinity;
  const arm = (): void => {
    const at = side.plane.nextTimeoutMs();
    if (at >= armedMs) return;
    armedMs = at;
    clock.schedule(at, () => {
      armedMs = Infinity;
      side.plane.poll(clock.nowMs);
      arm();
    });
  };
  for (const path of paths) {
    path.onPacket = (bytes) => {
      side.plane.handlePathPacket(peer, path, bytes, 0, bytes.length, clock.nowMs);
      arm();
    };
  }
  return side;
}

const keyOf = (from: string, number: number, port: number): number => (from === CLIENT_HOST ? 0 : 2 ** 48) + port * 2 ** 32 + number;

export function numberedUdp(from: string, to: string, sourcePort: number, port: number, number: number, bytes: number): Uint8Array {
  const packet = new Uint8Array(bytes);
  emitIpHeader(packet, 0, 4, parseIp(from)!, parseIp(to)!, 64, 0, 17);
  const view = new DataView(packet.buffer);
  view.setUint16(20, sourcePort);
  view.setUint16(22, port);
  view.setUint16(24, bytes - 20);
  view.setUint32(NUMBER_AT, number);
  patchIpLength(packet, 0, bytes);
  return packet;
}

/** How many arrived after one with a higher number. */
export function reorderedCount(arrivals: readonly Arrival[]): number {
  let highest = -1;
  let count = 0;
  for (const { number } of arrivals) {
    if (number < highest) count++;
    highest = Math.max(highest, number);
  }
  return count;
}

export function longestGapMs(arrivals: readonly Arrival[]): number {
  let longest = 0;
  for (let i = 1; i < arrivals.length; i++) longest = Math.max(longest, arrivals[i]!.atMs - arrivals[i - 1]!.atMs);
  return longest;
}
