/** TCP Fast Open with the kernel (RFC 7413; RFC 8684, B): data with the SYN, MPTCP and plain TCP, both roles. Needs root and a kernel with MPTCP. */

import type { Test } from 'tap';
import { parseSegment } from '../../src/mptcp-over-udp/wire/parse-segment.js';
import { createTcpSegment, SYN } from '../../src/mptcp-over-udp/wire/segment.js';
import type { KernelRig } from './kernel-rig.js';
import { judge } from './kernel-verdict.js';
import { randomPayload, receiveAll } from './payload.js';
import { scenario } from './rig-scenario.js';

const UP = 50_000;
const DOWN = 70_000;

type Protocol = 'mptcp' | 'tcp';

/** Payload bytes of each SYN without ACK on the wire, in order. */
function synPayloads(rig: KernelRig): number[] {
  const segment = createTcpSegment();
  return rig.packets.flatMap(({ bytes }) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const isSyn = parseSegment(bytes, view, 0, bytes.length, false, segment) === '' && (segment.flags & 0x3f) === SYN;
    return isSyn ? [segment.payloadBytes] : [];
  });
}

/** Connections one after the other, bytes both ways at once; the first brings a cookie. */
async function converseTwice(t: Test, rig: KernelRig, role: 'client' | 'server', protocol: Protocol): Promise<void> {
  for (const seed of [1, 2]) {
    const { data, sha256 } = randomPayload(seed, UP);
    const accepted = role === 'server' ? rig.accept({ protocol }) : undefined;
    const service = ['duplex', '--size', DOWN, '--seed', seed, '--fast-open'] as const;
    const peer = await rig.peer(protocol, role === 'client' ? 'listen' : 'connect', ...service);
    const socket = accepted === undefined ? rig.connect({ protocol, fastOpen: true }) : await accepted;
    const received = receiveAll(socket);
    socket.end(data);
    const [got, done, reason] = await Promise.all([received, peer.done, socket.whenClosed]);
    t.match(done, { error: null, read: UP, read_sha256: sha256 });
    t.match(got, { bytes: DOWN, sha256: done.write_sha256 });
    t.equal(reason, 'finished');
    if (seed === 1) continue;
    if (protocol === 'tcp') {
      t.ok(socket.fallback);
      continue;
    }
    const counters = { client: { MPCapableSYNRX: 2, MPCapableACKRX: 2 }, server: { MPCapableSYNTX: 2, MPCapableSYNACKRX: 2 } } as const;
    // What the kernel's SYN carried is outside of its MPTCP sums.
    const withSyn = role === 'server' ? (synPayloads(rig)[1] ?? 0) : 0;
    const info = { bytes_received: UP, bytes_sent: DOWN - withSyn, subflows: 0 };
    await judge(t, rig, socket, done.info, { counters: counters[role], connections: 2, closed: 2, info });
  }
}

for (const family of [4, 6] as const) {
  for (const protocol of ['mptcp', 'tcp'] as const) {
    scenario(
      `our ${protocol} client sends data with its SYN, the kernel takes it, IPv${family}`,
      { family, fastOpen: 3 },
      async (t, rig) => {
        await converseTwice(t, rig, 'client', protocol);
        const [first, second] = synPayloads(rig);
        t.equal(first, 0, 'nothing with the SYN that asks for a cookie');
        t.equal(second, 1500 - (family === 4 ? 40 : 60) - 40, 'as much as fits with the next');
        t.match(await rig.countersNamed('TcpExtTCPFastOpen'), {
          CookieReqd: 1,
          Passive: 1,
          PassiveFail: undefined,
          ListenOverflow: undefined,
        });
        t.equal(rig.host.counters['fast-open-data-taken'], 1);
      },
    );

    const server = { family, fastOpen: 3, host: { fastOpen: true } } as const;
    scenario(`our ${protocol} server takes what the kernel sends with its SYN, IPv${family}`, server, async (t, rig) => {
      await converseTwice(t, rig, 'server', protocol);
      const [first, second = 0] = synPayloads(rig);
      t.equal(first, 0, 'nothing with the SYN that asks for a cookie');
      t.ok(second > 1_000, `${second} bytes with the next`);
      t.match(await rig.countersNamed('TcpExtTCPFastOpen'), { Active: 1, ActiveFail: undefined });
      t.equal(rig.host.counters['fast-open-cookie-requests'], 1);
      t.equal(rig.host.counters['fast-open-accepted'], 1);
    });
  }
}

scenario('the kernel has Fast Open off: it ignores the cookie request', { fastOpen: undefined } as object, async (t, rig) => {
  await converseTwice(t, rig, 'client', 'mptcp');
  t.strictSame(synPayloads(rig), [0, 0]);
});

scenario("a cookie that has become wrong: the kernel's key has changed, the data goes again", { fastOpen: 3 }, async (t, rig) => {
  const key = (digit: string): Promise<string> =>
    rig.run(`sysctl -qw net.ipv4.tcp_fastopen_key=${Array(4).fill(digit.repeat(8)).join('-')}`);
  await key('1');
  await converseTwice(t, rig, 'client', 'tcp');
  await key('2');
  await converseTwice(t, rig, 'client', 'tcp');
  t.match(await rig.countersNamed('TcpExtTCPFastOpen'), { CookieReqd: 1, Passive: 2, PassiveFail: 1 });
  t.equal(rig.host.counters['fast-open-data-taken'], 2);
  t.equal(rig.host.counters['fast-open-data-not-taken'], 1);
});
