import t from 'tap';
import { formatPaths, formatStatus } from '../../src/control/status-text.js';
import { formatBitRate, formatBytes, formatDuration, formatRateCell } from '../../src/control/text-figures.js';
import type { PathStatus, PeerStatus, TunnelStatus } from '../../src/tunnel/status.js';

const PATH: PathStatus = {
  ...{ id: 0, name: 'dsl', local: '192.168.178.21:40000', remote: '203.0.113.199:5180', state: 'up', stateReason: 'it answers' },
  ...{ inStateMs: 5000, rttMs: 20.4, minRttMs: 20, lossRatio: 0.012, deliveryRateBytesPerSec: 6e6, rxBytes: 1.2e9, txBytes: 45e6 },
  ...{ rxBytesPerSec: 6e6, txBytesPerSec: 120e3, innerMtuBytes: 1440, priority: 0, backup: false },
};
const PEER: PeerStatus = {
  name: 'vps',
  publicKey: 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=',
  state: 'up',
  lastError: '',
  paths: [PATH],
  connections: 1,
};

function status(...peers: PeerStatus[]): TunnelStatus {
  return { name: 'mpt0', state: 'up', pid: 7, uptimeMs: 1000, peers, connections: 1, counters: { badTag: 2, none: 0 } };
}

t.test('figures have at most three digits and a unit', async (t) => {
  t.same([0, 999, 999.4, 1000, 9_949, 9_950, 999_499, 999_500, 3e15].map(formatBytes), [
    '0 B',
    '999 B',
    '999 B',
    '1.0 kB',
    '9.9 kB',
    '10 kB',
    '999 kB',
    '1.0 MB',
    '3000 TB',
  ]);
  t.same([0, 124, 125_000, 6_250_000, 312_500_000].map(formatBitRate), ['0 bit/s', '992 bit/s', '1.0 Mbit/s', '50 Mbit/s', '2.5 Gbit/s']);
  t.same([-1, 0, 125_000].map(formatRateCell), ['-', '0 b/s', '1.0 M']);
  t.same([0, 59_999, 60_000, 3_600_000, 90_000_000].map(formatDuration), ['0 s', '59 s', '1 min 0 s', '1 h 0 min', '1 d 1 h']);
});

t.test('a server without peers connected shows why', async (t) => {
  const peer = { ...PEER, state: 'down' as const, lastError: 'no answer', paths: [], publicKey: 'k' };
  t.equal(formatStatus(status(peer)), 'mpt0: up for 1 s, 1 connection, process 7\n  peer vps: down (no answer), 1 connection, key k\n');
  t.match(formatStatus(status(peer), { verbose: true }), /\n {2}counted: badTag 2\n$/);
});

t.test('a path that is benched, a backup or down says so; of a bench and a fall also why and how long', async (t) => {
  const paths: PathStatus[] = [
    { ...PATH, benched: { reason: 'streams waited for it 40 % of the time, for 2.0 % of their data', remainingMs: 12_400 } },
    { ...PATH, name: 'lte', backup: true },
    { ...PATH, name: 'sat', state: 'down', stateReason: 'no answer for 1500 ms more', inStateMs: 65_000 },
  ];
  const lines = formatStatus(status({ ...PEER, paths })).split('\n');
  t.match(lines[3], /^ {4}dsl {3}benched /);
  t.match(lines[4], /^ {4}lte {3}backup /);
  t.match(lines[5], /^ {4}sat {3}down /);
  t.equal(lines[6], '    dsl is benched for 12 s more: streams waited for it 40 % of the time, for 2.0 % of their data');
  t.equal(lines[7], '    sat is down for 1 min 5 s: no answer for 1500 ms more');
});

t.test('limits and the use of a budget have a line each', async (t) => {
  const budget = {
    bytes: 20e9,
    period: 'month',
    usedBytes: 9.1e9,
    dueBytes: 7.4e9,
    state: 'ahead',
    endsAt: '2027-02-01T00:00:00.000Z',
  } as const;
  const notes = (change: Partial<PathStatus>): string[] =>
    formatStatus(status({ ...PEER, paths: [{ ...PATH, ...change }] }))
      .split('\n')
      .slice(4, -1);
  t.same(notes({ limitUpBytesPerSec: 625_000, limitDownBytesPerSec: 2_500_000 }), ['    dsl is limited to 20 Mbit/s down, 5 Mbit/s up']);
  t.same(notes({ limitDownBytesPerSec: 2_500_000, limitDownIgnored: true }), [
    '    dsl is limited to 20 Mbit/s down (which the peer is too old to obey)',
  ]);
  t.same(notes({ limitUpBytesPerSec: 625_000 }), ['    dsl is limited to 5 Mbit/s up']);
  t.same(notes({ budget }), ['    dsl has used 9.1 GB of 20 GB/month, 7.4 GB are due by now: a backup until then']);
  t.same(notes({ budget: { ...budget, state: 'within' } }), ['    dsl has used 9.1 GB of 20 GB/month, 7.4 GB are due by now']);
  t.same(notes({ budget: { ...budget, state: 'spent' } }), ['    dsl has used 9.1 GB of 20 GB/month: spent until 2027-02-01 00:00 UTC']);
  t.match(
    formatPaths([{ ...PEER, paths: [{ ...PATH, cost: 2, limitUpBytesPerSec: 625_000, budget }] }]),
    / 0 +2 +5 Mbit\/s up +9\.1 GB of 20 GB\/month$/m,
  );
});

t.test('no line is longer than the terminal; columns go, figures stay', async (t) => {
  const paths: PathStatus[] = [
    { ...PATH, remote: '[2001:db8:1234:5678:9abc:def0:1234:5678]:51800' },
    { ...PATH, name: 'a-name-of-thirty-two-characters.', state: 'suspect', stateReason: 'x '.repeat(90) },
  ];
  const peer = {
    ...PEER,
    paths,
    lastError: 'vps at vpn.example.org:5180: the handshake was not answered: check the endpoint and the keys',
  };
  for (const width of [200, 132, 80, 60, 40]) {
    const lines = formatStatus(status(peer), { width, verbose: true }).split('\n');
    t.same(
      lines.filter((line) => [...line].length > width),
      [],
      `${width} columns`,
    );
  }
  const narrow = formatStatus(status(peer), { width: 80 });
  t.match(narrow, /PATH .* STATE .* RTT .* LOSS .* DOWN .* UP/);
  t.match(narrow, /20 ms +1\.2 % +48 Mbit\/s +960 kbit\/s/);
  t.notMatch(narrow, /REMOTE/);
});

t.test('with many peers those that carry most fill the screen, and the others are counted', async (t) => {
  const peers = Array.from({ length: 100 }, (_, i) => ({
    ...PEER,
    name: `peer${i}`,
    state: i % 2 === 0 ? ('up' as const) : ('down' as const),
    paths: i % 2 === 0 ? [{ ...PATH, rxBytesPerSec: i }] : [],
  }));
  const lines = formatStatus(status(...peers), { maxLines: 23, width: 80 })
    .trimEnd()
    .split('\n');
  t.ok(lines.length <= 23, `${lines.length} lines`);
  t.match(
    lines.filter((line) => line.startsWith('  peer ')),
    [/peer86/, /peer88/, /peer90/, /peer92/, /peer94/, /peer96/, /peer98/],
  );
  t.equal(lines.at(-1), '  and 93 more peers, 43 up (--all shows them)');
  t.equal(formatStatus(status(...peers)).split('\n').length, 1 + 50 * 3 + 50 + 1);
});
