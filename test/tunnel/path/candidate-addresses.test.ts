import t from 'tap';
import { emitAddressRecord, formatRemote } from '../../../src/tunnel/path/address-record.js';
import { candidateAddress } from '../../../src/tunnel/path/candidate-addresses.js';

const CURRENT = { 4: emitAddressRecord('203.0.113.9', 1), 6: emitAddressRecord('2001:db8::9', 1) };

t.test('places that a socket of that IP version could have are taken, others are not', async (t) => {
  for (const [text, family] of [
    ['203.0.113.1:4711', 4],
    ['10.0.0.2:1', 4],
    ['[2001:db8::1]:5180', 6],
  ] as const)
    t.equal(formatRemote(candidateAddress(text, CURRENT[family])!), text);
  for (const [text, family] of [
    ['203.0.113.1:4711', 6],
    ['[2001:db8::1]:5180', 4],
    ['host.example:5180', 4],
    ['203.0.113.1', 4],
    ['203.0.113.1:0', 4],
    ['0.0.0.0:53', 4],
    ['224.0.0.1:53', 4],
    ['255.255.255.255:53', 4],
    ['[::]:53', 6],
    ['[ff02::1]:53', 6],
    ['[fe80::1]:53', 6],
    ['127.0.0.1:53', 4],
    ['[::1]:53', 6],
    ['', 4],
  ] as const)
    t.equal(candidateAddress(text, CURRENT[family]), undefined, text);
  const own = emitAddressRecord('127.0.0.2', 1);
  t.equal(formatRemote(candidateAddress('127.0.0.3:7', own)!), '127.0.0.3:7', 'loopback is a place for who is there');
});
