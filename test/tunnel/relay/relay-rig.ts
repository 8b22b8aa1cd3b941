/** A relay, a host that dials by it and one that waits there, all in this process, over addresses of loopback. */

import type { Test } from 'tap';
import { publicKeyOf } from '../../../src/crypto/x25519.js';
import { loadNative, type NativeAddon } from '../../../src/tun/native.js';
import type { PathConfig, TunnelConfig } from '../../../src/tunnel/config.js';
import type { RelayConfig } from '../../../src/tunnel/relay/relay-config.js';
import { RelayServer, type RelayServerOptions } from '../../../src/tunnel/relay/relay-server.js';
import { config, KEYS, numberOf, type Side, sendNumbered, sieve, startSide, until } from '../link-pair.js';

export const RELAY_KEY = new Uint8Array(32).fill(0x51);

export async function startRelay(t: Test, more: Partial<RelayServerOptions> = {}): Promise<{ relay: RelayServer; via: RelayConfig }> {
  const relay = new RelayServer({
    port: 0,
    address: '127.0.0.1',
    privateKey: RELAY_KEY,
    allowed: [publicKeyOf(KEYS.client), publicKeyOf(KEYS.server)],
    maxSessions: 100,
    maxSessionsPerHost: 32,
    rateBytesPerSec: 0,
    ...more,
  });
  relay.start();
  t.teardown(() => relay.close());
  return { relay, via: viaOf(relay) };
}

export function viaOf(relay: RelayServer): RelayConfig {
  return { endpoint: `127.0.0.1:${relay.port}`, publicKey: publicKeyOf(RELAY_KEY) };
}

export function dialling(paths: readonly PathConfig[], key = KEYS.client): TunnelConfig {
  const one = config(key, KEYS.server, { paths });
  return { ...one, peers: [{ ...one.peers[0]!, dialledByRelay: true }] };
}

export function waiting(relays: readonly RelayConfig[]): TunnelConfig {
  const one = config(KEYS.server, KEYS.client, {});
  return { ...one, interface: { ...one.interface, relays } };
}

/** Nothing comes but from the relay, as if NATs were in the way, while `state.blocked`. */
export function withoutDirectWay({ endpoint }: RelayConfig, state: { blocked: boolean } = { blocked: true }): NativeAddon {
  const port = Number(endpoint.split(':')[1]);
  return sieve(loadNative(), (_pathId, _isRaw, address) => state.blocked && ((address[2]! << 8) | address[3]!) !== port);
}

export async function startWaiting(t: Test, via: RelayConfig, native: NativeAddon = withoutDirectWay(via)): Promise<Side> {
  const side = await startSide(waiting([via]), native);
  t.teardown(() => side.layer.close());
  return side;
}

export interface RelayedPair {
  client: Side;
  server: Side;
}

export async function startRelayed(
  t: Test,
  via: RelayConfig,
  { names = ['dsl'], native = withoutDirectWay(via) }: { names?: readonly string[]; native?: NativeAddon } = {},
): Promise<RelayedPair> {
  const server = await startWaiting(t, via, native);
  const paths = names.map((name, i) => ({ name, interface: undefined, address: `127.0.0.${2 + i}`, via }));
  const client = await startSide(dialling(paths), native);
  t.teardown(() => client.layer.close());
  return { client, server };
}

export const isUp = ({ peer }: Side, count = 1): boolean => peer.paths.length === count && peer.paths.every(({ state }) => state === 'up');

export async function exchange(t: Test, { client, server }: RelayedPair, id = 0, count = 50): Promise<void> {
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    const before = to.observer.packets.length;
    const path = from.peer.paths.find((one) => one.id === id)!;
    for (let i = 0; i < count; i++) sendNumbered(path, i, 1200);
    from.layer.flush();
    await until('all packets', () => to.observer.packets.length === before + count);
    const numbers = to.observer.packets.slice(before).map(({ bytes }) => numberOf(bytes));
    t.same(
      numbers.sort((a, b) => a - b),
      Array.from({ length: count }, (_, i) => i),
    );
  }
}
