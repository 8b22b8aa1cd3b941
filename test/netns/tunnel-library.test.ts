/** The library in programs of an ordinary user: the example of the documentation, and a program that uses all of it. */

import { chownSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { inside, type Say } from './tunnel-remote.js';
import { createTunnelRig } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300 },
  { rateBitsPerSec: 30e6, delayMs: 20, queuePackets: 250 },
];
const NOBODY = 65_534;
const UNPRIVILEGED = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--inh-caps=-all', '--bounding-set=-all'];
const EXAMPLE = fileURLToPath(new URL('../../examples/fetch-through-tunnel.js', import.meta.url));
const PROGRAM = fileURLToPath(new URL('./library-program.js', import.meta.url));
const HTTP_PORT = 8000;
const ECHO_PORT = 9000;
const CLOSED_PORT = 9;
const LARGE_BYTES = 20_000_000;

t.setTimeout(120_000);

async function web({ httpPort, echoPort, bytes }: { httpPort: number; echoPort: number; bytes: number }, say: Say): Promise<void> {
  const { createServer } = await import('node:http');
  const { createSocket } = await import('node:dgram');
  const server = createServer((request, response) => {
    if (request.url === '/large') response.end(Buffer.alloc(bytes, 7));
    else response.end(`${request.method} ${request.url} on ${request.socket.remotePort}\n`);
  });
  await new Promise<void>((resolve) => server.listen(httpPort, '0.0.0.0', resolve));
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  await new Promise<void>((resolve) => socket.bind(echoPort, resolve));
  say('ready');
  await new Promise(() => {});
}

t.test('connectTunnel: net, http, undici and datagrams, over both links', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, up: false });
  t.teardown(() => rig.close());
  await inside(rig.lab.web, web, { httpPort: HTTP_PORT, echoPort: ECHO_PORT, bytes: LARGE_BYTES }).said;
  await rig.up('server');
  const config = rig.configFile('client');
  chownSync(rig.lab.folder, NOBODY, NOBODY);
  chownSync(config, NOBODY, NOBODY);
  const run = (...args: string[]) =>
    rig.lab.client.run(UNPRIVILEGED[0]!, [...UNPRIVILEGED.slice(1), 'env', 'NODE_OPTIONS=', process.execPath, ...args], {
      timeoutMs: 60_000,
    });

  const { stdout, stderr } = await run(EXAMPLE, config, `http://${WEB_ADDRESS}:${HTTP_PORT}/example`);
  t.match(stdout, 'GET /example on ');
  t.match(stderr, /link0: up, \d+ bytes/);

  const seen = JSON.parse((await run(PROGRAM, config, WEB_ADDRESS, `${HTTP_PORT}`, `${ECHO_PORT}`, `${CLOSED_PORT}`)).stdout);
  t.match(seen.raw, /^HTTP\/1.1 200 OK[\s\S]*GET \/raw on /);
  t.match(seen.agent, ['GET /a on ', 'GET /b on ']);
  t.equal(seen.agent[0].split(' on ')[1], seen.agent[1].split(' on ')[1], 'the connection was kept alive');
  t.match(seen.undici, 'GET /undici on ');
  t.equal(seen.largeBytes, LARGE_BYTES);
  t.equal(seen.echoed, `hello from ${WEB_ADDRESS}:${ECHO_PORT}`);
  t.equal(seen.refused, 'ECONNREFUSED');
  for (const { state, rxBytes } of seen.paths) t.ok(state === 'up' && rxBytes > LARGE_BYTES / 10, `${state}, ${rxBytes}`);
});
