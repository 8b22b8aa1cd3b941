import fc from 'fast-check';
import t from 'tap';
import { emitDnsQuery, parseDnsAnswer } from '../../../src/tunnel/carrier/dns-message.js';
import { TYPE_A, TYPE_AAAA } from '../../../src/tunnel/dns-records.js';

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
const QUESTION = '03 76 70 6e 07 65 78 61 6d 70 6c 65 03 6f 72 67 00';
/** An alias, then two addresses, all names compressed but the alias' target. */
const ANSWER = `0a0b 8180 0001 0003 0000 0000 ${QUESTION} 0001 0001
  c00c 0005 0001 0000003c 0006 03 676174 c010
  c02d 0001 0001 0000003c 0004 cb007101
  c02d 0001 0001 0000003c 0004 cb007102`;

t.test('a query is written as RFC 1035 has it', async (t) => {
  t.strictSame(emitDnsQuery(0x0a0b, 'vpn.example.org', TYPE_A), bytes(`0a0b 0100 0001 0000 0000 0000 ${QUESTION} 0001 0001`));
  t.strictSame(emitDnsQuery(0x0a0b, 'vpn.example.org.', TYPE_AAAA), bytes(`0a0b 0100 0001 0000 0000 0000 ${QUESTION} 001c 0001`));
  for (const name of ['', '.', 'a..b', `${'x'.repeat(64)}.org`, 'ä.org', 'a b', `${'abcdefgh.'.repeat(29)}org`])
    t.equal(emitDnsQuery(1, name, TYPE_A), undefined, name);
});

t.test('addresses of an answer, through an alias and compressed names', async (t) => {
  const query = emitDnsQuery(0x0a0b, 'VPN.example.org', TYPE_A)!;
  t.strictSame(parseDnsAnswer(query, bytes(ANSWER)), { kind: 'addresses', addresses: ['203.0.113.1', '203.0.113.2'] });
  t.strictSame(
    parseDnsAnswer(query, bytes(ANSWER).subarray(0, -3)),
    { kind: 'addresses', addresses: ['203.0.113.1'] },
    'what was cut off is missing',
  );
});

t.test('no such name, and a server that cannot say', async (t) => {
  const query = emitDnsQuery(0x0a0b, 'vpn.example.org', TYPE_A)!;
  const answer = (code: string) => bytes(`0a0b ${code} 0001 0000 0000 0000 ${QUESTION} 0001 0001`);
  t.strictSame(parseDnsAnswer(query, answer('8183')), { kind: 'no-name' });
  t.strictSame(parseDnsAnswer(query, answer('8182')), { kind: 'failed', rcode: 2 });
  t.strictSame(parseDnsAnswer(query, answer('8180')), { kind: 'addresses', addresses: [] });
});

t.test('what does not answer this very question is refused', async (t) => {
  const query = emitDnsQuery(0x0a0b, 'vpn.example.org', TYPE_A)!;
  const refused = [
    ANSWER.replace('0a0b', '0a0c'),
    ANSWER.replace('8180', '0100'),
    ANSWER.replace('03 76', '03 77'),
    ANSWER.replace('0001 0001', '001c 0001'),
    ANSWER.replace('0001 0003', '0000 0003'),
  ];
  for (const hex of refused) t.type(parseDnsAnswer(query, bytes(hex)), 'string');
});

t.test('arbitrary bytes never throw, behind a right beginning either', async (t) => {
  const query = emitDnsQuery(0x0a0b, 'vpn.example.org', TYPE_AAAA)!;
  const head = bytes(`0a0b 8180 0001 ffff 0000 0000 ${QUESTION} 001c 0001`);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (tail) => {
      parseDnsAnswer(query, tail);
      parseDnsAnswer(query, Uint8Array.from([...head, ...tail]));
    }),
    { numRuns: 2000 },
  );
  t.pass('all were read to an end');
});
