/** RFC 6824: version 0, SHA-1 and keys in the SYN; off by default. */

import { ack, data, fin, RTT_MS, rst, type ScriptHost, script, syn, synAck, synAckOfHost, synOfHost } from './script-host.js';

const CLIENT = { version: 0 as const, paths: 2, host: { version: 0 as const } };
const SERVER = { version: 0 as const, paths: 2, host: { acceptVersion0: true } };

/** RFC 6824 (3.1): each side's key is in its own SYN; the third ACK repeats both. */
function server(s: ScriptHost): void {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: { length: 12 } }));
  s.inject(RTT_MS, ack({ capable: {} }));
  s.mptcp = true;
  s.restartTime();
}

function client(s: ScriptHost): void {
  s.connect(0);
  s.expect(0, synOfHost({ capable: { length: 12 } }));
  s.inject(RTT_MS, synAck({ capable: {} }));
  s.expect(RTT_MS, ack({ capable: { length: 20 } }));
  s.mptcp = true;
  s.inject(RTT_MS, ack());
  s.restartTime();
}

script('a SYN of version 0 carries the key', CLIENT, (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: { version: 0, length: 12, flags: 0x01 } }));
  s.assert(s.hostKeys !== undefined, 'key');
});

script('a SYN of version 0 is answered in kind where it is allowed', SERVER, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ capable: { version: 0, length: 12, flags: 0x01 } }));
});

script('a SYN of version 0 is answered as plain TCP where it is not', { version: 0 }, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, synAckOfHost({ plain: true }));
  s.inject(RTT_MS, ack({ plain: true }));
  s.inject(30, data(100));
  s.expect(55, ack({ plain: true, ack: 101 }));
});

script('data of version 0 flows both ways', SERVER, (s) => {
  server(s);
  s.inject(0, data(300));
  s.expect(25, ack({ dss: { ack: 301 } }));
  s.write(30, 200);
  s.expect(30, data(200, { dss: { dsn: 1, ssn: 1, length: 200 } }));
  s.inject(50, ack());
  s.equal(s.app.readBytes, 300, 'bytes read');
});

// RFC 6824 (3.1): MP_CAPABLE with data is of version 1 only.
script("the client's first data of version 0 carries a DSS", CLIENT, (s) => {
  client(s);
  s.unclaim();
  s.write(0, 100);
  s.expect(0, data(100, { dss: { dsn: 1, ssn: 1, length: 100 } }));
  s.inject(20, ack());
});

script('a join of version 0 uses HMAC-SHA1', SERVER, (s) => {
  server(s);
  const flow = s.peerJoins(0);
  flow.inject(30, data(100));
  flow.expect(55, ack({ dss: { ack: 101 } }));
});

script('the host joins by version 0 with HMAC-SHA1', CLIENT, (s) => {
  client(s);
  s.hostJoins(0);
  s.equal(s.events.join(), 'sub_established path 1', 'events');
});

script('a join of version 0 with a wrong HMAC is reset, without MP_TCPRST', SERVER, (s) => {
  server(s);
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: {} }));
  flow.expect(0, synAckOfHost({ join: {} }));
  flow.inject(20, ack({ join: { hmac: new Uint8Array(20) } }));
  flow.expect(20, rst({ plain: true }));
});

// RFC 6824 (3.4.1): no HMAC, no echo.
script('an address is announced by version 0 without HMAC, once', SERVER, (s) => {
  server(s);
  const address = Uint8Array.of(192, 0, 2, 7);
  s.act(0, 'announce', () => s.connection.addresses.announce({ addressId: 3, address, port: 0 }, s.clock.nowMs));
  s.advance(1);
  const sent = s.flow.unexpected.shift();
  s.assert(sent?.mptcp.addAddr.isVersion0 === true && sent.mptcp.addAddr.addressId === 3, 'ADD_ADDR of version 0');
  s.expectNothing(20_000);
});

script('a connection of version 0 closes', SERVER, (s) => {
  server(s);
  s.finish(0);
  s.expect(0, ack({ dss: { dsn: 1, fin: true } }));
  s.inject(20, ack({ dss: { ack: 2, dsn: 1, fin: true } }));
  s.expect(20, fin({ dss: { ack: 2 } }));
  s.inject(40, fin());
  s.expect(40, ack());
  s.equal(s.app.closed, 'finished', 'closed');
});

script('FASTCLOSE of version 0 carries the key of the peer', SERVER, (s) => {
  server(s);
  s.abort(0);
  s.expect(0, rst({ fastclose: {} }));
});
