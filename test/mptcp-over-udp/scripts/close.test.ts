/** RFC 8684, 3.3.3: DATA_FIN, half-close, simultaneous close, and the FINs of the subflows that follow. */

import { NEAR_WRAP_KEY } from './script-crypto.js';
import { ack, data, FULL, fin, RTT_MS, rst, type ScriptHost, script } from './script-host.js';

const TWO = { paths: 2 };

/** Both DATA_FINs are exchanged; the FINs of one subflow follow. */
function closeSubflow(s: ScriptHost, atMs: number): void {
  s.expect(atMs, fin({ plain: false, dss: {} }));
  s.inject(atMs + RTT_MS, fin());
  s.expect(atMs + RTT_MS, ack({ dss: {} }));
}

// RFC 8684 (3.3.3): alone, a DATA_FIN has SSN 0 and data-level length 1.
script('DATA_FIN without data has SSN 0 and length 1', (s) => {
  s.server();
  s.finish(0);
  s.expect(0, ack({ seq: 1, ack: 1, dss: { ack: 1, dsn: 1, ssn: 0, length: 1, fin: true } }));
});

script('DATA_FIN takes the data sequence number after the last byte', (s) => {
  s.server();
  s.write(0, 700);
  s.expect(0, data(700));
  s.finish(5);
  s.expect(5, ack({ dss: { dsn: 701, ssn: 0, length: 1, fin: true } }));
  s.inject(25, ack({ dss: { ack: 702 } }));
  s.assert(s.connection.dataFinAcked, 'DATA_FIN acknowledged');
});

script('DATA_FIN waits for data that the window holds back', (s) => {
  s.server({ win: 1_000 });
  s.write(1, 1_500);
  s.expect(1, data(FULL));
  s.finish(2);
  s.expectNothing(15);
  s.inject(20, ack({ win: 1_000 }));
  s.expect(20, data(500, { dss: { dsn: FULL + 1 } }));
  s.expect(20, ack({ dss: { dsn: 1_501, length: 1, fin: true } }));
});

// RFC 8684 (3.3.3): "retransmitted if not DATA_ACKed".
script('DATA_FIN is repeated until it has its DATA_ACK', (s) => {
  s.server();
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 1, fin: true } }));
  s.expect(200, ack({ dss: { dsn: 1, ssn: 0, length: 1, fin: true } }));
  s.expect(600, ack({ dss: { dsn: 1, fin: true } }));
  s.expect(1_400, ack({ dss: { dsn: 1, fin: true } }));
  s.inject(1_420, ack({ dss: { ack: 2 } }));
  s.expectNothing(10_000);
});

script('a DATA_FIN that is never acknowledged ends the connection at last', (s) => {
  s.server();
  s.finish(0);
  s.advance(600_000);
  s.flow.unexpected.length = 0;
  s.assert(s.app.closed !== undefined, 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
});

// RFC 8684 (3.3.3): half-close: "the other direction stays open".
script('after its DATA_FIN the host still reads', (s) => {
  s.server();
  s.finish(0);
  s.expect(0, ack({ dss: { fin: true, dsn: 1 } }));
  s.inject(20, ack({ dss: { ack: 2 } }));
  s.inject(30, data(FULL));
  s.inject(31, data(FULL));
  s.expect(31, ack({ dss: { ack: 2 * FULL + 1 } }));
  s.equal(s.app.readBytes, 2 * FULL, 'bytes read');
  s.assert(s.app.closed === undefined, 'open');
  s.expectNothing(100_000);
});

script("after the peer's DATA_FIN the host still sends", (s) => {
  s.server();
  s.inject(0, ack({ dss: { ack: 1, dsn: 1, fin: true } }));
  s.expect(0, ack({ dss: { ack: 2 } }));
  s.assert(s.app.ended, 'ended');
  s.write(1_000, 2 * FULL);
  s.expect(1_000, data(FULL, { dss: { ack: 2, dsn: 1 } }));
  s.expect(1_000, data(FULL));
  s.inject(1_020, ack());
  s.expectNothing(100_000);
  s.assert(s.app.closed === undefined, 'open');
});

// RFC 8684 (3.3.3): DATA_FIN on the last data counts in the length.
script('a DATA_FIN on the last data is read after it', (s) => {
  s.server();
  s.inject(0, data(500, { dss: { ack: 1, dsn: 1, fin: true } }));
  s.expect(0, ack({ ack: 501, dss: { ack: 502 } }));
  s.equal(s.app.readBytes, 500, 'bytes read');
  s.assert(s.app.ended, 'ended');
});

script('a DATA_FIN that comes before the data waits for it', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, ack({ dss: { ack: 1, dsn: 501, fin: true } }));
  flow.expect(30, ack({ dss: { ack: 1 } }));
  s.assert(!s.app.ended, 'not ended');
  s.inject(40, data(500, { dss: { ack: 1, dsn: 1 } }));
  s.expect(65, ack({ dss: { ack: 502 } }));
  s.equal(s.app.readBytes, 500, 'bytes read');
  s.assert(s.app.ended, 'ended');
});

script('a repeated DATA_FIN is acknowledged again', (s) => {
  s.server();
  s.inject(0, ack({ dss: { ack: 1, dsn: 1, fin: true } }));
  s.expect(0, ack({ dss: { ack: 2 } }));
  s.inject(200, ack({ dss: { ack: 1, dsn: 1, fin: true } }));
  s.expect(200, ack({ dss: { ack: 2 } }));
  s.expectNothing(1_000);
});

// Both ends' ACKs carry their DATA_FINs: were each answered by the other, it would never end.
script('a repeated DATA_FIN that cannot be acknowledged yet is not answered', (s) => {
  s.server();
  s.write(0, 100);
  s.expect(0, data(100));
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 101, fin: true } }));
  // 500 bytes before it are missing.
  s.inject(5, ack({ dss: { ack: 1, dsn: 501, ssn: 0, length: 1, fin: true } }));
  s.expect(5, ack({ dss: { ack: 1, dsn: 101, ssn: 0, length: 1, fin: true } }));
  for (const at of [6, 7, 8]) s.inject(at, ack({ dss: { ack: 1, dsn: 501, ssn: 0, length: 1, fin: true } }));
  s.expectNothing(15);
  s.inject(20, data(500, { dss: { ack: 102, dsn: 1 } }));
  s.expect(20, fin({ seq: 101, ack: 501, dss: { ack: 502 } }));
  s.inject(40, fin({ ack: 102 }));
  s.expect(40, ack({ ack: 502 }));
  s.expectNothing(10_000);
});

// The peer is gone, or its RST was lost: FIN-WAIT-2 has no timer of its own.
script('both DATA_FINs are acknowledged, and a FIN of the subflow never comes: RST after a minute', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.finish(30);
  s.expect(30, ack({ dss: { dsn: 1, fin: true } }));
  s.inject(50, ack({ dss: { ack: 2, dsn: 1, fin: true } }));
  for (const each of [s.flow, flow]) {
    each.expect(50, fin({ dss: { ack: 2 } }));
    each.inject(70, ack({ ack: 2, dss: { ack: 2 } }));
  }
  s.equal(s.app.closed, 'finished', 'closed');
  s.equal(s.host.connectionCount, 1, 'connections that wait');
  for (const each of [s.flow, flow]) each.expect(60_050, rst({ tcpRst: {} }), 2);
  s.equal(s.host.connectionCount, 0, 'connections');
  s.equal(s.app.closedCount, 1, 'onClosed calls');
  s.expectNothing(100_000);
});

// RFC 8684 (3.3.3): 32-bit DSN of a DATA_FIN; here its low half has wrapped.
script('a DATA_FIN with a 32-bit DSN is expanded across the wrap', { peerKey: NEAR_WRAP_KEY }, (s) => {
  s.server();
  s.inject(0, data(FULL));
  s.inject(1, data(FULL));
  s.expect(1, ack({ dss: { ack: 2 * FULL + 1 } }));
  s.inject(2, ack({ dss: { ack: 1, dsn: 2 * FULL + 1, dsnBytes: 4, fin: true } }));
  s.expect(2, ack({ dss: { ack: 2 * FULL + 2 } }));
  s.assert(s.app.ended, 'ended');
});

// RFC 8684 (3.3.3): "once all data and both DATA_FINs are acknowledged, FIN each subflow".
script('the subflow gets its FIN when both DATA_FINs are acknowledged: the peer first', (s) => {
  s.server();
  s.inject(0, ack({ dss: { ack: 1, dsn: 1, fin: true } }));
  s.expect(0, ack({ dss: { ack: 2 } }));
  s.finish(10);
  s.expect(10, ack({ dss: { ack: 2, dsn: 1, fin: true } }));
  s.inject(30, ack({ dss: { ack: 2 } }));
  closeSubflow(s, 30);
  s.equal(s.app.closed, 'finished', 'closed');
  s.expectNothing(100_000);
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('the subflow gets its FIN when both DATA_FINs are acknowledged: the host first', (s) => {
  s.server();
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 1, fin: true } }));
  s.inject(20, ack({ dss: { ack: 2 } }));
  s.inject(50, ack({ dss: { ack: 2, dsn: 1, fin: true } }));
  s.expect(50, fin({ seq: 1, dss: { ack: 2 } }));
  s.inject(70, fin());
  s.expect(70, ack({ seq: 2, ack: 2 }));
  s.equal(s.app.closed, 'finished', 'closed');
  s.expectNothing(100_000);
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('simultaneous close: DATA_FINs that cross', (s) => {
  s.server();
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 1, fin: true } }));
  s.inject(5, ack({ dss: { ack: 1, dsn: 1, fin: true } }));
  s.expect(5, ack({ dss: { ack: 2, dsn: 1, fin: true } }));
  s.inject(20, ack({ dss: { ack: 2 } }));
  closeSubflow(s, 20);
  s.equal(s.app.closed, 'finished', 'closed');
  s.expectNothing(100_000);
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('simultaneous close of the subflow: FINs that cross', (s) => {
  s.server();
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 1, fin: true } }));
  s.inject(20, ack({ dss: { ack: 2, dsn: 1, fin: true } }));
  s.expect(20, fin({ seq: 1, dss: { ack: 2 } }));
  s.inject(30, fin({ ack: 1 }));
  s.expect(30, ack({ seq: 2, ack: 2 }));
  s.inject(40, ack({ ack: 2 }));
  s.expectNothing(100_000);
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('DATA_FIN and its DATA_ACK in one segment close at once', (s) => {
  s.server();
  s.inject(0, data(100, { dss: { ack: 1, dsn: 1, fin: true } }));
  s.expect(0, ack({ dss: { ack: 102 } }));
  s.write(10, 100);
  s.expect(10, data(100));
  s.finish(11);
  s.expect(11, ack({ dss: { dsn: 101, fin: true } }));
  s.inject(30, ack({ dss: { ack: 102 } }));
  closeSubflow(s, 30);
  s.equal(s.app.closed, 'finished', 'closed');
});

// RFC 8684 (3.3.3): "a FIN on a subflow ... only closes that subflow": no DATA_FIN, no end of data.
script('a FIN without DATA_FIN closes its subflow only', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, fin());
  flow.expect(30, fin({ seq: 1, ack: 2 }));
  flow.inject(50, ack());
  s.assert(!s.app.ended && s.app.closed === undefined, 'the connection lives on');
  s.inject(60, data(100));
  s.expect(85, ack({ dss: { ack: 101 } }));
  s.expectNothing(5_000);
});

script('every subflow gets its FIN', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.finish(30);
  s.advance(30);
  const carrier = s.flow.unexpected.length > 0 ? s.flow : flow;
  carrier.expect(30, ack({ dss: { dsn: 1, fin: true } }));
  s.inject(50, ack({ dss: { ack: 2, dsn: 1, fin: true } }));
  s.expect(50, fin({ dss: { ack: 2 } }));
  flow.expect(50, fin({ dss: { ack: 2 } }));
  s.inject(70, fin());
  s.expect(70, ack());
  flow.inject(70, fin());
  flow.expect(70, ack());
  s.expectNothing(100_000);
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('a DATA_FIN whose subflow is lost goes on the other', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 1, false);
  s.finish(30);
  s.expect(30, ack({ dss: { dsn: 1, fin: true } }));
  s.setPathUsable(31, 1, true);
  s.inject(40, rst());
  flow.expect(230, ack({ dss: { dsn: 1, fin: true } }), 5);
  flow.inject(250, ack({ dss: { ack: 2 } }));
  s.assert(s.connection.dataFinAcked, 'DATA_FIN acknowledged');
});

// Trap: state dropped before the last DATA_FIN is acknowledged leaves the peer repeating it.
script('the last DATA_FIN repeated in the closing states is acknowledged again', (s) => {
  s.server();
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 1, fin: true } }));
  s.inject(20, ack({ dss: { ack: 2, dsn: 1, fin: true } }));
  s.expect(20, fin({ seq: 1, dss: { ack: 2 } }));
  s.inject(60, ack({ ack: 1, dss: { ack: 2, dsn: 1, fin: true } }));
  s.expect(60, ack({ seq: 2, dss: { ack: 2 } }));
});

script('data after the DATA_FIN is not read', (s) => {
  s.server();
  s.inject(0, data(100, { dss: { ack: 1, dsn: 1, fin: true } }));
  s.expect(0, ack({ dss: { ack: 102 } }));
  s.inject(10, data(100, { dss: { ack: 1, dsn: 102 } }));
  s.advance(40);
  s.flow.unexpected.length = 0;
  s.equal(s.app.readBytes, 100, 'bytes read');
});

// Trap: the third ACK was lost and the client has nothing to send: without its keys neither side would ever come to an end.
script('a client without data that finishes before MPTCP is proved shows its keys with the DATA_FIN', (s) => {
  s.client({ proved: false });
  s.finish(0);
  s.expect(0, ack({ capable: { length: 20 } }));
  s.expect(0, ack({ dss: { ack: 1, dsn: 1, ssn: 0, length: 1, fin: true } }));
  s.inject(20, ack({ dss: { ack: 2 } }));
  s.expectNothing(5_000);
});

script('writing after finish sends nothing', (s) => {
  s.server();
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 1, fin: true } }));
  s.inject(20, ack({ dss: { ack: 2 } }));
  s.act(30, 'write', () => s.app.write(100));
  s.expectNothing(5_000);
});

script('the end is delivered after what the reader has not taken', (s) => {
  s.server();
  s.app.readLimit = 100;
  s.inject(0, data(500, { dss: { ack: 1, dsn: 1, fin: true } }));
  s.expect(0, ack({ dss: { ack: 502 } }));
  s.assert(!s.app.ended, 'not yet');
  s.read(50);
  s.equal(s.app.readBytes, 500, 'bytes read');
  s.assert(s.app.ended, 'ended');
});
