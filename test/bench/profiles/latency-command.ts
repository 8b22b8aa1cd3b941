/** How long the first byte of a new connection and a ping take, on idle links and while one download and one upload fill them. */

import type { NamespaceHost } from '../../../src/lab/namespaces.js';
import { runTraffic, startTrafficServer } from '../../../src/lab/traffic.js';
import { runBulk } from './bulk.js';
import { type Carrier, openCarrier } from './measure.js';
import type { Profile } from './profiles.js';
import { median, table } from './report.js';

export interface Times {
  medianMs: number;
  worstMs: number;
  all: number[];
}

export interface LatencyResult {
  profile: string;
  carrier: Carrier;
  idle: { echo: Times; ping: Times };
  loaded: { echo: Times; ping: Times };
  /** What the download and the upload carried meanwhile. */
  megabits: { download: number; upload: number };
  ok: boolean;
}

const TRIES = 20;
const TRY_INTERVAL_MS = 400;
const SETTLE_SEC = 4;
const ECHO_PORT = 8080;

export async function runLatency(profile: Profile, carrier: Carrier, loadSec: number): Promise<LatencyResult> {
  const carried = await openCarrier(carrier, profile, { seed: 1 });
  const { lab, server, serverAddress, mptcp } = carried;
  const farHost = carrier === 'kernel' ? lab.server : lab.web;
  const echoServer = await startTrafficServer(farHost, ECHO_PORT);
  try {
    const probe = () => probeOnce(lab.client, serverAddress);
    await runTraffic(lab.client, { op: 'echo', host: serverAddress, port: ECHO_PORT });
    const idle = await probe();
    const load = (direction: 'download' | 'upload') =>
      runBulk({ client: lab.client, server, serverAddress, direction, mptcp, seconds: loadSec });
    const loads = Promise.all([load('download'), load('upload')]);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_SEC * 1000));
    const loaded = await probe();
    const rates = (await loads).map((record) => {
      const from = record.connectedSec + SETTLE_SEC;
      const samples = record.samples[0] ?? [];
      const [first, last] = [samples.find((sample) => sample.atSec >= from), samples.filter((s) => s.atSec <= record.endSec).at(-1)];
      return first === undefined || last === undefined ? 0 : ((last.bytes - first.bytes) * 8e-6) / (last.atSec - first.atSec);
    });
    return {
      profile: profile.name,
      carrier,
      idle,
      loaded,
      megabits: { download: rates[0] ?? 0, upload: rates[1] ?? 0 },
      ok: withinBounds(idle, loaded),
    };
  } finally {
    echoServer.close();
    await carried.close();
  }
}

/** The bounds of issue 4. */
function withinBounds(idle: LatencyResult['idle'], loaded: LatencyResult['loaded']): boolean {
  return (
    loaded.echo.medianMs <= 1.5 * idle.echo.medianMs + 50 &&
    loaded.echo.worstMs <= 4 * idle.echo.medianMs &&
    loaded.ping.medianMs <= idle.ping.medianMs + 50
  );
}

async function probeOnce(client: NamespaceHost, address: string): Promise<{ echo: Times; ping: Times }> {
  const [echo, ping] = await Promise.all([
    runTraffic(client, { op: 'echo', host: address, port: ECHO_PORT, count: TRIES, intervalMs: TRY_INTERVAL_MS }),
    pingTimes(client, address),
  ]);
  return { echo: timesOf(echo.timesMs ?? []), ping: timesOf(ping) };
}

async function pingTimes(client: NamespaceHost, address: string): Promise<number[]> {
  // A lost echo is no reason to fail: what came back counts.
  const { stdout } = await client.run('sh', ['-c', `ping -n -c ${TRIES} -i ${TRY_INTERVAL_MS / 1000} -W 5 ${address} || true`]);
  return [...stdout.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]));
}

function timesOf(all: number[]): Times {
  return { medianMs: median(all), worstMs: Math.max(...all), all };
}

export function latencyTable(results: readonly LatencyResult[]): string {
  const head = [
    'profile',
    'carrier',
    'first byte idle',
    'under load: median',
    'worst',
    'ping idle',
    'under load',
    'Mbit/s down + up',
    'verdict',
  ];
  const ms = (value: number): string => value.toFixed(0);
  return table(
    head,
    results.map(({ profile, carrier, idle, loaded, megabits, ok }) => [
      profile,
      carrier,
      ms(idle.echo.medianMs),
      ms(loaded.echo.medianMs),
      ms(loaded.echo.worstMs),
      ms(idle.ping.medianMs),
      ms(loaded.ping.medianMs),
      `${megabits.download.toFixed(1)} + ${megabits.upload.toFixed(1)}`,
      ok ? 'ok' : 'over the bound',
    ]),
  );
}
