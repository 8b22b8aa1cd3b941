import t from 'tap';
import { formatBitRate, formatBytes, formatDuration, formatStatus } from '../../src/control/status-text.js';

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
  t.same([0, 59_999, 60_000, 3_600_000, 90_000_000].map(formatDuration), ['0 s', '59 s', '1 min 0 s', '1 h 0 min', '1 d 1 h']);
});

t.test('a server without peers connected shows why', async (t) => {
  const peer = { name: 'vps', publicKey: 'k', state: 'down' as const, lastError: 'no answer', paths: [], connections: 1 };
  const status = { name: 'mpt0', state: 'up' as const, pid: 7, uptimeMs: 1000, peers: [peer], connections: 1, counters: {} };
  t.equal(formatStatus(status), 'mpt0: up for 1 s, 1 connection, process 7\n  peer vps: down (no answer), 1 connection, key k\n');
});

t.test('a benched path says for how long and why', async (t) => {
  const path = {
    ...{ id: 1, name: 'sat', local: '', remote: '', state: 'up' as const, rttMs: 1200, minRttMs: 1200, lossRatio: 0.05 },
    ...{ deliveryRateBytesPerSec: 0, rxBytes: 0, txBytes: 0 },
    benched: { reason: 'streams waited for it 40 % of the time, for 2.0 % of their data', remainingMs: 12_400 },
  };
  const peer = { name: 'vps', publicKey: 'k', state: 'up' as const, lastError: '', paths: [path], connections: 1 };
  const status = { name: 'mpt0', state: 'up' as const, pid: 7, uptimeMs: 1000, peers: [peer], connections: 1, counters: {} };
  t.equal(
    formatStatus(status).split('\n').at(-2),
    '    sat is benched for 12 s more: streams waited for it 40 % of the time, for 2.0 % of their data',
  );
});
