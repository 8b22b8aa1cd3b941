import fc from 'fast-check';
import t from 'tap';
import { formatResolvConf, nameserversOf, parseOurs, type ResolvConf } from '../../src/tun/resolv-conf.js';

const SETTINGS = { servers: ['10.77.0.1', 'fd77::1'], search: ['corp.example.org', 'example.org'] };
const file = (text: string): ResolvConf => ({ kind: 'file', text });

t.test(
  "the tunnel's servers and search list stand in place of the host's; options and sortlist stay, trust in them does not",
  async (t) => {
    const text = formatResolvConf(
      'mpt0',
      SETTINGS,
      file('search lan\nnameserver 192.168.1.1\noptions edns0 trust-ad\n options trust-ad\nsortlist 10.0.0.0\n'),
    );
    const lines = text.split('\n').filter((line) => !line.startsWith('#'));
    t.strictSame(lines, [
      'search corp.example.org example.org',
      'nameserver 10.77.0.1',
      'nameserver fd77::1',
      'options edns0',
      'sortlist 10.0.0.0',
      '',
    ]);
    t.strictSame(nameserversOf(text), ['10.77.0.1', 'fd77::1']);
  },
);

t.test('without a search list the host keeps its own', async (t) => {
  t.match(formatResolvConf('mpt0', { servers: ['10.77.0.1'], search: [] }, file('domain lan\nnameserver 192.168.1.1\n')), /^domain lan$/m);
});

t.test('what was there before comes back byte for byte out of the text alone', async (t) => {
  const text = fc.string({ unit: 'binary-ascii' }).map((value) => Buffer.from(value, 'utf8').toString('latin1'));
  const original = fc.oneof(
    fc.constant<ResolvConf>({ kind: 'absent' }),
    text.map((value): ResolvConf => ({ kind: 'file', text: value })),
    text.map((value): ResolvConf => ({ kind: 'link', target: '../run/systemd/resolve/stub-resolv.conf', text: value })),
  );
  fc.assert(
    fc.property(original, fc.constantFrom('mpt0', 'a.b-c', 'x'), (before, tunnel) => {
      t.strictSame(parseOurs(formatResolvConf(tunnel, SETTINGS, before)), { tunnel, original: before });
    }),
    { numRuns: 300 },
  );
});

t.test('a text that was changed, and one that is not ours, are not taken for ours', async (t) => {
  const ours = formatResolvConf('mpt0', SETTINGS, file('nameserver 192.168.1.1\n'));
  for (const other of [
    `${ours}nameserver 9.9.9.9\n`,
    ours.replace('nameserver 10.77.0.1', 'nameserver 10.77.0.9'),
    ours.replace('#|nameserver 192.168.1.1', '#|nameserver 192.168.1.2'),
    ours.slice(0, -1),
    '',
    'nameserver 192.168.1.1\n',
  ])
    t.equal(parseOurs(other), undefined);
});

t.test('servers with a zone, and what is none, are left out', async (t) => {
  t.strictSame(nameserversOf('nameserver fe80::1%eth0\nnameserver 9.9.9.9\n#nameserver 1.1.1.1\nnameserver dns.example\n nameserver ::1'), [
    '9.9.9.9',
    '::1',
  ]);
});
