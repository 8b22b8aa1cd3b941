/** The emulator and the hosts, by what traffic meets in them. Bounds are generous: the machine may be busy. Needs root. */

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createLab, type Lab, type LabOptions, SERVER_PUBLIC_ADDRESS, WEB_ADDRESS, WEB_ADDRESS_V6 } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer } from '../../src/lab/traffic.js';

async function withLab(options: LabOptions, body: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = await createLab(options);
  try {
    await body(lab);
  } finally {
    await lab.close();
  }
}

const target = { host: WEB_ADDRESS, port: 8080 } as const;
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

t.test('one TCP stream gets the rate of its link each way, and its bytes arrive whole', async (t) => {
  await withLab({ links: [{ rateBitsPerSec: 20e6, delayMs: 10, queuePackets: 100 }] }, async (lab) => {
    await startTrafficServer(lab.web);
    for (const op of ['download', 'upload'] as const) {
      const { bitsPerSec, faultAt } = await runTraffic(lab.client, { op, ...target, bytes: 5_000_000 });
      t.ok(bitsPerSec! > 10e6 && bitsPerSec! < 20.5e6, `${op} at ${bitsPerSec} bit/s`);
      t.equal(faultAt, -1);
    }
    const counters = await lab.links[0]!.counters();
    t.ok(counters.downBytes > 5_000_000 && counters.upBytes > 5_000_000);
  });
});

t.test('each link has its own delay, and a socket bound to it leaves by it', async (t) => {
  await withLab({ links: [{ delayMs: 10 }, { delayMs: 40 }] }, async (lab) => {
    for (const [index, roundTripMs] of [20, 80].entries()) {
      const { stdout } = await lab.client.run('ping', ['-c', '5', '-i', '0.1', '-I', `wan${index}`, SERVER_PUBLIC_ADDRESS]);
      const times = [...stdout.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]));
      t.equal(times.length, 5);
      t.ok(Math.min(...times) >= roundTripMs - 0.5 && median(times) < roundTripMs + 25, `wan${index}: ${times}`);
    }
    const [fast, slow] = [await lab.links[0]!.counters(), await lab.links[1]!.counters()];
    t.ok(fast.upPackets >= 5 && slow.upPackets >= 5, 'both links have carried their pings');
  });
});

t.test('web is reached over IPv6 too, and by the link that was chosen', async (t) => {
  await withLab({ links: [{}, {}] }, async (lab) => {
    await startTrafficServer(lab.web);
    await runTraffic(lab.client, { op: 'download', host: WEB_ADDRESS_V6, port: 8080, bytes: 100_000 });
    const before = await lab.links[1]!.counters();
    await lab.routeWebByLink(1);
    await runTraffic(lab.client, { op: 'upload', ...target, bytes: 200_000 });
    const after = await lab.links[1]!.counters();
    t.ok(after.upBytes - before.upBytes > 200_000);
  });
});

t.test('loss and a finite queue are met by UDP as asked for, and counted', async (t) => {
  await withLab({ links: [{ lossRatio: 0.2 }], seed: 3 }, async (lab) => {
    await startTrafficServer(lab.web);
    const burst = { op: 'udp-echo', ...target, count: 500, intervalMs: 1, silenceMs: 500 } as const;
    const { bytes: returned } = await runTraffic(lab.client, burst);
    // 0.8 squared of 500.
    t.ok(returned! > 240 && returned! < 400, `${returned} of 500 came back`);
    await lab.links[0]!.setShape({ lossRatio: 0, rateBitsPerSec: 100e3, queuePackets: 5 });
    const { lostPackets } = await lab.links[0]!.counters();
    const limited = await runTraffic(lab.client, { ...burst, count: 100, sizeBytes: 1000 });
    const counters = await lab.links[0]!.counters();
    t.equal(counters.lostPackets, lostPackets, 'no random loss any more');
    t.ok(counters.droppedPackets > 10, `${counters.droppedPackets} dropped`);
    t.ok(limited.bytes! < 100);
  });
});

t.test('a cut link is silent, and a TCP stream goes on after its return', async (t) => {
  await withLab({ links: [{ rateBitsPerSec: 20e6, delayMs: 5 }] }, async (lab) => {
    await startTrafficServer(lab.web);
    const samples: number[] = [];
    const run = startTraffic(lab.client, { op: 'download', ...target }, (line) => {
      if (line.type === 'sample') samples.push(line.bytes);
    });
    const until = async (condition: () => boolean) => {
      while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
    };
    await until(() => (samples.at(-1) ?? 0) > 500_000);
    await lab.links[0]!.blackhole(true);
    await until(() => samples.length > 10 && samples.at(-1) === samples.at(-8));
    const atCut = samples.at(-1)!;
    t.match((await lab.client.run('ip', ['link', 'show', 'wan0'])).stdout, /LOWER_UP/, 'the client sees no link event');
    await lab.links[0]!.blackhole(false);
    await until(() => samples.at(-1)! > atCut + 500_000);
    run.stop();
    const result = await run.result;
    t.equal(result.error, undefined);
    t.equal(result.faultAt, -1);
    t.ok(result.longestGapMs! > 600, `gap of ${result.longestGapMs} ms`);
  });
});

t.test('a link set down is a link event, and works as before when it comes back', async (t) => {
  await withLab({ links: [{}, {}] }, async (lab) => {
    await startTrafficServer(lab.web);
    await lab.links[0]!.setDown(true);
    t.notMatch((await lab.client.run('ip', ['link', 'show', 'wan0'])).stdout, /LOWER_UP/);
    await runTraffic(lab.client, { op: 'echo', ...target });
    t.ok((await lab.links[1]!.counters()).upPackets > 0, 'the other link takes over by its metric');
    await lab.links[0]!.setDown(false);
    const before = await lab.links[0]!.counters();
    await runTraffic(lab.client, { op: 'echo', ...target });
    t.ok((await lab.links[0]!.counters()).upPackets > before.upPackets);
  });
});

t.test('wires carry traffic without the emulator', async (t) => {
  await withLab({ links: [{}, {}], wires: true }, async (lab) => {
    await startTrafficServer(lab.web);
    await runTraffic(lab.client, { op: 'download', ...target, bytes: 10_000_000 });
    t.ok((await lab.links[0]!.counters()).downBytes > 10_000_000);
    await t.rejects(lab.links[0]!.blackhole(true), { code: 'no-blackhole' });
  });
});

t.test('a command that fails rejects with what it said', async (t) => {
  await withLab({ links: [{}] }, async (lab) => {
    await t.rejects(lab.client.run('sh', ['-c', 'echo broken >&2; exit 3']), { code: 'command-failed', message: /broken/ });
    const child = lab.client.spawn('sh', ['-c', 'exit 7']);
    t.equal(await child.exited, 7);
  });
});

/** A zombie that nobody has waited for does not run. */
function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

const namespaces = () => (existsSync('/run/netns') ? readdirSync('/run/netns').filter((name) => name.startsWith('mpt-')) : []);

t.test('closing removes hosts, devices, files, and daemons that left their group', async (t) => {
  const lab = await createLab({ links: [{}] });
  await lab.client.run('sh', ['-c', 'setsid sleep 600 >/dev/null 2>&1 </dev/null &']);
  const pids = execFileSync('ip', ['netns', 'pids', lab.client.namespace], { encoding: 'utf8' }).trim().split('\n');
  t.equal(pids.length, 1);
  await lab.close();
  for (const host of [lab.client, lab.server, lab.web]) t.notOk(namespaces().includes(host.namespace));
  t.notOk(isRunning(Number(pids[0])));
  t.notOk(existsSync(lab.folder));
});

const TOPOLOGY = fileURLToPath(new URL('../../src/lab/topology.js', import.meta.url));
const OWNER_PROGRAM = `
  const { createLab } = await import(${JSON.stringify(TOPOLOGY)});
  const lab = await createLab({ links: [{}] });
  lab.client.spawn('sleep', ['600']);
  console.log(lab.client.namespace);
  setInterval(() => {}, 1000);`;

/** Starts a process that makes a lab; resolves to it and the name of its client. */
async function startOwner() {
  const child = spawn(process.execPath, ['--input-type=module', '-e', OWNER_PROGRAM], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise<NodeJS.Signals | null>((resolve) => child.on('exit', (_, signal) => resolve(signal)));
  const namespace = await new Promise<string>((resolve) => createInterface({ input: child.stdout }).once('line', resolve));
  return { child, exited, namespace };
}

t.test('a signal to its owner removes the lab', async (t) => {
  const { child, exited, namespace } = await startOwner();
  t.ok(namespaces().includes(namespace));
  child.kill('SIGTERM');
  t.equal(await exited, 'SIGTERM');
  t.notOk(namespaces().includes(namespace));
});

t.test('the next lab removes what a killed owner has left, and nothing of a living one', async (t) => {
  const [killed, living] = [await startOwner(), await startOwner()];
  killed.child.kill('SIGKILL');
  await killed.exited;
  t.ok(namespaces().includes(killed.namespace));
  await withLab({ links: [{}] }, async () => {
    t.notOk(namespaces().includes(killed.namespace));
    t.ok(namespaces().includes(living.namespace));
  });
  living.child.kill('SIGTERM');
  await living.exited;
});
