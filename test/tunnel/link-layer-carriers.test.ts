/** Paths over other carriers than UDP: two real link layers, whose transports are within this process, and whose UDP can be blocked. */

import t, { type Test } from 'tap';
import { loadNative, type NativeAddon, type UdpHandle } from '../../src/tun/native.js';
import type { PathConfig, TunnelConfig } from '../../src/tunnel/config.js';
import { createLinkLayer } from '../../src/tunnel/link-layer.js';
import { SEAL_OVERHEAD_BYTES } from '../../src/tunnel/path/path-size.js';
import { config, freePort, KEYS, numberOf, Recorder, SILENT_LOG, type Side, sendNumbered, sieve, TEST_PATHS, until } from './link-pair.js';
import { LoopbackHub } from './loopback-transport.js';

const TIMES = {
  patienceMs: 150,
  headStartMs: 50,
  trialMs: 800,
  redialMs: 50,
  redialMaxMs: 200,
  betterEveryMs: 300,
  betterMs: 250,
  lingerMs: 100,
};
const PORTS = { quic: 4430, webtransport: 4431 };
const CERTIFICATE = { certificate: 'of the test', privateKey: 'of the test', selfSigned: true, sha256: new Uint8Array(32) };

/** UDP that can be blocked; ports in memory are not UDP. */
function blockable(state: { blocked: boolean }): NativeAddon {
  const native = loadNative();
  const isSocket = (udp: UdpHandle): boolean => {
    try {
      native.memoryWaiting(udp);
      return false;
    } catch {
      return true;
    }
  };
  const filtered = sieve(native, () => true);
  const receive: NativeAddon['receive'] = (udp, ...rest) =>
    state.blocked && isSocket(udp) ? filtered.receive(udp, ...rest) : native.receive(udp, ...rest);
  return Object.create(native, { receive: { value: receive } }) as NativeAddon;
}

interface Rig {
  client: Side;
  server: Side;
  hub: LoopbackHub;
  udp: { blocked: boolean };
}

async function startRig(
  t: Test,
  {
    paths = TEST_PATHS.slice(0, 1),
    blocked = false,
    clientKey = KEYS.client,
    kinds = ['quic', 'webtransport'],
  }: {
    paths?: readonly PathConfig[];
    blocked?: boolean;
    clientKey?: Uint8Array;
    kinds?: readonly ('quic' | 'webtransport')[];
  } = {},
): Promise<Rig> {
  const hub = new LoopbackHub();
  const udp = { blocked };
  const port = await freePort();
  const listen = {
    ...(kinds.includes('quic') ? { quicPort: PORTS.quic } : {}),
    ...(kinds.includes('webtransport') ? { webtransportPort: PORTS.webtransport } : {}),
  };
  const start = async (tunnelConfig: TunnelConfig): Promise<Side> => {
    const options = {
      config: tunnelConfig,
      native: blockable(udp),
      log: SILENT_LOG,
      carrierTimes: TIMES,
      loadTransport: hub.load,
      certificate: async () => CERTIFICATE,
    };
    const layer = createLinkLayer(options);
    t.teardown(() => layer.close());
    const observer = new Recorder();
    await layer.start(observer);
    return { layer, observer, peer: layer.peers[0]! };
  };
  const ofServer = config(KEYS.server, KEYS.client, { listenPort: port });
  const server = await start({ ...ofServer, interface: { ...ofServer.interface, carriers: { ...listen, webFolder: undefined } } });
  const ofClient = config(clientKey, KEYS.server, { endpoint: `127.0.0.1:${port}`, paths });
  const client = await start({ ...ofClient, peers: [{ ...ofClient.peers[0]!, ...listen, serverName: 'server.example' }] });
  return { client, server, hub, udp };
}

function kindOf({ peer }: Side, id = 0): string {
  return peer.paths.find((path) => path.id === id)?.carrierKind ?? 'none';
}

const isUp = ({ peer }: Side, id = 0): boolean => peer.paths.find((path) => path.id === id)?.state === 'up';

async function upOver(rig: Rig, kind: string, id = 0): Promise<void> {
  const holds = () => isUp(rig.client, id) && isUp(rig.server, id) && kindOf(rig.client, id) === kind && kindOf(rig.server, id) === kind;
  await until(`path ${id} over ${kind}`, holds);
}

async function exchange(t: Test, { client, server }: Rig, id = 0): Promise<void> {
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    const before = to.observer.packets.length;
    const path = from.peer.paths.find((one) => one.id === id)!;
    for (let i = 0; i < 50; i++) sendNumbered(path, i, 1200);
    from.layer.flush();
    await until('all packets', () => to.observer.packets.length === before + 50);
    t.same(
      to.observer.packets.slice(before).map(({ bytes }) => numberOf(bytes)),
      Array.from({ length: 50 }, (_, i) => i),
    );
  }
}

t.test('where UDP works, nothing else is dialled', async (t) => {
  const rig = await startRig(t);
  await upOver(rig, 'udp');
  await exchange(t, rig);
  await new Promise((resolve) => setTimeout(resolve, 2 * TIMES.patienceMs));
  t.same(rig.hub.dialled, []);
});

t.test('where UDP is blocked the session comes up over the next carrier, and packets pass both ways', async (t) => {
  const rig = await startRig(t, { blocked: true });
  await upOver(rig, 'quic');
  await exchange(t, rig);
  t.equal(rig.client.peer.paths[0]!.remote, `127.0.0.1:${PORTS.quic}`);
  await until('what else was dialled is closed', () => rig.hub.open('webtransport') === 0 && rig.hub.open('quic') === 1);
});

t.test('where QUIC is blocked too, over WebTransport', async (t) => {
  const rig = await startRig(t, { blocked: true });
  rig.hub.blocked.add('quic');
  await upOver(rig, 'webtransport');
  await exchange(t, rig);
});

t.test('UDP is blocked in the middle: the path comes back over another carrier, the session is the same', async (t) => {
  const rig = await startRig(t);
  await upOver(rig, 'udp');
  const sessions = rig.server.observer.peerStates.length;
  rig.udp.blocked = true;
  await upOver(rig, 'quic');
  await exchange(t, rig);
  t.ok(rig.server.observer.peerStates.length <= sessions + 2, 'down and up at most');
});

t.test('once UDP works again the path goes back, without a packet lost', async (t) => {
  const rig = await startRig(t, { blocked: true });
  await upOver(rig, 'quic');
  const { client, server, hub, udp } = rig;
  const before = [client.observer.packets.length, server.observer.packets.length] as const;
  let sent = 0;
  const load = setInterval(() => {
    sendNumbered(client.peer.paths[0]!, sent);
    sendNumbered(server.peer.paths[0]!, sent++);
    client.layer.flush();
    server.layer.flush();
  }, 5);
  t.teardown(() => clearInterval(load));
  await new Promise((resolve) => setTimeout(resolve, 3 * TIMES.betterEveryMs));
  t.equal(kindOf(client), 'quic', 'UDP has been tried, and is blocked');
  const states = client.observer.statesOf(0).length;
  udp.blocked = false;
  await upOver(rig, 'udp');
  await new Promise((resolve) => setTimeout(resolve, 50));
  clearInterval(load);
  await until(
    'all packets',
    () => client.observer.packets.length === before[0] + sent && server.observer.packets.length === before[1] + sent,
  );
  t.equal(client.observer.statesOf(0).length, states, 'the path was up all the time');
  await until('QUIC is left', () => hub.open('quic') === 0);
});

t.test('a path that is to go over one carrier only goes over no other, beside a path over UDP', async (t) => {
  const paths: PathConfig[] = [
    { name: 'dsl', interface: undefined, address: '127.0.0.2' },
    { name: 'web', interface: undefined, address: '127.0.0.3', carrier: 'webtransport' },
  ];
  const rig = await startRig(t, { paths });
  await upOver(rig, 'udp', 0);
  await upOver(rig, 'webtransport', 1);
  await exchange(t, rig, 0);
  await exchange(t, rig, 1);
  rig.hub.reset('webtransport');
  await until('down', () => !isUp(rig.client, 1));
  t.equal(rig.client.peer.paths[0]!.state, 'up', 'the other does not notice');
  await upOver(rig, 'webtransport', 1);
  await exchange(t, rig, 1);
  t.notOk(rig.hub.dialled.includes('quic'));
});

t.test('a connection that ends takes the path to the next carrier at once', async (t) => {
  const rig = await startRig(t, { blocked: true });
  await upOver(rig, 'quic');
  rig.hub.blocked.add('quic');
  rig.hub.reset('quic');
  await upOver(rig, 'webtransport');
  await exchange(t, rig);
});

t.test('a carrier that is silent is left for the next', async (t) => {
  const rig = await startRig(t, { blocked: true });
  await upOver(rig, 'quic');
  rig.hub.blocked.add('quic');
  await upOver(rig, 'webtransport');
  await exchange(t, rig);
});

t.test('a stranger does not get in by another carrier', async (t) => {
  const rig = await startRig(t, { blocked: true, clientKey: KEYS.stranger });
  await until('it was refused', () => rig.hub.dialled.length > 3);
  t.equal(rig.client.peer.state, 'connecting');
  t.same(rig.server.peer.paths, []);
});

t.test('a smaller datagram of the carrier makes the path smaller', async (t) => {
  const rig = await startRig(t, { paths: [{ name: 'web', interface: undefined, address: '127.0.0.2', carrier: 'quic' }] });
  await upOver(rig, 'quic');
  t.equal(rig.client.peer.paths[0]!.innerMtuBytes, 1400 - SEAL_OVERHEAD_BYTES);
  t.equal(rig.server.peer.paths[0]!.innerMtuBytes, 1400 - SEAL_OVERHEAD_BYTES);
});
