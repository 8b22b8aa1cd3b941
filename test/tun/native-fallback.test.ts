import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import * as native from '../../src/tun/native.js';
import { addressRecord, inOwnNamespace, openUdp, pattern, pauseMs, Receiver, run, tcpHeader } from './native-harness.js';
import { cutTcp, openDatagram } from './native-twins.js';

const FOLDER = 'MPTUNNEL_TEST_PRELOAD_FOLDER';

/** A sendmmsg that refuses UDP_SEGMENT on demand, for kernels and devices that are not at hand. */
function preloaded(): Record<string, string> {
  const source = fileURLToPath(new URL('../../../test/tun/native-refuse-segmentation.c', import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'mptunnel-preload-'));
  const library = join(folder, 'refuse.so');
  run('cc', '-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', library, source, '-ldl');
  return { [FOLDER]: folder, LD_PRELOAD: [process.env.LD_PRELOAD ?? '', library].join(' ').trim() };
}

function refuse(mode: string | undefined): void {
  if (mode === undefined) delete process.env.REFUSE_SEGMENTATION;
  else process.env.REFUSE_SEGMENTATION = mode;
}

class Rig {
  readonly n = native.loadNative();
  readonly key = pattern(32);
  readonly tx = openUdp(4, '127.0.0.1');
  readonly rx = openUdp(4, '127.0.0.1');
  readonly table = this.n.createOpenTable();
  readonly receiver = new Receiver();
  readonly sender = this.n.createSender(
    this.tx,
    this.n.createSealer({ aead: 'aes-256-gcm', key: this.key, receiverIndex: 0 }),
    0,
    addressRecord('127.0.0.1', this.n.udpPort(this.rx)),
  );

  seal(bytes: number, segmentBytes: number): Buffer[] {
    const header = tcpHeader(4);
    const payload = pattern(bytes);
    this.n.sealSegments(this.sender, 0x77, header, header.length, payload, 0, bytes, segmentBytes);
    return cutTcp(header, payload, segmentBytes, 20);
  }

  arrived(count: number): Buffer[] {
    return this.receiver.datagrams(this.rx, this.table, count).map((one) => openDatagram('aes-256-gcm', this.key, one.bytes).plaintext);
  }

  close(): void {
    this.n.udpClose(this.tx);
    this.n.udpClose(this.rx);
  }
}

function arrivesWhole(t: Test, rig: Rig, expected: Buffer[], message: string): void {
  const got = rig.arrived(expected.length);
  t.ok(got.length === expected.length && got.every((one, i) => one.equals(expected[i]!)), message);
}

if (inOwnNamespace(import.meta.url, preloaded)) {
  t.teardown(() => rmSync(process.env[FOLDER] ?? '', { recursive: true, force: true }));
  t.afterEach(() => refuse(undefined));

  for (const mode of ['EIO', 'EINVAL', 'EOPNOTSUPP']) {
    t.test(`UDP_SEGMENT refused with ${mode}: one datagram a message from then on, and nothing is lost`, async (t) => {
      const rig = new Rig();
      refuse(mode);
      const expected = [...rig.seal(50_500, 1000), ...rig.seal(3000, 1000), ...rig.seal(10, 1000)];
      t.equal(rig.n.udpFlush(rig.tx), 0);
      arrivesWhole(t, rig, expected, 'the refused run and those behind it');
      t.same(rig.n.udpCounters(rig.tx), {
        sentDatagrams: 55,
        sentMessages: 55,
        refusedDatagrams: 0,
        segmentationFallbacks: 1,
        maxSegments: 1,
      });
      t.equal(rig.n.udpLastError(rig.tx), 0);
      const more = rig.seal(300_000, 1400);
      t.equal(rig.n.udpFlush(rig.tx), 0);
      arrivesWhole(t, rig, more, 'more than one stage');
      t.equal(rig.n.udpCounters(rig.tx).segmentationFallbacks, 1, 'found out once');
      const other = new Rig();
      refuse(undefined);
      other.seal(3000, 1000);
      other.n.udpFlush(other.tx);
      t.equal(other.n.udpCounters(other.tx).sentMessages, 1, 'another socket is not concerned');
      other.close();
      rig.close();
    });
  }

  t.test('a run that fails in the middle of a batch is the one that is sent again', async (t) => {
    const rig = new Rig();
    const expected = [...rig.seal(10, 100), ...rig.seal(20, 100), ...rig.seal(5050, 100), ...rig.seal(900, 300)];
    refuse('EIO');
    t.equal(rig.n.udpFlush(rig.tx), 0);
    arrivesWhole(t, rig, expected, 'all, in order');
    rig.close();
  });

  t.test('a kernel of 64 segments: runs are cut, segmentation stays', async (t) => {
    const rig = new Rig();
    refuse('MAX64');
    const expected = [...rig.seal(30_000, 100)];
    t.equal(rig.n.udpFlush(rig.tx), 0);
    arrivesWhole(t, rig, expected, 'all, in order');
    t.match(rig.n.udpCounters(rig.tx), { sentMessages: 5, segmentationFallbacks: 0, maxSegments: 64 });
    rig.close();
  });

  t.test('a run that is too large for the device is dropped and told, and does not count against UDP_SEGMENT', async (t) => {
    const rig = new Rig();
    rig.seal(40_000, 9_500);
    const expected = rig.seal(4000, 1000);
    t.equal(rig.n.udpFlush(rig.tx), 5, 'the run');
    t.equal(rig.n.udpLastError(rig.tx), constants.errno.EMSGSIZE);
    arrivesWhole(t, rig, expected, 'what comes behind them');
    t.match(rig.n.udpCounters(rig.tx), { refusedDatagrams: 5, segmentationFallbacks: 0, maxSegments: 128 });
    rig.close();
  });

  for (const family of [4, 6] as const) {
    t.test(`IPv${family}: where the kernel takes no UDP super-packets, each datagram is written alone`, async (t) => {
      const n = native.loadNative();
      const tun = n.tunOpen({ name: 'old%d', offloads: true });
      const name = n.tunName(tun);
      const [own, far] = family === 4 ? ['10.15.0.1', '10.15.0.2'] : ['fd15::1', 'fd15::2'];
      run('ip', 'addr', 'add', `${own}/${family === 4 ? 24 : 64}`, 'dev', name, ...(family === 6 ? ['nodad'] : []));
      run('ip', 'link', 'set', name, 'up');
      while (/tentative/.test(run('ip', '-6', 'addr', 'show', 'dev', name))) pauseMs(2);
      const socket = openUdp(family, own);
      const transport = family === 4 ? 20 : 40;
      const header = Buffer.alloc(transport + 8);
      header.set(tcpHeader(family, { source: far, destination: own }).subarray(0, transport));
      header[family === 4 ? 9 : 6] = 17;
      header.writeUInt16BE(9, transport);
      header.writeUInt16BE(n.udpPort(socket), transport + 2);
      const payload = pattern(2900);
      for (let at = 0; at < payload.length; at += 1000) payload[at] = 0x77;
      for (const mode of ['TUN', undefined]) {
        refuse(mode);
        // Refused once, not tried again.
        const packet = Buffer.concat([header, payload]);
        t.equal(n.tunWriteJoined(tun, packet, 0, packet.length, 1000), 0);
        const got = new Receiver().datagrams(socket, n.createOpenTable(), 3).map((one) => one.bytes);
        t.strictSame(
          got.map((one) => one.length),
          [1000, 1000, 900],
        );
        t.ok(Buffer.concat(got).equals(payload));
      }
      n.udpClose(socket);
      n.tunClose(tun);
    });
  }

  t.test('a send that fails for want of buffers drops its run and counts it, a full stage included', async (t) => {
    const rig = new Rig();
    refuse('ENOBUFS');
    const made = rig.seal(600_000, 1400).length;
    t.equal(rig.n.udpFlush(rig.tx), made);
    t.equal(rig.n.udpFlush(rig.tx), 0, 'told once');
    t.equal(rig.n.udpLastError(rig.tx), constants.errno.ENOBUFS);
    t.equal(rig.n.udpCounters(rig.tx).refusedDatagrams, made);
    refuse(undefined);
    const later = rig.seal(3000, 1000);
    t.equal(rig.n.udpFlush(rig.tx), 0);
    arrivesWhole(t, rig, later, 'later ones go');
    rig.close();
  });
}
