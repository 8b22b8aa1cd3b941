/** The search for a way past the relay, at explicit times. */

import t from 'tap';
import type { Carrier } from '../../../src/tunnel/carrier/carrier.js';
import { emitAddressRecord, formatRemote } from '../../../src/tunnel/path/address-record.js';
import { AddressValidation } from '../../../src/tunnel/path/address-validation.js';
import { DirectWay, MAX_CANDIDATES } from '../../../src/tunnel/path/direct-way.js';

const RELAY = emitAddressRecord('203.0.113.2', 5181);
const place = (number: number): Uint8Array => emitAddressRecord(`198.51.100.${number}`, 4000);

function directWay(): DirectWay {
  const carrier = { relay: { address: RELAY } } as unknown as Carrier;
  let tokens = 0;
  return new DirectWay(carrier, (nowMs) => new AddressValidation(new Uint8Array(8).fill(++tokens), nowMs), 0);
}

/** Who is challenged now. */
function challenged(way: DirectWay, nowMs: number): string[] {
  const all: string[] = [];
  for (let one = way.pollChallenge(nowMs); one !== undefined; one = way.pollChallenge(nowMs)) {
    one.validation.handleChallengeSent(nowMs);
    all.push(formatRemote(one.address));
  }
  return all;
}

t.test('a round tells our places a few times, challenges those of the peer with growing pauses, and ends', async (t) => {
  const way = directWay();
  way.pollRound(0);
  t.ok(way.pollTell(0));
  t.notOk(way.pollTell(299));
  t.same(challenged(way, 10), [], 'nobody has told anything');
  way.handleTold([place(1), place(2)], 20);
  const times: number[] = [];
  let tells = 0;
  for (let nowMs = 20; nowMs < 45_000; nowMs += 10) {
    way.pollRound(nowMs);
    if (way.pollTell(nowMs)) tells++;
    if (challenged(way, nowMs).length === 2) times.push(nowMs);
    if (nowMs === 15_000) t.same([times, tells], [[20, 270, 770, 1770, 3770, 5770, 7770], 3], 'one round');
  }
  t.ok(
    times.some((nowMs) => nowMs > 23_000),
    'and another one, later',
  );
});

t.test('what the peer tells again changes nothing within a round; other places begin one', async (t) => {
  const way = directWay();
  way.handleTold([place(1)], 0);
  t.same(challenged(way, 0), [formatRemote(place(1))]);
  way.handleTold([place(1)], 100);
  t.same(challenged(way, 100), []);
  way.handleTold([place(3)], 100);
  t.same(challenged(way, 100), [formatRemote(place(3))]);
});

t.test('places are few, however many are told or send', async (t) => {
  const way = directWay();
  way.handleTold(
    Array.from({ length: 8 }, (_, i) => place(i + 1)),
    0,
  );
  t.equal(challenged(way, 0).length, MAX_CANDIDATES);
  for (let i = 0; i < 50; i++) way.noteSource(place(100 + i), 0, 60, 1);
  const seen = challenged(way, 1);
  t.same(
    seen,
    [146, 147, 148, 149].map((number) => formatRemote(place(number))),
    'the newest',
  );
});

t.test('a place that was not told gets at most three times what came from it', async (t) => {
  const way = directWay();
  const { validation } = way.noteSource(place(9), 0, 50, 0);
  t.ok(validation.trySpend(150));
  t.notOk(validation.trySpend(1));
  t.equal(way.noteSource(place(9), 0, 50, 1).validation, validation, 'it is known');
  t.ok(validation.trySpend(150));
});

t.test('an answer names the place that was challenged; without a challenge it is none', async (t) => {
  const way = directWay();
  way.handleTold([place(1), place(2)], 0);
  const first = way.pollChallenge(0)!;
  t.equal(way.match(first.validation.token), undefined);
  first.validation.handleChallengeSent(0);
  t.equal(way.match(first.validation.token), first);
  t.equal(way.match(new Uint8Array(8)), undefined);
});

t.test('a direct way that is lost is looked for again, later each time unless it held', async (t) => {
  const way = directWay();
  const again = (lostMs: number): number => {
    way.handleLost(lostMs);
    return way.nextTimeoutMs(true, lostMs) - lostMs;
  };
  way.handleDirect(1000);
  t.equal(way.nextTimeoutMs(false, 1000), Infinity);
  t.equal(again(10_000), 2000);
  way.handleDirect(20_000);
  t.equal(again(21_000), 4000);
  way.handleDirect(30_000);
  t.equal(again(31_000), 8000);
  way.handleDirect(40_000);
  t.equal(again(110_000), 2000, 'it held for a minute');
});
