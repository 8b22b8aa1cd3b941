/** RFC 8684, 3.2: starting a new subflow; tokens, nonces, HMACs, the fourth ACK. */

import { handshakeHmac } from './script-crypto.js';
import { ack, data, FULL, RTT_MS, rst, SERVER_ADDRESS, script, syn, synAck, synAckOfHost, synOfHost } from './script-host.js';

const TWO = { paths: 2 };

// RFC 8684 (3.2): "If the token is unknown ..., the receiver MUST send a RST, with an MP_TCPRST option".
script('MP_JOIN with an unknown token is answered with RST', TWO, (s) => {
  s.server();
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: { token: 0x0bad_0bad } }));
  flow.expect(0, rst({ ack: 1, tcpRst: { reason: 1 } }));
  s.expectNothing(5_000);
});

// RFC 8684 (3.2): SYN/ACK with the left 64 bits of HMAC(KeyB || KeyA, RB || RA), which the harness verifies.
script('the SYN/ACK of a join carries HMAC and nonce, its fourth ACK a DSS', TWO, (s) => {
  s.server();
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: {} }));
  flow.expect(0, synAckOfHost({ join: { backup: false } }));
  flow.inject(20, ack({ join: {} }));
  flow.expect(20, ack({ seq: 1, ack: 1, dss: { ack: 1 } }));
  s.expectNothing(5_000);
  s.equal(s.events.join(), 'sub_established path 1', 'events');
});

// RFC 8684 (3.2). Linux resets a join when data out of order comes before the fourth ACK: data must not have to stand for it.
script('data that waits for a join of the peer goes after the fourth ACK, not in its place', { paths: 2, cwndSegments: 2 }, (s) => {
  s.server();
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: {} }));
  flow.expect(0, synAckOfHost({ join: {} }));
  s.write(10, 4 * FULL);
  s.expect(10, data(FULL, { dss: { dsn: 1, ssn: 1 } }));
  s.expect(10, data(FULL, { seq: FULL + 1 }));
  flow.inject(20, ack({ join: {} }));
  flow.expect(20, ack({ seq: 1, ack: 1, len: 0, dss: { ack: 1 } }));
  flow.expect(20, data(FULL, { seq: 1, dss: { dsn: 2 * FULL + 1, ssn: 1 } }));
  flow.expect(20, data(FULL, { seq: FULL + 1 }));
});

script('the host joins from its second path once MPTCP is proved', TWO, (s) => {
  s.client();
  const flow = s.expectJoinSyn(0);
  s.assert(flow.tuple.remotePort === s.flow.tuple.remotePort, "to the connection's port");
  flow.inject(20, synAck({ join: {} }));
  flow.expect(20, ack({ seq: 1, ack: 1, join: {} }));
  flow.inject(20, ack());
  s.expectNothing(5_000);
  s.equal(s.events.join(), 'sub_established path 1', 'events');
});

// RFC 8684 (3.1): no new subflow before the peer is known to have both keys.
script('no join before MPTCP is proved', TWO, (s) => {
  s.client({ proved: false });
  s.expectNothing(1_000);
  s.inject(1_000, ack());
  s.expectJoinSyn(1_000);
});

// RFC 8684 (3.2): "the initiator MUST NOT send data before the fourth ACK".
script('the joining host sends no data before the fourth ACK', { paths: 2, cwndSegments: 2 }, (s) => {
  s.client();
  const flow = s.expectJoinSyn(0);
  flow.inject(20, synAck({ join: {} }));
  flow.expect(20, ack({ join: {} }));
  s.write(21, 4 * FULL);
  s.expect(21, data(FULL, { dss: { dsn: 1, ssn: 1 } }));
  s.expect(21, data(FULL, { seq: FULL + 1 }));
  flow.expectNothing(30);
  flow.inject(30, ack());
  flow.expect(30, data(FULL, { seq: 1, dss: { dsn: 2 * FULL + 1, ssn: 1 } }));
  flow.expect(30, data(FULL, { seq: FULL + 1, dss: { dsn: 2 * FULL + 1, ssn: 1, length: 2 * FULL } }));
  s.inject(41, ack());
  flow.inject(50, ack());
});

// RFC 8684 (3.2): "the third ACK ... must be sent reliably: retransmitted until the fourth ACK".
script('the third ACK of a join is repeated until the fourth comes', TWO, (s) => {
  s.client();
  const flow = s.expectJoinSyn(0);
  flow.inject(20, synAck({ join: {} }));
  flow.expect(20, ack({ join: {} }));
  flow.expect(220, ack({ join: {} }));
  flow.expect(620, ack({ join: {} }));
  flow.inject(640, ack());
  s.expectNothing(5_000);
  s.equal(s.events.join(), 'sub_established path 1', 'events');
});

script('a duplicate third ACK is answered with the fourth again', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(100, ack({ seq: 1, join: {} }));
  flow.expect(100, ack({ dss: { ack: 1 } }));
  s.expectNothing(5_000);
});

// RFC 8684 (3.2): a wrong HMAC: "MUST close the subflow with a TCP RST".
script('a third ACK with a wrong HMAC resets the join', TWO, (s) => {
  s.server();
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: {} }));
  flow.expect(0, synAckOfHost({ join: {} }));
  flow.inject(20, ack({ join: { hmac: new Uint8Array(20) } }));
  flow.expect(20, rst({ tcpRst: { reason: 1 } }));
  s.expectNothing(5_000);
  s.assert(s.app.closed === undefined, 'the connection lives on');
});

script('a SYN/ACK with a wrong HMAC resets the join', TWO, (s) => {
  s.client();
  const flow = s.expectJoinSyn(0);
  flow.inject(20, synAck({ join: { hmac: new Uint8Array(8) } }));
  flow.expect(20, rst({ tcpRst: { reason: 1 } }));
  flow.expectNothing(200);
  s.assert(s.app.closed === undefined, 'the connection lives on');
});

// The HMACs of both directions differ: an echo of ours is no proof.
script("a third ACK that echoes the host's own HMAC resets the join", TWO, (s) => {
  s.server();
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: {} }));
  flow.expect(0, synAckOfHost({ join: {} }));
  const key = s.hostKeys?.key ?? new Uint8Array(8);
  flow.inject(20, ack({ join: { hmac: handshakeHmac(key, s.peer.key, flow.hostNonce, flow.peerNonce) } }));
  flow.expect(20, rst({ tcpRst: { reason: 1 } }));
});

// RFC 8684 (3.2, 3.7): "if MP_JOIN is missing ... the subflow MUST be closed with RST": a join never falls back.
script('a SYN/ACK without MP_JOIN resets the join', TWO, (s) => {
  s.client();
  const flow = s.expectJoinSyn(0);
  flow.inject(20, synAck());
  flow.expect(20, rst({ tcpRst: {} }));
  flow.expectNothing(200);
  s.assert(!s.connection.fallback, 'no fallback');
});

script('a third ACK without MP_JOIN resets the join', TWO, (s) => {
  s.server();
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: {} }));
  flow.expect(0, synAckOfHost({ join: {} }));
  flow.inject(20, ack({ plain: true }));
  flow.expect(20, rst({ tcpRst: {} }));
  s.expectNothing(5_000);
});

// RFC 8684 (3.2): the third ACK is lost, data comes first: MP_JOIN is not on it, so nothing proves the peer.
script('data without MP_JOIN before the third ACK resets the join', TWO, (s) => {
  s.server();
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: {} }));
  flow.expect(0, synAckOfHost({ join: {} }));
  flow.inject(20, data(100));
  flow.expect(20, rst());
  s.equal(s.app.readBytes, 0, 'bytes read');
});

script('the SYN/ACK of a join is repeated with the same nonce and HMAC', TWO, (s) => {
  s.server();
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: {} }));
  const first = flow.expect(0, synAckOfHost({ join: {} }));
  const second = flow.expect(300, synAckOfHost({ join: {} }));
  s.equal(second.mptcp.mpJoin.nonce, first.mptcp.mpJoin.nonce, 'nonce');
  flow.inject(320, ack({ join: {} }));
  flow.expect(320, ack({ dss: {} }));
});

script('the SYN of a join is repeated with the same token, id and nonce', TWO, (s) => {
  s.client();
  const flow = s.expectJoinSyn(0);
  const second = flow.expect(300, synOfHost({ join: {} }));
  s.equal(second.mptcp.mpJoin.nonce, flow.hostNonce, 'nonce');
});

// RFC 8684 (3.2): "the initial subflow is address id 0"; a join has another.
script('the address id of a join is not that of the initial subflow', TWO, (s) => {
  s.client();
  s.connection;
  const flow = s.expectJoinSyn(0);
  flow.inject(20, synAck({ join: {} }));
  const third = flow.expect(20, ack({ join: {} }));
  s.equal(third.mptcp.mpJoin.length, 24, 'length of the third form');
  s.assert(
    s.connection.subflows.every((subflow, i) => (subflow.addressId === 0) === (i === 0)),
    'ids',
  );
});

// RFC 8684 (3.3.8): B in the SYN asks the receiver to use the subflow as a backup.
script('a join with B set carries no data while a regular subflow can', { paths: 2, cwndSegments: 2 }, (s) => {
  s.server();
  const flow = s.peerJoins(0, 1, true);
  s.write(30, 4 * FULL);
  s.expect(30, data(FULL));
  s.expect(30, data(FULL));
  flow.expectNothing(45);
  s.inject(50, ack());
  s.expect(50, data(FULL));
  s.expect(50, data(FULL));
  flow.expectNothing(65);
  s.inject(70, ack());
});

script('a SYN/ACK with B set makes the join a backup too', { paths: 2, cwndSegments: 2 }, (s) => {
  s.client();
  const flow = s.hostJoins(0, 1, true);
  s.write(30, 4 * FULL);
  s.expect(30, data(FULL));
  s.expect(30, data(FULL));
  flow.expectNothing(45);
  s.inject(50, ack());
  s.expect(50, data(FULL));
  s.expect(50, data(FULL));
  s.inject(70, ack());
});

script('a backup carries data when no regular subflow is left', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0, 1, true);
  s.inject(30, rst());
  s.write(40, FULL);
  flow.expect(40, data(FULL, { seq: 1, dss: { dsn: 1, ssn: 1 } }));
  flow.inject(60, ack());
});

// RFC 8684 (3.2): "the host MAY refuse ... due to a lack of resources": RST, reason 2 or 3, and no state.
script('a join beyond the limit of subflows is answered with RST', { paths: 12 }, (s) => {
  s.server();
  for (let path = 1; path <= 7; path++) s.peerJoins((path - 1) * 50, path);
  const flow = s.joinFlow(8);
  flow.inject(400, syn({ join: {} }));
  flow.expect(400, rst({ ack: 1, tcpRst: {} }));
  s.expectNothing(5_000);
});

// Half-open joins are bounded: they count against the same limit, and do not last.
script('half-open joins are bounded', { paths: 12 }, (s) => {
  s.server();
  const flows = [];
  for (let path = 1; path <= 10; path++) {
    const flow = s.joinFlow(path);
    flow.inject(path, syn({ join: {} }));
    flows.push(flow);
  }
  const answered = flows.filter((flow) => flow.unexpected.some((sent) => (sent.flags & 0x02) !== 0)).length;
  s.assert(answered <= 8, `${answered} half-open joins`);
  s.advance(100_000);
  s.assert(s.connection.subflows.length === 1, 'half-open joins have timed out');
  for (const flow of flows) flow.unexpected.length = 0;
});

// RFC 8684 (3.2): a join to a connection that is plain TCP after all has no token to name.
script('MP_JOIN to a connection in fallback is answered with RST', TWO, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: {} }));
  s.inject(20, ack({ plain: true }));
  const flow = s.joinFlow();
  flow.inject(40, syn({ join: {} }));
  flow.expect(40, rst({ ack: 1, tcpRst: {} }));
});

// RFC 8684 (3.2): the peer cannot know our token before the third ACK has told its key.
script('MP_JOIN before the third ACK is answered with RST', TWO, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: {} }));
  const flow = s.joinFlow();
  flow.inject(5, syn({ join: {} }));
  flow.expect(5, rst({ ack: 1, tcpRst: {} }));
  s.inject(20, ack({ capable: {} }));
  s.assert(s.app.established, 'established');
});

script('MP_JOIN after the connection has closed is answered with RST', TWO, (s) => {
  s.server();
  s.abort(0);
  s.expect(0, rst({ fastclose: {}, tcpRst: {} }));
  const flow = s.joinFlow();
  flow.inject(50, syn({ join: {} }));
  flow.expect(50, rst({ ack: 1, tcpRst: {} }));
});

// RFC 8684 (3.1): C in MP_CAPABLE: "no additional subflows to the source address and port of this option".
script('a peer that sets C gets no join to its address and port', TWO, (s) => {
  s.movePath(1, { remoteAddress: SERVER_ADDRESS });
  s.client({ capableFlags: 0x21 });
  s.expectNothing(3_000);
});

script('C does not forbid joins to other addresses of the peer', TWO, (s) => {
  s.client({ capableFlags: 0x21 });
  s.expectJoinSyn(0);
});

script('a refused join is tried again later and later', TWO, (s) => {
  s.client();
  const first = s.expectJoinSyn(0);
  first.inject(20, rst({ flags: 0x14, seq: 0, ack: 1, tcpRst: { reason: 2 } }));
  const second = s.expectJoinSyn(520);
  second.inject(540, rst({ flags: 0x14, seq: 0, ack: 1 }));
  s.expectJoinSyn(1_540);
});

// RFC 8684 (3.2): the data sequence space is one over all subflows.
script('data on a join fits the data sequence of the connection', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.inject(30, data(100));
  flow.inject(31, data(200));
  s.expect(55, ack({ ack: 101, dss: { ack: 301 } }));
  flow.expect(56, ack({ ack: 201, dss: { ack: 301 } }));
  s.equal(s.app.readBytes, 300, 'bytes read');
});

script('a lost join subflow is replaced by a new one', TWO, (s) => {
  s.client();
  const flow = s.hostJoins(0);
  flow.inject(100, rst());
  const again = s.expectJoinSyn(350);
  s.assert(again.tuple.localPort !== flow.tuple.localPort, 'from another port');
});

// RFC 8684 (3.2): "the left 160 bits": a truncated form of another length is malformed, and malformed is missing.
script('a third ACK whose MP_JOIN is malformed resets the join', TWO, (s) => {
  s.server();
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: {} }));
  flow.expect(0, synAckOfHost({ join: {} }));
  const raw = new Uint8Array(20).fill(7);
  raw.set([30, 20, 0x10, 0]);
  flow.inject(RTT_MS, ack({ plain: true, raw }));
  flow.expect(RTT_MS, rst({ tcpRst: {} }));
});
