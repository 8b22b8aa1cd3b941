/** RFC 8684, 3.6: RST and MP_TCPRST on one subflow; RFC 5961 against blind ones. */

import { ack, data, FULL, RTT_MS, rst, script, syn } from './script-host.js';

const TWO = { paths: 2 };

// RFC 8684 (3.5): "a regular RST ... only closes the subflow".
script('a RST ends one subflow, the connection goes on over the other', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.inject(30, rst());
  s.write(40, 500);
  flow.expect(40, data(500, { seq: 1, dss: { dsn: 1 } }));
  flow.inject(60, ack());
  s.expectNothing(5_000);
  s.assert(s.app.closed === undefined, 'the connection lives on');
});

for (const reason of [0, 1, 2, 3, 4, 5, 6]) {
  script(`a RST with MP_TCPRST of reason ${reason} ends its subflow`, TWO, (s) => {
    s.server();
    const flow = s.peerJoins(0);
    flow.inject(30, rst({ tcpRst: { reason } }));
    s.expectNothing(1_000);
    s.equal(s.events[1], 'sub_closed path 1 reset', 'event');
    s.assert(s.app.closed === undefined, 'the connection lives on');
  });
}

// RFC 8684 (3.6): MP_TCPRST "MUST be ignored" on a segment without RST.
script('MP_TCPRST without RST is ignored', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, ack({ tcpRst: { reason: 2 } }));
  s.expectNothing(1_000);
  s.equal(s.events.length, 1, 'events');
});

// RFC 5961 (3.2)
script('a RST outside the window is ignored', (s) => {
  s.server();
  s.inject(0, rst({ seq: -1_000 }));
  s.expectNothing(1_000);
  s.assert(s.connection.subflows.length === 1, 'the subflow lives on');
});

script('a RST in the window but not at the next sequence number gets a challenge ACK', (s) => {
  s.server();
  s.inject(0, rst({ seq: 100, tcpRst: { reason: 0 } }));
  s.expect(0, ack({ seq: 1, ack: 1 }));
  s.assert(s.connection.subflows.length === 1, 'the subflow lives on');
});

// RFC 8684 (3.3.3): without a subflow the connection waits for one; Linux 60 s.
script('a connection whose last subflow was reset waits 60 s for a join, then ends', (s) => {
  s.server();
  s.inject(0, rst());
  s.expectNothing(59_000);
  s.assert(s.app.closed === undefined, 'it waits');
  s.expectNothing(61_000);
  s.equal(s.app.closed, 'timeout', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('a connection without subflows is revived by a join, and sends what it owes', TWO, (s) => {
  s.server();
  s.write(0, FULL);
  s.expect(0, data(FULL));
  s.inject(10, rst());
  const flow = s.joinFlow();
  flow.inject(1_000, syn({ join: {} }));
  flow.expect(1_000, { flags: 0x12, join: {} });
  flow.inject(1_020, ack({ join: {} }));
  flow.expect(1_020, ack({ seq: 1, ack: 1, len: 0, dss: { ack: 1 } }));
  flow.expect(1_020, data(FULL, { seq: 1, dss: { dsn: 1, ssn: 1, length: FULL } }));
  flow.inject(1_040, ack());
  s.expectNothing(100_000);
  s.assert(s.app.closed === undefined, 'the connection lives on');
});

script('a client whose last subflow was reset joins again from its path', (s) => {
  s.client();
  s.inject(0, rst());
  const flow = s.expectJoinSyn(0, 0);
  flow.inject(20, { flags: 0x12, mss: 1460, join: {} });
  flow.expect(20, ack({ join: {} }));
  flow.inject(20, ack());
  s.write(30, 100);
  flow.expect(30, data(100, { dss: { dsn: 1, ssn: 1 } }));
  flow.inject(50, ack());
});

// RFC 9293 (3.10.7.1)
script('data of an unknown connection is answered with RST at its acknowledgement number', (s) => {
  const flow = s.listen();
  flow.hostIss = 7_000;
  flow.hostIssKnown = true;
  s.inject(0, data(100, { seq: 1, ack: 55, plain: true }));
  s.expect(0, rst({ seq: 55 }));
});

script('a RST of an unknown connection is not answered', (s) => {
  s.listen();
  s.inject(0, rst({ seq: 1 }));
  s.expectNothing(1_000);
});

script('a SYN/ACK of an unknown connection is answered with RST', (s) => {
  s.listen();
  s.inject(0, { flags: 0x12, seq: 0, ack: 9 });
  s.expect(0, rst({ seq: 9 }));
});

// RFC 8684 (3.6): put in where MPTCP was in use.
script('a RST in answer to an MPTCP segment of no connection says MP_TCPRST', (s) => {
  const flow = s.listen();
  flow.hostIssKnown = true;
  s.inject(0, ack({ seq: 1, ack: 5, dss: { ack: 1 } }));
  s.expect(0, rst({ seq: 5, tcpRst: { reason: 1 } }));
});

script('a RST in fallback ends the connection', (s) => {
  s.plainServer();
  s.inject(0, rst());
  s.equal(s.app.closed, 'reset', 'closed');
  s.equal(s.host.connectionCount, 0, 'connections');
  s.expectNothing(100_000);
});

// RFC 5961 (4.2)
script('a SYN in the established state gets a challenge ACK', (s) => {
  s.server();
  s.inject(0, syn({ seq: 100, capable: {} }));
  s.expect(0, ack({ seq: 1, ack: 1 }));
  s.assert(s.connection.subflows.length === 1, 'the subflow lives on');
});

// RFC 5961 (5.2)
script('an ACK of what was never sent gets a challenge ACK and changes nothing', (s) => {
  s.server();
  s.inject(0, ack({ ack: 5_000 }));
  s.expect(0, ack({ seq: 1, ack: 1 }));
  s.write(10, 100);
  s.expect(10, data(100, { seq: 1 }));
  s.inject(30, ack());
});

// RFC 5961 (7): challenge ACKs are limited, or an attacker makes a host a traffic source.
script('challenge ACKs are limited in rate', (s) => {
  s.server();
  for (let i = 0; i < 300; i++) s.inject(i * 0.1, syn({ seq: 100 }));
  const sent = s.flow.unexpected.length;
  s.flow.unexpected.length = 0;
  s.assert(sent >= 1 && sent <= 100, `${sent} challenge ACKs within 30 ms`);
});

script('a subflow lost while data is on it gives its data to the other', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 1, false);
  s.write(30, 3 * FULL);
  for (let i = 0; i < 3; i++) s.expect(30, data(FULL));
  s.setPathUsable(31, 1, true);
  s.inject(40, rst());
  for (let i = 0; i < 3; i++) flow.expect(40, data(FULL, { seq: 1 + i * FULL, dss: { dsn: 1, length: 3 * FULL } }));
  flow.inject(40 + RTT_MS, ack());
});
