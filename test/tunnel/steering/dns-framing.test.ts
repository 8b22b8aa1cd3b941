import fc from 'fast-check';
import t from 'tap';
import { DnsConversation } from '../../../src/tunnel/steering/dns-conversation.js';
import { DnsFraming, DnsRoom } from '../../../src/tunnel/steering/dns-framing.js';
import { dnsAnswer, dnsQuery } from './dns-messages.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const framed = (...messages: Uint8Array[]): Uint8Array =>
  Buffer.concat(messages.flatMap((message) => [Buffer.from([message.length >> 8, message.length & 255]), message]));

/** What `pieces` are read as. */
function read(pieces: readonly Uint8Array[], maxBytes = 1000, room = new DnsRoom(1000)): string[] {
  const messages: string[] = [];
  const framing = new DnsFraming(maxBytes, room, (bytes, at, length) => messages.push(hex(bytes.subarray(at, at + length))));
  for (const piece of pieces) framing.feed(Buffer.concat([Buffer.of(99), piece, Buffer.of(99)]), 1, piece.length);
  return messages;
}

t.test('messages are read whole wherever the stream is cut', async (t) => {
  const messages = [
    dnsAnswer('a.example', [{ name: 'a.example', type: 'A', ttl: 1, data: '192.0.2.1' }]),
    Uint8Array.of(1),
    dnsQuery('b.example'),
  ];
  const bytes = framed(...messages);
  const expected = messages.map(hex);
  t.same(read([bytes]), expected);
  t.same(read(Array.from(bytes, (byte) => Uint8Array.of(byte))), expected, 'byte by byte');
  for (let cut = 0; cut <= bytes.length; cut++) t.same(read([bytes.subarray(0, cut), bytes.subarray(cut)]), expected, `at ${cut}`);
});

t.test('an empty message is none, and of a long one its beginning is visited', async (t) => {
  const long = Uint8Array.from({ length: 300 }, (_, i) => i & 255);
  const bytes = framed(new Uint8Array(0), long, Uint8Array.of(5));
  const expected = [hex(long.subarray(0, 12)), '05'];
  t.same(read([bytes], 12), expected);
  t.same(
    read(
      Array.from(bytes, (byte) => Uint8Array.of(byte)),
      12,
    ),
    expected,
  );
});

t.test('without room what is cut is passed over, and what follows is read', async (t) => {
  const room = new DnsRoom(50);
  const [large, small] = [new Uint8Array(60).fill(1), new Uint8Array(40).fill(2)];
  const cut = (bytes: Uint8Array): Uint8Array[] => [bytes.subarray(0, 10), bytes.subarray(10)];
  t.same(read([...cut(framed(large)), ...cut(framed(small)), framed(large)], 1000, room), [hex(small), hex(large)]);
  t.ok(room.take(50), 'nothing is kept');
  room.give(50);
  const framing = new DnsFraming(1000, room, () => t.fail('closed'));
  framing.feed(framed(small), 0, 20);
  t.notOk(room.take(50));
  framing.close();
  t.ok(room.take(50), 'nor after the end of a connection');
  framing.feed(framed(small), 20, 22);
});

t.test('as a plain reader would, for arbitrary bytes in arbitrary pieces', async (t) => {
  const naive = (bytes: Uint8Array): string[] => {
    const messages: string[] = [];
    for (let at = 0; at + 2 <= bytes.length; ) {
      const length = bytes[at]! * 256 + bytes[at + 1]!;
      const visited = Math.min(length, 700);
      if (visited > 0 && at + 2 + visited <= bytes.length) messages.push(hex(bytes.subarray(at + 2, at + 2 + visited)));
      at += 2 + length;
    }
    return messages;
  };
  // Lengths that are mostly small, or few messages would end.
  const bytes = fc.array(fc.tuple(fc.constantFrom(0, 0, 0, 1, 255), fc.nat(40), fc.uint8Array({ maxLength: 60 })), { maxLength: 12 });
  fc.assert(
    fc.property(bytes, fc.array(fc.nat(500), { maxLength: 8 }), (parts, cuts) => {
      const stream = Buffer.concat(parts.map(([high, low, rest]) => Buffer.concat([Buffer.of(high, low), rest])));
      const places = [0, ...cuts.map((cut) => Math.min(cut, stream.length)).sort((a, b) => a - b), stream.length];
      const pieces = places.slice(1).map((end, i) => stream.subarray(places[i], end));
      t.same(read(pieces, 700), naive(stream));
    }),
  );
});

t.test('an answer teaches where its question was asked on the connection, once', async (t) => {
  const learned: string[] = [];
  const conversation = new DnsConversation(new DnsRoom(1000), (bytes, at, length) => {
    learned.push(hex(bytes.subarray(at, at + length)));
    return learned.length === 1;
  });
  const answer = (id: number): Uint8Array => dnsAnswer('a.example', [{ name: 'a.example', type: 'A', ttl: 1, data: '192.0.2.1' }], { id });
  const hear = (bytes: Uint8Array): boolean => conversation.handleAnswers(bytes, 0, bytes.length);
  t.notOk(hear(framed(answer(3))), 'nobody has asked');
  const queries = framed(dnsQuery('a.example', { id: 3 }), dnsQuery('a.example', { id: 4 }), Uint8Array.of(0, 5));
  conversation.handleQueries(queries, 0, queries.length);
  const bytes = framed(answer(4), answer(5), answer(3), answer(3));
  t.ok(hear(bytes), 'the first is to wait');
  t.same(learned, [hex(answer(4)), hex(answer(3))]);
  t.notOk(hear(framed(answer(3))));
});
