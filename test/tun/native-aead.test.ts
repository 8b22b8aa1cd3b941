/** The AEAD engines: published vectors, the same bytes from both, and libraries that are refused. What needs intel-ipsec-mb is skipped where it is not installed. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { open, seal } from '../../src/crypto/aead.js';
import * as native from '../../src/tun/native.js';
import { addressRecord, generator, inOwnNamespace, openUdp, pattern, Receiver, run } from './native-harness.js';
import { openDatagram } from './native-twins.js';

interface Vector {
  name: string;
  aead: native.AeadName;
  key: string;
  nonce: string;
  associatedData: string;
  plaintext: string;
  ciphertext: string;
  tag: string;
}

const VECTORS: Vector[] = [
  {
    name: 'GCM specification (McGrew, Viega), test case 13: nothing',
    aead: 'aes-256-gcm',
    key: '00'.repeat(32),
    nonce: '00'.repeat(12),
    associatedData: '',
    plaintext: '',
    ciphertext: '',
    tag: '530f8afbc74536b9a963b4f1c4cb738b',
  },
  {
    name: 'GCM specification, test case 14: one block',
    aead: 'aes-256-gcm',
    key: '00'.repeat(32),
    nonce: '00'.repeat(12),
    associatedData: '',
    plaintext: '00'.repeat(16),
    ciphertext: 'cea7403d4d606b6e074ec5d3baf39d18',
    tag: 'd0d1c8a799996bf0265b98b5d48ab919',
  },
  {
    name: 'GCM specification, test case 16: associated data',
    aead: 'aes-256-gcm',
    key: 'feffe9928665731c6d6a8f9467308308'.repeat(2),
    nonce: 'cafebabefacedbaddecaf888',
    associatedData: 'feedfacedeadbeeffeedfacedeadbeefabaddad2',
    plaintext: 'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
    ciphertext: '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662',
    tag: '76fc6ece0f4e1768cddf8853bb2d551b',
  },
  {
    name: 'RFC 8439 2.8.2',
    aead: 'chacha20-poly1305',
    key: Buffer.from(Array.from({ length: 32 }, (_, i) => 0x80 + i)).toString('hex'),
    nonce: '070000004041424344454647',
    associatedData: '50515253c0c1c2c3c4c5c6c7',
    plaintext: Buffer.from(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
    ).toString('hex'),
    ciphertext:
      'd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116',
    tag: '1ae10b594f09e26a7e902ecbd0600691',
  },
];

const AEADS: native.AeadName[] = ['aes-256-gcm', 'chacha20-poly1305'];
const bytesOf = (hex: string) => Buffer.from(hex, 'hex');

/** Why intel-ipsec-mb cannot be used here; false when it can. */
function missing(n: native.NativeAddon): string | false {
  try {
    n.aeadOnce({ aead: 'aes-256-gcm', key: pattern(32), engine: 'ipsec-mb' }, true, pattern(12), pattern(12), pattern(16));
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}

function testVectors(n: native.NativeAddon, engine: native.AeadEngine, skip: string | false): void {
  for (const vector of VECTORS) {
    t.test(`${engine}: ${vector.name}`, { skip }, async (t) => {
      const options = { aead: vector.aead, key: bytesOf(vector.key), engine };
      const [nonce, associatedData] = [bytesOf(vector.nonce), bytesOf(vector.associatedData)];
      const bytes = Buffer.concat([bytesOf(vector.plaintext), Buffer.alloc(16, 0xa5)]);
      t.ok(n.aeadOnce(options, true, nonce, associatedData, bytes));
      t.equal(bytes.toString('hex'), vector.ciphertext + vector.tag);
      t.ok(n.aeadOnce(options, false, nonce, associatedData, bytes), 'it opens again');
      t.equal(bytes.subarray(0, -16).toString('hex'), vector.plaintext);
    });
  }
}

function testRandomBytes(n: native.NativeAddon, engine: native.AeadEngine, skip: string | false): void {
  for (const aead of AEADS) {
    t.test(`${engine}: ${aead} makes what node:crypto makes, at every length up to 400 and some beyond`, { skip }, async (t) => {
      const random = generator(7);
      const lengths = [...Array.from({ length: 401 }, (_, i) => i), 1199, 1400, 1472, 4095, 4096, 8972, 65_507];
      for (const length of lengths) {
        const [key, nonce, header] = [pattern(32, length + 1), pattern(12, length + 2), pattern(12, length + 3)];
        const plain = pattern(length, length + 4);
        const expected = Buffer.from(seal(aead, key, nonce, header, plain));
        const bytes = Buffer.concat([plain, Buffer.alloc(16, 0xa5)]);
        n.aeadOnce({ aead, key, engine }, true, nonce, header, bytes);
        if (!bytes.equals(expected)) return t.fail(`length ${length}`);
        const forged = Buffer.from(bytes);
        const at = random(forged.length);
        forged[at]! ^= 1 << random(8);
        if (n.aeadOnce({ aead, key, engine }, false, nonce, header, forged))
          return t.fail(`byte ${at} of ${length} changed, and it opened`);
        const otherHeader = Buffer.from(header);
        otherHeader[random(12)]! ^= 1;
        if (n.aeadOnce({ aead, key, engine }, false, nonce, otherHeader, Buffer.from(bytes))) return t.fail('a changed header opened');
        if (open(aead, key, nonce, header, bytes) === undefined) return t.fail(`node:crypto does not open length ${length}`);
      }
      t.pass(`${lengths.length} lengths`);
    });
  }
}

/** Through the data path: seals with one engine, flips bits of some datagrams, opens with the other. */
function testAcross(n: native.NativeAddon, sealing: native.AeadEngine, opening: native.AeadEngine, skip: string | false): void {
  for (const aead of AEADS) {
    t.test(`${aead}: what ${sealing} seals, ${opening} opens, and forgeries it refuses`, { skip }, async (t) => {
      const [tx, middle, rx] = [openUdp(4, '127.0.0.1'), openUdp(4, '127.0.0.1'), openUdp(4, '127.0.0.1')];
      const key = pattern(32, 5);
      const sealer = n.createSealer({ aead, key, receiverIndex: 0xabcd, engine: sealing });
      const sender = n.createSender(tx, sealer, 3, addressRecord('127.0.0.1', n.udpPort(middle)));
      const [none, table] = [n.createOpenTable(), n.createOpenTable()];
      n.addOpener(table, { aead, key, receiverIndex: 0xabcd, engine: opening });
      const target = addressRecord('127.0.0.1', n.udpPort(rx));
      const plain = Array.from({ length: 300 }, (_, i) => pattern(i < 150 ? i + 1 : 1000 + i, i + 1));
      for (const packet of plain) n.sealPacket(sender, 0x77, packet, 0, packet.length, 0, 0, 0, 0);
      n.udpFlush(tx);
      // Of an unknown type, so they come up as they are: the type is in the associated data, and only node:crypto opens these.
      const raw = new Receiver().datagrams(middle, none, plain.length);
      t.ok(raw.length === plain.length && raw.every(({ bytes }, i) => openDatagram(aead, key, bytes).plaintext.equals(plain[i]!)));
      for (const packet of plain) n.sealPacket(sender, native.TYPE_DATAGRAM, packet, 0, packet.length, 0, 0, 0, 0);
      n.senderSetTarget(sender, tx, target);
      for (const packet of plain) n.sealPacket(sender, native.TYPE_DATAGRAM, packet, 0, packet.length, 0, 0, 0, 0);
      n.udpFlush(tx);
      const opened = new Receiver().datagrams(rx, table, plain.length);
      t.ok(opened.length === plain.length && opened.every(({ bytes }, i) => bytes.equals(plain[i]!)), 'opened byte for byte');
      // Forgeries: a datagram made by node:crypto with one bit changed, wherever.
      const random = generator(11);
      let forged = 0;
      for (const [i, packet] of plain.entries()) {
        const header = Buffer.alloc(12);
        header[0] = native.TYPE_DATAGRAM;
        header[1] = 3;
        header.writeUInt32BE(0xabcd, 2);
        header.writeUInt32BE(10_000 + i, 8);
        const nonce = Buffer.alloc(12);
        nonce[3] = 3;
        header.copy(nonce, 6, 6, 12);
        const datagram = Buffer.concat([header, seal(aead, key, nonce, header, packet)]);
        datagram[12 + random(datagram.length - 12)]! ^= 1 << random(8);
        n.udpSendRaw(tx, target, datagram, 0, datagram.length);
        forged++;
      }
      t.same(new Receiver().datagrams(rx, table, 1), []);
      t.equal(n.receiveCounters(table).badTag, forged);
      for (const udp of [tx, middle, rx]) n.udpClose(udp);
    });
  }
}

/** What a fresh process says with these libraries before the system's, and this in its environment. */
function engineWith(t: Test, version: string, engine: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'mptunnel-ipsec-mb-'));
  try {
    const source = fileURLToPath(new URL('../../../test/tun/native-fake-ipsec-mb.c', import.meta.url));
    for (const name of ['libIPSec_MB.so.1', 'libIPSec_MB.so.2']) {
      run('cc', '-shared', '-fPIC', '-O1', `-DFAKE_VERSION=${version}`, '-o', join(folder, name), source);
    }
    const module = new URL('../../src/tun/native.js', import.meta.url).href;
    const script = `import(${JSON.stringify(module)}).then((m) => m.loadNative().measureAead()).then((x) => console.log(x.aes256gcmEngine), (e) => console.log(e.message))`;
    const environment = { ...process.env, LD_LIBRARY_PATH: folder, MPTUNNEL_AEAD_ENGINE: engine, NODE_OPTIONS: '' };
    const child = spawnSync(process.execPath, ['-e', script], { env: environment, encoding: 'utf8' });
    t.equal(child.status, 0, child.stderr);
    return child.stdout.trim();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function testRefusals(): void {
  t.test('a library of an unknown version is left alone', async (t) => {
    t.match(engineWith(t, '0x20100', ''), /^openssl \d/);
    if (process.arch === 'x64')
      t.match(engineWith(t, '0x20100', 'ipsec-mb'), /cannot be used: the library is of a version that is not known/);
  });

  t.test('a library that does not seal as OpenSSL does is left alone', async (t) => {
    t.match(engineWith(t, '0x10300', ''), /^openssl \d/);
    if (process.arch === 'x64') t.match(engineWith(t, '0x10300', 'ipsec-mb'), /cannot be used: the library does not seal as OpenSSL does/);
  });

  t.test('an engine that there is not is told', async (t) => {
    t.match(engineWith(t, '0x10300', 'rot13'), /^MPTUNNEL_AEAD_ENGINE is "rot13": it must be openssl, ipsec-mb or fastest/);
  });
}

function testChoice(n: native.NativeAddon, skip: string | false): void {
  t.test('the engine of a process can be chosen', { skip }, async (t) => {
    n.useAeadEngine('openssl');
    const { aes256gcmNs: opensslNs, aes256gcmEngine } = n.measureAead();
    t.match(aes256gcmEngine, /^openssl \d+\.\d+/);
    n.useAeadEngine('ipsec-mb');
    const { aes256gcmNs: ipsecMbNs, ...other } = n.measureAead();
    t.match(other.aes256gcmEngine, /^ipsec-mb \d+\.\d+/);
    n.useAeadEngine('fastest');
    t.equal(n.measureAead().aes256gcmNs, Math.min(opensslNs, ipsecMbNs));
  });

  t.test('wrong arguments throw', async (t) => {
    const key = pattern(32);
    t.throws(() => n.useAeadEngine('rot13' as native.AeadEngine), RangeError);
    t.throws(() => n.aeadOnce({ aead: 'aes-256-gcm', key }, true, pattern(11), key, pattern(16)), RangeError);
    t.throws(() => n.aeadOnce({ aead: 'aes-256-gcm', key }, true, pattern(12), key, pattern(15)), RangeError);
    t.throws(() => n.aeadOnce({ aead: 'aes-256-gcm', key: pattern(16) }, true, pattern(12), key, pattern(16)), RangeError);
  });
}

if (inOwnNamespace(import.meta.url)) {
  const n = native.loadNative();
  const skip = missing(n);
  for (const engine of ['openssl', 'ipsec-mb'] as const) {
    testVectors(n, engine, engine === 'openssl' ? false : skip);
    testRandomBytes(n, engine, engine === 'openssl' ? false : skip);
  }
  testAcross(n, 'openssl', 'openssl', false);
  testAcross(n, 'openssl', 'ipsec-mb', skip);
  testAcross(n, 'ipsec-mb', 'openssl', skip);
  testAcross(n, 'ipsec-mb', 'ipsec-mb', skip);
  testChoice(n, skip);
  testRefusals();
}
