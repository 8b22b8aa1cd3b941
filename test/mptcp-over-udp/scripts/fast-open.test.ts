/** RFC 7413, TCP Fast Open, with MPTCP as RFC 8684, B has it: data with the SYN stands before the data sequence space. The server's side. */

import { ack, data, fin, RTT_MS, rst, type ScriptHost, script, syn, synAckOfHost } from './script-host.js';

const FAST = { host: { fastOpen: true } };
const EARLY = { host: { fastOpen: true, fastOpenEarlyAnswers: true } };
const WRONG_COOKIE = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

/** A first connection asks for a cookie and is left open; time starts again. */
function cookieFrom(s: ScriptHost): Uint8Array {
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: true }));
  const { fastOpen } = s.expect(0, synAckOfHost({ capable: {}, fastOpen: true }));
  s.inject(RTT_MS, ack({ capable: {} }));
  s.expectNothing(RTT_MS);
  s.restartTime();
  return fastOpen ?? new Uint8Array(0);
}

/** A second one comes with 300 bytes in its SYN, and is open for the application. */
function openFast(s: ScriptHost, cookie = cookieFrom(s)): void {
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: cookie, len: 300 }));
  s.expect(0, synAckOfHost({ capable: {}, ack: 301, fastOpen: false }));
}

function thirdAck(s: ScriptHost, atMs: number): void {
  s.inject(atMs, ack({ capable: {} }));
  s.mptcp = true;
}

// RFC 7413 (4.1.2): a cookie for the asking; the connection itself is opened as ever.
script('a cookie request is answered with a cookie in the SYN/ACK', FAST, (s) => {
  s.equal(cookieFrom(s).length, 8, 'bytes of the cookie');
  s.assert(s.app.established, 'established');
});

script('the cookie is the same for the same client, whatever its port', FAST, (s) => {
  const cookie = cookieFrom(s);
  s.equal(cookieFrom(s).join(), cookie.join(), 'cookie');
});

script('without fastOpen a request is ignored', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: true }));
  s.expect(0, synAckOfHost({ capable: {}, fastOpen: false }));
});

// RFC 7413 (4.2.2) and RFC 9293 (3.10.7.2): data of a SYN is queued or left; here left, to come again.
script('without fastOpen a cookie is ignored, and the data with it', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: WRONG_COOKIE, len: 300 }));
  s.expect(0, synAckOfHost({ capable: {}, ack: 1, fastOpen: false }));
  s.equal(s.app.readBytes, 0, 'bytes read');
  s.inject(RTT_MS, data(300, { seq: 1, capable: {} }));
  s.mptcp = true;
  s.expect(RTT_MS + 25, ack({ ack: 301, dss: { ack: 301 } }));
  s.equal(s.app.readBytes, 300, 'bytes read');
});

script('data with a good cookie is acknowledged by the SYN/ACK and read at once', FAST, (s) => {
  openFast(s);
  s.assert(s.app.established, 'open for the application before the third ACK');
  s.equal(s.app.readBytes, 300, 'bytes read');
  s.equal(s.host.counters['fast-open-accepted'], 1, 'counted');
});

// RFC 8684 (B.2): "the first non-TFO data byte" has IDSN + 1, and SSN 1.
script('what follows the data of the SYN begins at DSN 1 and SSN 1', FAST, (s) => {
  openFast(s);
  thirdAck(s, RTT_MS);
  s.expect(RTT_MS, ack({ ack: 301, dss: { ack: 1 } }));
  s.inject(30, data(200, { seq: 301, dss: { ack: 1, dsn: 1, ssn: 1 } }));
  s.expect(55, ack({ ack: 501, dss: { ack: 201 } }));
  s.equal(s.app.readBytes, 500, 'bytes read');
  s.write(60, 100);
  s.expect(60, data(100, { seq: 1, dss: { ack: 201, dsn: 1, ssn: 1 } }));
  s.inject(80, ack());
});

script('the third ACK may be lost: data with both keys stands for it', FAST, (s) => {
  openFast(s);
  s.inject(RTT_MS, data(200, { seq: 301, capable: {} }));
  s.mptcp = true;
  s.expect(RTT_MS, ack({ ack: 501, dss: { ack: 201 } }), 26);
  s.equal(s.app.readBytes, 500, 'bytes read');
});

// RFC 7413 (4.2.2): the server may send before the third ACK. Errata 6609 of RFC 8684: it cannot acknowledge on the data level, without the client's key.
script('the answer goes before the third ACK, mapped and without a DATA_ACK', EARLY, (s) => {
  openFast(s);
  s.write(5, 100);
  const early = s.expect(5, data(100, { seq: 1, ack: 301, dss: { dsn: 1, ssn: 1, length: 100 } }));
  s.equal(early.mptcp.dss.dataAckBytes, 0, 'bytes of DATA_ACK');
  s.inject(RTT_MS, ack({ ack: 1, capable: {} }));
  s.mptcp = true;
  // Below the window, so that the client answers: it may acknowledge on the data level only now.
  s.expect(RTT_MS, ack({ seq: 100, dss: { ack: 1 } }));
  s.inject(30, ack({ ack: 101, dss: { ack: 101 } }));
  s.expectNothing(5_000);
  s.equal(s.connection.bufferedBytes, 0, 'bytes not acknowledged');
});

// Linux as a client falls back when its first data has no DATA_ACK.
script('by default the answer waits for the third ACK', FAST, (s) => {
  openFast(s);
  s.write(5, 100);
  s.expectNothing(RTT_MS);
  thirdAck(s, RTT_MS);
  s.expect(RTT_MS, data(100, { seq: 1, ack: 301, dss: { ack: 1, dsn: 1, ssn: 1, length: 100 } }));
  s.inject(40, ack());
});

script('the answer may be acknowledged by the third ACK', EARLY, (s) => {
  openFast(s);
  s.write(5, 100);
  s.expect(5, data(100));
  s.inject(30, ack({ ack: 101, capable: {} }));
  s.mptcp = true;
  s.expect(30, ack({ seq: 100, dss: { ack: 1 } }));
  s.inject(50, ack({ ack: 101, dss: { ack: 101 } }));
  s.expectNothing(5_000);
});

script('the answer before the third ACK keeps within the window of the SYN', { ...EARLY, cwndSegments: 50 }, (s) => {
  const cookie = cookieFrom(s);
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: cookie, len: 300, win: 1_500, wscale: 7 }));
  s.expect(0, synAckOfHost({ capable: {}, ack: 301 }));
  s.write(5, 5_000);
  // A DATA_ACK's four bytes are payload as long as there is none.
  s.expect(5, data(1_004));
  s.expect(5, data(496));
  s.expectNothing(19);
  s.inject(20, ack({ ack: 1_501, capable: {}, win: 10 }));
  s.mptcp = true;
  s.expect(20, ack({ seq: 1_500, dss: { ack: 1 } }));
  s.inject(40, ack({ ack: 1_501, dss: { ack: 1_501 }, win: 10 }));
  s.expect(40, data(1_000));
  s.expect(40, data(280));
  s.inject(60, ack({ win: 0 }));
});

// RFC 7413 (4.2.2): "an invalid cookie: ... a regular SYN/ACK with a new cookie".
script('a wrong cookie: the data is not acknowledged, and a fresh cookie given', FAST, (s) => {
  const cookie = cookieFrom(s);
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: WRONG_COOKIE, len: 300 }));
  s.expect(0, synAckOfHost({ capable: {}, ack: 1, fastOpen: cookie }));
  s.assert(!s.app.established, 'not open yet');
  s.inject(RTT_MS, data(300, { seq: 1, capable: {} }));
  s.mptcp = true;
  s.expect(RTT_MS + 25, ack({ ack: 301, dss: { ack: 301 } }));
  s.equal(s.app.readBytes, 300, 'bytes read, once');
});

script('a part of the cookie is a wrong cookie', FAST, (s) => {
  const cookie = cookieFrom(s);
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: cookie.subarray(0, 4), len: 300 }));
  s.expect(0, synAckOfHost({ capable: {}, ack: 1, fastOpen: cookie }));
});

script('a cookie of an odd length is no cookie', FAST, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: new Uint8Array(5), len: 300 }));
  s.expect(0, synAckOfHost({ capable: {}, ack: 1, fastOpen: false }));
});

// RFC 7413 (4.1.2): secrets change; the MUST is that a stale cookie does not keep the connection from being opened.
script('a cookie of the day before is good, and replaced; one of two days before is not', FAST, (s) => {
  const cookie = cookieFrom(s);
  s.advance(86_400_000);
  s.restartTime();
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: cookie, len: 300 }));
  const { fastOpen = cookie } = s.expect(0, synAckOfHost({ capable: {}, ack: 301, fastOpen: true }));
  s.assert(fastOpen.join() !== cookie.join(), 'another cookie');
  thirdAck(s, 10);
  s.expect(10, ack());
  s.advance(86_400_000);
  s.restartTime();
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: cookie, len: 300 }));
  s.expect(0, synAckOfHost({ capable: {}, ack: 1, fastOpen: true }));
  s.inject(10, ack({ ack: 1, capable: {} }));
});

script('a good cookie without data opens the connection too', EARLY, (s) => {
  const cookie = cookieFrom(s);
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: cookie }));
  s.expect(0, synAckOfHost({ capable: {}, ack: 1, fastOpen: false }));
  s.assert(s.app.established, 'open');
  s.write(5, 100);
  s.expect(5, data(100, { seq: 1, ack: 1, dss: { dsn: 1, ssn: 1 } }));
  thirdAck(s, RTT_MS);
  s.expect(RTT_MS, ack({ seq: 100 }));
  s.inject(30, ack({ dss: { ack: 101 } }));
});

script('a lost SYN/ACK is repeated as it was, and the data is read once', FAST, (s) => {
  openFast(s);
  s.expect(300, synAckOfHost({ capable: {}, ack: 301 }));
  thirdAck(s, 310);
  s.expect(310, ack({ ack: 301 }));
  s.equal(s.app.readBytes, 300, 'bytes read');
});

// RFC 7413 (4.1.3.1): the client's repetition has neither data nor option.
script('a SYN repeated without its data gets the same SYN/ACK', FAST, (s) => {
  openFast(s);
  s.inject(200, syn({ seq: 0, capable: {} }));
  s.expect(200, synAckOfHost({ capable: {}, ack: 301 }));
  s.inject(210, syn({ seq: 0, capable: {}, len: 300 }));
  s.expect(210, synAckOfHost({ capable: {}, ack: 301 }));
  s.equal(s.app.readBytes, 300, 'bytes read');
});

script('a connection that is accepted later has its data later', { ...FAST, accept: 'manual' }, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {}, fastOpen: true }));
  s.accept(0);
  const { fastOpen: cookie = WRONG_COOKIE } = s.expect(0, synAckOfHost({ capable: {}, fastOpen: true }));
  s.inject(20, ack({ capable: {} }));
  s.listen();
  s.inject(30, syn({ capable: {}, fastOpen: cookie, len: 300 }));
  s.expectNothing(50);
  s.equal(s.app.readBytes, 0, 'bytes read');
  s.accept(50);
  s.expect(50, synAckOfHost({ capable: {}, ack: 301 }));
  s.equal(s.app.readBytes, 300, 'bytes read');
});

script('a reader that takes nothing has the data later, before all other', FAST, (s) => {
  const cookie = cookieFrom(s);
  s.listen();
  s.app.readLimit = 100;
  s.inject(0, syn({ capable: {}, fastOpen: cookie, len: 300 }));
  s.expect(0, synAckOfHost({ capable: {}, ack: 301 }));
  s.equal(s.app.readBytes, 100, 'bytes read');
  s.inject(RTT_MS, data(200, { seq: 301, capable: {} }));
  s.mptcp = true;
  s.expect(RTT_MS, ack({ ack: 501, dss: { ack: 201 } }), 26);
  s.read(60);
  s.equal(s.app.readBytes, 500, 'bytes read');
});

// RFC 7413 (5.1): a bound on what stands on a cookie alone.
script('beyond the limit of pending connections Fast Open is off', { host: { fastOpen: true, fastOpenPending: 1 } }, (s) => {
  const cookie = cookieFrom(s);
  openFast(s, cookie);
  const first = s.flow;
  const receiverKey = s.hostKeys?.key ?? new Uint8Array(8);
  s.listen();
  s.inject(10, syn({ capable: {}, fastOpen: cookie, len: 300 }));
  s.expect(10, synAckOfHost({ capable: {}, ack: 1, fastOpen: false }));
  s.equal(s.host.counters['fast-open-too-many-pending'], 1, 'counted');
  s.inject(20, ack({ ack: 1, capable: {} }));
  // The first is pending no more: there is room for another.
  first.inject(20, ack({ capable: { receiverKey } }));
  first.expect(20, ack());
  s.listen();
  s.inject(30, syn({ capable: {}, fastOpen: cookie, len: 300 }));
  s.expect(30, synAckOfHost({ capable: {}, ack: 301 }));
});

// RFC 7413 (5.1): the SYN's source may be the victim, whose RST must not make room for the next.
script('a pending connection that is reset counts for a minute', { host: { fastOpen: true, fastOpenPending: 1 } }, (s) => {
  const cookie = cookieFrom(s);
  openFast(s, cookie);
  s.inject(5, rst());
  s.equal(s.app.closed, 'reset', 'closed');
  s.listen();
  s.inject(59_000, syn({ capable: {}, fastOpen: cookie, len: 300 }));
  s.expect(59_000, synAckOfHost({ capable: {}, ack: 1 }));
  s.inject(59_010, rst({ seq: 1 }));
  s.listen();
  s.inject(60_010, syn({ capable: {}, fastOpen: cookie, len: 300 }));
  s.expect(60_010, synAckOfHost({ capable: {}, ack: 301 }));
});

script('a third ACK that never comes ends the connection', FAST, (s) => {
  openFast(s);
  for (const at of [300, 900, 2_100, 4_500, 9_300, 18_900]) s.expect(at, synAckOfHost({ capable: {}, ack: 301 }), 2);
  s.advance(60_000);
  s.equal(s.app.closed, 'timeout', 'closed');
});

// RFC 8684 (B.2): the data of the SYN is outside of the DSN space, so that all that is within has a checksum.
script('with checksums: the data of the SYN has none, all that follows has', EARLY, (s) => {
  const cookie = cookieFrom(s);
  s.listen();
  s.inject(0, syn({ capable: { flags: 0x81 }, fastOpen: cookie, len: 300 }));
  s.expect(0, synAckOfHost({ capable: { flags: 0x81 }, ack: 301 }));
  s.checksums = true;
  s.write(5, 100);
  s.expect(5, data(100, { dss: { dsn: 1, ssn: 1, checksum: true } }));
  s.inject(RTT_MS, ack({ capable: { flags: 0x81 } }));
  s.mptcp = true;
  s.expect(RTT_MS, ack({ dss: { ack: 1 } }));
  s.inject(30, data(200));
  s.expect(55, ack({ ack: 501, dss: { ack: 201 } }));
  s.equal(s.app.readBytes, 500, 'bytes read');
  s.write(60, 100);
  s.expect(60, data(100, { dss: { dsn: 101, ssn: 101, checksum: true } }));
  s.inject(80, ack());
});

script('plain TCP: data with the SYN, data both ways, both FINs', FAST, (s) => {
  const cookie = cookieFrom(s);
  s.listen();
  s.inject(0, syn({ fastOpen: cookie, len: 300 }));
  s.expect(0, synAckOfHost({ plain: true, ack: 301, fastOpen: false }));
  s.equal(s.app.readBytes, 300, 'bytes read');
  s.write(5, 100);
  s.expect(5, data(100, { seq: 1, ack: 301, plain: true }));
  s.inject(RTT_MS, ack({ ack: 101 }));
  s.inject(30, data(200, { seq: 301 }));
  s.expect(55, ack({ ack: 501, plain: true }));
  s.equal(s.app.readBytes, 500, 'bytes read');
  s.equal(s.connection.bufferedBytes, 0, 'bytes not acknowledged');
  s.inject(60, fin());
  s.expect(60, ack({ ack: 502, plain: true }));
  s.assert(s.app.ended, 'ended');
  s.finish(70);
  s.expect(70, fin({ seq: 101, ack: 502, plain: true }));
  s.inject(80, ack({ ack: 102 }));
  s.equal(s.app.closed, 'finished', 'closed');
});

// RFC 8684 (3.7): a third ACK without MP_CAPABLE.
script('fallback after the data of the SYN: both streams go on where they were', EARLY, (s) => {
  openFast(s);
  s.write(5, 100);
  s.expect(5, data(100, { dss: { dsn: 1 } }));
  s.inject(RTT_MS, ack({ ack: 101 }));
  s.assert(s.connection.fallback, 'fallen back');
  s.inject(30, data(200, { seq: 301 }));
  s.expect(55, ack({ ack: 501, plain: true }));
  s.equal(s.app.readBytes, 500, 'bytes read');
  s.write(60, 50);
  s.expect(60, data(50, { seq: 101, plain: true }));
  s.inject(80, ack({ ack: 151 }));
  s.equal(s.connection.bufferedBytes, 0, 'bytes not acknowledged');
});

// RFC 8684 (B): Fast Open is for the initial subflow; the SYN of a join has no data.
script('a join with cookie and data: neither counts', { ...FAST, paths: 2 }, (s) => {
  const cookie = cookieFrom(s);
  s.mptcp = true;
  const flow = s.joinFlow(1);
  flow.inject(0, syn({ join: {}, fastOpen: cookie, len: 100 }));
  flow.expect(0, synAckOfHost({ join: {}, ack: 1, fastOpen: false }));
  flow.inject(RTT_MS, ack({ seq: 1, join: {} }));
  flow.expect(RTT_MS, ack({ ack: 1, dss: { ack: 1 } }));
  s.equal(s.app.readBytes, 0, 'bytes read');
});

script('with timestamps the cookie is as long as there is room', { host: { fastOpen: true, timestamps: true } }, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {}, ts: { value: 1 }, fastOpen: true }));
  const sent = s.expect(0, synAckOfHost({ capable: {}, ts: {}, fastOpen: true, sackOk: true }));
  s.equal(sent.fastOpen?.length, 4, 'bytes of the cookie');
  s.equal(sent.optionBytes, 40, 'bytes of options');
  s.inject(5, ack({ capable: {}, ts: { value: 2 } }));
  s.listen();
  s.inject(10, syn({ capable: {}, ts: { value: 3 }, fastOpen: sent.fastOpen ?? true, len: 300 }));
  s.expect(10, synAckOfHost({ capable: {}, ack: 301, ts: {} }));
});

script('IPv6', { ...FAST, ipv6: true }, (s) => {
  openFast(s);
  thirdAck(s, RTT_MS);
  s.expect(RTT_MS, ack({ ack: 301, dss: { ack: 1 } }));
  s.equal(s.app.readBytes, 300, 'bytes read');
});
