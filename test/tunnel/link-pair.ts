/** A client with two paths and a server, both in this process, over addresses of loopback; what arrives can be kept from either of them. */

import { createSocket } from 'node:dgram';
import { publicKeyOf } from '../../src/crypto/x25519.js';
import { loadNative, type NativeAddon, RX_ADDRESS, RX_DESCRIPTOR_INTS, RX_KIND, RX_KIND_RAW, RX_PATH_ID } from '../../src/tun/native.js';
import type { PathConfig, PeerConfig, TunnelConfig } from '../../src/tunnel/config.js';
import type { LinkObserver, PathLink, PathState, PeerLink } from '../../src/tunnel/link.js';
import { type CountingLinkLayer, createLinkLayer } from '../../src/tunnel/link-layer.js';
import type { SessionConstants } from '../../src/tunnel/session/constants.js';

export const KEYS = {
  client: new Uint8Array(32).fill(0x41),
  server: new Uint8Array(32).fill(0x42),
  stranger: new Uint8Array(32).fill(0x43),
};
export const TEST_PATHS: readonly PathConfig[] = [
  { name: 'dsl', interface: undefined, address: '127.0.0.2' },
  { name: 'lte', interface: undefined, address: '127.0.0.3' },
];

export interface Received {
  plane: 'stream' | 'datagram';
  pathId: number;
  bytes: Uint8Array;
  segmentBytes: number;
}

/** Keeps what it is told. */
export class Recorder implements LinkObserver {
  readonly packets: Received[] = [];
  readonly pathStates: { pathId: number; state: PathState; remote: string; atMs: number }[] = [];
  readonly removedIds: number[] = [];
  peerStates: string[] = [];
  count = 0;
  bytes = 0;
  keep = true;

  onStreamPacket(_peer: PeerLink, path: PathLink, bytes: Uint8Array, offset: number, length: number, segmentBytes: number): void {
    this.count++;
    this.bytes += length;
    if (this.keep) this.packets.push({ plane: 'stream', pathId: path.id, bytes: bytes.slice(offset, offset + length), segmentBytes });
  }

  onDatagramPacket(_peer: PeerLink, path: PathLink, bytes: Uint8Array, offset: number, length: number): void {
    this.count++;
    this.bytes += length;
    if (this.keep) this.packets.push({ plane: 'datagram', pathId: path.id, bytes: bytes.slice(offset, offset + length), segmentBytes: 0 });
  }

  onPathChange(_peer: PeerLink, path: PathLink, nowMs: number): void {
    this.pathStates.push({ pathId: path.id, state: path.state, remote: path.remote, atMs: nowMs });
  }

  onPathRemoved(_peer: PeerLink, path: PathLink): void {
    this.removedIds.push(path.id);
  }

  onPeerChange(peer: PeerLink): void {
    this.peerStates.push(peer.state);
  }

  onBatchEnd(): void {}

  statesOf(pathId: number): PathState[] {
    const states = this.pathStates.filter((change) => change.pathId === pathId).map((change) => change.state);
    return states.filter((state, i) => state !== states[i - 1]);
  }
}

/** The addon with a sieve behind `receive`: what `drop` picks never came. The tunnel's own work is real. */
export function sieve(native: NativeAddon, drop: (pathId: number, isRaw: boolean, address: Uint8Array) => boolean): NativeAddon {
  const receive: NativeAddon['receive'] = (udp, table, arena, descriptors, addresses, rounds) => {
    const count = native.receive(udp, table, arena, descriptors, addresses, rounds);
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const base = i * RX_DESCRIPTOR_INTS;
      const at = descriptors[base + RX_ADDRESS]! * 48;
      if (drop(descriptors[base + RX_PATH_ID]!, descriptors[base + RX_KIND] === RX_KIND_RAW, addresses.subarray(at, at + 48))) continue;
      descriptors.copyWithin(kept * RX_DESCRIPTOR_INTS, base, base + RX_DESCRIPTOR_INTS);
      kept++;
    }
    return count > 0 && kept === 0 ? 0 : count > 0 ? kept : count;
  };
  return Object.create(native, { receive: { value: receive } }) as NativeAddon;
}

export async function freePort(): Promise<number> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(resolve));
  return port;
}

export function config(
  own: Uint8Array,
  peer: Uint8Array,
  role: { listenPort?: number; endpoint?: string; paths?: readonly PathConfig[] },
): TunnelConfig {
  return {
    interface: { name: 'mpt0', privateKey: own, addresses: [], listenPort: role.listenPort, mtuBytes: 1500 },
    paths: role.paths ?? [],
    peers: [{ name: 'other', publicKey: publicKeyOf(peer), presharedKey: undefined, endpoint: role.endpoint, allowedIps: [] }],
    egress: undefined,
    stream: { scheduler: 'min-rtt', congestionControl: 'bbr', steer: 'aggregate' },
  };
}

export interface Side {
  layer: CountingLinkLayer;
  observer: Recorder;
  peer: PeerLink;
}

export const SILENT_LOG = { info: () => {}, warn: () => {} };

export async function startSide(
  tunnelConfig: TunnelConfig,
  native: NativeAddon = loadNative(),
  session: Partial<SessionConstants> = {},
): Promise<Side> {
  const layer = createLinkLayer({ config: tunnelConfig, native, log: SILENT_LOG, session });
  const observer = new Recorder();
  await layer.start(observer);
  return { layer, observer, peer: layer.peers[0]! };
}

export interface Pair {
  client: Side;
  server: Side;
  port: number;
  close(): Promise<void>;
}

export interface PairOptions {
  clientNative?: NativeAddon;
  serverNative?: NativeAddon;
  paths?: readonly PathConfig[];
}

export async function startPair({ clientNative, serverNative, paths = TEST_PATHS }: PairOptions = {}): Promise<Pair> {
  const port = await freePort();
  const server = await startSide(config(KEYS.server, KEYS.client, { listenPort: port }), serverNative);
  const client = await startSide(config(KEYS.client, KEYS.server, { endpoint: `127.0.0.1:${port}`, paths }), clientNative);
  const pair: Pair = {
    client,
    server,
    port,
    // Of the sides that are there then: a test may start another one.
    close: async () => {
      await pair.client.layer.close();
      await pair.server.layer.close();
    },
  };
  return pair;
}

/** Waits for what the event loop brings about; rejects, naming it, when it does not come. */
export async function until(what: string, holds: () => boolean, timeoutMs = 5000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export async function allUp(pair: Pair): Promise<void> {
  const up = (side: Side) => side.peer.paths.length === 2 && side.peer.paths.every((path) => path.state === 'up');
  await until('all paths up on both sides', () => up(pair.client) && up(pair.server));
}

/** One of many, each with a key and an address of its own. */
export function numberedPeer(index: number, more: Partial<PeerConfig> = {}): PeerConfig {
  const secret = new Uint8Array(32).fill(7);
  new DataView(secret.buffer).setUint32(8, index + 1);
  return {
    name: `peer-${index}`,
    publicKey: publicKeyOf(secret),
    presharedKey: undefined,
    endpoint: undefined,
    allowedIps: [`10.78.${index >> 8}.${index & 255}/32`],
    ...more,
  };
}

/** An IPv4 packet that carries `number` behind its header. */
export function numberedPacket(number: number, bytes = 100): Uint8Array {
  const packet = new Uint8Array(bytes);
  packet[0] = 0x45;
  new DataView(packet.buffer).setUint16(2, bytes);
  packet[8] = 64;
  packet[9] = 253;
  new DataView(packet.buffer).setUint32(20, number);
  return packet;
}

export function numberOf(packet: Uint8Array): number {
  return new DataView(packet.buffer, packet.byteOffset).getUint32(20);
}

export function sendNumbered(path: PathLink, number: number, bytes = 100): boolean {
  return path.sendPacket(numberedPacket(number, bytes), 0, bytes, 0, 0, 0, 0);
}
