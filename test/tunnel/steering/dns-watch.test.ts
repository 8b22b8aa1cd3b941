import fc from 'fast-check';
import t from 'tap';
import { createIpPacketFacts, parseIpPacket } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { DnsWatch } from '../../../src/tunnel/steering/dns-watch.js';
import { dnsAnswer, dnsQuery } from './dns-messages.js';
import { tcpPacket } from './tcp-packets.js';
import { udpPacket } from './udp-packets.js';

const US = '10.77.0.2';
const RESOLVER = '198.51.100.53';

interface Watched {
  watch: DnsWatch;
  learned: string[];
  held: { packet: Uint8Array; segmentBytes: number }[];
  /** Streams that are to go on later. */
  waiting: (() => void)[];
  ask(message: Uint8Array, port?: number, gsoSize?: number): void;
  /** True: the packet may be written. */
  hear(message: Uint8Array, options?: { port?: number; from?: string; fromPort?: number; segmentBytes?: number }): boolean;
}

function watchedBy(holds: boolean): Watched {
  const watch = new DnsWatch();
  const learned: string[] = [];
  const held: Watched['held'] = [];
  const waiting: (() => void)[] = [];
  watch.listener = {
    learn: (bytes, offset, length) => {
      learned.push(Buffer.from(bytes.subarray(offset, offset + length)).toString('hex'));
      return holds;
    },
    hold: (packet, segmentBytes) => void held.push({ packet, segmentBytes }),
    whenKnown: (goOn) => void waiting.push(goOn),
  };
  return {
    watch,
    learned,
    held,
    waiting,
    ask: (message, port = 40_000, gsoSize = 0) => {
      const packet = udpPacket(US, RESOLVER, port, 53, message);
      const facts = createIpPacketFacts();
      t.equal(parseIpPacket(packet, 0, packet.length, facts), '');
      watch.handleOutgoing(packet, 0, facts, gsoSize);
    },
    hear: (message, { port = 40_000, from = RESOLVER, fromPort = 53, segmentBytes = 0 } = {}) => {
      const packet = udpPacket(from, US, fromPort, port, message);
      return !watch.handleIncoming(packet, 0, packet.length, segmentBytes);
    },
  };
}

const answer = (id: number): Uint8Array =>
  dnsAnswer('example.org', [{ name: 'example.org', type: 'A', ttl: 60, data: '192.0.2.1' }], { id });
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

t.test('an answer that was asked for is learned from, once', async (t) => {
  const { ask, hear, learned, held } = watchedBy(false);
  ask(dnsQuery('example.org', { id: 7 }));
  t.ok(hear(answer(7)));
  t.same(learned, [hex(answer(7))]);
  t.ok(hear(answer(7)));
  t.equal(learned.length, 1, 'a second one was not asked for');
  t.same(held, []);
});

t.test('what was not asked for teaches nothing: another id, port or server', async (t) => {
  const { ask, hear, learned } = watchedBy(true);
  ask(dnsQuery('example.org', { id: 7 }));
  t.ok(hear(answer(8)));
  t.ok(hear(answer(7), { port: 40_001 }));
  t.ok(hear(answer(7), { from: '198.51.100.54' }));
  t.ok(hear(answer(7), { fromPort: 5353 }));
  t.same(learned, []);
});

t.test('an answer that is to wait is handed over as a copy', async (t) => {
  const { ask, hear, held } = watchedBy(true);
  ask(dnsQuery('example.org', { id: 7 }));
  t.notOk(hear(answer(7)));
  t.equal(hex(held[0]!.packet), hex(udpPacket(RESOLVER, US, 53, 40_000, answer(7))));
});

t.test('two queries in one super-packet, and two answers in a joined one', async (t) => {
  const { ask, hear, held, learned } = watchedBy(true);
  const queries = [dnsQuery('example.org', { id: 7 }), dnsQuery('example.org', { id: 8, type: 'AAAA' })];
  ask(Buffer.concat(queries), 40_000, queries[0]!.length);
  t.notOk(hear(Buffer.concat([answer(8), answer(7)]), { segmentBytes: answer(8).length }));
  t.same(learned, [hex(answer(8)), hex(answer(7))]);
  t.equal(held.length, 1, 'the packet waits whole');
  t.equal(held[0]!.segmentBytes, answer(8).length);
});

t.test('queries without answers are forgotten, oldest first', async (t) => {
  const { ask, hear, learned } = watchedBy(false);
  for (let id = 0; id <= 1024; id++) ask(dnsQuery('example.org', { id }));
  hear(answer(0));
  t.equal(learned.length, 0);
  hear(answer(1));
  t.equal(learned.length, 1);
});

const SYN = 0x02;
const SYN_ACK = 0x12;
const RST = 0x04;
const framed = (...messages: Uint8Array[]): Uint8Array =>
  Buffer.concat(messages.flatMap((message) => [Buffer.from([message.length >> 8, message.length & 255]), message]));

/** One connection of ours to the resolver, packet by packet: initial sequence numbers 4294967290 (ours) and 100. */
function connected(holds: boolean, port = 40_000) {
  const watched = watchedBy(holds);
  const { watch } = watched;
  const say = (sequence: number, flags: number, payload: Uint8Array = new Uint8Array(0)): void => {
    const packet = tcpPacket(US, RESOLVER, port, 53, sequence, flags, payload);
    const facts = createIpPacketFacts();
    t.equal(parseIpPacket(packet, 0, packet.length, facts), '');
    watch.handleOutgoing(packet, 0, facts, 0);
  };
  /** True: the packet may be written. */
  const hear = (sequence: number, flags: number, payload: Uint8Array = new Uint8Array(0)): boolean => {
    const packet = tcpPacket(RESOLVER, US, 53, port, sequence, flags, payload);
    return !watch.handleIncoming(packet, 0, packet.length, 0);
  };
  say(4_294_967_290, SYN);
  hear(100, SYN_ACK);
  return { ...watched, say, hear };
}

t.test('over TCP packet by packet: an answer in one segment, and in two, across the end of the sequence numbers', async (t) => {
  const { say, hear, learned, held } = connected(true);
  say(4_294_967_291, 0, framed(dnsQuery('example.org', { id: 7 }), dnsQuery('example.org', { id: 8 })));
  const bytes = framed(answer(7), answer(8), answer(9));
  const cut = 2 + answer(7).length + 20;
  t.notOk(hear(101, 0, bytes.subarray(0, cut)), 'an answer ends in it');
  t.notOk(hear(101 + cut, 0, bytes.subarray(cut)));
  t.same(learned, [hex(answer(7)), hex(answer(8))], 'the third was not asked for');
  t.equal(held.length, 2);
});

t.test('over TCP packet by packet: what is repeated counts once, what comes out of order is read in order', async (t) => {
  const { say, hear, learned } = connected(false);
  const query = framed(dnsQuery('example.org', { id: 7 }));
  say(4_294_967_291 + 5, 0, query.subarray(5));
  say(4_294_967_291, 0, query.subarray(0, 9));
  const bytes = framed(answer(7));
  for (const [from, to] of [
    [30, 40],
    [10, 20],
    [40, bytes.length],
    [0, 12],
    [0, 12],
    [20, 32],
  ] as const)
    t.ok(hear(101 + from, 0, bytes.subarray(from, to)));
  t.same(learned, [hex(answer(7))]);
});

t.test('over TCP packet by packet: without its SYN, after a reset, or of another server a connection teaches nothing', async (t) => {
  const query = framed(dnsQuery('example.org', { id: 7 }));
  const { watch, say, hear, learned } = connected(false);
  say(4_294_967_291, 0, query);
  const stranger = tcpPacket('198.51.100.54', US, 53, 40_000, 101, 0, framed(answer(7)));
  t.notOk(watch.handleIncoming(stranger, 0, stranger.length, 0));
  t.same(learned, []);
  say(4_294_967_291 + query.length, RST);
  t.ok(hear(101, 0, framed(answer(7))));
  t.same(learned, []);
  say(4_294_967_291, 0, query);
  t.ok(hear(101, 0, framed(answer(7))));
  t.same(learned, []);
});

t.test('over TCP packet by packet: as many connections are followed as there is room for, the newest', async (t) => {
  const { watch, learned } = watchedBy(false);
  const ports = Array.from({ length: 65 }, (_, i) => 40_000 + i);
  const exchange = (port: number): void => {
    for (const [sequence, flags, payload] of [
      [10, SYN, new Uint8Array(0)],
      [11, 0, framed(dnsQuery('example.org', { id: 7 }))],
    ] as const) {
      const packet = tcpPacket(US, RESOLVER, port, 53, sequence, flags, payload);
      const facts = createIpPacketFacts();
      parseIpPacket(packet, 0, packet.length, facts);
      watch.handleOutgoing(packet, 0, facts, 0);
    }
  };
  for (const port of ports) exchange(port);
  for (const port of ports) {
    const opened = tcpPacket(RESOLVER, US, 53, port, 100, SYN_ACK, new Uint8Array(0));
    watch.handleIncoming(opened, 0, opened.length, 0);
    const packet = tcpPacket(RESOLVER, US, 53, port, 101, 0, framed(answer(7)));
    watch.handleIncoming(packet, 0, packet.length, 0);
  }
  t.equal(learned.length, 64);
});

t.test('over TCP packet by packet: arbitrary segments never throw, and nothing that was not asked for is learned', async (t) => {
  const segment = fc.tuple(
    fc.boolean(),
    fc.integer({ min: 0, max: 400 }),
    fc.constantFrom(0, SYN, SYN_ACK, RST, 0x11),
    fc.uint8Array({ maxLength: 200 }),
  );
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 30 }), (segments) => {
      const { say, hear, learned } = connected(true);
      for (const [isOurs, sequence, flags, payload] of segments) {
        if (isOurs && flags !== 0) say(sequence, flags, payload);
        else if (!isOurs) hear(sequence, flags, payload);
      }
      return learned.length === 0;
    }),
  );
  // Headers that are cut or lie about their length.
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 20, maxLength: 80 }), (tail) => {
      const { watch } = connected(true);
      const packet = tcpPacket(RESOLVER, US, 53, 40_000, 101, 0, tail);
      packet.set(tail.subarray(0, 16), 24);
      watch.handleIncoming(packet, 0, packet.length, 0);
    }),
  );
  t.pass();
});
