import t from 'tap';
import { foldSum, internetChecksum, pseudoHeaderSum } from '../../../src/mptcp-over-udp/wire/checksum.js';
import { createIcmpError, parseIcmpError } from '../../../src/mptcp-over-udp/wire/icmp.js';
import { createIpPacketFacts, emitIpHeader, parseIpPacket, patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { ACK } from '../../../src/mptcp-over-udp/wire/segment.js';
import { parseIp } from '../../../src/tun/ip-prefix.js';
import { AllowedIps } from '../../../src/tunnel/gateway/allowed-ips.js';
import type { PathLink, PathState, PeerLink } from '../../../src/tunnel/link.js';
import { DatagramPlane } from '../../../src/tunnel/planes/datagram-plane.js';
import { hex, tcpPacket, toHex } from '../../mptcp-over-udp/wire/packets.js';

class FakePath implements PathLink {
  readonly id: number;
  readonly name: string;
  state: PathState = 'up';
  rttMs: number;
  minRttMs = 1;
  lossRatio = 0;
  deliveryRateBytesPerSec = 0;
  doubtful = false;
  readonly stateReason = '';
  rttvarMs = 0;
  returnQueueMs = 0;
  deliveredBytes = 0;
  inflightBytes = 0;
  priority = 0;
  backup = false;
  heldMs = 0;
  cost = 0;
  innerMtuBytes = 1400;
  segmentPayloadBytes = 0;
  local = '';
  remote = '';
  rxBytes = 0;
  txBytes = 0;
  accepts = true;
  sent: { packet: Uint8Array; gso: readonly number[] }[] = [];

  constructor(id: number, rttMs: number) {
    this.id = id;
    this.name = `path${id}`;
    this.rttMs = rttMs;
  }

  sendSegments(): void {
    throw new Error('the datagram plane has no segments');
  }

  sendPacket(packet: Uint8Array, offset: number, length: number, ...gso: number[]): boolean {
    if (this.accepts) this.sent.push({ packet: packet.slice(offset, offset + length), gso });
    return this.accepts;
  }
}

interface Rig {
  plane: DatagramPlane;
  paths: FakePath[];
  peer: PeerLink;
  other: PeerLink;
  tun: Uint8Array[];
  /** Sends into the plane from the TUN at nowMs, in a bigger buffer; returns the path ids that took it. */
  send(packet: Uint8Array, nowMs?: number, gso?: readonly [number, number, number, number]): number[];
  receive(packet: Uint8Array, path: number, nowMs?: number, from?: PeerLink): void;
}

function rig(...rttsMs: number[]): Rig {
  const paths = rttsMs.map((rttMs, id) => new FakePath(id, rttMs));
  const peerOf = (name: string, peerPaths: readonly PathLink[]): PeerLink => ({
    name,
    publicKey: '',
    state: 'up',
    lastError: '',
    initiator: true,
    enrolling: false,
    paths: peerPaths,
    allowedIps: [],
  });
  const peer = peerOf('vps', paths);
  const other = peerOf('other', []);
  const routes = new AllowedIps<PeerLink>();
  routes.add('198.51.100.0/24', peer);
  routes.add('2001:db8::/32', peer);
  routes.add('224.0.0.0/4', peer);
  routes.add('203.0.113.0/24', other);
  const tun: Uint8Array[] = [];
  const plane = new DatagramPlane({
    routes,
    ownAddresses: ['10.77.0.2/24', 'fd77::2/64'],
    writeTun: (packet, offset, length) => tun.push(packet.slice(offset, offset + length)),
    hashSeed: 42,
  });
  const around = (packet: Uint8Array): Uint8Array => {
    const buffer = new Uint8Array(packet.length + 20).fill(0xee);
    buffer.set(packet, 10);
    return buffer;
  };
  return {
    plane,
    paths,
    peer,
    other,
    tun,
    send: (packet, nowMs = 0, gso = [0, 0, 0, 0]) => {
      const before = paths.map((path) => path.sent.length);
      plane.handleTunPacket(around(packet), 10, packet.length, ...gso, nowMs);
      return paths.flatMap((path, i) => Array<number>(path.sent.length - before[i]!).fill(i));
    },
    receive: (packet, path, nowMs = 0, from = peer) => plane.handlePathPacket(from, paths[path]!, around(packet), 10, packet.length, nowMs),
  };
}

interface UdpParts {
  from?: string;
  to?: string;
  ports?: readonly [number, number];
  ttl?: number;
  bytes?: number;
  dontFragment?: boolean;
}

function udp(parts: UdpParts = {}): Uint8Array {
  const [from, to] = [parseIp(parts.from ?? '10.77.0.2')!, parseIp(parts.to ?? '198.51.100.1')!];
  const [sourcePort, destinationPort] = parts.ports ?? [5000, 53];
  const ip = from.length === 4 ? 20 : 40;
  const packet = new Uint8Array(Math.max(parts.bytes ?? 0, ip + 12)).map((_, i) => i);
  emitIpHeader(packet, 0, from.length === 4 ? 4 : 6, from, to, parts.ttl ?? 64, 0, 17);
  if (from.length === 4 && parts.dontFragment !== true) packet.set([0x12, 0x34, 0, 0], 4);
  packet.set(
    [sourcePort >>> 8, sourcePort, destinationPort >>> 8, destinationPort, (packet.length - ip) >>> 8, packet.length - ip, 0, 0],
    ip,
  );
  patchIpLength(packet, 0, packet.length);
  return packet;
}

function icmpIn(packet: Uint8Array): { kind: string; mtuBytes: number; quoted: string; source: string; destination: string } {
  const error = createIcmpError();
  const fault = parseIcmpError(packet, 0, packet.length, error);
  if (fault !== '') throw new Error(fault);
  const facts = createIpPacketFacts();
  parseIpPacket(packet, 0, packet.length, facts);
  const address = (at: number): string => toHex(packet.subarray(at, at + facts.addressBytes));
  return {
    kind: error.kind,
    mtuBytes: error.mtuBytes,
    quoted: toHex(packet.subarray(error.quotedOffset, error.quotedOffset + error.quotedBytes)),
    source: address(facts.sourceAddressOffset),
    destination: address(facts.destinationAddressOffset),
  };
}

t.test('a packet goes to its peer with the hop limit one lower and a right header checksum', async (t) => {
  const { send, paths, plane } = rig(20);
  for (let ttl = 2; ttl < 256; ttl++) {
    t.strictSame(send(udp({ ttl })), [0]);
    const { packet } = paths[0]!.sent.at(-1)!;
    const expected = udp({ ttl: ttl - 1 });
    if (toHex(packet) !== toHex(expected)) t.equal(toHex(packet), toHex(expected), `ttl ${ttl}`);
  }
  t.strictSame(send(udp({ from: 'fd77::2', to: '2001:db8::1', ttl: 9 })), [0]);
  t.equal(toHex(paths[0]!.sent.at(-1)!.packet), toHex(udp({ from: 'fd77::2', to: '2001:db8::1', ttl: 8 })));
  t.equal(plane.counters.txPackets, 255);
});

t.test('a hop limit used up is answered with time exceeded, which quotes the packet as it came', async (t) => {
  const { send, tun, plane } = rig(20);
  for (const ttl of [0, 1]) {
    const lan = udp({ from: '192.168.1.5', ttl });
    t.strictSame(send(lan), []);
    t.match(icmpIn(tun.at(-1)!), { kind: 'time-exceeded', quoted: toHex(lan), source: 'c0000008', destination: 'c0a80105' });
  }
  send(udp({ ttl: 1 }));
  t.equal(icmpIn(tun.at(-1)!).source, 'c0000008', 'our own kernel takes and forwards nothing from its own address: RFC 7600');
  const six = udp({ from: 'fd99::1', to: '2001:db8::1', ttl: 1 });
  send(six);
  t.match(icmpIn(tun.at(-1)!), { kind: 'time-exceeded', quoted: toHex(six), source: toHex(parseIp('fd77::2')!) });
  t.equal(plane.counters.droppedHopLimit, 4);
  t.equal(plane.counters.txPackets, 0);
});

t.test('a destination that no peer has is answered with net unreachable', async (t) => {
  const { send, tun, plane } = rig(20);
  send(udp({ from: '192.168.1.5', to: '192.0.2.1' }));
  t.match(icmpIn(tun[0]!), { kind: 'net-unreachable', source: toHex(parseIp('192.0.2.1')!), destination: 'c0a80105' });
  send(udp({ to: '192.0.2.1' }));
  t.equal(icmpIn(tun[1]!).source, toHex(parseIp('192.0.2.1')!));
  t.equal(plane.counters.droppedNoRoute, 2);
});

t.test('what belongs to a link is not forwarded and not answered', async (t) => {
  const { send, tun, plane } = rig(20);
  const pairs: readonly [string, string][] = [
    ['10.77.0.2', '224.0.0.251'],
    ['10.77.0.2', '255.255.255.255'],
    ['10.77.0.2', '169.254.1.1'],
    ['169.254.1.1', '198.51.100.1'],
    ['10.77.0.2', '127.0.0.1'],
    ['0.0.0.0', '198.51.100.1'],
    ['fe80::1', '2001:db8::1'],
    ['fd77::2', 'ff02::2'],
  ];
  for (const [from, to] of pairs) t.strictSame(send(udp({ from, to })), []);
  t.equal(plane.counters.droppedNotForwardable, pairs.length);
  t.equal(tun.length, 0);
  t.strictSame(send(udp({ to: '239.1.1.1' })), [0], 'multicast beyond the link that is routed to the peer goes');
});

t.test('larger than the path: packet too big with its MTU, for IPv6 and with DF', async (t) => {
  const { send, tun, plane } = rig(20);
  t.strictSame(send(udp({ bytes: 1400, dontFragment: true })), [0]);
  const big = udp({ from: '192.168.1.5', bytes: 1401, dontFragment: true });
  t.strictSame(send(big), []);
  const answer = icmpIn(tun[0]!);
  t.match(answer, { kind: 'packet-too-big', mtuBytes: 1400, source: toHex(big.subarray(16, 20)), destination: 'c0a80105' });
  t.equal(answer.quoted, toHex(big.subarray(0, 548)), 'the hop limit is the one that came');
  send(udp({ from: 'fd77::2', to: '2001:db8::1', bytes: 1401 }));
  t.match(icmpIn(tun[1]!), { kind: 'packet-too-big', mtuBytes: 1400 });
  t.equal(plane.counters.droppedTooBig, 2);
});

t.test('larger than the path without DF: fragmented, the checksum completed before', async (t) => {
  const { send, paths, plane } = rig(20);
  const packet = udp({ bytes: 3000 });
  packet.set([0, 0], 26);
  const pseudo = foldSum(pseudoHeaderSum(packet, 12, 4, 17, 2980));
  packet.set([pseudo >>> 8, pseudo], 26);
  t.strictSame(send(packet, 0, [0, 0, 20, 6]), [0, 0, 0]);
  const payloads = paths[0]!.sent.map(({ packet: fragment }) => {
    t.ok(fragment.length <= 1400);
    t.equal(internetChecksum(fragment, 0, 20), 0);
    t.equal(fragment[8], 63);
    return toHex(fragment.subarray(20));
  });
  const datagram = hex(payloads.join(''));
  t.equal(datagram.length, 2980);
  const header = new Uint8Array(12 + datagram.length);
  header.set(packet.subarray(12, 20));
  header.set([0, 17, 2980 >>> 8, 2980 & 0xff], 8);
  header.set(datagram, 12);
  t.equal(internetChecksum(header, 0, header.length), 0, 'the UDP checksum over the whole datagram holds');
  t.equal(plane.counters.fragmentedPackets, 1);
});

t.test('a super-packet passes with its vnet fields when its segments fit, and is told the MTU when they do not', async (t) => {
  const { send, paths, tun } = rig(20);
  const source = parseIp('10.77.0.2')!;
  const options = hex('0101080a0000000100000002');
  const packet = tcpPacket({ source, destination: parseIp('198.51.100.1')!, flags: ACK, options, payload: new Uint8Array(9000) });
  t.strictSame(send(packet, 0, [1, 1348, 20, 16]), [0]);
  t.strictSame(paths[0]!.sent[0]!.gso, [1, 1348, 20, 16]);
  t.equal(paths[0]!.sent[0]!.packet.length, packet.length);
  t.strictSame(send(packet, 0, [1, 1349, 20, 16]), []);
  t.match(icmpIn(tun[0]!), { kind: 'packet-too-big', mtuBytes: 1400 });
});

t.test('a new flow takes the path with the lowest round trip, loss weighed in, unknown last', async (t) => {
  t.strictSame(rig(30, 20, -1).send(udp()), [1]);
  t.strictSame(rig(-1, 900).send(udp()), [1]);
  t.strictSame(rig(-1, -1).send(udp()), [0]);
  const lossy = rig(30, 20);
  lossy.paths[1]!.lossRatio = 0.1;
  t.strictSame(lossy.send(udp()), [0]);
  const hidden = rig(30, 20, 10);
  hidden.paths[1]!.state = 'suspect';
  hidden.paths[2]!.state = 'probing';
  t.strictSame(hidden.send(udp()), [0]);
});

t.test('a flow stays on its path while that is up, and moves, counted, when it is not', async (t) => {
  const { send, paths, plane } = rig(20, 30);
  t.strictSame(send(udp()), [0]);
  paths[1]!.rttMs = 1;
  t.strictSame(send(udp()), [0], 'a better path does not move it');
  t.strictSame(send(udp({ ports: [5001, 53] })), [1], 'a new flow takes the better path');
  t.equal(plane.counters.flowsMoved, 0);
  paths[0]!.state = 'suspect';
  t.strictSame(send(udp()), [1]);
  t.equal(plane.counters.flowsMoved, 1);
  paths[0]!.state = 'up';
  t.strictSame(send(udp()), [1], 'and stays there');
  t.equal(plane.counters.flowsMoved, 1);
});

t.test('without a path that is up suspects are used; without those it is host unreachable', async (t) => {
  const { send, paths, tun, plane } = rig(20, 30);
  send(udp());
  paths[0]!.state = 'suspect';
  paths[1]!.state = 'suspect';
  paths[1]!.rttMs = 1;
  t.strictSame(send(udp()), [0], 'the flow stays on its suspect path');
  paths[0]!.state = 'down';
  t.strictSame(send(udp()), [1]);
  paths[1]!.state = 'down';
  const lan = udp({ from: '192.168.1.5' });
  t.strictSame(send(lan), []);
  t.match(icmpIn(tun[0]!), { kind: 'host-unreachable', quoted: toHex(lan) });
  t.equal(plane.counters.droppedNoPath, 1);
  paths[0]!.state = 'up';
  t.strictSame(send(udp()), [0]);
});

t.test('what the path refuses is counted', async (t) => {
  const { send, paths, plane } = rig(20);
  paths[0]!.accepts = false;
  send(udp());
  t.match(plane.counters, { txPackets: 0, droppedByPath: 1 });
});

t.test('from the path: only sources that the peer may use, and the hop limit as it came', async (t) => {
  const { receive, tun, plane, other } = rig(20);
  const good = udp({ from: '198.51.100.9', to: '10.77.0.2', ttl: 1 });
  receive(good, 0);
  t.strictSame(tun.map(toHex), [toHex(good)]);
  receive(udp({ from: '192.0.2.1', to: '10.77.0.2' }), 0);
  receive(udp({ from: '203.0.113.1', to: '10.77.0.2' }), 0);
  receive(good, 0, 0, other);
  t.equal(tun.length, 1);
  receive(hex('4500'), 0);
  t.match(plane.counters, { rxPackets: 1, droppedSource: 3, droppedMalformed: 1 });
});

t.test('answers go back on the path on which the flow came in, unless another is better', async (t) => {
  const incoming = udp({ from: '198.51.100.9', to: '10.77.0.2', ports: [53, 5000] });
  const answer = udp({ from: '10.77.0.2', to: '198.51.100.9', ports: [5000, 53] });
  const equal = rig(20, 21);
  equal.receive(incoming, 1);
  t.strictSame(equal.send(answer), [1], 'as good');
  const worse = rig(20, 100);
  worse.receive(incoming, 1);
  t.strictSame(worse.send(answer), [0], 'worse');
  const underWay = rig(20, 21);
  t.strictSame(underWay.send(answer), [0]);
  underWay.receive(incoming, 1);
  t.strictSame(underWay.send(answer), [0], 'a flow under way is not turned round');
});

t.test('ICMP errors are limited, and the limit recovers with time', async (t) => {
  const { send, plane } = rig(20);
  for (let i = 0; i < 200; i++) send(udp({ to: '192.0.2.1' }), 1000);
  t.match(plane.counters, { icmpSent: 50, icmpLimited: 150 });
  for (let i = 0; i < 200; i++) send(udp({ to: '192.0.2.1' }), 1010);
  t.match(plane.counters, { icmpSent: 60, icmpLimited: 340 });
});

t.test('no ICMP error answers an ICMP error', async (t) => {
  const { send, tun } = rig(20);
  send(udp({ from: '192.168.1.5', to: '192.0.2.1' }));
  const error = tun[0]!.slice();
  error.set(parseIp('192.0.2.1')!, 16);
  patchIpLength(error, 0, error.length);
  send(error);
  t.equal(tun.length, 1);
});

t.test('malformed packets from the TUN are counted and dropped', async (t) => {
  const { send, plane } = rig(20);
  send(hex('450000'));
  send(new Uint8Array(40));
  t.equal(plane.counters.droppedMalformed, 2);
});

t.test('idle flows are forgotten', async (t) => {
  const { send, plane } = rig(20);
  send(udp(), 0);
  t.equal(plane.flows.size, 1);
  plane.handleTimeout(plane.flows.idleMs);
  t.equal(plane.flows.size, 0);
});
