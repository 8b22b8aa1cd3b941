/** A peer that is known by a name: several addresses, dead ones among them, and one that changes while the tunnel runs. Over addresses of loopback. */

import t from 'tap';
import { loadNative } from '../../src/tun/native.js';
import type { ResolvedEndpoint } from '../../src/tunnel/carrier/endpoint.js';
import { createLinkLayer } from '../../src/tunnel/link-layer.js';
import { TunnelError } from '../../src/tunnel/tunnel-api.js';
import { config, freePort, KEYS, Recorder, SILENT_LOG, type Side, startSide, until } from './link-pair.js';

// Names are asked at most every three seconds.
t.setTimeout(90_000);
const IN_TURN_MS = 30_000;

async function startNamed(t: { teardown(fn: () => unknown): void }, resolve: () => Promise<ResolvedEndpoint>): Promise<Side> {
  const layer = createLinkLayer({
    config: config(KEYS.client, KEYS.server, {
      endpoint: 'vpn.example.org:5180',
      paths: [{ name: 'dsl', interface: undefined, address: '127.0.0.2' }],
    }),
    native: loadNative(),
    log: SILENT_LOG,
    resolve,
    endpointPatienceMs: 500,
  });
  t.teardown(() => layer.close());
  const observer = new Recorder();
  await layer.start(observer);
  return { layer, observer, peer: layer.peers[0]! };
}

const at = (port: number, ...addresses: string[]): ResolvedEndpoint => ({
  addresses: addresses.map((address) => ({ address, family: 4 })),
  port,
});

t.test('of several addresses the first that answers is found, in turn', async (t) => {
  const port = await freePort();
  const server = await startSide(config(KEYS.server, KEYS.client, { listenPort: port }));
  t.teardown(() => server.layer.close());
  // Nobody listens at the broadcast address of loopback.
  const client = await startNamed(t, async () => at(port, '127.255.255.255', '127.0.0.1'));
  t.equal(client.peer.paths[0]!.remote, `127.255.255.255:${port}`);
  await until('it is up', () => client.peer.state === 'up', IN_TURN_MS);
  t.equal(client.peer.paths[0]!.remote, `127.0.0.1:${port}`);
});

t.test('a server that moves is found by its name again; a name that does not resolve meanwhile changes nothing', async (t) => {
  const ports = [await freePort(), await freePort()] as const;
  const first = await startSide(config(KEYS.server, KEYS.client, { listenPort: ports[0] }));
  t.teardown(() => first.layer.close());
  let answer = async (): Promise<ResolvedEndpoint> => at(ports[0], '127.0.0.1');
  let asked = 0;
  const client = await startNamed(t, () => {
    asked++;
    return answer();
  });
  await until('it is up', () => client.peer.state === 'up');
  t.equal(asked, 1);
  answer = () => Promise.reject(new TunnelError('endpoint-unresolved', 'The name cannot be resolved.'));
  await first.layer.close();
  await until('the name is asked again', () => asked >= 2, IN_TURN_MS);
  t.equal(client.peer.paths[0]!.remote, `127.0.0.1:${ports[0]}`, 'it stays where it was');
  t.equal(client.peer.lastError, 'The name cannot be resolved.');
  const second = await startSide(config(KEYS.server, KEYS.client, { listenPort: ports[1] }));
  t.teardown(() => second.layer.close());
  answer = async () => at(ports[1], '127.0.0.1');
  await until('it is up at the new place', () => client.peer.state === 'up', IN_TURN_MS);
  t.equal(client.peer.paths[0]!.remote, `127.0.0.1:${ports[1]}`);
});
