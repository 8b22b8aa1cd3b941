import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { ControlClient } from '../control/control-client.js';
import { checkHost, checkLoad, checkMtu, checkPath, type Finding, formatFindings } from '../control/doctor-checks.js';
import { cpuSeconds, hasRoute, hostFacts, measureMtu, receiveDrops } from '../control/doctor-facts.js';
import { type Instance, isAlive, listInstances } from '../control/instance.js';
import { wrapText } from '../control/text-table.js';
import { type ResolvedEndpoint, resolveEndpoint } from '../tunnel/carrier/endpoint.js';
import { type InterfaceInfo, readInterfaces } from '../tunnel/carrier/interface-info.js';
import { interfaceOf, interfaceProblem } from '../tunnel/carrier/uplink-interface.js';
import type { PathConfig, TunnelConfig } from '../tunnel/config.js';
import { configPath, loadConfig } from '../tunnel/config-file.js';
import { withInstance } from './daemon-client.js';

/** Rates and shares are of so long. */
const LOOK_MS = 2000;
const CONNECTIONS_LOOKED_AT = 50;
const DEFAULT_MTU_BYTES = 1500;

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('check the host, the configuration, each path and all together, and name what bounds the speed')
    .argument('<name>', 'a running tunnel, or a configuration: a file, or NAME for /etc/mptunnel/NAME.toml')
    .option('--json', 'print JSON, one object a line for each check')
    .addHelpText(
      'after',
      '\nIt changes nothing; it asks a running tunnel, and pings endpoints. Throughput is not tested: watch a transfer with `mptunnel top`.\nIt exits with 1 when a check failed. Examples:\n  sudo mptunnel doctor home\n  sudo mptunnel doctor ./client.toml --json',
    )
    .action(doctor);
}

async function doctor(name: string, options: { json?: boolean }): Promise<void> {
  const findings = checkHost(hostFacts());
  const instance = runningInstance(name);
  const config = checkConfig(instance?.configFile ?? name, findings);
  if (config !== undefined) findings.push(...(await checkUplinks(config)));
  if (instance === undefined)
    findings.push({
      check: 'tunnel',
      verdict: 'unknown',
      found: 'it is not running, so paths and the peer were not tried',
      advice: `mptunnel up ${name}, and ask again`,
    });
  else findings.push(...(await withInstance(instance, (client) => checkRunning(client, instance.pid, config))));
  if (options.json === true) process.stdout.write(findings.map((finding) => `${JSON.stringify(finding)}\n`).join(''));
  else process.stdout.write(formatFindings(findings, (text) => wrapText(text, process.stdout.columns)));
  if (findings.some(({ verdict }) => verdict === 'fail')) process.exitCode = 1;
}

function runningInstance(name: string): Instance | undefined {
  const file = configPath(name);
  return listInstances().find((one) => isAlive(one) && (one.name === name || (one.configFile === file && existsSync(file))));
}

function checkConfig(nameOrPath: string, findings: Finding[]): TunnelConfig | undefined {
  const check = 'configuration';
  try {
    const warnings: string[] = [];
    const config = loadConfig(nameOrPath, (message) => warnings.push(message));
    findings.push({ check, verdict: 'ok', found: configPath(nameOrPath) });
    for (const found of warnings) findings.push({ check, verdict: 'warn', found });
    return config;
  } catch (error) {
    findings.push({ check, verdict: 'fail', found: (error as Error).message });
    return undefined;
  }
}

/** What can be known without a tunnel: names, interfaces, routes, sizes. */
async function checkUplinks(config: TunnelConfig): Promise<Finding[]> {
  const findings: Finding[] = [];
  const interfaces = await readInterfaces();
  for (const peer of config.peers) {
    if (peer.endpoint === undefined) continue;
    const check = `endpoint ${peer.name}`;
    let endpoint: ResolvedEndpoint;
    try {
      endpoint = await resolveEndpoint(peer.endpoint);
      findings.push({ check, verdict: 'ok', found: endpoint.addresses.map(({ address }) => address).join(', ') });
    } catch (error) {
      findings.push({ check, verdict: 'fail', found: (error as Error).message });
      continue;
    }
    const direct = config.paths.filter(({ via }) => via === undefined);
    const checked = await Promise.all(direct.map((path) => checkUplink(path, endpoint, interfaces)));
    findings.push(...checked.flat());
  }
  return [...findings, ...(await checkRelays(config, interfaces))];
}

/** Paths that go by relays, and relays at which this host waits. */
async function checkRelays({ interface: { relays = [] }, paths }: TunnelConfig, interfaces: readonly InterfaceInfo[]): Promise<Finding[]> {
  const uses = [...paths.map((path) => ({ path, relay: path.via })), ...relays.map((relay) => ({ path: undefined, relay }))];
  const findings: Finding[] = [];
  for (const { path, relay } of uses) {
    if (relay === undefined) continue;
    const check = `relay ${relay.endpoint}`;
    try {
      const endpoint = await resolveEndpoint(relay.endpoint);
      findings.push({ check, verdict: 'ok', found: endpoint.addresses.map(({ address }) => address).join(', ') });
      if (path !== undefined) findings.push(...(await checkUplink(path, endpoint, interfaces)));
    } catch (error) {
      findings.push({ check, verdict: 'fail', found: (error as Error).message });
    }
  }
  return findings;
}

async function checkUplink(path: PathConfig, endpoint: ResolvedEndpoint, interfaces: readonly InterfaceInfo[]): Promise<Finding[]> {
  const check = `uplink ${path.name}`;
  const found = interfaceOf(path, interfaces);
  const problem = interfaceProblem(path, found);
  if (problem !== undefined)
    return [
      { check, verdict: 'fail', found: problem.what, advice: problem.advice || `ip link set ${found?.name} up; check the cable or modem` },
    ];
  const target = endpoint.addresses[0]!;
  const mtuBytes = found?.mtuBytes ?? DEFAULT_MTU_BYTES;
  if (!(await hasRoute(target.address, found?.name)))
    return [
      {
        check,
        verdict: 'fail',
        found: `no route to ${target.address}`,
        advice: 'the link needs a default route of its own (in any table, or with a higher metric)',
      },
    ];
  const ours = found?.addresses[0] ?? 'any address';
  return [
    { check, verdict: 'ok', found: `${found?.name ?? 'any interface'}, ${ours}, route to ${target.address}` },
    checkMtu(check, await measureMtu(target.address, target.family, found?.name, mtuBytes), mtuBytes),
  ];
}

async function checkRunning(client: ControlClient, pid: number, config: TunnelConfig | undefined): Promise<Finding[]> {
  const query = { order: 'rate', offset: 0, limit: CONNECTIONS_LOOKED_AT } as const;
  const before = await client.status();
  await client.connections({ ...query, limit: 0 });
  const ports = localPorts(
    before.peers.flatMap((peer) => peer.paths.map(({ local }) => local)),
    config?.interface.listenPort,
  );
  const [cpuBefore, dropsBefore, startMs] = [cpuSeconds(pid), receiveDrops(ports), performance.now()];
  await sleep(LOOK_MS);
  const seconds = (performance.now() - startMs) / 1000;
  const daemonCpuShare = Math.max(0, cpuSeconds(pid) - cpuBefore) / seconds;
  const receiveBufferDrops = Math.max(0, receiveDrops(ports) - dropsBefore);
  const [status, { connections }] = [await client.status(), await client.connections(query)];
  const findings = status.peers.flatMap((peer) => {
    const up = peer.paths.filter(({ state }) => state === 'up');
    const fastestRttMs = Math.min(...up.map(({ rttMs }) => rttMs).filter((rttMs) => rttMs >= 0));
    return [
      checkPeer(peer.name, peer.state, peer.lastError, up.length, peer.paths.length),
      ...peer.paths.flatMap((path) => checkPath(peer.name, path, fastestRttMs)),
    ];
  });
  return [...findings, checkLoad({ status, connections, daemonCpuShare, receiveBufferDrops })];
}

/** All paths together. */
function checkPeer(name: string, state: string, lastError: string, up: number, count: number): Finding {
  const check = `peer ${name}`;
  if (state !== 'up')
    return {
      check,
      verdict: 'fail',
      found: `${state}${lastError === '' ? '' : `: ${lastError}`}`,
      advice: 'check the endpoint, firewalls (UDP), and both public keys',
    };
  const found = `up over ${up} of ${count} paths`;
  return up === count ? { check, verdict: 'ok', found } : { check, verdict: 'warn', found, advice: 'the others are told below' };
}

function localPorts(locals: readonly string[], listenPort: number | undefined): Set<number> {
  const ports = locals.map((local) => Number(local.slice(local.lastIndexOf(':') + 1)));
  return new Set([...ports, listenPort ?? 0].filter((port) => port > 0));
}
