/** Bonding without root: gateway and client run as an ordinary user without any capability, and real programs go through the proxy. */

import { chownSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import type { TunnelStatus } from '../../src/tunnel/status.js';
import { inside, type Say } from './tunnel-remote.js';
import { createTunnelRig, PROGRAM, type TunnelRig, until } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300 },
  { rateBitsPerSec: 30e6, delayMs: 20, queuePackets: 250 },
];
const NOBODY = 65_534;
const UNPRIVILEGED = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--inh-caps=-all', '--bounding-set=-all'];
const NAME = 'web.example';
const HTTP_PORT = 8000;
const ECHO_PORT = 9000;
const CLOSED_PORT = 9;
const [REFLECT_PORT, MUTE_PORT, HEARD_PORT] = [9001, 9002, 9003];
const REFLECTED_BYTES = 3_000_000;
const BODY_BYTES = 40_000_000;
const SOCKS = '127.0.0.1:1080';
const HTTP = '127.0.0.1:8080';

t.setTimeout(240_000);

interface Ports {
  httpPort: number;
  echoPort: number;
  reflectPort: number;
  mutePort: number;
  heardPort: number;
  bytes: number;
}

/** HTTP with a large and a small answer, and an echo of datagrams. */
async function web({ httpPort, echoPort, reflectPort, mutePort, heardPort, bytes }: Ports, say: Say): Promise<void> {
  const { createServer } = await import('node:http');
  const { createSocket } = await import('node:dgram');
  const server = createServer((request, response) => {
    if (request.url === '/large') response.end(Buffer.alloc(bytes, 7));
    else response.end(`${request.method} ${request.url} from ${request.socket.remoteAddress}\n`);
  });
  await new Promise<void>((resolve) => server.listen(httpPort, '0.0.0.0', resolve));
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => socket.send(message, from.port, from.address));
  await new Promise<void>((resolve) => socket.bind(echoPort, resolve));
  const { createServer: createTcp } = await import('node:net');
  // Says nothing before it has heard all; ends before it has heard anything; tells what the one before has heard.
  createTcp({ allowHalfOpen: true }, (client) => {
    const chunks: Buffer[] = [];
    client.on('error', () => {}).on('data', (chunk) => chunks.push(chunk));
    client.on('end', () => client.end(Buffer.concat(chunks)));
  }).listen(reflectPort);
  let heard = '';
  createTcp({ allowHalfOpen: true }, (client) => {
    client
      .on('error', () => {})
      .on('data', (chunk) => {
        heard += chunk;
      });
    client.end();
  }).listen(mutePort);
  createTcp((client) => client.on('error', () => {}).end(heard)).listen(heardPort);
  say('ready');
  await new Promise(() => {});
}

/** A program that speaks SOCKS5 for its datagrams: asks for an association, and has some echoed. Their number. */
async function associate({
  port,
  host,
  echoPort,
  count,
}: {
  port: number;
  host: string;
  echoPort: number;
  count: number;
}): Promise<number> {
  const { connect } = await import('node:net');
  const { createSocket } = await import('node:dgram');
  const control = connect(port, '127.0.0.1');
  const read = () => new Promise<Buffer>((resolve) => control.once('data', resolve));
  control.write(Uint8Array.of(5, 1, 0));
  await read();
  control.write(Uint8Array.of(5, 3, 0, 1, 0, 0, 0, 0, 0, 0));
  const reply = await read();
  const relayPort = reply.readUInt16BE(reply.length - 2);
  const socket = createSocket('udp4');
  const header = Buffer.concat([Uint8Array.of(0, 0, 0, 3, host.length), Buffer.from(host), Uint8Array.of(echoPort >> 8, echoPort & 255)]);
  let echoed = 0;
  socket.on('message', (message) => {
    if (message.subarray(10).toString() === 'datagram') echoed++;
  });
  for (let i = 0; i < count; i++) {
    socket.send(Buffer.concat([header, Buffer.from('datagram')]), relayPort, '127.0.0.1');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  for (let i = 0; i < 50 && echoed < count; i++) await new Promise((resolve) => setTimeout(resolve, 100));
  control.destroy();
  socket.close();
  return echoed;
}

interface Rig extends TunnelRig {
  /** The program, as nobody. */
  run(side: 'client' | 'server', ...args: string[]): Promise<{ stdout: string; stderr: string }>;
  curl(...args: string[]): Promise<string>;
  /** Bits a second of the large answer, whole. */
  download(...args: string[]): Promise<number>;
}

async function createRig(t: Test): Promise<Rig> {
  const rig = await createTunnelRig({ links: LINKS, up: false });
  t.teardown(async () => {
    for (const side of ['client', 'server'] as const) await run(side, 'down', 'mpt0').catch(() => undefined);
    await rig.close();
  });
  const hosts = join(rig.lab.folder, 'hosts');
  writeFileSync(hosts, `127.0.0.1 localhost\n${WEB_ADDRESS} ${NAME}\n`, { mode: 0o644 });
  const gateway = rig.configFile('server');
  writeFileSync(gateway, readFileSync(gateway, 'utf8').replace('[interface]\n', '[interface]\ndevice = "none"\n'));
  chownSync(rig.lab.folder, NOBODY, NOBODY);
  for (const side of ['client', 'server'] as const) {
    chownSync(rig.configFile(side), NOBODY, NOBODY);
    chownSync(join(rig.lab.folder, side), NOBODY, NOBODY);
  }
  const run: Rig['run'] = (side, ...args) => {
    const host = side === 'client' ? rig.lab.client : rig.lab.server;
    // The gateway's host knows a name that the client's does not.
    const own = side === 'server' ? ['unshare', '-m', 'sh', '-c', `mount --bind ${hosts} /etc/hosts && exec "$@"`, 'sh'] : [];
    const command = [
      ...own,
      ...UNPRIVILEGED,
      'env',
      'NODE_OPTIONS=',
      `MPTUNNEL_RUN_DIR=${join(rig.lab.folder, side)}`,
      `MPTUNNEL_STATE_DIR=${join(rig.lab.folder, side, 'state')}`,
      process.execPath,
      PROGRAM,
      ...args,
    ];
    return host.run(command[0]!, command.slice(1), { timeoutMs: 40_000 });
  };
  const { said } = inside(rig.lab.web, web, {
    httpPort: HTTP_PORT,
    echoPort: ECHO_PORT,
    reflectPort: REFLECT_PORT,
    mutePort: MUTE_PORT,
    heardPort: HEARD_PORT,
    bytes: BODY_BYTES,
  });
  await said;
  await run('server', 'up', gateway);
  await run('client', 'proxy', rig.configFile('client'));
  const curl = async (...args: string[]): Promise<string> =>
    (await rig.lab.client.run('curl', ['--silent', '--show-error', '--max-time', '60', ...args], { timeoutMs: 70_000 })).stdout;
  const download: Rig['download'] = async (...args) => {
    const format = '%{size_download} %{time_total}';
    const said = await curl(...args, '-o', '/dev/null', '-w', format, `http://${WEB_ADDRESS}:${HTTP_PORT}/large`);
    const [bytes, seconds] = said.split(' ').map(Number) as [number, number];
    if (bytes !== BODY_BYTES) throw new Error(`${bytes} of ${BODY_BYTES} bytes came`);
    return (bytes * 8) / seconds;
  };
  return Object.assign(rig, { run, curl, download });
}

t.test('gateway and proxy run without any privilege', async (t) => {
  const rig = await createRig(t);
  const status = JSON.parse((await rig.run('client', 'status', 'mpt0', '--json')).stdout) as TunnelStatus;
  for (const side of ['client', 'server'] as const) {
    const { pid } = JSON.parse((await rig.run(side, 'status', 'mpt0', '--json')).stdout) as TunnelStatus;
    const facts = readFileSync(`/proc/${pid}/status`, 'utf8');
    t.match(facts, /CapEff:\s0{16}\n/, `${side}: no capability`);
    t.match(facts, new RegExp(`Uid:\\s${NOBODY}\\s`), `${side}: an ordinary user`);
  }
  t.equal(status.peers[0]!.paths.length, 2);
  const links = (await rig.lab.client.run('ip', ['-br', 'link'])).stdout;
  t.notMatch(links, /mpt0/, 'there is no device');

  await t.test('curl over SOCKS5 and HTTP, by address and by a name that only the gateway knows', async (t) => {
    t.match(await rig.curl('--proxy', `socks5://${SOCKS}`, `http://${WEB_ADDRESS}:${HTTP_PORT}/a`), 'GET /a from ');
    t.match(await rig.curl('--proxy', `socks5h://${SOCKS}`, `http://${NAME}:${HTTP_PORT}/b`), 'GET /b from ');
    t.match(await rig.curl('--proxy', `http://${HTTP}`, `http://${NAME}:${HTTP_PORT}/c`), 'GET /c from ');
    t.match(await rig.curl('--proxy', `http://${HTTP}`, '--proxytunnel', `http://${NAME}:${HTTP_PORT}/d`), 'GET /d from ');
  });

  /** Of downloads by the proxy. */
  const rates: number[] = [];
  await t.test('a download has both links', async (t) => {
    const before = await Promise.all(rig.lab.links.map((link) => link.counters()));
    rates.push(await rig.download('--proxy', `socks5://${SOCKS}`));
    const after = await Promise.all(rig.lab.links.map((link) => link.counters()));
    const carried = after.map(({ downBytes }, i) => downBytes - before[i]!.downBytes);
    for (const [i, link] of carried.entries()) t.ok(link > BODY_BYTES / 10, `link ${i}: ${link}`);
    rates.push(await rig.download('--proxy', `socks5://${SOCKS}`));
  });

  await t.test('limits of the peer hold without a TUN, set on either side', async (t) => {
    const limits = [
      ['client', 'vps', 'limit_down=25 Mbit/s'],
      ['server', 'home', 'limit_down=25 Mbit/s'],
    ] as const;
    for (const [side, peer, limit] of limits) {
      await rig.run(side, 'set', 'mpt0', 'peer', peer, limit);
      const rate = await rig.download('--proxy', `socks5://${SOCKS}`);
      t.ok(rate > 15e6 && rate < 26.5e6, `${side}: ${(rate / 1e6).toFixed(1)} Mbit/s`);
      await rig.run(side, 'set', 'mpt0', 'peer', peer, 'limit_down=off');
    }
  });

  await t.test('datagrams by UDP ASSOCIATE, to a name too', async (t) => {
    const args = { port: 1080, host: NAME, echoPort: ECHO_PORT, count: 20 };
    const echoed = await inside(rig.lab.client, associate, args).result;
    t.ok(echoed > 15, `${echoed} of 20`);
  });

  await t.test('what cannot be had is said as it is', async (t) => {
    await t.rejects(
      rig.curl('--proxy', `socks5://${SOCKS}`, `http://${WEB_ADDRESS}:${CLOSED_PORT}/`),
      { message: /SOCKS5 connection.*\(5\)/ },
      'RFC 1928: 5 is connection refused',
    );
    t.match(await rig.curl('--proxy', `http://${HTTP}`, `http://nowhere.example:${HTTP_PORT}/`), /the gateway knows no such name/);
    t.match(await rig.curl('--proxy', `http://${HTTP}`, `http://${WEB_ADDRESS}:${CLOSED_PORT}/`), /refused/);
  });

  await t.test('connect joins standard input and output to one connection, through the proxy that runs', async (t) => {
    const before = JSON.parse((await rig.run('client', 'status', 'mpt0', '--json')).stdout) as TunnelStatus;
    const answers = await Promise.all(
      [1, 2, 3].map((i) => connect(rig, `${NAME}:${HTTP_PORT}`, `printf 'GET /${i} HTTP/1.0\\r\\n\\r\\n' |`)),
    );
    for (const [i, answer] of answers.entries()) t.match(answer, `GET /${i + 1} from `);
    const after = JSON.parse((await rig.run('client', 'status', 'mpt0', '--json')).stdout) as TunnelStatus;
    t.equal(after.pid, before.pid);
    await t.rejects(connect(rig, `${WEB_ADDRESS}:${CLOSED_PORT}`), { message: /198\.51\.100\.2:9: the connection was refused/ });
    await t.rejects(connect(rig, `nowhere.example:${HTTP_PORT}`), { message: /the gateway knows no such name/ });
  });

  await t.test('ssh goes through connect', async (t) => {
    const folder = join(rig.lab.folder, 'ssh');
    const [key, hostKey] = [join(folder, 'key'), join(folder, 'host-key')];
    mkdirSync(join(folder, 'home', '.ssh'), { recursive: true, mode: 0o700 });
    await rig.lab.web.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    await rig.lab.web.run('dropbearkey', ['-t', 'ed25519', '-f', hostKey]);
    copyFileSync(`${key}.pub`, join(folder, 'home', '.ssh', 'authorized_keys'));
    for (const path of [folder, key]) chownSync(path, NOBODY, NOBODY);
    // root's home on that host, and nowhere else.
    const serve = `mount --bind ${join(folder, 'home')} /root && exec dropbear -F -E -s -r ${hostKey} -p 22 -P ''`;
    rig.lab.web.spawn('unshare', ['-m', 'sh', '-c', serve]);
    const proxyCommand = `ProxyCommand=env NODE_OPTIONS= MPTUNNEL_RUN_DIR=${join(rig.lab.folder, 'client')} ${process.execPath} ${PROGRAM} connect %h:%p ${rig.configFile('client')}`;
    const options = [
      '-F',
      'none',
      '-i',
      key,
      '-o',
      'BatchMode=yes',
      '-o',
      'StrictHostKeyChecking=no',
      '-o',
      'UserKnownHostsFile=/dev/null',
    ];
    const ssh = [...UNPRIVILEGED, 'ssh', ...options, '-o', proxyCommand, `root@${WEB_ADDRESS}`, 'echo "$SSH_CONNECTION"; cat'];
    let said = '';
    const answers = async (): Promise<boolean> => {
      const command = `head -c 1000000 /dev/zero | "$@"`;
      const { stdout } = await rig.lab.client.run('sh', ['-c', command, 'sh', ...ssh]).catch(() => ({ stdout: '' }));
      said = stdout;
      return said !== '';
    };
    await until('it answers', answers, 20_000);
    t.match(said, /^198\.51\.100\.1 \d+ 198\.51\.100\.2 22\n/, 'from the gateway');
    t.equal(said.length - said.indexOf('\n') - 1, 1_000_000);
  });

  await t.test('each direction ends by itself, and nothing is lost at the end', async (t) => {
    const digest = `| sha256sum`;
    const expected = (await rig.lab.client.run('sh', ['-c', `head -c ${REFLECTED_BYTES} /dev/zero | tr '\\0' x ${digest}`])).stdout;
    const feed = `head -c ${REFLECTED_BYTES} /dev/zero | tr '\\0' x |`;
    t.equal(await connect(rig, `${WEB_ADDRESS}:${REFLECT_PORT}`, feed, digest), expected, 'the far side answers after our end');
    const late = `(sleep 1; printf 'said after the end of the far side') |`;
    t.equal(await connect(rig, `${WEB_ADDRESS}:${MUTE_PORT}`, late), '', 'the far side ends first');
    const heard = async (): Promise<string> => await connect(rig, `${WEB_ADDRESS}:${HEARD_PORT}`, ':|');
    await until('what was said then has arrived', async () => (await heard()) === 'said after the end of the far side', 10_000);
  });

  await t.test('without a proxy connect starts one, which others share, and which ends when nobody needs it', async (t) => {
    await rig.run('client', 'down', 'mpt0');
    const answers = await Promise.all(
      [1, 2, 3].map((i) => connect(rig, `${NAME}:${HTTP_PORT}`, `printf 'GET /${i} HTTP/1.0\\r\\n\\r\\n' |`)),
    );
    for (const [i, answer] of answers.entries()) t.match(answer, `GET /${i + 1} from `);
    t.match((await rig.run('client', 'status', 'mpt0')).stdout, /mpt0/, 'it waits for another');
    await rig.run('client', 'down', 'mpt0');
    await rig.run('client', 'proxy', rig.configFile('client'), '--socks', 'off', '--http', 'off', '--idle', '1');
    const hasEnded = (): Promise<boolean> =>
      rig.run('client', 'status', 'mpt0').then(
        () => false,
        () => true,
      );
    await until('it has ended by itself', hasEnded, 30_000);
  });

  await t.test('a download is as fast as one by a TUN, with root, on both sides', async (t) => {
    const byProxy = Math.max(...rates);
    await rig.run('server', 'down', 'mpt0');
    const gateway = rig.configFile('server');
    writeFileSync(gateway, readFileSync(gateway, 'utf8').replace('device = "none"\n', ''));
    await rig.up('server');
    await rig.up('client');
    const byTun = Math.max(await rig.download(), await rig.download());
    const ratio = byProxy / byTun;
    t.comment(`by the proxy ${(byProxy / 1e6).toFixed(1)}, by the TUN ${(byTun / 1e6).toFixed(1)} Mbit/s of 80: ${ratio.toFixed(2)}`);
    t.ok(ratio > 0.7, `${ratio.toFixed(2)}`);
  });
});

/** `connect` as nobody, in a pipeline of the shell; what the pipeline writes. */
async function connect(rig: Rig, place: string, before = '', after = ''): Promise<string> {
  const environment = ['env', 'NODE_OPTIONS=', `MPTUNNEL_RUN_DIR=${join(rig.lab.folder, 'client')}`];
  const command = [...UNPRIVILEGED, ...environment, process.execPath, PROGRAM, 'connect', place, rig.configFile('client')];
  return (await rig.lab.client.run('sh', ['-c', `${before} "$@" ${after}`, 'sh', ...command])).stdout;
}
