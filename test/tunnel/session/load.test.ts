import t from 'tap';
import { SESSION_DEFAULTS } from '../../../src/tunnel/session/constants.js';
import { HandshakeBudget } from '../../../src/tunnel/session/handshake-budget.js';
import {
  COOKIE_REPLY_BYTES,
  INITIATION_BYTES,
  MESSAGE_COOKIE_REPLY,
  MESSAGE_INITIATION,
  MESSAGE_RESPONSE,
} from '../../../src/tunnel/session/messages.js';
import { type Host, makePair, sentBy, setRoutes } from './two-hosts.js';

/** No handshake is computed without a cookie. */
const LOADED = { handshakesPerSecond: 0 };
const SOURCE = Uint8Array.of(10, 0, 0, 1);

t.test('under load an initiation with a valid mac1 gets a cookie reply, and with the cookie an answer', async (t) => {
  const { network, client, server } = makePair({ constants: LOADED });
  setRoutes(client, [0]);
  network.runUntil(200);
  t.same(client.eventTypes(), ['epoch-ready']);
  t.equal(client.timeOf('epoch-ready'), 40, 'one round trip more');
  const replies = sentBy(server, MESSAGE_COOKIE_REPLY);
  t.equal(replies.length, 1);
  t.ok(replies[0]!.bytes.length === COOKIE_REPLY_BYTES && COOKIE_REPLY_BYTES < INITIATION_BYTES);
  t.equal(sentBy(client, MESSAGE_INITIATION).length, 2);
});

t.test('cookies are had for each route by itself, and the race goes on', async (t) => {
  const { network, client, server } = makePair({ constants: LOADED, links: [{ delayMs: 50 }, { delayMs: 10 }] });
  network.filter = ({ from, link, bytes }) => !(from === server && link === 1 && bytes[0] === MESSAGE_RESPONSE);
  setRoutes(client, [0, 1]);
  network.runUntil(240);
  t.same(client.eventTypes(), ['epoch-ready']);
  t.equal(client.of('epoch-ready')[0]!.route, 0);
  t.equal(sentBy(server, MESSAGE_COOKIE_REPLY).length, 1, 'the other route’s copy is known by then and answered from the cache');
});

t.test('a cookie that is known goes into the next initiation', async (t) => {
  const { network, client, server } = makePair({ constants: { ...LOADED, rekeyAfterMs: 20_000, rekeyJitterMs: 0 } });
  setRoutes(client, [0]);
  network.tick = { everyMs: 1_000, run: () => void (client.sendData(0) && server.sendData(0)) };
  network.runUntil(90_000);
  t.equal(client.of('epoch-ready').length, 5);
  t.equal(sentBy(server, MESSAGE_COOKIE_REPLY).length, 1);
});

t.test('an expired cookie secret leads to a new cookie', async (t) => {
  const { network, client, server } = makePair({
    constants: { ...LOADED, rekeyAfterMs: 20_000, rekeyJitterMs: 0, cookieSecretMs: 30_000 },
  });
  setRoutes(client, [0]);
  network.tick = { everyMs: 1_000, run: () => void (client.sendData(0) && server.sendData(0)) };
  network.runUntil(90_000);
  t.equal(client.of('epoch-ready').length, 5);
  t.equal(sentBy(server, MESSAGE_COOKIE_REPLY).length, 3);
});

t.test('an initiator does not use a cookie that is too old', async (t) => {
  const { network, client, server } = makePair({ constants: { ...LOADED, rekeyAfterMs: 20_000, rekeyJitterMs: 0, cookieFreshMs: 1_000 } });
  setRoutes(client, [0]);
  network.tick = { everyMs: 1_000, run: () => void (client.sendData(0) && server.sendData(0)) };
  network.runUntil(90_000);
  t.equal(client.of('epoch-ready').length, 5);
  t.equal(sentBy(server, MESSAGE_COOKIE_REPLY).length, 5);
});

/** An initiation of the client that carries the cookie given to it at `source`, and that nobody has answered. */
function initiationWithCookie(client: Host, server: Host, source: Uint8Array): Uint8Array {
  const out = new Uint8Array(256);
  const poll = (host: Host) => {
    const sent = host.endpoint.pollTransmit(out, 0);
    return out.slice(0, sent?.length ?? 0);
  };
  client.endpoint.setRoutes(1, [0], 0);
  server.endpoint.handleDatagram(poll(client), 0, source, 0);
  client.endpoint.handleDatagram(poll(server), 0, SOURCE, 0);
  return poll(client);
}

t.test('a cookie is worth nothing at another source address', async (t) => {
  const { client, server } = makePair({ constants: LOADED });
  const initiation = initiationWithCookie(client, server, SOURCE);
  t.equal(initiation.length, INITIATION_BYTES);
  server.endpoint.handleDatagram(initiation, 0, Uint8Array.of(10, 0, 0, 2), 0);
  server.drain();
  t.equal(sentBy(server, MESSAGE_RESPONSE).length, 0);
  t.equal(server.endpoint.counters.cookieRepliesSent, 2);
  server.endpoint.handleDatagram(initiation, 0, SOURCE, 0);
  server.drain();
  t.equal(sentBy(server, MESSAGE_RESPONSE).length, 1);
});

t.test('with a cookie too one source address gets so many handshakes a second, then silence', async (t) => {
  const { network, client, server } = makePair({ constants: { ...LOADED, handshakesPerSourcePerSecond: 3 } });
  network.filter = ({ from }) => from === client || network.nowMs > 0;
  const restart = (nowMs: number) => {
    client.endpoint.setRoutes(1, [], nowMs);
    client.endpoint.setRoutes(1, [0], nowMs);
  };
  const out = new Uint8Array(256);
  const exchange = (nowMs: number) => {
    for (let sent = client.endpoint.pollTransmit(out, nowMs); sent !== undefined; sent = client.endpoint.pollTransmit(out, nowMs)) {
      server.endpoint.handleDatagram(out.slice(0, sent.length), 0, SOURCE, nowMs);
    }
    for (let sent = server.endpoint.pollTransmit(out, nowMs); sent !== undefined; sent = server.endpoint.pollTransmit(out, nowMs)) {
      if (out[0] === MESSAGE_COOKIE_REPLY) client.endpoint.handleDatagram(out.slice(0, sent.length), 0, SOURCE, nowMs);
    }
  };
  client.endpoint.setRoutes(1, [0], 0);
  exchange(0);
  exchange(0);
  // An empty list of routes forgets cookies, so each round begins with a cookie reply.
  for (let i = 0; i < 9; i++) {
    restart(100);
    exchange(100);
    exchange(100);
  }
  t.equal(server.endpoint.counters.handshakesResponded, 3);
  t.equal(server.endpoint.counters.overBudget, 7);
  restart(1_100);
  exchange(1_100);
  exchange(1_100);
  t.equal(server.endpoint.counters.handshakesResponded, 4);
});

t.test('below the budget nobody is asked for a cookie; above it everybody; after a pause nobody again', async (t) => {
  const { client, server } = makePair({ constants: { handshakesPerSecond: 5 } });
  const out = new Uint8Array(256);
  const initiate = (nowMs: number) => {
    client.endpoint.setRoutes(1, [], nowMs);
    client.endpoint.setRoutes(1, [0], nowMs);
    const { length } = client.endpoint.pollTransmit(out, nowMs)!;
    server.endpoint.handleDatagram(out.slice(0, length), 0, SOURCE, nowMs);
  };
  for (let i = 0; i < 8; i++) initiate(0);
  t.equal(server.endpoint.counters.handshakesResponded, 5);
  t.equal(server.endpoint.counters.cookieRepliesSent, 3);
  initiate(200);
  t.equal(server.endpoint.counters.handshakesResponded, 6);
  initiate(200);
  t.equal(server.endpoint.counters.cookieRepliesSent, 4);
});

t.test('the table of sources is bounded, and so are all handshakes with cookies together', async (t) => {
  const budget = new HandshakeBudget({ ...SESSION_DEFAULTS, maxSources: 3, cookieHandshakesPerSecond: 5 }, 0);
  const take = (source: number, nowMs: number) => budget.takeWithCookie(Uint8Array.of(source), nowMs);
  t.same(
    [take(1, 0), take(2, 0), take(3, 0), take(4, 0), take(1, 0), take(2, 0), take(3, 0)],
    [true, true, true, false, true, true, false],
  );
  t.same([take(4, 1_000), take(5, 1_000), take(6, 1_000), take(7, 1_000)], [true, true, true, false]);
});

t.test('a cookie reply that is forged, or for nobody, is dropped and counted', async (t) => {
  const { network, client, server } = makePair({ constants: LOADED, links: [{ delayMs: 100 }] });
  setRoutes(client, [0]);
  network.runUntil(150);
  const reply = sentBy(server, MESSAGE_COOKIE_REPLY)[0]!.bytes;
  const forged = Uint8Array.from(reply);
  forged[60] = forged[60]! ^ 1;
  client.receive(forged, 0);
  t.equal(client.endpoint.counters.cookieInvalid, 1);
  const other = Uint8Array.from(reply);
  other[4] = other[4]! ^ 1;
  client.receive(other, 0);
  client.receive(reply, 5);
  t.equal(client.endpoint.counters.cookieUnexpected, 2);
  t.equal(sentBy(client, MESSAGE_INITIATION).length, 1);
  client.receive(reply, 0);
  client.receive(reply, 0);
  t.equal(sentBy(client, MESSAGE_INITIATION).length, 2, 'a repeated cookie reply makes no further initiation');
});
