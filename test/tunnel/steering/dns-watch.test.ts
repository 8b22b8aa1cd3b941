import t from 'tap';
import { createIpPacketFacts, parseIpPacket } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { DnsWatch } from '../../../src/tunnel/steering/dns-watch.js';
import { dnsAnswer, dnsQuery } from './dns-messages.js';
import { udpPacket } from './udp-packets.js';

const US = '10.77.0.2';
const RESOLVER = '198.51.100.53';

interface Watched {
  watch: DnsWatch;
  learned: string[];
  held: { packet: Uint8Array; segmentBytes: number }[];
  ask(message: Uint8Array, port?: number, gsoSize?: number): void;
  /** True: the packet may be written. */
  hear(message: Uint8Array, options?: { port?: number; from?: string; fromPort?: number; segmentBytes?: number }): boolean;
}

function watched(holds: boolean): Watched {
  const watch = new DnsWatch();
  const learned: string[] = [];
  const held: Watched['held'] = [];
  watch.listener = {
    learn: (bytes, offset, length) => {
      learned.push(Buffer.from(bytes.subarray(offset, offset + length)).toString('hex'));
      return holds;
    },
    hold: (packet, segmentBytes) => void held.push({ packet, segmentBytes }),
  };
  return {
    watch,
    learned,
    held,
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
  const { ask, hear, learned, held } = watched(false);
  ask(dnsQuery('example.org', { id: 7 }));
  t.ok(hear(answer(7)));
  t.same(learned, [hex(answer(7))]);
  t.ok(hear(answer(7)));
  t.equal(learned.length, 1, 'a second one was not asked for');
  t.same(held, []);
});

t.test('what was not asked for teaches nothing: another id, port or server', async (t) => {
  const { ask, hear, learned } = watched(true);
  ask(dnsQuery('example.org', { id: 7 }));
  t.ok(hear(answer(8)));
  t.ok(hear(answer(7), { port: 40_001 }));
  t.ok(hear(answer(7), { from: '198.51.100.54' }));
  t.ok(hear(answer(7), { fromPort: 5353 }));
  t.same(learned, []);
});

t.test('an answer that is to wait is handed over as a copy', async (t) => {
  const { ask, hear, held } = watched(true);
  ask(dnsQuery('example.org', { id: 7 }));
  t.notOk(hear(answer(7)));
  t.equal(hex(held[0]!.packet), hex(udpPacket(RESOLVER, US, 53, 40_000, answer(7))));
});

t.test('two queries in one super-packet, and two answers in a joined one', async (t) => {
  const { ask, hear, held, learned } = watched(true);
  const queries = [dnsQuery('example.org', { id: 7 }), dnsQuery('example.org', { id: 8, type: 'AAAA' })];
  ask(Buffer.concat(queries), 40_000, queries[0]!.length);
  t.notOk(hear(Buffer.concat([answer(8), answer(7)]), { segmentBytes: answer(8).length }));
  t.same(learned, [hex(answer(8)), hex(answer(7))]);
  t.equal(held.length, 1, 'the packet waits whole');
  t.equal(held[0]!.segmentBytes, answer(8).length);
});

t.test('queries without answers are forgotten, oldest first', async (t) => {
  const { ask, hear, learned } = watched(false);
  for (let id = 0; id <= 1024; id++) ask(dnsQuery('example.org', { id }));
  hear(answer(0));
  t.equal(learned.length, 0);
  hear(answer(1));
  t.equal(learned.length, 1);
});
