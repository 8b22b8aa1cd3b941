/** RFC 9293, 3.6 and 3.10.4: the states of the close. Plain TCP. */

import { ack, data, fin, rst, script, syn } from './script-host.js';

script('FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT: the host closes first', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin({ seq: 1, ack: 1 }));
  s.equal(s.connection.subflows[0]?.state, 'fin-wait-1', 'state');
  s.inject(20, ack({ ack: 2 }));
  s.equal(s.connection.subflows[0]?.state, 'fin-wait-2', 'state');
  s.inject(100, fin());
  s.expect(100, ack({ seq: 2, ack: 2 }));
  s.equal(s.connection.subflows[0]?.state, 'time-wait', 'state');
  s.expectNothing(10_000);
  s.equal(s.host.connectionCount, 0, 'connections');
  s.equal(s.app.closed, 'finished', 'closed');
});

script('CLOSING: FINs that cross', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin({ seq: 1 }));
  s.inject(10, fin({ ack: 1 }));
  s.expect(10, ack({ seq: 2, ack: 2 }));
  s.equal(s.connection.subflows[0]?.state, 'closing', 'state');
  s.inject(20, ack({ ack: 2 }));
  s.equal(s.connection.subflows[0]?.state, 'time-wait', 'state');
  s.expectNothing(10_000);
  s.equal(s.app.closed, 'finished', 'closed');
});

script('FIN and the ACK of ours in one segment lead to TIME-WAIT at once', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin({ seq: 1 }));
  s.inject(20, fin({ ack: 2 }));
  s.expect(20, ack({ seq: 2, ack: 2 }));
  s.equal(s.connection.subflows[0]?.state, 'time-wait', 'state');
});

script('CLOSE-WAIT, LAST-ACK: the peer closes first', (s) => {
  s.plainServer();
  s.inject(0, fin());
  s.expect(0, ack({ ack: 2 }));
  s.equal(s.connection.subflows[0]?.state, 'close-wait', 'state');
  s.finish(50);
  s.expect(50, fin({ seq: 1, ack: 2 }));
  s.equal(s.connection.subflows[0]?.state, 'last-ack', 'state');
  s.inject(70, ack({ ack: 2 }));
  s.equal(s.host.connectionCount, 0, 'connections');
  s.equal(s.app.closed, 'finished', 'closed');
});

// RFC 9293 (3.10.7.4): in TIME-WAIT a FIN that comes again is acknowledged, and the time starts anew.
script('a FIN that comes again in TIME-WAIT is acknowledged again', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin({ seq: 1 }));
  s.inject(20, fin({ ack: 2 }));
  s.expect(20, ack({ seq: 2, ack: 2 }));
  s.inject(600, fin({ seq: 1, ack: 2 }));
  s.expect(600, ack({ seq: 2, ack: 2 }));
  s.inject(1_400, fin({ seq: 1, ack: 2 }));
  s.expect(1_400, ack({ seq: 2, ack: 2 }));
});

script('after TIME-WAIT the connection is forgotten', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin({ seq: 1 }));
  s.inject(20, fin({ ack: 2 }));
  s.expect(20, ack());
  s.inject(5_000, fin({ seq: 1, ack: 2 }));
  s.expect(5_000, rst({ seq: 2 }));
});

script('a FIN is sent again until it is acknowledged', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin({ seq: 1 }));
  s.expect(65, fin({ seq: 1 }));
  s.expect(265, fin({ seq: 1 }), 2);
  s.expect(665, fin({ seq: 1 }), 2);
  s.inject(685, ack({ ack: 2 }));
  s.expectNothing(100_000);
});

script('a FIN in LAST-ACK is sent again, then given up', (s) => {
  s.plainServer();
  s.inject(0, fin());
  s.expect(0, ack({ ack: 2 }));
  s.finish(10);
  s.expect(10, fin({ seq: 1 }));
  s.expect(75, fin({ seq: 1 }));
  s.advance(600_000);
  s.flow.unexpected.length = 0;
  s.equal(s.host.connectionCount, 0, 'connections');
});

script('the FIN follows the data that is still to be sent', { cwndSegments: 2 }, (s) => {
  s.plainServer();
  s.write(0, 3_000);
  s.finish(0);
  s.expect(0, data(1_024));
  s.expect(0, data(1_024));
  s.inject(20, ack());
  s.expect(20, data(952));
  s.expect(20, fin({ seq: 3_001 }));
  s.inject(40, ack());
});

script('data in FIN-WAIT-2 is read', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin());
  s.inject(20, ack({ ack: 2 }));
  s.inject(30, data(500));
  s.expect(55, ack({ ack: 501 }));
  s.equal(s.app.readBytes, 500, 'bytes read');
});

script('a FIN before the data that precedes it waits for it', (s) => {
  s.plainServer();
  s.inject(0, { ...fin(), seq: 101, len: 100 });
  s.expect(0, ack({ ack: 1, sack: [[101, 201]] }));
  s.assert(!s.app.ended, 'not ended');
  s.inject(10, data(100, { seq: 1 }));
  s.expect(10, ack({ ack: 202 }));
  s.assert(s.app.ended, 'ended');
  s.equal(s.app.readBytes, 200, 'bytes read');
});

// RFC 9293 (3.10.7.4): "the segment text is ignored" after a FIN was received.
script('data after the FIN of the peer is ignored', (s) => {
  s.plainServer();
  s.inject(0, fin());
  s.expect(0, ack({ ack: 2 }));
  s.inject(10, data(100, { seq: 2 }));
  s.advance(50);
  s.flow.unexpected.length = 0;
  s.equal(s.app.readBytes, 0, 'bytes read');
});

script('a RST in FIN-WAIT-2 ends the connection', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin());
  s.inject(20, ack({ ack: 2 }));
  s.inject(30, rst());
  s.equal(s.host.connectionCount, 0, 'connections');
  s.equal(s.app.closedCount, 1, 'onClosed calls');
});

// RFC 1337: a RST does not cut TIME-WAIT short.
script('a RST in TIME-WAIT changes nothing', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin());
  s.inject(20, fin({ ack: 2 }));
  s.expect(20, ack());
  s.inject(30, rst());
  s.equal(s.connection.subflows[0]?.state, 'time-wait', 'state');
  s.expectNothing(5_000);
  s.equal(s.host.connectionCount, 0, 'connections');
  s.equal(s.app.closed, 'finished', 'closed');
});

// RFC 9293 (3.6.1), RFC 6191: not within TIME-WAIT's sequence space.
script('a SYN within the window in TIME-WAIT opens nothing by itself', (s) => {
  s.plainServer();
  s.finish(0);
  s.expect(0, fin());
  s.inject(20, fin({ ack: 2 }));
  s.expect(20, ack());
  s.inject(30, syn({ seq: 2 }));
  s.expect(30, ack({ seq: 2, ack: 2 }));
});

script('data that the application has not read does not hold up the FIN', (s) => {
  s.plainServer();
  s.app.readLimit = 0;
  s.inject(0, data(500));
  s.expect(25, ack({ ack: 501 }));
  s.inject(30, fin());
  s.expect(30, ack({ ack: 502 }));
  s.assert(!s.app.ended, 'not ended yet');
  s.read(40);
  s.assert(s.app.ended, 'ended');
});
