/** Uplinks on sockets of the loopback, where the kernel refuses to bind to a device, as it did to ordinary users before Linux 5.7. */

import dgram from 'node:dgram';
import { once } from 'node:events';
import t from 'tap';
import { loadNative, type NativeAddon } from '../../../src/tun/native.js';
import type { InterfaceInfo } from '../../../src/tunnel/carrier/interface-info.js';
import type { UdpCarrier } from '../../../src/tunnel/carrier/udp-carrier.js';
import { Uplink } from '../../../src/tunnel/carrier/uplink.js';
import { emitAddressRecord } from '../../../src/tunnel/path/address-record.js';

type UdpOpen = NativeAddon['udpOpen'];

/** Asks the real one unless a device is named. */
function refusing(syscall: string, native = loadNative()): { native: NativeAddon; asked: (string | undefined)[] } {
  const asked: (string | undefined)[] = [];
  const udpOpen: UdpOpen = (options) => {
    asked.push(options.device);
    if (options.device !== undefined) throw Object.assign(new Error(`${syscall}: not permitted`), { code: 'EPERM', syscall });
    return native.udpOpen(options);
  };
  return { native: Object.create(native, { udpOpen: { value: udpOpen } }) as NativeAddon, asked };
}

function loopback(...addresses: string[]): InterfaceInfo[] {
  return [{ index: 1, name: 'lo', mtuBytes: 65_536, usable: true, addresses }];
}

/** From where the datagram came that the carrier sent. */
async function sourceOf(carrier: UdpCarrier): Promise<string> {
  const receiver = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await once(receiver, 'listening');
  const heard = once(receiver, 'message') as Promise<[Buffer, dgram.RemoteInfo]>;
  carrier.sendRaw(emitAddressRecord('127.0.0.1', receiver.address().port), new Uint8Array([7]), 1);
  const [, from] = await heard;
  receiver.close();
  return from.address;
}

t.test('an uplink that may not be bound to its device is bound to an address of it, and follows when that changes', async (t) => {
  const { native, asked } = refusing('SO_BINDTODEVICE');
  const uplink = new Uplink(native, 0, { name: 'dsl', interface: 'lo', address: undefined }, undefined, () => {});
  t.teardown(() => uplink.close());
  const carrier = uplink.carrier(4);
  t.same(uplink.refresh(loopback('127.0.0.2')), [carrier]);
  t.equal(uplink.problem, '');
  t.equal(await sourceOf(carrier), '127.0.0.2');
  t.same(uplink.refresh(loopback('127.0.0.2')), [], 'the same address: the same socket');
  t.same(uplink.refresh(loopback('127.0.0.3', '127.0.0.2')), [carrier], 'another one comes first now');
  t.equal(await sourceOf(carrier), '127.0.0.3');
  t.same(asked, ['lo', undefined, 'lo', undefined], 'the device was asked for each time');
});

t.test('the address of the configuration stands in for the device, whatever else the device has', async (t) => {
  const { native } = refusing('SO_BINDTODEVICE');
  const uplink = new Uplink(native, 0, { name: 'dsl', interface: 'lo', address: '127.0.0.4' }, undefined, () => {});
  t.teardown(() => uplink.close());
  const carrier = uplink.carrier(4);
  uplink.refresh(loopback('127.0.0.1', '127.0.0.4'));
  t.equal(await sourceOf(carrier), '127.0.0.4');
  t.same(uplink.refresh(loopback('127.0.0.9', '127.0.0.4')), []);
});

t.test('without an address there is a problem to tell, and what else is refused is one too', async (t) => {
  const bare = new Uplink(refusing('SO_BINDTODEVICE').native, 0, { name: 'dsl', interface: 'lo', address: undefined }, undefined, () => {});
  bare.carrier(4);
  t.same(bare.refresh([]), []);
  t.match(bare.problem, /needs root or CAP_NET_RAW/);
  const marked = new Uplink(refusing('SO_MARK').native, 0, { name: 'dsl', interface: 'lo', address: undefined }, 7, () => {});
  marked.carrier(4);
  t.same(marked.refresh(loopback('127.0.0.1')), []);
  t.match(marked.problem, /needs root/);
});
