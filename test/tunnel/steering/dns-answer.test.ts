import fc from 'fast-check';
import t from 'tap';
import {
  type DnsAddress,
  FAULT_DNS_NAME,
  FAULT_DNS_NO_ANSWER,
  FAULT_DNS_SHORT,
  parseDnsAnswer,
} from '../../../src/tunnel/steering/dns-answer.js';
import { type DnsRecord, dnsAnswer } from './dns-messages.js';

const parse = (bytes: Uint8Array): DnsAddress[] | string => parseDnsAnswer(bytes, 0, bytes.length);
const A = (name: string, address: string, ttl = 60): DnsRecord => ({ name, type: 'A', ttl, data: address });
const CNAME = (name: string, target: string, ttl = 60): DnsRecord => ({ name, type: 'CNAME', ttl, data: target });

t.test('addresses of both families, in lower case whatever the answer repeats', async (t) => {
  const found = parse(
    dnsAnswer('WWW.Example.ORG', [
      A('www.example.org', '198.51.100.2'),
      { name: 'www.example.org', type: 'AAAA', ttl: 30, data: 'fd98::2' },
    ]),
  );
  t.match(found, [
    { names: ['www.example.org'], address: new Uint8Array([198, 51, 100, 2]), ttlSeconds: 60 },
    { names: ['www.example.org'], ttlSeconds: 30 },
  ]);
  t.equal((found as DnsAddress[])[1]!.address.length, 16);
});

t.test('a chain of aliases leads to the address under each of its names, for the shortest of its times', async (t) => {
  const answer = dnsAnswer('shop.example', [
    A('edge.cdn.example', '192.0.2.7', 300),
    CNAME('shop.example', 'shop.cdn.example', 600),
    CNAME('shop.cdn.example', 'edge.cdn.example', 20),
    A('other.example', '192.0.2.99'),
  ]);
  t.match(parse(answer), [{ names: ['shop.example', 'shop.cdn.example', 'edge.cdn.example'], ttlSeconds: 20 }]);
  t.equal(parse(answer).length, 1, 'what no alias leads to does not belong to the question');
});

t.test('aliases that lead in a circle end', async (t) => {
  t.same(parse(dnsAnswer('a.example', [CNAME('a.example', 'b.example'), CNAME('b.example', 'a.example')])), []);
});

t.test('compressed names are read, and pointers that lead forward or to themselves are refused', async (t) => {
  const compressed = dnsAnswer('www.example.org', [A('www.example.org', '192.0.2.1')], { compress: true });
  t.match(parse(compressed), [{ names: ['www.example.org'] }]);
  for (const target of [compressed.length - 16, compressed.length - 4]) {
    const wrong = compressed.slice();
    // The record's name is a pointer, 16 bytes before the end.
    wrong[compressed.length - 15] = target;
    t.equal(parse(wrong), FAULT_DNS_NAME, `to ${target}`);
  }
});

t.test('what is no answer to one question teaches nothing', async (t) => {
  const answer = dnsAnswer('example.org', [A('example.org', '192.0.2.1')]);
  const change = (at: number, value: number): Uint8Array => answer.map((byte, i) => (i === at ? value : byte));
  t.equal(parse(change(2, 0x01)), FAULT_DNS_NO_ANSWER, 'a query');
  t.equal(parse(change(3, 0x83)), FAULT_DNS_NO_ANSWER, 'NXDOMAIN');
  t.equal(parse(change(5, 2)), FAULT_DNS_NO_ANSWER, 'two questions');
  t.equal(parse(answer.subarray(0, 11)), FAULT_DNS_SHORT);
  t.equal(parse(answer.subarray(0, answer.length - 1)), FAULT_DNS_SHORT);
  t.match(parse(change(answer.length - 10, 0xff)), [{ ttlSeconds: 0 }], 'RFC 2181 (8): a negative TTL is zero');
});

t.test('arbitrary bytes, and answers with bytes changed, never throw nor take long', async (t) => {
  const answer = dnsAnswer('www.example.org', [CNAME('www.example.org', 'a.example'), A('a.example', '192.0.2.1')], { compress: true });
  t.doesNotThrow(() => fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => void parse(bytes))));
  const changed = fc.property(fc.array(fc.tuple(fc.nat(answer.length - 1), fc.nat(255)), { maxLength: 6 }), (changes) => {
    const bytes = answer.slice();
    for (const [at, value] of changes) bytes[at] = value;
    const found = parse(bytes);
    return typeof found === 'string' || found.every(({ address }) => address.length === 4 || address.length === 16);
  });
  t.doesNotThrow(() => fc.assert(changed));
});
