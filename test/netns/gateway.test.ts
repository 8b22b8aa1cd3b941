/** A gateway with three clients: translation of addresses, ports that lead to a client and keep the address of who calls, limits by peer, and nothing left of it. Needs root. */

import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { addressOf, GATEWAY, GatewayRig, INET, NAS } from './gateway-rig.js';
import { inside } from './tunnel-remote.js';
import { crash, until } from './tunnel-rig.js';

t.setTimeout(600_000);

const EGRESS = '[egress]\nmode = "socket"\nnat = true\n';
const forward = (protocol: 'tcp' | 'udp', port: number, to: string): string =>
  `[[forward]]\nprotocol = "${protocol}"\nport = ${port}\nto = "${to}"\n`;

/** A program that answers with the address that it sees; on TCP and UDP, on the address given ("0.0.0.0", "::": all) and the port. */
function startMirror(rig: GatewayRig, client: 'one' | 'three' | 'nas', address: string, port: number) {
  return inside(
    rig.hosts[client],
    async ({ address, port }, say) => {
      const { createSocket } = await import('node:dgram');
      const { createServer } = await import('node:net');
      const udp = createSocket(address.includes(':') ? 'udp6' : 'udp4');
      udp.on('message', (_, from) => udp.send(from.address, from.port, from.address));
      const tcp = createServer((socket) => {
        socket.on('error', () => socket.destroy());
        // Half-closed by the caller once it has said what it wants.
        socket.on('data', () => socket.end(socket.remoteAddress ?? ''));
      });
      await new Promise<void>((resolve) => tcp.listen(port, address, () => udp.bind(port, address, resolve)));
      say('ready');
      await new Promise(() => {});
    },
    { address, port },
  );
}

/** What the Internet's host hears from the gateway's public address; "" for silence. */
function call(rig: GatewayRig, protocol: 'tcp' | 'udp', host: string, port: number): Promise<string> {
  return inside(
    rig.hosts.inet,
    async ({ protocol, host, port }) => {
      const { createSocket } = await import('node:dgram');
      const { connect } = await import('node:net');
      return new Promise<string>((resolve) => {
        setTimeout(() => resolve(''), protocol === 'udp' ? 8000 : 20_000);
        if (protocol === 'udp') {
          const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
          socket.on('message', (message) => resolve(message.toString()));
          socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
          // As one who asks by UDP does: again, when no answer comes.
          const ask = () => socket.send('who am I?');
          socket.connect(port, host, () => {
            ask();
            setInterval(ask, 500);
          });
          return;
        }
        let heard = '';
        const socket = connect({ host, port });
        socket.on('connect', () => socket.write('who am I?'));
        socket.on('data', (chunk) => {
          heard += chunk.toString();
        });
        socket.on('end', () => resolve(heard));
        socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
      });
    },
    { protocol, host, port },
  ).result;
}

async function ping(rig: GatewayRig, from: 'one' | 'two' | 'inet', host: string): Promise<string> {
  return (await rig.hosts[from].run('sh', ['-c', `ping -n -W 4 -c 3 -i 0.1 ${host} || true`])).stdout;
}

const received = (text: string): number => Number(/(\d+) received/.exec(text)?.[1] ?? -1);

t.test('a gateway for three clients', async (t) => {
  const rig = await GatewayRig.create();
  t.teardown(() => rig.close());
  const { hosts } = rig;
  await startTrafficServer(hosts.inet);
  const before = await rig.networkOf('gateway');
  const behind = forward('tcp', 8080, `${NAS}:80`) + forward('udp', 8080, `${NAS}:80`);
  rig.configureGateway(
    EGRESS + forward('udp', 5353, 'three:53') + forward('tcp', 8443, 'three:443') + forward('tcp', 2222, 'one:22') + behind,
  );
  await rig.up('gateway', 'one', 'two', 'three');

  await t.test('UDP and ping of clients reach the Internet under the address of the gateway, by IPv4 and IPv6', async (t) => {
    for (const client of ['one', 'two'] as const)
      for (const family of [4, 6] as const) {
        await until(`${client}: ping by IPv${family}`, async () => received(await ping(rig, client, INET[family])) === 3, 40_000);
        const echo = { op: 'udp-echo', host: INET[family], port: TRAFFIC_PORT, count: 10, sizeBytes: 500, silenceMs: 5000 } as const;
        t.equal((await runTraffic(hosts[client], echo)).bytes, 10, `${client}: UDP by IPv${family}`);
      }
    const { bytes } = await runTraffic(hosts.one, { op: 'download', host: INET[4], port: TRAFFIC_PORT, bytes: 200_000 });
    t.equal(bytes, 200_000, 'and TCP');
  });

  await t.test('nobody outside begins anything with a client', async (t) => {
    // The Internet's host is told a way that a neighbour of the gateway might try.
    await hosts.inet.run('ip', ['route', 'add', '10.77.0.0/24', 'via', GATEWAY[4]]);
    t.equal(received(await ping(rig, 'inet', addressOf('one', 4))), 0);
    await hosts.inet.run('ip', ['route', 'del', '10.77.0.0/24']);
  });

  await t.test('a forwarded port shows the client who calls, also where the tunnel is not its default route', async (t) => {
    const mirrors = [];
    for (const family of [4, 6] as const) {
      for (const [client, port] of [
        ['three', 53],
        ['three', 443],
        ['one', 22],
      ] as const) {
        const mirror = startMirror(rig, client, addressOf(client, family), port);
        mirrors.push(mirror);
        await mirror.said;
      }
      t.equal(await call(rig, 'udp', GATEWAY[family], 5353), INET[family], `UDP to three by IPv${family}`);
      t.equal(await call(rig, 'tcp', GATEWAY[family], 8443), INET[family], `TCP to three by IPv${family}`);
      t.equal(await call(rig, 'tcp', GATEWAY[family], 2222), INET[family], `TCP to one by IPv${family}`);
    }
    for (const mirror of mirrors) mirror.stop();
    await t.test('also a UDP service that listens on all addresses', async (t) => {
      for (const [family, all] of [
        [4, '0.0.0.0'],
        [6, '::'],
      ] as const) {
        const mirror = startMirror(rig, 'three', all, 53);
        await mirror.said;
        t.equal(await call(rig, 'udp', GATEWAY[family], 5353), INET[family], `IPv${family}`);
        mirror.stop();
        await mirror.result.catch(() => undefined);
      }
    });
    await t.test('and a host behind the client', async (t) => {
      const mirror = startMirror(rig, 'nas', NAS, 80);
      await mirror.said;
      t.equal(await call(rig, 'udp', GATEWAY[4], 8080), INET[4], 'UDP');
      t.equal(await call(rig, 'tcp', GATEWAY[4], 8080), INET[4], 'TCP');
      mirror.stop();
    });
    await t.test('and a port that is closed there is refused here', async (t) => {
      await until('the mirrors are gone', async () => (await call(rig, 'tcp', GATEWAY[4], 2222)) === 'ECONNREFUSED', 10_000);
      t.equal(await call(rig, 'tcp', GATEWAY[4], 8443), 'ECONNREFUSED');
    });
  });

  await t.test('forwards follow the file and the peers while connections run', async (t) => {
    const mirror = startMirror(rig, 'one', addressOf('one', 4), 7000);
    await mirror.said;
    rig.configureGateway(EGRESS + forward('udp', 7001, 'one:7000'));
    const told = await rig.mptunnel('gateway', 'reload', 'mpt0');
    t.match(told, /\[\[forward\]\]: changed/);
    t.equal(await call(rig, 'udp', GATEWAY[4], 7001), INET[4]);
    t.equal(await call(rig, 'tcp', GATEWAY[4], 8443), 'ECONNREFUSED', 'what is not in the file any more leads nowhere');
    mirror.stop();
  });

  await t.test('nothing is left of it after kill -9 and down', async (t) => {
    t.match(await rig.networkOf('gateway'), /masquerade[\s\S]*ip_forward:1/, 'there is something to take back');
    await crash(rig, 'gateway');
    t.match(await rig.networkOf('gateway'), /masquerade/, 'the crash leaves it');
    await rig.mptunnel('gateway', 'down', 'mpt0');
    t.equal(await rig.networkOf('gateway'), before);
  });

  await t.test('nor after the next up that follows a crash, and its down', async (t) => {
    await rig.up('gateway');
    await crash(rig, 'gateway');
    writeFileSync(rig.configFile('gateway'), readFileSync(rig.configFile('gateway'), 'utf8').replace('nat = true', 'nat = false'));
    await rig.up('gateway');
    const routed = await rig.networkOf('gateway');
    t.match(routed, /ip_forward:1/, 'routed');
    t.notMatch(routed, /masquerade/);
    await rig.mptunnel('gateway', 'down', 'mpt0');
    t.equal(await rig.networkOf('gateway'), before);
  });
});

t.test('a thousand peers: one that is added to the file gets in at once, and nobody else notices', async (t) => {
  const rig = await GatewayRig.create();
  t.teardown(() => rig.close());
  const { hosts } = rig;
  await startTrafficServer(hosts.inet);
  // Three is in no file yet.
  const peers = join(rig.group.folder, 'gateway.peers.d');
  mkdirSync(peers, { mode: 0o700 });
  rig.configureGateway(EGRESS + forward('udp', 7001, 'three:7000'), {}, ['one', 'two']);
  for (let i = 0; i < 1000; i++) {
    const key = randomBytes(32).toString('base64');
    writeFileSync(join(peers, `peer-${i}.toml`), `public_key = "${key}"\nallowed_ips = ["10.78.${i >> 8}.${i & 255}/32"]\n`);
  }
  await rig.up('gateway', 'one');
  const samples: { atMs: number; bytes: number }[] = [];
  const gaps: number[] = [];
  const download = startTraffic(hosts.one, { op: 'download', host: INET[4], port: TRAFFIC_PORT }, (line) => {
    if (line.type !== 'sample') return;
    samples.push(line);
    gaps.push(line.gapMs ?? 0);
  });
  await until('the download runs', async () => (samples.at(-1)?.bytes ?? 0) > 1_000_000, 20_000);

  writeFileSync(join(peers, 'three.toml'), `public_key = "${rig.publicKey('three')}"\nallowed_ips = ["${addressOf('three', 4)}/32"]\n`);
  rmSync(join(peers, 'peer-500.toml'));
  const [before, beforeBytes] = [gaps.length, samples.at(-1)!.bytes];
  const told = (await rig.mptunnel('gateway', 'reload', 'mpt0')).trim().split('\n');
  t.same(told.toSorted(), ['peer peer-500: removed', 'peer three: added'], 'only what differs is changed');
  await rig.up('three');
  const mirror = startMirror(rig, 'three', addressOf('three', 4), 7000);
  await mirror.said;
  const peersNow = (await rig.mptunnel('gateway', 'peer', 'list', 'mpt0', '--json')).trim().split('\n');
  t.equal(peersNow.length, 1002);
  await until('the forward to the new peer', async () => (await call(rig, 'udp', GATEWAY[4], 7001)) === INET[4], 10_000);
  await until('the download goes on', async () => samples.at(-1)!.bytes > beforeBytes + 1_000_000, 20_000);
  download.stop();
  const result = await download.result;
  t.equal(result.faultAt, -1, 'its bytes are the right ones');
  t.comment(`longest time without a byte since the reload: ${Math.round(Math.max(...gaps.slice(before)))} ms`);
  mirror.stop();
});
