/**
 * The lab's network, always the same shape:
 *
 *            wan0  10.90.0.1/24 --- link 0 --- 10.90.0.2/24  wan0
 *   client   wan1  10.90.1.1/24 --- link 1 --- 10.90.1.2/24  wan1   server  lan0 --- veth --- lan0  web
 *            ...                                             ...    203.0.113.1 (lo)
 *
 * client: a default route by each link, the first with the best metric; so a socket bound to wanN leaves by link N.
 * server: its public address is reached by every link; it forwards to 198.51.100.0/24, where it is .1 and web .2.
 * web: knows the way back to the tunnel's networks and to the client's links, by server. IPv6: fd90:N::/64 and fd98::/64 likewise.
 */

import { EmulatorClient } from './emulator-client.js';
import type { EmulatedLink, LinkCounters, LinkShape } from './lab-api.js';
import { HostGroup, LabError, type NamespaceHost } from './namespaces.js';

export const SERVER_PUBLIC_ADDRESS = '203.0.113.1';
export const WEB_ADDRESS = '198.51.100.2';
export const WEB_NETWORK = '198.51.100.0/24';
export const WEB_ADDRESS_V6 = 'fd98::2';
/** The networks that tunnels in the lab use; web has routes back to them. */
export const TUNNEL_NETWORK = '10.77.0.0/24';
export const TUNNEL_NETWORK_V6 = 'fd77::/64';

const MAX_LINKS = 8;
const LINK_MTU_BYTES = 1500;
const TX_QUEUE_PACKETS = 10_000;
const FIRST_METRIC = 100;

export const DEFAULT_SHAPE: LinkShape = { rateBitsPerSec: 0, delayMs: 0, jitterMs: 0, lossRatio: 0, queuePackets: 1000 };

export interface LabOptions {
  /** One to eight. Missing fields are those of DEFAULT_SHAPE. */
  links: readonly Partial<LinkShape>[];
  /** Of the random losses and jitter. */
  seed?: number;
  /** Links are veth pairs, as fast as the kernel goes (the emulator carries some 1.5 Gbit/s): they have no shape and no blackhole. */
  wires?: boolean;
}

export interface Lab {
  readonly client: NamespaceHost;
  readonly server: NamespaceHost;
  readonly web: NamespaceHost;
  /** Where the emulator of the links runs. */
  readonly middle: NamespaceHost;
  /** "up" is from client to server. */
  readonly links: readonly EmulatedLink[];
  /** For files of the lab's user; removed by `close`. */
  readonly folder: string;
  /** The way from client to the web network without a tunnel: by this link, or undefined: as the default routes say. */
  routeWebByLink(link: number | undefined): Promise<void>;
  close(): Promise<void>;
}

export async function createLab(options: LabOptions): Promise<Lab> {
  if (options.links.length < 1 || options.links.length > MAX_LINKS)
    throw new RangeError(`links: 1 to ${MAX_LINKS}, not ${options.links.length}`);
  const group = new HostGroup();
  try {
    return await buildLab(group, options);
  } catch (error) {
    await group.close();
    throw error;
  }
}

async function buildLab(group: HostGroup, options: LabOptions): Promise<Lab> {
  const [client, server, web, middle] = await Promise.all([
    group.addHost('client'),
    group.addHost('server'),
    group.addHost('web'),
    group.addHost('links'),
  ]);
  await Promise.all([client, server, web, middle].map(prepareHost));
  await connectWeb(server, web);
  const emulator = new EmulatorClient(middle);
  const links: EmulatedLink[] = [];
  for (const [index, shape] of options.links.entries()) {
    const name = `wan${index}`;
    if (options.wires === true) {
      await ip(client, `link add ${name} type veth peer name ${name} netns ${server.namespace}`);
      links.push(new Wire(name, index, client));
    } else {
      const [first, second] = [`${name}c`, `${name}s`];
      const seed = (options.seed ?? 1) * 16 + index;
      await emulator.request({ op: 'open', link: name, first, second, shape: { ...DEFAULT_SHAPE, ...shape }, seed });
      await ip(
        middle,
        `link set ${first} netns ${client.namespace} name ${name}`,
        `link set ${second} netns ${server.namespace} name ${name}`,
      );
      links.push(new Link(name, index, client, emulator));
    }
    await Promise.all([raiseClientEnd(client, index), raiseServerEnd(server, index)]);
  }
  return {
    client,
    server,
    web,
    middle,
    links,
    folder: group.folder,
    routeWebByLink: (link) => routeWebByLink(client, link),
    close: async () => {
      emulator.close();
      await group.close();
    },
  };
}

class Link implements EmulatedLink {
  readonly name: string;
  private readonly index: number;
  private readonly client: NamespaceHost;
  private readonly emulator: EmulatorClient;

  constructor(name: string, index: number, client: NamespaceHost, emulator: EmulatorClient) {
    this.name = name;
    this.index = index;
    this.client = client;
    this.emulator = emulator;
  }

  async setShape(shape: Partial<LinkShape>): Promise<void> {
    await this.emulator.request({ op: 'shape', link: this.name, shape });
  }

  async blackhole(on: boolean): Promise<void> {
    await this.emulator.request({ op: 'blackhole', link: this.name, on });
  }

  async setDown(down: boolean): Promise<void> {
    await setClientEndDown(this.client, this.index, down);
  }

  async counters(): Promise<LinkCounters> {
    return (await this.emulator.request({ op: 'counters', link: this.name }))!;
  }
}

/** A veth pair. */
class Wire implements EmulatedLink {
  readonly name: string;
  private readonly index: number;
  private readonly client: NamespaceHost;

  constructor(name: string, index: number, client: NamespaceHost) {
    this.name = name;
    this.index = index;
    this.client = client;
  }

  async setShape(): Promise<void> {
    throw new LabError('no-shape', 'A wire has no shape: make the lab without `wires`.');
  }

  async blackhole(): Promise<void> {
    throw new LabError('no-blackhole', 'A wire cannot be cut silently: make the lab without `wires`.');
  }

  async setDown(down: boolean): Promise<void> {
    await setClientEndDown(this.client, this.index, down);
  }

  /** As the client's device counts: Ethernet headers are in the bytes. */
  async counters(): Promise<LinkCounters> {
    const { stdout } = await this.client.run('ip', ['-json', '-stats', 'link', 'show', this.name]);
    const { tx, rx } = JSON.parse(stdout)[0].stats64;
    const counts = { upBytes: tx.bytes, upPackets: tx.packets, downBytes: rx.bytes, downPackets: rx.packets };
    return { ...counts, lostPackets: 0, droppedPackets: tx.dropped + rx.dropped, queuedPackets: 0 };
  }
}

async function setClientEndDown(client: NamespaceHost, index: number, down: boolean): Promise<void> {
  if (down) await ip(client, `link set wan${index} down`);
  // The kernel forgot routes and IPv6 addresses with the link; a DHCP client would bring them back.
  else await raiseClientEnd(client, index);
}

/** Runs lines of `ip` in one process. */
async function ip(host: NamespaceHost, ...lines: string[]): Promise<void> {
  await host.run('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
}

async function prepareHost(host: NamespaceHost): Promise<void> {
  await ip(host, 'link set lo up');
  // Asymmetric routes are the very purpose; and no chatter of neighbour and router discovery on the links.
  await setSysctls(host, {
    'ipv4/conf/all/rp_filter': 0,
    'ipv4/conf/default/rp_filter': 0,
    'ipv6/conf/default/accept_ra': 0,
    'ipv6/conf/default/accept_dad': 0,
    'ipv6/conf/default/router_solicitations': 0,
  });
}

async function setSysctls(host: NamespaceHost, values: Record<string, number>): Promise<void> {
  const script = Object.entries(values).map(([name, value]) => `echo ${value} > /proc/sys/net/${name}`);
  await host.run('sh', ['-e', '-c', script.join('\n')]);
}

async function connectWeb(server: NamespaceHost, web: NamespaceHost): Promise<void> {
  await ip(server, `link add lan0 type veth peer name lan0 netns ${web.namespace}`);
  await ip(
    server,
    `address add ${SERVER_PUBLIC_ADDRESS}/32 dev lo`,
    'address add 198.51.100.1/24 dev lan0',
    'address add fd98::1/64 dev lan0 nodad',
    'link set lan0 up',
  );
  await ip(
    web,
    `address add ${WEB_ADDRESS}/24 dev lan0`,
    `address add ${WEB_ADDRESS_V6}/64 dev lan0 nodad`,
    'link set lan0 up',
    `route add ${TUNNEL_NETWORK} via 198.51.100.1`,
    'route add 10.90.0.0/16 via 198.51.100.1',
    `route add ${TUNNEL_NETWORK_V6} via fd98::1`,
    'route add fd90::/16 via fd98::1',
  );
  await setSysctls(server, { 'ipv4/ip_forward': 1, 'ipv6/conf/all/forwarding': 1 });
}

async function raiseClientEnd(client: NamespaceHost, index: number): Promise<void> {
  const name = `wan${index}`;
  await ip(
    client,
    `link set ${name} mtu ${LINK_MTU_BYTES} txqueuelen ${TX_QUEUE_PACKETS} up`,
    `address replace 10.90.${index}.1/24 dev ${name}`,
    `address replace fd90:${index}::1/64 dev ${name} nodad`,
    `route replace default via 10.90.${index}.2 dev ${name} metric ${FIRST_METRIC + index}`,
    `route replace default via fd90:${index}::2 dev ${name} metric ${FIRST_METRIC + index}`,
  );
}

async function raiseServerEnd(server: NamespaceHost, index: number): Promise<void> {
  const name = `wan${index}`;
  await ip(
    server,
    `link set ${name} mtu ${LINK_MTU_BYTES} txqueuelen ${TX_QUEUE_PACKETS} up`,
    `address replace 10.90.${index}.2/24 dev ${name}`,
    `address replace fd90:${index}::2/64 dev ${name} nodad`,
  );
}

async function routeWebByLink(client: NamespaceHost, link: number | undefined): Promise<void> {
  if (link === undefined) await ip(client, `route flush ${WEB_NETWORK}`);
  else await ip(client, `route replace ${WEB_NETWORK} via 10.90.${link}.2 dev wan${link}`);
}
