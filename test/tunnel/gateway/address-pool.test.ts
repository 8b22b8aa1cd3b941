import t from 'tap';
import { allocateAddresses } from '../../../src/tunnel/gateway/address-pool.js';

t.test('the lowest free host number is given, the same in all networks', async (t) => {
  const own = ['10.77.0.1/24', 'fd77::1/64'];
  t.same(allocateAddresses(own, []), ['10.77.0.2/32', 'fd77::2/128']);
  t.same(allocateAddresses(own, ['10.77.0.2/32', 'fd77::2/128']), ['10.77.0.3/32', 'fd77::3/128']);
  t.same(allocateAddresses(own, ['10.77.0.2/32', 'fd77::3/128']), ['10.77.0.3/32', 'fd77::4/128'], 'where it is free in both');
  t.same(allocateAddresses(own, ['10.77.0.0/28']), ['10.77.0.16/32', 'fd77::10/128'], 'a prefix takes all its addresses');
});

t.test('neither the network nor the broadcast address is given, and a full network says so', async (t) => {
  const own = ['10.9.0.2/30'];
  t.same(allocateAddresses(own, []), ['10.9.0.1/32']);
  t.same(allocateAddresses(own, ['10.9.0.1/32']), undefined);
  t.same(allocateAddresses(['10.9.0.2/32'], []), undefined);
  t.same(allocateAddresses(['10.9.0.0/31'], []), undefined);
});

t.test('a network of a thousand peers has room for the next', async (t) => {
  const taken = Array.from({ length: 1000 }, (_, i) => `10.77.${(i + 2) >> 8}.${(i + 2) & 255}/32`);
  t.same(allocateAddresses(['10.77.0.1/16'], taken), ['10.77.3.234/32']);
});
