/** A lab with the real `mptunnel up` on both hosts, for tests and benchmarks. */

import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { formatKey, generatePrivateKey } from '../../src/crypto/keys.js';
import { publicKeyOf } from '../../src/crypto/x25519.js';
import type { NamespaceHost } from '../../src/lab/namespaces.js';
import { createLab, type Lab, type LabOptions, SERVER_PUBLIC_ADDRESS, WEB_NETWORK } from '../../src/lab/topology.js';
import type { TunnelStatus } from '../../src/tunnel/status.js';

export const PROGRAM = fileURLToPath(new URL('../../bin/mptunnel.js', import.meta.url));
export const CLIENT_ADDRESS = '10.77.0.2';
export const SERVER_ADDRESS = '10.77.0.1';
const PORT = 5180;
const UP_TIMEOUT_MS = 30_000;
const PAGE_BYTES = 4096;
const POLL_MS = 50;
const DEATH_TIMEOUT_MS = 10_000;

export interface TunnelRigOptions extends LabOptions {
  /** Lines for [stream] on both sides. */
  stream?: string;
  /** Lines of the client's configuration in place of a [[path]] for each link. */
  paths?: string;
  /** Lines at the end of a side's configuration, as [[rule]]. */
  append?: Readonly<Partial<Record<'client' | 'server', string>>>;
  /** Routed into the tunnel beside the web network and the server's tunnel addresses. */
  allowedIps?: readonly string[];
  /** MPTUNNEL_DEBUG and the like, for the daemons. */
  environment?: Readonly<Record<string, string>>;
  /** Node.js options of the daemons, e.g. --cpu-prof. */
  nodeOptions?: readonly string[];
  /** Default true: both ends are up before this returns. */
  up?: boolean;
}

export interface TunnelRig {
  readonly lab: Lab;
  /** Runs `mptunnel ARGS` inside a host; rejects on a non-zero exit. */
  mptunnel(side: 'client' | 'server', ...args: string[]): Promise<{ stdout: string; stderr: string }>;
  status(side: 'client' | 'server'): Promise<TunnelStatus>;
  configFile(side: 'client' | 'server'): string;
  log(side: 'client' | 'server'): string;
  /** Resident memory of a daemon. */
  residentBytes(side: 'client' | 'server'): Promise<number>;
  up(side: 'client' | 'server'): Promise<void>;
  close(): Promise<void>;
}

export async function createTunnelRig(options: TunnelRigOptions): Promise<TunnelRig> {
  const lab = await createLab(options);
  const folderOf = (side: string): string => join(lab.folder, side);
  const hostOf = (side: 'client' | 'server'): NamespaceHost => (side === 'client' ? lab.client : lab.server);
  const configFile = (side: string): string => join(lab.folder, `${side}.toml`);
  const mptunnel: TunnelRig['mptunnel'] = (side, ...args) => {
    const environment = Object.entries({
      MPTUNNEL_STATE_DIR: `${folderOf(side)}.state`,
      ...options.environment,
      MPTUNNEL_RUN_DIR: folderOf(side),
      NODE_OPTIONS: '',
    }).map(([k, v]) => `${k}=${v}`);
    const nodeOptions = args[0] === 'up' ? (options.nodeOptions ?? []) : [];
    return hostOf(side).run('env', [...environment, process.execPath, ...nodeOptions, PROGRAM, ...args], {
      timeoutMs: UP_TIMEOUT_MS,
    });
  };
  const rig: TunnelRig = {
    lab,
    mptunnel,
    status: async (side) => JSON.parse((await mptunnel(side, 'status', 'mpt0', '--json')).stdout) as TunnelStatus,
    configFile,
    log: (side) => readFileSync(join(folderOf(side), 'mpt0.log'), 'utf8'),
    residentBytes: async (side) => {
      const pages = readFileSync(`/proc/${(await rig.status(side)).pid}/statm`, 'utf8').split(' ')[1];
      return Number(pages) * PAGE_BYTES;
    },
    up: async (side) => {
      await mptunnel(side, 'up', configFile(side));
    },
    close: async () => {
      for (const side of ['client', 'server'] as const) await mptunnel(side, 'down', 'mpt0').catch(() => undefined);
      await lab.close();
    },
  };
  try {
    writeConfigs(options, configFile);
    for (const side of ['server', 'client'] as const) mkdirSync(folderOf(side), { mode: 0o700 });
    if (options.up !== false) {
      await rig.up('server');
      await rig.up('client');
    }
    return rig;
  } catch (error) {
    await rig.close();
    throw error;
  }
}

function writeConfigs(options: TunnelRigOptions, configFile: (side: string) => string): void {
  const [serverKey, clientKey] = [generatePrivateKey(randomBytes), generatePrivateKey(randomBytes)];
  const stream = options.stream === undefined ? '' : `[stream]\n${options.stream}\n`;
  writeFileSync(
    configFile('server'),
    `[interface]
name = "mpt0"
private_key = "${formatKey(serverKey)}"
address = ["${SERVER_ADDRESS}/24", "fd77::1/64"]
listen_port = ${PORT}
${stream}
[[peer]]
name = "home"
public_key = "${formatKey(publicKeyOf(clientKey))}"
allowed_ips = ["${CLIENT_ADDRESS}/32", "fd77::2/128"]

[egress]
mode = "socket"
allow = ["${WEB_NETWORK}", "fd98::/64"]
${options.append?.server ?? ''}
`,
    { mode: 0o600 },
  );
  const allowed = [WEB_NETWORK, `${SERVER_ADDRESS}/32`, 'fd77::1/128', 'fd98::/64', ...(options.allowedIps ?? [])];
  const paths = options.paths ?? options.links.map((_, i) => `[[path]]\nname = "link${i}"\ninterface = "wan${i}"\n`).join('\n');
  writeFileSync(
    configFile('client'),
    `[interface]
name = "mpt0"
private_key = "${formatKey(clientKey)}"
address = ["${CLIENT_ADDRESS}/24", "fd77::2/64"]
${stream}
${paths}
[[peer]]
name = "vps"
public_key = "${formatKey(publicKeyOf(serverKey))}"
endpoint = "${SERVER_PUBLIC_ADDRESS}:${PORT}"
allowed_ips = ${JSON.stringify(allowed)}
${options.append?.client ?? ''}
`,
    { mode: 0o600 },
  );
}

/** Mean rate of samples (bytes received so far, at milliseconds since the start) between two times; the last sample counts when `toMs` lies beyond. */
export function rateBetween(samples: readonly { atMs: number; bytes: number }[], fromMs: number, toMs: number): number {
  const within = samples.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs);
  const [first, last] = [within[0], within.at(-1)];
  if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0;
  return ((last.bytes - first.bytes) * 8000) / (last.atMs - first.atMs);
}

/** As a crash: nothing of the daemon runs any more, not even its last will. */
export async function crash<Side extends string>(rig: { status(side: Side): Promise<{ pid: number }> }, side: Side): Promise<void> {
  process.kill((await rig.status(side)).pid, 'SIGKILL');
  const isDead = (): Promise<boolean> =>
    rig.status(side).then(
      () => false,
      () => true,
    );
  await until('the daemon is dead', isDead, DEATH_TIMEOUT_MS);
}

/** Asks again until it holds; throws when it did not within the time. */
export async function until(what: string, holds: () => Promise<boolean>, timeoutMs: number): Promise<number> {
  const startMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - startMs > timeoutMs) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await sleep(POLL_MS);
  }
  return performance.now() - startMs;
}
