import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import type { ForwardConfig, TunnelConfig } from '../../../src/tunnel/config.js';
import { familiesOf, GatewayNetwork, gatewaySettings } from '../../../src/tunnel/gateway/gateway-network.js';
import type { ForwardPeer } from '../../../src/tunnel/gateway/gateway-table.js';

const FORWARD: ForwardConfig = { protocol: 'udp', ports: [5000, 5000], to: { peer: 'laptop' } };
const LAPTOP: ForwardPeer = { name: 'laptop', allowedIps: ['10.77.0.2/32'] };

function rig() {
  const calls: string[] = [];
  const warnings: string[] = [];
  const peers: ForwardPeer[] = [];
  const blockers: string[] = [];
  let isRefused = false;
  const network = new GatewayNetwork({
    device: 'mpt0',
    families: [4],
    host: {
      tables: {
        apply: async ({ body, neededBy }) => {
          if (isRefused) throw new Error('refused');
          calls.push(`${neededBy}: ${/dnat ip to \S+/.exec(body)?.[0] ?? 'no dnat'}${body.includes('masquerade') ? ', masquerade' : ''}`);
        },
        remove: async () => void calls.push('removed'),
      },
      enableForwarding: async (families) => void calls.push(`forwarding ${families.join()}`),
      findForwardBlockers: async () => blockers,
    },
    peers: () => peers,
    warn: (message) => warnings.push(message),
  });
  const refuse = (on: boolean) => {
    isRefused = on;
  };
  /** What was asked of the host since the last call. */
  const asked = () => calls.splice(0);
  const told = () => warnings.splice(0);
  return { network, peers, blockers, refuse, asked, told };
}

t.test('a host that is no gateway is left alone', async (t) => {
  const { network, asked } = rig();
  await network.setSettings({ nat: undefined, allow: [], forwards: [] });
  network.peersChanged();
  await turn();
  t.same(asked(), []);
});

t.test('nat = true translates, nat = false only forwards', async (t) => {
  for (const [nat, expected] of [
    [true, ['forwarding 4', '[egress] nat: no dnat, masquerade']],
    [false, ['forwarding 4']],
  ] as const) {
    const { network, asked } = rig();
    await network.setSettings({ nat, allow: [], forwards: [] });
    t.same(asked(), expected);
  }
});

t.test(
  'a forward follows its peer as it comes, changes and goes, once for many changes, and says once where it leads nowhere',
  async (t) => {
    const { network, peers, asked, told } = rig();
    await network.setSettings({ nat: undefined, allow: [], forwards: [FORWARD] });
    t.same(asked(), ['forwarding 4']);
    t.same(told(), ['[[forward]] of udp port 5000 leads nowhere: there is no peer "laptop" yet']);
    for (let i = 0; i < 1000; i++) {
      peers.push({ name: `peer${i}`, allowedIps: [`10.78.${i >> 8}.${i & 255}/32`] });
      network.peersChanged();
    }
    await turn();
    t.same([asked(), told()], [[], []], 'a thousand others are nothing to it');
    peers.push(LAPTOP);
    network.peersChanged();
    await turn();
    t.same(asked(), ['[[forward]]: dnat ip to 10.77.0.2']);
    peers.splice(peers.indexOf(LAPTOP), 1, { ...LAPTOP, allowedIps: ['10.77.0.9/32'] });
    network.peersChanged();
    await turn();
    t.same(asked(), ['[[forward]]: dnat ip to 10.77.0.9']);
    peers.pop();
    network.peersChanged();
    await turn();
    t.same([asked(), told().length], [['removed'], 1]);
  },
);

t.test('what nftables refuses is told, and tried again with the next change', async (t) => {
  const { network, peers, refuse, asked, told } = rig();
  await network.setSettings({ nat: undefined, allow: [], forwards: [FORWARD] });
  told();
  asked();
  refuse(true);
  peers.push(LAPTOP);
  network.peersChanged();
  await turn();
  t.same(told(), ['[[forward]] is as before: refused']);
  refuse(false);
  network.peersChanged();
  await turn();
  t.same(asked(), ['[[forward]]: dnat ip to 10.77.0.2']);
  await network.close();
  peers.pop();
  network.peersChanged();
  await turn();
  t.same(asked(), [], 'closed: what is undone stays undone');
});

t.test('a firewall that drops what is forwarded is named, once', async (t) => {
  const { network, blockers, told } = rig();
  blockers.push('table ip filter, chain FORWARD');
  await network.setSettings({ nat: true, allow: [], forwards: [] });
  await network.setSettings({ nat: true, allow: ['10.1.0.0/24'], forwards: [] });
  t.same(told(), [
    'a firewall drops what this host forwards (table ip filter, chain FORWARD): let mpt0 through there, in and out (docs/gateway.md)',
  ]);
});

t.test('a site forwards for the hosts behind it, in the IP versions that they have', async (t) => {
  const interfaceOf = (addresses: string[]) => ({ addresses }) as unknown as TunnelConfig['interface'];
  const egress = { mode: 'tun', allow: ['10.1.0.0/24', 'fd01::/64'] } as const;
  t.equal(gatewaySettings({ egress }).nat, false);
  t.equal(gatewaySettings({ egress: { ...egress, nat: true } }).nat, true);
  t.equal(gatewaySettings({ egress: { ...egress, mode: 'socket' } }).nat, undefined);
  t.same(familiesOf({ interface: interfaceOf(['10.77.0.2/24']), egress }), [4, 6]);
  t.same(familiesOf({ interface: interfaceOf(['10.77.0.2/24']), egress: { ...egress, mode: 'socket' } }), [4]);
});
