/**
 * What the addon costs per packet, on loopback inside a network namespace of its own; prints JSON. Sealing and sending, receiving and
 * opening are timed apart, on one thread, with the median of many batches; packets of 1400 bytes.
 *
 *   sudo node dist/test/bench/native.js [SECONDS PER CASE]
 */

import * as native from '../../src/tun/native.js';
import { addressRecord, inOwnNamespace, openUdp, pattern, run, tcpHeader } from '../tun/native-harness.js';

const PACKET_BYTES = 1400;
const BATCH_SUPER_SEGMENTS = 3;
const DATAGRAM_OVERHEAD_BYTES = 28;

interface Case {
  aead: native.AeadName;
  name: string;
  type: number;
  /** The headers go compressed. */
  compressed?: boolean;
  /** Puts one batch into the stage; returns its datagrams. */
  fill: (sender: native.SenderHandle) => number;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** What the peers' control frames do. */
function agree(n: native.NativeAddon, sender: native.SenderHandle, table: native.OpenTableHandle): void {
  const out = Buffer.alloc(native.BASE_MAX_BYTES);
  const number = n.senderPacketNumber(sender) - 1;
  n.senderAcked(sender, number);
  for (let length = n.nextBase(sender, 0, 1, out, 0); length > 0; length = n.nextBase(sender, 0, 1, out, 0)) {
    n.installBase(table, 1, 0, number, out, 0, length);
    n.confirmBase(sender, out.readUInt16BE(4), out.readUInt32BE(0));
  }
}

function measure(n: native.NativeAddon, one: Case, seconds: number) {
  const [tx, rx] = [openUdp(4, '127.0.0.1'), openUdp(4, '127.0.0.1')];
  const key = pattern(32);
  const sealer = n.createSealer({ aead: one.aead, key, receiverIndex: 1 });
  const sender = n.createSender(tx, sealer, 0, addressRecord('127.0.0.1', n.udpPort(rx)));
  const table = n.createOpenTable();
  n.addOpener(table, { aead: one.aead, key, receiverIndex: 1, compressed: true });
  if (one.compressed === true) n.senderCompress(sender, PACKET_BYTES + DATAGRAM_OVERHEAD_BYTES);
  const arena = new Uint8Array(1 << 20);
  const descriptors = new Int32Array(1024 * native.RX_DESCRIPTOR_INTS);
  const addresses = new Uint8Array(16 * native.ADDRESS_BYTES);
  const [seal, send, receive]: [number[], number[], number[]] = [[], [], []];
  let packets = 0;
  let handedUp = 0;
  for (const end = performance.now() + seconds * 1000; performance.now() < end; ) {
    const start = performance.now();
    const made = one.fill(sender);
    const sealed = performance.now();
    if (n.udpFlush(tx) !== 0) throw new Error('the kernel refused datagrams');
    const sent = performance.now();
    packets += made;
    for (let count = 1; count > 0; ) {
      count = n.receive(rx, table, arena, descriptors, addresses, 4);
      handedUp += count;
    }
    const opened = performance.now();
    if (n.receiveCounters(table).datagrams !== packets) throw new Error('datagrams were lost');
    if (one.compressed === true) agree(n, sender, table);
    seal.push(((sealed - start) * 1e6) / made);
    send.push(((sent - sealed) * 1e6) / made);
    receive.push(((opened - sent) * 1e6) / made);
  }
  n.udpClose(tx);
  n.udpClose(rx);
  const [sealNs, sendNs, receiveOpenNs] = [seal, send, receive].map((list) => Math.round(median(list)));
  return {
    aead: one.aead,
    case: one.name,
    packets,
    sealNs,
    sendNs,
    receiveOpenNs,
    datagramsPerDescriptor: Math.round((packets / handedUp) * 10) / 10,
  };
}

function cases(n: native.NativeAddon, aead: native.AeadName): Case[] {
  const header = tcpHeader(4);
  const segmentBytes = PACKET_BYTES - header.length;
  const payload = pattern(segmentBytes * 45);
  const packet = pattern(PACKET_BYTES);
  let sequenceNumber = 0;
  const fill = (sender: native.SenderHandle) => {
    let made = 0;
    for (let i = 0; i < BATCH_SUPER_SEGMENTS; i++) {
      header.writeUInt32BE(sequenceNumber, 24);
      sequenceNumber = (sequenceNumber + payload.length) >>> 0;
      made += n.sealSegments(sender, native.TYPE_STREAM, header, header.length, payload, 0, payload.length, segmentBytes);
    }
    return made;
  };
  return [
    { aead, name: 'super-segments', type: native.TYPE_STREAM, fill },
    { aead, name: 'super-segments, headers compressed', type: native.TYPE_STREAM, compressed: true, fill },
    {
      aead,
      name: 'single packets, batches of 32',
      type: native.TYPE_DATAGRAM,
      fill: (sender) => {
        let made = 0;
        for (let i = 0; i < 32; i++) made += n.sealPacket(sender, native.TYPE_DATAGRAM, packet, 0, PACKET_BYTES, 0, 0, 0, 0);
        return made;
      },
    },
  ];
}

/** Nanoseconds of a call that does next to nothing. */
function callOverhead(n: native.NativeAddon): Record<string, number> {
  const udp = openUdp(4, '127.0.0.1');
  const sealer = n.createSealer({ aead: 'aes-256-gcm', key: pattern(32), receiverIndex: 1 });
  const sender = n.createSender(udp, sealer, 0, addressRecord('127.0.0.1', 9));
  const bogus = pattern(100);
  const timed = (call: () => void): number => {
    const rounds = 200_000;
    for (let i = 0; i < 20_000; i++) call();
    const start = performance.now();
    for (let i = 0; i < rounds; i++) call();
    return Math.round(((performance.now() - start) * 1e6) / rounds);
  };
  const result = {
    oneHandle: timed(() => n.udpFlush(udp)),
    nineArguments: timed(() => n.sealPacket(sender, 1, bogus, 0, 100, native.GSO_UDP_L4, 10, 20, 6)),
  };
  n.udpClose(udp);
  return result;
}

if (inOwnNamespace(import.meta.url)) {
  const n = native.loadNative();
  const seconds = Number(process.argv[2] ?? 1);
  run('ip', 'link', 'set', 'lo', 'mtu', '65536');
  const results = (['aes-256-gcm', 'chacha20-poly1305'] as const).flatMap((aead) => cases(n, aead).map((one) => measure(n, one, seconds)));
  console.log(
    JSON.stringify({ packetBytes: PACKET_BYTES, measureAead: n.measureAead(), callOverheadNs: callOverhead(n), results }, null, 2),
  );
}
