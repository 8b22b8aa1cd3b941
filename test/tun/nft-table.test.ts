import t from 'tap';
import { nftTableName, removeTableScript, replaceTableScript } from '../../src/tun/nft-table.js';

t.test("a table bears the tunnel's name and its purpose, in characters that nft takes, and no two devices share one", async (t) => {
  t.equal(nftTableName('mpt0', 'rules'), 'mptunnel_mpt0_rules');
  t.equal(nftTableName('wg-2.5_x', 'nat'), 'mptunnel_wg-2.5_x_nat');
  t.equal(nftTableName('a@b', 'nat'), 'mptunnel_a/40b_nat');
  t.not(nftTableName('a@b', 'nat'), nftTableName('a=b', 'nat'));
});

t.test('a table is replaced in one script, which does not mind whether it was there', async (t) => {
  t.equal(removeTableScript('ip6', 'mptunnel_mpt0_x'), 'add table ip6 mptunnel_mpt0_x\ndelete table ip6 mptunnel_mpt0_x\n');
  t.equal(
    replaceTableScript('inet', 'mptunnel_mpt0_x', 'set s { type ipv4_addr; }'),
    'add table inet mptunnel_mpt0_x\ndelete table inet mptunnel_mpt0_x\ntable inet mptunnel_mpt0_x {\nset s { type ipv4_addr; }\n}\n',
  );
});
