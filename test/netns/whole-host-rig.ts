/** What the tests of whole-host use have beside the lab: name servers, a watch on what leaves the client, crashes. */

import { readFileSync, writeFileSync } from 'node:fs';
import type { NamespaceHost } from '../../src/lab/namespaces.js';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { inside, type Remote } from './tunnel-remote.js';
import type { TunnelRig } from './tunnel-rig.js';

/** Lines into [interface], and replacements anywhere in a side's configuration. */
export function changeConfig(rig: TunnelRig, side: 'client' | 'server', change: (text: string) => string): void {
  const file = rig.configFile(side);
  const before = readFileSync(file, 'utf8');
  const after = change(before);
  if (after === before) throw new Error('nothing was changed: the configuration is another than thought');
  writeFileSync(file, after, { mode: 0o600 });
}

export function withInterface(...lines: string[]): (text: string) => string {
  return (text) => text.replace('[interface]\n', `[interface]\n${lines.join('\n')}\n`);
}

/** A name server that knows one name and its IPv4 address, and says how often it was asked. */
export function startNameServer(host: NamespaceHost, listen: string, name: string, address: string): Remote<void> {
  return inside(
    host,
    async ({ listen, name, address }, say) => {
      const { createSocket } = await import('node:dgram');
      const socket = createSocket('udp4');
      socket.on('message', (query, from) => {
        const labels: string[] = [];
        let at = 12;
        for (; query[at] !== 0 && at < query.length; at += 1 + query[at]!)
          labels.push(query.toString('latin1', at + 1, at + 1 + query[at]!));
        const isA = query[at + 2] === 1;
        const known = labels.join('.').toLowerCase() === name;
        const records = known && isA ? [Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, ...address.split('.').map(Number)])] : [];
        // Without EDNS records that came along.
        const head = Buffer.from(query.subarray(0, at + 5));
        head.writeUInt16BE(known ? 0x8180 : 0x8183, 2);
        head.writeUInt16BE(records.length, 6);
        head.writeUInt32BE(0, 8);
        socket.send(Buffer.concat([head, ...records]), from.port, from.address);
      });
      await new Promise<void>((resolve) => socket.bind(53, listen, resolve));
      say('listening');
      await new Promise(() => {});
    },
    { listen, name, address },
  );
}

export interface Watch {
  /** Packets since the start that came over the links: the tunnel's own, and others. */
  packets(): Promise<{ ours: number; others: number }>;
  /** What the others were, as nftables prints them. */
  close(): Promise<void>;
}

/** Counts on the far side of the links what leaves the client; neighbour discovery is the links' own. */
export async function watchLinks(server: NamespaceHost, tunnelPort = 5180): Promise<Watch> {
  const table = `table inet watch {
  counter ours { }
  counter others { }
  chain arriving {
    type filter hook prerouting priority -400; policy accept;
    iifname != "wan*" return
    icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } return
    udp dport ${tunnelPort} counter name "ours" return
    counter name "others"
  }
}
`;
  await server.run('nft', ['-f', '-'], { input: table });
  const read = async (name: string): Promise<number> =>
    Number(/packets (\d+)/.exec((await server.run('nft', ['list', 'counter', 'inet', 'watch', name])).stdout)?.[1]);
  return {
    packets: async () => ({ ours: await read('ours'), others: await read('others') }),
    close: async () => void (await server.run('nft', ['delete', 'table', 'inet', 'watch'])),
  };
}

/** Datagrams to a place, a hundred a second, errors or not; answers how many were handed to the kernel, and how many it refused. */
export function startChatter(host: NamespaceHost, address: string, port: number): Remote<{ sent: number; refused: number }> {
  return inside(
    host,
    async ({ address, port }, say) => {
      const { createSocket } = await import('node:dgram');
      const family = address.includes(':') ? 'udp6' : 'udp4';
      let sent = 0;
      let refused = 0;
      setInterval(() => {
        // A socket for each: what an ICMP error has told to one socket is the next one's to find out.
        const socket = createSocket(family);
        socket.on('error', () => undefined);
        socket.send('hello', port, address, (error) => {
          if (error) refused++;
          else sent++;
          say({ sent, refused });
          socket.close();
        });
      }, 10);
      await new Promise(() => {});
      return { sent, refused };
    },
    { address, port },
  );
}

/** Answers every datagram with the address that it came from. */
export function startAddressTeller(host: NamespaceHost, port: number): Remote<void> {
  return inside(
    host,
    async ({ port }, say) => {
      const { createSocket } = await import('node:dgram');
      const socket = createSocket({ type: 'udp6', ipv6Only: false });
      socket.on('message', (_, from) => socket.send(from.address.replace('::ffff:', ''), from.port, from.address));
      await new Promise<void>((resolve) => socket.bind(port, '::', resolve));
      say('listening');
      await new Promise(() => {});
    },
    { port },
  );
}

/** The address that the teller sees; rejects when there is no answer within two seconds. */
export function seenAs(host: NamespaceHost, address: string, port: number): Promise<string> {
  return inside(
    host,
    async ({ address, port }) => {
      const { createSocket } = await import('node:dgram');
      const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
      const answer = new Promise<string>((resolve, reject) => {
        socket.on('message', (text) => resolve(text.toString()));
        socket.on('error', reject);
        setTimeout(() => reject(new Error('no answer')), 2000);
      });
      // One may be lost, as ever with datagrams.
      const timer = setInterval(() => socket.send('who', port, address), 300);
      socket.send('who', port, address);
      try {
        return await answer;
      } finally {
        clearInterval(timer);
      }
    },
    { address, port },
  ).result;
}

/** Lines of `ip`, in one process. */
export async function ip(rig: TunnelRig, side: 'client' | 'server', ...lines: string[]): Promise<void> {
  await rig.lab[side].run('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
}

/** Policy rules of tunnels, as `ip rule` prints them. */
export async function tunnelRules(rig: TunnelRig): Promise<string[]> {
  const { stdout } = await rig.lab.client.run('sh', ['-c', 'ip -4 rule; ip -6 rule']);
  return stdout.split('\n').filter((line) => line.includes('proto 84'));
}

/** A small download from the web host gets through. */
export const webAnswers = (rig: TunnelRig): Promise<boolean> =>
  runTraffic(rig.lab.client, { op: 'download', host: WEB_ADDRESS, port: TRAFFIC_PORT, bytes: 50_000, silenceMs: 2000 }).then(
    () => true,
    () => false,
  );
