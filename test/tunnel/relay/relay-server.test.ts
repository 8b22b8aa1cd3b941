import { createSocket } from 'node:dgram';
import t from 'tap';
import { publicKeyOf } from '../../../src/crypto/x25519.js';
import { until } from '../link-pair.js';
import { loadKey, RelayLoad } from './relay-load.js';
import { RELAY_KEY, startRelay } from './relay-rig.js';

const allowed = (count: number): Uint8Array[] => Array.from({ length: count }, (_, index) => publicKeyOf(loadKey(index)));

t.test('one relay carries 1000 sessions: every datagram comes to whom it is for, as it was', async (t) => {
  const { relay } = await startRelay(t, { allowed: allowed(2000), maxSessions: 1000 });
  const load = await RelayLoad.open(1000, relay.port, publicKeyOf(RELAY_KEY));
  t.teardown(() => load.close());
  await load.pair(60_000);
  t.match(relay.status(), { sessions: 1000, connectedSessions: 1000 });
  for (const bytes of [12, 100, 1400]) {
    await load.send(bytes);
    await until('all came', () => load.received === load.sent, 30_000);
  }
  t.equal(load.wrong, 0);
  t.match(relay.status().counters, { forwardedDatagrams: 6000, unknownSources: 0, refusedDatagrams: 0 });
});

t.test('garbage and strangers get nothing, and make nothing grow', async (t) => {
  const { relay } = await startRelay(t);
  const stranger = createSocket('udp4');
  t.teardown(() => stranger.close());
  let received = 0;
  stranger.on('message', () => received++);
  await new Promise<void>((resolve) => stranger.bind(0, '127.0.0.1', resolve));
  for (let i = 0; i < 2000; i++) {
    const bytes = new Uint8Array(1 + (i % 100)).fill(i);
    // Every other one claims to be a message to the relay, of the right length now and then.
    if (i % 2 === 0) bytes[0] = 0x52;
    if (i % 2 === 0 && bytes.length > 1) bytes[1] = 1;
    await new Promise((resolve) => stranger.send(bytes, relay.port, '127.0.0.1', resolve));
  }
  await until('all was read', () => {
    const { strangers, unknownSources, droppedMessages } = relay.status().counters;
    return strangers! + unknownSources! + droppedMessages! === 2000;
  });
  t.equal(received, 0);
  t.match(relay.status(), { sessions: 0, waitingHosts: 0 });
});

t.test('a session carries what its rate allows, others are not touched', async (t) => {
  const { relay } = await startRelay(t, { allowed: allowed(2), rateBytesPerSec: 40_000 });
  const load = await RelayLoad.open(1, relay.port, publicKeyOf(RELAY_KEY));
  t.teardown(() => load.close());
  await load.pair(30_000);
  for (let i = 0; i < 50; i++) await load.send(1000);
  await until('all was read', () => {
    const { forwardedDatagrams, overRate } = relay.status().counters;
    return forwardedDatagrams! + overRate! === 100;
  });
  // A quarter of a second's worth is 10 kB: ten of these, and what a slow machine's time adds.
  t.ok(relay.status().counters.overRate! > 0);
  t.ok(relay.status().counters.forwardedDatagrams! >= 9);
});
