import t from 'tap';
import { createIpPacketFacts, parseIpPacket } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { formatIp } from '../../../src/tun/ip-prefix.js';
import type { RuleConfig } from '../../../src/tunnel/config.js';
import { FlowRules, type RuleKnowledge } from '../../../src/tunnel/steering/flow-rules.js';
import { OwnerSets } from '../../../src/tunnel/steering/owner-sets.js';
import { udpPacket } from './udp-packets.js';

const RULES: RuleConfig[] = [
  { bypass: true, protocols: [17] },
  { users: [1000], ports: [53, 53], mode: 'redundant' },
  { domains: ['example.org'], mode: 'pin', paths: ['dsl'] },
  { users: [1000], mode: 'aggregate' },
  { fwmark: { value: 1, mask: 1 }, mode: 'priority' },
];

const PACKET = udpPacket('10.77.0.2', '192.0.2.1', 40_000, 5004, new Uint8Array(20));
const FACTS = createIpPacketFacts();
parseIpPacket(PACKET, 0, PACKET.length, FACTS);

function rulesThatKnow(conditions: readonly number[], domains: readonly string[]): { rules: FlowRules; asked: number[] } {
  const asked: number[] = [];
  const knowledge: RuleKnowledge = {
    holds: (condition) => {
      asked.push(condition);
      return conditions.includes(condition);
    },
    hasAddress: (wanted, bytes, at, length) =>
      formatIp(bytes.slice(at, at + length)) === '192.0.2.1' && wanted.some((one) => domains.includes(one)),
  };
  return { rules: new FlowRules(RULES, knowledge), asked };
}

t.test('what is in the tunnel has not gone by; user and mark are asked for last, and only where all else fits', async (t) => {
  const nothing = rulesThatKnow([], []);
  t.equal(nothing.rules.match(PACKET, FACTS, false), -1);
  t.same(nothing.asked, [0, 1], 'not for port 53');
  t.equal(rulesThatKnow([0], []).rules.match(PACKET, FACTS, false), 3);
  t.equal(rulesThatKnow([1], []).rules.match(PACKET, FACTS, false), 4);
  const domain = rulesThatKnow([0], ['example.org']);
  t.equal(domain.rules.match(PACKET, FACTS, false), 2, 'the first that fits');
  t.same(domain.asked, []);
});

t.test('of flows that the other side began no owner is known', async (t) => {
  const { rules, asked } = rulesThatKnow([0, 1], ['example.org']);
  t.equal(rules.match(PACKET, FACTS, true), -1, 'the domain is that of the other side, and this packet comes from ours');
  t.same(asked, []);
});

t.test('what held for the first packet can be given in place of asking', async (t) => {
  const { rules, asked } = rulesThatKnow([0], []);
  const held = rules.heldConditions(PACKET, FACTS);
  t.same([...held], ['user 1000']);
  asked.length = 0;
  t.equal(rules.match(PACKET, FACTS, false, held), 3);
  t.equal(rules.match(PACKET, FACTS, false, new Set()), -1);
  t.same(asked, []);
});

t.test('the kernel is asked under the key that it has written down: every field from a multiple of four bytes on', async (t) => {
  const questions: string[] = [];
  const owners = new OwnerSets(
    {
      nftOpen: () => ({ kind: 'nftables' }),
      nftHasElement: (_, family, table, set, key) => {
        questions.push(`${family} ${table} ${set} ${Buffer.from(key).toString('hex')}`);
        return set === 'owner1_4' ? 1 : -1;
      },
      nftClose: () => {},
    },
    'mptunnel_mpt0_rules',
  );
  t.equal(owners.holds(1, PACKET, FACTS), true);
  const fragment = { ...FACTS, isFragment: true };
  t.equal(owners.holds(0, PACKET, fragment), false, 'no answer is no');
  t.same(questions, [
    '1 mptunnel_mpt0_rules owner1_4 0a4d0002c0000201110000009c400000138c0000',
    '1 mptunnel_mpt0_rules owner0_4n 0a4d0002c000020111000000',
  ]);
  t.same(owners.counters, { ownerLookups: 2, ownerLookupErrors: 1 });
});
