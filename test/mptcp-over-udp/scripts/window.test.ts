/** RFC 8684, 3.3.4: one receive window for all subflows, counted from the DATA_ACK. */

import { ack, data, FULL, RTT_MS, script, syn, synAckOfHost } from './script-host.js';

const TWO = { paths: 2 };
const MANY = { cwndSegments: 200 };
const SCALE = 1024;

// RFC 8684 (3.3.4): "the receive window is shared ... relative to the DATA_ACK".
script('the peer window bounds what is sent, from the DATA_ACK on', (s) => {
  s.server({ win: 2_500 });
  s.write(1, 5_000);
  s.expect(1, data(FULL, { dss: { dsn: 1, length: 2_500 } }));
  s.expect(1, data(FULL));
  s.expect(1, data(500));
  s.expectNothing(15);
  s.inject(21, ack({ win: 2_500 }));
  s.expect(21, data(FULL, { dss: { dsn: 2_501, length: 2_500 } }));
  s.expect(21, data(FULL));
  s.expect(21, data(500));
  s.inject(41, ack({ win: 2_500 }));
});

script('the window scale of the peer is applied', (s) => {
  s.server({ win: 100, synOptions: { wscale: 5 } });
  s.inject(0, ack({ win: 100 }));
  s.write(1, 5_000);
  for (let i = 0; i < 3; i++) s.expect(1, data(FULL));
  s.expect(1, data(200));
  s.inject(21, ack({ win: 1_000 }));
  s.expect(21, data(FULL));
  s.expect(21, data(800));
  s.inject(41, ack({ win: 1_000 }));
});

// RFC 9293 (3.8.6), RFC 8684 (3.3.4): the right edge is the maximum of what was told.
script('an older, smaller window does not take back what was granted', (s) => {
  s.server({ win: 4_000 });
  s.inject(1, ack({ win: 1_000 }));
  s.write(2, 4_000);
  for (let i = 0; i < 4; i++) s.expect(2, data(FULL));
  s.inject(22, ack());
});

script('the window that counts is the largest told on any subflow', TWO, (s) => {
  s.server({ win: 1_000 });
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 1, false);
  s.write(30, 3_000);
  s.advance(30);
  const before = s.flow.unexpected.length;
  s.flow.unexpected.length = 0;
  s.assert(before <= 66, 'bounded by the first window');
  s.inject(31, ack({ ack: 1, dss: { ack: 1 }, win: 0 }));
  s.setPathUsable(32, 1, true);
  flow.inject(40, ack({ dss: { ack: 1 }, win: 3_000 }));
  s.advance(45);
  const edge = s.connection.peerWindowEdge;
  s.assert(edge >= 3_001, `edge ${edge}`);
  s.inject(60, ack());
  s.advance(61);
  s.flow.unexpected.length = 0;
  flow.unexpected.length = 0;
});

// RFC 9293 (3.8.6.1): zero-window probes, with back-off, for ever.
script('a closed window is probed with growing intervals until it opens', (s) => {
  s.server({ win: 1_000 });
  s.write(1, 3_000);
  s.expect(1, data(FULL));
  s.inject(21, ack({ win: 0 }));
  // RFC 6298: RTO here is 200 ms, its floor.
  s.expect(221, ack({ seq: FULL }), 5);
  s.inject(241, ack({ win: 0 }));
  s.expect(621, ack({ seq: FULL }), 5);
  s.inject(641, ack({ win: 0 }));
  s.expect(1_421, ack({ seq: FULL }), 5);
  s.inject(1_441, ack({ win: 5_000 }));
  s.expect(1_441, data(FULL, { dss: { dsn: FULL + 1 } }));
  s.expect(1_441, data(FULL));
  s.inject(1_461, ack());
});

script('probes of a closed window never give up while the peer answers', (s) => {
  s.server({ win: 1_000 });
  s.write(1, 3_000);
  s.expect(1, data(FULL));
  s.inject(21, ack({ win: 0 }));
  let probes = 0;
  for (let at = 100; at < 600_000; at += 100) {
    s.advance(at);
    if (s.flow.unexpected.length === 0) continue;
    probes++;
    s.flow.unexpected.length = 0;
    s.inject(at, ack({ win: 0 }));
  }
  s.assert(probes > 8, `${probes} probes`);
  s.assert(s.app.closed === undefined, 'the connection lives on');
  s.inject(600_000, ack({ win: 5_000 }));
  s.expect(600_000, data(FULL));
  s.expect(600_000, data(FULL));
  s.inject(600_020, ack());
});

script('a window update that the peer sends by itself ends the waiting', (s) => {
  s.server({ win: 1_000 });
  s.write(1, 2_000);
  s.expect(1, data(FULL));
  s.inject(21, ack({ win: 0 }));
  s.inject(100, ack({ win: 4_000 }));
  s.expect(100, data(FULL, { dss: { dsn: FULL + 1 } }));
  s.inject(120, ack());
  s.expectNothing(5_000);
});

// RFC 9293 (3.8.6.2.1): silly windows; a lone rest may go, or a full segment, or half the window.
script('less than a segment of window lets what fits through', (s) => {
  s.server({ win: 400 });
  s.write(1, 1_000);
  s.advance(10_000);
  const bytes = s.flow.unexpected.reduce((sum, sent) => sum + sent.payload.length, 0);
  s.flow.unexpected.length = 0;
  s.assert(bytes > 0, 'no deadlock on a window below the MSS');
});

// RFC 8684 (3.3.4): "the right edge ... MUST NOT retreat".
script('the right edge of the own window never retreats while the reader stands still', MANY, (s) => {
  s.server();
  s.app.readLimit = 0;
  let edge = 0;
  for (let i = 0; i < 60; i++) {
    s.inject(i, data(FULL));
    for (const sent of s.flow.unexpected.splice(0)) {
      const { dss } = sent.mptcp;
      const right = s.relativeDsn('peer', dss.dataAckHigh, dss.dataAckLow, dss.dataAckBytes) + sent.window * SCALE;
      s.assert(right + SCALE > edge, `edge ${right} after ${edge}`);
      edge = Math.max(edge, right);
    }
  }
  s.assert(edge > 0, 'segments were seen');
  s.equal(s.app.readBytes, 0, 'bytes read');
});

/** Fills the window of a reader that stands still; returns the bytes it took. */
function fillWindow(s: Parameters<Parameters<typeof script>[2]>[0]): number {
  s.app.readLimit = 0;
  let at = 0;
  let windowBytes = Number.POSITIVE_INFINITY;
  let sent = 0;
  while (windowBytes >= FULL && sent < 8_000_000) {
    s.inject(at, data(FULL));
    sent += FULL;
    at += 0.1;
    const last = s.flow.unexpected.splice(0).at(-1);
    if (last !== undefined) windowBytes = last.window * SCALE;
  }
  return sent;
}

script('the window closes when the reader stands still', (s) => {
  s.server();
  const sent = fillWindow(s);
  // RFC 8684 (3.3.4): what was promised at first, and what the window may have grown by while data came in a flood.
  s.assert(sent <= 4_000_000, `${sent} bytes were taken`);
  s.equal(s.app.readBytes, 0, 'bytes read');
  s.advance(300);
  s.flow.unexpected.length = 0;
});

script('data beyond the closed window is not taken', (s) => {
  s.server();
  const sent = fillWindow(s);
  s.advance(300);
  s.flow.unexpected.length = 0;
  for (let i = 0; i < 100; i++) s.inject(300 + i, data(FULL));
  s.flow.unexpected.length = 0;
  s.assert(s.connection.dataAckOffset <= sent + 1 + 70_000, 'a bounded overrun');
  s.assert(s.host.pool.inUseBytes < 3 * sent + 1_000_000, `${s.host.pool.inUseBytes} bytes held`);
  s.advance(1_000);
  s.flow.unexpected.length = 0;
});

// RFC 9293 (3.8.6.2.2): the update comes when the reader has made room, without being asked.
script('reading from a closed window sends a window update', (s) => {
  s.server();
  fillWindow(s);
  s.advance(300);
  s.flow.unexpected.length = 0;
  s.read(300);
  const update = s.expect(300, ack({ dss: {} }));
  s.assert(update.window * SCALE >= 400_000, `window ${update.window * SCALE}`);
});

script('a zero-window probe of the peer is answered with the window', (s) => {
  s.server();
  fillWindow(s);
  s.advance(300);
  s.flow.unexpected.length = 0;
  s.inject(400, ack({ seq: s.flow.peerNext - 1 }));
  const answer = s.expect(400, ack({ ack: s.flow.peerNext, dss: {} }));
  s.assert(answer.window * SCALE < FULL * 2, 'still closed');
});

// RFC 7323 (2.2): no scale in a SYN.
script('the window of a SYN/ACK is not scaled', (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: {}, win: 65_535 }));
});

script('without window scale of the peer the own window is not scaled either', (s) => {
  s.listen();
  s.inject(0, { flags: 0x02, mss: 1_460, capable: {} });
  s.expect(0, synAckOfHost({ capable: {}, wscale: -1 }));
  s.inject(RTT_MS, ack({ capable: {} }));
  s.mptcp = true;
  s.inject(30, data(100));
  s.expect(55, ack({ win: 65_535 }));
});

// RFC 8684 (3.3.4): the window of one subflow is that of the connection.
script('both subflows tell the same window', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.inject(30, data(FULL));
  const first = s.expect(55, ack());
  flow.inject(60, data(FULL));
  const second = flow.expect(85, ack());
  s.assert(Math.abs(first.window - second.window) <= 2, `${first.window} and ${second.window}`);
});

// Backpressure: the send buffer is bounded, and the writer is called back.
script('a full send buffer takes less, and calls the writer back', (s) => {
  s.server({ win: 1_000 });
  let taken = 0;
  s.act(1, 'write 1 MB', () => {
    taken = s.app.write(1_000_000);
  });
  s.assert(taken > 0 && taken < 1_000_000, `took ${taken}`);
  s.equal(s.app.writableCount, 0, 'onWritable calls');
  s.expect(1, data(FULL));
  let at = 21;
  while (s.app.writableCount === 0 && at < 20_000) {
    s.inject(at, ack({ win: 65_535 }));
    s.flow.unexpected.length = 0;
    at += 1;
  }
  s.equal(s.app.writableCount, 1, 'onWritable calls');
  s.advance(at);
  s.flow.unexpected.length = 0;
});
