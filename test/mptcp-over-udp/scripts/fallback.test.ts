/** RFC 8684, 3.7: fallback to plain TCP, and when it is too late for it. */

import { ack, data, FULL, fin, RTT_MS, rst, script, syn, synAck, synAckOfHost, synOfHost } from './script-host.js';

const TWO = { paths: 2 };

// RFC 8684 (3.7): "If the third ACK lacks MP_CAPABLE ... the server MUST fall back".
script('a third ACK without MP_CAPABLE makes the server plain TCP', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: {} }));
  s.inject(RTT_MS, ack());
  s.write(30, 200);
  s.expect(30, data(200, { seq: 1, plain: true }));
  s.inject(50, data(300));
  s.expect(75, ack({ ack: 301, plain: true }));
  s.equal(s.app.readBytes, 300, 'bytes read');
});

script('a SYN without MP_CAPABLE is plain TCP', (s) => {
  s.plainServer();
  s.inject(0, data(FULL));
  s.inject(1, data(FULL));
  s.expect(1, ack({ ack: 2 * FULL + 1, plain: true }));
  s.write(10, FULL);
  s.expect(10, data(FULL, { plain: true }));
  s.inject(30, ack());
  s.expectNothing(5_000);
});

// RFC 8684 (3.7): options stripped from all but the SYNs: "the first data ... without DSS: fall back, do not reset".
script("first data without DSS after the server's handshake makes it plain TCP", (s) => {
  s.server();
  s.inject(0, data(100, { plain: true }));
  s.expect(25, ack({ ack: 101, plain: true }));
  s.equal(s.app.readBytes, 100, 'bytes read');
  s.write(30, 200);
  s.expect(30, data(200, { plain: true }));
  s.inject(50, ack({ plain: true }));
  s.expectNothing(5_000);
});

script("data without DSS as the server's first makes the client plain TCP", (s) => {
  s.client({ proved: false });
  s.inject(0, data(100, { plain: true }));
  s.expect(25, ack({ ack: 101, plain: true }));
  s.equal(s.app.readBytes, 100, 'bytes read');
});

script("an ACK of the client's first data without DSS makes it plain TCP", (s) => {
  s.client({ proved: false });
  s.write(0, 300);
  s.expect(0, data(300, { capable: { length: 22 } }));
  s.inject(20, ack({ plain: true }));
  s.write(30, 100);
  s.expect(30, data(100, { seq: 301, plain: true }));
  s.inject(50, ack({ plain: true }));
  s.expectNothing(5_000);
});

script('the ACK of the third ACK may lack options: nothing is known yet', (s) => {
  s.client({ proved: false });
  s.inject(0, ack({ plain: true }));
  s.write(10, 300);
  s.expect(10, data(300, { capable: { length: 22, dataLength: 300 } }));
  s.inject(30, ack());
  s.write(40, 50);
  s.expect(40, data(50, { dss: { dsn: 301 } }));
  s.inject(60, ack());
});

// RFC 8684 (3.7): once MPTCP is proved there is no way back; unmapped data "MUST" reset the subflow.
script('data without a mapping after MPTCP was proved by data resets the subflow', (s) => {
  s.server();
  s.inject(0, data(100));
  s.expect(25, ack({ dss: { ack: 101 } }));
  s.write(30, 100);
  s.expect(30, data(100));
  s.inject(50, ack());
  s.inject(60, data(100, { plain: true }));
  s.expect(60, rst({ tcpRst: { reason: 6 } }));
  s.equal(s.app.readBytes, 100, 'bytes read');
});

script('no fallback after a join: data without a mapping resets', TWO, (s) => {
  s.server();
  s.peerJoins(0);
  s.inject(30, data(100, { plain: true }));
  s.expect(30, rst({ tcpRst: {} }));
  s.equal(s.app.readBytes, 0, 'bytes read');
});

script('a connection in fallback joins nowhere', TWO, (s) => {
  s.plainClient();
  s.write(0, 100);
  s.expect(0, data(100, { plain: true }));
  s.inject(20, ack());
  s.expectNothing(10_000);
});

script('in fallback MPTCP options of the peer mean nothing', (s) => {
  s.plainServer();
  s.inject(0, data(100, { dss: { ack: 1, dsn: 7_777 }, payloadAt: 1 }));
  s.expect(25, ack({ ack: 101, plain: true }));
  s.inject(30, ack({ fastclose: { key: new Uint8Array(8) } }));
  s.expectNothing(5_000);
  s.assert(s.app.closed === undefined, 'the connection lives on');
});

// RFC 8684 (3.7): in fallback FIN is the end of the stream.
script('in fallback FIN ends the stream and half-close stays open', (s) => {
  s.plainServer();
  s.inject(0, fin());
  s.expect(0, ack({ ack: 2, plain: true }));
  s.assert(s.app.ended, 'ended');
  s.write(100, 500);
  s.expect(100, data(500, { seq: 1, plain: true }));
  s.inject(120, ack());
  s.finish(130);
  s.expect(130, fin({ seq: 501, ack: 2, plain: true }));
  s.inject(150, ack());
  s.equal(s.app.closed, 'finished', 'closed');
  s.expectNothing(5_000);
});

script('in fallback what the reader has not taken when both FINs are through stays for it', (s) => {
  s.plainServer();
  s.read(0, 0);
  s.inject(0, data(FULL));
  s.inject(1, fin());
  s.expect(1, ack({ ack: FULL + 2, plain: true }));
  s.finish(10);
  s.expect(10, fin({ seq: 1, plain: true }));
  s.inject(30, ack());
  s.assert(s.app.closed === undefined, 'not closed for the reader');
  s.read(5_000, 300);
  s.assert(!s.app.ended, 'there is more');
  s.read(6_000);
  s.equal(s.app.readBytes, FULL, 'bytes read');
  s.assert(s.app.ended, 'ended');
  s.equal(s.app.closed, 'finished', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
  s.equal(s.host.pool.inUseBytes, 0, 'bytes held');
});

script('in fallback a reader that wants no more may abort what waits for it', (s) => {
  s.plainServer();
  s.read(0, 0);
  s.inject(0, data(FULL));
  s.inject(1, fin());
  s.expect(1, ack({ plain: true }));
  s.finish(10);
  s.expect(10, fin({ plain: true }));
  s.inject(30, ack());
  s.abort(5_000);
  s.equal(s.app.closed, 'aborted', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
  s.equal(s.host.pool.inUseBytes, 0, 'bytes held');
  s.expectNothing(10_000);
});

script('in fallback the application that finishes first still reads', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin({ seq: 1, plain: true }));
  s.inject(20, ack());
  s.inject(30, data(FULL));
  s.expect(55, ack({ seq: 2, ack: FULL + 1, plain: true }));
  s.equal(s.app.readBytes, FULL, 'bytes read');
  s.inject(60, fin());
  s.expect(60, ack({ seq: 2, ack: FULL + 2, plain: true }));
  s.assert(s.app.ended, 'ended');
  s.advance(10_000);
  s.equal(s.app.closed, 'finished', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
});

// RFC 9293 (3.8.6): in fallback the window is TCP's.
script('in fallback the peer window bounds what is sent', (s) => {
  s.listen();
  s.inject(0, syn({ win: 1_500 }));
  s.expect(0, synAckOfHost({ plain: true }));
  s.inject(RTT_MS, ack({ win: 1_500 }));
  s.restartTime();
  s.write(1, 3_000);
  s.expect(1, data(1_024, { seq: 1, plain: true }));
  s.expect(1, data(476, { seq: 1_025, plain: true }));
  s.inject(21, ack({ win: 5_000 }));
  s.expect(21, data(1_024, { plain: true }));
  s.expect(21, data(476, { plain: true }));
  s.inject(41, ack());
});

script('in fallback lost data is sent again without options', (s) => {
  s.plainServer();
  s.write(0, 100);
  s.expect(0, data(100, { plain: true }));
  s.expect(65, data(100, { seq: 1, plain: true }));
  s.inject(85, ack());
});

script('the SYN/ACK to a SYN without options grants none that was not offered', (s) => {
  s.listen();
  s.inject(0, { flags: 0x02 });
  const sent = s.expect(0, synAckOfHost({ plain: true, sackOk: false, wscale: -1, ts: false }));
  s.assert(sent.mss > 0, 'MSS');
  s.inject(20, ack());
  s.inject(30, data(100));
  s.expect(55, ack({ ack: 101, win: 65_535 }));
});

script('a SYN/ACK without any option makes segments of 536 bytes', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.inject(RTT_MS, { flags: synAck().flags });
  s.expect(RTT_MS, ack({ plain: true }));
  s.write(30, 1_000);
  s.expect(30, data(536, { plain: true }));
  s.expect(30, data(464, { plain: true }));
  s.inject(50, ack());
});

// RFC 8684 (3.1, 3.7): a DSS shows that options pass: what carried the keys was lost, not stripped.
script('a DSS before the keys is no sign of stripped options', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: {} }));
  s.inject(RTT_MS, ack({ seq: 301, dss: { ack: 1, dsn: 301, fin: true } }));
  s.expectNothing(RTT_MS + 5);
  s.inject(50, data(300, { seq: 1, capable: { length: 22 } }));
  s.mptcp = true;
  s.expect(75, ack({ ack: 301, dss: { ack: 301 } }));
  s.assert(!s.connection.fallback, 'no fallback');
});

script('a client that falls back after its DATA_FIN ends with FIN', (s) => {
  s.client({ proved: false });
  s.write(0, 300);
  s.expect(0, data(300, { capable: { length: 22 } }));
  s.finish(1);
  s.advance(5);
  s.flow.unexpected.length = 0;
  s.inject(20, ack({ plain: true }));
  s.expect(20, fin({ seq: 301, plain: true }));
  s.inject(40, fin({ plain: true }));
  s.expect(40, ack({ plain: true }));
  s.expectNothing(10_000);
  s.equal(s.app.closed, 'finished', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
});
