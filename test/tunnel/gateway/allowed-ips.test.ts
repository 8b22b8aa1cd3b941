import fc from 'fast-check';
import t from 'tap';
import { parseIp, parsePrefix, prefixContains } from '../../../src/tun/ip-prefix.js';
import { AllowedIps, parseAllowedIp } from '../../../src/tunnel/gateway/allowed-ips.js';

const address = (text: string): Uint8Array => parseIp(text)!;

function lookup<T extends object>(table: AllowedIps<T>, text: string): T | undefined {
  const bytes = address(text);
  const within = new Uint8Array(bytes.length + 6).fill(0xff);
  within.set(bytes, 3);
  return table.lookup(within, 3, bytes.length === 4 ? 4 : 16);
}

t.test('a destination belongs to the longest prefix that contains it', async (t) => {
  const table = new AllowedIps<{ name: string }>();
  const [all, net, host, six] = ['all', 'net', 'host', 'six'].map((name) => ({ name }));
  table.add('198.51.100.7/32', host!);
  table.add('0.0.0.0/0', all!);
  table.add('198.51.100.0/24', net!);
  table.add('fd77::/64', six!);
  table.add('fd77::1', host!);
  t.equal(lookup(table, '198.51.100.7'), host);
  t.equal(lookup(table, '198.51.100.8'), net);
  t.equal(lookup(table, '198.51.101.7'), all);
  t.equal(lookup(table, 'fd77::2'), six);
  t.equal(lookup(table, 'fd77::1'), host);
  t.equal(lookup(table, 'fd78::1'), undefined, 'the versions are apart');
  t.equal(table.isAllowedSource(net!, address('198.51.100.8'), 0, 4), true);
  t.equal(table.isAllowedSource(all!, address('198.51.100.8'), 0, 4), false, 'a source that belongs to another peer');
  table.remove(net!);
  t.equal(lookup(table, '198.51.100.8'), all);
  t.equal(lookup(table, '198.51.100.7'), host);
});

t.test('host bits are cleared, as WireGuard does; a repeated prefix is no fault, one of two peers is', async (t) => {
  const table = new AllowedIps<{ name: string }>();
  const [a, b] = [{ name: 'a' }, { name: 'b' }];
  table.add('10.77.0.2/24', a);
  table.add('10.77.0.0/24', a);
  t.equal(table.size, 1);
  t.equal(lookup(table, '10.77.0.200'), a);
  t.throws(() => table.add('10.77.0.9/24', b), new RangeError('"10.77.0.9/24" is routed to two peers; give it to one of them'));
  t.equal(lookup(table, '10.77.0.200'), a);
});

t.test('a malformed prefix is refused with what is wrong', async (t) => {
  t.throws(() => parseAllowedIp('10.0.0.0/33'), /prefix length must be a number from 0 to 32/);
  t.throws(() => parseAllowedIp('fd00::/129'), /prefix length must be a number from 0 to 128/);
  t.throws(() => parseAllowedIp('10.0.0.0/'), /prefix length/);
  t.throws(() => parseAllowedIp('10.0.0.0/8 '), /prefix length/);
  for (const text of ['', '10.0.0', '10.0.0.256/8', 'fd00:::/8', 'example.org', 'fe80::1%eth0/64']) {
    t.throws(() => parseAllowedIp(text), /is neither an IPv4 nor an IPv6 prefix/, text);
  }
});

t.test('the trie agrees with a list that is searched from end to end', async (t) => {
  // Few distinct bits, so that prefixes nest and addresses hit.
  const byte = fc.constantFrom(0, 1, 128, 129, 255);
  const v4 = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join('.'));
  const v6 = fc.tuple(byte, byte, byte).map(([a, b, c]) => `fd${a.toString(16).padStart(2, '0')}:${b.toString(16)}::${c.toString(16)}`);
  const prefix = fc.oneof(
    fc.tuple(v4, fc.nat(32)).map(([text, length]) => `${text}/${length}`),
    fc.tuple(v6, fc.nat(128)).map(([text, length]) => `${text}/${length}`),
  );
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 25 }), fc.array(fc.oneof(v4, v6), { maxLength: 25 }), (prefixes, addresses) => {
      const table = new AllowedIps<{ text: string }>();
      const list: { text: string }[] = [];
      for (const text of prefixes) {
        const value = { text };
        try {
          table.add(text, value);
          list.push(value);
        } catch {
          // Given twice.
        }
      }
      // Every third goes again, and leaves the others as they were.
      for (const value of list.splice(0).map((one, i) => ({ one, goes: i % 3 === 1 }))) {
        if (value.goes) table.remove(value.one);
        else list.push(value.one);
      }
      if (table.size !== list.length) throw new Error(`${table.size} prefixes, should be ${list.length}`);
      for (const text of addresses) {
        let best: { text: string } | undefined;
        let bestLength = -1;
        for (const entry of list) {
          const candidate = parsePrefix(entry.text)!;
          if (candidate.length > bestLength && prefixContains(candidate, parsePrefix(text)!)) {
            best = entry;
            bestLength = candidate.length;
          }
        }
        if (lookup(table, text) !== best) throw new Error(`${text}: ${lookup(table, text)?.text}, should be ${best?.text}`);
      }
    }),
    { numRuns: 500 },
  );
  t.pass();
});
