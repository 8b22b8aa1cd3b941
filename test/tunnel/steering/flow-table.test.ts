import fc from 'fast-check';
import t from 'tap';
import {
  createIpPacketFacts,
  emitIpHeader,
  type IpPacketFacts,
  parseIpPacket,
  patchIpLength,
} from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { FlowTable } from '../../../src/tunnel/steering/flow-table.js';

interface Packet {
  bytes: Uint8Array;
  facts: IpPacketFacts;
}

function udp(source: number, destination: number, sourcePort: number, destinationPort: number, fragmentField = 0, protocol = 17): Packet {
  const bytes = new Uint8Array(28);
  emitIpHeader(bytes, 0, 4, Uint8Array.of(10, 0, 0, source), Uint8Array.of(10, 0, 1, destination), 64, 0, protocol);
  bytes.set([fragmentField >>> 8, fragmentField], 6);
  bytes.set([sourcePort >>> 8, sourcePort, destinationPort >>> 8, destinationPort], 20);
  patchIpLength(bytes, 0, 28);
  const facts = createIpPacketFacts();
  if (parseIpPacket(bytes, 0, 28, facts) !== '') throw new Error('no packet');
  return { bytes, facts };
}

function pathOf(table: FlowTable, packet: Packet, nowMs: number, reversed = false): number {
  const slot = table.find(packet.bytes, packet.facts, reversed, nowMs);
  return slot < 0 ? -1 : table.pathId(slot);
}

function put(table: FlowTable, packet: Packet, pathId: number, nowMs: number, reversed = false): void {
  table.insert(packet.bytes, packet.facts, reversed, pathId, nowMs);
}

t.test('a flow is its five-tuple; the other direction finds it reversed', async (t) => {
  const table = new FlowTable({ hashSeed: 1 });
  put(table, udp(1, 2, 1000, 53), 3, 0);
  t.equal(pathOf(table, udp(1, 2, 1000, 53), 1), 3);
  t.equal(pathOf(table, udp(2, 1, 53, 1000), 1), -1);
  const answer = udp(1, 2, 1000, 53);
  const swapped = { ...answer.facts, sourceAddressOffset: 16, destinationAddressOffset: 12, sourcePort: 53, destinationPort: 1000 };
  t.equal(pathOf(table, { bytes: answer.bytes, facts: swapped }, 1, true), 3);
  for (const other of [udp(3, 2, 1000, 53), udp(1, 3, 1000, 53), udp(1, 2, 1001, 53), udp(1, 2, 1000, 54), udp(1, 2, 1000, 53, 0, 6)]) {
    t.equal(pathOf(table, other, 1), -1);
  }
  const slot = table.find(answer.bytes, answer.facts, false, 1);
  table.setPathId(slot, 7);
  t.equal(pathOf(table, answer, 1), 7);
});

t.test('the first fragment goes with the others', async (t) => {
  const table = new FlowTable({ hashSeed: 1 });
  put(table, udp(1, 2, 1000, 53, 0x2000), 4, 0);
  t.equal(pathOf(table, udp(1, 2, 0, 0, 0x0010), 1), 4);
  t.equal(pathOf(table, udp(1, 2, 1000, 53), 1), -1);
});

t.test('idle flows are forgotten, used ones are not', async (t) => {
  const table = new FlowTable({ hashSeed: 1, idleMs: 100 });
  put(table, udp(1, 1, 1, 1), 1, 0);
  put(table, udp(2, 1, 1, 1), 2, 0);
  put(table, udp(3, 1, 1, 1), 3, 0);
  t.equal(pathOf(table, udp(1, 1, 1, 1), 99), 1);
  t.equal(pathOf(table, udp(2, 1, 1, 1), 100), -1, 'found stale');
  t.equal(table.size, 2);
  table.expire(150);
  t.equal(table.size, 1);
  t.equal(pathOf(table, udp(1, 1, 1, 1), 198), 1);
  t.equal(table.evictedCount, 0);
});

t.test('a full table forgets what was idle longest, and never grows', async (t) => {
  const table = new FlowTable({ hashSeed: 1, maxFlows: 3 });
  for (const source of [1, 2, 3]) put(table, udp(source, 1, 1, 1), source, source);
  t.equal(pathOf(table, udp(1, 1, 1, 1), 10), 1);
  put(table, udp(4, 1, 1, 1), 4, 11);
  t.equal(pathOf(table, udp(2, 1, 1, 1), 12), -1);
  t.strictSame(
    [1, 3, 4].map((source) => pathOf(table, udp(source, 1, 1, 1), 13)),
    [1, 3, 4],
  );
  t.equal(table.size, 3);
  t.equal(table.evictedCount, 1);
  t.throws(() => new FlowTable({ hashSeed: 1, maxFlows: 0 }), RangeError);
});

t.test('it agrees with a Map that is searched and sorted', async (t) => {
  const step = fc.record({ source: fc.nat(6), port: fc.nat(2), advanceMs: fc.nat(30), what: fc.constantFrom('find', 'put', 'expire') });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.integer(), (steps, hashSeed) => {
      const table = new FlowTable({ hashSeed, maxFlows: 5, idleMs: 100 });
      // In order of use, oldest first.
      const model = new Map<string, { pathId: number; lastUseMs: number }>();
      let nowMs = 0;
      steps.forEach(({ source, port, advanceMs, what }, i) => {
        nowMs += advanceMs;
        for (const [key, entry] of model) if (entry.lastUseMs + 100 <= nowMs) model.delete(key);
        const packet = udp(source, 1, port, 1);
        const key = `${source} ${port}`;
        if (what === 'expire') {
          table.expire(nowMs);
          if (table.size !== model.size) throw new Error(`size ${table.size}, should be ${model.size}`);
          return;
        }
        const known = model.get(key);
        const found = pathOf(table, packet, nowMs);
        if (found !== (known?.pathId ?? -1)) throw new Error(`step ${i}: path ${found}, should be ${known?.pathId}`);
        model.delete(key);
        if (known !== undefined) model.set(key, { ...known, lastUseMs: nowMs });
        else if (what === 'put') {
          put(table, packet, i, nowMs);
          if (model.size === 5) model.delete([...model.keys()][0]!);
          model.set(key, { pathId: i, lastUseMs: nowMs });
        }
      });
    }),
    { numRuns: 500 },
  );
  t.pass();
});
