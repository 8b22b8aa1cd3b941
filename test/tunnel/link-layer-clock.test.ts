import t from 'tap';
import { loadNative, type NativeAddon } from '../../src/tun/native.js';
import type { LinkObserver } from '../../src/tunnel/link.js';
import { allUp, numberOf, sendNumbered, startPair, until } from './link-pair.js';

t.test('a packet is never told to have arrived before it was sent, however long the host kept the reader waiting', async (t) => {
  const native = loadNative();
  let beforeReceive = (): void => {};
  const receive: NativeAddon['receive'] = (...args) => {
    beforeReceive();
    return native.receive(...args);
  };
  const pair = await startPair({ serverNative: Object.create(native, { receive: { value: receive } }) as NativeAddon });
  t.teardown(pair.close);
  await allUp(pair);
  const { client, server } = pair;
  const arrivals = new Map<number, number>();
  const observer: LinkObserver = server.observer;
  observer.onDatagramPacket = (_peer, _path, bytes, offset, length, nowMs) => {
    arrivals.set(numberOf(bytes.subarray(offset, offset + length)), nowMs);
  };
  let sentMs = 0;
  // What a busy host does: the reader is awake, and before it reads time passes in which more arrives.
  beforeReceive = () => {
    beforeReceive = () => {};
    const untilMs = performance.now() + 20;
    while (performance.now() < untilMs);
    sentMs = performance.now();
    sendNumbered(client.peer.paths[0]!, 2);
    client.layer.flush();
  };
  sendNumbered(client.peer.paths[0]!, 1);
  client.layer.flush();
  await until('both packets', () => arrivals.size === 2);
  t.ok(sentMs > 0);
  t.ok(arrivals.get(2)! >= sentMs, `arrived ${(arrivals.get(2)! - sentMs).toFixed(2)} ms after it was sent`);
});
