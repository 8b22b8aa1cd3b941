/** RFC 8684, 3.3: the data sequence mapping, in every width, and the DATA_ACK. */

import { keysOf, NEAR_WRAP_KEY } from './script-crypto.js';
import { ack, data, FULL, rst, script } from './script-host.js';

const TWO = { paths: 2 };

// RFC 8684 (3.3.1): every combination of widths is accepted.
for (const ackBytes of [4, 8] as const) {
  for (const dsnBytes of [4, 8] as const) {
    script(`a mapping with a DATA_ACK of ${ackBytes} and a DSN of ${dsnBytes} bytes is understood`, (s) => {
      s.server();
      s.write(0, 100);
      s.expect(0, data(100, { dss: { dsn: 1 } }));
      s.inject(20, data(300, { dss: { ack: 101, ackBytes, dsn: 1, dsnBytes } }));
      s.expect(45, ack({ ack: 301, dss: { ack: 301 } }));
      s.equal(s.connection.dataUna, 101, 'data acknowledged');
      s.expectNothing(5_000);
    });
  }
}

// RFC 8684 (3.3.1): "the receiver ... determines the upper 32 bits from the state".
script('a 32-bit DSN is expanded across its wrap', { peerKey: NEAR_WRAP_KEY }, (s) => {
  s.server();
  s.assert(keysOf(NEAR_WRAP_KEY).idsn % 0x1_0000_0000n > 0xffff_f000n, 'near the wrap');
  for (let i = 0; i < 6; i++) {
    s.inject(10 * i, data(FULL, { dss: { ack: 1, dsn: 1 + i * FULL, dsnBytes: 4 } }));
    if (i % 2 === 1) s.expect(10 * i, ack({ dss: { ack: 1 + (i + 1) * FULL } }));
  }
  s.equal(s.app.readBytes, 6 * FULL, 'bytes read');
});

script('a 64-bit DSN is carried across the wrap of its low half', { peerKey: NEAR_WRAP_KEY }, (s) => {
  s.server();
  for (let i = 0; i < 6; i++) {
    s.inject(10 * i, data(FULL));
    if (i % 2 === 1) s.expect(10 * i, ack({ dss: { ack: 1 + (i + 1) * FULL } }));
  }
  s.equal(s.app.readBytes, 6 * FULL, 'bytes read');
});

// RFC 8684 (3.3.1): a mapping may cover several segments, and need be in one of them only.
script('a mapping covers the segments that follow without one', (s) => {
  s.server();
  s.inject(0, data(FULL, { dss: { ack: 1, dsn: 1, length: 3 * FULL } }));
  s.inject(1, data(FULL, { dss: { ack: 1 } }));
  s.expect(1, ack({ ack: 2 * FULL + 1, dss: { ack: 2 * FULL + 1 } }));
  s.inject(2, data(FULL, { dss: { ack: 1 } }));
  s.expect(27, ack({ ack: 3 * FULL + 1, dss: { ack: 3 * FULL + 1 } }));
  s.equal(s.app.readBytes, 3 * FULL, 'bytes read');
});

script('a mapping repeated in every segment that it covers is one mapping', (s) => {
  s.server();
  s.inject(0, data(FULL, { dss: { ack: 1, dsn: 1, ssn: 1, length: 2 * FULL } }));
  s.inject(1, data(FULL, { dss: { ack: 1, dsn: 1, ssn: 1, length: 2 * FULL }, payloadAt: FULL + 1 }));
  s.expect(1, ack({ dss: { ack: 2 * FULL + 1 } }));
  s.equal(s.app.readBytes, 2 * FULL, 'bytes read');
});

// RFC 8684 (3.3.1): "the mapping MAY come before the data that it describes", on a segment of its own.
script('a mapping on a pure ACK holds for the data after it', (s) => {
  s.server();
  s.inject(0, ack({ dss: { ack: 1, dsn: 1, ssn: 1, length: 500 } }));
  s.inject(1, data(500, { dss: { ack: 1 } }));
  s.expect(26, ack({ ack: 501, dss: { ack: 501 } }));
  s.equal(s.app.readBytes, 500, 'bytes read');
});

script('a segment with the rest of one mapping needs no option at all', (s) => {
  s.server();
  s.inject(0, data(500, { dss: { ack: 1, dsn: 1, length: 800 } }));
  s.inject(1, data(300, { plain: true }));
  s.expect(25, ack({ ack: 801, dss: { ack: 801 } }));
});

// RFC 8684 (3.3.1): "data ... for which there is no mapping: ... MUST treat as an error: the subflow MUST be closed with RST" once fallback is excluded;
// reason 6 (3.6): a middlebox interferes.
script('data that no mapping covers resets the subflow after a join', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, data(100, { dss: { ack: 1 } }));
  flow.expect(30, rst({ tcpRst: { reason: 6 } }));
  s.expectNothing(2_000);
  s.equal(s.app.readBytes, 0, 'bytes read');
  s.assert(s.app.closed === undefined, 'the connection lives on');
});

script('data is reassembled over subflows in the order of its DSN', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, data(FULL, { dss: { ack: 1, dsn: FULL + 1 } }));
  flow.expect(55, ack({ ack: FULL + 1, dss: { ack: 1 } }));
  s.equal(s.app.readBytes, 0, 'nothing in order yet');
  s.inject(60, data(FULL, { dss: { ack: 1, dsn: 1 } }));
  s.expect(85, ack({ ack: FULL + 1, dss: { ack: 2 * FULL + 1 } }));
  s.equal(s.app.readBytes, 2 * FULL, 'bytes read');
});

// RFC 8684 (3.3.6): the same data may come on more than one subflow; the first counts.
script('data that comes twice on different subflows is read once', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.inject(30, data(FULL, { dss: { ack: 1, dsn: 1 } }));
  flow.inject(31, data(FULL, { dss: { ack: 1, dsn: 1 } }));
  s.expect(55, ack({ ack: FULL + 1, dss: { ack: FULL + 1 } }));
  flow.expect(56, ack({ ack: FULL + 1, dss: { ack: FULL + 1 } }));
  s.equal(s.app.readBytes, FULL, 'bytes read');
});

script('data that overlaps what was read already is read from where it is new', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.inject(30, data(600, { dss: { ack: 1, dsn: 1 } }));
  flow.inject(31, data(FULL, { dss: { ack: 1, dsn: 301 } }));
  s.expect(55, ack({ dss: { ack: 1_301 } }));
  flow.expect(56, ack({ dss: { ack: 1_301 } }));
  s.equal(s.app.readBytes, 1_300, 'bytes read');
});

// RFC 8684 (3.3.2): the DATA_ACK is on every segment once the keys are known.
script('every data segment carries a DATA_ACK', (s) => {
  s.server();
  s.inject(0, data(100));
  s.write(5, 3 * FULL);
  for (let i = 0; i < 3; i++) s.expect(5, data(FULL, { ack: 101, dss: { ack: 101 } }));
  s.inject(25, ack());
});

// RFC 8684 (3.3.1): SSN is relative to the initial sequence number of the subflow, the length that of the whole mapping.
script('one mapping covers a super-segment and is repeated in each of its segments', (s) => {
  s.server();
  s.write(0, 4 * FULL);
  for (let i = 0; i < 4; i++) {
    s.expect(0, data(FULL, { seq: 1 + i * FULL, dss: { dsn: 1, ssn: 1, length: 4 * FULL, dsnBytes: 8, checksum: false } }));
  }
  s.inject(20, ack());
  s.write(21, 10);
  s.expect(21, data(10, { seq: 4 * FULL + 1, dss: { dsn: 4 * FULL + 1, ssn: 4 * FULL + 1, length: 10 } }));
  s.inject(41, ack());
});

// RFC 8684 (3.3.6), trap of Linux: a retransmission on the same subflow must carry the same mapping.
script('a retransmission carries the mapping of the original', (s) => {
  s.server();
  s.write(0, 2 * FULL);
  s.expect(0, data(FULL, { dss: { dsn: 1, ssn: 1, length: 2 * FULL } }));
  s.expect(0, data(FULL, { dss: { dsn: 1, ssn: 1, length: 2 * FULL } }));
  s.inject(20, ack({ ack: FULL + 1, dss: { ack: FULL + 1 } }));
  s.expect(85, data(FULL, { seq: FULL + 1, dss: { dsn: 1, ssn: 1, length: 2 * FULL } }));
  s.inject(105, ack());
});

// RFC 8684 (3.3.2): data may be freed only once it has its DATA_ACK; the subflow's ACK says nothing of the connection.
script('data acknowledged on the subflow but not at data level is kept, and sent again when the subflow is lost', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 1, false);
  s.write(30, FULL);
  s.expect(30, data(FULL, { dss: { dsn: 1 } }));
  s.inject(50, ack({ ack: FULL + 1, dss: { ack: 1 } }));
  s.setPathUsable(55, 1, true);
  s.inject(60, rst());
  flow.expect(60, data(FULL, { seq: 1, dss: { dsn: 1, ssn: 1, length: FULL } }));
  flow.inject(80, ack());
  s.expectNothing(5_000);
});

// RFC 8684 (3.3.2): a DATA_ACK may come on any subflow.
script('a DATA_ACK on another subflow acknowledges the data', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 1, false);
  s.write(30, FULL);
  s.expect(30, data(FULL));
  s.setPathUsable(31, 1, true);
  flow.inject(50, ack({ dss: { ack: FULL + 1 } }));
  s.equal(s.connection.dataUna, FULL + 1, 'data acknowledged');
  // RFC 8684 (3.3.6): the subflow still owes its own bytes.
  s.expect(95, data(FULL, { seq: 1, dss: { dsn: 1 } }));
  s.inject(115, ack());
});

script('a DATA_ACK beyond what was sent is ignored', (s) => {
  s.server();
  s.write(0, 100);
  s.expect(0, data(100));
  s.inject(20, ack({ dss: { ack: 5_000 } }));
  s.equal(s.connection.dataUna, 1, 'data acknowledged');
  s.inject(30, ack({ dss: { ack: 101 } }));
  s.equal(s.connection.dataUna, 101, 'data acknowledged');
});

script('an old DATA_ACK takes nothing back', (s) => {
  s.server();
  s.write(0, 100);
  s.expect(0, data(100));
  s.inject(20, ack());
  s.inject(30, ack({ dss: { ack: 1 } }));
  s.equal(s.connection.dataUna, 101, 'data acknowledged');
  s.expectNothing(5_000);
});

// RFC 8684 (3.3.4): the window is one, and a DSN outside it is not taken.
script('a mapping far outside the receive window is not read', (s) => {
  s.server();
  s.inject(0, data(100, { dss: { ack: 1, dsn: 200_000_000 } }));
  s.advance(50);
  s.flow.unexpected.length = 0;
  s.equal(s.app.readBytes, 0, 'bytes read');
  s.equal(s.connection.dataAckOffset, 1, 'DATA_ACK');
});

script('a mapping of a DSN before the first byte is not read', (s) => {
  s.server();
  s.inject(0, data(100, { dss: { ack: 1, dsn: -500 } }));
  s.advance(50);
  s.flow.unexpected.length = 0;
  s.equal(s.app.readBytes, 0, 'bytes read');
});

// RFC 8684 (3.3): reserved bits "MUST be set to zero ... and ignored on receipt"; a malformed option is as if it were not there.
script('a malformed DSS is ignored, its segment acknowledged by what is known', (s) => {
  s.server();
  s.inject(0, data(100, { dss: { ack: 1, dsn: 1, length: 200 } }));
  s.inject(1, data(100, { plain: true, raw: Uint8Array.of(30, 7, 0x20, 0x01, 0, 0, 0) }));
  s.expect(25, ack({ ack: 201, dss: { ack: 201 } }));
  s.equal(s.app.readBytes, 200, 'bytes read');
});

script('reserved bits of a DSS are ignored on receipt', (s) => {
  s.server();
  const dsnLow = Number((s.peer.idsn + 1n) & 0xffff_ffffn);
  const raw = new Uint8Array(14);
  raw.set([30, 14, 0x2f, 0xe4, dsnLow >>> 24, dsnLow >>> 16, dsnLow >>> 8, dsnLow, 0, 0, 0, 1, 0, 100]);
  s.inject(0, data(100, { plain: true, raw }));
  s.expect(25, ack({ ack: 101, dss: { ack: 101 } }));
});

// RFC 8684 (3.1): subtype 0xf is for private use: passed over.
script('an option of the private-use subtype is passed over', (s) => {
  s.server();
  s.inject(0, data(100, { dss: { ack: 1, dsn: 1 }, raw: Uint8Array.of(30, 4, 0xf0, 0) }));
  s.expect(25, ack({ ack: 101, dss: { ack: 101 } }));
});

// RFC 8684 (3.3.6): reinjection of what a silent subflow carries.
script('data of a subflow that times out goes again on the other', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 1, false);
  s.write(30, FULL);
  s.expect(30, data(FULL));
  s.setPathUsable(31, 1, true);
  s.expect(95, data(FULL, { seq: 1 }));
  s.expect(295, data(FULL, { seq: 1 }));
  flow.expect(295, data(FULL, { seq: 1, dss: { dsn: 1, ssn: 1, length: FULL } }));
  flow.inject(315, ack());
  s.inject(316, ack());
});

script('data of a path that went down goes again on the other at once', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 1, false);
  s.write(30, 2 * FULL);
  s.expect(30, data(FULL));
  s.expect(30, data(FULL));
  s.setPathUsable(31, 1, true);
  s.setPathUsable(40, 0, false);
  flow.expect(40, data(FULL, { seq: 1, dss: { dsn: 1, ssn: 1, length: 2 * FULL } }));
  flow.expect(40, data(FULL, { seq: FULL + 1 }));
  flow.inject(60, ack());
});

// RFC 8684 (3.3.6): what was DATA_ACKed meanwhile need not travel again.
script('what has its DATA_ACK is not reinjected', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 1, false);
  s.write(30, 2 * FULL);
  s.expect(30, data(FULL));
  s.expect(30, data(FULL));
  s.setPathUsable(31, 1, true);
  s.inject(50, ack({ ack: FULL + 1, dss: { ack: FULL + 1 } }));
  s.setPathUsable(55, 0, false);
  flow.expect(55, data(FULL, { seq: 1, dss: { dsn: FULL + 1, ssn: 1, length: FULL } }));
  flow.inject(75, ack());
});

// RFC 8684 (3.3.6): the data-level retransmission timer: the subflow has its ACK, the connection has not.
script('data that the subflow acknowledged and the connection did not is sent again at last', (s) => {
  s.server();
  s.write(0, FULL);
  s.expect(0, data(FULL, { dss: { dsn: 1, ssn: 1 } }));
  s.inject(20, ack({ ack: FULL + 1, dss: { ack: 1 } }));
  s.expectNothing(150);
  s.expect(1_020, data(FULL, { seq: FULL + 1, dss: { dsn: 1, ssn: FULL + 1, length: FULL } }), 850);
  s.advance(1_100);
  s.inject(1_100, ack({ dss: { ack: FULL + 1 } }));
  s.flow.unexpected.length = 0;
  s.expectNothing(60_000);
});

script('a DATA_ACK a little late causes no retransmission', (s) => {
  s.server();
  s.write(0, FULL);
  s.expect(0, data(FULL));
  s.inject(20, ack({ ack: FULL + 1, dss: { ack: 1 } }));
  s.inject(100, ack({ dss: { ack: FULL + 1 } }));
  s.expectNothing(60_000);
});
