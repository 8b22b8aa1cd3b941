/** RFC 8684, 3.4.2: REMOVE_ADDR. */

import { ack, data, rst, type ScriptHost, script } from './script-host.js';

const TWO = { paths: 2 };
const THREE = { paths: 3 };

function withdraw(s: ScriptHost, atMs: number, ...ids: number[]): void {
  s.act(atMs, `withdraw ${ids.join()}`, () => s.connection.addresses.withdraw(Uint8Array.from(ids), s.clock.nowMs));
}

script('a withdrawn address is told in REMOVE_ADDR', (s) => {
  s.server();
  withdraw(s, 0, 7);
  s.expect(0, ack({ removeAddr: [7] }));
  s.expectNothing(20_000);
});

// RFC 8684 (3.4.2): a list of ids in one option.
script('several withdrawn addresses are told in one REMOVE_ADDR', (s) => {
  s.server();
  withdraw(s, 0, 7, 8, 9);
  s.expect(0, ack({ removeAddr: [7, 8, 9] }));
  s.expectNothing(20_000);
});

script('REMOVE_ADDR goes on another subflow than the one that dies, which is reset', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  withdraw(s, 30, 2);
  s.expect(30, ack({ removeAddr: [2] }));
  flow.expect(30, rst({ tcpRst: {} }));
  s.expectNothing(20_000);
});

script('withdrawal of a client ends its subflow from that address', TWO, (s) => {
  s.client();
  const flow = s.hostJoins(0);
  s.setPathUsable(25, 1, false);
  withdraw(s, 30, 2);
  s.expect(30, ack({ removeAddr: [2] }));
  flow.expect(30, rst({ tcpRst: {} }));
  s.expectNothing(20_000);
});

script('an announcement that was withdrawn is not repeated', (s) => {
  s.server();
  s.act(0, 'announce', () =>
    s.connection.addresses.announce({ addressId: 7, address: Uint8Array.of(192, 0, 2, 7), port: 0 }, s.clock.nowMs),
  );
  s.expect(0, ack({ addAddr: { id: 7 } }));
  withdraw(s, 100, 7);
  s.expect(100, ack({ removeAddr: [7] }));
  s.expectNothing(20_000);
});

// RFC 8684 (3.4.2). DEVIATION, as Linux: the path is not asked by keepalive first, its subflow ends at once.
script('REMOVE_ADDR of the peer ends the subflow to that address', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.inject(30, ack({ removeAddr: [2] }));
  flow.expect(30, rst({ tcpRst: {} }));
  s.expectNothing(5_000);
  s.equal(s.events[1], 'removed ids 2', 'event');
  s.assert(s.app.closed === undefined, 'the connection lives on');
});

script('REMOVE_ADDR of a list ends each of its subflows', THREE, (s) => {
  s.server();
  const first = s.peerJoins(0, 1);
  const second = s.peerJoins(30, 2);
  s.inject(60, ack({ removeAddr: [3, 2] }));
  first.expect(60, rst({ tcpRst: {} }));
  second.expect(60, rst({ tcpRst: {} }));
  s.expectNothing(5_000);
});

// RFC 8684 (3.4.2): id 0 is the initial subflow's address.
script('REMOVE_ADDR of id 0 ends the initial subflow', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, ack({ removeAddr: [0] }));
  s.expect(30, rst({ tcpRst: {} }));
  s.write(40, 100);
  flow.expect(40, data(100, { dss: { dsn: 1 } }));
  flow.inject(60, ack());
});

script('REMOVE_ADDR of an id that has no subflow changes nothing', TWO, (s) => {
  s.server();
  s.peerJoins(0);
  s.inject(30, ack({ removeAddr: [77] }));
  s.expectNothing(5_000);
  s.equal(s.connection.subflows.length, 2, 'subflows');
});

script('REMOVE_ADDR of the only subflow does not end it', (s) => {
  s.server();
  s.inject(0, ack({ removeAddr: [0] }));
  s.expectNothing(5_000);
  s.inject(5_000, data(100));
  s.expect(5_025, ack({ dss: { ack: 101 } }));
});

script('data of a removed subflow goes again on the others', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.setPathUsable(25, 0, false);
  s.write(30, 500);
  flow.expect(30, data(500, { dss: { dsn: 1 } }));
  s.setPathUsable(35, 0, true);
  s.inject(40, ack({ dss: { ack: 1 }, removeAddr: [2] }));
  flow.expect(40, rst({ tcpRst: {} }));
  s.expect(40, data(500, { seq: 1, dss: { dsn: 1, ssn: 1 } }));
  s.inject(60, ack());
});

script('a removed address can be joined from again', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.inject(30, ack({ removeAddr: [2] }));
  flow.expect(30, rst());
  s.peerJoins(100);
  s.equal(s.connection.subflows.length, 2, 'subflows');
});

script('REMOVE_ADDR in fallback is ignored', (s) => {
  s.plainServer();
  s.inject(0, ack({ removeAddr: [0] }));
  s.expectNothing(5_000);
  s.equal(s.events.length, 0, 'events');
});
