import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { HostNetworkPlan } from '../../src/tun/host-network.js';
import type { NftTable } from '../../src/tun/nft-table.js';

// Needs root and iproute2: every case runs in a network namespace of its own, with veth pairs as tunnel and uplinks.
const CANNOT_RUN = process.getuid?.() === 0 ? false : 'needs root: network namespaces';
const ACTOR = fileURLToPath(new URL('./host-network-actor.js', import.meta.url));

const PLAN: HostNetworkPlan = {
  device: 'mpt0',
  addresses: ['10.77.0.2/24', 'fd77::2/64'],
  mtuBytes: 1420,
  routes: ['10.77.0.0/24', '198.51.100.0/24', '2001:db8:5::/48'],
  uplinks: ['wan0', 'wan1'],
  outerAddresses: ['203.0.113.1'],
};
const TABLE: NftTable = {
  family: 'inet',
  purpose: 'test',
  body: 'chain first { type filter hook output priority 0; ip daddr 192.0.2.1 counter; }',
  neededBy: 'this test',
};
const FULL_TUNNEL: HostNetworkPlan = { ...PLAN, routes: ['0.0.0.0/0', '::/0'] };

class Host {
  readonly namespace = `mptunnel-test-${randomBytes(4).toString('hex')}`;
  readonly #actors: ChildProcessWithoutNullStreams[] = [];
  readonly journal: string;

  constructor(t: Test) {
    this.journal = join(t.testdir({}), 'mpt0.journal');
    execFileSync('ip', ['netns', 'add', this.namespace]);
    t.teardown(() => {
      for (const actor of this.#actors) actor.kill('SIGKILL');
      execFileSync('ip', ['netns', 'del', this.namespace]);
    });
    this.ip('link set lo up');
    for (const name of ['mpt0', 'wan0', 'wan1']) this.ip(`link add ${name} type veth peer name ${name}-far`);
    // Without link-local addresses, and once up and down before, a device looks the same again after `undo`: these are the kernel's own doing.
    for (const end of ['mpt0-far', 'wan0', 'wan0-far', 'wan1', 'wan1-far']) this.ip(`link set ${end} addrgenmode none`);
    for (const name of ['wan0', 'wan0-far', 'wan1', 'wan1-far', 'mpt0-far']) this.ip(`link set ${name} up`);
    this.ip('link set mpt0 up');
    this.ip('link set mpt0 down');
    this.ip('addr add 10.90.0.2/24 dev wan0');
    this.ip('addr add 10.91.0.2/24 dev wan1');
    this.ip('route add default via 10.90.0.1');
    this.ip('route add default via 10.91.0.1 metric 100');
    this.ip('-6 addr add 2001:db8:90::2/64 dev wan0 nodad');
    this.ip('-6 route add default via 2001:db8:90::1');
  }

  ip(line: string): string {
    return this.exec(['ip', ...line.split(' ')]);
  }

  exec(command: readonly string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.namespace, ...command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  sysctl(name: string, value?: string): string {
    const path = `/proc/sys/net/ipv4/conf/${name}`;
    return value === undefined ? this.exec(['cat', path]).trim() : this.exec(['sh', '-c', `echo ${value} > ${path}`]);
  }

  picture(): string {
    const commands = ['-d addr show', '-4 route show table all', '-6 route show table all', '-4 rule', '-6 rule'];
    const sysctls = ['all', 'wan0', 'wan1'].map((name) => this.sysctl(`${name}/rp_filter`));
    return [...commands.map((command) => this.ip(command)), ...sysctls].join('\n');
  }

  routeTo(address: string, more = ''): string {
    return this.ip(`route get ${address}${more}`).split('\n')[0] ?? '';
  }

  tables(): string {
    return this.exec(['nft', 'list', 'ruleset']);
  }

  actor(path = process.env.PATH): Actor {
    const env = ['env', `PATH=${path}`];
    const child = spawn('ip', ['netns', 'exec', this.namespace, ...env, process.execPath, ACTOR, this.journal], { stdio: 'pipe' });
    this.#actors.push(child);
    return new Actor(child);
  }
}

class Actor {
  readonly child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor(child: ChildProcessWithoutNullStreams) {
    this.child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  async say(line: string): Promise<Record<string, unknown>> {
    this.child.stdin.write(`${line}\n`);
    const { value } = await this.#lines.next();
    return JSON.parse(value ?? '{"died":true}') as Record<string, unknown>;
  }

  apply(plan: HostNetworkPlan): Promise<Record<string, unknown>> {
    return this.say(JSON.stringify(plan));
  }

  table(table: NftTable): Promise<Record<string, unknown>> {
    return this.say(`table ${JSON.stringify(table)}`);
  }

  async killHard(): Promise<void> {
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }
}

t.test('host network', { skip: CANNOT_RUN }, async (t) => {
  t.test('apply sets addresses, MTU, queue and routes; undo leaves addresses, routes and rules byte-identical', async (t) => {
    const host = new Host(t);
    const before = host.picture();
    const actor = host.actor();
    t.same(await actor.apply(PLAN), { mark: 0 });
    const device = host.ip('-d addr show dev mpt0');
    t.match(device, /mtu 1420 /);
    t.match(device, /qlen 10000/);
    t.match(device, /gso_max_size 60000/);
    t.match(device, /inet 10\.77\.0\.2\/24/);
    t.match(device, /inet6 fd77::2\/64/);
    t.notMatch(device, /inet6 fe80:/, 'no link-local address');
    t.match(host.routeTo('198.51.100.7'), / dev mpt0 src 10\.77\.0\.2/);
    t.match(host.routeTo('2001:db8:5::7'), / dev mpt0 .*src fd77::2/);
    t.match(host.routeTo('203.0.113.1'), / via 10\.90\.0\.1 dev wan0/);
    t.ok(existsSync(host.journal));
    t.same(await actor.say('undo'), { undone: true });
    t.equal(host.picture(), before);
    t.notOk(existsSync(host.journal));
    t.same(await actor.say('undo'), { undone: true }, 'a second undo does nothing');
    t.same(await actor.apply(PLAN), { mark: 0 }, 'and it can be applied again');
  });

  t.test('a default route takes everything but marked packets, bound sockets and what main knows precisely', async (t) => {
    const host = new Host(t);
    const before = host.picture();
    const actor = host.actor();
    const { mark } = (await actor.apply(FULL_TUNNEL)) as { mark: number };
    t.ok(mark > 0);
    t.match(host.routeTo('9.9.9.9'), / dev mpt0 /);
    t.match(host.routeTo('203.0.113.1'), / dev mpt0 /);
    t.match(host.routeTo('2620:fe::9'), / dev mpt0 /);
    t.match(host.routeTo('203.0.113.1', ` mark ${mark}`), / via 10\.90\.0\.1 dev wan0/, 'marked');
    t.match(host.routeTo('203.0.113.1', ' oif wan0'), / via 10\.90\.0\.1 dev wan0/, 'bound to wan0');
    t.match(host.routeTo('203.0.113.1', ' oif wan1'), / via 10\.91\.0\.1 dev wan1/, 'bound to wan1');
    t.match(host.routeTo('2620:fe::9', ` mark ${mark}`), / via 2001:db8:90::1 dev wan0/, 'marked, IPv6');
    t.match(host.routeTo('10.91.0.77'), / dev wan1 /, 'the LAN stays');
    await actor.say('undo');
    t.equal(host.picture(), before);
  });

  t.test('halves of the default route, and a prefix that covers the endpoint, keep the outer packets out as well', async (t) => {
    const host = new Host(t);
    const before = host.picture();
    const actor = host.actor();
    const { mark } = (await actor.apply({ ...PLAN, routes: ['0.0.0.0/1', '128.0.0.0/1', '203.0.112.0/20', '10.0.0.0/8'] })) as {
      mark: number;
    };
    for (const address of ['9.9.9.9', '203.0.113.1', '203.0.113.2', '10.1.2.3']) t.match(host.routeTo(address), / dev mpt0 /, address);
    for (const address of ['9.9.9.9', '203.0.113.1']) t.match(host.routeTo(address, ` mark ${mark}`), / dev wan0 /, `${address}, marked`);
    t.match(host.routeTo('10.90.0.9'), / dev wan0 /);
    await actor.say('undo');
    t.equal(host.picture(), before);
  });

  t.test('after SIGKILL the next apply undoes by the journal first', async (t) => {
    const host = new Host(t);
    const before = host.picture();
    const first = host.actor();
    await first.apply(FULL_TUNNEL);
    await first.killHard();
    t.not(host.picture(), before);
    const second = host.actor();
    t.match(await second.apply(FULL_TUNNEL), { mark: Number });
    t.equal(host.ip('-4 rule').match(/proto 84/g)?.length, 2, 'one pair of rules, not two');
    await second.say('undo');
    t.equal(host.picture(), before);
  });

  t.test('after SIGKILL the device is gone, and with it all but the rules: these are undone too', async (t) => {
    const host = new Host(t);
    const actor = host.actor();
    await actor.apply(FULL_TUNNEL);
    await actor.killHard();
    host.ip('link del mpt0');
    t.match(host.ip('-4 rule'), /proto 84/);
    host.ip('link add mpt0 type veth peer name mpt0-far');
    const remade = host.picture();
    const next = host.actor();
    t.match(await next.apply({ ...FULL_TUNNEL, uplinks: ['wan7'] }), { code: 'no-interface' });
    t.notMatch(host.ip('-4 rule'), /proto 84/);
    t.notMatch(host.ip('-6 rule'), /proto 84/);
    t.match(host.ip('-d link show dev mpt0'), /mtu 1500/, 'the new device of that name is left alone');
    t.not(host.picture(), remade, 'its leftover rules were in the picture');
  });

  t.test('two tunnels at once have marks and tables of their own', async (t) => {
    const host = new Host(t);
    host.ip('link add mpt1 type veth peer name mpt1-far');
    host.ip('link set mpt1 up');
    host.ip('link set mpt1 down');
    const actor = host.actor();
    const { mark } = (await actor.apply(FULL_TUNNEL)) as { mark: number };
    const other = spawn('ip', ['netns', 'exec', host.namespace, process.execPath, ACTOR, `${host.journal}-1`], { stdio: 'pipe' });
    t.teardown(() => other.kill('SIGKILL'));
    const before = host.picture();
    const second = new Actor(other);
    const answer = await second.apply({ ...FULL_TUNNEL, device: 'mpt1', addresses: ['10.78.0.2/24'] });
    t.ok((answer as { mark: number }).mark > 0);
    t.not(answer.mark, mark);
    await second.say('undo');
    t.equal(host.picture(), before);
  });

  t.test('a live owner of the journal is not robbed', async (t) => {
    const host = new Host(t);
    await host.actor().apply(PLAN);
    const before = host.picture();
    t.match(await host.actor().apply(PLAN), {
      code: 'busy',
      message: /is in the hands of process \d+: stop it first \(`mptunnel down mpt0`\)/,
    });
    t.equal(host.picture(), before);
  });

  t.test("strict rp_filter on the uplinks becomes loose and strict again; an administrator's change in between is kept", async (t) => {
    const host = new Host(t);
    for (const name of ['wan0', 'wan1']) host.sysctl(`${name}/rp_filter`, '1');
    const actor = host.actor();
    await actor.apply(FULL_TUNNEL);
    t.same(
      ['wan0', 'wan1'].map((name) => host.sysctl(`${name}/rp_filter`)),
      ['2', '2'],
    );
    host.sysctl('wan1/rp_filter', '0');
    await actor.say('undo');
    t.same(
      ['wan0', 'wan1'].map((name) => host.sysctl(`${name}/rp_filter`)),
      ['1', '0'],
    );
  });

  t.test('what other programs took away, and what a device that came anew has forgotten, is put back', async (t) => {
    const host = new Host(t);
    host.sysctl('wan1/rp_filter', '1');
    const before = host.picture();
    const actor = host.actor();
    await actor.apply({ ...FULL_TUNNEL, routes: [...FULL_TUNNEL.routes, '198.51.100.0/24'] });
    t.same(await actor.say('refresh'), { refreshed: true }, 'nothing is missing, and nothing is said');
    const applied = host.picture();
    host.ip('link set mpt0 down');
    host.ip('link set mpt0 up');
    host.ip('-4 rule del lookup main suppress_prefixlength 0 protocol 84');
    host.sysctl('wan1/rp_filter', '1');
    t.not(host.picture(), applied);
    t.match(await actor.say('refresh'), { warning: /^\d+ of the tunnel's addresses, routes and rules had been removed/ });
    // The answer to the one before.
    t.same(await actor.say('refresh'), { refreshed: true });
    t.equal(host.picture(), applied);
    await actor.say('undo');
    t.same(await actor.say('refresh'), { undone: true });
    t.equal(host.picture(), before);
  });

  t.test("the tunnel's own datagrams bear a mark that no rule leads into the tunnel, although only the kill switch needs it", async (t) => {
    const host = new Host(t);
    const actor = host.actor();
    const { mark } = (await actor.apply({ ...PLAN, killSwitch: { allow: [] }, answersByTunnel: true })) as { mark: number };
    t.ok(mark > 0);
    t.match(host.tables(), new RegExp(`meta mark 0x0*${mark.toString(16)} accept`));
    t.match(host.ip('-4 rule'), /fwmark/, 'answers have a mark');
    t.match(host.routeTo('203.0.113.1', ` mark ${mark}`), / via 10\.90\.0\.1 dev wan0/, 'which is another');
    t.match(host.routeTo('198.51.100.7'), / dev mpt0 /);
    await actor.say('undo');
    t.match(host.tables(), /mptunnel_mpt0_kill-switch/, 'the kill switch is not undone: it ends with `down`');
    t.match(await host.actor().apply(PLAN), { mark: 0 });
    t.equal(host.tables(), '', 'or with an `up` that has none');
  });

  t.test('failures say what to do and leave nothing behind', async (t) => {
    const host = new Host(t);
    host.ip('route add 198.51.100.0/24 dev wan1');
    host.exec(['sh', '-c', 'echo 1 > /proc/sys/net/ipv6/conf/mpt0/disable_ipv6']);
    const before = host.picture();
    const actor = host.actor();
    t.match(await actor.apply({ ...PLAN, addresses: ['10.77.0.2/24'] }), {
      code: 'route-exists',
      message: 'a route to 198.51.100.0/24 exists already (it leads to wan1): remove it, or take 198.51.100.0/24 out of allowed_ips',
    });
    t.equal(host.picture(), before);
    t.match(host.ip('route show 198.51.100.0/24'), /dev wan1/, 'the route that stood in the way stands');
    t.match(await actor.apply(PLAN), { code: 'ipv6-disabled', message: /IPv6 is switched off here: take it out of address,/ });
    t.match(await actor.apply({ ...FULL_TUNNEL, addresses: ['10.77.0.2/24'] }), {
      code: 'ipv6-disabled',
      message: /^::\/0 cannot be set: IPv6 is switched off here: take it out of allowed_ips,/,
    });
    t.equal(host.picture(), before);
    t.match(await actor.apply({ ...PLAN, uplinks: ['wan0', 'wan9'] }), {
      code: 'no-interface',
      message: /^interface wan9 does not exist; interfaces here: (?!.*\bmpt0,).*wan0/,
    });
    t.equal(host.picture(), before);
    t.notOk(existsSync(host.journal));
  });

  t.test('what carries the mark goes past every prefix, also those whose routes were in the main table; undo takes it back', async (t) => {
    for (const plan of [PLAN, { ...PLAN, routes: [...PLAN.routes, '0.0.0.0/0'] }]) {
      const host = new Host(t);
      host.sysctl('wan1/rp_filter', '1');
      const before = host.picture();
      const actor = host.actor();
      await actor.apply(plan);
      const { mark } = (await actor.say('bypass')) as { mark: number };
      t.ok(mark > 0);
      t.same(await actor.say('bypass'), { mark }, 'once is enough');
      t.match(host.routeTo('198.51.100.7'), / dev mpt0 .*src 10\.77\.0\.2/, 'unmarked as before');
      t.match(host.routeTo('2001:db8:5::7'), / dev mpt0 /);
      t.match(host.routeTo('198.51.100.7', ` mark ${mark}`), / via 10\.90\.0\.1 dev wan0/);
      t.match(host.routeTo('198.51.100.7', ` from 10.91.0.2 mark ${mark}`), / via 10\.90\.0\.1 dev wan0/);
      t.match(host.routeTo('2001:db8:5::7', ` mark ${mark}`), / via 2001:db8:90::1 dev wan0/);
      t.notMatch(host.ip('route show table main'), /198\.51\.100\.0/);
      t.equal(host.sysctl('wan1/rp_filter'), '2', 'answers come where the main table would not look for them');
      t.same(await actor.say('undo'), { undone: true });
      t.equal(host.picture(), before);
    }
  });

  t.test('what is marked goes past the tunnel although its address leads into it', async (t) => {
    const host = new Host(t);
    const before = host.picture();
    const actor = host.actor();
    await actor.apply({ ...PLAN, answersByTunnel: true });
    const { mark } = (await actor.say('bypass')) as { mark: number };
    host.ip('link set mpt0-far up');
    t.match(host.routeTo('9.9.9.9', ' from 10.77.0.2'), / dev mpt0 /);
    t.match(host.routeTo('9.9.9.9', ` from 10.77.0.2 mark ${mark}`), / via 10\.90\.0\.1 dev wan0/);
    await actor.say('undo');
    t.equal(host.picture(), before);
  });

  t.test("a table of nftables of the tunnel's own is replaced whole, and undone; others' stay", async (t) => {
    const host = new Host(t);
    host.exec(['nft', 'add table inet filter; add chain inet filter input { type filter hook input priority 0; }']);
    const before = host.tables();
    const actor = host.actor();
    await actor.apply(PLAN);
    t.same(await actor.table(TABLE), { table: 'mptunnel_mpt0_test' });
    t.match(host.tables(), /table inet mptunnel_mpt0_test \{\s+chain first/);
    await actor.table({ ...TABLE, body: TABLE.body.replace('first', 'second') });
    t.match(host.tables(), /chain second/);
    t.notMatch(host.tables(), /chain first/, 'what was there before is gone');
    t.match(await actor.table({ ...TABLE, body: 'chain third { no such thing; }' }), {
      code: 'nft-failed',
      message: /^this test: `nft` refused: syntax error/,
    });
    t.match(host.tables(), /chain second/, 'what is refused changes nothing');
    await actor.table({ ...TABLE, family: 'ip', purpose: 'other' });
    t.same(await actor.say('no-table ip other'), { removed: true });
    t.notMatch(host.tables(), /_other/);
    t.same(await actor.say('undo'), { undone: true });
    t.equal(host.tables(), before);
  });

  t.test('after SIGKILL tables of nftables are undone by the journal, with the device or without it', async (t) => {
    const host = new Host(t);
    const actor = host.actor();
    await actor.apply(PLAN);
    await actor.table(TABLE);
    await actor.killHard();
    host.ip('link del mpt0');
    t.match(host.tables(), /mptunnel_mpt0_test/);
    t.match(await host.actor().apply({ ...PLAN, uplinks: ['wan7'] }), { code: 'no-interface' });
    t.equal(host.tables(), '');
  });

  t.test('without nft what needs it says what to install, and the rest works', async (t) => {
    const host = new Host(t);
    const folder = join(t.testdir({}), 'bin');
    mkdirSync(folder, { recursive: true });
    const ip = execFileSync('sh', ['-c', 'command -v ip'], { encoding: 'utf8' }).trim();
    symlinkSync(ip, join(folder, 'ip'));
    const actor = host.actor(folder);
    t.same(await actor.apply(PLAN), { mark: 0 });
    t.match(await actor.table(TABLE), {
      code: 'no-nft-command',
      message: 'this test needs the program `nft`, which is missing: install the package nftables',
    });
    t.same(await actor.say('undo'), { undone: true }, 'nothing to undo that would need nft');
  });

  t.test('the interface that has an address is found, or the addresses that there are', async (t) => {
    const actor = new Host(t).actor();
    t.same(await actor.say('who 10.91.0.2'), { name: 'wan1' });
    t.same(await actor.say('who 2001:db8:90:0::2'), { name: 'wan0' });
    t.match(await actor.say('who 10.91.0.3'), {
      code: 'no-interface',
      message: /^no interface has the address 10\.91\.0\.3; addresses here: 10\.90\.0\.2 \(wan0\), /,
    });
  });

  function actorWithoutCapability(t: Test, host: Host): Actor {
    const drop = ['capsh', '--drop=cap_net_admin', '--', '-c', `exec ${process.execPath} ${ACTOR} ${host.journal}`];
    const child = spawn('ip', ['netns', 'exec', host.namespace, ...drop], { stdio: 'pipe' });
    t.teardown(() => child.kill('SIGKILL'));
    return new Actor(child);
  }

  t.test('without CAP_NET_ADMIN it says so', async (t) => {
    const actor = actorWithoutCapability(t, new Host(t));
    t.match(await actor.apply(PLAN), { code: 'not-permitted', message: /needs root or CAP_NET_ADMIN/ });
  });

  t.test('without CAP_NET_ADMIN a device that root has prepared is as wanted, and stays so; what is missing is named', async (t) => {
    const host = new Host(t);
    const actor = actorWithoutCapability(t, host);
    const lack = async (): Promise<string> => {
      const { code, message } = await actor.apply(PLAN);
      t.equal(code, 'not-permitted');
      return String(message).replace(/^.*let root prepare the device: /, '');
    };
    host.ip('link set mpt0 txqueuelen 10000 gso_max_size 60000 addrgenmode none');
    const setUp = await lack();
    t.match(setUp, 'ip link set dev mpt0 mtu 1420; ip addr add 10.77.0.2/24 dev mpt0; ');
    host.exec(['sh', '-c', setUp]);
    const routes = await lack();
    t.match(routes, 'ip route add 198.51.100.0/24 dev mpt0');
    host.exec(['sh', '-c', routes]);
    const before = host.picture();
    t.same(await actor.apply(PLAN), { mark: 0 });
    t.same(await actor.say('undo'), { undone: true });
    t.equal(host.picture(), before);
  });

  t.test('without CAP_NET_ADMIN nobody can prepare a default route: its way past needs a mark', async (t) => {
    const host = new Host(t);
    for (const line of ['mtu 1420', 'txqueuelen 10000', 'gso_max_size 60000', 'addrgenmode none', 'up']) host.ip(`link set mpt0 ${line}`);
    host.ip('addr add 10.77.0.2/24 dev mpt0');
    host.ip('addr add fd77::2/64 dev mpt0 nodad');
    const { code, message } = await actorWithoutCapability(t, host).apply(FULL_TUNNEL);
    t.equal(code, 'not-permitted');
    t.notMatch(message, /prepare/);
  });
});
