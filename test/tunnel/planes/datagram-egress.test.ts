/** What a peer that dialled us may reach by datagrams: what the egress policy permits, and whoever asked it first. */

import t from 'tap';
import { emitIpHeader, patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { parseIp } from '../../../src/tun/ip-prefix.js';
import { AllowedIps } from '../../../src/tunnel/gateway/allowed-ips.js';
import type { PathLink, PeerLink } from '../../../src/tunnel/link.js';
import { DatagramPlane } from '../../../src/tunnel/planes/datagram-plane.js';

const PRIVATE = '192.168.7.1';
const PEER = '10.77.0.2';

function udp(from: string, to: string, sourcePort: number, destinationPort: number): Uint8Array {
  const packet = new Uint8Array(40);
  emitIpHeader(packet, 0, 4, parseIp(from)!, parseIp(to)!, 64, 0, 17);
  packet.set([sourcePort >>> 8, sourcePort, destinationPort >>> 8, destinationPort, 0, 20, 0, 0], 20);
  patchIpLength(packet, 0, packet.length);
  return packet;
}

function gateway(initiator: boolean, restrictsDialled = false) {
  const sent: Uint8Array[] = [];
  const path = {
    id: 0,
    state: 'up',
    rttMs: 10,
    innerMtuBytes: 1400,
    sendPacket: (packet: Uint8Array, offset: number, length: number) => sent.push(packet.slice(offset, offset + length)) > 0,
  } as unknown as PathLink;
  const peer = { name: 'home', state: 'up', initiator, paths: [path] } as unknown as PeerLink;
  const routes = new AllowedIps<PeerLink>();
  routes.add(`${PEER}/32`, peer);
  const tun: Uint8Array[] = [];
  const plane = new DatagramPlane({
    routes,
    ownAddresses: ['10.77.0.1/24'],
    writeTun: (packet, offset, length) => tun.push(packet.slice(offset, offset + length)),
    hashSeed: 1,
    permitsDestination: (destination) => destination[0] !== 192,
    restrictsDialled,
  });
  const receive = (packet: Uint8Array) => plane.handlePathPacket(peer, path, packet, 0, packet.length, 1000);
  const send = (packet: Uint8Array) => plane.handleTunPacket(packet, 0, packet.length, 0, 0, 0, 0, 1000);
  return { plane, tun, sent, receive, send };
}

t.test('a destination that is not permitted is answered by ICMP, type 3 code 13, from that address', async (t) => {
  const { plane, tun, sent, receive } = gateway(false);
  receive(udp(PEER, PRIVATE, 5000, 53));
  t.equal(tun.length, 0);
  t.equal(plane.counters.droppedDestination, 1);
  t.strictSame([...sent[0]!.subarray(12, 22)], [...parseIp(PRIVATE)!, ...parseIp(PEER)!, 3, 13]);
  receive(udp(PEER, '198.51.100.1', 5000, 53));
  t.equal(tun.length, 1, 'one that is permitted is served');
});

t.test('a peer may answer whoever asked it', async (t) => {
  const { tun, receive, send } = gateway(false);
  send(udp(PRIVATE, PEER, 53, 5000));
  receive(udp(PEER, PRIVATE, 5000, 53));
  t.equal(tun.length, 1);
  receive(udp(PEER, PRIVATE, 5001, 53));
  t.equal(tun.length, 1, 'but no other flow');
});

t.test('an ICMP error may go wherever the packet in error came from', async (t) => {
  const { tun, sent, receive } = gateway(false);
  receive(udp(PEER, PRIVATE, 5000, 53));
  const error = sent[0]!.slice();
  error.set(parseIp(PEER)!, 12);
  error.set(parseIp(PRIVATE)!, 16);
  patchIpLength(error, 0, error.length);
  receive(error);
  t.equal(tun.length, 1);
});

t.test('the peer that we dial ourselves is our way out: no policy is asked', async (t) => {
  const { tun, receive } = gateway(true);
  receive(udp(PEER, PRIVATE, 5000, 53));
  t.equal(tun.length, 1);
});

t.test('a site asks its policy of both: of peers that it dials too', async (t) => {
  const { tun, plane, receive } = gateway(true, true);
  receive(udp(PEER, PRIVATE, 5000, 53));
  t.equal(tun.length, 0);
  t.equal(plane.counters.droppedDestination, 1);
});
