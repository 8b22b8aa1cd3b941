/** RFC 8684, 3.7: MP_FAIL and the infinite mapping. */

import { ack, data, FULL, rst, type ScriptHost, script } from './script-host.js';

const PEER_ASKS = { capableFlags: 0x81 };
const TWO = { paths: 2 };

/** MPTCP with checksums, proved by data in both directions: 100 bytes each. */
function proved(s: ScriptHost): void {
  s.server(PEER_ASKS);
  s.inject(0, data(100));
  s.expect(25, ack({ dss: { ack: 101 } }));
  s.write(30, 100);
  s.expect(30, data(100));
  s.inject(50, ack());
  s.restartTime();
}

/** 500 bytes of the peer's, of which the middle one is changed: the reader gets them so. */
function damaged(s: ScriptHost): void {
  proved(s);
  s.app.damagedAt = 350;
  s.inject(0, data(500, { corrupt: true }));
  s.expect(0, ack({ dss: { ack: 601 }, fail: { dsn: 101 } }));
  s.equal(s.app.readBytes, 600, 'bytes read');
  s.assert(s.app.damageSeen, 'the changed byte is read');
}

// RFC 8684 (3.7): with one subflow MP_FAIL tells the DSN of the failed mapping; the infinite mapping is retroactive: its data is kept.
script('a bad checksum on the only subflow is answered with MP_FAIL of its DSN, and its data is kept', (s) => {
  damaged(s);
  s.expectNothing(5_000);
  s.assert(s.app.closed === undefined, 'the connection lives on');
});

// RFC 8684 (3.7): with several subflows: RST with MP_FAIL, the data comes by another.
script('a bad checksum on one of two subflows resets it with MP_FAIL', TWO, (s) => {
  s.server(PEER_ASKS);
  const flow = s.peerJoins(0);
  flow.inject(30, data(500, { corrupt: true }));
  flow.expect(30, rst({ fail: { dsn: 1 }, tcpRst: { reason: 6 } }));
  s.equal(s.app.readBytes, 0, 'bytes read');
  s.inject(50, data(500, { dss: { ack: 1, dsn: 1, checksum: true } }));
  s.expect(75, ack({ dss: { ack: 501 } }));
  s.equal(s.app.readBytes, 500, 'bytes read');
});

script('data after the failed mapping is read, under its mappings and under the infinite one', (s) => {
  damaged(s);
  s.inject(5, data(500));
  s.expect(30, ack({ dss: { ack: 1_101 } }));
  // RFC 8684 (3.3.1): length 0, checksum 0.
  s.inject(41, data(FULL, { dss: { ack: 101, dsn: 1_101, length: 0, checksum: 0 } }));
  s.expect(66, ack({ plain: true }));
  s.inject(81, data(FULL, { plain: true, payloadAt: 1_101 + FULL }));
  s.expect(106, ack({ plain: true }));
  s.equal(s.app.readBytes, 1_100 + 2 * FULL, 'bytes read');
  s.assert(s.connection.fallback, 'fallback');
});

script('an infinite mapping that repeats the damaged data gives nothing twice', (s) => {
  damaged(s);
  s.inject(41, data(500, { dss: { ack: 101, dsn: 101, length: 0, checksum: 0 } }));
  s.advance(80);
  s.flow.unexpected.length = 0;
  s.equal(s.app.readBytes, 600, 'bytes read');
  s.inject(81, data(FULL, { plain: true, payloadAt: 601 }));
  s.advance(120);
  s.flow.unexpected.length = 0;
  s.equal(s.app.readBytes, 600 + FULL, 'bytes read');
});

// MP_FAIL rides on a pure ACK, which may be lost.
script('MP_FAIL is repeated while the peer goes on with its mappings, once in a timeout', (s) => {
  damaged(s);
  s.inject(5, data(500));
  s.expect(30, ack({ dss: { ack: 1_101 } }));
  s.inject(1_000, data(500));
  s.expect(1_000, ack({ dss: { ack: 1_601 }, fail: { dsn: 101 } }));
  s.equal(s.app.readBytes, 1_600, 'bytes read');
});

script('until the infinite mapping of the peer the host goes on with its mappings, after it the host sends no option', (s) => {
  damaged(s);
  s.write(5, 100);
  s.expect(5, data(100, { dss: { dsn: 101 } }));
  s.inject(20, data(500, { dss: { ack: 201, dsn: 601, length: 0, checksum: 0 } }));
  s.expect(45, ack({ plain: true, ack: 1_101 }));
  s.write(50, 300);
  s.expect(50, data(300, { plain: true, seq: 201 }));
  s.inject(70, ack({ plain: true }));
  s.expectNothing(10_000);
});

script('data without a mapping after MP_FAIL is fallback', (s) => {
  damaged(s);
  s.inject(5, data(500, { plain: true, payloadAt: 601 }));
  s.expect(30, ack({ plain: true }));
  s.equal(s.app.readBytes, 1_100, 'bytes read');
  s.assert(s.connection.fallback, 'fallback');
});

/** The peer got [101, 101 + bytes) changed, kept it, and says so; the host's next data begins the infinite mapping. */
function failed(s: ScriptHost, bytes: number): void {
  proved(s);
  s.write(0, bytes);
  s.expect(0, data(bytes, { dss: { dsn: 101 } }));
  s.inject(20, ack({ dss: { ack: 101 + bytes }, fail: { dsn: 101 } }));
  // Linux resets a connection whose MP_FAIL is not answered in kind.
  s.expect(20, ack({ fail: { dsn: 101 } }));
}

// RFC 8684 (3.7): the infinite mapping acts retroactively: nothing goes again.
script('MP_FAIL is answered by MP_FAIL, and by an infinite mapping of the next data', (s) => {
  failed(s, FULL);
  s.expectNothing(5_000);
  s.assert(!s.connection.fallback, 'nothing to send: no fallback yet');
  s.write(5_000, 2 * FULL);
  s.expect(5_000, data(FULL, { seq: 1_101, dss: { dsn: 1_101, ssn: 1_101, length: 0, checksum: 0 } }));
  s.expect(5_000, data(FULL, { seq: 2_101, dss: { dsn: 1_101, ssn: 1_101, length: 0, checksum: 0 } }));
  s.inject(5_020, ack({ plain: true, ack: 3_101 }));
  s.write(5_050, 300);
  s.expect(5_050, data(300, { plain: true, seq: 3_101 }));
  s.inject(5_070, ack({ plain: true }));
  s.expectNothing(10_000);
  s.assert(s.connection.fallback, 'fallback');
});

// The peer has no infinite mapping yet: what comes before it must be found without.
script('what was sent before the infinite mapping is retransmitted under its own mapping', (s) => {
  proved(s);
  s.write(0, FULL);
  s.expect(0, data(FULL, { dss: { dsn: 101 } }));
  s.write(1, FULL);
  s.expect(1, data(FULL, { dss: { dsn: 1_101 } }));
  s.inject(20, ack({ ack: 1_101, dss: { ack: 1_101 }, fail: { dsn: 101 } }));
  s.expect(20, ack({ fail: { dsn: 101 } }));
  s.write(21, FULL);
  s.expect(21, data(FULL, { dss: { dsn: 2_101, length: 0 } }));
  s.inject(60, ack({ ack: 1_101, dss: { ack: 1_101 }, sack: [[2_101, 3_101]] }));
  s.advance(80);
  const again = s.flow.unexpected.find((sent) => sent.payload.length > 0);
  s.equal(again?.mptcp.dss.dataLength, FULL, 'length of the mapping');
  s.flow.unexpected.length = 0;
  s.inject(100, ack({ plain: true, ack: 3_101 }));
  s.expectNothing(10_000);
});

// Linux stalls here; both directions must go on.
script('after MP_FAIL the other direction goes on too', (s) => {
  failed(s, 100);
  s.inject(30, data(200));
  s.expect(55, ack({ dss: { ack: 301 } }));
  s.write(60, 100);
  s.expect(60, data(100, { dss: { dsn: 201, length: 0 } }));
  s.inject(80, data(200, { plain: true, payloadAt: 301 }));
  s.expect(105, ack({ plain: true }));
  s.equal(s.app.readBytes, 500, 'bytes read');
});

script('MP_FAIL beyond what was sent is ignored', (s) => {
  proved(s);
  s.inject(0, ack({ fail: { dsn: 99_999 } }));
  s.expectNothing(5_000);
  s.assert(!s.connection.fallback, 'no fallback');
});

// Its data was kept, and acknowledged: a repeated MP_FAIL comes late.
script('MP_FAIL below what was acknowledged counts', (s) => {
  proved(s);
  s.inject(0, ack({ fail: { dsn: 1 } }));
  s.expect(0, ack({ fail: { dsn: 101 } }));
  s.write(10, 100);
  s.expect(10, data(100, { dss: { dsn: 101, length: 0 } }));
  s.inject(30, ack({ plain: true }));
  s.expectNothing(5_000);
});

script('MP_FAIL with two subflows makes no fallback', TWO, (s) => {
  s.server(PEER_ASKS);
  const flow = s.peerJoins(0);
  s.write(30, 100);
  s.expect(30, data(100));
  s.inject(40, ack({ dss: { ack: 1 }, fail: { dsn: 1 } }));
  s.advance(45);
  s.flow.unexpected.length = 0;
  flow.unexpected.length = 0;
  s.assert(!s.connection.fallback, 'no fallback');
});

// RFC 8684 (3.7): a RST with MP_FAIL ends the subflow; its data goes again on the other.
script('a RST with MP_FAIL gives the data to the other subflow', TWO, (s) => {
  s.server(PEER_ASKS);
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 1, false);
  s.write(30, 500);
  s.expect(30, data(500));
  s.setPathUsable(35, 1, true);
  s.inject(50, rst({ fail: { dsn: 1 }, tcpRst: { reason: 6 } }));
  flow.expect(50, data(500, { dss: { dsn: 1, ssn: 1, checksum: true } }));
  flow.inject(70, ack());
});

// RFC 8684 (3.3.1): infinite mappings need a single subflow.
script('an infinite mapping with two subflows resets the subflow', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, data(100, { dss: { ack: 1, dsn: 1, length: 0 } }));
  flow.expect(30, rst({ tcpRst: {} }));
  s.equal(s.app.readBytes, 0, 'bytes read');
});

script('an infinite mapping without a failure before it is fallback', (s) => {
  s.server();
  s.inject(0, data(100, { dss: { ack: 1, dsn: 1, length: 0 } }));
  s.advance(30);
  s.flow.unexpected.length = 0;
  s.inject(31, data(100, { plain: true, payloadAt: 101 }));
  s.expect(56, ack({ ack: 201, plain: true }));
  s.equal(s.app.readBytes, 200, 'bytes read');
});

script('after MP_FAIL no join is taken', TWO, (s) => {
  failed(s, 100);
  const flow = s.joinFlow();
  flow.inject(30, { flags: 0x02, mss: 1_460, join: {} });
  flow.expect(30, rst({ tcpRst: {} }));
});

script('after MP_FAIL and no more data the end of the stream is DATA_FIN', (s) => {
  failed(s, 100);
  s.finish(50);
  s.expect(50, ack({ dss: { dsn: 201, fin: true } }));
  s.inject(70, ack({ dss: { ack: 202 } }));
  s.expectNothing(5_000);
});

script('in fallback after MP_FAIL the end of the stream is FIN', (s) => {
  failed(s, 100);
  s.write(30, 100);
  s.expect(30, data(100, { dss: { dsn: 201, length: 0 } }));
  s.inject(45, ack({ plain: true }));
  s.finish(50);
  s.expect(50, { flags: 0x11, plain: true });
  s.inject(70, { flags: 0x11, plain: true });
  s.expect(70, ack({ plain: true }));
  s.assert(s.app.ended, 'ended');
  s.expectNothing(10_000);
  s.equal(s.app.closed, 'finished', 'closed');
});
