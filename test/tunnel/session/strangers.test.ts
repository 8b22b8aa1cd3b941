import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import t from 'tap';
import { mac1Key, writeMac1 } from '../../../src/tunnel/session/cookie.js';
import {
  COOKIE_REPLY_BYTES,
  INITIATION_BYTES,
  MESSAGE_INITIATION,
  MESSAGE_RESPONSE,
  RESPONSE_BYTES,
} from '../../../src/tunnel/session/messages.js';
import { type Host, makePair, PUBLIC, seededBytes, seededRandom, sentBy, setRoutes } from './two-hosts.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const SOURCE = Uint8Array.of(192, 0, 2, 1);
const sum = (counters: Readonly<Record<string, number>>) => Object.values(counters).reduce((total, count) => total + count, 0);

/** A client and a server with a session, and the handshake datagrams that made it. */
function session() {
  const pair = makePair({ links: [{ delayMs: 5 }] });
  setRoutes(pair.client, [0]);
  pair.network.runUntil(100);
  setRoutes(pair.client, []);
  return {
    ...pair,
    initiation: sentBy(pair.client, MESSAGE_INITIATION)[0]!.bytes,
    response: sentBy(pair.server, MESSAGE_RESPONSE)[0]!.bytes,
  };
}

/** Nothing came of it: no datagram, no event. */
function isSilent(host: Host): boolean {
  const out = new Uint8Array(256);
  return host.endpoint.pollTransmit(out, 0) === undefined && host.endpoint.pollEvent() === undefined;
}

t.test('arbitrary bytes never throw and are never answered', async (t) => {
  const { client, server, network } = session();
  const lengths = fc.constantFrom(0, 1, 7, 8, COOKIE_REPLY_BYTES, RESPONSE_BYTES, INITIATION_BYTES, INITIATION_BYTES + 1, 1400);
  const typed = fc
    .tuple(fc.constantFrom(0, 1, 2, 3, 4, 0x12), lengths, fc.nat())
    .map(([type, length, seed]) => seededBytes(seed)(length).map((byte, i) => (i === 0 ? type : i < 4 ? 0 : byte)));
  fc.assert(
    fc.property(fc.oneof(typed, fc.uint8Array({ maxLength: 300 })), (bytes) => {
      for (const host of [client, server]) host.endpoint.handleDatagram(bytes, 3, SOURCE, network.nowMs);
      return isSilent(client) && isSilent(server);
    }),
    { numRuns: 2000 },
  );
  t.ok(server.sendData(0), 'the session goes on');
});

t.test('handshakes with any byte changed never throw and are never answered', async (t) => {
  const fresh = makePair({ links: [{ loss: 1 }] });
  setRoutes(fresh.client, [0]);
  const real = sentBy(fresh.client, MESSAGE_INITIATION)[0]!.bytes;
  const { client, server, response, network } = session();
  const unmac2 = INITIATION_BYTES - 16;
  fc.assert(
    fc.property(fc.nat(unmac2 - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (at, flip, macFixed) => {
      const mutated = Uint8Array.from(real);
      mutated[at] = mutated[at]! ^ flip;
      // An attacker who knows the server's public key can always make mac1 right, unless he changes only that.
      if (macFixed && at < unmac2 - 16) writeMac1(mutated, mac1Key(PUBLIC.server));
      fresh.server.endpoint.handleDatagram(mutated, 0, SOURCE, 0);
      const answer = Uint8Array.from(response);
      answer[at % (RESPONSE_BYTES - 16)] = answer[at % (RESPONSE_BYTES - 16)]! ^ flip;
      if (macFixed) writeMac1(answer, mac1Key(PUBLIC.client));
      client.endpoint.handleDatagram(answer, 0, SOURCE, network.nowMs);
      return isSilentBesidesCookies(fresh.server) && isSilent(client) && isSilent(server);
    }),
    { numRuns: 600 },
  );
  t.equal(fresh.server.endpoint.counters.handshakesResponded, 0);
  t.ok(fresh.server.endpoint.counters.initiationInvalid! > 50);
  // The unchanged one is still good: nothing that came before spoiled it.
  const quiet = makePair();
  quiet.server.endpoint.handleDatagram(real, 0, SOURCE, 0);
  t.equal(quiet.server.endpoint.counters.handshakesResponded, 1);
});

/** Under load a valid mac1 gets a cookie reply and nothing else. */
function isSilentBesidesCookies(host: Host): boolean {
  const out = new Uint8Array(256);
  for (let sent = host.endpoint.pollTransmit(out, 0); sent !== undefined; sent = host.endpoint.pollTransmit(out, 0)) {
    if (out[0] !== 3) return false;
  }
  return host.endpoint.pollEvent() === undefined;
}

t.test('100,000 garbage handshake datagrams: no answer, no growth, each one counted, and the session goes on', async (t) => {
  const { client, server, network, initiation } = session();
  const random = seededRandom(42);
  const garbage = Uint8Array.from(initiation);
  const flood = (count: number) => {
    for (let i = 0; i < count; i++) {
      for (let j = 4; j < garbage.length; j += 7) garbage[j] = Math.floor(random() * 256);
      const kind = i % 4;
      const bytes = kind === 0 ? garbage.subarray(0, RESPONSE_BYTES) : kind === 1 ? garbage.subarray(0, COOKIE_REPLY_BYTES) : garbage;
      garbage[0] = kind === 0 ? 2 : kind === 1 ? 3 : kind === 2 ? 1 : 0x77;
      server.endpoint.handleDatagram(bytes, i, SOURCE, network.nowMs + i / 100);
    }
  };
  flood(5_000);
  collectGarbage();
  const before = sum(server.endpoint.counters);
  const heapBytes = process.memoryUsage().heapUsed;
  flood(100_000);
  collectGarbage();
  const grownBytes = process.memoryUsage().heapUsed - heapBytes;
  t.ok(grownBytes < 500_000, `${grownBytes} bytes`);
  t.equal(sum(server.endpoint.counters) - before, 100_000);
  t.ok(isSilent(server));
  t.equal(server.endpoint.nextTimeoutMs() > network.nowMs, true);
  t.ok(client.sendData(0));
  const received = server.received;
  network.runUntil(network.nowMs + 10);
  t.equal(server.received, received + 1);
});

t.test('10,000 garbage initiations with a valid mac1: at most the budget is computed, the rest gets cookie replies', async (t) => {
  const { server, network, initiation } = session();
  const key = mac1Key(PUBLIC.server);
  const random = seededRandom(43);
  const out = new Uint8Array(256);
  let replies = 0;
  let heapBytes = 0;
  for (let i = 0; i < 10_000; i++) {
    const garbage = Uint8Array.from(initiation);
    for (let j = 4; j < 132; j++) garbage[j] = Math.floor(random() * 256);
    writeMac1(garbage, key);
    server.endpoint.handleDatagram(garbage, i, Uint8Array.of(192, 0, i >> 8, i & 255), network.nowMs + i / 10);
    while (server.endpoint.pollTransmit(out, network.nowMs) !== undefined) replies++;
    if (i === 1_000) {
      collectGarbage();
      heapBytes = process.memoryUsage().heapUsed;
    }
  }
  collectGarbage();
  t.ok(process.memoryUsage().heapUsed - heapBytes < 500_000, `${process.memoryUsage().heapUsed - heapBytes} bytes`);
  const { initiationInvalid, cookieRepliesSent } = server.endpoint.counters;
  t.equal(initiationInvalid! + cookieRepliesSent!, 10_000);
  t.equal(replies, cookieRepliesSent);
  t.ok(initiationInvalid! <= 201, `${initiationInvalid} computed in one second of a budget of 100`);
  t.equal(server.endpoint.pollEvent(), undefined);
});

t.test('what nobody collects is bounded', async (t) => {
  const { server, network, initiation } = session();
  const key = mac1Key(PUBLIC.server);
  for (let i = 0; i < 2_000; i++) {
    const garbage = Uint8Array.from(initiation);
    new DataView(garbage.buffer).setUint32(8, i);
    writeMac1(garbage, key);
    server.endpoint.handleDatagram(garbage, i, SOURCE, network.nowMs);
  }
  const out = new Uint8Array(256);
  let count = 0;
  while (server.endpoint.pollTransmit(out, network.nowMs) !== undefined) count++;
  t.equal(count, 512);
  t.ok(server.endpoint.counters.transmitQueueFull! > 1_000);
});
