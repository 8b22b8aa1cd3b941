/** RFC 8985 (RACK-TLP), RFC 6298 (RTO), RFC 2018 and 2883 (SACK), RFC 5681 (acknowledgements). Plain TCP, segments of 1024 bytes, RTT 20 ms. */

import { ack, data, type ScriptHost, script } from './script-host.js';

const SEG = 1_024;

/** The host sends so many full segments at a time. */
function send(s: ScriptHost, atMs: number, count: number): void {
  s.write(atMs, count * SEG);
  for (let i = 0; i < count; i++) s.expect(atMs, data(SEG));
}

/** Where the i-th segment starts. */
const at = (i: number): number => 1 + i * SEG;

// RFC 8985 (7.2): PTO = 2 * SRTT, and the longest delay of an ACK for a lone segment; then the RTO takes over.
script('a lone segment without answer is probed, then sent again by RTO with back-off', (s) => {
  s.plainServer();
  send(s, 0, 1);
  s.expect(65, data(SEG, { seq: 1 }));
  s.expect(265, data(SEG, { seq: 1 }), 2);
  s.expect(665, data(SEG, { seq: 1 }), 2);
  s.expect(1_465, data(SEG, { seq: 1 }), 2);
  s.inject(1_485, ack());
  s.expectNothing(10_000);
});

script('the tail of a flight is probed with its last segment', (s) => {
  s.plainServer();
  send(s, 0, 4);
  s.inject(20, ack({ ack: at(3) }));
  s.expect(85, data(SEG, { seq: at(3) }));
  s.inject(105, ack());
  s.expectNothing(10_000);
});

script('the answer to a probe that shows a hole starts recovery', (s) => {
  s.plainServer();
  send(s, 0, 4);
  s.inject(20, ack({ ack: at(2) }));
  s.expect(64, data(SEG, { seq: at(3) }), 2);
  s.inject(84, ack({ ack: at(2), sack: [[at(3), at(4)]] }));
  s.expect(84, data(SEG, { seq: at(2) }), 6);
  s.inject(110, ack());
  s.expectNothing(10_000);
});

// RFC 8985 (6.2): with three segments SACKed above it a segment is lost at once.
script('a hole below three SACKed segments is filled at once', (s) => {
  s.plainServer();
  send(s, 0, 6);
  s.inject(20, ack({ ack: 1, sack: [[at(1), at(2)]] }));
  s.inject(20, ack({ ack: 1, sack: [[at(1), at(3)]] }));
  s.inject(20, ack({ ack: 1, sack: [[at(1), at(5)]] }));
  s.expect(20, data(SEG, { seq: 1 }));
  s.inject(41, ack());
  s.expectNothing(10_000);
});

// RFC 8985 (6.2): a reordering window of a quarter of the RTT.
script('a hole below one SACKed segment is filled after the reordering window', (s) => {
  s.plainServer();
  send(s, 0, 2);
  s.inject(20, ack({ ack: 1, sack: [[at(1), at(2)]] }));
  s.expectNothing(23);
  s.expect(25, data(SEG, { seq: 1 }));
  s.inject(45, ack());
  s.expectNothing(10_000);
});

script('reordering within the window causes no retransmission', (s) => {
  s.plainServer();
  send(s, 0, 2);
  s.inject(20, ack({ ack: 1, sack: [[at(1), at(2)]] }));
  s.inject(23, ack());
  s.expectNothing(10_000);
});

script('only what is missing is sent again', (s) => {
  s.plainServer();
  send(s, 0, 8);
  s.inject(
    20,
    ack({
      ack: at(1),
      sack: [
        [at(2), at(4)],
        [at(5), at(8)],
      ],
    }),
  );
  s.expect(20, data(SEG, { seq: at(1) }));
  s.expect(20, data(SEG, { seq: at(4) }));
  s.inject(40, ack());
  s.expectNothing(10_000);
});

// RFC 8985 (6.2): a lost retransmission is seen by what was sent after it.
script('a retransmission that is lost is sent again without RTO', (s) => {
  s.plainServer();
  send(s, 0, 5);
  s.inject(20, ack({ ack: 1, sack: [[at(1), at(5)]] }));
  s.expect(20, data(SEG, { seq: 1 }));
  s.write(21, 2 * SEG);
  s.expect(21, data(SEG, { seq: at(5) }));
  s.expect(21, data(SEG, { seq: at(6) }));
  s.inject(41, ack({ ack: 1, sack: [[at(1), at(7)]] }));
  s.expect(41, data(SEG, { seq: 1 }), 6);
  s.inject(65, ack());
  s.expectNothing(10_000);
});

// RFC 5681 (3.2): three duplicate ACKs, from a peer without SACK.
script('three duplicate ACKs of a peer without SACK cause a fast retransmission', (s) => {
  s.plainServer({ synOptions: { sackOk: false } });
  send(s, 0, 5);
  for (let i = 0; i < 3; i++) s.inject(20 + i, ack({ ack: 1 }));
  s.expect(22, data(SEG, { seq: 1 }), 2);
  s.inject(42, ack());
  s.expectNothing(10_000);
});

// RFC 6582 (3.2)
script('a partial ACK of a peer without SACK causes the next retransmission', (s) => {
  s.plainServer({ synOptions: { sackOk: false } });
  send(s, 0, 6);
  for (let i = 0; i < 3; i++) s.inject(20 + i, ack({ ack: 1 }));
  s.expect(22, data(SEG, { seq: 1 }));
  s.inject(42, ack({ ack: at(3) }));
  s.expect(42, data(SEG, { seq: at(3) }));
  s.inject(62, ack());
  s.expectNothing(10_000);
});

script('window updates are no duplicate ACKs', (s) => {
  s.plainServer({ synOptions: { sackOk: false } });
  send(s, 0, 5);
  s.inject(15, ack({ ack: 1, win: 60_000 }));
  for (let i = 0; i < 3; i++) s.inject(20 + i, ack({ ack: 1, win: 60_000 - 1_000 * i }));
  s.expectNothing(40);
  s.inject(41, ack());
  s.expectNothing(10_000);
});

script('two duplicate ACKs of a peer without SACK cause none', (s) => {
  s.plainServer({ synOptions: { sackOk: false } });
  send(s, 0, 5);
  s.inject(20, ack({ ack: 1 }));
  s.inject(21, ack({ ack: 1 }));
  s.expectNothing(40);
  s.inject(41, ack());
  s.expectNothing(10_000);
});

// RFC 6298 (5.3): new data acknowledged restarts the timer.
script('an ACK of new data restarts the timer', (s) => {
  s.plainServer();
  send(s, 0, 1);
  s.inject(20, ack());
  send(s, 100, 2);
  s.inject(120, ack({ ack: at(2) }));
  s.expect(185, data(SEG, { seq: at(2) }), 2);
  s.inject(205, ack());
});

// RFC 6298 (5.4-5.6): all that is in flight goes again, the oldest first.
script('after RTO what is in flight is sent again from the oldest on', (s) => {
  s.plainServer();
  send(s, 0, 3);
  s.expect(44, data(SEG, { seq: at(2) }), 2);
  s.expect(244, data(SEG, { seq: at(0) }), 3);
  s.expect(244, data(SEG, { seq: at(1) }), 3);
  s.expect(244, data(SEG, { seq: at(2) }), 3);
  s.inject(270, ack());
  s.expectNothing(10_000);
});

script('what was SACKed is not sent again after RTO', (s) => {
  s.plainServer();
  send(s, 0, 3);
  s.inject(20, ack({ ack: 1, sack: [[at(2), at(3)]] }));
  s.expect(25, data(SEG, { seq: at(0) }), 2);
  s.expect(25, data(SEG, { seq: at(1) }), 2);
  s.expect(225, data(SEG, { seq: at(0) }), 5);
  s.expect(225, data(SEG, { seq: at(1) }), 5);
  s.inject(250, ack());
});

// RFC 9293 (3.8.3): R2. A subflow that times out again and again is given up.
script('a connection whose data is never acknowledged is given up', (s) => {
  s.plainServer();
  send(s, 0, 1);
  s.advance(600_000);
  s.flow.unexpected.length = 0;
  s.equal(s.app.closed, 'timeout', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
});

// RFC 2018 (4): the first block holds the segment that caused the ACK.
script('data out of order is answered at once with a SACK block', (s) => {
  s.plainServer();
  s.inject(0, data(100, { seq: 101 }));
  s.expect(0, ack({ ack: 1, sack: [[101, 201]] }));
  s.inject(5, data(100, { seq: 201 }));
  s.expect(5, ack({ ack: 1, sack: [[101, 301]] }));
  s.inject(10, data(100, { seq: 1 }));
  s.expect(10, ack({ ack: 301, sack: [] }));
  s.equal(s.app.readBytes, 300, 'bytes read');
});

script('the SACK block of the newest segment comes first', (s) => {
  s.plainServer();
  s.inject(0, data(100, { seq: 101 }));
  s.expect(0, ack({ sack: [[101, 201]] }));
  s.inject(1, data(100, { seq: 401 }));
  s.expect(
    1,
    ack({
      sack: [
        [401, 501],
        [101, 201],
      ],
    }),
  );
  s.inject(2, data(100, { seq: 201 }));
  s.expect(
    2,
    ack({
      sack: [
        [101, 301],
        [401, 501],
      ],
    }),
  );
  s.inject(3, data(100, { seq: 1 }));
  s.expect(3, ack({ ack: 301, sack: [[401, 501]] }));
  s.inject(4, data(100, { seq: 301 }));
  s.expect(4, ack({ ack: 501, sack: [] }));
});

script('without SACK permitted no SACK is sent', (s) => {
  s.plainServer({ synOptions: { sackOk: false } });
  s.inject(0, data(100, { seq: 101 }));
  s.expect(0, ack({ ack: 1, sack: [] }));
});

// RFC 2883 (4): a duplicate is reported in the first block.
script('a duplicate segment is reported by DSACK', (s) => {
  s.plainServer();
  s.inject(0, data(100));
  s.expect(25, ack({ ack: 101 }));
  s.inject(30, data(100, { seq: 1 }));
  s.expect(30, ack({ ack: 101, sack: [[1, 101]] }));
});

script('a duplicate above a hole is reported by DSACK before the block that holds it', (s) => {
  s.plainServer();
  s.inject(0, data(100, { seq: 201 }));
  s.expect(0, ack({ ack: 1, sack: [[201, 301]] }));
  s.inject(5, data(100, { seq: 201 }));
  s.expect(
    5,
    ack({
      ack: 1,
      sack: [
        [201, 301],
        [201, 301],
      ],
    }),
  );
});

// RFC 2883 (4): a received DSACK says nothing of what is missing.
script('a DSACK of the peer causes no retransmission', (s) => {
  s.plainServer();
  send(s, 0, 4);
  s.inject(20, ack({ ack: at(2) }));
  s.inject(21, ack({ ack: at(2), sack: [[at(0), at(1)]] }));
  s.inject(30, ack());
  s.expectNothing(10_000);
});

script('a SACK of what was never sent is ignored', (s) => {
  s.plainServer();
  send(s, 0, 2);
  s.inject(20, ack({ ack: 1, sack: [[at(10), at(20)]] }));
  s.expectNothing(40);
  s.inject(41, ack());
  s.expectNothing(10_000);
});

// RFC 9293 (3.8.6.3), RFC 5681 (4.2)
script('a lone segment is acknowledged after a delay of less than 500 ms', (s) => {
  s.plainServer();
  s.inject(0, data(100));
  s.expect(25, ack({ ack: 101 }));
});

script('every second full segment is acknowledged at once', (s) => {
  s.plainServer();
  for (let i = 0; i < 6; i++) {
    s.inject(i, data(SEG));
    if (i % 2 === 1) s.expect(i, ack({ ack: at(i + 1) }));
  }
});

script('an ACK that is due rides on data', (s) => {
  s.plainServer();
  s.inject(0, data(100));
  s.write(10, 50);
  s.expect(10, data(50, { ack: 101 }));
  s.inject(30, ack());
  s.expectNothing(1_000);
});

script('a duplicate below the window is acknowledged at once and not read again', (s) => {
  s.plainServer();
  s.inject(0, data(100));
  s.expect(25, ack({ ack: 101 }));
  s.inject(50, data(100, { seq: 1 }));
  s.expect(50, ack({ ack: 101 }));
  s.equal(s.app.readBytes, 100, 'bytes read');
});

script('of a segment that overlaps what was read only the rest is', (s) => {
  s.plainServer();
  s.inject(0, data(100));
  s.inject(1, data(300, { seq: 51 }));
  s.expect(25, ack({ ack: 351 }), 25);
  s.equal(s.app.readBytes, 350, 'bytes read');
});

// RFC 8985 (7.3): unsent data is the probe where the peer's window allows it; the probe may exceed the congestion window.
script('new data serves as the probe where there is some', { cwndSegments: 2 }, (s) => {
  s.plainServer();
  s.write(0, 3 * SEG);
  s.expect(0, data(SEG));
  s.expect(0, data(SEG));
  s.expect(44, data(SEG, { seq: at(2) }), 2);
  s.inject(64, ack());
  s.expectNothing(5_000);
});

// RFC 9293 (3.8.6.1)
script('plain TCP probes a closed window', (s) => {
  s.plainServer({ win: SEG });
  s.write(0, 2 * SEG);
  s.expect(0, data(SEG, { seq: 1 }));
  s.inject(20, ack({ win: 0 }));
  s.expect(220, ack({ seq: at(1) - 1 }), 5);
  s.inject(240, ack({ win: 0 }));
  s.expect(620, ack({ seq: at(1) - 1 }), 5);
  s.inject(640, ack({ win: 4 * SEG }));
  s.expect(640, data(SEG, { seq: at(1) }));
  s.inject(660, ack());
  s.expectNothing(5_000);
});

script('an old ACK is ignored', (s) => {
  s.plainServer();
  send(s, 0, 2);
  s.inject(20, ack());
  s.inject(30, ack({ ack: at(1) }));
  s.expectNothing(5_000);
});

// RFC 5961 (5.2): an ACK so old that it cannot be ours.
script('an ACK far below what was acknowledged is not taken for one', (s) => {
  s.plainServer();
  send(s, 0, 1);
  s.inject(20, ack());
  s.inject(30, data(100, { ack: -2_000_000_000 }));
  s.advance(60);
  s.flow.unexpected.length = 0;
  s.equal(s.connection.subflows[0]?.recovery.sndUna, at(1), 'SND.UNA');
});
