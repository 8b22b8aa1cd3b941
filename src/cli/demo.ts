/**
 * `mptunnel demo`: two hosts (network namespaces), two emulated links between them, the real `mptunnel up` on both, and one TCP download
 * through the tunnel, while one link is cut and brought back. Every figure is measured in this very run.
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { formatKey, generatePrivateKey } from '../crypto/keys.js';
import { publicKeyOf } from '../crypto/x25519.js';
import type { LinkShape } from '../lab/lab-api.js';
import type { NamespaceHost } from '../lab/namespaces.js';
import { createLab, type Lab, SERVER_PUBLIC_ADDRESS, WEB_ADDRESS, WEB_NETWORK } from '../lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT, type TrafficResult } from '../lab/traffic.js';
import {
  computeFigures,
  type DemoFigures,
  type DemoLink,
  type DemoSample,
  type DemoSchedule,
  isReallyFaster,
  rateBetween,
} from './demo-figures.js';
import { DemoView, formatRate } from './demo-view.js';
import { CliError } from './report.js';

export interface DemoOptions {
  /** Figures as one JSON object instead of text. */
  json?: boolean;
}

/** Interfaces wan0 and wan1 of the client, with a queue of some 60 ms each. */
const LINKS: readonly (DemoLink & Partial<LinkShape>)[] = [
  { name: 'dsl', rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300 },
  { name: 'lte', rateBitsPerSec: 30e6, delayMs: 30, queuePackets: 250 },
];
const SCHEDULE: DemoSchedule = { steadyMs: 3000, cutMs: 12_000, restoreMs: 20_000, endMs: 28_000, cutLink: 0 };
const SINGLE_SECONDS = 4;
/** The single links get the same grace for their slow start. */
const SINGLE_STEADY_MS = 1500;
const SAMPLE_MS = 100;
/** The meters show the mean of so much time. */
const METER_MS = 500;
const UP_TIMEOUT_MS = 30_000;
const PORT = 5180;
const PROGRAM = fileURLToPath(new URL('../../bin/mptunnel.js', import.meta.url));

interface DemoResult extends DemoFigures {
  links: (DemoLink & { singleBitsPerSec: number })[];
  bytes: number;
  survived: boolean;
  faster: boolean;
  passed: boolean;
  error?: string;
}

/**
 * Exit code: 0 when bonding was really faster than the best link alone, the connection survived, and both links were used again after the
 * return. Throws CliError or LabError.
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  if (process.getuid?.() !== 0) throw new CliError('needs-root', 'the demo makes network namespaces, which needs root: sudo npm run demo');
  const view = options.json === true ? undefined : new DemoView(process.stdout, LINKS);
  const lab = await createLab({ links: LINKS });
  let result: DemoResult;
  try {
    result = await play(lab, view);
  } finally {
    view?.end();
    await lab.close();
  }
  process.stdout.write(options.json === true ? `${JSON.stringify(result)}\n` : summaryOf(result));
  return result.passed ? 0 : 1;
}

async function play(lab: Lab, view: DemoView | undefined): Promise<DemoResult> {
  await startTrafficServer(lab.web);
  view?.say('Two links between a client and a server, each alone first, plain TCP without the tunnel:');
  const singles: number[] = [];
  for (const [index, link] of LINKS.entries()) {
    const rate = await measureSingle(lab, index);
    singles.push(rate);
    view?.say(`  ${link.name.padEnd(5)} ${link.rateBitsPerSec / 1e6} Mbit/s, ${link.delayMs} ms: ${formatRate(rate).trim()}`);
  }
  await startTunnel(lab);
  view?.say('\nThe tunnel is up on both hosts (`mptunnel up`). Now one TCP download through it, by both links:');
  const { samples, schedule, outcome } = await download(lab, view);
  const figures = computeFigures(samples, LINKS, schedule);
  const { error } = outcome;
  const survived = error === undefined && figures.moved;
  const faster = isReallyFaster(figures.bondedBitsPerSec, singles);
  return {
    links: LINKS.map(({ name, rateBitsPerSec, delayMs }, i) => ({ name, rateBitsPerSec, delayMs, singleBitsPerSec: singles[i]! })),
    ...figures,
    bytes: outcome.bytes ?? 0,
    survived,
    faster,
    passed: survived && faster && figures.bothAgainAfterMs !== null,
    ...(error === undefined ? {} : { error }),
  };
}

/** The rate of plain TCP by one link, without its first, slow second. */
async function measureSingle(lab: Lab, link: number): Promise<number> {
  await lab.routeWebByLink(link);
  const samples: DemoSample[] = [];
  const request = { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, seconds: SINGLE_SECONDS } as const;
  const result = await runTraffic(lab.client, request, (line) => {
    if (line.type === 'sample') samples.push({ atMs: line.atMs, downloadBytes: line.bytes, linkBytes: [], gapMs: 0 });
  });
  await lab.routeWebByLink(undefined);
  const rate = rateBetween(samples, SINGLE_STEADY_MS, Number.POSITIVE_INFINITY, (sample) => sample.downloadBytes);
  return rate > 0 ? rate : (result.bitsPerSec ?? 0);
}

// ---- the tunnel ----

async function startTunnel(lab: Lab): Promise<void> {
  const [serverKey, clientKey] = [generatePrivateKey(randomBytes), generatePrivateKey(randomBytes)];
  const serverConfig = `[interface]
name = "mpt0"
private_key = "${formatKey(serverKey)}"
address = ["10.77.0.1/24"]
listen_port = ${PORT}

[[peer]]
name = "home"
public_key = "${formatKey(publicKeyOf(clientKey))}"
allowed_ips = ["10.77.0.2/32"]

[egress]
mode = "socket"
allow = ["${WEB_NETWORK}"]
`;
  const paths = LINKS.map(({ name }, i) => `[[path]]\nname = "${name}"\ninterface = "wan${i}"\n`).join('\n');
  const clientConfig = `[interface]
name = "mpt0"
private_key = "${formatKey(clientKey)}"
address = ["10.77.0.2/24"]

${paths}
[[peer]]
name = "vps"
public_key = "${formatKey(publicKeyOf(serverKey))}"
endpoint = "${SERVER_PUBLIC_ADDRESS}:${PORT}"
allowed_ips = ["${WEB_NETWORK}"]
`;
  await up(lab, lab.server, 'server', serverConfig);
  await up(lab, lab.client, 'client', clientConfig);
}

/** Sockets, state and logs lie in the folder of the lab, which goes when the lab goes, whatever becomes of the daemons. */
async function up(lab: Lab, host: NamespaceHost, role: string, config: string): Promise<void> {
  const runFolder = join(lab.folder, role);
  mkdirSync(runFolder, { mode: 0o700 });
  const file = join(lab.folder, `${role}.toml`);
  writeFileSync(file, config, { mode: 0o600 });
  const command = [`MPTUNNEL_RUN_DIR=${runFolder}`, `MPTUNNEL_STATE_DIR=${runFolder}.state`, process.execPath, PROGRAM, 'up', file];
  await host.run('env', command, { timeoutMs: UP_TIMEOUT_MS });
}

// ---- the download ----

interface DownloadRecord {
  samples: DemoSample[];
  /** As it happened. */
  schedule: DemoSchedule;
  outcome: TrafficResult;
}

/** Runs the download, cuts and restores one link on the way, and takes a sample of everything every 100 ms. */
async function download(lab: Lab, view: DemoView | undefined): Promise<DownloadRecord> {
  let startMs = Number.NaN;
  let downloadBytes = 0;
  let gapMs = 0;
  let over = false;
  const run = startTraffic(lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT }, (line) => {
    if (line.type === 'connected') startMs = performance.now();
    if (line.type !== 'sample') return;
    downloadBytes = line.bytes;
    gapMs = Math.max(gapMs, line.gapMs ?? 0);
  });
  void run.result.then(() => {
    over = true;
  });
  while (Number.isNaN(startMs) && !over) await sleep(SAMPLE_MS / 10);
  const samples: DemoSample[] = [];
  const schedule = { ...SCHEDULE };
  const cut = new Set<number>();
  const link = lab.links[SCHEDULE.cutLink]!;
  const name = LINKS[SCHEDULE.cutLink]!.name;
  for (let tick = 1; !over; tick++) {
    await sleep(Math.max(0, startMs + tick * SAMPLE_MS - performance.now()));
    const atMs = performance.now() - startMs;
    if (atMs >= SCHEDULE.endMs) break;
    if (atMs >= SCHEDULE.cutMs && atMs < SCHEDULE.restoreMs && cut.size === 0) {
      await link.blackhole(true);
      schedule.cutMs = performance.now() - startMs;
      cut.add(SCHEDULE.cutLink);
      view?.say(`  ${seconds(atMs)}: the ${name} link is cut, silently: packets vanish`);
    }
    if (atMs >= SCHEDULE.restoreMs && cut.size > 0) {
      await link.blackhole(false);
      schedule.restoreMs = performance.now() - startMs;
      cut.clear();
      view?.say(`  ${seconds(atMs)}: the ${name} link is back`);
    }
    const counters = await Promise.all(lab.links.map((each) => each.counters()));
    samples.push({ atMs: performance.now() - startMs, linkBytes: counters.map(({ downBytes }) => downBytes), downloadBytes, gapMs });
    gapMs = 0;
    showMeters(view, samples, cut);
  }
  schedule.endMs = performance.now() - startMs;
  run.stop();
  return { samples, schedule, outcome: await run.result };
}

function showMeters(view: DemoView | undefined, samples: readonly DemoSample[], cut: ReadonlySet<number>): void {
  const atMs = samples.at(-1)!.atMs;
  const rate = (bytesOf: (sample: DemoSample) => number) => rateBetween(samples.slice(-10), atMs - METER_MS, atMs, bytesOf);
  view?.meters({
    atMs,
    linkBitsPerSec: LINKS.map((_, i) => rate((sample) => sample.linkBytes[i] ?? 0)),
    downloadBitsPerSec: rate((sample) => sample.downloadBytes),
    cut,
  });
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(0)} s`;
}

// ---- the summary ----

function summaryOf(result: DemoResult): string {
  const cutName = LINKS[SCHEDULE.cutLink]!.name;
  const best = Math.max(...result.links.map((link) => link.singleBitsPerSec));
  const gain = best > 0 ? result.bondedBitsPerSec / best : 0;
  const rows: [string, string][] = [
    ...result.links.map((link): [string, string] => [`${link.name} alone, plain TCP`, formatRate(link.singleBitsPerSec).trim()]),
    ['both, one TCP download', `${formatRate(result.bondedBitsPerSec).trim()} (${gain.toFixed(2)} x the best link)`],
    [`while ${cutName} was cut`, formatRate(result.cutBitsPerSec).trim()],
    ['longest gap at the cut', `${Math.round(result.gapAtCutMs)} ms`],
    [
      `${cutName} used again`,
      result.bothAgainAfterMs === null ? 'no, or not for long' : `${Math.round(result.bothAgainAfterMs)} ms after its return`,
    ],
    ['both after its return', formatRate(result.afterBitsPerSec).trim()],
    ['connection survived', result.survived ? 'yes, every byte checked' : `no${result.error === undefined ? '' : `: ${result.error}`}`],
  ];
  const verdict = result.passed ? '' : '\nThe demo FAILED: see above.\n';
  return `\nSummary\n${rows.map(([name, value]) => `  ${name.padEnd(26)} ${value}\n`).join('')}${verdict}`;
}
