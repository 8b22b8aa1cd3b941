/** A tunnel whose server listens on QUIC and WebTransport too, behind a network that can be made hostile with nftables; for tests and benchmarks. */

import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { createTunnelRig, rateBetween, type TunnelRig, type TunnelRigOptions } from './tunnel-rig.js';

export const CARRIER_PORT = 443;
export const TARGET = { host: WEB_ADDRESS, port: TRAFFIC_PORT };
const ECHO_COUNT = 20;

export interface CarrierRig extends TunnelRig {
  /** From now on the network before the server drops what this rule of nft says; "": nothing. */
  block(rule: string): Promise<void>;
}

/** Both ends are up when the client is asked to be with `up: true` (default); what is blocked is so before that. */
export async function createCarrierRig({
  blocked = '',
  up = true,
  ...options
}: TunnelRigOptions & { blocked?: string }): Promise<CarrierRig> {
  const server = `\n[carriers]\nquic_port = ${CARRIER_PORT}\nwebtransport_port = ${CARRIER_PORT}\n${options.append?.server ?? ''}`;
  // What the server keeps: not this host's own.
  const stateFolder = mkdtempSync(join(tmpdir(), 'mpt-state-'));
  const environment = { ...options.environment, MPTUNNEL_STATE_DIR: stateFolder };
  const rig = await createTunnelRig({ ...options, up: false, append: { ...options.append, server }, environment });
  const close = async (): Promise<void> => {
    await rig.close();
    rmSync(stateFolder, { recursive: true, force: true });
  };
  try {
    const block = async (rule: string): Promise<void> => {
      const chain = rule === '' ? '' : `chain in { type filter hook input priority 0; ${rule} }`;
      const input = `table inet hostile {}\ndelete table inet hostile\ntable inet hostile {\n${chain}\n}\n`;
      await rig.lab.server.run('nft', ['-f', '-'], { input });
    };
    await startTrafficServer(rig.lab.web);
    await rig.up('server');
    const hash = /certificate_sha256 = "([0-9a-f]{64})"/.exec(rig.log('server'))?.[1];
    if (hash === undefined) throw new Error(`the server does not say which certificate it has: ${rig.log('server')}`);
    const ports = `quic_port = ${CARRIER_PORT}\nwebtransport_port = ${CARRIER_PORT}\n`;
    appendFileSync(rig.configFile('client'), `${ports}certificate_sha256 = "${hash}"\n`);
    await block(blocked);
    if (up) await rig.up('client');
    return { ...rig, block, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Of each path of the client: over what it goes while it is up, else its state. */
export async function carriersOf(rig: TunnelRig): Promise<string[]> {
  const { paths } = (await rig.status('client')).peers[0]!;
  return paths.map(({ state, carrier = 'udp' }) => (state === 'up' ? carrier : state));
}

/** Of each path of the client that is up over a carrier with several protocols: "HTTP/3"; else its state. */
export async function protocolsOf(rig: TunnelRig): Promise<string[]> {
  const { paths } = (await rig.status('client')).peers[0]!;
  return paths.map(({ state, carrierProtocol = 'none' }) => (state === 'up' ? carrierProtocol : state));
}

/** Bits a second that one TCP stream brings, after `steadyMs`. */
export async function rateOf(rig: TunnelRig, op: 'download' | 'upload', seconds: number, steadyMs: number): Promise<number> {
  const samples: { atMs: number; bytes: number }[] = [];
  await runTraffic(rig.lab.client, { op, ...TARGET, seconds }, (line) => {
    if (line.type === 'sample') samples.push(line);
  });
  return rateBetween(samples, steadyMs, Number.POSITIVE_INFINITY);
}

/** Median time to the first echoed byte of a new connection, idle and beside a download. */
export async function firstByteMs(rig: TunnelRig): Promise<{ idleMs: number; loadedMs: number }> {
  const echoes = { op: 'echo', ...TARGET, count: ECHO_COUNT, intervalMs: 100 } as const;
  const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
  const idleMs = median((await runTraffic(rig.lab.client, echoes)).timesMs!);
  const load = startTraffic(rig.lab.client, { op: 'download', ...TARGET });
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const loadedMs = median((await runTraffic(rig.lab.client, echoes)).timesMs!);
  load.stop();
  const { error } = await load.result;
  if (error !== undefined) throw new Error(`the download beside them: ${error}`);
  return { idleMs, loadedMs };
}
