import fc from 'fast-check';
import t from 'tap';
import type { ByteStreamHandler } from '../../../src/mptcp-over-udp/byte-stream.js';
import { DnsStreams } from '../../../src/tunnel/steering/dns-streams.js';
import { dnsAnswer, dnsQuery } from './dns-messages.js';

const framed = (...messages: Uint8Array[]): Uint8Array =>
  Buffer.concat(messages.flatMap((message) => [Buffer.from([message.length >> 8, message.length & 255]), message]));
const answer = (id: number): Uint8Array => dnsAnswer('a.example', [{ name: 'a.example', type: 'A', ttl: 1, data: '192.0.2.1' }], { id });

/** A connection to a server of DNS, and an application that takes no more than `room` bytes at a time. */
function connection(holds: boolean, room = Number.POSITIVE_INFINITY) {
  const seen = { learned: 0, closed: 0, asked: Buffer.alloc(0), heard: Buffer.alloc(0), resumed: 0, waiting: [] as (() => void)[] };
  const listener = {
    learn: () => {
      seen.learned++;
      return holds;
    },
    hold: () => {},
    whenKnown: (goOn: () => void) => void seen.waiting.push(goOn),
  };
  const side = (key: 'asked' | 'heard'): ByteStreamHandler => ({
    onEstablished: () => {},
    onEnd: () => {},
    onWritable: () => {},
    onClosed: () => void seen.closed++,
    onData: (bytes, at, length) => {
      const taken = Math.min(room, length);
      seen[key] = Buffer.concat([seen[key], bytes.subarray(at, at + taken)]);
      return taken;
    },
  });
  const dns = new DnsStreams().watch(listener);
  return { seen, queries: dns.queries(side('asked')), answers: dns.answers(side('heard'), () => void seen.resumed++) };
}

/** As a stream does: what was not taken comes again. Ends when nothing is taken. */
function deliver(half: ByteStreamHandler, bytes: Uint8Array, step = bytes.length): Uint8Array {
  let rest = bytes;
  for (;;) {
    const taken = half.onData(rest, 0, Math.min(step, rest.length));
    rest = rest.subarray(taken);
    if (taken === 0 || rest.length === 0) return rest;
  }
}

t.test('all passes as it came, and each answer is read once however little is taken at a time', async (t) => {
  const asked = framed(dnsQuery('a.example', { id: 1 }), dnsQuery('a.example', { id: 2 }));
  const heard = framed(answer(2), answer(1), answer(3));
  for (const room of [1, 2, 7, 50, 1000]) {
    for (const step of [1, 3, 40, 1000]) {
      const { seen, queries, answers } = connection(false, room);
      t.equal(deliver(queries, asked, step).length, 0);
      t.equal(deliver(answers, heard, step).length, 0);
      t.equal(seen.learned, 2);
      t.ok(seen.asked.equals(asked) && seen.heard.equals(heard));
    }
  }
});

t.test('an answer that is to wait is not heard before it may go on; the next one waits too', async (t) => {
  const { seen, queries, answers } = connection(true);
  deliver(queries, framed(dnsQuery('a.example', { id: 1 }), dnsQuery('a.example', { id: 2 })));
  const first = framed(answer(1));
  const rest = deliver(answers, first, 20);
  t.ok(rest.length > 0 && seen.heard.length < first.length, `${seen.heard.length} of ${first.length} bytes`);
  const all = Buffer.concat([rest, framed(answer(2))]);
  t.equal(deliver(answers, all).length, all.length, 'whoever tries');
  t.equal(seen.resumed, 0);
  seen.waiting.shift()!();
  t.equal(seen.resumed, 1);
  const second = deliver(answers, all);
  t.equal(seen.learned, 2);
  t.equal(second.length, all.length, 'what came meanwhile is looked at before anything goes on');
  seen.waiting.shift()!();
  t.equal(deliver(answers, second).length, 0);
  t.ok(seen.heard.equals(framed(answer(1), answer(2))));
});

t.test('arbitrary bytes pass unchanged', async (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 400 }),
      fc.integer({ min: 1, max: 400 }),
      fc.integer({ min: 1, max: 50 }),
      (bytes, step, room) => {
        const { seen, queries, answers } = connection(true, room);
        deliver(queries, bytes, step);
        let rest = deliver(answers, bytes, step);
        for (let goOn = seen.waiting.shift(); goOn !== undefined; goOn = seen.waiting.shift()) {
          goOn();
          rest = deliver(answers, rest, step);
        }
        answers.onClosed('finished', 0);
        queries.onClosed('finished', 0);
        return seen.closed === 2 && rest.length === 0 && seen.asked.equals(bytes) && seen.heard.equals(bytes);
      },
    ),
  );
  t.pass();
});
