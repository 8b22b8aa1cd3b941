import t from 'tap';
import { HostNetworkError } from '../../src/tun/host-network.js';
import type { PathConfig, PeerConfig, TunnelConfig } from '../../src/tunnel/config.js';
import { applyConfig } from '../../src/tunnel/reconfigure.js';
import { TunnelError } from '../../src/tunnel/tunnel-api.js';

const path = (name: string, device: string, more: Partial<PathConfig> = {}): PathConfig => ({
  name,
  interface: device,
  address: undefined,
  ...more,
});

const config = (paths: readonly PathConfig[], more: Partial<TunnelConfig> = {}): TunnelConfig => ({
  interface: { name: 'mpt0', privateKey: new Uint8Array(32), addresses: ['10.77.0.2/24'], listenPort: undefined, mtuBytes: 1420 },
  paths,
  peers: [],
  egress: undefined,
  stream: { scheduler: 'ecf', congestionControl: 'bbr', steer: 'aggregate' },
  ...more,
});

/** `inUse`: what the tunnel has now. */
async function apply(before: TunnelConfig, after: TunnelConfig, inUse = before.paths) {
  const calls: string[] = [];
  const result = await applyConfig(
    {
      paths: inUse,
      addPath: async (one) => {
        if (one.interface === 'taken0') throw new TunnelError('path-exists', 'Taken.');
        calls.push(`add ${one.name}`);
        return one.interface === 'absent0' ? 'it does not exist' : '';
      },
      removePath: (name) => calls.push(`remove ${name}`),
      changePath: (name, change) => calls.push(`change ${name} ${JSON.stringify(change)}`),
      setAutoPaths: (auto) => calls.push(`auto ${auto === undefined ? 'off' : 'on'}`),
      setRules: async (rules) => {
        if (rules.some(({ bypass }) => bypass === true)) throw new TunnelError('no-nft-command', 'No nft.');
        calls.push(`rules ${rules.length}`);
      },
      setEgressPolicy: () => calls.push('egress policy'),
      peers: before.peers,
      addPeer: async ({ name }) => void calls.push(`add peer ${name}`),
      removePeer: async (name) => {
        calls.push(`remove peer ${name}`);
        return true;
      },
      limitPeer: ({ name, limitUpBytesPerSec, limitDownBytesPerSec }) =>
        calls.push(`limit ${name} ${limitUpBytesPerSec}/${limitDownBytesPerSec}`),
      setGateway: async ({ nat, forwards }) => {
        if (forwards.some(({ to }) => to.peer === 'refused')) throw new HostNetworkError('nft-failed', 'Refused.');
        calls.push(`gateway nat ${nat}, ${forwards.length} forwards`);
      },
    },
    before,
    after,
  );
  return { calls: calls.join(', '), ...result };
}

t.test('the same configuration changes nothing', async (t) => {
  const same = config([path('dsl', 'eth0')]);
  t.same(await apply(same, config([path('dsl', 'eth0')])), { calls: '', done: [], left: [] });
});

t.test('paths go before others come, since names and interfaces may change hands', async (t) => {
  const before = config([path('a', 'eth0'), path('b', 'eth1'), path('c', 'eth2', { backup: true })]);
  const after = config([path('b', 'eth0'), path('c', 'eth2', { priority: 3, limitUpBytesPerSec: 125_000 }), path('d', 'absent0')]);
  const { calls, done } = await apply(before, after);
  t.ok(done.includes('path c: priority = 3, backup = false, limit_up = 1 Mbit/s'));
  t.equal(calls, 'remove a, remove b, auto off, add b, change c {"priority":3,"backup":false,"limitUpBytesPerSec":125000}, add d');
  t.ok(done.includes('path d: added, waits: it does not exist'));
});

t.test('what was changed by command gives way to the file', async (t) => {
  const file = config([path('a', 'eth0'), path('b', 'eth1')]);
  const { calls } = await apply(file, file, [path('other', 'eth0'), path('b', 'eth1', { backup: true })]);
  t.equal(calls, 'remove other, add a, change b {"backup":false}');
});

t.test('a path that cannot be had is named, and keeps no other', async (t) => {
  const { calls, left } = await apply(config([]), config([path('x', 'taken0'), path('y', 'eth1')]));
  t.equal(calls, 'auto off, add y');
  t.same(left, ['path x (Taken.)']);
});

t.test('rules and automatic paths are changed; the rest waits for a restart, and is named', async (t) => {
  const before = config([]);
  const after = config([], {
    autoPaths: { include: undefined, exclude: [] },
    rules: [{ mode: 'redundant' }],
    stream: { scheduler: 'blest', congestionControl: 'bbr', steer: 'aggregate' },
    egress: { mode: 'socket', allow: [] },
    interface: { ...before.interface, mtuBytes: 1300, listenPort: 5180 },
  });
  const { calls, left } = await apply(before, after);
  t.equal(calls, 'auto on, rules 1');
  t.same(left, ['[interface] listen_port', '[interface] mtu', '[egress]', '[stream]']);
});

t.test('rules that the host cannot have are named, and nothing else is kept', async (t) => {
  const { calls, done, left } = await apply(config([]), config([path('y', 'eth1')], { rules: [{ bypass: true }] }));
  t.equal(calls, 'auto off, add y');
  t.same(done, ['path y: added']);
  t.same(left, ['[[rule]] (No nft.)']);
});

t.test('peers that dial us come and go; one that we dial waits for a restart', async (t) => {
  const peer = (name: string, more: Partial<PeerConfig> = {}): PeerConfig => ({
    name,
    publicKey: new Uint8Array(32),
    presharedKey: undefined,
    endpoint: undefined,
    allowedIps: [],
    ...more,
  });
  const before = config([], { peers: [peer('vps', { endpoint: '203.0.113.1:5180' }), peer('old'), peer('same'), peer('other')] });
  const after = config([], {
    peers: [peer('vps', { endpoint: '203.0.113.9:5180' }), peer('same'), peer('other', { allowedIps: ['10.77.0.9/32'] }), peer('new')],
  });
  const { calls, done, left } = await apply(before, after);
  t.equal(calls, 'remove peer old, remove peer other, add peer other, add peer new');
  t.same(done, ['peer old: removed', 'peer other: changed', 'peer new: added']);
  t.same(left, ['[[peer]] vps']);
});

t.test('what peers may reach changes at once, how they are dialled after a restart', async (t) => {
  const egress = (more: object) => config([], { egress: { mode: 'tun', allow: ['10.1.0.0/16'], ...more } });
  t.same(await apply(egress({}), egress({ deny: ['10.1.9.0/24'] })), {
    calls: 'egress policy',
    done: ['[egress] allow, deny: changed'],
    left: [],
  });
  t.same(await apply(egress({ deny: ['10.1.9.0/24'] }), egress({})), {
    calls: 'egress policy',
    done: ['[egress] allow, deny: changed'],
    left: [],
  });
  t.same(await apply(egress({}), egress({ mode: 'socket' })), { calls: '', done: [], left: ['[egress]'] });
  t.same(await apply(egress({}), config([])), { calls: '', done: [], left: ['[egress]'] });
});

t.test(
  '[[forward]] is changed in place, by the [egress] that is in force; where nftables refuses, the file is named as not in force',
  async (t) => {
    const forward = { protocol: 'tcp', ports: [8080, 8080], to: { peer: 'laptop', port: 80 } } as const;
    const before = config([], { egress: { mode: 'socket', allow: [], nat: true } });
    const after = config([], { egress: { mode: 'socket', allow: [], nat: false }, forwards: [forward] });
    t.same(await apply(before, after), { calls: 'gateway nat true, 1 forwards', done: ['[[forward]]: changed'], left: ['[egress]'] });
    t.same(await apply(config([], { forwards: [forward] }), config([], { forwards: [{ ...forward }] })), { calls: '', done: [], left: [] });
    const refused = config([], { forwards: [{ ...forward, to: { peer: 'refused' } }] });
    t.same(await apply(config([]), refused), { calls: '', done: [], left: ['[[forward]] (Refused.)'] });
  },
);

t.test(
  'the limits of a peer are changed in place, also of one that we dial; where more than they differs, it is another peer',
  async (t) => {
    const peer = (name: string, more: Partial<PeerConfig> = {}): PeerConfig => ({
      name,
      publicKey: new Uint8Array(32),
      presharedKey: undefined,
      endpoint: undefined,
      allowedIps: [],
      ...more,
    });
    const dialled = { endpoint: '203.0.113.1:5180' };
    const before = config([], { peers: [peer('vps', dialled), peer('a', { limitUpBytesPerSec: 1000 }), peer('b'), peer('c')] });
    const after = config([], {
      peers: [
        peer('vps', { ...dialled, limitDownBytesPerSec: 2_500_000 }),
        peer('a'),
        peer('b', { limitUpBytesPerSec: 125_000, allowedIps: ['10.77.0.9/32'] }),
        peer('c'),
      ],
    });
    const { calls, done, left } = await apply(before, after);
    t.equal(calls, 'limit vps 0/2500000, limit a 0/0, remove peer b, add peer b');
    t.same(done, ['peer vps: limit_up = off, limit_down = 20 Mbit/s', 'peer a: limit_up = off, limit_down = off', 'peer b: changed']);
    t.same(left, []);
  },
);
