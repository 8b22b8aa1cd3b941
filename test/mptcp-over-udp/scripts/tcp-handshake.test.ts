/** RFC 9293, 3.5 and 3.10.7: the three-way handshake; RFC 6298: its timer; RFC 5961. Plain TCP, so that nothing but TCP is looked at. */

import { ack, data, fin, RTT_MS, rst, script, syn, synAck, synAckOfHost, synOfHost } from './script-host.js';

// RFC 9293 (3.7.1): the MSS that is sent is what the path carries; RFC 7323 (2.2), RFC 2018 (2).
script('a SYN offers MSS, SACK and window scale', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {}, mss: 1_024, sackOk: true, wscale: 10 }));
});

script('segments are no larger than the MSS of the peer', (s) => {
  s.plainServer({ synOptions: { mss: 600 } });
  s.write(0, 1_500);
  for (const len of [600, 600, 300]) s.expect(0, data(len));
  s.inject(20, ack());
});

script('segments are no larger than the path carries, whatever the peer offers', (s) => {
  s.plainServer({ synOptions: { mss: 8_960 } });
  s.write(0, 2_048);
  s.expect(0, data(1_024));
  s.expect(0, data(1_024));
  s.inject(20, ack());
});

// RFC 6691, RFC 9293 (3.7.1): options count.
script('MPTCP options take their place from the payload of a segment', (s) => {
  s.server({ synOptions: { mss: 600 } });
  s.write(0, 576);
  const sent = s.expect(0, data(576));
  s.assert(sent.payload.length + sent.optionBytes <= 600, `${sent.payload.length} and ${sent.optionBytes} bytes of options`);
  s.inject(20, ack());
});

// RFC 6298 (5.5): doubled at each timeout; DEVIATION (2.1): the first follows the RTT of the path.
script('the SYN timer backs off, and the connection is given up at last', { host: { capableSynCount: 100 } }, (s) => {
  s.connect(0);
  for (const at of [0, 300, 900, 2_100, 4_500, 9_300, 18_900]) s.expect(at, synOfHost({ capable: {} }), 2);
  s.expectNothing(38_000);
  s.advance(40_000);
  s.equal(s.app.closed, 'timeout', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('the SYN/ACK timer backs off, and the connection is given up at last', (s) => {
  s.listen();
  s.inject(0, syn());
  for (const at of [0, 300, 900, 2_100, 4_500, 9_300, 18_900]) s.expect(at, synAckOfHost(), 2);
  s.advance(40_000);
  s.equal(s.app.closed, 'timeout', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
});

// RFC 9293 (3.10.7.3): first, check the ACK bit: unacceptable: <SEQ=SEG.ACK><CTL=RST>.
script('a SYN/ACK of the wrong acknowledgement number is answered with RST', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.inject(20, synAck({ ack: 77 }));
  s.expect(20, rst({ seq: 77 }));
  s.inject(30, synAck({ seq: 0, ack: 1 }));
  s.expect(30, ack({ seq: 1, ack: 1 }));
});

script('a RST of the wrong acknowledgement number in SYN-SENT is ignored', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.inject(20, rst({ flags: 0x14, seq: 0, ack: 77 }));
  s.assert(s.app.closed === undefined, 'still connecting');
  s.inject(30, synAck({ seq: 0 }));
  s.expect(30, ack());
});

script('a RST without ACK in SYN-SENT is ignored', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.inject(20, rst({ seq: 0 }));
  s.assert(s.app.closed === undefined, 'still connecting');
});

// RFC 9293 (3.10.7.4): in SYN-RECEIVED an unacceptable ACK: <SEQ=SEG.ACK><CTL=RST>.
script('a third ACK of the wrong acknowledgement number is answered with RST', (s) => {
  s.listen();
  s.inject(0, syn());
  s.expect(0, synAckOfHost());
  s.inject(20, ack({ ack: 99 }));
  s.expect(20, rst({ seq: 99 }));
  s.inject(30, ack({ ack: 1 }));
  s.assert(s.app.established, 'established');
});

script('a RST in SYN-RECEIVED ends it', (s) => {
  s.listen();
  s.inject(0, syn());
  s.expect(0, synAckOfHost());
  s.inject(20, rst());
  s.equal(s.host.connectionCount, 0, 'connections');
  s.expectNothing(5_000);
});

script('data with the third ACK is read', (s) => {
  s.listen();
  s.inject(0, syn());
  s.expect(0, synAckOfHost());
  s.inject(20, data(300));
  s.expect(45, ack({ ack: 301 }));
  s.equal(s.app.readBytes, 300, 'bytes read');
});

script('a FIN with the third ACK ends the stream', (s) => {
  s.listen();
  s.inject(0, syn());
  s.expect(0, synAckOfHost());
  s.inject(20, fin());
  s.expect(20, ack({ ack: 2 }));
  s.assert(s.app.ended, 'ended');
});

script('a SYN/ACK that comes again is acknowledged again', (s) => {
  s.plainClient();
  s.inject(10, synAck({ seq: 0 }));
  s.expect(10, ack({ seq: 1, ack: 1 }));
  s.expectNothing(5_000);
});

// RFC 9293 (3.10.7.4): "if the ACK bit is off, drop the segment".
script('a segment without ACK is dropped', (s) => {
  s.plainServer();
  s.inject(0, { flags: 0x08, len: 100 });
  s.expectNothing(1_000);
  s.equal(s.app.readBytes, 0, 'bytes read');
});

// RFC 6298 (2): the first measurement is that of the handshake: RTO = max(200, 20 + 4 * 10).
script('the handshake gives the first round trip time', (s) => {
  s.plainServer();
  const rtt = s.connection.subflows[0]?.recovery.rtt;
  s.equal(rtt?.srttMs, 20, 'SRTT');
  s.equal(rtt?.rttvarMs, 10, 'RTTVAR');
});

// RFC 6298 (3): Karn: a repeated SYN gives no measurement.
script('a handshake with a repeated SYN gives no round trip time', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.expect(300, synOfHost({ capable: {} }));
  s.inject(310, synAck());
  s.expect(310, ack());
  s.equal(s.connection.subflows[0]?.recovery.rtt.srttMs, -1, 'SRTT');
});

script('the peer sequence number wraps', (s) => {
  s.plainServer();
  s.assert(s.flow.peerIss > 0xffff_f000, 'close to the wrap');
  s.inject(0, data(1_000));
  s.inject(1, data(1_000));
  s.expect(1, ack({ ack: 2_001 }));
  s.equal(s.app.readBytes, 2_000, 'bytes read');
});

script('a window in the SYN is not scaled, one in the third ACK is', (s) => {
  s.listen();
  s.inject(0, syn({ wscale: 4, win: 1_000 }));
  s.expect(0, synAckOfHost());
  s.inject(RTT_MS, ack({ win: 100 }));
  s.write(30, 2_000);
  s.expect(30, data(1_024));
  s.expect(30, data(576));
  s.inject(50, ack({ win: 100 }));
  s.expect(50, data(400));
  s.inject(70, ack({ win: 100 }));
});

// RFC 9293 (3.5, MUST-10): simultaneous open.
script('SYNs that cross make a connection', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {} }));
  s.inject(10, syn({ seq: 0 }));
  s.expect(10, synAckOfHost({ plain: true }));
  s.inject(20, synAck({ seq: 0, ack: 1 }));
  s.advance(25);
  s.flow.unexpected.length = 0;
  s.assert(s.app.established, 'established');
});
