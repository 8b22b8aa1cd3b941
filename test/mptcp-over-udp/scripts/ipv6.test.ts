/** The initial subflow over IPv6; joins over IPv4. */

import { ack, data, RTT_MS, rst, script, syn, synAck, synAckOfHost, synOfHost } from './script-host.js';

const SIX = { ipv6: true, paths: 2 };

script('an IPv6 connection is opened with the MSS of its larger header', SIX, (s) => {
  s.connect(0);
  s.expect(0, synOfHost({ capable: { length: 4 }, mss: 1_004 }));
  s.inject(RTT_MS, synAck({ capable: {} }));
  s.expect(RTT_MS, ack({ capable: { length: 20 } }));
});

script('data over IPv6 flows both ways', SIX, (s) => {
  s.server();
  s.inject(0, data(980));
  s.expect(25, ack({ dss: { ack: 981 } }));
  s.write(30, 2 * 980);
  s.expect(30, data(980, { dss: { dsn: 1, length: 1_960 } }));
  s.expect(30, data(980));
  s.inject(50, ack());
  s.equal(s.app.readBytes, 980, 'bytes read');
});

script('an IPv6 connection is joined over IPv4', SIX, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, data(100));
  flow.expect(55, ack({ dss: { ack: 101 } }));
});

// RFC 9293 (3.7.1): 1220 where a peer over IPv6 names no MSS.
script('a SYN over IPv6 without MSS means 1220', SIX, (s) => {
  s.listen();
  s.inject(0, { flags: 0x02 });
  s.expect(0, synAckOfHost({ plain: true }));
  s.inject(20, ack());
  s.write(30, 1_004);
  s.expect(30, data(1_004));
  s.inject(50, ack());
});

script('a SYN over IPv6 without a listener is answered with RST', { ipv6: true, accept: 'no-listener' }, (s) => {
  s.listen();
  s.inject(0, syn({ capable: {} }));
  s.expect(0, rst({ seq: 0, ack: 1 }));
});
