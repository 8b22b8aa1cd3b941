/** RFC 8684, 3.4.1: ADD_ADDR, its HMAC, its echo, its repetition. */

import { ack, data, fin, rst, type ScriptHost, script } from './script-host.js';

const TWO = { paths: 2 };
const V4 = Uint8Array.of(192, 0, 2, 7);
const V6 = Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7);

function announce(s: ScriptHost, atMs: number, address: Uint8Array, port = 0, addressId = 3): void {
  s.act(atMs, `announce id ${addressId}`, () => s.connection.addresses.announce({ addressId, address, port }, s.clock.nowMs));
}

// RFC 8684 (3.4.1): the rightmost 64 bits of HMAC(Key-sender || Key-receiver, id || address || port 0), which the harness verifies.
script('an IPv4 address is announced with its HMAC', (s) => {
  s.server();
  announce(s, 0, V4);
  s.expect(0, ack({ addAddr: { id: 3, address: V4, port: 0 } }));
  s.inject(20, ack({ addAddr: { id: 3, address: V4, echo: true } }));
  s.expectNothing(20_000);
});

// Linux echoes on an ACK of its own, without a DSS; it may come before any DSS and acknowledge data: nothing has been stripped.
script('an echo without DSS before the first DSS is no fallback', (s) => {
  s.server();
  announce(s, 0, V4);
  s.expect(0, ack({ addAddr: { id: 3 } }));
  s.write(5, 100);
  s.expect(5, data(100));
  s.inject(20, ack({ plain: true, addAddr: { id: 3, address: V4, echo: true } }));
  s.assert(!s.connection.fallback, 'no fallback');
  s.inject(21, ack({ dss: { ack: 101 } }));
  s.expectNothing(20_000);
});

script('an IPv6 address is announced with its HMAC', (s) => {
  s.server();
  announce(s, 0, V6);
  s.expect(0, ack({ addAddr: { id: 3, address: V6, port: 0 } }));
  s.inject(20, ack({ plain: true, addAddr: { id: 3, address: V6, echo: true } }));
  s.expectNothing(20_000);
});

script('the port is announced where it is another, and is part of the HMAC', (s) => {
  s.server();
  announce(s, 0, V4, 8_443);
  s.expect(0, ack({ addAddr: { id: 3, address: V4, port: 8_443 } }));
  s.inject(20, ack({ addAddr: { id: 3, address: V4, port: 8_443, echo: true } }));
  s.expectNothing(20_000);
});

script('an IPv6 address with port fits into one segment', (s) => {
  s.server();
  announce(s, 0, V6, 8_443);
  const sent = s.expect(0, ack({ addAddr: { id: 3, address: V6, port: 8_443 } }));
  s.assert(sent.optionBytes <= 40, `${sent.optionBytes} bytes of options`);
  s.inject(20, ack({ plain: true, addAddr: { id: 3, address: V6, port: 8_443, echo: true } }));
  s.expectNothing(20_000);
});

// RFC 8684 (3.4.1): "sent reliably": repeated until echoed; Linux three times.
script('ADD_ADDR without echo is repeated, then given up', (s) => {
  s.server();
  announce(s, 0, V4);
  s.expect(0, ack({ addAddr: { id: 3 } }));
  s.expect(1_000, ack({ addAddr: { id: 3, address: V4 } }));
  s.expect(2_000, ack({ addAddr: { id: 3, address: V4 } }));
  s.expectNothing(60_000);
});

script('the echo ends the repetition', (s) => {
  s.server();
  announce(s, 0, V4);
  s.expect(0, ack({ addAddr: { id: 3 } }));
  s.expect(1_000, ack({ addAddr: { id: 3 } }));
  s.inject(1_020, ack({ addAddr: { id: 3, address: V4, echo: true } }));
  s.expectNothing(60_000);
});

script('the echo of another id does not end it', (s) => {
  s.server();
  announce(s, 0, V4);
  s.expect(0, ack({ addAddr: { id: 3 } }));
  s.inject(20, ack({ addAddr: { id: 4, address: V4, echo: true } }));
  s.expect(1_000, ack({ addAddr: { id: 3 } }));
  s.inject(1_020, ack({ addAddr: { id: 3, address: V4, echo: true } }));
  s.expectNothing(60_000);
});

script('two addresses are announced in two segments', (s) => {
  s.server();
  s.act(0, 'announce ids 3 and 4', () => {
    s.connection.addresses.announce({ addressId: 3, address: V4, port: 0 }, s.clock.nowMs);
    s.connection.addresses.announce({ addressId: 4, address: V6, port: 0 }, s.clock.nowMs);
  });
  s.expect(0, ack({ addAddr: { id: 3, address: V4 } }));
  s.expect(0, ack({ addAddr: { id: 4, address: V6 } }));
  s.inject(20, ack({ addAddr: { id: 3, address: V4, echo: true } }));
  s.inject(20, ack({ plain: true, addAddr: { id: 4, address: V6, echo: true } }));
  s.expectNothing(60_000);
});

// RFC 8684 (3.2): id 0 is the address of the initial subflow.
script('id 0 is not for announcements', (s) => {
  s.server();
  let thrown = false;
  try {
    s.connection.addresses.announce({ addressId: 0, address: V4, port: 0 }, s.clock.nowMs);
  } catch (error) {
    thrown = error instanceof RangeError;
  }
  s.assert(thrown, 'RangeError');
  s.expectNothing(5_000);
});

// RFC 8684 (3.4.1): "the receiver ... echoes the option with E set, without HMAC".
script('an announced address is echoed and reported', (s) => {
  s.server();
  s.inject(0, ack({ addAddr: { id: 5, address: V4 } }));
  s.expect(0, ack({ addAddr: { id: 5, address: V4, echo: true, port: 0 } }));
  s.equal(s.events.join(), 'announced id 5 192.0.2.7 port 0', 'events');
  s.expectNothing(20_000);
});

script('an announced address with port is echoed with its port', (s) => {
  s.server();
  s.inject(0, ack({ addAddr: { id: 5, address: V4, port: 99 } }));
  s.expect(0, ack({ addAddr: { id: 5, address: V4, echo: true, port: 99 } }));
  s.equal(s.events.join(), 'announced id 5 192.0.2.7 port 99', 'events');
});

script('an announced IPv6 address is echoed', (s) => {
  s.server();
  s.inject(0, ack({ plain: true, addAddr: { id: 5, address: V6 } }));
  s.expect(0, ack({ addAddr: { id: 5, address: V6, echo: true } }));
});

script('an address announced again is echoed again', (s) => {
  s.server();
  s.inject(0, ack({ addAddr: { id: 5, address: V4 } }));
  s.expect(0, ack({ addAddr: { id: 5, echo: true } }));
  s.inject(1_000, ack({ addAddr: { id: 5, address: V4 } }));
  s.expect(1_000, ack({ addAddr: { id: 5, echo: true } }));
});

// RFC 8684 (3.4.1): with a wrong HMAC "MUST silently drop".
script('ADD_ADDR with a wrong HMAC is dropped', (s) => {
  s.server();
  s.inject(0, ack({ addAddr: { id: 5, address: V4, hmac: new Uint8Array(8) } }));
  s.expectNothing(5_000);
  s.equal(s.events.length, 0, 'events');
});

script('ADD_ADDR whose HMAC was made for another port is dropped', (s) => {
  s.server();
  const hmac = s.addAddrHmac(5, V4, 0);
  s.inject(0, ack({ addAddr: { id: 5, address: V4, port: 99, hmac } }));
  s.expectNothing(5_000);
  s.equal(s.events.length, 0, 'events');
});

script('ADD_ADDR whose HMAC was made for another id is dropped', (s) => {
  s.server();
  const hmac = s.addAddrHmac(6, V4, 0);
  s.inject(0, ack({ addAddr: { id: 5, address: V4, hmac } }));
  s.expectNothing(5_000);
});

// RFC 8684 (3.4.1): it may ride on any segment that has room.
script('ADD_ADDR beside a mapping is taken, and the data read', (s) => {
  s.server();
  s.inject(0, data(100, { dss: { dsn: 1, dsnBytes: 4 }, addAddr: { id: 5, address: V4 } }));
  s.expect(0, ack({ ack: 101, dss: { ack: 101 }, addAddr: { id: 5, echo: true } }));
  s.equal(s.app.readBytes, 100, 'bytes read');
});

// Trap: it can arrive right after the third ACK.
script('ADD_ADDR right after the third ACK is taken', (s) => {
  s.server();
  s.inject(0, ack({ plain: true, addAddr: { id: 5, address: V4 } }));
  s.expect(0, ack({ addAddr: { id: 5, echo: true } }));
  s.inject(1, data(100));
  s.expect(26, ack({ dss: { ack: 101 } }));
});

script('ADD_ADDR in fallback is ignored', (s) => {
  s.plainServer();
  s.inject(0, ack({ addAddr: { id: 5, address: V4 } }));
  s.expectNothing(5_000);
  s.equal(s.events.length, 0, 'events');
});

script('nothing is announced in fallback', (s) => {
  s.plainServer();
  announce(s, 0, V4);
  s.expectNothing(5_000);
});

script('the announcement goes on another subflow when the first is gone', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.inject(25, rst());
  announce(s, 30, V4);
  flow.expect(30, ack({ addAddr: { id: 3, address: V4 } }));
  flow.inject(50, ack({ addAddr: { id: 3, address: V4, echo: true } }));
  s.expectNothing(60_000);
});

script('after the close nothing is announced any more', (s) => {
  s.server();
  announce(s, 0, V4);
  s.expect(0, ack({ addAddr: { id: 3 } }));
  s.finish(10);
  s.expect(10, ack({ dss: { dsn: 1, fin: true } }));
  s.inject(30, ack({ dss: { ack: 2, dsn: 1, fin: true } }));
  s.expect(30, fin({ dss: {} }));
  s.inject(50, fin());
  s.expect(50, ack());
  s.expectNothing(60_000);
});
