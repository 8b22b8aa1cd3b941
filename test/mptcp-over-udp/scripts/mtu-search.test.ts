/** RFC 8899 and RFC 4821: black holes for large segments, and the search for what passes. */

import { ack, data, type ScriptHost, script } from './script-host.js';

const SEARCH = { host: { mtuSearch: true } };
/** Payload of full segments where 1500 bytes pass, and at the base of 1200. */
const LARGE = 1_436;
const BASE = 1_136;

function serve(s: ScriptHost, mtuBytes = 1_500): void {
  s.movePath(0, { mtuBytes });
  s.server();
}

/** A full segment, its loss probe, and its first two timeouts; at the second it is cut. */
function fallToBase(s: ScriptHost): void {
  serve(s);
  s.write(0, LARGE);
  s.expect(0, data(LARGE));
  s.expect(65, data(LARGE));
  s.expect(265, data(LARGE));
  s.expect(665, data(BASE, { seq: 1 }));
  s.expect(665, data(LARGE - BASE, { seq: 1 + BASE }));
  s.inject(685, ack());
  s.equal(s.host.counters['tcp-mtu-black-holes'], 1, 'black holes');
  s.restartTime();
}

function mss(s: ScriptHost): number | undefined {
  return s.connection.subflows[0]?.mssBytes;
}

script('two timeouts in a row of a large segment: it is cut to the base', SEARCH, (s) => {
  fallToBase(s);
  s.equal(mss(s), 1_160, 'MSS');
});

script('without the search nothing is cut', (s) => {
  serve(s);
  s.write(0, LARGE);
  s.expect(0, data(LARGE));
  for (const at of [65, 265, 665, 1_465, 3_065]) s.expect(at, data(LARGE), 2);
});

script('timeouts of small segments say nothing of the size', SEARCH, (s) => {
  serve(s);
  s.write(0, 500);
  s.expect(0, data(500));
  for (const at of [65, 265, 665, 1_465, 3_065]) s.expect(at, data(500), 2);
  s.equal(mss(s), 1_460, 'MSS');
});

script('one timeout is no black hole', SEARCH, (s) => {
  serve(s);
  s.write(0, LARGE);
  s.expect(0, data(LARGE));
  s.expect(65, data(LARGE));
  s.expect(265, data(LARGE));
  s.inject(285, ack());
  s.write(300, LARGE);
  s.expect(300, data(LARGE));
  s.inject(320, ack());
});

script('where the base does not pass either, 576 bytes are tried', SEARCH, (s) => {
  serve(s);
  s.write(0, LARGE);
  for (const at of [0, 65, 265]) s.expect(at, data(LARGE));
  for (const at of [665, 1_465]) {
    s.expect(at, data(BASE, { seq: 1 }), 2);
    s.expect(at, data(LARGE - BASE, { seq: 1 + BASE }), 2);
  }
  s.expect(3_065, data(512, { seq: 1 }), 2);
  s.expect(3_065, data(512), 2);
  s.expect(3_065, data(412), 2);
  s.inject(3_085, ack());
});

// RFC 4821 (7.3): a probe is the next data in order; here of the size of before, since it may have been an outage.
script('a segment that is no larger than the base of 1200 bytes: 576 are tried, after four timeouts', SEARCH, (s) => {
  serve(s);
  s.write(0, 860);
  s.expect(0, data(860));
  for (const at of [65, 265, 665, 1_465]) s.expect(at, data(860), 2);
  s.expect(3_065, data(512, { seq: 1 }), 2);
  s.equal(mss(s), 536, 'MSS');
  s.expect(3_065, data(860 - 512, { seq: 513 }), 2);
  s.inject(3_085, ack());
});

script('the first probe has the old size, and its acknowledgement restores it', SEARCH, (s) => {
  fallToBase(s);
  s.write(0, LARGE + 3 * BASE);
  s.expect(0, data(LARGE));
  for (let i = 0; i < 3; i++) s.expect(0, data(BASE));
  s.inject(20, ack());
  s.write(30, LARGE);
  s.expect(30, data(LARGE));
  s.equal(mss(s), 1_460, 'MSS');
  s.inject(50, ack());
  s.expectNothing(1_000);
});

script('no probe without data behind it, which would show its loss', SEARCH, (s) => {
  fallToBase(s);
  s.write(0, LARGE + 2 * BASE);
  for (const len of [BASE, BASE, BASE, LARGE - BASE]) s.expect(0, data(len));
  s.inject(20, ack());
});

script('lost three times while smaller ones pass: cut to the base, without a timeout', SEARCH, (s) => {
  serve(s);
  s.write(0, LARGE);
  s.expect(0, data(LARGE));
  let end = 1 + LARGE;
  for (const at of [10, 40, 70]) {
    s.write(at, 100);
    s.expect(at, data(100, { seq: end }));
    end += 100;
    s.inject(at + 20, ack({ ack: 1, sack: [[1 + LARGE, end]] }));
    if (at < 70) s.expect(at + 25, data(LARGE, { seq: 1 }), 6);
  }
  s.expect(95, data(BASE, { seq: 1 }), 6);
  s.expect(95, data(LARGE - BASE, { seq: 1 + BASE }), 6);
  s.inject(115, ack());
  s.equal(mss(s), 1_160, 'MSS');
});

// RFC 4821 (7.7): the loss of a probe is no sign of congestion.
script('a lost probe is sent again in two, and is no loss for congestion control', SEARCH, (s) => {
  fallToBase(s);
  const from = 1 + LARGE;
  s.write(0, LARGE + 3 * BASE);
  s.expect(0, data(LARGE, { seq: from }));
  for (let i = 0; i < 3; i++) s.expect(0, data(BASE));
  s.inject(20, ack({ ack: from, sack: [[from + LARGE, from + LARGE + 3 * BASE]], dss: { ack: from } }));
  // RFC 8985 (6.2): a reordering window of a quarter of the round trip.
  s.expect(25, data(BASE, { seq: from }));
  s.expect(25, data(LARGE - BASE, { seq: from + BASE }));
  const recovery = s.connection.subflows[0]?.recovery;
  s.equal(recovery?.inRecovery, false, 'in recovery');
  s.equal(recovery?.rate.totalLostBytes, 2 * LARGE, 'bytes deemed lost, of the timeouts before');
  s.inject(45, ack());
  // Next the middle of 1160 and 1459.
  s.write(50, 1_286 + 3 * BASE);
  s.expect(50, data(1_286));
  for (let i = 0; i < 3; i++) s.expect(50, data(BASE));
  s.inject(70, ack());
  s.write(80, 5_000);
  s.equal(mss(s), 1_310, 'MSS');
  s.advance(81);
  s.flow.unexpected.length = 0;
  s.inject(100, ack());
});

script('the loss of other data beside the probe is one', SEARCH, (s) => {
  fallToBase(s);
  const from = 1 + LARGE;
  s.write(0, LARGE + 4 * BASE);
  s.expect(0, data(LARGE, { seq: from }));
  for (let i = 0; i < 4; i++) s.expect(0, data(BASE));
  const arrived = from + LARGE + BASE;
  s.inject(20, ack({ ack: from, sack: [[arrived, arrived + 3 * BASE]], dss: { ack: from } }));
  s.advance(26);
  s.equal(s.connection.subflows[0]?.recovery.inRecovery, true, 'in recovery');
  s.flow.unexpected.length = 0;
  s.inject(40, ack());
});

script('the path layer knows better: its size holds, and the search ends', SEARCH, (s) => {
  fallToBase(s);
  s.act(0, 'MTU 1300', () => s.host.paths.setMtu(0, 1_300));
  s.equal(mss(s), 1_260, 'MSS');
  s.write(10, 1_236 + 3 * 1_236);
  for (let i = 0; i < 4; i++) s.expect(10, data(1_236));
  s.inject(30, ack());
});

script('over IPv6 the base is what every path carries', { ...SEARCH, ipv6: true }, (s) => {
  s.movePath(0, { mtuBytes: 1_500 });
  s.server();
  s.write(0, 1_416);
  for (const at of [0, 65, 265]) s.expect(at, data(1_416));
  s.expect(665, data(1_196, { seq: 1 }));
  s.expect(665, data(220, { seq: 1_197 }));
  s.inject(685, ack());
  s.equal(mss(s), 1_220, 'MSS');
});

script('with checksums a probe has one mapping of its own', SEARCH, (s) => {
  s.movePath(0, { mtuBytes: 1_500 });
  s.server({ capableFlags: 0x81 });
  s.write(0, LARGE);
  for (const at of [0, 65, 265]) s.expect(at, data(LARGE));
  s.expect(665, data(BASE));
  s.expect(665, data(LARGE - BASE));
  s.inject(685, ack());
  s.write(700, LARGE + 3 * BASE);
  s.expect(700, data(LARGE, { dss: { dsn: 1 + LARGE, length: LARGE, checksum: true } }));
  for (let i = 0; i < 3; i++) s.expect(700, data(BASE, { dss: { dsn: 1 + 2 * LARGE, checksum: true } }));
  s.inject(720, ack());
});
