import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { createIpPacketFacts, parseIpPacket } from '../../src/mptcp-over-udp/wire/ip-header.js';
import { parseIp } from '../../src/tun/ip-prefix.js';
import type { NftTable } from '../../src/tun/nft-table.js';
import type { RuleConfig } from '../../src/tunnel/config.js';
import { type ResolvedAddress, RulesInForce } from '../../src/tunnel/rules-in-force.js';
import { dnsAnswer } from './steering/dns-messages.js';
import { udpPacket } from './steering/udp-packets.js';

const BYPASS: RuleConfig = { domains: ['*.example.org'], bypass: true };
const WEB = parseIp('192.0.2.1')!;
const ANSWER = dnsAnswer('www.example.org', [{ name: 'www.example.org', type: 'A', ttl: 60, data: '192.0.2.1' }]);

interface World {
  rules: RulesInForce;
  /** What nft was asked, in order. */
  done: string[];
  delivered: string[];
  warnings: string[];
  /** A fault of the next call. */
  failNext(message: string): void;
  knows(domain: string): boolean;
}

function world(resolve: (name: string) => Promise<readonly ResolvedAddress[]> = async () => []): World {
  const made: Omit<World, 'rules' | 'failNext' | 'knows'> = { done: [], delivered: [], warnings: [] };
  let fault = '';
  const step = async (what: string): Promise<void> => {
    await turn();
    const message = fault;
    fault = '';
    if (message !== '') throw new Error(message);
    made.done.push(what);
  };
  const rules = new RulesInForce({
    device: 'mpt0',
    addresses: ['10.77.0.2/24'],
    native: { nftOpen: () => ({ kind: 'nftables' }), nftHasElement: () => 1, nftClose: () => {} },
    tables: () => ({
      nameOf: (purpose) => `mptunnel_mpt0_${purpose}`,
      apply: ({ family, purpose, body, neededBy }: NftTable) => step(`apply ${family} ${purpose} for ${neededBy}: ${body}`),
      remove: (family, purpose) => step(`remove ${family} ${purpose}`),
      change: (script) => step(script),
    }),
    makeBypassable: async () => 0x6d70,
    deliver: (packet, segmentBytes) => made.delivered.push(`${Buffer.from(packet).toString('hex')} ${segmentBytes}`),
    warn: (message) => made.warnings.push(message),
    resolve,
  });
  const knows = (domain: string): boolean => rules.hasAddress([domain], WEB, 0, 4);
  return { ...made, rules, failNext: (message) => (fault = message), knows };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await turn();
}

t.test('an answer that a bypass needs waits until the kernel knows its addresses; a second one does not', async (t) => {
  const { rules, done, delivered, knows } = world();
  t.teardown(() => rules.close());
  await rules.apply([BYPASS]);
  t.match(done[0], /^apply inet rules for a \[\[rule\]\] with bypass: set domain0_4 /);
  t.equal(rules.learn(ANSWER, 0, ANSWER.length), true);
  rules.hold(new Uint8Array([1, 2]), 7);
  t.same(delivered, []);
  await settle();
  t.match(done[1], /^add element inet mptunnel_mpt0_rules domain0_4 \{ 192\.0\.2\.1 timeout 360s \}/);
  t.same(delivered, ['0102 7']);
  t.equal(rules.learn(ANSWER, 0, ANSWER.length), false);
  t.ok(knows('*.example.org'));
});

t.test('an answer goes on when nft fails, and the next one tries again', async (t) => {
  const { rules, delivered, warnings, failNext, done } = world();
  t.teardown(() => rules.close());
  await rules.apply([BYPASS]);
  failNext('no room');
  t.equal(rules.learn(ANSWER, 0, ANSWER.length), true);
  rules.hold(new Uint8Array([1]), 0);
  await settle();
  t.same(delivered, ['01 0']);
  t.match(warnings, [/did not get into nftables: no room/]);
  t.equal(rules.learn(ANSWER, 0, ANSWER.length), true);
  await settle();
  t.match(done.at(-1), /^add element/);
});

t.test('a domain of the planes alone needs no nftables, and holds nothing back', async (t) => {
  const { rules, done, knows } = world();
  t.teardown(() => rules.close());
  await rules.apply([{ domains: ['*.example.org'], mode: 'redundant' }]);
  t.ok(rules.hasDomains);
  t.equal(rules.learn(ANSWER, 0, ANSWER.length), false);
  t.ok(knows('*.example.org'));
  await settle();
  t.same(done, ['remove inet rules']);
});

t.test('names are asked for at the start', async (t) => {
  const asked: string[] = [];
  const { rules, done, knows } = world(async (name) => {
    asked.push(name);
    return [{ address: '192.0.2.1', ttlSeconds: 3600 }];
  });
  t.teardown(() => rules.close());
  await rules.apply([{ domains: ['example.org', '*.example.org'], bypass: true }]);
  await settle();
  t.same(asked, ['example.org'], 'nobody can list what is below');
  t.ok(knows('example.org'));
  t.notOk(knows('*.example.org'));
  t.match(done[1], /domain0_4 \{ 192\.0\.2\.1 timeout 3900s \}/);
});

t.test('what is known goes into the next table; rules that cannot be had leave those from before', async (t) => {
  const { rules, done, failNext, knows } = world();
  t.teardown(() => rules.close());
  await rules.apply([BYPASS]);
  rules.learn(ANSWER, 0, ANSWER.length);
  await settle();
  failNext('no nft');
  await t.rejects(rules.apply([{ domains: ['other.example'], bypass: true }]), { message: 'no nft' });
  t.ok(rules.hasDomains);
  t.ok(knows('*.example.org'));
  await rules.apply([{ mode: 'redundant', users: [0] }, BYPASS]);
  t.match(done.at(-1), /set domain1_4 \{[^}]*elements = \{ 192\.0\.2\.1 timeout \d+s \}/);
  await rules.apply([]);
  t.equal(done.at(-1), 'remove inet rules');
  t.notOk(knows('*.example.org'));
});

t.test('an address that is learned while a table is made gets into it', async (t) => {
  const { rules, done } = world();
  t.teardown(() => rules.close());
  await rules.apply([BYPASS]);
  const applied = rules.apply([{ mode: 'redundant', users: [0] }, BYPASS]);
  await turn();
  rules.learn(ANSWER, 0, ANSWER.length);
  await applied;
  await settle();
  t.match(done.at(-1), /^add element inet mptunnel_mpt0_rules domain1_4 \{ 192\.0\.2\.1 /);
});

t.test('the kernel is asked only while there is a table to ask', async (t) => {
  const { rules } = world();
  t.teardown(() => rules.close());
  const packet = udpPacket('10.77.0.2', '192.0.2.1', 40_000, 5004, new Uint8Array(8));
  const facts = createIpPacketFacts();
  t.equal(parseIpPacket(packet, 0, packet.length, facts), '');
  t.notOk(rules.holds(0, packet, facts));
  await rules.apply([{ mode: 'redundant', users: [0] }]);
  t.ok(rules.holds(0, packet, facts));
  await rules.apply([]);
  t.notOk(rules.holds(0, packet, facts));
});
