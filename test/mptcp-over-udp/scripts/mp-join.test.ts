/** RFC 8684, 3.2: starting a new subflow. */

import { ack, rst, script, syn, synAckOfHost } from './script-host.js';

// RFC 8684 (3.2): "If a host receives ... an unknown token ... MUST respond with RST"
script('MP_JOIN with an unknown token is answered with RST', { paths: 2 }, (s) => {
  s.server();
  const flow = s.joinFlow();
  flow.inject(0, syn({ join: { token: 0x0bad_0bad } }));
  flow.expect(0, rst({ ack: 1, tcpRst: { reason: 1 } }));
  s.expectNothing(5_000);
});

script('a join is complete with its fourth ACK', { paths: 2 }, (s) => {
  s.server();
  s.peerJoins(0);
  s.expectNothing(5_000);
  s.equal(s.events.join(), 'sub_established path 1', 'events');
});
void ack;
void synAckOfHost;
