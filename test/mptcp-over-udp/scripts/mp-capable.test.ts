/** RFC 8684, 3.1: connection initiation; the keys, the flags, the three forms of MP_CAPABLE. */

import { keysOf } from './script-crypto.js';
import { ack, data, FULL, MTU_BYTES, RTT_MS, rst, script, syn, synAck, synAckOfHost, synOfHost } from './script-host.js';

// RFC 8684 (3.1): "the first MP_CAPABLE option in a SYN ... contains no key", version 1, H set.
script('the SYN of an active open carries MP_CAPABLE of 4 bytes with no key, version 1 and H', (s) => {
  s.connect(0);
  const sent = s.expect(0, synOfHost({ capable: { length: 4, version: 1, flags: 0x01 } }));
  s.equal(sent.mss, MTU_BYTES - 40, 'MSS');
  s.assert(sent.sackPermitted && sent.windowScale >= 0, 'SACK permitted and window scale are offered');
});

// RFC 8684 (3.1): B "MUST be set to 0 by implementations of this version", C and D-G are 0 here.
script('the SYN/ACK carries MP_CAPABLE of 12 bytes with the server key', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: { length: 12, version: 1, flags: 0x01 } }));
  s.assert(s.hostKeys !== undefined, 'a key was sent');
});

script('the third ACK carries MP_CAPABLE of 20 bytes with both keys', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.inject(RTT_MS, synAck({ capable: {} }));
  // The harness holds the receiver's key against the peer's, and derives the host's token from the sender's.
  s.expect(RTT_MS, ack({ seq: 1, ack: 1, capable: { length: 20, flags: 0x01 } }));
  s.assert(s.app.established, 'established');
  s.expectNothing(1_000);
});

// RFC 8684 (3.1): the option with data serves where the third ACK is lost.
script("the client's first data carries both keys and the data-level length until the peer has answered", (s) => {
  s.client({ proved: false });
  s.write(0, 300);
  s.expect(0, data(300, { seq: 1, ack: 1, capable: { length: 22, dataLength: 300 } }));
  s.inject(20, ack({ ack: 301 }));
  s.write(30, 100);
  s.expect(30, data(100, { seq: 301, dss: { ack: 1, dsn: 301, ssn: 301, length: 100, checksum: false } }));
  s.inject(50, ack());
  s.expectNothing(2_000);
});

// RFC 8684 (3.1): "If B has data to send first, then the reliable delivery of the ACK + MP_CAPABLE is ensured by the receipt of this data with a DSS".
script('a client that has heard a DSS first sends its data with DSS', (s) => {
  s.client({ proved: false });
  s.inject(5, data(100));
  s.expect(30, ack({ seq: 1, ack: 101, dss: { ack: 101 } }));
  s.write(40, 200);
  s.expect(40, data(200, { dss: { ack: 101, dsn: 1, ssn: 1, length: 200 } }));
  s.inject(60, ack());
  s.expectNothing(1_000);
});

script('a retransmission of the first data carries MP_CAPABLE with data again while the peer has not answered', (s) => {
  s.client({ proved: false });
  s.write(0, 300);
  s.expect(0, data(300, { capable: { dataLength: 300 } }));
  // RFC 8985 (7.2): the probe of a lone segment after 2 SRTT + the longest delay of an ACK.
  s.expect(65, data(300, { seq: 1, capable: { length: 22, dataLength: 300 } }));
  s.inject(85, ack());
  s.expectNothing(1_000);
});

// RFC 8684 (3.1): keys are stated once and do not change.
script('SYN retransmissions keep MP_CAPABLE and the initial sequence number', (s) => {
  s.connect(0);
  const first = s.expect(0, synOfHost({ capable: { length: 4 } }));
  const second = s.expect(300, synOfHost({ capable: { length: 4 } }));
  s.equal(second.sequenceNumber, first.sequenceNumber, 'initial sequence number');
  s.inject(320, synAck({ capable: {} }));
  s.expect(320, ack({ capable: { length: 20 } }));
});

script('SYN/ACK retransmissions keep the key', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: { length: 12 } }));
  // The harness holds every later key against the first one.
  s.expect(300, synAckOfHost({ capable: { length: 12 } }));
  s.inject(310, ack({ capable: {} }));
  s.expectNothing(2_000);
  s.assert(s.app.established, 'established');
});

script('a duplicate SYN is answered by the same SYN/ACK', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: {} }));
  s.inject(50, syn({ seq: 0, capable: {} }));
  s.expect(50, synAckOfHost({ capable: {} }));
});

// RFC 8684 (3.1), Linux's default of two: a middlebox may swallow SYNs with the option.
script('after two unanswered SYNs with MP_CAPABLE the SYN goes without it', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.expect(300, synOfHost({ capable: {} }));
  s.expect(900, synOfHost({ plain: true }));
  s.inject(920, synAck());
  s.expect(920, ack({ plain: true }));
  s.write(930, 100);
  s.expect(930, data(100, { plain: true }));
});

// RFC 8684 (3.1): "If a SYN contains an MP_CAPABLE option but the SYN/ACK does not, ... the session MUST operate as a regular, single-path TCP".
script('a SYN/ACK without MP_CAPABLE makes it plain TCP', (s) => {
  s.plainClient();
  s.write(0, 100);
  s.expect(0, data(100, { seq: 1, plain: true }));
  s.inject(20, ack());
  s.inject(30, data(50));
  s.expect(55, ack({ ack: 51, plain: true }));
  s.equal(s.app.readBytes, 50, 'bytes read');
});

// RFC 8684 (3.1): "if B is set to 1, ... MUST NOT be considered MPTCP".
script('a SYN/ACK with the B flag makes it plain TCP', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.inject(RTT_MS, synAck({ capable: { flags: 0x41 } }));
  s.expect(RTT_MS, ack({ plain: true }));
});

script('a SYN with the B flag is answered without MP_CAPABLE', (s) => {
  s.listen();
  s.inject(0, syn({ capable: { flags: 0x41 } }));
  s.expect(0, synAckOfHost({ plain: true }));
  s.inject(RTT_MS, ack());
  s.inject(30, data(10));
  s.expect(55, ack({ ack: 11, plain: true }));
});

// RFC 8684 (3.1): without a common algorithm, "the SYN MUST be responded to with ... no MP_CAPABLE".
script('a SYN without H is answered without MP_CAPABLE', (s) => {
  s.listen();
  s.inject(0, syn({ capable: { flags: 0x00 } }));
  s.expect(0, synAckOfHost({ plain: true }));
});

script('a SYN/ACK without H makes it plain TCP', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.inject(RTT_MS, synAck({ capable: { flags: 0x00 } }));
  s.expect(RTT_MS, ack({ plain: true }));
});

// RFC 8684 (3.1): flags D to H that are not understood are ignored.
script('unassigned algorithm flags beside H are ignored', (s) => {
  s.listen();
  s.inject(0, syn({ capable: { flags: 0x1f } }));
  s.expect(0, synAckOfHost({ capable: { length: 12, flags: 0x01 } }));
  s.inject(RTT_MS, ack({ capable: {} }));
  s.assert(s.app.established, 'established');
});

// RFC 8684 (3.1): a version that is not spoken: "the receiver ... SHOULD fall back" without MP_CAPABLE, or offer its own version.
script('a SYN/ACK of an unknown version makes it plain TCP', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.inject(RTT_MS, synAck({ capable: { version: 7 } }));
  s.expect(RTT_MS, ack({ plain: true }));
});

script('a SYN of version 0 only is not answered with version 0 by default', (s) => {
  s.listen();
  s.inject(0, syn({ capable: { version: 0, length: 12, flags: 0x01 } }));
  const sent = s.expect(0, { ...synAckOfHost(), plain: true });
  s.equal(sent.mptcp.seen, 0, 'MPTCP options');
});

// RFC 8684 (3.1): "A host that requires checksums sets A, then checksums MUST be used by both".
script('a peer that sets A is answered with A', (s) => {
  s.listen();
  s.inject(0, syn({ capable: { flags: 0x81 } }));
  s.expect(0, synAckOfHost({ capable: { length: 12, flags: 0x81 } }));
});

// RFC 8684 (3.1): the receiver's key must be ours.
script("a third ACK that does not echo the server's key is refused", (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: {} }));
  s.inject(RTT_MS, ack({ capable: { receiverKey: new Uint8Array(8) } }));
  s.expect(RTT_MS, rst());
  s.assert(!s.app.established, 'not established');
});

// RFC 8684 (3.1): the IDSN comes from the key, the first byte is IDSN + 1; here with the third ACK lost.
script('the first data with MP_CAPABLE stands in for a lost third ACK', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: {} }));
  s.inject(RTT_MS, data(400, { capable: { length: 22 } }));
  s.mptcp = true;
  s.expect(RTT_MS + 25, ack({ seq: 1, ack: 401, dss: { ack: 401 } }));
  s.assert(s.app.established, 'established');
  s.equal(s.app.readBytes, 400, 'bytes read');
  s.inject(60, data(100));
  s.expect(85, ack({ dss: { ack: 501 } }));
});

script('first data with MP_CAPABLE after the third ACK is mapped to the first byte', (s) => {
  s.server();
  s.inject(0, data(400, { capable: { length: 22 } }));
  s.expect(25, ack({ ack: 401, dss: { ack: 401 } }));
  s.equal(s.app.readBytes, 400, 'bytes read');
});

// RFC 8684 (3.1): the mapping of the option may cover more than its segment.
script('the data-level length of MP_CAPABLE covers the segments that follow', (s) => {
  s.server();
  s.inject(0, data(400, { capable: { length: 22, dataLength: 1_000 } }));
  s.inject(1, data(600, { dss: { ack: 1 } }));
  s.expect(25, ack({ ack: 1_001, dss: { ack: 1_001 } }));
  s.equal(s.app.readBytes, 1_000, 'bytes read');
});

script('a repeated third ACK changes nothing', (s) => {
  s.server();
  s.inject(0, ack({ capable: {} }));
  s.inject(5, data(100, { capable: { length: 22 } }));
  s.expect(30, ack({ dss: { ack: 101 } }));
});

// RFC 8684 (3.1): each connection has its own key, and so its own token.
script('two connections have different keys and tokens', (s) => {
  const first = s.listen();
  first.inject(0, syn({ capable: {} }));
  first.expect(0, synAckOfHost({ capable: {} }));
  const key = s.hostKeys?.key ?? new Uint8Array(8);
  s.hostKeys = undefined;
  const second = s.addFlow({ ...first.tuple, remotePort: 40_001 }, 0, false);
  second.inject(5, syn({ capable: {} }));
  second.expect(5, synAckOfHost({ capable: {} }));
  const other = s.hostKeys as { key: Uint8Array; token: number } | undefined;
  s.assert(other !== undefined && keysOf(key).token !== other.token, 'tokens differ');
  s.hostKeys = keysOf(key);
});

// A host that has sent its own first byte before the third ACK came would break the order of 3.1.
script('the server sends no data before the third ACK', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: {} }));
  s.write(5, 500);
  s.expectNothing(RTT_MS - 1);
  s.inject(RTT_MS, ack({ capable: {} }));
  s.mptcp = true;
  s.expect(RTT_MS, data(500, { seq: 1, dss: { ack: 1, dsn: 1, ssn: 1, length: 500 } }));
});

// RFC 8684 (3.1): "the Data ACK ... MUST be included as soon as both keys are known".
script('the server acknowledges at data level from its first segment on', (s) => {
  s.server();
  s.write(0, FULL);
  s.expect(0, data(FULL, { dss: { ack: 1, dsn: 1 } }));
});

script('the application of a server may answer later: no SYN/ACK before it accepts', { accept: 'manual' }, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expectNothing(150);
  s.accept(150);
  s.expect(150, synAckOfHost({ capable: { length: 12 } }));
});

// RFC 9293 (3.10.7.1): refused as a closed port is, without an MPTCP answer to what it has no state for.
script('a SYN that the application rejects is answered with RST', { accept: 'manual' }, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.reject(30, true);
  s.expect(30, rst({ ack: 1 }));
  s.equal(s.host.connectionCount, 0, 'connections');
  s.expectNothing(5_000);
});

script('a SYN that the application rejects in silence gets no answer', { accept: 'manual' }, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.reject(30, false);
  s.expectNothing(5_000);
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('a SYN without a listener is answered with RST', { accept: 'no-listener' }, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, rst({ seq: 0, ack: 1 }));
});

script('a RST in answer to the SYN refuses the connection', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.inject(RTT_MS, rst({ flags: 0x14, ack: 1 }));
  s.equal(s.app.closed, 'refused', 'closed');
  s.expectNothing(5_000);
});

script('more connections than the bound are refused', { host: { maxConnections: 1 } }, (s) => {
  const first = s.listen();
  first.inject(0, syn({ capable: {} }));
  first.expect(0, synAckOfHost({ capable: {} }));
  const second = s.addFlow({ ...first.tuple, remotePort: 40_001 }, 0, false);
  second.inject(5, syn({ capable: {} }));
  second.expect(5, rst());
});
