/** Where figures come from: what a reader must know of the machine and of the programs. */

import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { runCommand } from '../../../src/lab/namespaces.js';

export async function describeMachine(): Promise<Record<string, string | number>> {
  const [iperf3, wireguardGo, openvpn] = await Promise.all([
    firstLine('iperf3', ['--version']),
    firstLine('wireguard-go', ['--version']),
    firstLine('openvpn', ['--version']),
  ]);
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    congestionControl: readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'latin1').trim(),
    node: process.versions.node,
    iperf3,
    wireguardGo,
    openvpn,
  };
}

/** OpenVPN's --version ends with 1. */
async function firstLine(command: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await runCommand('sh', ['-c', '"$@"; true', 'sh', command, ...args]);
    return stdout.split('\n')[0]?.trim() || 'missing';
  } catch {
    return 'missing';
  }
}
