/**
 * For collections.test.ts: a million packets through the data plane's JavaScript, real link layers on loopback below, and how often the collector ran. Prints JSON.
 *
 *   node --min-semi-space-size=1 --max-semi-space-size=1 collections-actor.js datagram|stream PACKETS
 */

import { randomBytes } from 'node:crypto';
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { createBbr } from '../../src/mptcp-over-udp/congestion/bbr.js';
import type { MptcpConnection } from '../../src/mptcp-over-udp/mptcp/connection.js';
import { MptcpHost } from '../../src/mptcp-over-udp/mptcp/host.js';
import type { MptcpHostEvents } from '../../src/mptcp-over-udp/mptcp/host-options.js';
import { createEcf } from '../../src/mptcp-over-udp/scheduler/ecf.js';
import { emitIpHeader, patchIpLength } from '../../src/mptcp-over-udp/wire/ip-header.js';
import { loadNative } from '../../src/tun/native.js';
import { AllowedIps } from '../../src/tunnel/gateway/allowed-ips.js';
import type { LinkObserver, PathLink, PeerLink } from '../../src/tunnel/link.js';
import { type CountingLinkLayer, createLinkLayer } from '../../src/tunnel/link-layer.js';
import { DatagramPlane } from '../../src/tunnel/planes/datagram-plane.js';
import { BulkPeer } from '../sim/bulk-peer.js';
import { config, freePort, KEYS, SILENT_LOG, TEST_PATHS, until } from './link-pair.js';

/** Large, so that what a turn of the event loop costs does not count. */
const BATCH = 256;
const MOST_ON_THE_WAY = 1024;
const FLOWS = 16;
const WARM_UP_SHARE = 0.2;

interface Collections {
  minor: number;
  major: number;
}

/** Counts from now on; the observer is told on later turns of the event loop. */
function watchCollections(): () => Promise<Collections> {
  const counts: Collections = { minor: 0, major: 0 };
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind } = (entry as unknown as { detail: { kind: number } }).detail;
      if (kind === constants.NODE_PERFORMANCE_GC_MINOR) counts.minor++;
      if (kind === constants.NODE_PERFORMANCE_GC_MAJOR) counts.major++;
    }
  });
  observer.observe({ entryTypes: ['gc'] });
  return async () => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    observer.disconnect();
    return counts;
  };
}

class Side implements LinkObserver {
  readonly layer: CountingLinkLayer;
  onStream: LinkObserver['onStreamPacket'] = () => {};
  onDatagram: LinkObserver['onDatagramPacket'] = () => {};
  onEnd: (nowMs: number) => void = () => {};

  constructor(own: Uint8Array, other: Uint8Array, role: Parameters<typeof config>[2]) {
    this.layer = createLinkLayer({ config: config(own, other, role), native: loadNative(), log: SILENT_LOG });
  }

  get peer(): PeerLink {
    return this.layer.peers[0]!;
  }

  get isUp(): boolean {
    return this.peer.paths.length === TEST_PATHS.length && this.peer.paths.every((path) => path.state === 'up');
  }

  onStreamPacket(...packet: Parameters<LinkObserver['onStreamPacket']>): void {
    this.onStream(...packet);
  }

  onDatagramPacket(
    peer: PeerLink,
    path: PathLink,
    bytes: Uint8Array,
    offset: number,
    length: number,
    nowMs: number,
    segmentBytes: number,
  ): void {
    this.onDatagram(peer, path, bytes, offset, length, nowMs, segmentBytes);
  }

  onPathChange(): void {}
  onPathRemoved(): void {}
  onPeerChange(): void {}
  onBatchEnd(nowMs: number): void {
    this.onEnd(nowMs);
  }
}

async function startSides(): Promise<{ client: Side; server: Side }> {
  const port = await freePort();
  const server = new Side(KEYS.server, KEYS.client, { listenPort: port });
  const client = new Side(KEYS.client, KEYS.server, { endpoint: `127.0.0.1:${port}`, paths: TEST_PATHS });
  await server.layer.start(server);
  await client.layer.start(client);
  await until('both sides up', () => client.isUp && server.isUp);
  return { client, server };
}

/** Small UDP packets of several flows in turn, so that none is joined to another: each is a pass through both planes. */
async function datagrams(total: number): Promise<Record<string, number>> {
  const { client, server } = await startSides();
  let written = 0;
  const planeOf = (side: Side, prefix: string) => {
    const routes = new AllowedIps<PeerLink>();
    routes.add(prefix, side.peer);
    return new DatagramPlane({ routes, ownAddresses: [], writeTun: () => void written++, hashSeed: 1 });
  };
  const [out, into] = [planeOf(client, '198.51.100.0/24'), planeOf(server, '10.77.0.0/24')];
  server.onDatagram = (peer, path, bytes, offset, length, nowMs, segmentBytes) =>
    into.handlePathPacket(peer, path, bytes, offset, length, nowMs, segmentBytes);
  const packets = Array.from({ length: FLOWS }, (_, flow) => udpPacket(flow));
  const arena = new Uint8Array(2048);
  let sent = 0;
  const sendBatch = (): void => {
    const nowMs = performance.now();
    for (let i = 0; i < BATCH; i++) {
      const packet = packets[sent % FLOWS]!;
      arena.set(packet, 16);
      out.handleTunPacket(arena, 16, packet.length, 0, 0, 0, 0, nowMs);
      sent++;
    }
    client.layer.flush();
  };
  /** Until all have arrived, or nothing does for a thousand turns. */
  const drive = (goal: number) =>
    new Promise<void>((resolve) => {
      let idle = 0;
      let before = written;
      const turn = (): void => {
        idle = written > before ? 0 : idle + 1;
        before = written;
        if ((sent >= goal && written === sent) || idle > 1000) {
          resolve();
          return;
        }
        if (sent < goal && sent - written < MOST_ON_THE_WAY) sendBatch();
        setImmediate(turn);
      };
      turn();
    });
  await drive(Math.round(total * WARM_UP_SHARE));
  const [sentBefore, writtenBefore] = [sent, written];
  const finish = watchCollections();
  await drive(sentBefore + total);
  const collections = await finish();
  await client.layer.close();
  await server.layer.close();
  return { ...collections, sent: sent - sentBefore, arrived: written - writtenBefore };
}

function udpPacket(flow: number): Uint8Array {
  const packet = new Uint8Array(100);
  emitIpHeader(packet, 0, 4, Uint8Array.of(10, 77, 0, 2), Uint8Array.of(198, 51, 100, 1), 64, 0, 17);
  packet.set([0x13, 0x88 + flow, 0, 53, 0, 80, 0, 0], 20);
  patchIpLength(packet, 0, packet.length);
  return packet;
}

const SEGMENT_BYTES = 1350;

/** One MPTCP connection with a subflow on each path, sender and receiver in this process. `total` segments, as whole ones. */
async function stream(total: number): Promise<Record<string, number>> {
  const { client, server } = await startSides();
  const [writer, reader] = [new BulkPeer(true), new BulkPeer(false)];
  const onIncoming = (connection: MptcpConnection): void => {
    connection.setHandler(reader);
    connection.accept();
  };
  const [sending, receiving] = [hostOf(client, 1, 2, {}), hostOf(server, 2, 1, { onIncoming })];
  const tuple = {
    ipVersion: 4,
    localAddress: Uint8Array.of(10, 77, 0, 2),
    remoteAddress: Uint8Array.of(198, 51, 100, 1),
    localPort: 40_000,
    remotePort: 80,
  } as const;
  writer.connection = sending.connect(tuple, 0, writer, performance.now());
  sending.poll(performance.now());
  client.layer.flush();
  // The hosts' timers; what arrives drives them by itself.
  const timer = setInterval(() => {
    for (const [host, side] of [
      [sending, client],
      [receiving, server],
    ] as const) {
      host.poll(performance.now());
      side.layer.flush();
    }
  }, 1);
  const readUntil = async (bytes: number): Promise<void> => {
    while (reader.readBytes < bytes) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  await readUntil(total * WARM_UP_SHARE * SEGMENT_BYTES);
  const before = reader.readBytes;
  const finish = watchCollections();
  await readUntil(before + total * SEGMENT_BYTES);
  const collections = await finish();
  clearInterval(timer);
  await client.layer.close();
  await server.layer.close();
  const segments = Math.round((reader.readBytes - before) / SEGMENT_BYTES);
  return { ...collections, sent: segments, arrived: segments };
}

function hostOf(side: Side, near: number, far: number, events: MptcpHostEvents): MptcpHost {
  const host = new MptcpHost({
    sink: {
      sendSegments: (pathId, header, headerBytes, payload, offset, length, segmentBytes) =>
        side.peer.paths[pathId]!.sendSegments(header, headerBytes, payload, offset, length, segmentBytes),
    },
    randomBytes: (count) => randomBytes(count),
    scheduler: createEcf(),
    congestionControl: createBbr,
    events,
  });
  for (const path of side.peer.paths) {
    host.paths.set({
      id: path.id,
      localAddress: Uint8Array.of(100, 127, path.id, near),
      remoteAddress: Uint8Array.of(100, 127, path.id, far),
      usable: true,
      rttMs: Math.max(0, path.rttMs),
      mtuBytes: path.innerMtuBytes,
      memory: { minRttMs: -1, bandwidthBytesPerSec: 0 },
    });
  }
  side.onStream = (_peer, path, bytes, offset, length, segmentBytes, nowMs) =>
    void host.handlePacket(bytes, offset, length, segmentBytes > 0, path.id, nowMs);
  side.onEnd = (nowMs) => host.poll(nowMs);
  return host;
}

const [, , mode, count] = process.argv;
const result = await (mode === 'stream' ? stream : datagrams)(Number(count));
process.stdout.write(`${JSON.stringify(result)}\n`);
