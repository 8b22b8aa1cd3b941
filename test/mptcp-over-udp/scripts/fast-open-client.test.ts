/** RFC 7413, TCP Fast Open, with MPTCP as RFC 8684, B has it. The client's side: asking for a cookie, and sending data with the SYN. */

import {
  ack,
  data,
  fin,
  MTU_BYTES,
  RTT_MS,
  rst,
  type ScriptHost,
  type SegmentSpec,
  script,
  syn,
  synAck,
  synAckOfHost,
  synOfHost,
} from './script-host.js';

const REQUEST = new Uint8Array(0);
const COOKIE = Uint8Array.of(0xc0, 0x0c, 0x1e, 4, 5, 6, 7, 8);
const NEW_COOKIE = Uint8Array.of(0xc0, 0x0c, 0x1e, 4, 5, 6, 7, 9);

/** A first connection brings a cookie home, and is left open; time starts again. */
function learnCookie(s: ScriptHost, options: Partial<SegmentSpec> = {}): void {
  s.connectFast(0);
  s.expect(0, synOfHost({ capable: {}, fastOpen: REQUEST }));
  s.inject(RTT_MS, synAck({ capable: {}, fastOpen: COOKIE, ...options }));
  s.expect(RTT_MS, ack({ capable: { length: 20 } }));
  s.mptcp = true;
  s.inject(RTT_MS, ack());
  s.restartTime();
}

// RFC 7413 (4.1.3): without a cookie there is no data in the SYN, whatever was written.
script('the first connection asks for a cookie, and sends its data after the handshake', (s) => {
  s.connectFast(0, 300);
  const sent = s.expect(0, synOfHost({ len: 0, capable: { length: 4 }, fastOpen: REQUEST, mss: MTU_BYTES - 40, sackOk: true, wscale: 10 }));
  s.assert(sent.optionBytes <= 40, 'options fit');
  s.inject(RTT_MS, synAck({ capable: {}, fastOpen: COOKIE }));
  s.expect(RTT_MS, ack({ seq: 1, capable: { length: 20 } }));
  s.expect(RTT_MS, data(300, { seq: 1, capable: { length: 22, dataLength: 300 } }));
  s.mptcp = true;
  s.inject(40, ack({ dss: { ack: 301 } }));
});

script('without fastOpen the SYN has no such option', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {}, fastOpen: false }));
});

script('the next connection sends what was written with its SYN', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: { length: 4 }, fastOpen: COOKIE }));
  s.inject(RTT_MS, synAck({ ack: 301, capable: {} }));
  s.expect(RTT_MS, ack({ seq: 301, capable: { length: 20 } }));
  s.equal(s.connection.bufferedBytes, 0, 'bytes not acknowledged');
  s.equal(s.host.counters['fast-open-data-taken'], 1, 'counted');
  s.expectNothing(1_000);
});

// RFC 8684 (B.2)
script('what follows begins at DSN 1 and SSN 1', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {} }));
  s.inject(RTT_MS, synAck({ ack: 301, capable: {} }));
  s.expect(RTT_MS, ack({ seq: 301, capable: {} }));
  s.write(25, 200);
  s.expect(25, data(200, { seq: 301, capable: { length: 22, dataLength: 200 } }));
  s.mptcp = true;
  s.inject(45, ack({ ack: 501, dss: { ack: 201 } }));
  s.write(50, 100);
  s.expect(50, data(100, { seq: 501, dss: { dsn: 201, ssn: 201, length: 100 } }));
  s.inject(70, ack());
  s.equal(s.connection.bufferedBytes, 0, 'bytes not acknowledged');
});

script('what does not fit the SYN follows the handshake', (s) => {
  learnCookie(s);
  s.connectFast(0, 2_000);
  // RFC 7413 (4.2.1): the MSS less all the options that there may be.
  s.expect(0, synOfHost({ len: MTU_BYTES - 80, capable: {}, fastOpen: COOKIE }));
  s.inject(RTT_MS, synAck({ ack: 985, capable: {} }));
  s.expect(RTT_MS, ack({ seq: 985, capable: {} }));
  s.expect(RTT_MS, data(1_000, { seq: 985, capable: { dataLength: 1_016 } }));
  s.expect(RTT_MS, data(16, { seq: 1_985, capable: { dataLength: 1_016 } }));
  s.mptcp = true;
  s.inject(40, ack({ dss: { ack: 1_017 } }));
});

// RFC 7413 (4.1.3): the MSS is remembered with the cookie.
script('the MSS that the server announced before bounds the data of the SYN', (s) => {
  learnCookie(s, { mss: 600 });
  s.connectFast(0, 2_000);
  s.expect(0, synOfHost({ len: 560, capable: {}, mss: MTU_BYTES - 40 }));
  s.inject(RTT_MS, rst({ flags: 0x14, seq: 0, ack: 561 }));
  s.equal(s.app.closed, 'refused', 'closed');
});

script('data that is acknowledged in part: the rest is sent after the handshake', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {}, fastOpen: COOKIE }));
  s.inject(RTT_MS, synAck({ ack: 101, capable: {} }));
  s.expect(RTT_MS, ack({ seq: 101, capable: { length: 20 } }));
  s.expect(RTT_MS, data(200, { seq: 101, capable: { length: 22, dataLength: 200 } }));
  s.mptcp = true;
  s.inject(40, ack({ ack: 301, dss: { ack: 201 } }));
  s.write(50, 10);
  s.expect(50, data(10, { seq: 301, dss: { dsn: 201, ssn: 201 } }));
  s.inject(70, ack());
});

script('data that is not acknowledged is sent again, and the new cookie used from then on', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {}, fastOpen: COOKIE }));
  s.inject(RTT_MS, synAck({ ack: 1, capable: {}, fastOpen: NEW_COOKIE }));
  s.expect(RTT_MS, ack({ seq: 1, capable: { length: 20 } }));
  s.expect(RTT_MS, data(300, { seq: 1, capable: { length: 22, dataLength: 300 } }));
  s.equal(s.host.counters['fast-open-data-not-taken'], 1, 'counted');
  s.mptcp = true;
  s.inject(40, ack({ ack: 301, dss: { ack: 301 } }));
  s.connectFast(50, 10);
  s.expect(50, synOfHost({ len: 10, capable: {}, fastOpen: NEW_COOKIE }));
});

script('a SYN/ACK that acknowledges more than there was is answered with RST', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {} }));
  s.inject(RTT_MS, synAck({ ack: 302, capable: {} }));
  s.expect(RTT_MS, rst({ seq: 302 }));
  s.inject(30, synAck({ seq: 0, ack: 301, capable: {} }));
  s.expect(30, ack({ seq: 301, capable: {} }));
});

// RFC 7413 (4.1.3.1)
script('a lost SYN is repeated without data and option, and Fast Open is left for a while', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {}, fastOpen: COOKIE }));
  s.expect(300, synOfHost({ len: 0, capable: {}, fastOpen: false }));
  s.inject(320, synAck({ ack: 1, capable: {} }));
  s.expect(320, ack({ seq: 1, capable: {} }));
  s.expect(320, data(300, { seq: 1, capable: { dataLength: 300 } }));
  s.mptcp = true;
  s.inject(340, ack({ ack: 301, dss: { ack: 301 } }));
  s.connectFast(400, 10);
  s.expect(400, synOfHost({ len: 0, capable: {}, fastOpen: false }));
  s.inject(410, synAck({ ack: 1 }));
  s.expect(410, ack({ plain: true }));
  s.expect(410, data(10));
  s.inject(420, ack());
  s.connectFast(700_000, 10);
  s.expect(700_000, synOfHost({ len: 10, capable: {}, fastOpen: COOKIE }));
});

script('a lost SYN/ACK: the data was taken, and is not sent again', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {}, fastOpen: COOKIE }));
  s.expect(300, synOfHost({ len: 0, capable: {}, fastOpen: false }));
  s.inject(320, synAck({ ack: 301, capable: {} }));
  s.expect(320, ack({ seq: 301, capable: {} }));
  s.connectFast(400, 10);
  s.expect(400, synOfHost({ len: 10, capable: {}, fastOpen: COOKIE }));
});

script('a cookie without data to send: the SYN has the cookie alone', (s) => {
  learnCookie(s);
  s.connectFast(0);
  s.expect(0, synOfHost({ len: 0, capable: {}, fastOpen: COOKIE }));
  s.inject(RTT_MS, synAck({ capable: {} }));
  s.expect(RTT_MS, ack({ seq: 1, capable: {} }));
});

// Errata 6609 of RFC 8684: M = 1, A = 0, until the server has the client's key.
script("the server's data may come before it has the third ACK", (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {} }));
  s.inject(RTT_MS, synAck({ ack: 301, capable: {} }));
  s.expect(RTT_MS, ack({ seq: 301, capable: { length: 20 } }));
  s.mptcp = true;
  s.inject(21, data(100, { dss: { dsn: 1, ssn: 1 } }));
  // No DATA_ACK of the server's: it may still want our keys.
  s.expect(46, ack({ ack: 101, capable: { length: 20 } }));
  s.equal(s.app.readBytes, 100, 'bytes read');
  s.inject(50, ack({ seq: 100, dss: { ack: 1 } }));
  s.expect(50, ack({ ack: 101, dss: { ack: 101 } }));
});

script('with checksums: the first mapping has one, over what has a DSN', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {} }));
  s.inject(RTT_MS, synAck({ ack: 301, capable: { flags: 0x81 } }));
  s.checksums = true;
  s.expect(RTT_MS, ack({ seq: 301, capable: {} }));
  s.write(25, 200);
  s.expect(25, data(200, { seq: 301, capable: { length: 24, dataLength: 200, checksum: true } }));
  s.mptcp = true;
  s.inject(45, ack({ ack: 501, dss: { ack: 201 } }));
  s.write(50, 100);
  s.expect(50, data(100, { seq: 501, dss: { dsn: 201, ssn: 201, checksum: true } }));
  s.inject(70, ack());
});

script('a server without MPTCP takes the data: plain TCP from there', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {} }));
  s.inject(RTT_MS, synAck({ ack: 301 }));
  s.expect(RTT_MS, ack({ seq: 301, plain: true }));
  s.write(25, 200);
  s.expect(25, data(200, { seq: 301, plain: true }));
  s.inject(45, ack({ ack: 501 }));
  s.equal(s.connection.bufferedBytes, 0, 'bytes not acknowledged');
  s.inject(50, data(100));
  s.expect(75, ack({ ack: 101, plain: true }));
});

script('plain TCP: data with the SYN, data both ways, both FINs', (s) => {
  learnCookie(s);
  s.connectFast(0, 300, 'tcp');
  s.expect(0, synOfHost({ len: 300, plain: true, fastOpen: COOKIE }));
  s.inject(RTT_MS, synAck({ ack: 301 }));
  s.expect(RTT_MS, ack({ seq: 301, plain: true }));
  s.write(25, 200);
  s.expect(25, data(200, { seq: 301, plain: true }));
  s.inject(45, ack({ ack: 501 }));
  s.finish(50);
  s.expect(50, fin({ seq: 501, plain: true }));
  s.inject(60, fin({ ack: 502 }));
  s.expect(60, ack({ ack: 2, plain: true }));
  s.advance(2_000);
  s.equal(s.app.closed, 'finished', 'closed');
});

script('with timestamps a cookie that leaves no room is not used', { host: { timestamps: true } }, (s) => {
  learnCookie(s, { fastOpen: new Uint8Array(16).fill(7) });
  s.connectFast(0, 300);
  const sent = s.expect(0, synOfHost({ len: 0, capable: {}, ts: {}, fastOpen: false }));
  s.assert(sent.optionBytes <= 40, 'options fit');
});

script('with timestamps a cookie of eight bytes fits', { host: { timestamps: true } }, (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  const sent = s.expect(0, synOfHost({ len: 300, capable: {}, ts: {}, fastOpen: COOKIE }));
  s.assert(sent.optionBytes <= 40, 'options fit');
});

// RFC 8684 (B): "TFO ... on the initial subflow".
script('the SYN of a join has neither cookie nor data', { paths: 2 }, (s) => {
  learnCookie(s);
  s.unclaim();
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {} }));
  s.inject(RTT_MS, synAck({ ack: 301, capable: {} }));
  s.expect(RTT_MS, ack({ capable: {} }));
  s.mptcp = true;
  s.write(25, 2_000);
  s.advance(26);
  s.unclaim();
  s.flow.unexpected.length = 0;
  s.inject(45, ack({ dss: { ack: 2_001 } }));
  s.expectJoinSyn(45, 1, synOfHost({ len: 0, join: {}, fastOpen: false }));
});

// RFC 9293 (3.5): neither side has acknowledged the other's data: it goes again.
script('SYNs that cross: the data goes after the handshake', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {} }));
  s.inject(10, syn({ seq: 0 }));
  s.expect(10, synAckOfHost({ plain: true, len: 0 }));
  s.inject(20, synAck({ seq: 0, ack: 1 }));
  s.advance(21);
  const sent = s.flow.unexpected.splice(0).filter(({ payload }) => payload.length > 0);
  s.equal(sent[0]?.payload.length, 300, 'payload');
  s.inject(30, ack({ ack: 301 }));
  s.equal(s.connection.bufferedBytes, 0, 'bytes not acknowledged');
});

script('an abort before the SYN/ACK leaves nothing behind', (s) => {
  learnCookie(s);
  s.connectFast(0, 300);
  s.expect(0, synOfHost({ len: 300, capable: {} }));
  s.abort(10);
  s.expectNothing(1_000);
  s.equal(s.app.closed, 'aborted', 'closed');
});
