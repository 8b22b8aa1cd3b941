/** What a TCP socket is bound to where only root may bind to a device (before Linux 5.7). */

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import t from 'tap';
import { loadNative, type NativeAddon } from '../../../../src/tun/native.js';
import { openBoundSocket } from '../../../../src/tunnel/carrier/webtransport/bound-socket.js';

const NATIVE = loadNative();
const tcpOpen: NativeAddon['tcpOpen'] = (options) => {
  if (options.device === undefined) return NATIVE.tcpOpen(options);
  throw Object.assign(new Error('SO_BINDTODEVICE: not permitted'), { code: 'EPERM', syscall: 'SO_BINDTODEVICE' });
};
const REFUSING = Object.create(NATIVE, { tcpOpen: { value: tcpOpen } }) as NativeAddon;
const OPTIONS = {
  address: '127.0.0.1',
  port: 0,
  serverName: '',
  certificateSha256: undefined,
  device: 'lo',
  localAddress: undefined,
  mark: undefined,
  mtuBytes: 1500,
  proof: new Uint8Array(),
};

for (const [localAddress, deviceAddress, source] of [
  [undefined, '127.0.0.2', '127.0.0.2'],
  ['127.0.0.3', '127.0.0.2', '127.0.0.3'],
] as const) {
  t.test(`configured ${localAddress ?? 'without an address'}, it leaves from ${source}`, async (t) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const socket = openBoundSocket(REFUSING, { ...OPTIONS, localAddress, deviceAddress });
    t.teardown(() => {
      socket.destroy();
      server.close();
    });
    socket.connect((server.address() as AddressInfo).port, '127.0.0.1');
    const [other] = await accepted;
    t.equal(other.remoteAddress, source);
    other.destroy();
  });
}

t.test('without an address of the device it is refused', async (t) => {
  t.throws(() => openBoundSocket(REFUSING, OPTIONS), { code: 'EPERM', syscall: 'SO_BINDTODEVICE' });
});
