import t from 'tap';
import type { ForwardConfig } from '../../../src/tunnel/config.js';
import { forwardFault, gatewayTable } from '../../../src/tunnel/gateway/gateway-table.js';

const PEERS = [
  { name: 'laptop', allowedIps: ['10.77.0.2/32', 'fd77::2/128'] },
  { name: 'home', allowedIps: ['192.168.1.0/24', '10.77.0.3/32'] },
];
const NOTHING = { device: 'mpt0', nat: false, allow: [], forwards: [], peers: PEERS };

const rules = (text: string | undefined, chain: string): string[] => {
  const lines = (text ?? '').split('\n').map((line) => line.trim());
  const begin = lines.indexOf(`chain ${chain} {`);
  return begin < 0 ? [] : lines.slice(begin + 2, lines.indexOf('}', begin));
};

t.test('without NAT and forwards there is no table', async (t) => {
  t.equal(gatewayTable(NOTHING), undefined);
  t.equal(gatewayTable({ ...NOTHING, forwards: [{ protocol: 'tcp', ports: [80, 80], to: { peer: 'nobody' } }] }), undefined);
});

t.test('NAT masquerades what leaves by another device, and lets nobody begin with a peer but `allow` and forwards', async (t) => {
  const table = gatewayTable({ ...NOTHING, nat: true, allow: ['192.168.9.7/24', 'fd99::/64'] });
  t.same(rules(table, 'leaving'), ['iifname "mpt0" oifname != "mpt0" masquerade']);
  t.same(rules(table, 'passing'), [
    'oifname != "mpt0" return',
    'iifname "mpt0" return',
    'ct status dnat return',
    'ip saddr 192.168.9.0/24 return',
    'ip6 saddr fd99::/64 return',
    'ct state new counter drop',
  ]);
  t.same(rules(table, 'arriving'), []);
});

t.test("a forward to a peer leads to its addresses, of both IP versions, by its own port or another's", async (t) => {
  const forwards: ForwardConfig[] = [
    { protocol: 'tcp', ports: [2222, 2222], to: { peer: 'laptop', port: 22 } },
    { protocol: 'udp', ports: [5000, 5010], to: { peer: 'laptop' } },
  ];
  t.same(rules(gatewayTable({ ...NOTHING, forwards }), 'arriving'), [
    'iifname "mpt0" return',
    'meta nfproto ipv4 tcp dport 2222 fib daddr type local counter dnat ip to 10.77.0.2:22',
    'meta nfproto ipv6 tcp dport 2222 fib daddr type local counter dnat ip6 to [fd77::2]:22',
    'meta nfproto ipv4 udp dport 5000-5010 fib daddr type local counter dnat ip to 10.77.0.2',
    'meta nfproto ipv6 udp dport 5000-5010 fib daddr type local counter dnat ip6 to fd77::2',
  ]);
});

t.test('an address of this host narrows a forward to its IP version; a host behind a peer is a target too', async (t) => {
  const forwards: ForwardConfig[] = [
    { protocol: 'tcp', ports: [80, 80], address: '203.0.113.1', to: { peer: 'laptop' } },
    { protocol: 'tcp', ports: [81, 81], to: { address: '192.168.1.10', port: 80 } },
  ];
  t.same(rules(gatewayTable({ ...NOTHING, forwards }), 'arriving').slice(1), [
    'ip daddr 203.0.113.1 tcp dport 80 fib daddr type local counter dnat ip to 10.77.0.2',
    'meta nfproto ipv4 tcp dport 81 fib daddr type local counter dnat ip to 192.168.1.10:80',
  ]);
});

t.test('a forward that leads nowhere says why', async (t) => {
  const fault = (to: ForwardConfig['to'], address?: string) =>
    forwardFault({ protocol: 'tcp', ports: [80, 80], to, ...(address === undefined ? {} : { address }) }, PEERS);
  t.equal(fault({ peer: 'laptop' }), undefined);
  t.equal(fault({ peer: 'phone' }), 'there is no peer "phone" yet');
  t.equal(fault({ address: '192.168.2.1' }), 'no peer has 192.168.2.1 in its allowed_ips');
  t.equal(fault({ peer: 'home' }, '2001:db8::1'), 'peer "home" has no IPv6 address of its own (a /128) in its allowed_ips');
});

t.test('a site translates what goes to the Internet, and nothing on its way to its own hosts', async (t) => {
  t.same(rules(gatewayTable({ ...NOTHING, nat: true, isSite: true, allow: ['10.1.0.0/24', 'fd01::/64'] }), 'leaving'), [
    'ip daddr 10.1.0.0/24 return',
    'ip6 daddr fd01::/64 return',
    'iifname "mpt0" oifname != "mpt0" masquerade',
  ]);
});
