import t from 'tap';
import { parseIp } from '../../../src/tun/ip-prefix.js';
import { type AddressClass, classifyAddress, createEgressPolicy, isSpecialPurpose } from '../../../src/tunnel/gateway/egress-policy.js';

const address = (text: string): Uint8Array => parseIp(text)!;

t.test('addresses are classed as the special-purpose registries say, at both ends of each range', async (t) => {
  const classes: readonly [AddressClass, readonly string[]][] = [
    ['unspecified', ['0.0.0.0', '0.255.255.255', '::']],
    ['loopback', ['127.0.0.0', '127.255.255.255', '::1', '::ffff:127.0.0.1', '2002:7f00:1::', '64:ff9b::7f00:1']],
    ['private', ['10.0.0.0', '10.255.255.255', '172.16.0.0', '172.31.255.255', '192.168.0.0', '192.168.255.255']],
    ['private', ['fc00::', 'fdff:ffff::1', 'fec0::1', '::ffff:10.1.2.3', '64:ff9b::a00:1', '64:ff9b:1::1', '2002:c0a8:101::1']],
    ['link-local', ['169.254.0.0', '169.254.169.254', 'fe80::1', 'febf::1', '::ffff:169.254.169.254']],
    ['shared', ['100.64.0.0', '100.127.255.255']],
    ['multicast', ['224.0.0.0', '239.255.255.255', 'ff00::', 'ff02::1', 'ffff::1']],
    ['reserved', ['240.0.0.0', '255.255.255.255', '192.0.0.8', '198.18.0.1', '198.19.255.255', '::2', '::10.0.0.1', '100::1']],
    [
      'public',
      ['1.0.0.0', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255', '128.0.0.0', '169.253.255.255'],
    ],
    [
      'public',
      ['172.15.255.255', '172.32.0.0', '192.167.255.255', '192.169.0.0', '192.0.1.0', '198.17.255.255', '198.20.0.0', '223.255.255.255'],
    ],
    [
      'public',
      ['192.0.2.1', '198.51.100.1', '203.0.113.1', '2001:db8::1', '2a00::1', '64:ff9b::808:808', '::ffff:8.8.8.8', '2002:808:808::1'],
    ],
  ];
  for (const [expected, texts] of classes) {
    for (const text of texts) {
      const bytes = address(text);
      t.equal(classifyAddress(bytes, 0, bytes.length === 4 ? 4 : 16), expected, text);
      t.equal(isSpecialPurpose(bytes, 0, bytes.length === 4 ? 4 : 16), expected !== 'public', text);
    }
  }
});

t.test('egress: the public Internet, the own addresses, and what is allowed', async (t) => {
  const policy = createEgressPolicy({ allow: ['192.168.7.0/24', 'fd12::/16'], own: ['10.77.0.1/24', 'fd77::1/64'] });
  const permitted = ['8.8.8.8', '2a00::1', '192.168.7.9', 'fd12::5', '10.77.0.1', 'fd77::1', '::ffff:192.168.7.9', '198.51.100.1'];
  const refused = [
    '127.0.0.1',
    '::1',
    '10.77.0.2',
    'fd77::2',
    '192.168.8.1',
    '169.254.169.254',
    '::ffff:127.0.0.1',
    '0.0.0.0',
    '224.0.0.1',
  ];
  for (const text of permitted) t.equal(policy.permits(address(text)), true, text);
  for (const text of refused) t.equal(policy.permits(address(text)), false, text);
  t.throws(() => policy.permits(new Uint8Array(5)), RangeError);
});

t.test('without egress only own and allowed addresses are reached', async (t) => {
  const policy = createEgressPolicy({ allow: [], own: ['10.77.0.1/24'], publicInternet: false });
  t.equal(policy.permits(address('8.8.8.8')), false);
  t.equal(policy.permits(address('10.77.0.1')), true);
});

t.test('malformed configuration is refused', async (t) => {
  t.throws(() => createEgressPolicy({ allow: ['10.0.0.0/64'], own: [] }), /prefix length/);
  t.throws(() => createEgressPolicy({ allow: [], own: ['here'] }), /own address "here"/);
});

t.test('of what is allowed and denied, the longest prefix that holds an address counts', async (t) => {
  const policy = createEgressPolicy({
    allow: ['10.2.0.0/16', '10.2.9.9'],
    deny: ['10.2.9.0/24', '198.51.100.0/24', '10.77.0.1'],
    own: ['10.77.0.1/24', '10.77.1.1/24'],
  });
  for (const permitted of ['10.2.0.7', '10.2.9.9', '203.0.113.1', '10.77.1.1']) t.ok(policy.permits(address(permitted)), permitted);
  for (const refused of ['10.2.9.8', '198.51.100.7', '10.77.0.1', '10.3.0.1']) t.notOk(policy.permits(address(refused)), refused);
});

t.test('denying everything closes the Internet, and leaves what is allowed', async (t) => {
  const policy = createEgressPolicy({ allow: ['10.2.0.0/16'], deny: ['0.0.0.0/0', '::/0'], own: ['10.77.0.1/24'] });
  for (const permitted of ['10.2.0.7', '10.77.0.1']) t.ok(policy.permits(address(permitted)), permitted);
  for (const refused of ['8.8.8.8', '2a00::1']) t.notOk(policy.permits(address(refused)), refused);
});
