import fc from 'fast-check';
import t from 'tap';
import { ADDRESS_BYTES } from '../../../src/tun/native.js';
import { parseInterfaces } from '../../../src/tunnel/carrier/interface-info.js';
import {
  addressKey,
  emitAddressRecord,
  formatEndpoint,
  formatLocalAddress,
  formatRemote,
  sameAddress,
} from '../../../src/tunnel/path/address-record.js';
import { AddressValidation } from '../../../src/tunnel/path/address-validation.js';

t.test('address records are written and read as text', async (t) => {
  const v4 = emitAddressRecord('203.0.113.7', 5180);
  t.equal(v4.length, ADDRESS_BYTES);
  t.same([...v4.subarray(0, 8)], [4, 0, 0x14, 0x3c, 203, 0, 113, 7]);
  t.equal(formatRemote(v4), '203.0.113.7:5180');
  t.equal(formatLocalAddress(v4), '', 'left to the kernel');
  for (const text of ['2001:db8::1', '::1', '::', 'fe80::1:2:3:4', '2001:db8:0:1:1:1:1:1', '1:2:3:4:5:6:7:8', 'ff02::']) {
    t.equal(formatRemote(emitAddressRecord(text, 1)), `[${text}]:1`);
  }
  t.equal(formatRemote(emitAddressRecord('::ffff:10.1.2.3', 9)), '10.1.2.3:9');
  t.equal(formatEndpoint('::1', 2), '[::1]:2');
  t.throws(() => emitAddressRecord('example.org', 1), RangeError);
});

t.test('any IPv6 address survives the round trip', async () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const record = emitAddressRecord(text, 443);
      const shown = /^\[?(.*?)\]?:443$/.exec(formatRemote(record))![1]!;
      if (!shown.includes(':')) return record[14] === 0xff && record[15] === 0xff;
      return sameAddress(record, emitAddressRecord(shown, 443), 0);
    }),
  );
});

t.test('addresses are the same when family, port and both addresses are', async (t) => {
  const one = emitAddressRecord('10.0.0.1', 1000);
  const table = new Uint8Array(3 * ADDRESS_BYTES);
  table.set(emitAddressRecord('10.0.0.1', 1001), 0);
  table.set(one, ADDRESS_BYTES);
  table.set(one, 2 * ADDRESS_BYTES);
  table[2 * ADDRESS_BYTES + 23] = 1;
  t.notOk(sameAddress(one, table, 0), 'another port');
  t.ok(sameAddress(one, table, 1));
  t.notOk(sameAddress(one, table, 2), 'another local address');
  t.not(addressKey(table, 0), addressKey(table, 1));
});

t.test('no more than three times what came from an unproven address is sent to it', async (t) => {
  const validation = new AddressValidation(new Uint8Array(8), 0);
  t.notOk(validation.trySpend(1));
  validation.handleReceived(50);
  t.ok(validation.trySpend(100));
  t.notOk(validation.trySpend(51));
  t.ok(validation.trySpend(50));
  t.notOk(validation.trySpend(1));
});

t.test('challenges back off', async (t) => {
  const validation = new AddressValidation(new Uint8Array(8), 100);
  t.equal(validation.nextChallengeMs(), 100);
  validation.handleChallengeSent(100);
  t.equal(validation.nextChallengeMs(), 350);
  validation.handleChallengeSent(350);
  t.equal(validation.nextChallengeMs(), 850);
  for (let i = 0; i < 10; i++) validation.handleChallengeSent(1000);
  t.equal(validation.nextChallengeMs(), 3000);
});

t.test('only the very token proves an address', async (t) => {
  const token = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
  const validation = new AddressValidation(token, 0);
  t.ok(validation.matches(Uint8Array.from(token)));
  for (let i = 0; i < 8; i++) {
    const wrong = Uint8Array.from(token);
    wrong[i]! ^= 0x80;
    t.notOk(validation.matches(wrong));
  }
  t.notOk(validation.matches(token.subarray(0, 7)));
  t.throws(() => new AddressValidation(new Uint8Array(7), 0), RangeError);
});

t.test('the list of interfaces is read from ip -j, whatever it prints', async (t) => {
  const json = JSON.stringify([
    { ifindex: 1, ifname: 'lo', flags: ['LOOPBACK', 'UP', 'LOWER_UP'], mtu: 65536, addr_info: [{ local: '127.0.0.1', scope: 'host' }] },
    {
      ifindex: 7,
      ifname: 'wan0',
      flags: ['BROADCAST', 'UP', 'NO-CARRIER'],
      mtu: 1400,
      addr_info: [
        { local: 'fe80::1', scope: 'link' },
        { local: '10.0.0.1', scope: 'global' },
      ],
    },
    { nonsense: true },
  ]);
  t.same(parseInterfaces(json), [
    { index: 1, name: 'lo', mtuBytes: 65536, usable: true, addresses: ['127.0.0.1'] },
    { index: 7, name: 'wan0', mtuBytes: 1400, usable: false, addresses: ['10.0.0.1', 'fe80::1'] },
  ]);
  t.same(parseInterfaces('Device "x" does not exist.'), []);
  t.same(parseInterfaces('{}'), []);
});
