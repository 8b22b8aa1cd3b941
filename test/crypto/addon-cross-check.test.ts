/** Two makers of one wire format: what the addon seals opens here, and the other way round, over loopback. Needs the addon, not root. */

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import t from 'tap';
import { openDatagram, sealDatagram } from '../../src/crypto/aead.js';
import * as native from '../../src/tun/native.js';

const KEY = Uint8Array.from({ length: 32 }, (_, i) => i * 7);
const PLAINTEXT = Uint8Array.from({ length: 100 }, (_, i) => i);

function addon(): native.NativeAddon | undefined {
  try {
    return native.loadNative();
  } catch {
    return undefined;
  }
}

function loopbackAddress(port: number): Uint8Array {
  const record = new Uint8Array(native.ADDRESS_BYTES);
  record[0] = 4;
  new DataView(record.buffer).setUint16(2, port);
  record.set([127, 0, 0, 1], 4);
  return record;
}

async function bound(): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

const loaded = addon();
for (const aead of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
  t.test(`${aead}: the addon and node:crypto read each other`, { skip: loaded === undefined && 'the addon is not built' }, async (t) => {
    const tun = loaded!;
    const socket = await bound();
    const udp = tun.udpOpen({ family: 4, address: '127.0.0.1', port: 0, receiveBufferBytes: 1 << 18, sendBufferBytes: 1 << 18 });
    t.teardown(() => {
      socket.close();
      tun.udpClose(udp);
    });

    const message = once(socket, 'message');
    const sealer = tun.createSealer({ aead, key: KEY, receiverIndex: 0xfedcba98 });
    const sender = tun.createSender(udp, sealer, 5, loopbackAddress(socket.address().port));
    tun.sealPacket(sender, native.TYPE_CONTROL, PLAINTEXT, 0, PLAINTEXT.length, 0, 0, 0, 0);
    tun.udpFlush(udp);
    const opened = openDatagram(aead, KEY, (await message)[0] as Uint8Array);
    t.type(opened, 'object');
    if (typeof opened === 'string') return;
    t.same(opened.header, { type: native.TYPE_CONTROL, pathId: 5, receiverIndex: 0xfedcba98, packetNumber: 0 });
    t.same([...opened.plaintext], [...PLAINTEXT]);

    const table = tun.createOpenTable();
    tun.addOpener(table, { receiverIndex: 42, aead, key: KEY });
    const header = { type: native.TYPE_CONTROL, pathId: 3, receiverIndex: 42, packetNumber: 2 ** 40 + 9 };
    const datagram = sealDatagram(aead, KEY, header, PLAINTEXT);
    await new Promise((sent) => socket.send(datagram, tun.udpPort(udp), '127.0.0.1', sent));
    const arena = new Uint8Array(256 * 1024);
    const fields = new Int32Array(native.RX_DESCRIPTOR_INTS * 64);
    const addresses = new Uint8Array(native.ADDRESS_BYTES * 64);
    t.equal(tun.receive(udp, table, arena, fields, addresses, 1), 1);
    t.equal(fields[native.RX_KIND], native.RX_KIND_PACKET);
    t.equal(fields[native.RX_PATH_ID], 3);
    t.same([fields[native.RX_PACKET_NUMBER_HIGH], fields[native.RX_PACKET_NUMBER_LOW]], [2 ** 8, 9]);
    const at = fields[native.RX_OFFSET]!;
    t.same([...arena.subarray(at, at + fields[native.RX_LENGTH]!)], [...PLAINTEXT]);
    tun.closeOpenTable(table);
    tun.destroySealer(sealer);
  });
}
