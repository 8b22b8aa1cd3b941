import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { serveMetrics } from '../../src/control/metrics-server.js';
import { formatMetrics } from '../../src/control/metrics-text.js';
import { parseConfig } from '../../src/tunnel/config-file.js';
import type { PathStatus, TunnelStatus } from '../../src/tunnel/status.js';
import { parseExposition, type Sample } from './exposition-grammar.js';

function path(id: number, name: string, change: Partial<PathStatus> = {}): PathStatus {
  return {
    ...{ id, name, local: 'a', remote: 'b', state: 'up', stateReason: '', inStateMs: 1, rttMs: 25, minRttMs: 20, lossRatio: 0.5 },
    ...{ deliveryRateBytesPerSec: 6e6, rxBytes: 1.2e21, txBytes: 999, rxBytesPerSec: 0, txBytesPerSec: 0 },
    ...{ innerMtuBytes: 1440, priority: 0, backup: false },
    ...change,
  };
}

function status(paths: PathStatus[], name = 'vps'): TunnelStatus {
  return {
    ...{ name: 'mpt0', state: 'up', pid: 7, uptimeMs: 1500, connections: 3, counters: { badTag: 2, 'tun-resets': 0 } },
    peers: [{ name, publicKey: 'THEKEY', state: 'up', lastError: 'the reason', paths, connections: 3 }],
    datagrams: {
      flows: { 'min-delay': 1, redundant: 0, aggregate: 0, 'active-standby': 0, priority: 0, pin: 0 },
      resequencing: { flows: 0, heldPackets: 4 },
    },
  };
}

function find(samples: Sample[] | string, name: string, labels: Record<string, string> = {}): Sample | undefined {
  if (typeof samples === 'string') throw new Error(samples);
  return samples.find((sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value));
}

t.test('the text follows the grammar, in base units', async (t) => {
  const benched = { reason: 'r', remainingMs: 1 };
  const text = formatMetrics(status([path(0, 'dsl'), path(1, 'lte', { rttMs: -1, minRttMs: -1, state: 'down', benched })]));
  const samples = parseExposition(text);
  t.match(find(samples, 'mptunnel_up'), { value: 1, labels: { tunnel: 'mpt0' }, type: 'gauge' });
  t.equal(find(samples, 'mptunnel_uptime_seconds')!.value, 1.5);
  t.match(find(samples, 'mptunnel_path_rtt_seconds', { path: 'dsl' }), { value: 0.025, labels: { tunnel: 'mpt0', peer: 'vps' } });
  t.equal(find(samples, 'mptunnel_path_rtt_seconds', { path: 'lte' }), undefined, 'what is not known has no sample');
  t.equal(find(samples, 'mptunnel_path_up', { path: 'lte' })!.value, 0);
  t.equal(find(samples, 'mptunnel_path_benched', { path: 'lte' })!.value, 1);
  t.match(find(samples, 'mptunnel_path_received_bytes_total', { path: 'dsl' }), { value: 1.2e21, type: 'counter' });
  t.equal(find(samples, 'mptunnel_count_total', { name: 'badTag' })!.value, 2);
  t.equal(find(samples, 'mptunnel_datagram_flows', { mode: 'min-delay' })!.value, 1);
  t.equal(find(samples, 'mptunnel_connections', { peer: 'vps' })!.value, 3);
  t.notMatch(text, /THEKEY|the reason/);
});

t.test('limits, cost and budget of a path; what it has not is no sample', async (t) => {
  const budget = { bytes: 20e9, period: 'month', usedBytes: 3e9, dueBytes: 1e9, state: 'ahead', endsAt: '' } as const;
  const lte = path(1, 'lte', { limitUpBytesPerSec: 1_250_000, limitDownBytesPerSec: 625_000, cost: 2, budget });
  const samples = parseExposition(formatMetrics(status([path(0, 'dsl'), lte])));
  const value = (name: string, of: string): number | undefined => find(samples, `mptunnel_path_${name}`, { path: of })?.value;
  t.equal(value('send_limit_bytes_per_second', 'lte'), 1_250_000);
  t.equal(value('receive_limit_bytes_per_second', 'lte'), 625_000);
  t.equal(value('budget_bytes', 'lte'), 20e9);
  t.equal(value('budget_used_bytes', 'lte'), 3e9);
  t.equal(value('budget_due_bytes', 'lte'), 1e9);
  t.same([value('cost', 'dsl'), value('cost', 'lte')], [0, 2]);
  t.equal(value('send_limit_bytes_per_second', 'dsl'), undefined);
  t.equal(value('budget_bytes', 'dsl'), undefined);
});

t.test('names that a peer chose are escaped, and cannot make a sample stand twice', async (t) => {
  const samples = parseExposition(formatMetrics(status([path(0, 'a"b\\c\nd'), path(1, 'same'), path(2, 'same')], 'x"y')));
  t.ok(find(samples, 'mptunnel_path_up', { path: 'a"b\\c\nd', peer: 'x"y' }));
  t.ok(find(samples, 'mptunnel_path_up', { path: 'same' }));
  t.ok(find(samples, 'mptunnel_path_up', { path: 'same#2' }));
});

t.test('a tunnel that is starting has few metrics, in the right form', async (t) => {
  const starting: TunnelStatus = { ...{ name: 'm', state: 'starting', pid: 1, uptimeMs: 0, peers: [], connections: 0, counters: {} } };
  t.match(parseExposition(formatMetrics(starting)), [{ name: 'mptunnel_up', value: 0 }, { name: 'mptunnel_uptime_seconds' }]);
});

t.test('the checker of the grammar refuses what is wrong', async (t) => {
  const bad = ['a 1', 'a{b=1} 1\n', '1a 1\n', 'a one\n', 'a 1\nb 1\na{c="d"} 1\n', 'a 1\na 1\n', '# TYPE a what\na 1\n', 'a{b="\\x"} 1\n'];
  bad.push('a 1\n# TYPE a gauge\n', 'a{b="1",b="2"} 1\n', '# TYPE a counter\na 1\n', 'a  1\n', '\n');
  for (const text of bad) t.type(parseExposition(text), 'string', JSON.stringify(text));
  t.match(parseExposition('# HELP a what\n# TYPE a gauge\na{b="c",} +Inf\na 1e3 123\n'), [{ value: Infinity }, { value: 1000 }]);
});

interface Reply {
  status: number | undefined;
  type: string | undefined;
  body: string;
}

function fetchText(where: { port?: number; socketPath?: string }, path: string, method = 'GET'): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', ...where, path, method, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      response.on('end', () => resolve({ status: response.statusCode, type: response.headers['content-type'], body }));
    });
    call.on('error', reject).end();
  });
}

t.test('served on a port and on a socket for its owner; both are gone afterwards', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mpt-met-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, 'metrics');
  let count = 0;
  const config = { listen: { host: '127.0.0.1', port: 0 }, socketPath };
  const server = await serveMetrics(config, () => `a ${++count}\n`);
  t.equal(statSync(socketPath).mode & 0o777, 0o600);
  const { port } = server;
  t.match(await fetchText({ port }, '/metrics'), { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: 'a 1\n' });
  t.match(await fetchText({ socketPath }, '/metrics?x=y'), { status: 200, body: 'a 2\n' });
  t.match(await fetchText({ port }, '/'), { status: 404 });
  t.match(await fetchText({ port }, '/metrics', 'POST'), { status: 405 });
  t.match(await fetchText({ port }, '/metrics', 'HEAD'), { status: 200, body: '' });

  await t.rejects(
    serveMetrics({ listen: { host: '127.0.0.1', port }, socketPath: undefined }, () => ''),
    {
      code: 'no-metrics',
      message: `127.0.0.1 port ${port} is taken: choose another in [metrics]`,
    },
  );
  // Somebody who says nothing does not hold up the end.
  const silent = connect(port, '127.0.0.1').on('error', () => {});
  await new Promise((resolve) => silent.once('connect', resolve));
  await server.close();
  t.notOk(statSync(socketPath, { throwIfNoEntry: false }));
  await t.rejects(fetchText({ port }, '/metrics'), { code: 'ECONNREFUSED' });
});

t.test('a socket that a dead process left is replaced, another file is not', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mpt-met-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, 'metrics');
  writeFileSync(socketPath, 'precious');
  await t.rejects(
    serveMetrics({ listen: undefined, socketPath }, () => ''),
    { code: 'no-metrics' },
  );
  t.equal(readFileSync(socketPath, 'utf8'), 'precious');
  rmSync(socketPath);
  const stale = createServer().listen(socketPath);
  await new Promise((resolve) => stale.once('listening', resolve));
  const server = await serveMetrics({ listen: undefined, socketPath }, () => 'a 1\n');
  t.match(await fetchText({ socketPath }, '/metrics'), { body: 'a 1\n' });
  await server.close();
  stale.close();
});

t.test('[metrics] in the configuration: only for this host, unless it is said', async (t) => {
  const base = `[interface]\nprivate_key = "YAnwFRZZXAnVRXB0fEMfnNFHnUVBVEJrgYNyg15JQGM="\naddress = ["10.77.0.2/24"]
[[peer]]\npublic_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="\nendpoint = "203.0.113.1:5180"\n`;
  const metrics = (lines: string) => parseConfig(`${base}[metrics]\n${lines}\n`, '/etc/mptunnel/mpt0.toml').metrics;
  t.same(metrics('listen = "127.0.0.1:9150"'), { listen: { host: '127.0.0.1', port: 9150 }, socketPath: undefined });
  t.same(metrics('listen = "[::1]:9150"\nsocket = "m.sock"'), { listen: { host: '::1', port: 9150 }, socketPath: '/etc/mptunnel/m.sock' });
  t.same(metrics('listen = "0.0.0.0:9150"\nallow_remote = true'), { listen: { host: '0.0.0.0', port: 9150 }, socketPath: undefined });
  t.equal(parseConfig(base, '/etc/mptunnel/mpt0.toml').metrics, undefined);
  t.throws(() => metrics('listen = "0.0.0.0:9150"'), {
    code: 'conflict',
    message: /can be read by other hosts: use 127\.0\.0\.1, or add allow_remote/,
  });
  t.throws(() => metrics('listen = "localhost:9150"'), {
    code: 'bad-value',
    message: /is no address and port: write it as 127\.0\.0\.1:9150/,
  });
  t.throws(() => metrics(''), { code: 'missing-key', message: /give listen = "127\.0\.0\.1:9150"/ });
});
