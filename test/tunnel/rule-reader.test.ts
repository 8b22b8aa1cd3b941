import t from 'tap';
import type { RuleConfig } from '../../src/tunnel/config.js';
import { ConfigError } from '../../src/tunnel/config-error.js';
import { parseConfig } from '../../src/tunnel/config-file.js';
import { parseDomain, parseMark, parseUser } from '../../src/tunnel/rule-schema.js';

const CONFIG = `[interface]
private_key = "QMvmWNxIlu2H1lTzeEGIHJiNTVwVSVpmKJmPnYLEqEk="
address = ["10.77.0.2/24"]
[[path]]
name = "dsl"
[[peer]]
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
endpoint = "203.0.113.1:5180"
allowed_ips = ["0.0.0.0/0"]
`;

const rule = (lines: string): RuleConfig => parseConfig(`${CONFIG}[[rule]]\n${lines}`, '/nowhere/mpt0.toml').rules![0]!;

t.test('a rule by fwmark, user and domain', async (t) => {
  t.same(rule('fwmark = 16\nmode = "min-delay"\n'), { fwmark: { value: 16, mask: 0xffff_ffff }, mode: 'min-delay' });
  t.same(rule('fwmark = "0x10/0xf0"\nmode = "min-delay"\n').fwmark, { value: 16, mask: 0xf0 });
  t.same(rule('user = "root"\npaths = ["dsl"]\n'), { users: [0], paths: ['dsl'] }, 'a name, and paths without a mode');
  t.same(rule('user = ["root", 0, "1000"]\nmode = "redundant"\n').users, [0, 1000], 'ids, each once');
  t.same(rule('domain = "Example.org."\nmode = "aggregate"\n').domains, ['example.org']);
  t.same(rule('domain = ["*.example.org", "example.org"]\nbypass = true\n'), { domains: ['*.example.org', 'example.org'], bypass: true });
});

t.test('plane is about TCP, and bypass about nothing else', async (t) => {
  t.same(rule('plane = "datagram"\n'), { protocols: [6], plane: 'datagram' });
  t.same(rule('protocol = "tcp"\nport = 22\nplane = "stream"\nmode = "redundant"\n'), {
    protocols: [6],
    ports: [22, 22],
    plane: 'stream',
    mode: 'redundant',
  });
  t.same(rule('bypass = true\n'), { bypass: true });
  t.same(rule('bypass = false\nmode = "aggregate"\n'), { mode: 'aggregate' });
});

t.test('what a rule cannot mean is refused in one line that says what to do', async (t) => {
  const cases: Record<string, string> = {
    'fwmark with bits outside of its mask': 'fwmark = "0x110/0xff"\nmode = "redundant"\n',
    'fwmark too large': 'fwmark = 4294967296\nmode = "redundant"\n',
    'user that does not exist': 'user = "no-such-user-here"\nmode = "redundant"\n',
    'empty list of users': 'user = []\nmode = "redundant"\n',
    'domain that is an address': 'domain = "198.51.100.2"\nmode = "redundant"\n',
    'domain with a star inside': 'domain = "www.*.org"\nmode = "redundant"\n',
    'plane of UDP': 'protocol = "udp"\nplane = "stream"\n',
    'mistyped plane': 'plane = "streams"\n',
    'bypass beside a mode': 'mode = "redundant"\nbypass = true\n',
    'bypass beside paths': 'paths = ["dsl"]\nbypass = true\n',
    'nothing to do': 'user = "root"\nbypass = false\n',
  };
  const lines = Object.entries(cases).map(([name, text]) => {
    try {
      rule(text);
      return `${name}: accepted`;
    } catch (error) {
      t.ok(error instanceof ConfigError, name);
      return `${name}: ${(error as Error).message.replace('/nowhere/mpt0.toml', '')}`;
    }
  });
  t.same(lines, [
    'fwmark with bits outside of its mask: :11: [[rule]] 1: fwmark must be a mark (16 or "0x10"), or a mark and its mask ("0x10/0xff"), not "0x110/0xff"',
    'fwmark too large: :11: [[rule]] 1: fwmark must be a mark (16 or "0x10"), or a mark and its mask ("0x10/0xff"), not 4294967296',
    'user that does not exist: :11: [[rule]] 1: user "no-such-user-here" is no user of this machine',
    'empty list of users: :11: [[rule]] 1: user is empty: name a user, or leave the key out',
    'domain that is an address: :11: [[rule]] 1: domain "198.51.100.2" is no domain: write it as "example.org", or "*.example.org" for all names below it',
    'domain with a star inside: :11: [[rule]] 1: domain "www.*.org" is no domain: write it as "example.org", or "*.example.org" for all names below it',
    'plane of UDP: :12: [[rule]] 1: plane does not go with protocol "udp": only TCP can be ended and aggregated, the rest goes packet by packet',
    'mistyped plane: :11: [[rule]] 1: plane must be "stream" or "datagram": did you mean "stream"?',
    'bypass beside a mode: :11: [[rule]] 1: mode stands beside bypass: what does not enter the tunnel takes none of its paths',
    'bypass beside paths: :11: [[rule]] 1: paths stands beside bypass: what does not enter the tunnel takes none of its paths',
    'nothing to do: :10: [[rule]] 1: mode is missing: say how its packets go, as mode = "redundant" (or by paths, plane, or bypass = true)',
  ]);
});

t.test('forms of single values', async (t) => {
  t.equal(parseDomain('*.bücher.example'), '*.xn--bcher-kva.example');
  t.equal(parseDomain('intranet'), 'intranet');
  for (const wrong of ['', '*', '*.', 'a..b', '-a.org', `${'x'.repeat(64)}.org`, 'a b', '2001:db8::1'])
    t.equal(parseDomain(wrong), undefined, wrong);
  t.same(parseMark('0xFFFFFFFF'), { value: 0xffff_ffff, mask: 0xffff_ffff });
  for (const wrong of ['', '0x', '1/0', 'x', 1.5, -1, true]) t.equal(parseMark(wrong), undefined, String(wrong));
  t.equal(parseUser(4_294_967_295), undefined, 'the kernel keeps it for "no user"');
  t.equal(parseUser('0'), 0);
});
