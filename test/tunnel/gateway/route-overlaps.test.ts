import t from 'tap';
import type { LocalNetwork } from '../../../src/tun/local-networks.js';
import type { TunnelConfig } from '../../../src/tunnel/config.js';
import { RouteGuard } from '../../../src/tunnel/gateway/route-guard.js';
import { findRouteOverlap } from '../../../src/tunnel/gateway/route-overlaps.js';

const peer = (name: string, allowedIps: string[], endpoint?: string) => ({ name, allowedIps, endpoint });
const lan = (prefix: string, device = 'lan0', gateway?: string): LocalNetwork => ({ prefix, interface: device, gateway });

t.test('two peers with the same prefix are named, nested ones are not', async (t) => {
  const twice = findRouteOverlap({
    peers: [peer('oslo', ['10.1.0.0/16']), peer('bergen', ['10.2.0.0/16', '10.1.0.0/16'])],
    local: [],
    isSite: false,
  });
  t.equal(twice, '10.1.0.0/16 is in allowed_ips of peer oslo and of peer bergen: a prefix has one peer: remove it from one of the two');
  t.equal(findRouteOverlap({ peers: [peer('oslo', ['10.0.0.0/8']), peer('bergen', ['10.2.0.0/16'])], local: [], isSite: true }), undefined);
});

t.test('a site refuses whatever overlaps with a network of its own, and names both', async (t) => {
  const claims = (allowed: string, network: LocalNetwork) =>
    findRouteOverlap({ peers: [peer('oslo', [allowed])], local: [network], isSite: true });
  t.equal(
    claims('10.1.0.0/24', lan('10.1.0.0/24')),
    'allowed_ips of peer oslo: 10.1.0.0/24 is also the network of lan0 here: take it out of allowed_ips, or give one of the two sites other addresses',
  );
  t.equal(
    claims('10.0.0.0/8', lan('10.1.0.0/24')),
    'allowed_ips of peer oslo: 10.0.0.0/8 overlaps with 10.1.0.0/24, the network of lan0 here: take it out of allowed_ips, or give one of the two sites other addresses',
  );
  t.match(claims('10.1.0.128/25', lan('10.1.0.0/24')), /10\.1\.0\.128\/25 overlaps with 10\.1\.0\.0\/24/);
  t.match(claims('10.1.7.0/24', lan('10.1.0.0/16', 'lan0', '10.1.0.254')), /a route of this host \(via 10\.1\.0\.254 on lan0\)/);
  t.match(claims('fd01::/48', lan('fd01::/64')), /fd01::\/48 overlaps/);
  t.equal(claims('10.2.0.0/24', lan('10.1.0.0/24')), undefined);
  t.equal(claims('0.0.0.0/0', lan('10.1.0.0/24')), undefined, 'everything else is no overlap');
  t.equal(claims('::/0', lan('fd01::/64')), undefined);
});

t.test('elsewhere only the very same network is refused', async (t) => {
  const claims = (allowed: string, network: LocalNetwork, endpoint?: string) =>
    findRouteOverlap({ peers: [peer('office', [allowed], endpoint)], local: [network], isSite: false });
  t.match(claims('192.168.1.0/24', lan('192.168.1.0/24', 'wlan0'), '203.0.113.1:5180'), /is also the network of wlan0 here/);
  t.equal(claims('192.168.0.0/16', lan('192.168.1.0/24', 'wlan0')), undefined);
  t.equal(claims('192.168.1.7/32', lan('192.168.1.0/24', 'wlan0')), undefined);
  t.equal(claims('192.168.1.0/24', lan('192.168.1.0/24', 'wlan0'), '192.168.1.9:5180'), undefined, 'a server in that network carries it');
});

t.test('a network that comes while a site runs is told of once, and again when it has been away', async (t) => {
  let networks: LocalNetwork[] = [];
  const guard = new RouteGuard(async () => networks);
  const peers = [{ ...peer('oslo', ['10.1.0.0/16']), endpoint: undefined, publicKey: new Uint8Array(32), presharedKey: undefined }];
  const config = (mode: 'tun' | 'socket') => ({ interface: { name: 'mpt0' }, egress: { mode, allow: [] } }) as unknown as TunnelConfig;
  t.equal(await guard.news(config('tun'), peers), undefined);
  networks = [lan('10.1.7.0/24', 'wlan0')];
  t.match(await guard.news(config('tun'), peers), /10\.1\.0\.0\/16 overlaps with 10\.1\.7\.0\/24, the network of wlan0 here/);
  t.equal(await guard.news(config('tun'), peers), undefined);
  t.equal(await guard.news(config('socket'), peers), undefined);
  networks = [];
  t.equal(await guard.news(config('tun'), peers), undefined);
  networks = [lan('10.1.7.0/24', 'wlan0')];
  t.match(await guard.news(config('tun'), peers), /wlan0/);
  await t.rejects(guard.check(config('tun'), peers), { code: 'route-overlap' });
});
