import { execFileSync } from 'node:child_process';
import t from 'tap';
import { replaceTableScript } from '../../../src/tun/nft-table.js';
import type { RuleConfig } from '../../../src/tunnel/config.js';
import { KernelDomains } from '../../../src/tunnel/steering/kernel-domains.js';
import { type KnownAddress, kernelRuleCount, needsNft, nftNeed, rulesTableBody } from '../../../src/tunnel/steering/nft-rules.js';

const CAN_NFT = process.getuid?.() === 0 ? false : 'needs root: nft checks a script against the kernel';
const MARK = 0x6d70;
const NOBODY_KNOWS: readonly KnownAddress[] = [];

function body(rules: readonly RuleConfig[], known = NOBODY_KNOWS): string[] {
  const addresses = ['10.77.0.2/24', 'fd77::2/64'];
  return rulesTableBody({ device: 'mpt0', addresses, rules, mark: MARK, addressesOf: () => known }).split('\n');
}

/** The lines that decide who goes by. */
function decisions(rules: readonly RuleConfig[]): string[] {
  const lines = body(rules);
  const start = lines.indexOf('ct status & confirmed == confirmed return');
  return start < 0 ? [] : lines.slice(start + 1, lines.indexOf('}', start));
}

const BYPASS = 'ct mark set 0x6d70 meta mark set 0x6d70 return';

t.test('only rules by user, fwmark or bypass need nftables', async (t) => {
  t.notOk(
    needsNft([
      { mode: 'redundant', protocols: [17] },
      { domains: ['example.org'], mode: 'pin', paths: ['dsl'] },
    ]),
  );
  t.ok(needsNft([{ users: [0], mode: 'redundant' }]));
  t.ok(needsNft([{ bypass: true }]));
  t.equal(nftNeed([{ fwmark: { value: 1, mask: 1 } }]), 'a [[rule]] with fwmark');
  t.equal(nftNeed([{ fwmark: { value: 1, mask: 1 } }, { users: [1] }]), 'a [[rule]] with user');
  t.equal(nftNeed([{ users: [1] }, { bypass: true }]), 'a [[rule]] with bypass');
  t.same(body([{ mode: 'redundant' }]), ['']);
});

t.test('rules that ask the same share their sets; others have their own', async (t) => {
  const rules: RuleConfig[] = [
    { users: [1000, 7], mode: 'redundant', ports: [80, 80] },
    { users: [7, 1000], mode: 'pin', paths: ['dsl'] },
    { fwmark: { value: 0x10, mask: 0xff }, mode: 'min-delay' },
    { users: [5], bypass: true },
  ];
  const lines = body(rules);
  t.equal(lines.filter((line) => line.startsWith('set owner')).length, 8, 'two conditions, two families, with and without ports');
  t.same(
    lines.filter((line) => line.includes('jump owner')),
    ['oifname "mpt0" meta skuid { 7, 1000 } jump owner0', 'oifname "mpt0" meta mark & 0xff == 0x10 jump owner1'],
  );
});

t.test('a rule becomes a line for each family and direction of ports that it needs', async (t) => {
  t.same(
    decisions([{ bypass: true }]),
    [` ${BYPASS}`].map((line) => line),
  );
  t.same(decisions([{ protocols: [6], ports: [22, 22], bypass: true }]), [
    `meta l4proto { 6 } th dport 22 ${BYPASS}`,
    `meta l4proto { 6 } th sport 22 ${BYPASS}`,
  ]);
  t.same(decisions([{ ports: [5000, 5010], bypass: true }]), [
    `meta l4proto { 6, 17, 33, 132, 136 } th dport 5000-5010 ${BYPASS}`,
    `meta l4proto { 6, 17, 33, 132, 136 } th sport 5000-5010 ${BYPASS}`,
  ]);
  t.same(
    decisions([{ destinations: ['192.0.2.0/24', '192.0.2.128/25'], bypass: true }]),
    [`ip daddr { 192.0.2.0/24 } ${BYPASS}`],
    'IPv6 cannot fit; overlaps are joined',
  );
  t.same(decisions([{ sources: ['10.1.0.0/16'], destinations: ['2001:db8::/32'], bypass: true }]), [], 'nothing can fit');
  t.same(decisions([{ dscp: 46, fwmark: { value: 2, mask: 0xffff_ffff }, bypass: true }]), [
    `ip dscp 46 meta mark & 0xffffffff == 0x2 ${BYPASS}`,
    `ip6 dscp 46 meta mark & 0xffffffff == 0x2 ${BYPASS}`,
  ]);
});

t.test('an earlier rule that fits keeps a flow in the tunnel; those after the last bypass do not matter', async (t) => {
  const rules: RuleConfig[] = [
    { destinations: ['192.0.2.7/32'], mode: 'redundant' },
    { domains: ['example.org'], bypass: true },
    { protocols: [17], mode: 'min-delay' },
  ];
  t.equal(kernelRuleCount(rules), 2);
  t.same(decisions(rules), ['ip daddr { 192.0.2.7/32 } return', `ip daddr @domain1_4 ${BYPASS}`, `ip6 daddr @domain1_6 ${BYPASS}`]);
});

t.test('only what bears an address of the tunnel is masqueraded, and only outside of it', async (t) => {
  const lines = body([{ bypass: true }]).filter((line) => line.includes('masquerade'));
  t.same(lines, [
    'ct mark 0x6d70 oifname != "mpt0" ip saddr { 10.77.0.2 } masquerade',
    'ct mark 0x6d70 oifname != "mpt0" ip6 saddr { fd77::2 } masquerade',
  ]);
});

t.test('hosts of a LAN have no address that is known outside, and nobody but they is masqueraded beside the tunnel', async (t) => {
  const rules = [{ bypass: true }];
  const input = { device: 'mpt0', addresses: ['10.77.0.2/24'], rules, mark: MARK, addressesOf: () => NOBODY_KNOWS };
  const lines = rulesTableBody({ ...input, lanInterfaces: ['br0', 'guest'] }).split('\n');
  t.same(
    lines.filter((line) => line.includes('masquerade')),
    [
      'ct mark 0x6d70 oifname != "mpt0" ip saddr { 10.77.0.2 } masquerade',
      'ct mark 0x6d70 oifname != { "mpt0", "br0", "guest" } fib saddr type != local masquerade',
    ],
  );
});

t.test('addresses that are known already are in the sets from the first moment', async (t) => {
  const known = [
    { address: '192.0.2.1', remainingMs: 1500 },
    { address: 'fd98::2', remainingMs: 10_000 },
  ];
  const sets = body([{ domains: ['example.org'], bypass: true }], known).filter((line) => line.startsWith('set domain'));
  t.match(sets, [/elements = \{ 192\.0\.2\.1 timeout 2s \}/, /elements = \{ fd98::2 timeout 10s \}/]);
});

t.test('the kernel takes it', { skip: CAN_NFT }, async (t) => {
  const rules: RuleConfig[] = [
    { users: [1000, 7], protocols: [17], mode: 'redundant' },
    { fwmark: { value: 0x10, mask: 0xff }, mode: 'min-delay' },
    { domains: ['example.org'], ports: [443, 443], dscp: 10, bypass: true },
    {
      sources: ['10.0.0.0/8', 'fd00::/8', 'fd00:1::/32'],
      destinations: ['0.0.0.0/0', '::/0'],
      users: [3],
      protocols: [1, 58],
      bypass: true,
    },
    { bypass: true },
  ];
  const script = replaceTableScript(
    'inet',
    'mptunnel_mpt0_rules',
    body(rules, [{ address: '::ffff:192.0.2.1', remainingMs: 5000 }]).join('\n'),
  );
  t.doesNotThrow(() => execFileSync('unshare', ['-n', 'nft', '-f', '-'], { input: script, stdio: ['pipe', 'pipe', 'pipe'] }));
});

t.test('news of addresses: what a set does not hold, what it holds too short, and what concerns none', async (t) => {
  const kernel = new KernelDomains();
  const rules: RuleConfig[] = [
    { domains: ['a.example'], mode: 'redundant' },
    { domains: ['a.example', '*.b.example'], bypass: true },
    { domains: ['c.example'], mode: 'redundant' },
  ];
  kernel.setRules(rules, () => [], 0);
  t.equal(kernel.note(['c.example'], '192.0.2.9', 60_000, 0), 'nothing', 'a rule of the planes alone');
  t.equal(kernel.note(['a.example'], '192.0.2.1', 60_000, 0), 'new');
  t.equal(kernel.note(['*.b.example'], 'fd98::1', 60_000, 0), 'new');
  t.same(kernel.takeScript('inet T', 0).trim().split('\n'), [
    ...['domain0_4', 'domain1_4'].flatMap((set) => [
      `add element inet T ${set} { 192.0.2.1 timeout 60s }`,
      `delete element inet T ${set} { 192.0.2.1 }`,
      `add element inet T ${set} { 192.0.2.1 timeout 60s }`,
    ]),
    'add element inet T domain1_6 { fd98::1 timeout 60s }',
    'delete element inet T domain1_6 { fd98::1 }',
    'add element inet T domain1_6 { fd98::1 timeout 60s }',
  ]);
  t.equal(kernel.takeScript('inet T', 0), '');
  t.equal(kernel.note(['a.example'], '192.0.2.1', 70_000, 10_000), 'nothing', 'hardly longer');
  t.equal(kernel.note(['a.example'], '192.0.2.1', 95_000, 35_000), 'longer');
  kernel.takeScript('inet T', 35_000);
  t.equal(kernel.note(['a.example'], '192.0.2.1', 200_000, 96_000), 'new', 'it has left the set meanwhile');
  kernel.setRules(rules, () => [{ address: '192.0.2.1', remainingMs: 50_000 }], 0);
  t.equal(kernel.note(['a.example'], '192.0.2.1', 50_000, 0), 'nothing', 'the table was made with it');
});
