/** The datagram plane with the real program: ping, UDP both ways, a router's manners, and flows that leave a path that is cut. */

import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { WEB_ADDRESS, WEB_ADDRESS_V6 } from '../../src/lab/topology.js';
import { runTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { inside } from './tunnel-remote.js';
import { CLIENT_ADDRESS, createTunnelRig, SERVER_ADDRESS, type TunnelRig } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 5, queuePackets: 300 },
  { rateBitsPerSec: 30e6, delayMs: 20, queuePackets: 250 },
];
/** The gateway's, not allowed to be served. */
const PRIVATE_ADDRESS = '192.168.7.1';

t.setTimeout(90_000);

/** What `ping` prints, whether an answer came or an error. */
async function ping(rig: TunnelRig, side: 'client' | 'server', ...args: string[]): Promise<string> {
  return rig.lab[side].run('sh', ['-c', `ping -n -W 2 ${args.join(' ')} 2>&1 || true`]).then(({ stdout }) => stdout);
}

/** What a connected UDP socket of the client hears of its datagram. */
function udpErrorOf(rig: TunnelRig, host: string, port: number): Promise<string> {
  return inside(
    rig.lab.client,
    async ({ host, port }) => {
      const { createSocket } = await import('node:dgram');
      const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
      return new Promise<string>((resolve) => {
        socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
        socket.on('message', () => resolve('an answer'));
        socket.connect(port, host, () => socket.send('x'));
        setTimeout(() => resolve('silence'), 3000);
      });
    },
    { host, port },
  ).result;
}

const received = (text: string): number => Number(/(\d+) received/.exec(text)?.[1] ?? -1);

t.test('the tunnel is one router hop to whatever is not TCP', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, allowedIps: [`${PRIVATE_ADDRESS}/32`] });
  t.teardown(() => rig.close());
  const { client, server, web } = rig.lab;
  await startTrafficServer(web);
  await startTrafficServer(server);
  await startTrafficServer(client);

  await t.test('ping, IPv4 and IPv6, from either side', async (t) => {
    for (const host of [WEB_ADDRESS, WEB_ADDRESS_V6, SERVER_ADDRESS, 'fd77::1']) {
      t.equal(received(await ping(rig, 'client', '-c 5 -i 0.05', host)), 5, `client to ${host}`);
    }
    for (const host of [CLIENT_ADDRESS, 'fd77::2'])
      t.equal(received(await ping(rig, 'server', '-c 5 -i 0.05', host)), 5, `server to ${host}`);
  });

  await t.test('UDP both ways, whole datagrams, small and larger than a path carries', async (t) => {
    for (const sizeBytes of [4, 1200, 4000]) {
      for (const host of [WEB_ADDRESS, WEB_ADDRESS_V6]) {
        const { bytes } = await runTraffic(client, { op: 'udp-echo', host, port: TRAFFIC_PORT, count: 20, sizeBytes });
        // IPv6 routers do not fragment: the far side learns the tunnel's MTU by the loss of its first answer.
        const learning = sizeBytes > 1400 && host === WEB_ADDRESS_V6 ? 1 : 0;
        t.ok(bytes! >= 20 - learning, `${sizeBytes} bytes to ${host} and back`);
      }
    }
    for (const host of [CLIENT_ADDRESS, 'fd77::2']) {
      const { bytes } = await runTraffic(server, { op: 'udp-echo', host, port: TRAFFIC_PORT, count: 20, sizeBytes: 1000 });
      t.equal(bytes, 20, `server to ${host} and back`);
    }
  });

  await t.test('hop limits: the tunnel is one hop, the gateway the next', async (t) => {
    t.match(await ping(rig, 'client', '-c 1 -t 1', WEB_ADDRESS), /[Tt]ime to live exceeded/, 'TTL 1 ends in the tunnel');
    t.match(await ping(rig, 'client', '-c 1 -t 2', WEB_ADDRESS), /From 10\.77\.0\.1 .*[Tt]ime to live exceeded/, 'TTL 2 at the gateway');
    t.equal(received(await ping(rig, 'client', '-c 1 -t 3', WEB_ADDRESS)), 1, 'TTL 3 arrives');
    t.match(await ping(rig, 'client', '-c 1 -t 1', WEB_ADDRESS_V6), /[Tt]ime exceeded/, 'IPv6, hop limit 1');
    t.match(await ping(rig, 'client', '-c 1 -t 2', WEB_ADDRESS_V6), /From fd77::1.*[Tt]ime exceeded/, 'IPv6, hop limit 2');
  });

  await t.test('a packet that is too big is told so, once the device lets it pass', async (t) => {
    await client.run('ip', ['link', 'set', 'mpt0', 'mtu', '1500']);
    t.match(
      await ping(rig, 'client', '-c 1 -M do -s 1472', WEB_ADDRESS),
      /(Frag needed|[Mm]essage too long|mtu) ?=? ?\(?.*1[34]\d\d/,
      'IPv4',
    );
    t.match(await ping(rig, 'client', '-c 1 -M do -s 1452', WEB_ADDRESS_V6), /(too big|[Mm]essage too long).*1[34]\d\d/, 'IPv6');
    t.equal(received(await ping(rig, 'client', '-c 1 -M dont -s 1472', SERVER_ADDRESS)), 1, 'without DF it is fragmented');
    t.equal(received(await ping(rig, 'client', '-c 1 -M do -s 1300', WEB_ADDRESS)), 1, 'what fits passes');
    await client.run('ip', ['link', 'set', 'mpt0', 'mtu', '1400']);
  });

  await t.test('a closed UDP port is told as ECONNREFUSED', async (t) => {
    for (const host of [WEB_ADDRESS, WEB_ADDRESS_V6, SERVER_ADDRESS]) t.equal(await udpErrorOf(rig, host, 9), 'ECONNREFUSED', host);
  });

  await t.test("the gateway's private networks are not served, but answered", async (t) => {
    await server.run('ip', ['address', 'add', `${PRIVATE_ADDRESS}/24`, 'dev', 'lo']);
    t.equal(await udpErrorOf(rig, PRIVATE_ADDRESS, TRAFFIC_PORT), 'EHOSTUNREACH', 'UDP is refused');
    t.equal(received(await ping(rig, 'client', '-c 1', PRIVATE_ADDRESS)), 0, 'so is ping');
    t.ok((await rig.status('server')).counters.droppedDestination! >= 2, 'and counted');
    t.equal(received(await ping(rig, 'server', '-c 2 -i 0.1 -I', PRIVATE_ADDRESS, CLIENT_ADDRESS)), 2, 'what they ask is answered');
  });

  await t.test('a flow moves when its path is cut, and the answers with it', async (t) => {
    const before = (await rig.status('client')).counters.flowsMoved ?? 0;
    const count = 600;
    const echoes = runTraffic(client, { op: 'udp-echo', host: WEB_ADDRESS, port: TRAFFIC_PORT, count, intervalMs: 10 });
    await sleep(1500);
    // The link with the shorter way carries it.
    await rig.lab.links[0]!.blackhole(true);
    await sleep(2500);
    await rig.lab.links[0]!.blackhole(false);
    const { bytes } = await echoes;
    t.comment(`${count - bytes!} of ${count} datagrams were lost, at 100 a second`);
    t.ok(bytes! < count, 'the cut was felt');
    t.ok(bytes! > count - 100, 'less than a second is lost');
    t.ok(((await rig.status('client')).counters.flowsMoved ?? 0) > before, 'the flow was moved');
  });
});
