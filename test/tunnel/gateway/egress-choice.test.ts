import t from 'tap';
import { parseIp } from '../../../src/tun/ip-prefix.js';
import type { TunnelConfig } from '../../../src/tunnel/config.js';
import { createEgressChoice } from '../../../src/tunnel/gateway/egress-choice.js';
import type { PeerLink } from '../../../src/tunnel/link.js';

const GATEWAY = { initiator: true } as PeerLink;
const CLIENT = { initiator: false } as PeerLink;

function choiceOf(mode: 'socket' | 'tun' | undefined) {
  const egress = mode === undefined ? undefined : { mode, allow: [] };
  const choice = createEgressChoice({ egress, interface: { addresses: ['10.77.0.2/24', 'fd77::2/64'] } } as unknown as TunnelConfig);
  return (peer: PeerLink, source: string, destination: string) => choice(peer, parseIp(source)!, parseIp(destination)!);
}

t.test('a caller from outside the tunnel, whom the gateway brings to an address of ours, is spoken for by our own TCP', async (t) => {
  for (const mode of [undefined, 'socket'] as const) {
    const choice = choiceOf(mode);
    t.equal(choice(GATEWAY, '203.0.113.9', '10.77.0.2'), 'tun');
    t.equal(choice(GATEWAY, '2001:db8::9', 'fd77::2'), 'tun');
    t.equal(choice(GATEWAY, '10.77.0.1', '10.77.0.2'), 'socket', 'the gateway itself');
    t.equal(choice(GATEWAY, 'fd77::7', 'fd77::2'), 'socket', 'another client');
    t.equal(choice(GATEWAY, '203.0.113.9', '192.168.1.4'), 'socket', 'a host behind us is [egress] matter');
    t.equal(choice(CLIENT, '192.168.7.1', '10.77.0.2'), 'socket', 'a client of ours, with a network behind it');
  }
});

t.test('mode = "tun" holds for all', async (t) => {
  t.equal(choiceOf('tun')(CLIENT, '10.77.0.3', '198.51.100.1'), 'tun');
});

t.test('two addresses of one network are no fault', async (t) => {
  const addresses = ['10.77.0.2/24', '10.77.0.3/24'];
  const choice = createEgressChoice({ interface: { addresses } } as unknown as TunnelConfig);
  t.equal(choice(GATEWAY, parseIp('203.0.113.9')!, parseIp('10.77.0.3')!), 'tun');
});
