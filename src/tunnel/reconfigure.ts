/** From one configuration to another while the tunnel runs: what differs, what of it can be had without touching connections, and what waits for a restart. */

import { isDeepStrictEqual } from 'node:util';
import {
  type AutoPathsConfig,
  type EgressConfig,
  isDialled,
  type PathConfig,
  type PeerConfig,
  type RuleConfig,
  type TunnelConfig,
} from './config.js';
import { type GatewaySettings, gatewaySettings } from './gateway/gateway-network.js';
import type { PathChange } from './link.js';
import { describePolicy, formatRate, policyChange } from './path-policy.js';
import { isSameRelay } from './relay/relay-config.js';
import { type Reconfigured, TunnelError } from './tunnel-api.js';

/** What the running tunnel can change. */
export interface Reconfigurable {
  /** As they are in use, whoever added or changed them; without those that are automatic. */
  readonly paths: readonly PathConfig[];
  addPath(config: PathConfig): Promise<string>;
  removePath(name: string): void;
  changePath(name: string, change: PathChange): void;
  setAutoPaths(config: AutoPathsConfig | undefined, explicit: readonly PathConfig[]): void;
  setRules(rules: readonly RuleConfig[]): Promise<void>;
  /** What peers may reach from now on; connections under way go on. */
  setEgressPolicy(): void;
  /** Those that there are now, also the enrolled. */
  readonly peers: readonly PeerConfig[];
  addPeer(config: PeerConfig): Promise<void>;
  removePeer(name: string): Promise<boolean>;
  /** From now on; nothing of what it carries is touched. */
  limitPeer(peer: PeerConfig): void;
  setGateway(settings: GatewaySettings): Promise<void>;
}

const INTERFACE_KEYS = {
  name: 'name',
  device: 'device',
  privateKey: 'private_key',
  addresses: 'address',
  listenPort: 'listen_port',
  relays: 'relays',
  mtuBytes: 'mtu',
  nativeMptcpAddresses: 'native_mptcp_addresses',
  killSwitch: 'kill_switch',
} as const;

/** Paths first go, then come: names and interfaces may change hands. What was changed by command gives way to the file. */
export async function applyConfig(target: Reconfigurable, before: TunnelConfig, after: TunnelConfig): Promise<Reconfigured> {
  const result: Reconfigured = { done: [], left: leftForRestart(before, after) };
  await changePaths(target, before, after, result);
  await changePeers(target, after.peers, result);
  if (!isDeepStrictEqual(before.rules ?? [], after.rules ?? [])) {
    await changeRules(target, after.rules ?? [], result);
  }
  const egress = withPolicyOf(before.egress, after.egress);
  if (!isDeepStrictEqual(before.egress, egress)) {
    target.setEgressPolicy();
    result.done.push('[egress] allow, deny: changed');
  }
  await changeGateway(target, before, { egress, forwards: after.forwards ?? [] }, result);
  return result;
}

/** The one with what the other allows and denies, where there are both. */
export function withPolicyOf(egress: EgressConfig | undefined, policy: EgressConfig | undefined): EgressConfig | undefined {
  if (egress === undefined || policy === undefined) return egress;
  const { deny: _, ...rest } = egress;
  return { ...rest, allow: policy.allow, ...(policy.deny === undefined ? {} : { deny: policy.deny }) };
}

/** Connections that a port brought already go on. */
async function changeGateway(
  target: Reconfigurable,
  before: TunnelConfig,
  after: Pick<TunnelConfig, 'egress' | 'forwards'>,
  { done, left }: Reconfigured,
): Promise<void> {
  const settings = gatewaySettings(after);
  if (isDeepStrictEqual(gatewaySettings(before), settings)) return;
  const isForward = !isDeepStrictEqual(before.forwards ?? [], after.forwards);
  try {
    await target.setGateway(settings);
    if (isForward) done.push('[[forward]]: changed');
  } catch (error) {
    left.push(`${isForward ? '[[forward]]' : '[egress] allow'} (${(error as Error).message})`);
  }
}

/** Those from before stay in force when the host does not have what the new ones need. */
async function changeRules(target: Reconfigurable, rules: readonly RuleConfig[], { done, left }: Reconfigured): Promise<void> {
  try {
    await target.setRules(rules);
    done.push('[[rule]]: changed');
  } catch (error) {
    left.push(`[[rule]] (${(error as Error).message})`);
  }
}

async function changePaths(target: Reconfigurable, before: TunnelConfig, after: TunnelConfig, { done, left }: Reconfigured): Promise<void> {
  const old = new Map(target.paths.map((path) => [path.name, path]));
  const wanted = new Map(after.paths.map((path) => [path.name, path]));
  const stays = (path: PathConfig, other: PathConfig | undefined): boolean =>
    other !== undefined &&
    other.interface === path.interface &&
    other.address === path.address &&
    (other.carrier ?? 'auto') === (path.carrier ?? 'auto') &&
    isSameRelay(other.via, path.via);
  for (const path of old.values()) {
    if (stays(path, wanted.get(path.name))) continue;
    target.removePath(path.name);
    done.push(`path ${path.name}: removed`);
  }
  const autoChanged = !isDeepStrictEqual(before.autoPaths, after.autoPaths);
  // Before the new ones: an interface that is named now may have been an automatic path.
  if (autoChanged || !isDeepStrictEqual(before.paths, after.paths)) target.setAutoPaths(after.autoPaths, after.paths);
  if (autoChanged) done.push('[paths]: changed');
  for (const path of after.paths) {
    const known = old.get(path.name);
    if (known === undefined || !stays(path, known)) await addPath(target, path, done, left);
    else changePolicy(target, known, path, done);
  }
}

/** Peers that dial us come, go and change; one that we dial is the tunnel itself, and waits for a restart. */
async function changePeers(target: Reconfigurable, after: readonly PeerConfig[], { done, left }: Reconfigured): Promise<void> {
  const wanted = new Map(after.map((peer) => [peer.name, peer]));
  const kept = new Set<string>();
  const changed = new Set<string>();
  for (const peer of target.peers) {
    const other = wanted.get(peer.name);
    if (isDialled(peer) || (other !== undefined && isSamePeer(peer, other))) {
      if (other === undefined || !isSamePeer(peer, other)) left.push(`[[peer]] ${peer.name}`);
      if (other !== undefined && !isDeepStrictEqual(limitsOf(peer), limitsOf(other))) {
        target.limitPeer({ ...peer, ...limitsOf(other) });
        done.push(`peer ${peer.name}: ${describeLimits(other)}`);
      }
      kept.add(peer.name);
      continue;
    }
    await target.removePeer(peer.name);
    if (other === undefined) done.push(`peer ${peer.name}: removed`);
    else changed.add(peer.name);
  }
  for (const peer of after) {
    if (kept.has(peer.name)) continue;
    try {
      await target.addPeer(peer);
      done.push(`peer ${peer.name}: ${changed.has(peer.name) ? 'changed' : 'added'}`);
    } catch (error) {
      left.push(`[[peer]] ${peer.name} (${(error as Error).message})`);
    }
  }
}

function limitsOf({ limitUpBytesPerSec = 0, limitDownBytesPerSec = 0 }: PeerConfig) {
  return { limitUpBytesPerSec, limitDownBytesPerSec };
}

function describeLimits(peer: PeerConfig): string {
  const { limitUpBytesPerSec, limitDownBytesPerSec } = limitsOf(peer);
  return `limit_up = ${formatRate(limitUpBytesPerSec)}, limit_down = ${formatRate(limitDownBytesPerSec)}`;
}

/** But for what can be changed while it is there. */
function isSamePeer(peer: PeerConfig, other: PeerConfig): boolean {
  return isDeepStrictEqual({ ...peer, ...limitsOf(other) }, { ...other, ...limitsOf(other) });
}

/** One that cannot be had does not keep the others. */
async function addPath(target: Reconfigurable, path: PathConfig, done: string[], left: string[]): Promise<void> {
  try {
    const problem = await target.addPath(path);
    done.push(`path ${path.name}: added${problem === '' ? '' : `, waits: ${problem}`}`);
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    left.push(`path ${path.name} (${error.message})`);
  }
}

function changePolicy(target: Reconfigurable, known: PathConfig, path: PathConfig, done: string[]): void {
  const change = policyChange(known, path);
  if (change === undefined) return;
  target.changePath(path.name, change);
  done.push(`path ${path.name}: ${describePolicy(change)}`);
}

function leftForRestart(before: TunnelConfig, after: TunnelConfig): string[] {
  const left: string[] = [];
  for (const [key, written] of Object.entries(INTERFACE_KEYS)) {
    const name = key as keyof typeof INTERFACE_KEYS;
    if (!isDeepStrictEqual(before.interface[name], after.interface[name])) left.push(`[interface] ${written}`);
  }
  if (!isDeepStrictEqual(withPolicyOf(before.egress, after.egress), after.egress)) left.push('[egress]');
  if (!isDeepStrictEqual(before.stream, after.stream)) left.push('[stream]');
  if (!isDeepStrictEqual(before.interface.carriers, after.interface.carriers)) left.push('[carriers]');
  for (const name of ['metrics', 'dns', 'lan'] as const) if (!isDeepStrictEqual(before[name], after[name])) left.push(`[${name}]`);
  return left;
}
