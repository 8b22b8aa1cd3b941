/** RFC 7323: timestamps, PAWS; and keepalive (RFC 9293, 3.8.4). */

import { ack, data, fin, RTT_MS, rst, type ScriptHost, script, syn, synAck, synAckOfHost, synOfHost } from './script-host.js';

const OFFERED = { host: { timestamps: true } };
const SEG = 1_012;

/** An established plain connection with timestamps; the peer's clock shows `value` at time 0. */
function established(s: ScriptHost, value = 1_000): number {
  s.listen();
  s.inject(0, syn({ ts: { value: value - RTT_MS } }));
  const sent = s.expect(0, synAckOfHost({ ts: { echo: value - RTT_MS } }));
  s.inject(RTT_MS, ack({ ts: { value, echo: sent.timestampValue } }));
  s.restartTime();
  return sent.timestampValue + RTT_MS;
}

// RFC 7323 (3.2): offered in the SYN; used only when both did.
script('a host that wants timestamps offers them in its SYN', OFFERED, (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {}, ts: { echo: 0 } }));
});

script('a host that does not want them offers none', (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {}, ts: false }));
});

script('a SYN without timestamps is answered without', OFFERED, (s) => {
  s.listen();
  s.inject(0, syn());
  s.expect(0, synAckOfHost({ ts: false }));
  s.inject(20, ack());
  s.write(30, 100);
  s.expect(30, data(100, { ts: false }));
  s.inject(50, ack());
});

script('a SYN/ACK without timestamps turns them off', OFFERED, (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: {}, ts: {} }));
  s.inject(20, synAck());
  s.expect(20, ack({ ts: false }));
});

script('a SYN with timestamps to a host that does not want them is answered without', (s) => {
  s.listen();
  s.inject(0, syn({ ts: { value: 7 } }));
  s.expect(0, synAckOfHost({ ts: false }));
});

// RFC 7323 (3.2): in every segment once agreed; RFC 7323 (5.4): a clock of about a millisecond.
script('every segment carries a timestamp that runs with the clock', OFFERED, (s) => {
  const zero = established(s);
  s.write(100, SEG);
  s.expect(100, data(SEG, { ts: { value: (zero + 100) >>> 0, echo: 1_000 } }));
  s.inject(120, ack({ ts: { value: 1_120, echo: zero + 100 } }));
  s.inject(300, data(100, { ts: { value: 1_300, echo: zero + 100 } }));
  s.expect(325, ack({ ts: { value: (zero + 325) >>> 0, echo: 1_300 } }));
  s.finish(400);
  s.expect(400, fin({ ts: { echo: 1_300 } }));
  s.inject(420, ack({ ts: { value: 1_420, echo: zero + 400 } }));
});

script('timestamps take their place from the payload', OFFERED, (s) => {
  established(s);
  s.write(0, 2 * SEG);
  const sent = s.expect(0, data(SEG, { ts: {} }));
  s.expect(0, data(SEG, { ts: {} }));
  s.assert(sent.payload.length + sent.optionBytes <= 1_024, 'within the MSS');
  s.inject(20, ack({ ts: { value: 1_020, echo: sent.timestampValue } }));
});

// RFC 7323 (4.1): a measurement even of what was sent twice.
script('a retransmission gives a round trip time by its timestamp', OFFERED, (s) => {
  const zero = established(s);
  s.write(0, 100);
  s.expect(0, data(100));
  s.expect(65, data(100, { ts: { value: (zero + 65) >>> 0 } }));
  s.inject(105, ack({ ts: { value: 1_105, echo: zero + 65 } }));
  const srttMs = s.connection.subflows[0]?.recovery.rtt.srttMs ?? -1;
  s.assert(srttMs > 20 && srttMs <= 40, `SRTT ${srttMs}`);
});

// RFC 7323 (5.3): what lies outside of the window does not move the peer's TS.Recent. By RFC 2883 it tells that this is the case.
script('an acknowledgement of what came twice gives none: it echoes the first time', OFFERED, (s) => {
  const zero = established(s);
  s.write(0, 100);
  s.expect(0, data(100));
  for (const at of [65, 265, 665]) s.expect(at, data(100));
  s.inject(685, ack({ ts: { value: 1_685, echo: zero }, sack: [[1, 101]] }));
  const { rtt } = s.connection.subflows[0]?.recovery ?? {};
  s.assert(rtt !== undefined && rtt.srttMs <= 20, `SRTT ${rtt?.srttMs}`);
  s.equal(rtt?.rtoMs, 200, 'RTO');
});

// RFC 7323 (5.3, R1): PAWS: an old timestamp: the segment is dropped, an ACK sent.
script('a segment with an old timestamp is dropped and acknowledged', OFFERED, (s) => {
  const zero = established(s);
  s.inject(10, data(100, { ts: { value: 1_010, echo: zero } }));
  s.expect(35, ack({ ack: 101 }));
  s.inject(40, data(100, { ts: { value: 500, echo: zero } }));
  s.expect(40, ack({ ack: 101, ts: { echo: 1_010 } }));
  s.equal(s.app.readBytes, 100, 'bytes read');
});

script('the timestamp of the peer may wrap', OFFERED, (s) => {
  const zero = established(s, 0xffff_fff0);
  s.inject(10, data(100, { ts: { value: 0xffff_fffa, echo: zero } }));
  s.expect(35, ack({ ack: 101 }));
  s.inject(40, data(100, { ts: { value: 0x0000_0018, echo: zero } }));
  s.expect(65, ack({ ack: 201, ts: { echo: 0x18 } }));
  s.equal(s.app.readBytes, 200, 'bytes read');
});

// RFC 7323 (5.2): a RST is not subject to PAWS.
script('a RST with an old timestamp is accepted', OFFERED, (s) => {
  established(s);
  s.inject(10, rst({ ts: { value: 1, echo: 0 } }));
  s.equal(s.host.connectionCount, 0, 'connections');
});

// RFC 7323 (4.3): with a delayed ACK the earliest segment's timestamp is echoed.
script('a delayed ACK echoes the timestamp of the first segment that it covers', OFFERED, (s) => {
  const zero = established(s);
  s.inject(10, data(100, { ts: { value: 1_010, echo: zero } }));
  s.inject(20, data(100, { ts: { value: 1_020, echo: zero } }));
  s.expect(35, ack({ ack: 201, ts: { echo: 1_010 } }));
});

// RFC 7323 (4.3): a segment beyond a hole does not move TS.Recent; the one that fills it does.
script('out of order the timestamp of the last segment in order is echoed', OFFERED, (s) => {
  const zero = established(s);
  s.inject(10, data(100, { ts: { value: 1_010, echo: zero } }));
  s.expect(35, ack({ ack: 101 }));
  s.inject(40, data(100, { seq: 201, ts: { value: 1_040, echo: zero } }));
  s.expect(40, ack({ ack: 101, ts: { echo: 1_010 } }));
  s.inject(50, data(100, { seq: 101, ts: { value: 1_050, echo: zero } }));
  s.expect(50, ack({ ack: 301, ts: { echo: 1_050 } }));
});

// RFC 7323 (5.3, R2 before R3): what is outside the window must not move TS.Recent, or a forged segment closes the ears of the host.
script('a segment outside the window does not move the timestamp that is echoed', OFFERED, (s) => {
  const zero = established(s);
  s.inject(10, data(100, { ts: { value: 1_010, echo: zero } }));
  s.expect(35, ack({ ack: 101 }));
  s.inject(40, data(10, { seq: -50_000, ts: { value: 0x4000_0000, echo: zero } }));
  s.expect(40, ack({ ack: 101, ts: { echo: 1_010 } }));
  s.inject(50, data(100, { seq: 101, ts: { value: 1_050, echo: zero } }));
  s.expect(75, ack({ ack: 201 }));
  s.equal(s.app.readBytes, 200, 'bytes read');
});

// RFC 8684 (3.4.1), the option space: DSS, timestamps, and the rest where there is room.
script('a segment of MPTCP with timestamps and SACK stays within 40 bytes of options', OFFERED, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {}, ts: { value: 1 } }));
  const sent = s.expect(0, synAckOfHost({ capable: {}, ts: { echo: 1 } }));
  s.assert(sent.optionBytes <= 40, `${sent.optionBytes} bytes`);
  s.inject(20, ack({ capable: {}, ts: { value: 20, echo: sent.timestampValue } }));
  s.mptcp = true;
  s.inject(30, data(100, { seq: 101, dss: { ack: 1, dsn: 101, dsnBytes: 4 }, ts: { value: 30, echo: sent.timestampValue } }));
  const gap = s.expect(30, ack({ ack: 1, ts: { echo: 20 }, dss: { ack: 1 }, sack: [[101, 201]] }));
  s.assert(gap.optionBytes <= 40, `${gap.optionBytes} bytes`);
});

script('an IPv6 address is announced beside timestamps, on an ACK of its own', OFFERED, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {}, ts: { value: 1 } }));
  const sent = s.expect(0, synAckOfHost({ capable: {}, ts: {} }));
  s.inject(20, ack({ capable: {}, ts: { value: 20, echo: sent.timestampValue } }));
  s.mptcp = true;
  const address = Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7);
  s.act(30, 'announce', () => s.connection.addresses.announce({ addressId: 3, address, port: 0 }, s.clock.nowMs));
  s.expect(30, ack({ ts: {}, addAddr: { id: 3, address } }));
});

// With a port 30 bytes, and timestamps 12: the timestamp gives way.
script('an IPv6 address with port is announced although timestamps are in use', OFFERED, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {}, ts: { value: 1 } }));
  const sent = s.expect(0, synAckOfHost({ capable: {}, ts: {} }));
  s.inject(20, ack({ capable: {}, ts: { value: 20, echo: sent.timestampValue } }));
  s.mptcp = true;
  const address = Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7);
  s.act(30, 'announce', () => s.connection.addresses.announce({ addressId: 3, address, port: 8_443 }, s.clock.nowMs));
  s.expect(30, ack({ addAddr: { id: 3, address, port: 8_443 } }));
});

// RFC 9293 (3.8.4): off by default; a segment below the window asks for an ACK.
script('without keepalive an idle connection says nothing', (s) => {
  s.plainServer();
  s.expectNothing(10_000_000);
  s.assert(s.app.closed === undefined, 'open');
});

script('keepalive probes an idle connection, and goes on when it is answered', { host: { keepaliveMs: 60_000 } }, (s) => {
  s.plainServer();
  s.expect(60_000, ack({ seq: 0 }), 50);
  s.inject(60_060, ack());
  s.expect(120_060, ack({ seq: 0 }), 50);
  s.inject(120_120, ack());
});

script('keepalive without answer ends the connection', { host: { keepaliveMs: 60_000 } }, (s) => {
  s.plainServer();
  s.advance(3_000_000);
  s.assert(s.flow.unexpected.length >= 3, `${s.flow.unexpected.length} probes`);
  s.flow.unexpected.length = 0;
  s.equal(s.app.closed, 'timeout', 'closed');
});

script('a keepalive of the peer is answered', (s) => {
  s.server();
  s.inject(1_000, ack({ seq: 0 }));
  s.expect(1_000, ack({ seq: 1, ack: 1 }));
});

script('a keepalive of the peer with a byte of old data is answered', (s) => {
  s.plainServer();
  s.inject(0, data(100));
  s.expect(25, ack({ ack: 101 }));
  s.inject(1_000, data(1, { seq: 100 }));
  s.expect(1_000, ack({ seq: 1, ack: 101 }));
  s.equal(s.app.readBytes, 100, 'bytes read');
});
