/** The same two hosts, joined by ours, by a peer's tunnel, or by nothing at all; behind each the same iperf3 and the same load program. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { LinkShape } from '../../../src/lab/lab-api.js';
import { createLab, type Lab } from '../../../src/lab/topology.js';
import { createTunnelRig, SERVER_ADDRESS, type TunnelRig } from '../../netns/tunnel-rig.js';
import { startOpenvpn } from './openvpn.js';
import type { CarrierName } from './row.js';
import { startWireguardGo } from './wireguard-go.js';

const SERVER_START_MS = 300;
/** iperf3 answers datagrams from the address of the device, not from the one that was called: it is the device's that must be called. */
const FIRST_LINK_GATEWAY = '10.90.0.2';

export interface CarrierSetup {
  /** The paths of ours. */
  links: readonly Partial<LinkShape>[];
  /** The one path of the others, where it is not our first: one link with what ours have together. */
  onlyLink?: Partial<LinkShape>;
  /** Links are veth pairs, without a limit; otherwise they are emulated. */
  wires: boolean;
  /** Lines of [stream], and at the end of a side's configuration. */
  stream?: string;
  append?: Readonly<Partial<Record<'client' | 'server', string>>>;
  /** Node.js options of our daemons, e.g. --cpu-prof. */
  nodeOptions?: readonly string[];
}

export interface Carrier {
  readonly name: CarrierName;
  readonly lab: Lab;
  /** The gateway as the client sees it through the carrier. iperf3 listens there, and at the web host. */
  readonly gateway: string;
  /** Process ids of the tunnel's daemons, client and gateway; none for `raw`. */
  readonly daemons: readonly number[];
  readonly rig: TunnelRig | undefined;
  close(): Promise<void>;
}

/** The two daemons of a peer's tunnel, up. */
export interface PeerTunnel {
  gateway: string;
  daemons: readonly number[];
}

export async function openCarrier(name: CarrierName, setup: CarrierSetup): Promise<Carrier> {
  const carrier = name === 'ours' ? await openOurs(setup) : await openOther(name, setup);
  for (const host of [carrier.lab.server, carrier.lab.web]) host.spawn('iperf3', ['-s']);
  await sleep(SERVER_START_MS);
  return carrier;
}

async function openOurs(setup: CarrierSetup): Promise<Carrier> {
  const { onlyLink: _, ...options } = setup;
  const rig = await createTunnelRig(options);
  try {
    const daemons = [(await rig.status('client')).pid, (await rig.status('server')).pid];
    return { name: 'ours', lab: rig.lab, gateway: SERVER_ADDRESS, daemons, rig, close: () => rig.close() };
  } catch (error) {
    await rig.close();
    throw error;
  }
}

async function openOther(name: Exclude<CarrierName, 'ours'>, setup: CarrierSetup): Promise<Carrier> {
  const lab = await createLab({ links: [setup.onlyLink ?? setup.links[0] ?? {}], wires: setup.wires });
  try {
    const { gateway, daemons } = await joinHosts(name, lab);
    return { name, lab, gateway, daemons, rig: undefined, close: () => lab.close() };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

function joinHosts(name: Exclude<CarrierName, 'ours'>, lab: Lab): Promise<PeerTunnel> {
  if (name === 'wireguard-go') return startWireguardGo(lab);
  if (name === 'openvpn') return startOpenvpn(lab);
  return Promise.resolve({ gateway: FIRST_LINK_GATEWAY, daemons: [] });
}
