import fc from 'fast-check';
import t from 'tap';
import { formatIp, formatPrefix, networkOf, parseIp, parsePrefix, prefixContains } from '../../src/tun/ip-prefix.js';
import { planRoutes } from '../../src/tun/route-plan.js';

t.test('addresses round trip, in canonical text', async (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const bytes = parseIp(text);
      if (bytes === undefined) throw new Error(text);
      t.strictSame(parseIp(formatIp(bytes)), bytes);
    }),
    { numRuns: 300 },
  );
  t.equal(formatIp(parseIp('2001:DB8:0:0::0001')!), '2001:db8::1');
  t.strictSame(parseIp('::ffff:1.2.3.4'), parseIp('::ffff:102:304'));
  for (const text of ['1.2.3', '1.2.3.256', 'fe80::1%eth0', '', ':::', '1.2.3.4.5']) t.equal(parseIp(text), undefined, text);
});

t.test('networkOf clears the host bits, as a bit-by-bit twin does', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.integer({ min: 0, max: 128 }), (bytes, length) => {
      const twin = bytes.map((byte, index) =>
        [...Array(8).keys()].reduce((sum, bit) => sum | (8 * index + bit < length ? byte & (0x80 >> bit) : 0), 0),
      );
      t.strictSame(networkOf({ family: 6, bytes, length }).bytes, twin);
    }),
    { numRuns: 200 },
  );
});

t.test('prefixes: lengths are checked, containment is by the longer one', async (t) => {
  t.equal(formatPrefix(networkOf(parsePrefix('10.77.200.9/20')!)), '10.77.192.0/20');
  t.equal(formatPrefix(parsePrefix('10.0.0.1')!), '10.0.0.1/32');
  for (const text of ['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/-1', '/8', '10.0.0.0/8/8'])
    t.equal(parsePrefix(text), undefined, text);
  const contains = (outer: string, inner: string): boolean => prefixContains(parsePrefix(outer)!, parsePrefix(inner)!);
  t.ok(contains('10.0.0.0/8', '10.1.0.0/16'));
  t.ok(contains('0.0.0.0/0', '9.9.9.9'));
  t.notOk(contains('10.1.0.0/16', '10.0.0.0/8'));
  t.notOk(contains('::/0', '9.9.9.9'));
  t.notOk(contains('10.0.0.0/9', '10.128.0.0/9'));
});

t.test('routes: what covers an endpoint is policy-routed, longest first; what the device has by its address needs no route', async (t) => {
  t.same(
    planRoutes(
      ['10.77.0.0/24', '198.51.100.0/24', '0.0.0.0/0', '203.0.0.0/8', '203.0.113.0/24', '::/0', '2001:db8::/32', '0.0.0.0/0'],
      ['10.77.0.2/24'],
      ['203.0.113.1', '2001:db9::1'],
    ),
    {
      main: ['198.51.100.0/24', '2001:db8::/32'],
      policy: [
        { family: 4, prefixLength: 24, prefixes: ['203.0.113.0/24'] },
        { family: 4, prefixLength: 8, prefixes: ['203.0.0.0/8'] },
        { family: 4, prefixLength: 0, prefixes: ['0.0.0.0/0'] },
        { family: 6, prefixLength: 0, prefixes: ['::/0'] },
      ],
    },
  );
  t.throws(() => planRoutes(['example.org'], [], []), TypeError);
});
