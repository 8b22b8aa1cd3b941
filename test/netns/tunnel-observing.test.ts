/** What can be seen of a real tunnel while links are cut: events, status, connections and the live view. */

import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import type { Finding } from '../../src/control/doctor-checks.js';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import type { ConnectionView } from '../../src/tunnel/connections.js';
import type { TunnelEvent } from '../../src/tunnel/events.js';
import { parseExposition, type Sample } from '../control/exposition-grammar.js';
import { createTunnelRig, PROGRAM, type TunnelRig, until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 200 },
  { rateBitsPerSec: 10e6, delayMs: 20, queuePackets: 200 },
];
const PATIENCE_MS = 60_000;

t.setTimeout(400_000);

/** The program inside a host, beside the test. */
function spawnMptunnel(rig: TunnelRig, side: 'client' | 'server', command: readonly string[]): ChildProcess {
  return rig.lab[side].spawnPiped('env', [`MPTUNNEL_RUN_DIR=${join(rig.lab.folder, side)}`, 'NODE_OPTIONS=', 'TERM=xterm', ...command]);
}

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('close', resolve));
}

class Watcher {
  readonly events: TunnelEvent[] = [];
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  private rest = '';

  constructor(rig: TunnelRig, side: 'client' | 'server') {
    this.child = spawnMptunnel(rig, side, [process.execPath, PROGRAM, 'events', 'mpt0', '--json', '--last', '256']);
    this.ended = ended(this.child);
    this.child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (this.rest + chunk).split('\n');
      this.rest = lines.pop()!;
      for (const line of lines) this.events.push(JSON.parse(line) as TunnelEvent);
    });
  }

  async until(fits: (event: TunnelEvent) => boolean): Promise<TunnelEvent> {
    await until(`an event, of ${JSON.stringify(this.events)}`, async () => this.events.some(fits), PATIENCE_MS);
    return this.events.find(fits)!;
  }
}

function isPath(name: string, state: string, from: string): (event: TunnelEvent) => boolean {
  return (event) => event.type === 'path' && event.path === name && event.state === state && event.from === from;
}

t.test('a cut link in events, status, connections and the log', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, append: { client: '[metrics]\nlisten = "127.0.0.1:9150"\nsocket = "metrics.sock"' } });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);
  const [client, server] = [new Watcher(rig, 'client'), new Watcher(rig, 'server')];

  t.match(await client.until(({ type }) => type === 'tunnel'), { state: 'started', name: 'mpt0', time: /^\d{4}-\d\d-\d\dT.*Z$/ });
  await client.until((event) => event.type === 'tunnel' && event.state === 'ready');
  t.match(await client.until((event) => event.type === 'peer' && event.state === 'up'), { peer: 'vps', from: 'connecting' });

  const download = startTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, silenceMs: 60_000 });
  await until(
    'a download over both paths',
    async () => {
      const { stdout } = await rig.mptunnel('client', 'connections', 'mpt0', '--json');
      const [connection] = stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as ConnectionView);
      return connection?.subflows.length === 2 && connection.subflows.every((subflow) => subflow.rxBytesPerSec > 0);
    },
    PATIENCE_MS,
  );
  const [connection] = (await rig.mptunnel('client', 'connections', 'mpt0', '--json')).stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as ConnectionView);
  t.match(connection, {
    peer: 'vps',
    direction: 'outgoing',
    source: /^10\.77\.0\.2:\d+$/,
    destination: `${WEB_ADDRESS}:${TRAFFIC_PORT}`,
    state: 'open',
  });
  t.same(connection!.subflows.map(({ path }) => path).sort(), ['link0', 'link1']);
  t.ok(connection!.rxBytesPerSec > 10_000, `${connection!.rxBytesPerSec} bytes a second`);
  t.match((await rig.mptunnel('server', 'connections', 'mpt0', '--json')).stdout, /"direction":"incoming","source":"10\.77\.0\.2:/);
  t.match((await rig.mptunnel('client', 'connections', 'mpt0')).stdout, /10\.77\.0\.2:\d+ > .*\n {2}link/);

  const scrape = async (...args: string[]): Promise<Sample[]> => {
    const { stdout } = await rig.lab.client.run('curl', ['--silent', '--show-error', '--fail', ...args]);
    const samples = parseExposition(stdout);
    if (typeof samples === 'string') throw new Error(samples);
    return samples;
  };
  const received = (samples: Sample[], path: string): number =>
    samples.find(({ name, labels }) => name === 'mptunnel_path_received_bytes_total' && labels.path === path)!.value;
  const first = await scrape('http://127.0.0.1:9150/metrics');
  const second = await scrape('--unix-socket', join(rig.lab.folder, 'metrics.sock'), 'http://localhost/metrics');
  for (const path of ['link0', 'link1']) t.ok(received(second, path) > received(first, path), `${path}: what was received grows`);
  const printed = parseExposition((await rig.mptunnel('client', 'metrics', 'mpt0')).stdout);
  t.ok(typeof printed !== 'string' && received(printed, 'link0') > 0, '`mptunnel metrics` prints the same');

  await rig.lab.links[1]!.blackhole(true);
  const silent = await client.until(isPath('link1', 'suspect', 'up'));
  t.match(silent, { peer: 'vps', reason: /^no answer for \d+ ms$/ });
  t.match(await client.until(isPath('link1', 'down', 'suspect')), { reason: /^no answer for \d+ ms more$/ });
  t.match((await rig.mptunnel('client', 'status', 'mpt0')).stdout, /link1 is down for \d+ s: no answer/);
  await rig.lab.links[1]!.blackhole(false);
  t.match(await client.until(isPath('link1', 'up', 'down')), { reason: 'it answers' });

  await rig.lab.links[0]!.setDown(true);
  t.match(await client.until((event) => event.type === 'path' && event.path === 'link0' && event.state === 'down'), {
    reason: /interface "wan0" is down|refuses to send/,
  });
  t.match(await server.until((event) => event.type === 'path' && event.path === 'link0' && event.state === 'down'), { from: /up|suspect/ });
  await rig.lab.links[0]!.setDown(false);
  await client.until(
    (event) => event.sequence > silent.sequence && event.type === 'path' && event.path === 'link0' && event.state === 'up',
  );
  download.stop();
  await download.result;

  client.events.forEach((event, i) => {
    if (event.sequence !== i + 1) t.fail(`event ${i} has the number ${event.sequence}`);
  });
  t.match(rig.log('client'), /Z info path vps\/link1: up -> suspect \(no answer for \d+ ms\)\n/, 'the log says the same');
  t.notMatch(JSON.stringify([...client.events, ...server.events]), /private|[A-Za-z0-9+/]{43}=/, 'no keys');

  client.child.kill('SIGINT');
  t.equal(await client.ended, 0, 'Ctrl-C ends it in good order');
  await rig.mptunnel('server', 'down', 'mpt0');
  t.equal(await server.ended, 0, 'and so does the end of the tunnel');
  t.match(server.events.at(-1), { type: 'tunnel', state: 'stopping', reason: '`mptunnel down`' });
});

t.test('doctor: a tunnel in order, one with a broken link, and a configuration without a tunnel', async (t) => {
  const rig = await createTunnelRig({ links: LINKS });
  t.teardown(() => rig.close());
  const doctor = async (name: string): Promise<{ code: number | null; findings: Finding[] }> => {
    const child = spawnMptunnel(rig, 'client', [process.execPath, PROGRAM, 'doctor', name, '--json']);
    let out = '';
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      out += chunk;
    });
    child.stderr!.resume();
    const code = await ended(child);
    return {
      code,
      findings: out
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Finding),
    };
  };
  const of = (findings: Finding[], check: string): Finding | undefined => findings.find((finding) => finding.check === check);

  const { code, findings } = await doctor('mpt0');
  t.comment(findings.map(({ check, verdict, found }) => `${verdict} ${check}: ${found}`).join('\n'));
  t.equal(code, 0);
  t.match(of(findings, 'configuration'), { verdict: 'ok', found: rig.configFile('client') });
  for (const [link, path] of [
    ['uplink link0', 'path vps/link0'],
    ['uplink link1', 'path vps/link1'],
  ] as const) {
    t.match(of(findings, link), { verdict: 'ok', found: /^wan\d, / });
    t.match(of(findings, `${link}, MTU`), { verdict: 'ok', found: 'packets of 1500 bytes get through' });
    t.match(of(findings, path)?.found, /^up, RTT \d/);
    t.match(of(findings, `${path}, NAT`), { verdict: 'ok', found: /^none: the peer sees / });
  }
  t.match(of(findings, 'peer vps'), { verdict: 'ok', found: 'up over 2 of 2 paths' });
  t.match(of(findings, 'bottleneck'), { verdict: 'unknown', found: /^nothing is carried now/ });

  await rig.lab.links[1]!.blackhole(true);
  const isDown = async (): Promise<boolean> => (await rig.status('client')).peers[0]!.paths[1]!.state === 'down';
  await until('the path is down', isDown, PATIENCE_MS);
  const broken = await doctor('mpt0');
  t.equal(broken.code, 1);
  t.match(of(broken.findings, 'path vps/link1'), { verdict: 'fail', found: /^down: no answer/, advice: /UDP/ });
  t.match(of(broken.findings, 'uplink link1, MTU'), { verdict: 'unknown' });
  t.match(of(broken.findings, 'peer vps'), { verdict: 'warn', found: 'up over 1 of 2 paths' });

  await rig.mptunnel('client', 'down', 'mpt0');
  await rig.lab.links[1]!.setDown(true);
  const without = await doctor(rig.configFile('client'));
  t.equal(without.code, 1);
  t.match(of(without.findings, 'tunnel'), { verdict: 'unknown', advice: /^mptunnel up/ });
  t.match(of(without.findings, 'uplink link0'), { verdict: 'ok' });
  t.match(of(without.findings, 'uplink link1')?.verdict, 'fail');
});
