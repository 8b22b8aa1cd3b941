import t from 'tap';
import type { InterfaceInfo } from '../../../src/tunnel/carrier/interface-info.js';
import { interfaceOf, interfaceProblem } from '../../../src/tunnel/carrier/uplink-interface.js';

const INTERFACES: readonly InterfaceInfo[] = [
  { index: 1, name: 'lo', mtuBytes: 65_536, usable: true, addresses: ['127.0.0.1', '::1'] },
  { index: 2, name: 'eth0', mtuBytes: 1500, usable: true, addresses: ['192.0.2.1'] },
  { index: 3, name: 'wwan0', mtuBytes: 1430, usable: false, addresses: ['198.51.100.1'] },
];

for (const [device, address, found, problem] of [
  ['eth0', undefined, 'eth0', undefined],
  [undefined, '192.0.2.1', 'eth0', undefined],
  ['eth0', '192.0.2.1', 'eth0', undefined],
  [undefined, undefined, undefined, undefined],
  // All of 127.0.0.0/8 is this host's.
  [undefined, '127.0.0.2', 'lo', undefined],
  ['usb0', undefined, undefined, 'interface "usb0" does not exist'],
  ['wwan0', undefined, 'wwan0', 'interface "wwan0" is down or has no carrier'],
  [undefined, '203.0.113.9', undefined, 'address 203.0.113.9 is not configured on this host'],
  // The interface that is named counts, not the one that has the address.
  ['eth0', '198.51.100.1', 'eth0', 'address 198.51.100.1 is not configured on "eth0"'],
] as const) {
  t.test(`a path by ${device ?? 'any interface'} from ${address ?? 'any address'}: ${problem ?? 'can be used'}`, async (t) => {
    const path = { name: 'dsl', interface: device, address };
    const info = interfaceOf(path, INTERFACES);
    t.equal(info?.name, found);
    t.equal(interfaceProblem(path, info)?.what, problem);
  });
}
