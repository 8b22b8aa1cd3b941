/** Header compression between two link layers: who compresses, what is agreed upon, what a capture sees, and what happens when a base is lost. */

import t from 'tap';
import { cutSegments } from '../../src/mptcp-over-udp/wire/cut-segments.js';
import { loadNative, type NativeAddon } from '../../src/tun/native.js';
import type { PacketTap, PathLink } from '../../src/tunnel/link.js';
import type { Path } from '../../src/tunnel/path/path.js';
import { allUp, config, freePort, KEYS, type Pair, type Side, startSide, TEST_PATHS, until } from './link-pair.js';

const TCP_AT = 20;
const HEADER_BYTES = 64;

/** IPv4, TCP, DSS with 4-byte DATA_ACK and 8-byte DSN: the header of the tunnel's own data segments. */
function header(sequenceNumber: number, mappingBytes: number): Buffer {
  const out = Buffer.alloc(HEADER_BYTES);
  out.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 2, 198, 51, 100, 9, 0x9c, 0x40, 0x1f, 0x90]);
  out.writeUInt32BE(sequenceNumber, TCP_AT + 4);
  out.writeUInt32BE(77, TCP_AT + 8);
  out[TCP_AT + 12] = 11 << 4;
  out[TCP_AT + 13] = 0x10;
  out.writeUInt16BE(512, TCP_AT + 14);
  out.set([30, 22, 0x20, 0x0d, 0, 0, 0, 9, 0, 0, 0, 1], TCP_AT + 20);
  out.writeUInt32BE(sequenceNumber - 1000, TCP_AT + 32);
  out.writeUInt32BE(sequenceNumber - 999, TCP_AT + 36);
  out.writeUInt16BE(mappingBytes, TCP_AT + 40);
  out.set([1, 1], TCP_AT + 42);
  return out;
}

/** One flow that counts up; what was sent, cut as the wire saw it or not. */
class Flow {
  readonly payload = new Uint8Array(65_535).map((_, i) => (i * 7) >>> 3);
  sequenceNumber = 1000;

  send(path: PathLink, payloadBytes: number, segmentBytes: number): void {
    const template = header(this.sequenceNumber, payloadBytes);
    path.sendSegments(template, HEADER_BYTES, this.payload, 0, payloadBytes, segmentBytes);
    this.sequenceNumber += payloadBytes;
  }
}

interface Options {
  client?: boolean;
  server?: boolean;
  serverNative?: NativeAddon;
}

async function startCompressing({ client = true, server = true, serverNative }: Options = {}): Promise<Pair> {
  const port = await freePort();
  const withSwitch = (on: boolean, base: ReturnType<typeof config>) => ({ ...base, stream: { ...base.stream, headerCompression: on } });
  const serverSide = await startSide(withSwitch(server, config(KEYS.server, KEYS.client, { listenPort: port })), serverNative);
  const role = { endpoint: `127.0.0.1:${port}`, paths: TEST_PATHS };
  const clientSide = await startSide(withSwitch(client, config(KEYS.client, KEYS.server, role)));
  const close = async () => {
    await clientSide.layer.close();
    await serverSide.layer.close();
  };
  const pair: Pair = { client: clientSide, server: serverSide, port, close };
  await allUp(pair);
  return pair;
}

/** Bytes of payload that came, every one checked. */
function receivedPayload(side: Side, flow: Flow): number {
  let bytes = 0;
  for (const packet of side.observer.packets) {
    const body = packet.bytes.subarray(HEADER_BYTES);
    const view = new DataView(packet.bytes.buffer, packet.bytes.byteOffset);
    // Where the segment lies in its mapping.
    const at = view.getUint32(TCP_AT + 4) - 999 - view.getUint32(TCP_AT + 36);
    if (!Buffer.from(body).equals(Buffer.from(flow.payload.subarray(at, at + body.length)))) throw new Error('other bytes');
    bytes += body.length;
  }
  return bytes;
}

/** Sends until it is settled whether headers go compressed. */
async function settle(from: Side, to: Side, flow: Flow, path: PathLink): Promise<void> {
  for (let i = 0; i < 20; i++) {
    const before = receivedPayload(to, flow);
    flow.send(path, 8000, 1300);
    from.layer.flush();
    await until('8000 bytes', () => receivedPayload(to, flow) >= before + 8000);
  }
}

for (const [client, server] of [
  [true, true],
  [true, false],
  [false, true],
  [false, false],
] as const) {
  t.test(`client ${client ? 'can' : 'cannot'}, server ${server ? 'can' : 'cannot'}: compressed only where both can`, async (t) => {
    const pair = await startCompressing({ client, server });
    t.teardown(pair.close);
    for (const [from, to] of [
      [pair.client, pair.server],
      [pair.server, pair.client],
    ] as const) {
      const flow = new Flow();
      const path = from.peer.paths[0]!;
      await settle(from, to, flow, path);
      const before = { tx: path.txBytes, payload: flow.sequenceNumber };
      flow.send(path, 13_000, 1300);
      from.layer.flush();
      const overhead = (path.txBytes - before.tx - 13_000) / 10;
      if (client && server) t.equal(overhead, 5 + 16 + 5, 'datagram header, tag, compressed header');
      else t.equal(overhead, 12 + 16 + HEADER_BYTES, 'all of it');
      t.equal(path.segmentPayloadBytes > 0, client && server);
      if (client && server) t.ok(path.segmentPayloadBytes > path.innerMtuBytes - HEADER_BYTES, 'room for more');
      await until('the last bytes', () => receivedPayload(to, flow) === flow.sequenceNumber - 1000);
      t.equal(to.layer.counters().unknownBase, 0);
    }
  });
}

t.test('a segment as large as compression allows goes whole in two datagrams before that, in one after', async (t) => {
  const pair = await startCompressing();
  t.teardown(pair.close);
  const { client, server } = pair;
  const flow = new Flow();
  const path = client.peer.paths[1]!;
  await until('the peer has told its MTU', () => path.innerMtuBytes < 1500);
  const size = path.segmentPayloadBytes;
  const datagrams = () => server.layer.counters().datagrams!;
  const send = async () => {
    const before = [datagrams(), receivedPayload(server, flow)] as const;
    flow.send(path, size, size);
    client.layer.flush();
    await until('the segment', () => receivedPayload(server, flow) === before[1] + size);
    return datagrams() - before[0];
  };
  t.ok((await send()) >= 2);
  await settle(client, server, flow, path);
  // Control datagrams may come between.
  let least = Infinity;
  for (let i = 0; i < 10; i++) least = Math.min(least, await send());
  t.equal(least, 1);
});

t.test('what a compressed segment may carry follows the MTU of either side at once', async (t) => {
  const pair = await startCompressing();
  t.teardown(pair.close);
  const { client, server } = pair;
  const flow = new Flow();
  const path = client.peer.paths[0] as Path;
  await settle(client, server, flow, path);
  const beyondMtuBytes = path.segmentPayloadBytes - path.innerMtuBytes;
  const changes = [() => path.setOuterMtu(1450), () => path.setPeerInnerMtu(1390), () => path.reduceMtu(), () => path.setPeerInnerMtu(600)];
  for (const change of changes) {
    const before = path.innerMtuBytes;
    t.ok(change());
    t.ok(path.innerMtuBytes < before);
    t.equal(path.segmentPayloadBytes, path.innerMtuBytes + beyondMtuBytes);
    flow.send(path, 13_000, path.segmentPayloadBytes);
    client.layer.flush();
    await until('the bytes', () => receivedPayload(server, flow) === flow.sequenceNumber - 1000);
  }
});

t.test('a capture sees whole packets with right checksums, on both sides the same', async (t) => {
  const pair = await startCompressing();
  t.teardown(pair.close);
  const { client, server } = pair;
  const seen = { in: [] as string[], out: [] as string[] };
  const tap: PacketTap = {
    onPacket: (direction, _path, _plane, head, headAt, headBytes, payload, payloadAt, payloadBytes, segmentBytes) => {
      const keep = (packet: Uint8Array, length: number) =>
        void seen[direction].push(Buffer.from(packet.subarray(0, length)).toString('hex'));
      if (direction === 'out' || segmentBytes > 0) {
        cutSegments(head.subarray(headAt, headAt + headBytes), headBytes, payload, payloadAt, payloadBytes, segmentBytes, keep);
      } else {
        const whole = Buffer.concat([head.subarray(headAt, headAt + headBytes), payload.subarray(payloadAt, payloadAt + payloadBytes)]);
        keep(whole, whole.length);
      }
    },
  };
  const flow = new Flow();
  const path = client.peer.paths[0]!;
  client.layer.setTap(tap);
  server.layer.setTap(tap);
  await settle(client, server, flow, path);
  for (const [payloadBytes, segmentBytes] of [
    [1, 1446],
    [1446, 1446],
    [20_000, 1446],
    [50_000, 1300],
    [0, 0],
  ] as const) {
    flow.send(path, payloadBytes, segmentBytes);
    client.layer.flush();
  }
  await until('all packets', () => seen.in.length === seen.out.length);
  t.ok(client.layer.counters().txBases! > 0);
  t.strictSame(seen.in, seen.out);
});

t.test('bases that are lost: all bytes arrive with whole headers, and another base is offered', async (t) => {
  let stores = 0;
  const native = loadNative();
  const forgetful = Object.create(native, {
    // Says that it has them, and forgets the first.
    installBase: {
      value: (...args: Parameters<NativeAddon['installBase']>) => (stores++ === 0 ? 0 : native.installBase(...args)),
    },
  }) as NativeAddon;
  const pair = await startCompressing({ serverNative: forgetful });
  t.teardown(pair.close);
  const { client, server } = pair;
  const flow = new Flow();
  const path = client.peer.paths[0]!;
  let lost = 0;
  await until('a base was asked for again, and found', () => {
    lost = server.layer.counters().unknownBase!;
    flow.send(path, 1300, 1300);
    client.layer.flush();
    return lost > 0 && client.layer.counters().rxBaseUnknown! > 0 && stores > 1;
  });
  await settle(client, server, flow, path);
  t.equal(server.layer.counters().unknownBase, lost, 'nothing is dropped from then on');
  const before = path.txBytes;
  flow.send(path, 1300, 1300);
  t.equal(path.txBytes - before - 1300, 26, 'compressed again');
});

t.test('types of datagrams that are not compressed go on as they were', async (t) => {
  const pair = await startCompressing();
  t.teardown(pair.close);
  const packet = new Uint8Array(40).fill(1);
  packet.set([0x45, 0, 0, 40]);
  t.ok(pair.client.peer.paths[0]!.sendPacket(packet, 0, 40, 0, 0, 0, 0));
  pair.client.layer.flush();
  await until('the packet', () => pair.server.observer.packets.length === 1);
  t.strictSame(pair.server.observer.packets[0]!.bytes, packet);
});
