/** A host's own MPTCP in the datagram plane: which path each subflow takes, from what its handshake says. */

import { createHash } from 'node:crypto';
import t from 'tap';
import { ACK, FIN, RST, SYN } from '../../../src/mptcp-over-udp/wire/segment.js';
import { parseIp } from '../../../src/tun/ip-prefix.js';
import type { RuleConfig } from '../../../src/tunnel/config.js';
import { AllowedIps } from '../../../src/tunnel/gateway/allowed-ips.js';
import type { PathLink, PathState, PeerLink } from '../../../src/tunnel/link.js';
import { DatagramPlane } from '../../../src/tunnel/planes/datagram-plane.js';
import { concat, hex, tcpPacket, toHex } from '../../mptcp-over-udp/wire/packets.js';

const APP = '10.77.0.2';
const FAR = '198.51.100.1';
const OUR_KEY = hex('0102030405060708');
const THEIR_KEY = hex('1112131415161718');

function fakePath(id: number, rttMs: number) {
  return {
    id,
    name: `path${id}`,
    state: 'up' as PathState,
    stateReason: '',
    doubtful: false as boolean,
    rttMs,
    minRttMs: rttMs,
    rttvarMs: 0,
    returnQueueMs: 0,
    lossRatio: 0,
    deliveryRateBytesPerSec: 0,
    deliveredBytes: 0,
    inflightBytes: 0,
    priority: 0,
    backup: false as boolean,
    cost: 0,
    heldMs: 0,
    innerMtuBytes: 1400,
    segmentPayloadBytes: 0,
    local: '',
    remote: '',
    rxBytes: 0,
    txBytes: 0,
    sent: [] as Uint8Array[],
    sendSegments: () => undefined,
    sendPacket(packet: Uint8Array, offset: number, length: number): boolean {
      this.sent.push(packet.slice(offset, offset + length));
      return true;
    },
  } satisfies PathLink & { sent: Uint8Array[] };
}

function rig(...rttsMs: number[]) {
  const paths = rttsMs.map((rttMs, id) => fakePath(id, rttMs));
  const base = { publicKey: '', state: 'up' as const, lastError: '', initiator: true, enrolling: false, allowedIps: [] };
  const peer: PeerLink = { ...base, name: 'vps', paths };
  const routes = new AllowedIps<PeerLink>();
  routes.add('198.51.100.0/24', peer);
  const written: Uint8Array[] = [];
  const plane = new DatagramPlane({
    routes,
    ownAddresses: [`${APP}/24`],
    writeTun: (packet, offset, length) => written.push(packet.slice(offset, offset + length)),
    hashSeed: 42,
  });
  return {
    paths,
    plane,
    written,
    /** Path ids that took it. */
    send(packet: Uint8Array, nowMs = 0): number[] {
      const before = paths.map(({ sent }) => sent.length);
      plane.handleTunPacket(packet.slice(), 0, packet.length, 0, 0, 0, 0, nowMs);
      return paths.flatMap(({ sent }, i) => Array<number>(sent.length - before[i]!).fill(i));
    },
    receive: (packet: Uint8Array, path: number, nowMs = 0) =>
      plane.handlePathPacket(peer, paths[path]!, packet.slice(), 0, packet.length, nowMs),
  };
}

interface Subflow {
  port: number;
  from?: string;
}

const out = ({ port, from = APP }: Subflow, flags: number, options: Uint8Array, payload?: Uint8Array): Uint8Array =>
  tcpPacket({ source: parseIp(from)!, destination: parseIp(FAR)!, sourcePort: port, flags, options, ...(payload && { payload }) });

const back = ({ port, from = APP }: Subflow, flags: number, options: Uint8Array, payload?: Uint8Array): Uint8Array =>
  tcpPacket({
    source: parseIp(FAR)!,
    destination: parseIp(from)!,
    sourcePort: 443,
    destinationPort: port,
    flags,
    options,
    ...(payload && { payload }),
  });

const CAPABLE_SYN = hex('1e040101');
const CAPABLE_SYN_ACK = concat(hex('1e0c0101'), THEIR_KEY);
const CAPABLE_ACK = concat(hex('1e140101'), OUR_KEY, THEIR_KEY);
const DSS = hex('1e08200100000001');
const DATA = new Uint8Array(100);
const tokenOf = (key: Uint8Array, hash = 'sha256'): Uint8Array => createHash(hash).update(key).digest().subarray(0, 4);
const joinSyn = (token: Uint8Array, backup = false): Uint8Array => concat(hex(backup ? '1e0c1102' : '1e0c1002'), token, hex('00000007'));

/** The connection's first subflow, from our host, over `path`. */
function open(r: ReturnType<typeof rig>, subflow: Subflow, path: number): void {
  r.send(out(subflow, SYN, CAPABLE_SYN));
  r.receive(back(subflow, SYN | ACK, CAPABLE_SYN_ACK), path);
  r.send(out(subflow, ACK, CAPABLE_ACK));
}

t.test('options, addresses and ports pass as they are: nothing but the hop limit changes', async (t) => {
  const r = rig(10, 30);
  const packet = out({ port: 1 }, SYN, CAPABLE_SYN);
  r.send(packet);
  const [sent] = r.paths[0]!.sent;
  t.equal(toHex(sent!.subarray(20)), toHex(packet.subarray(20)));
  t.equal(toHex(sent!.subarray(12, 20)), toHex(packet.subarray(12, 20)));
  const answer = back({ port: 1 }, SYN | ACK, CAPABLE_SYN_ACK);
  r.receive(answer, 0);
  t.equal(toHex(r.written[0]!), toHex(answer));
});

t.test('each subflow of a connection has a path of its own, and stays there', async (t) => {
  const r = rig(10, 30, 20);
  open(r, { port: 1 }, 0);
  t.strictSame(r.send(out({ port: 2 }, SYN, joinSyn(tokenOf(THEIR_KEY)))), [2], 'the next best');
  t.strictSame(r.send(out({ port: 3 }, SYN, joinSyn(tokenOf(THEIR_KEY)))), [1], 'the one that is left');
  t.strictSame(r.send(out({ port: 4 }, SYN, joinSyn(tokenOf(THEIR_KEY)))), [0], 'then anew');
  t.match(r.plane.counters, { mptcpConnections: 1, mptcpSubflows: 4 });
  r.paths[0]!.rttMs = 500;
  for (let nowMs = 0; nowMs < 10_000; nowMs += 500) {
    t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA), nowMs), [0], 'slower than others is no reason to leave');
    t.strictSame(r.send(out({ port: 3 }, ACK, DSS, DATA), nowMs), [1]);
  }
  t.equal(r.plane.flowsByMode()['active-standby'], 4);
});

t.test('a join with a token that nobody knows begins where the round trip is shortest', async (t) => {
  const r = rig(10, 30);
  open(r, { port: 1 }, 0);
  t.strictSame(r.send(out({ port: 2 }, SYN, joinSyn(hex('deadbeef')))), [0]);
});

t.test("the far host's joins to ours are known by our host's token, from the third ACK", async (t) => {
  const r = rig(10, 30);
  // The far host opens and our host joins back to it: the token is that of the opener's key.
  r.receive(back({ port: 1 }, SYN, CAPABLE_SYN), 0);
  t.strictSame(r.send(out({ port: 1 }, SYN | ACK, concat(hex('1e0c0101'), OUR_KEY))), [0], 'answers go where it came from');
  r.receive(back({ port: 1 }, ACK, concat(hex('1e140101'), THEIR_KEY, OUR_KEY)), 0);
  t.strictSame(r.send(out({ port: 2 }, SYN, joinSyn(tokenOf(THEIR_KEY)))), [1]);
});

t.test('version 0 has its key in the SYN, and tokens of SHA-1', async (t) => {
  const r = rig(10, 30);
  r.send(out({ port: 1 }, SYN, concat(hex('1e0c0001'), OUR_KEY)));
  r.receive(back({ port: 1 }, SYN | ACK, concat(hex('1e0c0001'), THEIR_KEY)), 0);
  t.strictSame(r.send(out({ port: 2 }, SYN, joinSyn(tokenOf(THEIR_KEY, 'sha1')))), [1]);
});

t.test('while its path is down a subflow takes another; it returns when the path was up again for a while', async (t) => {
  const r = rig(10, 30);
  open(r, { port: 1 }, 0);
  r.paths[0]!.doubtful = true;
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA), 100), [0], 'doubt is no reason yet');
  r.paths[0]!.state = 'suspect';
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA), 300), [1]);
  r.paths[0]!.state = 'down';
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA), 1000), [1]);
  r.paths[0]!.state = 'up';
  r.paths[0]!.doubtful = false;
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA), 2000), [1]);
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA), 5100), [0]);
});

t.test('without a path that is up, suspects carry it', async (t) => {
  const r = rig(10, 30);
  open(r, { port: 1 }, 0);
  for (const path of r.paths) path.state = 'suspect';
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA)), [0]);
});

t.test('a subflow that the far side opened is answered where its packets come from, and follows them', async (t) => {
  const r = rig(10, 300);
  r.receive(back({ port: 1 }, SYN, joinSyn(tokenOf(OUR_KEY))), 1);
  t.strictSame(r.send(out({ port: 1 }, SYN | ACK, hex('1e101002000000000000000100000002'))), [1], 'also a worse one');
  r.receive(back({ port: 1 }, ACK, DSS), 0);
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA)), [0]);
});

t.test('answers without an option of MPTCP belong to a flow that is known', async (t) => {
  const r = rig(10, 300);
  const facts = { port: 1 };
  r.receive(back(facts, SYN, CAPABLE_SYN), 1);
  t.strictSame(r.send(out(facts, SYN | ACK, new Uint8Array(0))), [1], 'a listener without MPTCP');
  r.receive(back({ port: 2 }, SYN, new Uint8Array(0)), 1);
  t.equal(r.plane.flows.size, 2, 'plain TCP too, on a path that is not for answers');
  t.strictSame(r.send(out({ port: 2 }, SYN | ACK, new Uint8Array(0))), [0]);
});

t.test('a subflow that has ended makes room on its path', async (t) => {
  for (const flags of [RST, FIN | ACK]) {
    const r = rig(10, 30);
    open(r, { port: 1 }, 0);
    t.strictSame(r.send(out({ port: 2 }, SYN, joinSyn(tokenOf(THEIR_KEY)))), [1]);
    r.receive(back({ port: 2 }, flags, new Uint8Array(0)), 1);
    t.strictSame(r.send(out({ port: 3 }, SYN, joinSyn(tokenOf(THEIR_KEY)))), [1]);
  }
});

t.test('backups: a backup subflow goes on a backup path, another only when nothing else is up', async (t) => {
  const r = rig(10, 30, 20);
  r.paths[2]!.backup = true;
  open(r, { port: 1 }, 0);
  t.strictSame(r.send(out({ port: 2 }, SYN, joinSyn(tokenOf(THEIR_KEY)))), [1]);
  t.strictSame(r.send(out({ port: 3 }, SYN, joinSyn(tokenOf(THEIR_KEY), true))), [2]);
  t.strictSame(r.send(out({ port: 3 }, ACK, DSS, DATA)), [2], 'and stays there while others are up');
  r.paths[0]!.state = 'down';
  r.paths[1]!.state = 'down';
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA)), [2]);
});

t.test('an address that stands for a path has its subflows there, also those under way when the tunnel came', async (t) => {
  const r = rig(10, 30);
  r.plane.setSubflowAddresses(new Map([['10.77.0.66', 'path1']]));
  t.strictSame(r.send(out({ port: 1, from: '10.77.0.66' }, SYN, CAPABLE_SYN)), [1]);
  t.strictSame(r.send(out({ port: 2, from: '10.77.0.66' }, ACK, DSS, DATA)), [1]);
  r.receive(back({ port: 2, from: '10.77.0.66' }, ACK, DSS), 0);
  t.strictSame(r.send(out({ port: 2, from: '10.77.0.66' }, ACK, DSS, DATA)), [1], 'whatever the far side does');
  t.strictSame(r.send(out({ port: 3 }, ACK, DSS, DATA)), [0], 'others are not known');
});

t.test('a rule that fits goes before; without rules subflows are what they were', async (t) => {
  const r = rig(10, 30);
  open(r, { port: 1 }, 0);
  const rules: RuleConfig[] = [{ mode: 'pin', protocols: [6], paths: ['path1'] }];
  r.plane.setRules(rules);
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA)), [1]);
  r.plane.setRules([]);
  r.paths[0]!.rttMs = 900;
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA), 0), [1], 'it returns as after a failure');
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA), 3100), [0]);
});

t.test('SYNs without a path that is up find one later', async (t) => {
  const r = rig(10, 30);
  for (const path of r.paths) path.state = 'down';
  t.strictSame(r.send(out({ port: 1 }, SYN, CAPABLE_SYN)), []);
  r.paths[1]!.state = 'up';
  t.strictSame(r.send(out({ port: 1 }, SYN, CAPABLE_SYN)), [1]);
  r.paths[0]!.state = 'up';
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA), 9000), [1]);
});

t.test('a flood of handshakes is bounded, and strangers change nothing for others', async (t) => {
  const r = rig(10, 30);
  open(r, { port: 1 }, 0);
  for (let i = 0; i < 3000; i++) {
    const key = hex(i.toString(16).padStart(16, '0'));
    r.receive(back({ port: 2000 + i }, SYN, concat(hex('1e0c0001'), key)), 1);
  }
  t.equal(r.plane.counters.mptcpConnections, 3001);
  t.strictSame(r.send(out({ port: 1 }, ACK, DSS, DATA)), [0]);
});
