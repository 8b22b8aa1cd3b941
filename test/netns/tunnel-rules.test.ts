/** Rules by user, fwmark and domain, and traffic that bypasses the tunnel, with the real program: who goes where is seen by the links and by the far side. */

import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { WEB_ADDRESS, WEB_ADDRESS_V6 } from '../../src/lab/topology.js';
import type { ConnectionView } from '../../src/tunnel/connections.js';
import { inside, type Say } from './tunnel-remote.js';
import { CLIENT_ADDRESS, createTunnelRig, PROGRAM, type TunnelRig, until } from './tunnel-rig.js';

/** Left alone, everything but large transfers is on link 0. */
const LINKS = [
  { rateBitsPerSec: 100e6, delayMs: 4 },
  { rateBitsPerSec: 100e6, delayMs: 20 },
];
const OUTER_ADDRESS = '10.90.0.1';
const OUTER_ADDRESS_V6 = 'fd90::1';
const EGRESS_ADDRESS = '198.51.100.1';
const PINNED_ADDRESS = '198.51.100.30';
const OUTSIDE_ADDRESS = '198.51.100.40';
const LATE_ADDRESS = '198.51.100.50';
/** Of names whose answers are too long for a datagram. */
const LARGE = { pinned: '198.51.100.60', outside: '198.51.100.61', packets: '198.51.100.62' } as const;
/** Of a server of DNS to which TCP goes packet by packet. */
const RESOLVER_ADDRESS = '198.51.100.63';
const OTHERS = [PINNED_ADDRESS, OUTSIDE_ADDRESS, LATE_ADDRESS, RESOLVER_ADDRESS, ...Object.values(LARGE)];
const USERS = { pinned: 65_534, outside: 65_533, root: 0 } as const;
const PORTS = { plain: 7000, marked: 7001, outside: 7002, packets: 7003 } as const;
const BYPASS_RULES = `
[[rule]]
port = ${PORTS.outside}
destination = ["${PINNED_ADDRESS}"]
mode = "min-delay"
[[rule]]
port = ${PORTS.outside}
bypass = true
[[rule]]
user = ${USERS.outside}
bypass = true
[[rule]]
domain = ["outside.example", "*.outside.example"]
bypass = true
`;
const PINNED_USER = `
[[rule]]
user = ${USERS.pinned}
mode = "pin"
paths = ["link1"]
`;
const RULES = `${PINNED_USER}
[[rule]]
fwmark = "0x10/0xf0"
paths = ["link1"]
[[rule]]
domain = "*.pinned.example"
mode = "active-standby"
paths = ["link1", "link0"]
[[rule]]
port = ${PORTS.packets}
plane = "datagram"
[[rule]]
destination = ["${RESOLVER_ADDRESS}"]
port = 53
plane = "datagram"
`;
const COUNT = 200;
const PAYLOAD_BYTES = 1000;
const FLOW_BYTES = COUNT * PAYLOAD_BYTES;
const DOWNLOAD_BYTES = 3_000_000;

t.setTimeout(300_000);

interface Echoes {
  received: number;
  /** Our address as the far side sees it. */
  seenAs: string;
}

/** A host of the Internet: says to whom it speaks (UDP and TCP), sends as many bytes as it is asked for, and resolves names. */
async function web(
  { ports, addresses, names }: { ports: readonly number[]; addresses: readonly string[]; names: Record<string, string> },
  say: Say,
): Promise<void> {
  const { createSocket } = await import('node:dgram');
  const { createServer } = await import('node:net');
  const plain = (address: string): string => address.replace(/^::ffff:/, '');
  for (const port of ports) {
    // One for each address, so that answers come from where the question went.
    for (const address of addresses) {
      const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
      socket.on('message', (message, from) => {
        const answer = Buffer.alloc(message.length);
        answer.write(from.address);
        socket.send(answer, from.port, from.address);
      });
      await new Promise<void>((resolve) => socket.bind(port, address, resolve));
    }
    const server = createServer((stream) => {
      stream.on('error', () => undefined);
      stream.write(`${plain(stream.remoteAddress ?? '')}\n`);
      stream.once('data', (asked) => stream.end(Buffer.alloc(Number(asked.toString()), 1)));
    });
    await new Promise<void>((resolve) => server.listen(port, '::', resolve));
  }
  const label = (name: string): Buffer =>
    Buffer.concat([...name.split('.').map((part) => Buffer.from(`${String.fromCharCode(part.length)}${part}`)), Buffer.alloc(1)]);
  const record = (owner: Buffer, type: number, data: Buffer): Buffer => {
    const fixed = Buffer.from([0, type, 0, 1, 0, 0, 0, 60, 0, data.length]);
    return Buffer.concat([owner, fixed, data]);
  };
  const answerTo = (query: Buffer, byTcp: boolean): Buffer => {
    const parts: string[] = [];
    let at = 12;
    for (; query[at] !== 0; at += 1 + query[at]!) parts.push(query.toString('latin1', at + 1, at + 1 + query[at]!));
    const question = query.subarray(12, at + 5);
    const address = query[at + 2] === 1 ? names[parts.join('.').toLowerCase()] : undefined;
    const isTruncated = parts[0] === 'large' && !byTcp;
    const alias = label('edge.cdn.example');
    // By an alias, as large sites do it.
    const records =
      address === undefined || isTruncated
        ? []
        : [record(Buffer.from([0xc0, 12]), 5, alias), record(alias, 1, Buffer.from(address.split('.').map(Number)))];
    const header = Buffer.from([query[0]!, query[1]!, isTruncated ? 0x83 : 0x81, 0x80, 0, 1, 0, records.length, 0, 0, 0, 0]);
    return Buffer.concat([header, question, ...records]);
  };
  for (const address of addresses) {
    const dns = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    dns.on('message', (query, from) => dns.send(answerTo(query, false), from.port, from.address));
    await new Promise<void>((resolve) => dns.bind(53, address, resolve));
  }
  const dnsByTcp = createServer((stream) => {
    stream.on('error', () => undefined);
    stream.on('data', (asked) => {
      const answer = answerTo(asked.subarray(2), true);
      // In two pieces, the first within the length.
      stream.setNoDelay(true).write(Buffer.of(answer.length >> 8));
      setTimeout(() => stream.write(Buffer.concat([Buffer.of(answer.length & 255), answer])), 20);
    });
  });
  await new Promise<void>((resolve) => dnsByTcp.listen(53, '::', resolve));
  say('ready');
  await new Promise(() => {});
}

/** Datagrams one by one from one socket, and their echoes. `name`: to the address that the resolver has for it, at once when the answer is there. */
async function echo(args: { host?: string; name?: string; resolver: string; port: number; count: number; bytes: number }): Promise<Echoes> {
  const { createSocket } = await import('node:dgram');
  const { Resolver } = await import('node:dns/promises');
  const resolver = new Resolver({ timeout: 3000, tries: 2 });
  resolver.setServers([args.resolver]);
  const host = args.host ?? (await resolver.resolve4(args.name!))[0]!;
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  const echoes = { received: 0, seenAs: '' };
  socket.on('message', (message) => {
    echoes.received++;
    const seenAs = message.toString('latin1', 0, message.indexOf(0));
    if (!echoes.seenAs.split(' ').includes(seenAs)) echoes.seenAs = `${echoes.seenAs} ${seenAs}`.trim();
  });
  const payload = Buffer.alloc(args.bytes);
  for (let i = 0; i < args.count; i++) {
    socket.send(payload, args.port, host);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  // A busy machine answers late.
  for (let i = 0; i < 50 && echoes.received < args.count; i++) await new Promise((resolve) => setTimeout(resolve, 100));
  socket.close();
  return echoes;
}

/** Asks for bytes over TCP; rejects when they do not come. */
async function download(args: { host: string; port: number; bytes: number }, say: Say): Promise<Echoes> {
  const { connect } = await import('node:net');
  const socket = connect(args.port, args.host);
  const chunks: Buffer[] = [];
  let received = 0;
  socket.once('connect', () => socket.write(String(args.bytes)));
  socket.on('data', (chunk) => {
    if (received === 0) say('begun');
    received += chunk.length;
    if (chunks.length < 2) chunks.push(chunk);
  });
  await new Promise((resolve, reject) => socket.on('close', resolve).on('error', reject));
  const seenAs = Buffer.concat(chunks).toString('latin1').split('\n')[0]!;
  return { received: received - seenAs.length - 1, seenAs };
}

async function connectionsOf(rig: TunnelRig): Promise<ConnectionView[]> {
  const lines = (await rig.mptunnel('client', 'connections', 'mpt0', '--json')).stdout.split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as ConnectionView);
}

/** Nearly all: a busy machine drops some. */
function echoed(t: Test, { received, seenAs }: Echoes, expected: string, what = ''): void {
  t.ok(received > 0.8 * COUNT, `${what} ${received} of ${COUNT}`);
  t.equal(seenAs, expected, `${what} seen as`);
}

const as = (user: number): string[] => (user === 0 ? [] : ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups']);

/** IP bytes by link, both ways, while something runs. */
async function bytesByLink<R>(rig: TunnelRig, work: () => Promise<R>): Promise<{ bytes: number[]; result: R }> {
  const count = async (): Promise<number[]> =>
    (await Promise.all(rig.lab.links.map((link) => link.counters()))).map(({ upBytes, downBytes }) => upBytes + downBytes);
  const before = await count();
  const result = await work();
  return { bytes: (await count()).map((bytes, i) => bytes - before[i]!), result };
}

t.test('rules by user, fwmark and domain, and what bypasses', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, up: false, append: { client: BYPASS_RULES + RULES } });
  t.teardown(() => rig.close());
  const { client, web: webHost } = rig.lab;
  for (const address of OTHERS) await webHost.run('ip', ['address', 'add', `${address}/24`, 'dev', 'lan0']);
  const names = {
    'far.pinned.example': PINNED_ADDRESS,
    'outside.example': OUTSIDE_ADDRESS,
    'www.outside.example': LATE_ADDRESS,
    'large.pinned.example': LARGE.pinned,
    'large.outside.example': LARGE.outside,
    'large.packets.outside.example': LARGE.packets,
  };
  await inside(webHost, web, { ports: Object.values(PORTS), addresses: [WEB_ADDRESS, WEB_ADDRESS_V6, ...OTHERS], names }).said;
  // Somebody else's rule sets the mark.
  await client.run('nft', ['-f', '-'], {
    input: `table inet firewall { chain marks { type filter hook output priority mangle; udp dport ${PORTS.marked} meta mark set 0x12; tcp dport ${PORTS.marked} meta mark set 0x12; }; }\n`,
  });
  const pictureOf = async (): Promise<string> =>
    (await client.run('sh', ['-c', 'nft list ruleset; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all'])).stdout;
  const before = await pictureOf();
  await rig.up('server');
  await rig.up('client');
  await until('both paths up', async () => (await rig.status('client')).peers[0]!.paths.every(({ state }) => state === 'up'), 10_000);

  const udp = (more: { host?: string; name?: string; port?: number; user?: number; resolver?: string }) =>
    bytesByLink(rig, () => {
      const { user = USERS.root, port = PORTS.plain, ...target } = more;
      return inside(client, echo, { resolver: WEB_ADDRESS, port, count: COUNT, bytes: PAYLOAD_BYTES, ...target }, as(user)).result;
    });
  const tcp = (user: number, port: number = PORTS.plain, host = WEB_ADDRESS, bytes = DOWNLOAD_BYTES) =>
    bytesByLink(rig, () => inside(client, download, { host, port, bytes }, as(user)).result);

  await t.test("everybody else's traffic goes on the faster path, and over both when it is much", async (t) => {
    const datagrams = await udp({ host: WEB_ADDRESS });
    echoed(t, datagrams.result, CLIENT_ADDRESS);
    t.ok(datagrams.bytes[0]! > 1.5 * FLOW_BYTES, `${datagrams.bytes}`);
    t.ok(datagrams.bytes[1]! < FLOW_BYTES / 4, `${datagrams.bytes}`);
    // A second of both links: long enough for the farther one to be past its slow start.
    const much = 20_000_000;
    const stream = await tcp(USERS.root, PORTS.plain, WEB_ADDRESS, much);
    t.same(stream.result, { received: much, seenAs: EGRESS_ADDRESS });
    t.ok(Math.min(...stream.bytes) > much / 20, `${stream.bytes}`);
  });

  await t.test("a user's traffic keeps to the path that it is pinned to, datagrams and TCP", async (t) => {
    const datagrams = await udp({ host: WEB_ADDRESS, user: USERS.pinned });
    echoed(t, datagrams.result, CLIENT_ADDRESS);
    t.ok(datagrams.bytes[1]! > 1.5 * FLOW_BYTES, `${datagrams.bytes}`);
    t.ok(datagrams.bytes[0]! < FLOW_BYTES / 4, `${datagrams.bytes}`);
    const six = await udp({ host: WEB_ADDRESS_V6, user: USERS.pinned });
    echoed(t, six.result, 'fd77::2');
    t.ok(six.bytes[1]! > 1.5 * FLOW_BYTES, `IPv6: ${six.bytes}`);
    const stream = await tcp(USERS.pinned);
    t.same(stream.result, { received: DOWNLOAD_BYTES, seenAs: EGRESS_ADDRESS });
    t.ok(stream.bytes[1]! > DOWNLOAD_BYTES, `${stream.bytes}`);
    t.ok(stream.bytes[0]! < DOWNLOAD_BYTES / 20, `${stream.bytes}`);
  });

  await t.test("a mark that another's firewall sets decides, datagrams and TCP", async (t) => {
    const datagrams = await udp({ host: WEB_ADDRESS, port: PORTS.marked });
    echoed(t, datagrams.result, CLIENT_ADDRESS);
    t.ok(datagrams.bytes[1]! > 1.5 * FLOW_BYTES, `${datagrams.bytes}`);
    const stream = await tcp(USERS.root, PORTS.marked);
    t.equal(stream.result.received, DOWNLOAD_BYTES);
    t.ok(stream.bytes[0]! < DOWNLOAD_BYTES / 20, `${stream.bytes}`);
  });

  await t.test('a domain is known from the answer of DNS that passed, through its alias', async (t) => {
    const { bytes, result } = await udp({ name: 'far.pinned.example' });
    echoed(t, result, CLIENT_ADDRESS);
    t.ok(bytes[1]! > 1.5 * FLOW_BYTES, `${bytes}`);
    const stream = await tcp(USERS.root, PORTS.plain, PINNED_ADDRESS);
    t.ok(stream.bytes[1]! > DOWNLOAD_BYTES, `${stream.bytes}`);
  });

  await t.test("what bypasses leaves by the host's own link, under its address", async (t) => {
    const port = await udp({ host: WEB_ADDRESS, port: PORTS.outside });
    echoed(t, port.result, OUTER_ADDRESS);
    const six = await udp({ host: WEB_ADDRESS_V6, port: PORTS.outside });
    echoed(t, six.result, OUTER_ADDRESS_V6);
    const user = await udp({ host: WEB_ADDRESS, user: USERS.outside });
    echoed(t, user.result, OUTER_ADDRESS);
    const stream = await tcp(USERS.outside);
    t.same(stream.result, { received: DOWNLOAD_BYTES, seenAs: OUTER_ADDRESS });
    const kept = await udp({ host: PINNED_ADDRESS, port: PORTS.outside });
    t.equal(kept.result.seenAs, CLIENT_ADDRESS, 'an earlier rule keeps it in the tunnel');
    const ping = await client.run('ping', ['-c', '3', '-i', '0.2', WEB_ADDRESS]);
    t.match(ping.stdout, / 0% packet loss/);
  });

  await t.test('a domain bypasses from the first packet after the answer of DNS on', async (t) => {
    t.equal((await udp({ host: OUTSIDE_ADDRESS })).result.seenAs, CLIENT_ADDRESS, 'nobody has asked for it yet');
    for (const name of ['outside.example', 'www.outside.example']) echoed(t, (await udp({ name })).result, OUTER_ADDRESS, name);
    t.match((await client.run('nft', ['list', 'table', 'inet', 'mptunnel_mpt0_rules'])).stdout, /198\.51\.100\.40 timeout 6m/);
  });

  await t.test('an answer that is too long for a datagram is read from TCP, terminated or packet by packet', async (t) => {
    const before = await udp({ host: LARGE.pinned });
    t.ok(before.bytes[0]! > before.bytes[1]!, `nobody has asked for it yet: ${before.bytes}`);
    const pinned = await udp({ name: 'large.pinned.example' });
    echoed(t, pinned.result, CLIENT_ADDRESS);
    t.ok(pinned.bytes[1]! > 1.5 * FLOW_BYTES, `${pinned.bytes}`);
    for (const [name, resolver] of [
      ['large.outside.example', WEB_ADDRESS],
      ['large.packets.outside.example', RESOLVER_ADDRESS],
    ] as const)
      echoed(t, (await udp({ name, resolver })).result, OUTER_ADDRESS, name);
  });

  await t.test('TCP goes packet by packet where a rule says so', async (t) => {
    const flow = inside(client, download, { host: WEB_ADDRESS, port: PORTS.packets, bytes: DOWNLOAD_BYTES }, as(USERS.root));
    await flow.said;
    const connections = await connectionsOf(rig);
    t.same(
      connections.filter(({ destination }) => destination.endsWith(`:${PORTS.packets}`)),
      [],
    );
    t.same(await flow.result, { received: DOWNLOAD_BYTES, seenAs: CLIENT_ADDRESS }, 'its own address reaches the far side');
  });

  await t.test('rules are changed while the tunnel runs, and connections go over', async (t) => {
    for (const link of rig.lab.links) await link.setShape({ rateBitsPerSec: 10e6 });
    const flow = inside(client, download, { host: WEB_ADDRESS, port: PORTS.plain, bytes: 4 * DOWNLOAD_BYTES }, as(USERS.pinned));
    await flow.said;
    const listed = async () => (await connectionsOf(rig))[0];
    t.match(await listed(), { rule: 5, subflows: [{ path: 'link1' }] });
    const file = rig.configFile('client');
    writeFileSync(file, readFileSync(file, 'utf8').replace(PINNED_USER, PINNED_USER.replace('link1', 'link0')));
    await rig.mptunnel('client', 'reload', 'mpt0');
    await until(
      'the subflow is on the other path',
      async () => (await listed())?.subflows.map(({ path }) => path).join() === 'link0',
      5000,
    );
    t.same(await flow.result, { received: 4 * DOWNLOAD_BYTES, seenAs: EGRESS_ADDRESS });
    for (const link of rig.lab.links) await link.setShape({ rateBitsPerSec: 100e6 });
    const { bytes } = await udp({ host: WEB_ADDRESS, user: USERS.pinned });
    t.ok(bytes[0]! > 1.5 * FLOW_BYTES, `${bytes}`);
    writeFileSync(file, readFileSync(file, 'utf8').replace(BYPASS_RULES + RULES.replace('link1', 'link0'), ''));
    await rig.mptunnel('client', 'reload', 'mpt0');
    t.equal((await udp({ host: WEB_ADDRESS, port: PORTS.outside })).result.seenAs, CLIENT_ADDRESS, 'nothing bypasses any more');
    t.notMatch((await client.run('nft', ['list', 'ruleset'])).stdout, /mptunnel/, 'and no table is needed');
    writeFileSync(file, `${readFileSync(file, 'utf8')}${BYPASS_RULES}`);
    await rig.mptunnel('client', 'reload', 'mpt0');
    t.equal((await udp({ host: WEB_ADDRESS, port: PORTS.outside })).result.seenAs, OUTER_ADDRESS);
  });

  await t.test('after kill -9 `mptunnel down --force` leaves no table, rule or route', async (t) => {
    process.kill((await rig.status('client')).pid, 'SIGKILL');
    t.match((await client.run('nft', ['list', 'ruleset'])).stdout, /mptunnel_mpt0_rules/);
    await rig.mptunnel('client', 'down', '--force', 'mpt0');
    t.equal(await pictureOf(), before);
  });
});

t.test('what bypasses passes a default route through the tunnel, and its kill switch', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, up: false, append: { client: BYPASS_RULES }, allowedIps: ['0.0.0.0/0', '::/0'] });
  t.teardown(() => rig.close());
  const { client, web: webHost } = rig.lab;
  const file = rig.configFile('client');
  writeFileSync(file, readFileSync(file, 'utf8').replace('[interface]\n', '[interface]\nkill_switch = true\n'));
  await inside(webHost, web, { ports: Object.values(PORTS), addresses: [WEB_ADDRESS, WEB_ADDRESS_V6], names: {} }).said;
  await rig.up('server');
  await rig.up('client');
  const udp = (host: string, port: number) =>
    inside(client, echo, { host, resolver: WEB_ADDRESS, port, count: COUNT, bytes: PAYLOAD_BYTES }).result;
  echoed(t, await udp(WEB_ADDRESS, PORTS.outside), OUTER_ADDRESS);
  echoed(t, await udp(WEB_ADDRESS_V6, PORTS.outside), OUTER_ADDRESS_V6);
  echoed(t, await udp(WEB_ADDRESS, PORTS.plain), CLIENT_ADDRESS);
  const stream = await inside(client, download, { host: WEB_ADDRESS, port: PORTS.plain, bytes: DOWNLOAD_BYTES }, as(USERS.outside)).result;
  t.same(stream, { received: DOWNLOAD_BYTES, seenAs: OUTER_ADDRESS });
});

t.test('without nft a rule that needs it is refused, and says what to install', async (t) => {
  const rig = await createTunnelRig({ links: LINKS, up: false, append: { client: PINNED_USER } });
  t.teardown(() => rig.close());
  const { client } = rig.lab;
  const folder = join(rig.lab.folder, 'bin');
  mkdirSync(folder);
  symlinkSync((await client.run('sh', ['-c', 'command -v ip'])).stdout.trim(), join(folder, 'ip'));
  const environment = [`PATH=${folder}`, `MPTUNNEL_RUN_DIR=${join(rig.lab.folder, 'client')}`];
  await t.rejects(client.run('env', [...environment, process.execPath, PROGRAM, 'up', rig.configFile('client')]), {
    message: /a \[\[rule\]\] with user needs the program `nft`, which is missing: install the package nftables/,
  });
});
