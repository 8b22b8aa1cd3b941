import { execFileSync } from 'node:child_process';
import t from 'tap';
import { killSwitchBody, killSwitchCover } from '../../src/tun/kill-switch.js';
import { lanTable } from '../../src/tun/lan-forwarding.js';
import { orphanedRules } from '../../src/tun/leftover-sweep.js';
import { replaceTableScript } from '../../src/tun/nft-table.js';

const CANNOT_CHECK = process.getuid?.() === 0 ? false : 'needs root: nft asks the kernel even to check';
const PLAN = { device: 'mpt0', mark: 0x6d70, covered: undefined, allow: ['192.168.1.0/24', 'fd00::/8'], lanInterfaces: ['br0'] };

t.test('a default route of either IP version means all there is; less than that means what it says', async (t) => {
  t.equal(killSwitchCover(['0.0.0.0/0']), undefined, 'IPv6 would leak');
  t.equal(killSwitchCover(['10.0.0.0/8', '::/0']), undefined);
  t.equal(killSwitchCover(['0.0.0.0/1', '128.0.0.0/1']), undefined, 'by another name');
  t.strictSame(killSwitchCover(['0.0.0.0/1', '8000::/1']), ['0.0.0.0/1', '8000::/1']);
  t.strictSame(killSwitchCover(['10.0.0.0/8', 'fd00::/8']), ['10.0.0.0/8', 'fd00::/8']);
});

t.test('what is refused comes after all that may leave, and is counted', async (t) => {
  const lines = killSwitchBody(PLAN)
    .split('\n')
    .map((line) => line.trim());
  const judge = lines.slice(lines.indexOf('chain judge {') + 1);
  t.strictSame(judge.slice(0, judge.indexOf('}')), [
    'oifname { "lo", "mpt0", "br0" } accept',
    'meta mark 28016 accept',
    'ip daddr 192.168.1.0/24 accept',
    'ip6 daddr fd00::/8 accept',
    'goto refuse',
  ]);
  const partly = killSwitchBody({ ...PLAN, covered: ['198.51.100.0/24', 'fd98::/64'] });
  t.match(partly, /ip daddr 198\.51\.100\.0\/24 goto refuse\n +ip6 daddr fd98::\/64 goto refuse\n +\}/);
});

t.test('nft takes what is written for it', { skip: CANNOT_CHECK }, async (t) => {
  const tunnel = { device: 'mpt-0.x', mtuBytes: 1420, addresses: ['10.77.0.2/24', 'fd77::2/64'] };
  for (const body of [
    killSwitchBody(PLAN),
    killSwitchBody({ ...PLAN, covered: ['10.0.0.0/8', 'fd00::/8'], allow: [], lanInterfaces: [] }),
    lanTable(tunnel, { interfaces: ['br0'], masquerade: false }).body,
    lanTable(tunnel, { interfaces: ['br0'], masquerade: true }).body,
  ])
    execFileSync('unshare', ['-n', 'nft', '-c', '-f', '-'], { input: replaceTableScript('inet', 'check', body) });
  t.pass('all of it');
});

t.test('rules of ours that lead to a table without routes are left over, with those in front of them', async (t) => {
  const rule = (priority: number, more: object) => ({ priority, protocol: '84', ...more });
  const rules = [
    { priority: 0, table: 'local' },
    rule(32750, { table: 'main', suppress_prefixlen: 0 }),
    rule(32751, { table: '28016' }),
    rule(32760, { table: 'main', suppress_prefixlen: 0 }),
    rule(32761, { table: '28024' }),
    { priority: 32765, table: '99' },
    { priority: 32766, table: 'main' },
  ];
  t.strictSame(orphanedRules(rules, new Set(['main', 'local', '28024'])), [32751, 32750]);
  t.strictSame(orphanedRules(rules, new Set(['main', 'local', '28024', '28016'])), []);
});
