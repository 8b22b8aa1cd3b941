/** RFC 8684, 3.5: MP_FASTCLOSE, the RST of a whole connection. */

import { ack, data, FULL, RTT_MS, rst, script, syn, synAckOfHost, synOfHost } from './script-host.js';

const TWO = { paths: 2 };

// RFC 8684 (3.5), option R: "RST ... with MP_FASTCLOSE on all subflows", with the receiver's key, which the harness verifies.
script('abort sends RST with FASTCLOSE and the key of the peer', (s) => {
  s.server();
  s.abort(0);
  s.expect(0, rst({ seq: 1, fastclose: {}, tcpRst: {} }));
  s.equal(s.app.closed, 'aborted', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
  s.expectNothing(10_000);
});

script('abort sends it on every subflow', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.abort(30);
  s.expect(30, rst({ fastclose: {}, tcpRst: {} }));
  flow.expect(30, rst({ fastclose: {}, tcpRst: {} }));
  s.expectNothing(10_000);
});

script('abort discards what was not sent', { cwndSegments: 2 }, (s) => {
  s.server();
  s.write(0, 10 * FULL);
  s.expect(0, data(FULL));
  s.expect(0, data(FULL));
  s.abort(5);
  s.expect(5, rst({ seq: 2 * FULL + 1, fastclose: {} }));
  s.expectNothing(10_000);
});

// RFC 8684 (3.5), option A: an ACK with FASTCLOSE is answered with RST on all subflows.
script('an ACK with FASTCLOSE is answered with RST', (s) => {
  s.server();
  s.inject(0, ack({ dss: { ack: 1 }, fastclose: {} }));
  s.expect(0, rst({ tcpRst: {} }));
  s.equal(s.app.closed, 'reset', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
  s.expectNothing(10_000);
});

script('an ACK with FASTCLOSE closes all subflows with RST', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, ack({ dss: { ack: 1 }, fastclose: {} }));
  flow.expect(30, rst({ tcpRst: {} }));
  s.expect(30, rst({ tcpRst: {} }));
  s.equal(s.app.closed, 'reset', 'closed');
});

// RFC 9293 (3.10.7): a RST is never answered with a RST.
script('a RST with FASTCLOSE closes the connection and is not answered', (s) => {
  s.server();
  s.inject(0, rst({ fastclose: {} }));
  s.equal(s.app.closed, 'reset', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
  s.expectNothing(10_000);
});

script('a RST with FASTCLOSE on one subflow ends the others with RST', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, rst({ fastclose: {}, tcpRst: { reason: 0 } }));
  s.expect(30, rst({ tcpRst: {} }));
  s.equal(s.app.closed, 'reset', 'closed');
  s.expectNothing(10_000);
});

// RFC 8684 (3.5): "If the key is wrong, the option is ignored": a blind attacker does not know it.
script('FASTCLOSE with a wrong key on an ACK is ignored', (s) => {
  s.server();
  s.inject(0, ack({ dss: { ack: 1 }, fastclose: { key: new Uint8Array(8) } }));
  s.expectNothing(5_000);
  s.assert(s.app.closed === undefined, 'the connection lives on');
  s.inject(5_000, data(100));
  s.expect(5_025, ack({ dss: { ack: 101 } }));
});

script("FASTCLOSE with the sender's own key is ignored", (s) => {
  s.server();
  s.inject(0, ack({ dss: { ack: 1 }, fastclose: { key: s.peer.key } }));
  s.expectNothing(5_000);
  s.assert(s.app.closed === undefined, 'the connection lives on');
});

script('a RST whose FASTCLOSE has a wrong key ends its subflow only', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, rst({ fastclose: { key: new Uint8Array(8) } }));
  s.expectNothing(1_000);
  s.assert(s.app.closed === undefined, 'the connection lives on');
  s.equal(s.events.join(), 'sub_established path 1,sub_closed path 1 reset', 'events');
});

// RFC 5961 (3.2): a RST in the window but not at its edge proves nothing, whatever it carries.
script('a RST with FASTCLOSE that is not at the next sequence number gets a challenge ACK', (s) => {
  s.server();
  s.inject(0, rst({ seq: 500, fastclose: {} }));
  s.expect(0, ack({ seq: 1, ack: 1 }));
  s.assert(s.app.closed === undefined, 'the connection lives on');
  s.expectNothing(1_000);
});

script('FASTCLOSE on an ACK of another DATA_ACK still acknowledges nothing', (s) => {
  s.server();
  s.write(0, 500);
  s.expect(0, data(500));
  s.inject(20, ack({ ack: 501, dss: { ack: 501 }, fastclose: {} }));
  s.expect(20, rst({ tcpRst: {} }));
  s.equal(s.app.closed, 'reset', 'closed');
  s.equal(s.app.closedCount, 1, 'onClosed calls');
});

// RFC 8684 (3.5): FASTCLOSE is for connections; before there are keys on both sides abort is TCP's.
script('abort in SYN-SENT sends nothing', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.abort(10);
  s.expectNothing(10_000);
  s.equal(s.app.closed, 'aborted', 'closed');
});

script('abort in SYN-RECEIVED sends RST without FASTCLOSE', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: {} }));
  s.abort(10);
  s.expect(10, rst());
  s.expectNothing(10_000);
});

script('abort in fallback is a plain RST', (s) => {
  s.plainServer();
  s.abort(0);
  s.expect(0, rst({ seq: 1, plain: true }));
  s.equal(s.app.closed, 'aborted', 'closed');
  s.expectNothing(10_000);
});

script('what the peer sends after abort is answered with RST', (s) => {
  s.server();
  s.abort(0);
  s.expect(0, rst({ fastclose: {}, tcpRst: {} }));
  s.inject(RTT_MS, data(100));
  s.expect(RTT_MS, rst());
});

script('FASTCLOSE drops what the application has not read', (s) => {
  s.server();
  s.app.readLimit = 0;
  s.inject(0, data(FULL));
  s.expect(25, ack({ dss: { ack: FULL + 1 } }));
  s.inject(30, rst({ fastclose: {} }));
  s.equal(s.app.closed, 'reset', 'closed');
  s.assert(!s.app.ended, 'no end of stream');
});

// ---- our own in the ACK form (RFC 8684, 3.5, option A) ----

const BY_ACK = { host: { abortForm: 'ack' } } as const;

script('by ACK: abort sends an ACK with FASTCLOSE, and the RST in answer ends it', BY_ACK, (s) => {
  s.server();
  s.abort(0);
  s.expect(0, ack({ seq: 1, ack: 1, dss: { ack: 1 }, fastclose: {} }));
  s.equal(s.app.closed, 'aborted', 'told at once');
  s.equal(s.host.connectionCount, 1, 'connections in FASTCLOSE_WAIT');
  s.equal(s.host.pool.inUseBytes, 0, 'bytes held');
  s.inject(RTT_MS, rst({ tcpRst: {} }));
  s.equal(s.host.connectionCount, 0, 'connections');
  s.expectNothing(10_000);
});

script('by ACK: the other subflows get RST at once, without FASTCLOSE', { ...BY_ACK, ...TWO }, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.abort(30);
  s.expect(30, ack({ fastclose: {}, dss: {} }));
  flow.expect(30, rst({ tcpRst: {} }));
  s.inject(50, rst());
  s.equal(s.host.connectionCount, 0, 'connections');
  s.expectNothing(10_000);
});

// RFC 8684 (3.5): after one RTO, three times at most; then a RST with the option, for the sake of middleboxes.
script('by ACK: repeated after each RTO, and at last a RST', BY_ACK, (s) => {
  s.server();
  s.abort(0);
  for (const at of [0, 200, 600, 1_400]) s.expect(at, ack({ fastclose: {}, dss: {} }), 2);
  s.expect(3_000, rst({ fastclose: {} }), 2);
  s.equal(s.host.connectionCount, 0, 'connections');
  s.equal(s.app.closedCount, 1, 'onClosed calls');
  s.expectNothing(60_000);
});

script('by ACK: what was sent or waits to be sent is given up', { ...BY_ACK, cwndSegments: 2 }, (s) => {
  s.server();
  s.write(0, 10 * FULL);
  s.expect(0, data(FULL));
  s.expect(0, data(FULL));
  s.abort(5);
  s.expect(5, ack({ seq: 2 * FULL + 1, fastclose: {}, dss: {} }));
  s.inject(20, ack({ ack: 2 * FULL + 1 }));
  s.expectNothing(200);
  s.inject(201, rst());
  s.equal(s.host.connectionCount, 0, 'connections');
});

script("by ACK: the peer's data is neither taken nor acknowledged", BY_ACK, (s) => {
  s.server();
  s.abort(0);
  s.expect(0, ack({ fastclose: {}, dss: {} }));
  s.inject(10, data(500));
  s.inject(11, data(500, { dss: { ack: 1, dsn: 501, fin: true } }));
  s.expectNothing(190);
  s.equal(s.app.readBytes, 0, 'bytes read');
  s.assert(!s.app.ended, 'no end of stream');
  s.inject(195, rst({ seq: 1 }));
  s.equal(s.host.connectionCount, 0, 'connections');
});

script("by ACK: the peer's FASTCLOSE crosses ours, and is answered with RST", BY_ACK, (s) => {
  s.server();
  s.abort(0);
  s.expect(0, ack({ fastclose: {}, dss: {} }));
  s.inject(10, ack({ dss: { ack: 1 }, fastclose: {} }));
  s.expect(10, rst());
  s.equal(s.app.closed, 'aborted', 'closed');
  s.equal(s.app.closedCount, 1, 'onClosed calls');
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('by ACK: an acknowledgement that was due is not sent, nor waited for', BY_ACK, (s) => {
  s.server();
  s.inject(0, data(500));
  s.abort(5);
  s.expect(5, ack({ ack: 501, fastclose: {}, dss: { ack: 501 } }));
  s.inject(10, data(500, { dss: { ack: 1, dsn: 501 } }));
  s.expect(205, ack({ fastclose: {}, dss: {} }), 2);
  s.inject(210, rst({ seq: 501 }));
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('by ACK: after a DATA_FIN that was not acknowledged', BY_ACK, (s) => {
  s.server();
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 1, ssn: 0, length: 1, fin: true } }));
  s.abort(5);
  s.expect(5, ack({ fastclose: {}, dss: {} }));
  for (const at of [205, 605, 1_405]) s.expect(at, ack({ fastclose: {}, dss: {} }), 2);
  s.expect(3_005, rst({ fastclose: {} }), 2);
  s.expectNothing(10_000);
});

script('by ACK: an announcement of the peer does not take its place', { ...BY_ACK, ...TWO }, (s) => {
  s.server();
  s.abort(0);
  s.expect(0, ack({ fastclose: {}, dss: {} }));
  s.inject(10, ack({ addAddr: { id: 3, address: new Uint8Array([10, 0, 0, 9]) } }));
  s.expect(200, ack({ fastclose: {}, dss: {} }), 2);
  s.inject(210, rst());
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('by ACK: with checksums a part of a mapping is not kept either', BY_ACK, (s) => {
  s.server({ capableFlags: 0x81 });
  s.checksums = false;
  s.abort(0);
  s.expect(0, ack({ fastclose: {}, dss: {} }));
  s.inject(10, data(FULL, { dss: { ack: 1, dsn: 1, ssn: 1, length: 2_000, checksum: s.peerChecksum(1, 1, 2_000) } }));
  s.expect(200, ack({ ack: 1, fastclose: {}, dss: {} }), 2);
  s.inject(210, rst({ seq: 1 }));
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('by ACK: a join is refused while it waits', { ...BY_ACK, ...TWO }, (s) => {
  s.server();
  s.abort(0);
  s.expect(0, ack({ fastclose: {}, dss: {} }));
  const flow = s.joinFlow(1);
  flow.inject(10, syn({ join: {} }));
  flow.expect(10, rst({ tcpRst: {} }));
  s.inject(20, rst());
});

script('by ACK: a second abort changes nothing', BY_ACK, (s) => {
  s.server();
  s.abort(0);
  s.expect(0, ack({ fastclose: {}, dss: {} }));
  s.abort(10);
  s.expectNothing(190);
  s.inject(191, rst());
});

// RFC 8684 (3.5): it takes the peer's key, and a peer that has ours.
script('by ACK: a client whose keys may not have come yet sends RST', BY_ACK, (s) => {
  s.client({ proved: false });
  s.abort(0);
  s.expect(0, rst({ fastclose: {} }));
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('by ACK: in fallback it is a plain RST', BY_ACK, (s) => {
  s.plainServer();
  s.abort(0);
  s.expect(0, rst({ seq: 1, plain: true }));
  s.equal(s.host.connectionCount, 0, 'connections');
});
