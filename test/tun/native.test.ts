import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import * as native from '../../src/tun/native.js';
import { addressRecord, inOwnNamespace, openUdp, pattern, Receiver, run, tcpHeader } from './native-harness.js';

const UDP_OPTIONS = { family: 4, address: '127.0.0.1', port: 0, receiveBufferBytes: 1 << 20, sendBufferBytes: 1 << 20 } as const;
const KEY = pattern(32);
/** Of the project, seen from dist/test/tun. */
const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

function testHandles(n: native.NativeAddon): void {
  t.test('a wrong handle, or one that was closed, throws TypeError', async (t) => {
    const udp = openUdp(4, '127.0.0.1');
    const sealer = n.createSealer({ aead: 'aes-256-gcm', key: KEY, receiverIndex: 1 });
    const sender = n.createSender(udp, sealer, 0, addressRecord('127.0.0.1', 1));
    const table = n.createOpenTable();
    const packet = pattern(100);
    const seal = () => n.sealPacket(sender, 0x11, packet, 0, 100, 0, 0, 0, 0);
    for (const wrong of [undefined, null, 1, 'udp', {}, [], table, sealer]) {
      t.throws(() => n.udpFlush(wrong as never), TypeError);
      t.throws(() => n.tunFd(wrong as never), TypeError);
      t.throws(() => n.senderPacketNumber(wrong as never), TypeError);
    }
    t.throws(() => n.receiveCounters(udp as never), TypeError);
    t.equal(seal(), 1);
    n.destroySealer(sealer);
    t.throws(seal, TypeError, 'the key is gone');
    t.throws(() => n.senderPacketNumber(sender), TypeError);
    t.throws(() => n.createSender(udp, sealer, 1, addressRecord('127.0.0.1', 1)), TypeError);
    t.throws(() => n.destroySealer(sealer), TypeError, 'closed once');
    const second = n.createSealer({ aead: 'chacha20-poly1305', key: KEY, receiverIndex: 1 });
    const alive = n.createSender(udp, second, 0, addressRecord('127.0.0.1', 1));
    n.udpClose(udp);
    t.throws(() => n.sealPacket(alive, 0x11, packet, 0, 100, 0, 0, 0, 0), TypeError, 'the socket is closed');
    t.equal(n.senderPacketNumber(alive), 0);
    const other = openUdp(4, '127.0.0.1');
    n.senderSetTarget(alive, other, addressRecord('127.0.0.1', 1));
    t.equal(n.sealPacket(alive, 0x11, packet, 0, 100, 0, 0, 0, 0), 1, 'a new target makes it work again');
    for (const call of [n.udpClose, n.udpFlush, n.udpPort, n.udpFd, n.udpLastError, n.udpCounters]) t.throws(() => call(udp), TypeError);
    n.closeOpenTable(table);
    t.throws(() => n.addOpener(table, { receiverIndex: 1, aead: 'aes-256-gcm', key: KEY }), TypeError);
    t.throws(() => new Receiver().once(other, table), TypeError);
    n.udpClose(other);
  });

  t.test('a second sender for the same sealer and path throws RangeError', async (t) => {
    const udp = openUdp(4, '127.0.0.1');
    const to = addressRecord('127.0.0.1', 1);
    const sealer = n.createSealer({ aead: 'aes-256-gcm', key: KEY, receiverIndex: 1 });
    for (let path = 0; path < native.MAX_PATHS; path++) n.createSender(udp, sealer, path, to);
    for (let path = 0; path < native.MAX_PATHS; path++) t.throws(() => n.createSender(udp, sealer, path, to), RangeError);
    n.udpClose(udp);
  });

  t.test('a sender keeps its sealer and socket alive, and a watcher its socket, when JavaScript has forgotten them', async (t) => {
    const script = `
      const n = require('node-gyp-build')(${JSON.stringify(ROOT)});
      const rx = n.udpOpen(${JSON.stringify(UDP_OPTIONS)});
      const address = Buffer.from([4, 0, n.udpPort(rx) >> 8, n.udpPort(rx) & 255, 127, 0, 0, 1, ...Buffer.alloc(40)]);
      const sealer = () => n.createSealer({ aead: 'aes-256-gcm', key: Buffer.alloc(32), receiverIndex: 1 });
      const sender = (() => n.createSender(n.udpOpen(${JSON.stringify(UDP_OPTIONS)}), sealer(), 0, address))();
      (() => { n.watchReadable(rx, () => process.exit(0)); })();
      setTimeout(() => { gc(); setTimeout(() => {
        gc();
        // More than the stage holds: it leaves without a flush.
        for (let i = 0; i < 300; i++) n.sealPacket(sender, 1, Buffer.alloc(2000), 0, 1000 + i, 0, 0, 0, 0);
      }, 5); }, 5);
      setTimeout(() => process.exit(4), 5000);`;
    const child = spawnSync(process.execPath, ['--expose-gc', '-e', script], { encoding: 'utf8' });
    t.equal(child.status, 0, child.stderr);
  });

  t.test('what nobody closes is closed by the garbage collector', async (t) => {
    const script = `
      const n = require('node-gyp-build')(${JSON.stringify(ROOT)});
      const { readdirSync } = require('fs');
      const count = () => readdirSync('/proc/self/fd').length;
      const before = count();
      const options = ${JSON.stringify(UDP_OPTIONS)};
      for (let i = 0; i < 50; i++) {
        const udp = n.udpOpen(options);
        const sealer = n.createSealer({ aead: 'aes-256-gcm', key: Buffer.alloc(32), receiverIndex: i });
        const sender = n.createSender(udp, sealer, 0, Buffer.from([4, ...Buffer.alloc(47)]));
        n.sealPacket(sender, 1, Buffer.alloc(50), 0, 50, 0, 0, 0, 0);
        const table = n.createOpenTable();
        n.addOpener(table, { receiverIndex: 1, aead: 'aes-256-gcm', key: Buffer.alloc(32) });
      }
      let turns = 0;
      const look = () => { gc(); count() <= before + 5 ? process.exit(0) : turns++ > 50 ? process.exit(3) : setTimeout(look, 10); };
      look();`;
    const child = spawnSync(process.execPath, ['--expose-gc', '-e', script], { encoding: 'utf8' });
    t.equal(child.status, 0, child.stderr);
  });
}

function testBounds(n: native.NativeAddon): void {
  t.test('offsets and lengths outside of their buffers throw RangeError and send nothing', async (t) => {
    const udp = openUdp(4, '127.0.0.1');
    const to = addressRecord('127.0.0.1', 1);
    const sealer = n.createSealer({ aead: 'aes-256-gcm', key: KEY, receiverIndex: 1 });
    const sender = n.createSender(udp, sealer, 0, to);
    const header = tcpHeader(4);
    const payload = pattern(3000);
    const bad: [number, number][] = [
      [0, 3001],
      [3000, 1],
      [3001, 0],
      [-1, 10],
      [0, -1],
      [0.5, 10],
      [0, 1.5],
      [Number.NaN, 1],
      [0, Number.NaN],
      [2 ** 32, 1],
      [1, 2 ** 32],
      [Number.POSITIVE_INFINITY, 1],
      [2 ** 53, 2 ** 53],
    ];
    for (const [offset, length] of bad) {
      const range = `${offset}+${length}`;
      t.throws(() => n.udpSendRaw(udp, to, payload, offset, length), RangeError, range);
      t.throws(() => n.sealPacket(sender, 1, payload, offset, length, 0, 0, 0, 0), RangeError, range);
      t.throws(() => n.sealSegments(sender, 1, header, header.length, payload, offset, length, 100), RangeError, range);
    }
    const segments = (template: Uint8Array, headerBytes: number, segmentBytes = 1000) =>
      n.sealSegments(sender, 1, template, headerBytes, payload, 0, 3000, segmentBytes);
    t.throws(() => segments(header, header.length + 1), RangeError, 'beyond the header');
    t.throws(() => segments(header, header.length - 1), RangeError, 'less than the header');
    t.throws(() => segments(Buffer.alloc(200), 200), RangeError, 'longer than any header');
    t.throws(() => segments(new Uint8Array(0), 0), RangeError, 'empty');
    t.throws(() => segments(header, header.length, 0), RangeError, 'no segment size');
    t.throws(() => segments(header, -5), RangeError);
    const udpTemplate = Buffer.from(header);
    udpTemplate[9] = 17;
    t.throws(() => segments(udpTemplate, header.length), RangeError, 'not TCP');
    const large = pattern(70_000);
    t.throws(() => n.sealSegments(sender, 1, header, header.length, large, 0, 70_000, 70_000), RangeError, 'no datagram is that long');
    t.throws(() => n.sealPacket(sender, 1, large, 0, 65_480, 0, 0, 0, 0), RangeError);
    t.throws(() => n.sealPacket(sender, 1, payload, 0, 100, 0, 0, 90, 9), RangeError, 'checksum beyond the packet');
    t.throws(() => n.sealPacket(sender, 1, payload, 0, 100, 0, 0, -1, 0), RangeError);
    t.throws(() => n.sealPacket(sender, 256, payload, 0, 100, 0, 0, 0, 0), RangeError, 'type is a byte');
    t.throws(() => n.udpSendRaw(udp, to, large, 0, 65_508), RangeError);
    t.throws(() => n.udpSendRaw(udp, to, [1, 2, 3] as never, 0, 1), TypeError);
    t.throws(() => n.udpSendRaw(udp, to, new Int32Array(9) as never, 0, 1), TypeError);
    t.throws(() => n.udpSendRaw(udp, to, payload, '0' as never, 1), TypeError);
    t.throws(() => (n.sealSegments as (...args: unknown[]) => unknown)(sender), TypeError, 'arguments missing');
    t.equal(n.senderPacketNumber(sender), 0);
    t.same(n.udpCounters(udp).sentDatagrams, 0);
    n.udpClose(udp);
  });

  t.test('addresses that cannot be used throw RangeError', async (t) => {
    const udp = openUdp(4, '127.0.0.1');
    const byte = Buffer.alloc(1);
    t.throws(() => n.udpSendRaw(udp, addressRecord('::1', 5), byte, 0, 1), RangeError, 'IPv6 from an IPv4 socket');
    t.throws(() => n.udpSendRaw(udp, Buffer.alloc(48), byte, 0, 1), RangeError, 'no family');
    t.throws(() => n.udpSendRaw(udp, Buffer.alloc(47, 4), byte, 0, 1), RangeError, 'short');
    const sealer = n.createSealer({ aead: 'aes-256-gcm', key: KEY, receiverIndex: 1 });
    t.throws(() => n.createSender(udp, sealer, native.MAX_PATHS, addressRecord('127.0.0.1', 1)), RangeError);
    t.throws(() => n.createSender(udp, sealer, -1, addressRecord('127.0.0.1', 1)), RangeError);
    n.udpClose(udp);
  });

  t.test('receive wants room', async (t) => {
    const udp = openUdp(4, '127.0.0.1');
    const table = n.createOpenTable();
    const receive = (arena: number, descriptors: number, addresses: number, rounds = 1) =>
      n.receive(udp, table, new Uint8Array(arena), new Int32Array(descriptors), new Uint8Array(addresses), rounds);
    t.throws(() => receive(256 * 1024 - 1, 64, 480), RangeError);
    t.throws(() => receive(256 * 1024, 15, 480), RangeError);
    t.throws(() => receive(256 * 1024, 64, 47), RangeError);
    t.throws(() => receive(256 * 1024, 64, 48, 0), RangeError);
    t.equal(receive(256 * 1024, 16, 48), 0);
    n.udpClose(udp);
  });

  t.test('keys, ciphers and receiver indexes are checked', async (t) => {
    const table = n.createOpenTable();
    const make = (options: object) => () => n.createSealer(options as never);
    t.throws(make({ aead: 'aes-256-gcm', key: Buffer.alloc(31), receiverIndex: 0 }), RangeError);
    t.throws(make({ aead: 'aes-128-gcm', key: Buffer.alloc(32), receiverIndex: 0 }), RangeError);
    t.throws(make({ aead: 'aes-256-gcm', key: Buffer.alloc(32), receiverIndex: 2 ** 32 }), RangeError);
    t.throws(make({ aead: 'aes-256-gcm', key: Buffer.alloc(32), receiverIndex: -1 }), RangeError);
    t.throws(make({ aead: 'aes-256-gcm', receiverIndex: 1 }), TypeError);
    t.throws(make({ key: Buffer.alloc(32), receiverIndex: 1 }), TypeError);
    t.throws(() => n.createSealer(undefined as never), TypeError);
    n.addOpener(table, { receiverIndex: 7, aead: 'aes-256-gcm', key: KEY });
    t.throws(() => n.addOpener(table, { receiverIndex: 7, aead: 'aes-256-gcm', key: KEY }), RangeError, 'twice the same index');
  });
}

function testUdpOptions(n: native.NativeAddon): void {
  t.test('udpOpen: what fails says code and syscall, what is wrong throws RangeError', async (t) => {
    const open = (options: object) => () => n.udpOpen({ ...UDP_OPTIONS, ...options } as never);
    t.throws(open({ address: '192.0.2.1' }), { code: 'EADDRNOTAVAIL', syscall: 'bind' });
    t.throws(open({ device: 'nosuchdev0' }), { code: 'ENODEV', syscall: 'SO_BINDTODEVICE' });
    const first = n.udpOpen(UDP_OPTIONS);
    t.throws(open({ port: n.udpPort(first) }), { code: 'EADDRINUSE' });
    t.throws(open({ address: 'localhost' }), RangeError);
    t.throws(open({ address: '::1' }), RangeError);
    t.throws(open({ device: 'a-device-name-too-long' }), RangeError);
    t.throws(open({ family: 5 }), RangeError);
    t.throws(open({ port: 65536 }), RangeError);
    t.throws(open({ reusePort: 1 }), TypeError);
    t.ok(n.udpFd(first) > 2);
    n.udpClose(first);
  });

  t.test('SO_REUSEPORT, SO_MARK, SO_BINDTODEVICE and IPV6_V6ONLY are set', async (t) => {
    const a = n.udpOpen({ ...UDP_OPTIONS, reusePort: true });
    const b = n.udpOpen({ ...UDP_OPTIONS, reusePort: true, port: n.udpPort(a) });
    t.equal(n.udpPort(a), n.udpPort(b));
    // Both families on one port, which a dual-stack socket would not leave free.
    const v6 = n.udpOpen({ ...UDP_OPTIONS, family: 6, address: '::', ipv6Only: true });
    const v4 = n.udpOpen({ ...UDP_OPTIONS, address: '0.0.0.0', port: n.udpPort(v6) });
    const device = n.tunOpen({ name: 'dum0', offloads: false });
    run('ip', 'link', 'set', 'dum0', 'up');
    run('ip', 'addr', 'add', '198.51.100.1/24', 'dev', 'dum0');
    const bound = n.udpOpen({ ...UDP_OPTIONS, address: '0.0.0.0', device: 'dum0' });
    t.equal(n.udpSendRaw(bound, addressRecord('203.0.113.1', 9), Buffer.alloc(1), 0, 1), 1, 'no route, but a device');
    t.match(run('ss', '-Huanp'), /%dum0:/);
    // The mark picks a routing table that holds the only route.
    run('ip', 'rule', 'add', 'fwmark', '0x51', 'table', '81');
    run('ip', 'route', 'add', '203.0.113.0/24', 'dev', 'dum0', 'table', '81');
    const plain = n.udpOpen({ ...UDP_OPTIONS, address: '0.0.0.0' });
    const marked = n.udpOpen({ ...UDP_OPTIONS, address: '0.0.0.0', mark: 0x51 });
    t.equal(n.udpSendRaw(plain, addressRecord('203.0.113.1', 9), Buffer.alloc(1), 0, 1), -101);
    t.equal(n.udpSendRaw(marked, addressRecord('203.0.113.1', 9), Buffer.alloc(1), 0, 1), 1);
    for (const udp of [a, b, v4, v6, bound, plain, marked]) n.udpClose(udp);
    n.tunClose(device);
  });
}

function testLoop(n: native.NativeAddon): void {
  const turn = (ms = 15) => new Promise((resolve) => setTimeout(resolve, ms));

  t.test('a watcher fires while data is there, not while it is paused, and never after close', async (t) => {
    const udp = openUdp(4, '127.0.0.1');
    const to = addressRecord('127.0.0.1', n.udpPort(udp));
    const table = n.createOpenTable();
    const receiver = new Receiver();
    let fired = 0;
    let got = 0;
    const watcher = n.watchReadable(udp, () => {
      fired++;
      got += receiver.once(udp, table).length;
    });
    await turn();
    t.equal(fired, 0, 'nothing yet');
    n.udpSendRaw(udp, to, Buffer.alloc(1), 0, 1);
    await turn();
    t.same([fired, got], [1, 1]);
    watcher.pause();
    watcher.pause();
    n.udpSendRaw(udp, to, Buffer.alloc(1), 0, 1);
    await turn();
    t.equal(fired, 1, 'paused');
    watcher.resume();
    watcher.resume();
    await turn();
    t.same([fired, got], [2, 2], 'what came meanwhile is seen after resume');
    t.throws(() => n.watchReadable(udp, () => {}), { code: 'EEXIST' }, 'one watcher at a time');
    n.udpSendRaw(udp, to, Buffer.alloc(1), 0, 1);
    watcher.close();
    watcher.close();
    await turn();
    t.equal(fired, 2, 'closed');
    t.throws(() => watcher.resume(), TypeError);
    const next = n.watchReadable(udp, () => {
      fired += 100;
      n.udpClose(udp);
    });
    await turn();
    t.equal(fired, 102, 'closing the handle in the callback ends its watcher');
    t.throws(() => next.pause(), TypeError);
    next.close();
    t.throws(() => watcher.pause.call({} as never), TypeError);
    t.throws(() => n.watchReadable(udp, () => {}), TypeError);
    t.throws(() => n.watchReadable(openUdp(4, '127.0.0.1'), 5 as never), TypeError);
  });

  t.test('what a callback throws is an uncaught exception, and the watcher goes on', async (t) => {
    const udp = openUdp(4, '127.0.0.1');
    const receiver = new Receiver();
    const table = n.createOpenTable();
    const watcher = n.watchReadable(udp, () => {
      receiver.once(udp, table);
      throw new Error('thrown by the callback');
    });
    const messages: string[] = [];
    const previous = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (error) => messages.push(error.message));
    for (let i = 0; i < 2; i++) {
      n.udpSendRaw(udp, addressRecord('127.0.0.1', n.udpPort(udp)), Buffer.alloc(1), 0, 1);
      await turn();
    }
    process.removeAllListeners('uncaughtException');
    for (const listener of previous) process.on('uncaughtException', listener);
    t.same(messages, ['thrown by the callback', 'thrown by the callback']);
    watcher.close();
    n.udpClose(udp);
  });

  t.test('microtasks of a callback run before the next one', async (t) => {
    const order: string[] = [];
    const timers = [0, 1].map((i) =>
      n.createFineTimer(() => {
        order.push(`timer ${i}`);
        Promise.resolve().then(() => order.push(`promise ${i}`));
      }),
    );
    for (const timer of timers) timer.arm(100);
    await turn();
    t.same(order.slice(0, 1).concat(order[1] ?? ''), [order[0], order[0]?.replace('timer', 'promise')]);
    t.equal(order.length, 4);
    for (const timer of timers) timer.close();
  });

  t.test('a fine timer fires once for an arming; arm replaces, disarm and close silence it', async (t) => {
    let fired = 0;
    let expired = () => {};
    const timer = n.createFineTimer(() => {
      fired++;
      expired();
    });
    const next = () =>
      new Promise<void>((resolve) => {
        expired = resolve;
      });
    let waiting = next();
    timer.arm(0);
    await waiting;
    waiting = next();
    const start = process.hrtime.bigint();
    timer.arm(1e9);
    timer.arm(300);
    await waiting;
    t.ok(process.hrtime.bigint() - start >= 300_000n, 'not early');
    await turn();
    t.equal(fired, 2);
    timer.arm(1000);
    timer.disarm();
    await turn();
    t.equal(fired, 2, 'disarmed');
    t.throws(() => timer.arm(-1), RangeError);
    t.throws(() => timer.arm(Number.NaN), RangeError);
    t.throws(() => timer.arm('1' as never), TypeError);
    timer.arm(1000);
    timer.close();
    timer.close();
    t.throws(() => timer.arm(1), TypeError);
    await turn();
    t.equal(fired, 2, 'closed');
  });

  const load = `const n = require('node-gyp-build')(${JSON.stringify(ROOT)});`;

  t.test('only an active watcher and an armed timer keep the process alive', async (t) => {
    const idle = `${load}
      n.createFineTimer(() => {}).arm; const timer = n.createFineTimer(() => {}); timer.arm(1e9); timer.disarm();
      n.watchReadable(n.udpOpen(${JSON.stringify(UDP_OPTIONS)}), () => {}).pause();`;
    t.equal(spawnSync(process.execPath, ['-e', idle], { timeout: 10_000 }).status, 0, 'ends');
    const armed = `${load} const timer = n.createFineTimer(() => console.log('expired')); timer.arm(20000);`;
    t.equal(spawnSync(process.execPath, ['-e', armed], { encoding: 'utf8' }).stdout, 'expired\n');
    const exits = `${load} n.watchReadable(n.udpOpen(${JSON.stringify(UDP_OPTIONS)}), () => {}); process.exit(7);`;
    t.equal(spawnSync(process.execPath, ['-e', exits]).status, 7, 'process.exit with an active watcher');
  });

  t.test('a worker thread can end with open watchers', async (t) => {
    const script = `${load}
      globalThis.watcher = n.watchReadable(n.udpOpen(${JSON.stringify(UDP_OPTIONS)}), () => {});
      globalThis.timer = n.createFineTimer(() => {}); timer.arm(1e9);
      require('worker_threads').parentPort.postMessage('up');`;
    const worker = new Worker(script, { eval: true });
    await new Promise((resolve) => worker.once('message', resolve));
    t.equal(await worker.terminate(), 1);
  });
}

if (inOwnNamespace(import.meta.url)) {
  const n = native.loadNative();
  testHandles(n);
  testBounds(n);
  testUdpOptions(n);
  testLoop(n);
  t.test('a time slice can be asked for, within bounds', async (t) => {
    t.type(n.requestTimeSlice(3000), 'boolean');
    t.throws(() => n.requestTimeSlice(99), RangeError);
    t.throws(() => n.requestTimeSlice(100_001), RangeError);
  });
  t.test('measureAead says nanoseconds', async (t) => {
    const { aes256gcmNs, chacha20Poly1305Ns } = n.measureAead();
    t.ok(aes256gcmNs > 10 && aes256gcmNs < 1e6 && chacha20Poly1305Ns > 10 && chacha20Poly1305Ns < 1e6);
  });
}
