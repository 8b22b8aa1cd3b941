import t from 'tap';
import { parseIp } from '../../../src/tun/ip-prefix.js';
import { DomainBook, MAX_ADDRESSES } from '../../../src/tunnel/steering/domain-book.js';
import { ResolveSchedule } from '../../../src/tunnel/steering/resolve-schedule.js';

const WEB = parseIp('198.51.100.2')!;
const GRACE_MS = 300_000;

function book(...patterns: string[]): DomainBook {
  const made = new DomainBook();
  made.setPatterns(patterns);
  return made;
}

const has = (of: DomainBook, pattern: string, nowMs: number, address = WEB): boolean =>
  of.has([pattern], address, 0, address.length, nowMs);

t.test('a name fits itself, and the wildcards above it', async (t) => {
  const of = book('example.org', '*.example.org', '*.org', 'other.example');
  t.same(of.patternsOf(['example.org']), ['example.org', '*.org']);
  t.same(of.patternsOf(['a.b.example.org']), ['*.example.org', '*.org']);
  t.same(of.patternsOf(['x.example', 'other.example']), ['other.example'], 'an alias counts as well');
  t.same(of.patternsOf(['notexample.org']), ['*.org']);
});

t.test('an address stays for its TTL and a grace, and longer when it is heard again', async (t) => {
  const of = book('example.org');
  t.equal(of.learn(['example.org'], WEB, 60, 0), 60_000 + GRACE_MS);
  t.ok(has(of, 'example.org', 60_000 + GRACE_MS - 1));
  t.notOk(has(of, 'example.org', 60_000 + GRACE_MS));
  t.notOk(has(of, 'other.example', 0));
  t.notOk(has(of, 'example.org', 0, parseIp('198.51.100.3')!));
  of.learn(['example.org'], WEB, 5, 50_000);
  t.ok(has(of, 'example.org', 60_000 + GRACE_MS - 1), 'a shorter time takes nothing back');
  of.learn(['example.org'], WEB, 60, 50_000);
  t.ok(has(of, 'example.org', 100_000 + GRACE_MS));
  t.same(of.addressesOf(['example.org'], 100_000), [{ address: '198.51.100.2', remainingMs: 10_000 + GRACE_MS }]);
  of.expire(110_000 + GRACE_MS);
  t.equal(of.addressCount, 0);
});

t.test('patterns that go take their addresses along, those that stay keep them', async (t) => {
  const of = book('a.example', 'b.example');
  of.learn(['a.example', 'b.example'], WEB, 60, 0);
  of.setPatterns(['b.example', 'c.example']);
  t.notOk(has(of, 'a.example', 0));
  t.ok(has(of, 'b.example', 0));
  t.equal(of.addressCount, 1);
});

t.test('memory is bounded: what was heard of least lately makes room', async (t) => {
  const of = book('*.example', 'b.example');
  const address = (i: number): Uint8Array => new Uint8Array([10, i >> 16, i >> 8, i]);
  for (let i = 0; i < MAX_ADDRESSES; i++) of.learn(['*.example'], address(i), 3600, 0);
  of.learn(['*.example'], address(0), 3600, 1);
  of.learn(['*.example'], address(MAX_ADDRESSES), 3600, 2);
  t.equal(of.addressCount, MAX_ADDRESSES);
  t.ok(has(of, '*.example', 3, address(0)), 'heard again');
  t.notOk(has(of, '*.example', 3, address(1)));
  of.learn(['b.example'], WEB, 60, 3);
  t.equal(of.addressCount, MAX_ADDRESSES);
  t.ok(has(of, 'b.example', 3));
  t.notOk(has(of, '*.example', 3, address(2)));
});

t.test('names are asked for at once, as their TTL ends, and sooner and later while there is no answer', async (t) => {
  const schedule = new ResolveSchedule();
  schedule.setNames(['a.example', 'b.example'], 0);
  t.same(schedule.takeDue(0), ['a.example', 'b.example']);
  t.same(schedule.takeDue(0), [], 'each is under way once');
  t.equal(schedule.nextTimeoutMs(), Number.POSITIVE_INFINITY);
  schedule.handleAnswer('a.example', 600, 100);
  schedule.handleAnswer('b.example', undefined, 100);
  t.equal(schedule.nextTimeoutMs(), 2100);
  t.same(schedule.takeDue(2100), ['b.example']);
  schedule.handleAnswer('b.example', undefined, 2200);
  t.equal(schedule.nextTimeoutMs(), 6200, 'twice as long');
  t.same(schedule.takeDue(6200), ['b.example']);
  schedule.handleAnswer('b.example', 0, 6200);
  t.equal(schedule.nextTimeoutMs(), 36_200, 'a TTL of nothing is asked for every 30 s');
  schedule.setNames(['a.example'], 7000);
  t.equal(schedule.nextTimeoutMs(), 600_100);
  schedule.handleAnswer('b.example', 1, 7000);
  t.equal(schedule.nextTimeoutMs(), 600_100, 'an answer that nobody waits for any more');
});
