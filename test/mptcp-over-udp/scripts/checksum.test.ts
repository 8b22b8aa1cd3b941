/** RFC 8684, 3.3.1: the DSS checksum, negotiated by the A flag (3.1). */

import { ack, data, FULL, fin, RTT_MS, rst, script, syn, synAck, synAckOfHost, synOfHost } from './script-host.js';

const ASKED = { host: { checksum: true } };
const PEER_ASKS = { capableFlags: 0x81 };

// RFC 8684 (3.1): A set by either side makes both use checksums.
script('a host that asks for checksums sets A in its SYN', ASKED, (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: { flags: 0x81 } }));
  s.inject(RTT_MS, synAck({ capable: { flags: 0x01 } }));
  s.expect(RTT_MS, ack({ capable: { length: 20, flags: 0x81 } }));
});

script('a host that asks for checksums sets A in its SYN/ACK', ASKED, (s) => {
  s.listen();
  s.inject(0, syn({ capable: { flags: 0x01 } }));
  s.expect(0, synAckOfHost({ capable: { flags: 0x81 } }));
});

script('a client whose server sets A confirms A in the third ACK', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: { flags: 0x01 } }));
  s.inject(RTT_MS, synAck({ capable: { flags: 0x81 } }));
  s.expect(RTT_MS, ack({ capable: { length: 20, flags: 0x81 } }));
});

script('mappings carry the right checksum when the peer asks', (s) => {
  s.server(PEER_ASKS);
  s.write(0, 500);
  s.expect(0, data(500, { dss: { dsn: 1, ssn: 1, length: 500, checksum: true } }));
  s.inject(20, ack());
});

script('mappings carry the right checksum when the host asks', ASKED, (s) => {
  s.server();
  s.write(0, 501);
  s.expect(0, data(501, { dss: { dsn: 1, length: 501, checksum: true } }));
  s.inject(20, ack());
});

// RFC 8684 (3.3.1): over the whole mapping, not the segment.
script('the checksum of a super-segment covers the whole mapping', (s) => {
  s.server(PEER_ASKS);
  s.write(0, 3 * FULL + 77);
  for (let i = 0; i < 3; i++) s.expect(0, data(FULL, { dss: { dsn: 1, length: 3 * FULL + 77, checksum: true } }));
  s.expect(0, data(77, { dss: { dsn: 1, length: 3 * FULL + 77, checksum: true } }));
  s.inject(20, ack());
});

script('without checksums negotiated none is sent', (s) => {
  s.server();
  s.write(0, 500);
  s.expect(0, data(500, { dss: { checksum: false } }));
  s.inject(20, ack());
});

script("the client's first data has its checksum in MP_CAPABLE of 24 bytes", (s) => {
  s.client({ capableFlags: 0x81, proved: false });
  s.write(0, 300);
  s.expect(0, data(300, { capable: { length: 24, dataLength: 300, checksum: true } }));
  s.inject(20, ack());
});

script('first data with MP_CAPABLE and a right checksum is read', (s) => {
  s.server(PEER_ASKS);
  s.inject(0, data(300, { capable: { flags: 0x81, checksum: true } }));
  s.expect(25, ack({ dss: { ack: 301 } }));
  s.equal(s.app.readBytes, 300, 'bytes read');
});

script('a DATA_FIN carries a checksum over no byte', (s) => {
  s.server(PEER_ASKS);
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 1, ssn: 0, length: 1, fin: true, checksum: true } }));
  s.inject(20, ack({ dss: { ack: 2 } }));
});

script('a pure DATA_ACK carries none', (s) => {
  s.server(PEER_ASKS);
  s.inject(0, data(100));
  s.expect(25, ack({ dss: { ack: 101, checksum: false } }));
});

script('data with a right checksum is read', (s) => {
  s.server(PEER_ASKS);
  s.inject(0, data(777));
  s.expect(25, ack({ dss: { ack: 778 } }));
  s.equal(s.app.readBytes, 777, 'bytes read');
});

script('data with a right checksum and a 32-bit DSN is read', (s) => {
  s.server(PEER_ASKS);
  s.inject(0, data(777, { dss: { ack: 1, dsn: 1, dsnBytes: 4, checksum: true } }));
  s.expect(25, ack({ dss: { ack: 778 } }));
  s.equal(s.app.readBytes, 777, 'bytes read');
});

script('data with DATA_FIN and a right checksum is read to its end', (s) => {
  s.server(PEER_ASKS);
  s.inject(0, data(99, { dss: { ack: 1, dsn: 1, fin: true, checksum: true } }));
  s.expect(0, ack({ dss: { ack: 101 } }));
  s.equal(s.app.readBytes, 99, 'bytes read');
  s.assert(s.app.ended, 'ended');
});

// RFC 8684 (3.3.1): a mapping over several segments is judged when it is complete; no byte of it is delivered before.
script('data is held until the whole mapping is there', (s) => {
  s.server(PEER_ASKS);
  s.checksums = false;
  const checksum = s.peerChecksum(1, 1, 2_000);
  s.inject(0, data(FULL, { dss: { ack: 1, dsn: 1, ssn: 1, length: 2_000, checksum } }));
  s.equal(s.app.readBytes, 0, 'bytes read');
  s.inject(5, data(FULL, { dss: { ack: 1, dsn: 1, ssn: 1, length: 2_000, checksum }, payloadAt: FULL + 1 }));
  s.expect(5, ack({ ack: 2_001, dss: { ack: 2_001 } }));
  s.equal(s.app.readBytes, 2_000, 'bytes read');
});

// RFC 8684 (3.3.1): presence other than negotiated: RST.
script('a mapping without the checksum that was negotiated resets the subflow', { paths: 2 }, (s) => {
  s.server(PEER_ASKS);
  const flow = s.peerJoins(0);
  flow.inject(30, data(100, { dss: { ack: 1, dsn: 1 } }));
  flow.expect(30, rst({ tcpRst: { reason: 1 } }));
  s.equal(s.app.readBytes, 0, 'bytes read');
});

script('a mapping with a checksum that was not negotiated resets the subflow', { paths: 2 }, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, data(100, { dss: { ack: 1, dsn: 1, checksum: true } }));
  flow.expect(30, rst({ tcpRst: { reason: 1 } }));
  s.equal(s.app.readBytes, 0, 'bytes read');
});

script('a retransmission carries the checksum of the original', (s) => {
  s.server(PEER_ASKS);
  s.write(0, 2 * FULL);
  s.expect(0, data(FULL, { dss: { checksum: true } }));
  s.expect(0, data(FULL, { dss: { checksum: true } }));
  s.inject(20, ack({ ack: FULL + 1, dss: { ack: 1 } }));
  s.expect(85, data(FULL, { seq: FULL + 1, dss: { dsn: 1, ssn: 1, length: 2 * FULL, checksum: true } }));
  s.inject(105, ack());
});

script('a reinjection on another subflow has a checksum of its own', { paths: 2 }, (s) => {
  s.server(PEER_ASKS);
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 1, false);
  s.write(30, 2 * FULL);
  s.expect(30, data(FULL));
  s.expect(30, data(FULL));
  s.setPathUsable(35, 1, true);
  s.setPathUsable(40, 0, false);
  flow.expect(40, data(FULL, { dss: { dsn: 1, ssn: 1, length: 2 * FULL, checksum: true } }));
  flow.expect(40, data(FULL, { dss: { dsn: 1, ssn: 1, length: 2 * FULL, checksum: true } }));
  flow.inject(60, ack());
});

script('a connection with checksums closes', (s) => {
  s.server(PEER_ASKS);
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 1, fin: true, checksum: true } }));
  s.inject(20, ack({ dss: { ack: 2, dsn: 1, fin: true, checksum: true } }));
  s.expect(20, fin({ dss: { ack: 2 } }));
  s.inject(40, fin());
  s.expect(40, ack());
  s.equal(s.app.closed, 'finished', 'closed');
  s.expectNothing(60_000);
});
