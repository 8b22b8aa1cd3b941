import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type ConfigError, configPath, loadConfig, parseConfig } from '../../src/tunnel/config-file.js';
import { lineOfKey } from '../../src/tunnel/toml-lines.js';

const PRIVATE = 'YAnwFRZZXAnVRXB0fEMfnNFHnUVBVEJrgYNyg15JQGM=';
const OWN_PUBLIC = 'R0IhQ3c/fQfNdIL68H5ya1gHThbLkMf+t1RHFnOXMBk=';
const PUBLIC = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=';
const FILE = '/nowhere/mpt0.toml';

const INTERFACE = `[interface]\nprivate_key = "${PRIVATE}"\naddress = ["10.77.0.2/24"]\n`;
const PEER = `[[peer]]\npublic_key = "${PUBLIC}"\nendpoint = "203.0.113.1:5180"\nallowed_ips = ["198.51.100.0/24"]\n`;

const FULL = `
[interface]
name = "bond0"
private_key = "${PRIVATE}"
address = ["10.77.0.2/24", "FD77:0::2/64"]
listen_port = 5180
mtu = 1400
[[path]]
name = "dsl"
interface = "wan0"
[[path]]
name = "lte"
interface = "wan1"
address = "10.90.0.1"
[[peer]]
name = "vps"
public_key = "${PUBLIC}"
preshared_key = "${PUBLIC}"
endpoint = "[2001:db8::1]:5180"
allowed_ips = ["198.51.100.77/24", "0.0.0.0/0", "::/0"]
[egress]
mode = "socket"
allow = ["10.0.0.0/8"]
[stream]
scheduler = "min-rtt"
congestion_control = "cubic"
steer = "datagram"
header_compression = false
`;

function refusal(document: string, file = FILE): ConfigError {
  try {
    parseConfig(document, file);
  } catch (error) {
    return error as ConfigError;
  }
  throw new Error('was accepted');
}

t.test('every key of the format reaches the configuration, prefixes in canonical form', async (t) => {
  const config = parseConfig(FULL, FILE);
  t.same(config.interface, {
    name: 'bond0',
    privateKey: new Uint8Array(Buffer.from(PRIVATE, 'base64')),
    addresses: ['10.77.0.2/24', 'fd77::2/64'],
    listenPort: 5180,
    mtuBytes: 1400,
  });
  t.same(config.paths, [
    { name: 'dsl', interface: 'wan0', address: undefined },
    { name: 'lte', interface: 'wan1', address: '10.90.0.1' },
  ]);
  const key = new Uint8Array(Buffer.from(PUBLIC, 'base64'));
  t.same(config.peers, [
    {
      name: 'vps',
      publicKey: key,
      presharedKey: key,
      endpoint: '[2001:db8::1]:5180',
      allowedIps: ['198.51.100.0/24', '0.0.0.0/0', '::/0'],
    },
  ]);
  t.same(config.egress, { mode: 'socket', allow: ['10.0.0.0/8'] });
  t.same(config.stream, { scheduler: 'min-rtt', congestionControl: 'cubic', steer: 'datagram', headerCompression: false });
});

t.test('defaults: name of the file, MTU 1420, one automatic path for a client, no egress', async (t) => {
  const config = parseConfig(INTERFACE + PEER, FILE);
  t.equal(config.interface.name, 'mpt0');
  t.equal(config.interface.mtuBytes, 1420);
  t.equal(config.interface.listenPort, undefined);
  t.same(config.paths, [{ name: 'default', interface: undefined, address: undefined }]);
  t.equal(config.peers[0]?.name, 'peer1');
  t.equal(config.egress, undefined);
  t.same(config.stream, { scheduler: 'ecf', congestionControl: 'bbr', steer: 'aggregate', headerCompression: true });
});

t.test('every scheduler and congestion control goes by its name', async (t) => {
  for (const scheduler of ['min-rtt', 'blest', 'ecf', 'redundant', 'round-robin', 'priority'] as const) {
    t.equal(parseConfig(FULL.replace('"min-rtt"', `"${scheduler}"`), FILE).stream.scheduler, scheduler);
  }
  for (const congestionControl of ['bbr', 'cubic', 'reno', 'lia', 'olia', 'balia', 'wvegas'] as const) {
    t.equal(parseConfig(FULL.replace('"cubic"', `"${congestionControl}"`), FILE).stream.congestionControl, congestionControl);
  }
  t.match(refusal(FULL.replace('"cubic"', '"vegas"')).message, /congestion_control.*wvegas/s);
});

t.test('rules in their order, with protocols as numbers and ranges of ports; priority and backup of paths', async (t) => {
  const paths = '[[path]]\nname = "dsl"\ninterface = "wan0"\npriority = 2\n[[path]]\nname = "lte"\ninterface = "wan1"\nbackup = true\n';
  const rules = `
[[rule]]
protocol = "udp"
port = "5004-5010"
destination = ["198.51.100.7/24", "2001:DB8::/32"]
source = ["10.77.0.2"]
dscp = 46
mode = "redundant"
paths = ["lte", "dsl"]
[[rule]]
protocol = "icmp"
mode = "active-standby"
[[rule]]
protocol = 17
port = 53
mode = "min-delay"
[[rule]]
mode = "aggregate"
`;
  const config = parseConfig(INTERFACE + paths + PEER + rules, FILE);
  t.same(config.rules, [
    {
      mode: 'redundant',
      protocols: [17],
      ports: [5004, 5010],
      destinations: ['198.51.100.0/24', '2001:db8::/32'],
      sources: ['10.77.0.2/32'],
      dscp: 46,
      paths: ['lte', 'dsl'],
    },
    { mode: 'active-standby', protocols: [1, 58] },
    { mode: 'min-delay', protocols: [17], ports: [53, 53] },
    { mode: 'aggregate' },
  ]);
  t.match(config.paths, [
    { name: 'dsl', priority: 2 },
    { name: 'lte', backup: true },
  ]);
  t.equal(parseConfig(INTERFACE + PEER, FILE).rules, undefined);
});

t.test('a rule behind one that takes every flow is pointed out; a server cannot check names of paths', async (t) => {
  const warnings: string[] = [];
  parseConfig(`${INTERFACE}${PEER}[[rule]]\nmode = "aggregate"\n[[rule]]\nprotocol = "udp"\nmode = "redundant"\n`, FILE, (line) =>
    warnings.push(line),
  );
  t.match(warnings, [/\[\[rule\]\] 2 is never reached: \[\[rule\]\] 1 has no condition/]);
  const server = `${INTERFACE}listen_port = 1\n[[peer]]\npublic_key = "${PUBLIC}"\nallowed_ips = ["10.77.0.3"]\n[[rule]]\nmode = "pin"\npaths = ["lte"]\n`;
  t.match(parseConfig(server, FILE).rules, [{ paths: ['lte'] }]);
});

t.test('a server may wait for its first peer, and says where clients reach it', async (t) => {
  const config = parseConfig(`${INTERFACE}listen_port = 5180\nendpoint = "vpn.example.org"\n`, FILE);
  t.same(config.peers, []);
  t.equal(config.interface.publicEndpoint, 'vpn.example.org');
  t.throws(() => parseConfig(`${INTERFACE}listen_port = 5180\nendpoint = "a b"\n`, FILE), { code: 'bad-value' });
});

t.test('a server has no path of its own', async (t) => {
  const config = parseConfig(`${INTERFACE}listen_port = 5180\n[[peer]]\npublic_key = "${PUBLIC}"\nallowed_ips = ["10.77.0.3"]\n`, FILE);
  t.same(config.paths, []);
  t.same(config.peers[0]?.allowedIps, ['10.77.0.3/32']);
});

const MESSAGES = [
  'no interface: [missing-key] /nowhere/mpt0.toml: [interface] is missing: every configuration begins with it',
  'no peer: [missing-key] /nowhere/mpt0.toml: [[peer]] is missing: a tunnel needs one, with the public_key of the other side',
  'empty file: [missing-key] /nowhere/mpt0.toml: [interface] is missing: every configuration begins with it',
  'not TOML: [syntax] /nowhere/mpt0.toml:1: is not valid TOML: illegal character in key (column 11)',
  'key twice: [syntax] /nowhere/mpt0.toml:4: is not valid TOML: trying to redefine an already defined table or value (column 1)',
  'unknown table: [unknown-key] /nowhere/mpt0.toml:8: pears is not known here: known are interface, path, paths, peer, egress, forward, stream, metrics, rule, carriers, dns, lan',
  'unknown table without a likeness: [unknown-key] /nowhere/mpt0.toml:8: zebra is not known here: known are interface, path, paths, peer, egress, forward, stream, metrics, rule, carriers, dns, lan',
  'WireGuard spelling: [unknown-key] /nowhere/mpt0.toml:2: [interface] PrivateKey is not known: did you mean "private_key"?',
  'typing error in the second peer: [unknown-key] /nowhere/mpt0.toml:9: [[peer]] 2: pubic_key is not known: did you mean "public_key"?',
  'private key missing: [missing-key] /nowhere/mpt0.toml:1: [interface] private_key is missing: make one with `mptunnel genkey` (or name private_key_file)',
  'private key and file: [conflict] /nowhere/mpt0.toml:4: [interface] private_key_file stands beside private_key: keep one of the two',
  'private key file missing: [key-file] /nowhere/mpt0.toml:2: [interface] private_key_file /nowhere/key does not exist: make it with `mptunnel genkey > /nowhere/key`',
  'private key too short: [bad-value] /nowhere/mpt0.toml:2: [interface] private_key is not a key (32 bytes in base64, 44 characters): make one with `mptunnel genkey`',
  'private key is a number: [bad-value] /nowhere/mpt0.toml:2: [interface] private_key must be text in quotes, not 5',
  'own public key: [conflict] /nowhere/mpt0.toml:5: [[peer]] 1: public_key is the public key of this side: put the key of the other side here',
  "public key missing: [missing-key] /nowhere/mpt0.toml:4: [[peer]] 1: public_key is missing: print the other side's with `mptunnel pubkey < ITS_PRIVATE_KEY` there",
  "public key not base64: [bad-value] /nowhere/mpt0.toml:5: [[peer]] 1: public_key is not a key (32 bytes in base64, 44 characters): print the peer's with `mptunnel pubkey < ITS_PRIVATE_KEY` there",
  'preshared key too long: [bad-value] /nowhere/mpt0.toml:8: [[peer]] 1: preshared_key is not a key (32 bytes in base64, 44 characters): make one with `mptunnel genpsk` and give it to both sides',
  'two peers with one key: [conflict] /nowhere/mpt0.toml:9: [[peer]] 2: public_key is that of another [[peer]] too: join the two, or correct one key',
  'two peers with one prefix: [conflict] /nowhere/mpt0.toml:11: [[peer]] 2: allowed_ips 198.51.100.0/24 belongs to peer "peer1" already: a prefix has one peer',
  'two peers with one name: [conflict] /nowhere/mpt0.toml:13: [[peer]] 2: name "a" is taken by another [[peer]]: choose another',
  'neither listen_port nor endpoint: [missing-key] /nowhere/mpt0.toml:1: [interface] listen_port is missing and no [[peer]] has an endpoint: a server needs listen_port (or relays), a client needs endpoint (or a [[path]] with via)',
  'endpoint without a port: [bad-value] /nowhere/mpt0.toml:6: [[peer]] 1: endpoint "203.0.113.1" is no endpoint: write it as 203.0.113.1:5180, [2001:db8::1]:5180 or vpn.example.org:5180',
  'endpoint with a bad port: [bad-value] /nowhere/mpt0.toml:6: [[peer]] 1: endpoint "203.0.113.1:70000" is no endpoint: write it as 203.0.113.1:5180, [2001:db8::1]:5180 or vpn.example.org:5180',
  'endpoint with bare IPv6: [bad-value] /nowhere/mpt0.toml:6: [[peer]] 1: endpoint "2001:db8::1:5180" is no endpoint: write it as 203.0.113.1:5180, [2001:db8::1]:5180 or vpn.example.org:5180',
  'endpoint with a broken IPv4: [bad-value] /nowhere/mpt0.toml:6: [[peer]] 1: endpoint "203.0.113:5180" is no endpoint: write it as 203.0.113.1:5180, [2001:db8::1]:5180 or vpn.example.org:5180',
  'address missing: [missing-key] /nowhere/mpt0.toml:1: [interface] address is missing: give the address inside the tunnel, as address = ["10.77.0.2/24"]',
  'address not a list: [bad-value] /nowhere/mpt0.toml:3: [interface] address must be a list: ["10.77.0.2/24"]',
  'address empty: [bad-value] /nowhere/mpt0.toml:3: [interface] address is empty: give at least one, as address = ["10.77.0.2/24"]',
  'address out of range: [bad-value] /nowhere/mpt0.toml:3: [interface] address "10.77.0.2/33" is no address: write it with its prefix length, as 10.77.0.2/24 or fd77::2/64',
  'address twice: [conflict] /nowhere/mpt0.toml:3: [interface] address holds fd77:0::2/64 twice: remove one',
  'allowed_ips with a host name: [bad-value] /nowhere/mpt0.toml:7: [[peer]] 1: allowed_ips "example.org" is no IP prefix: write it as 198.51.100.0/24 or 2001:db8::/32',
  'listen_port zero: [bad-value] /nowhere/mpt0.toml:4: [interface] listen_port must be a whole number from 1 to 65535, not 0',
  'listen_port in quotes: [bad-value] /nowhere/mpt0.toml:4: [interface] listen_port must be a number without quotes, not "5180"',
  'mtu too small for IPv6: [bad-value] /nowhere/mpt0.toml:4: [interface] mtu must be at least 1280 for the IPv6 address in `address`',
  'interface name too long: [bad-value] /nowhere/mpt0.toml:4: [interface] name "a-very-long-name" is longer than the 15 characters that Linux allows',
  'interface name with a slash: [bad-value] /nowhere/mpt0.toml:4: [interface] name "a/b" is no name of a network interface: use letters, digits, "-", "_" and "."',
  'path with single brackets: [bad-value] /nowhere/mpt0.toml:4: [[path]] must be written with double brackets: [[path]]',
  'path without a name: [missing-key] /nowhere/mpt0.toml:4: [[path]] 1: name is missing: give the uplink a name, as name = "dsl"',
  'path name too long: [bad-value] /nowhere/mpt0.toml:5: [[path]] 1: name "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" is longer than 32 characters',
  'path names equal: [conflict] /nowhere/mpt0.toml:8: [[path]] 2: name "dsl" is taken by another [[path]]: choose another',
  'paths on one uplink: [conflict] /nowhere/mpt0.toml:7: [[path]] 2 "b" leaves by the same interface and address as another [[path]]: each needs an uplink of its own',
  'path through the tunnel: [conflict] /nowhere/mpt0.toml:6: [[path]] 1: interface "mpt0" is the tunnel itself: name the interface of an uplink',
  'path address with a length: [bad-value] /nowhere/mpt0.toml:6: [[path]] 1: address "10.90.0.1/24" is no IP address (write it without a prefix length)',
  'prefix allowed and denied: [conflict] /nowhere/mpt0.toml:10: [egress] deny holds 10.2.0.0/16, as `allow` does: remove one of the two',
  'unknown egress mode: [bad-value] /nowhere/mpt0.toml:9: [egress] mode must be "socket" or "tun"',
  'unknown congestion control: [bad-value] /nowhere/mpt0.toml:9: [stream] congestion_control must be "bbr" or "cubic" or "reno" or "lia" or "olia" or "balia" or "wvegas": did you mean "reno"?',
  'rule without a mode: [missing-key] /nowhere/mpt0.toml:10: [[rule]] 1: mode is missing: say how its packets go, as mode = "redundant" (or by paths, plane, or bypass = true)',
  'rule with a mistyped mode: [bad-value] /nowhere/mpt0.toml:11: [[rule]] 1: mode must be "min-delay" or "redundant" or "aggregate" or "active-standby" or "priority" or "pin": did you mean "redundant"?',
  'rule with a mistyped key: [unknown-key] /nowhere/mpt0.toml:11: [[rule]] 1: ports is not known: did you mean "port"?',
  'rule with single brackets: [bad-value] /nowhere/mpt0.toml:10: [[rule]] must be written with double brackets: [[rule]]',
  'rule with a mistyped protocol: [bad-value] /nowhere/mpt0.toml:11: [[rule]] 1: protocol must be "icmp" or "tcp" or "udp" or "gre" or "esp" or "sctp", or a number from 0 to 255: did you mean "udp"?',
  'rule with a backward range: [bad-value] /nowhere/mpt0.toml:11: [[rule]] 1: port must be a port (5004) or a range in quotes ("5004-5010"), not "5010-5004"',
  'rule with port 0: [bad-value] /nowhere/mpt0.toml:11: [[rule]] 1: port must be a port (5004) or a range in quotes ("5004-5010"), not 0',
  'rule with ports of ICMP: [conflict] /nowhere/mpt0.toml:12: [[rule]] 1: port does not go with protocol "icmp": that has no ports',
  'rule with dscp 64: [bad-value] /nowhere/mpt0.toml:11: [[rule]] 1: dscp must be a whole number from 0 to 63, not 64',
  'rule with a host name: [bad-value] /nowhere/mpt0.toml:11: [[rule]] 1: destination "example.org" is no IP prefix: write it as 198.51.100.0/24 or 2001:db8::/32',
  'rule with a mistyped path: [bad-value] /nowhere/mpt0.toml:11: [[rule]] 1: paths "dls" is the name of no [[path]]: did you mean "dsl"?',
  'rule with an unknown path: [bad-value] /nowhere/mpt0.toml:11: [[rule]] 1: paths "starlink" is the name of no [[path]]: known are "dsl"',
  'rule with a path twice: [conflict] /nowhere/mpt0.toml:11: [[rule]] 1: paths names "dsl" twice: remove one',
  'rule without paths: [bad-value] /nowhere/mpt0.toml:11: [[rule]] 1: paths is empty: name a path, or leave the key out for all paths',
  'pin without a path: [missing-key] /nowhere/mpt0.toml:10: [[rule]] 1: paths must name the one path of mode "pin", as paths = ["dsl"]',
  'pin with two paths: [bad-value] /nowhere/mpt0.toml:11: [[rule]] 1: paths must name the one path of mode "pin", as paths = ["dsl"]',
  'path priority in quotes: [bad-value] /nowhere/mpt0.toml:6: [[path]] 1: priority must be a number without quotes, not "1"',
  'path backup in quotes: [bad-value] /nowhere/mpt0.toml:6: [[path]] 1: backup must be true or false, not "yes"',
];

t.test('paths by themselves: in a word, or in a table with what is wanted', async (t) => {
  const auto = (text: string) => parseConfig(text, FILE);
  t.same(auto(`paths = "auto"\n${INTERFACE}${PEER}`).autoPaths, { include: undefined, exclude: [] });
  t.same(auto(`paths = "auto"\n${INTERFACE}${PEER}`).paths, [], 'no path goes wherever the routing table says');
  t.same(auto(`${INTERFACE}[paths]\nauto = true\ninclude = ["wwan*"]\nexclude = ["docker*", "eth0.7"]\n${PEER}`).autoPaths, {
    include: ['wwan*'],
    exclude: ['docker*', 'eth0.7'],
  });
  t.equal(auto(`${INTERFACE}[paths]\nauto = false\n${PEER}`).autoPaths, undefined);
  const beside = auto(
    `paths = "auto"\n${INTERFACE}[[path]]\nname = "lte"\ninterface = "wwan0"\nbackup = true\n${PEER}[[rule]]\nmode = "pin"\npaths = ["eth0"]\n`,
  );
  t.match(beside.paths, [{ name: 'lte', interface: 'wwan0', backup: true }]);
  t.same(beside.rules, [{ mode: 'pin', paths: ['eth0'] }], 'a rule may name a path that comes later');
  t.throws(() => auto(`paths = "all"\n${INTERFACE}${PEER}`), {
    code: 'bad-value',
    message: `${FILE}:1: [paths] must be "auto", or a table [paths] with auto = true`,
  });
  t.throws(() => auto(`${INTERFACE}[paths]\nexclude = ["a"]\n${PEER}`), {
    code: 'missing-key',
    message: /\[paths\] auto is missing: say auto = true/,
  });
  t.throws(() => auto(`${INTERFACE}[paths]\nauto = true\nskip = []\n${PEER}`), {
    code: 'unknown-key',
    message: /known are auto, include, exclude/,
  });
  t.throws(() => auto(`${INTERFACE}[paths]\nauto = true\nexclude = ["a b"]\n${PEER}`), {
    code: 'bad-value',
    message: /is no name of a network interface/,
  });
  t.throws(() => auto(`paths = "auto"\n${INTERFACE}[[path]]\nname = "x"\n${PEER}`), {
    code: 'missing-key',
    message: /is about one interface/,
  });
});

t.test('each refusal is one line with a stable code', async (t) => {
  const path = (lines: string): string => `${INTERFACE}[[path]]\n${lines}${PEER}`;
  const rule = (lines: string): string => `${path('name = "dsl"\n')}[[rule]]\n${lines}`;
  const cases: Record<string, string> = {
    'no interface': PEER,
    'no peer': INTERFACE,
    'empty file': '',
    'not TOML': '[interface\n',
    'key twice': `${INTERFACE}address = []\n${PEER}`,
    'unknown table': `${INTERFACE}${PEER}[pears]\n`,
    'unknown table without a likeness': `${INTERFACE}${PEER}[zebra]\n`,
    'WireGuard spelling': `[interface]\nPrivateKey = "${PRIVATE}"\naddress = ["10.77.0.2/24"]\n${PEER}`,
    'typing error in the second peer': `${INTERFACE}${PEER}[[peer]]\npubic_key = "${PUBLIC}"\n`,
    'private key missing': `[interface]\naddress = ["10.77.0.2/24"]\n${PEER}`,
    'private key and file': `${INTERFACE}private_key_file = "key"\n${PEER}`,
    'private key file missing': `[interface]\nprivate_key_file = "key"\naddress = ["10.77.0.2/24"]\n${PEER}`,
    'private key too short': `[interface]\nprivate_key = "abcd"\naddress = ["10.77.0.2/24"]\n${PEER}`,
    'private key is a number': `[interface]\nprivate_key = 5\naddress = ["10.77.0.2/24"]\n${PEER}`,
    'own public key': `${INTERFACE}[[peer]]\npublic_key = "${OWN_PUBLIC}"\nendpoint = "203.0.113.1:5180"\n`,
    'public key missing': `${INTERFACE}[[peer]]\nendpoint = "203.0.113.1:5180"\n`,
    'public key not base64': `${INTERFACE}[[peer]]\npublic_key = "${PUBLIC.replace('x', '!')}"\n`,
    'preshared key too long': `${INTERFACE}${PEER}preshared_key = "${PUBLIC}AA"\n`,
    'two peers with one key': `${INTERFACE}${PEER}${PEER}`,
    'two peers with one prefix': `${INTERFACE}${PEER}${PEER.replace(PUBLIC, PRIVATE)}`,
    'two peers with one name': `${INTERFACE}${PEER}name = "a"\n${PEER.replace(PUBLIC, PRIVATE)}name = "a"\n`,
    'neither listen_port nor endpoint': `${INTERFACE}[[peer]]\npublic_key = "${PUBLIC}"\n`,
    'endpoint without a port': `${INTERFACE}${PEER.replace(':5180', '')}`,
    'endpoint with a bad port': `${INTERFACE}${PEER.replace(':5180', ':70000')}`,
    'endpoint with bare IPv6': `${INTERFACE}${PEER.replace('203.0.113.1', '2001:db8::1')}`,
    'endpoint with a broken IPv4': `${INTERFACE}${PEER.replace('203.0.113.1', '203.0.113')}`,
    'address missing': `[interface]\nprivate_key = "${PRIVATE}"\n${PEER}`,
    'address not a list': `[interface]\nprivate_key = "${PRIVATE}"\naddress = "10.77.0.2/24"\n${PEER}`,
    'address empty': `[interface]\nprivate_key = "${PRIVATE}"\naddress = []\n${PEER}`,
    'address out of range': `[interface]\nprivate_key = "${PRIVATE}"\naddress = ["10.77.0.2/33"]\n${PEER}`,
    'address twice': `[interface]\nprivate_key = "${PRIVATE}"\naddress = ["fd77::2/64", "fd77:0::2/64"]\n${PEER}`,
    'allowed_ips with a host name': `${INTERFACE}${PEER.replace('198.51.100.0/24', 'example.org')}`,
    'listen_port zero': `${INTERFACE}listen_port = 0\n${PEER}`,
    'listen_port in quotes': `${INTERFACE}listen_port = "5180"\n${PEER}`,
    'mtu too small for IPv6': `[interface]\nprivate_key = "${PRIVATE}"\naddress = ["fd77::2/64"]\nmtu = 1279\n${PEER}`,
    'interface name too long': `${INTERFACE}name = "a-very-long-name"\n${PEER}`,
    'interface name with a slash': `${INTERFACE}name = "a/b"\n${PEER}`,
    'path with single brackets': `${INTERFACE}[path]\nname = "dsl"\n${PEER}`,
    'path without a name': path('interface = "wan0"\n'),
    'path name too long': path(`name = "${'x'.repeat(33)}"\n`),
    'path names equal': path('name = "dsl"\ninterface = "wan0"\n[[path]]\nname = "dsl"\ninterface = "wan1"\n'),
    'paths on one uplink': path('name = "a"\ninterface = "wan0"\n[[path]]\nname = "b"\ninterface = "wan0"\n'),
    'path through the tunnel': path('name = "a"\ninterface = "mpt0"\n'),
    'path address with a length': path('name = "a"\naddress = "10.90.0.1/24"\n'),
    'prefix allowed and denied': `${INTERFACE}${PEER}[egress]\nallow = ["10.1.0.0/16", "10.2.0.0/16"]\ndeny = ["10.2.3.4/16"]\n`,
    'unknown egress mode': `${INTERFACE}${PEER}[egress]\nmode = "kernel"\n`,
    'unknown congestion control': `${INTERFACE}${PEER}[stream]\ncongestion_control = "renoir"\n`,
    'rule without a mode': rule('protocol = "udp"\n'),
    'rule with a mistyped mode': rule('mode = "redundent"\n'),
    'rule with a mistyped key': rule('ports = 5\nmode = "redundant"\n'),
    'rule with single brackets': rule('mode = "redundant"\n').replace('[[rule]]', '[rule]'),
    'rule with a mistyped protocol': rule('protocol = "upd"\nmode = "redundant"\n'),
    'rule with a backward range': rule('port = "5010-5004"\nmode = "redundant"\n'),
    'rule with port 0': rule('port = 0\nmode = "redundant"\n'),
    'rule with ports of ICMP': rule('protocol = "icmp"\nport = 7\nmode = "redundant"\n'),
    'rule with dscp 64': rule('dscp = 64\nmode = "redundant"\n'),
    'rule with a host name': rule('destination = ["example.org"]\nmode = "redundant"\n'),
    'rule with a mistyped path': rule('paths = ["dls"]\nmode = "redundant"\n'),
    'rule with an unknown path': rule('paths = ["starlink"]\nmode = "redundant"\n'),
    'rule with a path twice': rule('paths = ["dsl", "dsl"]\nmode = "redundant"\n'),
    'rule without paths': rule('paths = []\nmode = "redundant"\n'),
    'pin without a path': rule('mode = "pin"\n'),
    'pin with two paths': rule('paths = ["dsl", "lte"]\nmode = "pin"\n'),
    'path priority in quotes': path('name = "a"\npriority = "1"\n'),
    'path backup in quotes': path('name = "a"\nbackup = "yes"\n'),
  };
  const lines = Object.entries(cases).map(([name, document]) => {
    const error = refusal(document);
    t.equal(error.name, 'ConfigError', name);
    t.notMatch(error.message, /\n/, `${name}: one line`);
    t.ok(error.message.startsWith(FILE), `${name}: names the file`);
    t.notMatch(error.message, PRIVATE, `${name}: keeps the private key to itself`);
    return `${name}: [${error.code}] ${error.message}`;
  });
  t.same(lines, MESSAGES);
});

t.test('relays: a path that goes by one dials, a host that waits at one is dialled', async (t) => {
  const written = `relay.example.org:5181#${OWN_PUBLIC}`;
  const relay = { endpoint: 'relay.example.org:5181', publicKey: new Uint8Array(Buffer.from(OWN_PUBLIC, 'base64')) };
  const peer = `[[peer]]\npublic_key = "${PUBLIC}"\nallowed_ips = ["198.51.100.0/24"]\n`;
  const path = (name: string, via: string) => `[[path]]\nname = "${name}"\ninterface = "wan0"\nvia = "${via}"\n`;
  const dialling = parseConfig(`${INTERFACE}${path('dsl', written)}${path('two', written.replace('5181', '5182'))}${peer}`, FILE);
  t.same(dialling.paths[0], { name: 'dsl', interface: 'wan0', address: undefined, via: relay });
  t.equal(dialling.peers[0]!.dialledByRelay, true);
  const waiting = parseConfig(`${INTERFACE}relays = ["${written}"]\n${peer}`, FILE);
  t.same(waiting.interface.relays, [relay]);
  t.same([waiting.interface.listenPort, waiting.peers[0]!.dialledByRelay, waiting.paths], [undefined, undefined, []]);
  const both = parseConfig(`${INTERFACE}${path('dsl', written)}${PEER}`, FILE);
  t.equal(both.peers[0]!.dialledByRelay, undefined, 'a peer with an endpoint is dialled anyway');
  t.match(
    refusal(`${INTERFACE}${path('dsl', 'relay.example.org:5181')}${peer}`).message,
    /via "relay.example.org:5181" is no relay: write it as/,
  );
  t.match(refusal(`${INTERFACE}relays = ["relay:0#${OWN_PUBLIC}"]\n${peer}`).message, /relays "relay:0#.*" is no relay/);
  t.match(refusal(`${INTERFACE}${path('dsl', written)}${path('two', written)}${peer}`).message, /leaves by the same interface and address/);
});

t.test('the file name must serve as interface name when none is given', async (t) => {
  t.match(refusal(INTERFACE + PEER, '/tmp/a-name-beyond-fifteen.toml').message, /name is missing, and the file's name cannot serve/);
});

t.test('a name means /etc/mptunnel/NAME.toml, a path or an existing file means itself', async (t) => {
  t.equal(configPath('home-that-is-not-here'), '/etc/mptunnel/home-that-is-not-here.toml');
  t.equal(configPath('./home.toml'), join(process.cwd(), 'home.toml'));
  const error = t.throws(() => loadConfig('home-that-is-not-here')) as unknown as ConfigError;
  t.equal(error.code, 'not-found');
  t.match(error.message, '/etc/mptunnel/home-that-is-not-here.toml: there is no such file');
});

t.test('private_key_file is taken relative to the configuration, and a warning names one that everybody can read', async (t) => {
  const folder = t.testdir({ 'mpt1.toml': `[interface]\nprivate_key_file = "keys/own"\naddress = ["10.77.0.2/24"]\n${PEER}` });
  mkdirSync(join(folder, 'keys'));
  writeFileSync(join(folder, 'keys/own'), `${PRIVATE}\n`, { mode: 0o600 });
  const warnings: string[] = [];
  const config = loadConfig(join(folder, 'mpt1.toml'), (message) => warnings.push(message));
  t.equal(Buffer.from(config.interface.privateKey).toString('base64'), PRIVATE);
  t.equal(config.interface.name, 'mpt1');
  t.same(warnings, []);
  chmodSync(join(folder, 'keys/own'), 0o644);
  loadConfig(join(folder, 'mpt1.toml'), (message) => warnings.push(message));
  t.match(warnings, [/keys\/own: everybody on this machine can read this private key: run `chmod 600/]);
  writeFileSync(join(folder, 'keys/own'), 'no key');
  t.throws(() => loadConfig(join(folder, 'mpt1.toml')), { code: 'key-file', message: /keys\/own is not a key/ });
});

t.test('a peer without allowed_ips and a path on a server are pointed out', async (t) => {
  const warnings: string[] = [];
  parseConfig(`${INTERFACE}listen_port = 1\n[[path]]\nname = "a"\n[[peer]]\npublic_key = "${PUBLIC}"\n`, FILE, (line) =>
    warnings.push(line),
  );
  t.match(warnings, [/peer "peer1" has no allowed_ips/, /\[\[path\]\] has no effect/]);
});

t.test('lines of keys: text inside multi-line strings is no key, an absent key has the line of its table', async (t) => {
  const document = '[a]\nx = """\ny = 1\n"""\ny = 2\n[[b]]\nz = 1\n[[b]]\nz = 2\n';
  t.equal(lineOfKey(document, ['a', 'y']), 5);
  t.equal(lineOfKey(document, ['b', 1, 'z']), 9);
  t.equal(lineOfKey(document, ['b', 1, 'absent']), 8);
  t.equal(lineOfKey(document, ['c', 'd']), undefined);
});

t.test('how a path is used: limits, cost and budget, and which automatic paths are metered', async (t) => {
  const path = (lines: string) => parseConfig(`${INTERFACE}[[path]]\nname = "lte"\ninterface = "wwan0"\n${lines}\n${PEER}`, FILE).paths[0];
  t.same(path('limit_up = "10 Mbit/s"\nlimit_down = "off"\ncost = 2\nbudget = "20 GB/month"\nbudget_spent = "off"'), {
    name: 'lte',
    interface: 'wwan0',
    address: undefined,
    limitUpBytesPerSec: 1_250_000,
    limitDownBytesPerSec: 0,
    cost: 2,
    budget: { bytes: 20e9, period: 'month' },
    budgetSpent: 'off',
  });
  for (const [lines, message] of [
    ['limit_up = 10', /\[\[path\]\] 1: limit_up must be text in quotes/],
    ['limit_up = "10 Mbit"', /\[\[path\]\] 1: limit_up "10 Mbit" is no rate: write it as "20 Mbit\/s"/],
    ['budget = "20 GB"', /\[\[path\]\] 1: budget "20 GB" is no budget: write it as "20 GB\/month"/],
    ['budget_spent = "of"', /\[\[path\]\] 1: budget_spent must be "backup" or "off": did you mean "off"\?/],
    ['cost = 256', /\[\[path\]\] 1: cost must be a whole number from 0 to 255, not 256/],
    ['limit_dwn = "1 Mbit/s"', /\[\[path\]\] 1: limit_dwn is not known: did you mean "limit_down"\?/],
  ] as const)
    t.throws(() => path(lines), { message }, lines);
  const auto = (lines: string) => parseConfig(`${INTERFACE}[paths]\nauto = true\n${lines}\n${PEER}`, FILE).autoPaths;
  t.match(auto('metered = "exclude"'), { metered: 'exclude', meteredInterfaces: ['ww*'] });
  t.match(auto('metered_interfaces = ["usb*"]'), { metered: 'backup', meteredInterfaces: ['usb*'] });
  t.throws(() => auto('metered = "no"'), { message: /\[paths\] metered must be "backup" or "exclude" or "use"/ });
});
