/** What an application sees of a connection through the tunnel is what the far side did: refusals, silences, resets, half-closes, back-pressure. */

import t from 'tap';
import { WEB_ADDRESS, WEB_ADDRESS_V6 } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { inside } from './tunnel-remote.js';
import { CLIENT_ADDRESS, createTunnelRig, SERVER_ADDRESS, type TunnelRig, until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 100e6, delayMs: 5, queuePackets: 500 },
  { rateBitsPerSec: 100e6, delayMs: 8, queuePackets: 500 },
];
const RESET_PORT = 9001;
const LATE_ANSWER_PORT = 9002;
const EARLY_FIN_PORT = 9003;
const DEAF_PORT = 9004;
const DROPPED_PORT = 9009;
const LATE_ANSWER_BYTES = 1_000_000;
/** Network of the gateway that it has not been allowed to serve, and what cannot be reached from there. */
const PRIVATE_ADDRESS = '192.168.7.1';
const LINK_LOCAL_ADDRESS = '169.254.7.1';
const NO_ROUTE_ADDRESS = '192.0.2.1';
const NO_NEIGHBOUR_ADDRESS = '198.51.100.77';

t.setTimeout(90_000);

interface Dialled {
  connected: boolean;
  code: string;
  ms: number;
}

/** Dials and tells how it ended; `code` is ETIMEDOUT or SILENCE when our own patience did. */
function dial(rig: TunnelRig, host: string, port: number, patienceMs = 10_000): Promise<Dialled> {
  return inside(
    rig.lab.client,
    async ({ host, port, patienceMs }) => {
      const net = await import('node:net');
      const startMs = performance.now();
      return new Promise<Dialled>((resolve) => {
        const end = (connected: boolean, code: string) => resolve({ connected, code, ms: performance.now() - startMs });
        const socket = net.connect({ host, port });
        setTimeout(() => end(false, 'SILENCE'), patienceMs);
        socket.on('connect', () => end(true, ''));
        socket.on('error', (error: NodeJS.ErrnoException) => end(false, error.code ?? ''));
      });
    },
    { host, port, patienceMs },
  ).result;
}

function listenAt(rig: TunnelRig, address: string) {
  return inside(
    rig.lab.server,
    async ({ address }, say) => {
      const net = await import('node:net');
      net.createServer((socket) => socket.end('hello')).listen(9100, address, () => say('listening'));
      return new Promise<void>(() => undefined);
    },
    { address },
  );
}

t.test('the tunnel answers an application as the far side would', async (t) => {
  const rig = await createTunnelRig({
    links: LINKS,
    allowedIps: [`${PRIVATE_ADDRESS}/32`, `${LINK_LOCAL_ADDRESS}/32`, '10.90.0.2/32', `${NO_ROUTE_ADDRESS}/32`],
  });
  t.teardown(() => rig.close());
  const { client, server, web } = rig.lab;
  await startTrafficServer(web);
  await startTrafficServer(server);
  await startTrafficServer(client);
  await web.run('nft', ['-f', '-'], {
    input: `table inet t { chain i { type filter hook input priority 0; tcp dport ${DROPPED_PORT} drop; }; }`,
  });
  await server.run('ip', ['address', 'add', `${PRIVATE_ADDRESS}/24`, 'dev', 'lo']);
  await server.run('ip', ['address', 'add', `${LINK_LOCAL_ADDRESS}/16`, 'dev', 'lo']);
  const odd = inside(
    web,
    async (ports, say) => {
      const net = await import('node:net');
      const listen = (port: number, serve: (socket: import('node:net').Socket) => void) =>
        new Promise<void>((resolve) => {
          const server = net.createServer({ allowHalfOpen: true }, (socket) => {
            socket.on('error', () => undefined);
            serve(socket);
          });
          server.listen(port, '::', resolve);
        });
      await listen(ports.reset, (socket) => socket.once('data', () => socket.resetAndDestroy()));
      await listen(ports.late, (socket) => socket.resume().on('end', () => socket.end(Buffer.alloc(ports.bytes, 7))));
      const early = new Promise<number>((resolve) => {
        void listen(ports.early, (socket) => {
          let bytes = 0;
          socket.end('bye');
          socket.on('data', (chunk) => {
            bytes += chunk.length;
          });
          socket.on('end', () => resolve(bytes));
        }).then(() => say('listening'));
      });
      return early;
    },
    { reset: RESET_PORT, late: LATE_ANSWER_PORT, early: EARLY_FIN_PORT, bytes: LATE_ANSWER_BYTES },
  );
  await odd.said;

  await t.test('a refused connection is refused at once, IPv4 and IPv6', async (t) => {
    for (const host of [WEB_ADDRESS, WEB_ADDRESS_V6, SERVER_ADDRESS]) {
      const { code, ms } = await dial(rig, host, 4);
      t.equal(code, 'ECONNREFUSED', host);
      t.ok(ms < 1000, 'at once');
    }
  });

  await t.test('an unreachable network or host is told as such', async (t) => {
    for (const host of [NO_ROUTE_ADDRESS, NO_NEIGHBOUR_ADDRESS]) {
      const { code, ms } = await dial(rig, host, 80);
      t.match(code, /^E(HOST|NET)UNREACH$/, `${host} after ${ms.toFixed(0)} ms`);
    }
  });

  await t.test('a destination that is silent stays silent: no SYN/ACK before the far side has answered', async (t) => {
    t.match(await dial(rig, WEB_ADDRESS, DROPPED_PORT, 3000), { connected: false, code: 'SILENCE' }, 'neither SYN/ACK nor error');
  });

  await t.test('a reset by the far side arrives as a reset', async (t) => {
    const code = await inside(
      client,
      async ({ host, port }) => {
        const net = await import('node:net');
        return new Promise<string>((resolve) => {
          const socket = net.connect({ host, port }, () => socket.write('x'));
          socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
          socket.on('close', () => resolve('closed in good order'));
        });
      },
      { host: WEB_ADDRESS, port: RESET_PORT },
    ).result;
    t.equal(code, 'ECONNRESET', 'the application gets ECONNRESET');
  });

  await t.test('half-close, ours first: the answer after our FIN arrives whole', async (t) => {
    for (const host of [WEB_ADDRESS, WEB_ADDRESS_V6]) {
      const bytes = await inside(
        client,
        async ({ host, port }) => {
          const net = await import('node:net');
          return new Promise<number>((resolve, reject) => {
            let bytes = 0;
            const socket = net.connect({ host, port, allowHalfOpen: true }, () => socket.end('question'));
            socket.on('data', (chunk) => {
              bytes += chunk.length;
            });
            socket.on('end', () => resolve(bytes));
            socket.on('error', reject);
          });
        },
        { host, port: LATE_ANSWER_PORT },
      ).result;
      t.equal(bytes, LATE_ANSWER_BYTES, host);
    }
  });

  await t.test('half-close, theirs first: what we send after their FIN arrives whole', async (t) => {
    await inside(
      client,
      async ({ host, port, bytes }) => {
        const net = await import('node:net');
        await new Promise<void>((resolve, reject) => {
          const socket = net.connect({ host, port, allowHalfOpen: true });
          socket.resume().on('end', () => socket.end(Buffer.alloc(bytes, 7)));
          socket.on('close', resolve);
          socket.on('error', reject);
        });
      },
      { host: WEB_ADDRESS, port: EARLY_FIN_PORT, bytes: LATE_ANSWER_BYTES },
    ).result;
    t.equal(await odd.result, LATE_ANSWER_BYTES, 'the far side has all of it');
  });

  await t.test('the gateway serves its tunnel address, not its link-local and private networks', async (t) => {
    for (const address of [PRIVATE_ADDRESS, LINK_LOCAL_ADDRESS, '10.90.0.2', SERVER_ADDRESS]) {
      const listener = listenAt(rig, address);
      await listener.said;
      const { connected, code } = await dial(rig, address, 9100);
      if (address === SERVER_ADDRESS) t.equal(connected, true, `${address} is served`);
      else t.match({ connected, code }, { connected: false, code: /^E(HOST|NET)UNREACH$/ }, `${address} is not`);
      listener.stop();
    }
  });

  await t.test('connections from the server to the client, IPv4 and IPv6', async (t) => {
    for (const host of [CLIENT_ADDRESS, 'fd77::2']) {
      for (const op of ['download', 'upload'] as const) {
        const result = await runTraffic(server, { op, host, port: TRAFFIC_PORT, bytes: 2_000_000 });
        t.equal(result.bytes, 2_000_000, `${op} from ${host}`);
      }
    }
  });

  await t.test('IPv6 connections carry every byte', async (t) => {
    for (const op of ['download', 'upload'] as const) {
      const result = await runTraffic(client, { op, host: WEB_ADDRESS_V6, port: TRAFFIC_PORT, bytes: 5_000_000 });
      t.equal(result.bytes, 5_000_000, op);
    }
  });

  await t.test('small writes are not held back', async (t) => {
    const { singleMs, burstOk } = await inside(
      client,
      async ({ host, port }) => {
        const net = await import('node:net');
        const socket = net.connect({ host, port, noDelay: true });
        let received = Buffer.alloc(0);
        let wake = () => {};
        socket.on('data', (chunk) => {
          received = Buffer.concat([received, chunk]);
          wake();
        });
        const until = async (bytes: number) => {
          while (received.length < bytes) await new Promise<void>((resolve) => (wake = resolve));
        };
        socket.write('ECHO\n');
        const times: number[] = [];
        for (let i = 0; i < 50; i++) {
          const startMs = performance.now();
          socket.write('x');
          await until(i + 1);
          times.push(performance.now() - startMs);
        }
        received = Buffer.alloc(0);
        const lines = Array.from({ length: 2000 }, (_, i) => `line ${i}\n`);
        for (const line of lines) {
          socket.write(line);
          // Each a write of its own to the kernel.
          if (Math.random() < 0.2) await new Promise(setImmediate);
        }
        const all = lines.join('');
        await until(all.length);
        socket.destroy();
        return { singleMs: times.sort((a, b) => a - b)[25]!, burstOk: received.toString() === all };
      },
      { host: WEB_ADDRESS, port: TRAFFIC_PORT },
    ).result;
    t.comment(`one byte there and back: ${singleMs.toFixed(1)} ms, the links need 10`);
    // Nagle against a delayed acknowledgement would cost 40 ms.
    t.ok(singleMs < 30, 'a byte is there and back without waiting');
    t.ok(burstOk, 'a burst of small writes comes back whole');
  });

  await t.test('a slow reader stops its own connection only; memory is bounded', async (t) => {
    const rss = async () => [await rig.residentBytes('client'), await rig.residentBytes('server')] as const;
    const deaf = inside(
      web,
      async ({ port }, say) => {
        const net = await import('node:net');
        net.createServer((socket) => socket.pause().on('error', () => undefined)).listen(port, '::', () => say('listening'));
        return new Promise<void>(() => undefined);
      },
      { port: DEAF_PORT },
    );
    await deaf.said;
    const before = await rss();
    const open = [(await rig.status('client')).connections, (await rig.status('server')).connections];
    const slow = inside(
      client,
      async ({ host, download, deaf, count }, say) => {
        const net = await import('node:net');
        for (let i = 0; i < count; i++) {
          const reader = net.connect({ host, port: download }, () => reader.write('DOWNLOAD 0\n'));
          reader.pause();
          const writer = net.connect({ host, port: deaf });
          const block = Buffer.alloc(65_536);
          const pump = () => {
            while (writer.write(block));
          };
          writer.on('connect', pump).on('drain', pump);
        }
        setTimeout(() => say('full'), 3000);
        return new Promise<void>(() => undefined);
      },
      { host: WEB_ADDRESS, download: TRAFFIC_PORT, deaf: DEAF_PORT, count: 10 },
    );
    await slow.said;
    for (const op of ['download', 'upload'] as const) {
      const result = await startTraffic(client, { op, host: WEB_ADDRESS, port: TRAFFIC_PORT, seconds: 3 }).result;
      t.equal(result.error, undefined, 'every byte is right');
      t.comment(`${op} beside 20 that do not read: ${((result.bitsPerSec ?? 0) / 1e6).toFixed(0)} Mbit/s`);
      t.ok(result.bitsPerSec! > 80e6, `${op} of another is not slowed`);
    }
    const full = await rss();
    const grown = full.map((bytes, i) => (bytes - before[i]!) / 2 ** 20);
    t.comment(`resident memory grew by ${grown.map((mib) => mib.toFixed(0)).join(' and ')} MiB`);
    for (const mib of grown) t.ok(mib < 300, 'memory is bounded');
    // What a dead writer still had to say waits for its reader as long as that lives.
    deaf.stop();
    slow.stop();
    await Promise.allSettled([slow.result, deaf.result]);
    for (const [i, side] of (['client', 'server'] as const).entries()) {
      await until(`the ${side} has closed all`, async () => (await rig.status(side)).connections <= open[i]!, 10_000);
    }
    t.pass('what the dead applications had open is closed');
  });
});
