import t from 'tap';
import { parseConfig } from '../../../src/tunnel/config-file.js';
import { parseForwardTarget } from '../../../src/tunnel/gateway/forward-config.js';

const KEY = Buffer.alloc(32, 'a').toString('base64');
const PEER_KEY = Buffer.alloc(32, 'b').toString('base64');

function parse(tail: string, listen = 'listen_port = 5180') {
  const warnings: string[] = [];
  const document = `[interface]\nname = "mpt0"\nprivate_key = "${KEY}"\naddress = ["10.77.0.1/24"]\n${listen}\n${tail}`;
  const config = parseConfig(document, '/nowhere/mpt0.toml', (message) => warnings.push(message));
  return { config, warnings };
}

const forward = (...lines: string[]): string => `[[forward]]\n${lines.join('\n')}\n`;

t.test('a target is a peer or an address, with a port or without', async (t) => {
  for (const [text, expected] of [
    ['laptop', { peer: 'laptop' }],
    ['my-laptop.lan:22', { peer: 'my-laptop.lan', port: 22 }],
    ['10.77.0.2', { address: '10.77.0.2' }],
    ['10.77.0.2:8080', { address: '10.77.0.2', port: 8080 }],
    ['fd77:0::2', { address: 'fd77::2' }],
    ['[fd77::2]', { address: 'fd77::2' }],
    ['[fd77::2]:443', { address: 'fd77::2', port: 443 }],
    ['10.77.0', undefined],
    ['10.77.0.300:1', undefined],
    ['laptop:0', undefined],
    ['laptop:70000', undefined],
    ['[laptop]:1', undefined],
    ['a b', undefined],
    ['', undefined],
  ] as const)
    t.same(parseForwardTarget(text), expected, text);
});

t.test('forwards are read with their ports and targets', async (t) => {
  const { config, warnings } = parse(
    forward('protocol = "tcp"', 'port = 2222', 'to = "laptop:22"') +
      forward('protocol = "udp"', 'port = "5000-5010"', 'to = "10.77.0.3"', 'address = "203.0.113.1"'),
  );
  t.same(warnings, []);
  t.same(config.forwards, [
    { protocol: 'tcp', ports: [2222, 2222], to: { peer: 'laptop', port: 22 } },
    { protocol: 'udp', ports: [5000, 5010], address: '203.0.113.1', to: { address: '10.77.0.3' } },
  ]);
});

t.test('what cannot be meant is refused with its line and a way out', async (t) => {
  const tcp = (port: string, to = 'to = "laptop"', ...more: string[]) => forward('protocol = "tcp"', port, to, ...more);
  for (const [tail, message] of [
    [forward('port = 80', 'to = "laptop"'), /mpt0\.toml:\d+: \[\[forward\]\] 1: protocol is missing: say protocol = "tcp" or "udp"/],
    [forward('protocol = "tcp"', 'to = "laptop"'), /\[\[forward\]\] 1: port is missing: give the port/],
    [tcp('port = 80', ''), /\[\[forward\]\] 1: to is missing: name the peer/],
    [tcp('port = 80', 'to = "10.77.0"'), /"10\.77\.0" is neither a peer nor an address/],
    [tcp('port = "80-90"', 'to = "laptop:80"'), /names one port for 11: leave it out/],
    [forward('protocol = "udp"', 'port = "5000-6000"', 'to = "laptop"'), /takes 5180, which is listen_port/],
    [tcp('port = 80') + tcp('port = "70-90"'), /\[\[forward\]\] 2: port is taken by \[\[forward\]\] 1 already/],
    [tcp('port = 80', 'to = "10.77.0.2"', 'address = "2001:db8::1"'), /of different IP versions/],
    [tcp('port = 80', 'to = "laptop"', 'adress = "203.0.113.1"'), /adress is not known: did you mean "address"/],
  ] as const)
    t.throws(() => parse(tail), { message }, String(message));
  const client = `[[peer]]\nname = "vps"\npublic_key = "${PEER_KEY}"\nendpoint = "203.0.113.1:5180"\n`;
  t.throws(() => parse(client + tcp('port = 80'), ''), { message: /\[\[forward\]\] is for a server/ });
});

t.test('the same port may lead to two places by address or IP version, and SSH is not taken in silence', async (t) => {
  const { config, warnings } = parse(
    forward('protocol = "tcp"', 'port = 22', 'to = "10.77.0.2"') +
      forward('protocol = "tcp"', 'port = 22', 'to = "fd77::2"') +
      forward('protocol = "udp"', 'port = 22', 'to = "laptop"') +
      forward('protocol = "tcp"', 'port = 80', 'to = "laptop"', 'address = "203.0.113.1"') +
      forward('protocol = "tcp"', 'port = 80', 'to = "phone"', 'address = "203.0.113.2"'),
  );
  t.equal(config.forwards?.length, 5);
  t.match(warnings, [/\[\[forward\]\] 1 takes TCP port 22/, /\[\[forward\]\] 2 takes TCP port 22/]);
});

t.test('accept_forwards belongs to the one gateway that a client dials', async (t) => {
  const peer = (name: string, letter: string, ...lines: string[]) =>
    `[[peer]]\nname = "${name}"\npublic_key = "${Buffer.alloc(32, letter).toString('base64')}"\n${lines.join('\n')}\n`;
  const dialled = 'endpoint = "203.0.113.1:5180"';
  const accepts = 'accept_forwards = true';
  t.equal(parse(peer('vps', 'b', dialled, accepts), '').config.peers[0]?.acceptForwards, true);
  t.throws(() => parse(peer('laptop', 'b', accepts)), { message: /accept_forwards is for a client/ });
  t.throws(() => parse(peer('one', 'b', dialled, accepts) + peer('two', 'c', dialled, accepts), ''), {
    message: /answers can go to one gateway/,
  });
  t.throws(() => parse(peer('one', 'b', dialled, accepts) + peer('two', 'c', dialled, 'allowed_ips = ["0.0.0.0/0"]'), ''), {
    message: /does not go with the default route of peer "two"/,
  });
});
