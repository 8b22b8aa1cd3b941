import fc from 'fast-check';
import t from 'tap';
import { applyKey, FIRST_CHOICE, parseKeys, type TopChoice } from '../../src/control/top-choice.js';
import { renderTop, type TopKnowledge } from '../../src/control/top-view.js';
import type { ConnectionView } from '../../src/tunnel/connections.js';
import type { TunnelEvent } from '../../src/tunnel/events.js';
import type { PathStatus } from '../../src/tunnel/status.js';

function path(name: string, change: Partial<PathStatus> = {}): PathStatus {
  return {
    ...{ id: 0, name, local: '192.168.178.21:40000', remote: '203.0.113.199:5180', state: 'up', stateReason: 'it answers' },
    ...{ inStateMs: 5000, rttMs: 20.4, minRttMs: 20, lossRatio: 0.012, deliveryRateBytesPerSec: 6e6, rxBytes: 1.2e9, txBytes: 45e6 },
    ...{ rxBytesPerSec: 6e6, txBytesPerSec: 120e3, innerMtuBytes: 1440, priority: 0, backup: false },
    ...change,
  };
}

const CONNECTION: ConnectionView = {
  ...{ id: 1, peer: 'vps', direction: 'outgoing', source: '10.77.0.2:40000', destination: '198.51.100.7:443', state: 'open' },
  ...{
    rxBytes: 1e6,
    txBytes: 1e3,
    rxBytesPerSec: 6e6,
    txBytesPerSec: 1e3,
    unackedBytes: 0,
    queuedBytes: 0,
    peerWindowBytes: 1 << 20,
    idleMs: 3,
  },
  subflows: ['dsl', 'lte'].map((name, pathId) => ({
    ...{
      pathId,
      path: name,
      state: 'established',
      role: 'join-client',
      rttMs: 20,
      cwndBytes: 1e5,
      inflightBytes: 0,
      retransmittedBytes: 0,
    },
    ...{ rxBytes: 5e5, txBytes: 500, rxBytesPerSec: 3e6, txBytesPerSec: 500, backup: false, benched: pathId === 1 },
  })),
};

const EVENTS: TunnelEvent[] = ['a', 'b', 'c', 'd', 'e', 'f'].map((message, i) => ({
  ...{ type: 'notice', message, sequence: i + 1, time: `2026-11-28T12:00:0${i}.000Z`, monotonicMs: i },
}));

function known(paths: PathStatus[], count = 1): TopKnowledge {
  const peers = [{ name: 'vps', publicKey: 'k', state: 'up' as const, lastError: '', paths, connections: count }];
  return {
    status: { name: 'mpt0', state: 'up', pid: 7, uptimeMs: 65_000, peers, connections: count, counters: {} },
    connections: { total: count, connections: Array.from({ length: count }, (_, id) => ({ ...CONNECTION, id })) },
    events: EVENTS,
  };
}

const SIZE = { columns: 80, rows: 24 };
const texts = (what: TopKnowledge, choice: TopChoice, size = SIZE): string[] =>
  renderTop(what, choice, size).lines.map(({ text }) => text.trimEnd());

t.test('paths: totals, states, why one is not in use, the last events', async (t) => {
  const benched = { reason: 'streams waited for it', remainingMs: 12_000 };
  const lines = texts(
    known([path('dsl'), path('lte', { benched }), path('sat', { state: 'down', stateReason: 'no answer for 800 ms', rttMs: -1 })]),
    FIRST_CHOICE,
  );
  t.equal(lines.length, 24);
  t.equal(lines[0], 'mpt0 up 1 min 5 s  down 144 Mbit/s  up 2.9 Mbit/s  1 connection  1 of 1 peer up');
  t.equal(lines[1], '[paths]  connections   events   by configuration');
  t.match(lines[2], /^PEER +PATH +STATE +RTT +LOSS +DOWN +UP/);
  t.match(lines.slice(3, 8), [
    /^vps +dsl +up +20 ms +1\.2 % +48 Mbit\/s +960 kbit\/s/,
    /^vps +lte +benched/,
    '    lte is benched for 12 s more: streams waited for it',
    /^vps +sat +down +- +-/,
    '    sat is down for 5 s: no answer for 800 ms',
  ]);
  t.same(lines.slice(-6), ['LAST EVENTS', ...['c', 'd', 'e', 'f'].map((m, i) => `12:00:0${i + 2}  ${m}`), lines.at(-1)]);
  t.match(lines.at(-1), /q quit/);
});

t.test('connections with their subflows; more than fit are scrolled', async (t) => {
  const choice: TopChoice = { ...FIRST_CHOICE, view: 'connections' };
  const lines = texts(known([path('dsl')], 30), choice);
  t.match(lines[3], /^10\.77\.0\.2:40000 > 198\.51\.100\.7:443 +.*48 M +8\.0 k/);
  t.match(lines[4], /^ {2}dsl .*24 M/);
  t.match(lines[5], /^ {2}lte \(benched\)/);
  t.match(lines[1], /lines 1-20 of 90$/);
  const { scrollMax } = renderTop(known([path('dsl')], 30), choice, SIZE);
  t.equal(scrollMax, 70);
  t.match(texts(known([path('dsl')], 30), { ...choice, scroll: 1000 })[1], /lines 71-90 of 90$/, 'never beyond the end');
});

t.test('events: the newest first', async (t) => {
  t.same(texts(known([path('dsl')]), { ...FIRST_CHOICE, view: 'events' }).slice(3, 5), ['12:00:05  f', '12:00:04  e']);
});

t.test('paths by rate', async (t) => {
  const choice: TopChoice = { ...FIRST_CHOICE, pathOrder: 'rate' };
  const lines = texts(known([path('slow', { rxBytesPerSec: 1 }), path('fast', { rxBytesPerSec: 9e6 })]), choice);
  t.match(lines.slice(3, 5), [/fast/, /slow/]);
});

t.test('every size of terminal gets exactly its lines, none too long', async (t) => {
  const choices = fc.record({
    view: fc.constantFrom('paths', 'connections', 'events'),
    pathOrder: fc.constantFrom('configuration', 'rate', 'rtt', 'loss'),
    connectionOrder: fc.constantFrom('rate', 'bytes', 'idle'),
    paused: fc.boolean(),
    scroll: fc.nat(500),
  }) as fc.Arbitrary<TopChoice>;
  fc.assert(
    fc.property(choices, fc.integer({ min: 1, max: 250 }), fc.integer({ min: 1, max: 80 }), fc.nat(40), (choice, columns, rows, count) => {
      const paths = Array.from({ length: count }, (_, i) => path(`path${i}`, i % 3 === 0 ? { state: 'down' } : {}));
      const { lines } = renderTop(known(paths, count), choice, { columns, rows });
      return lines.length === rows && lines.every(({ text }) => [...text].length <= columns);
    }),
  );
  t.pass();
});

t.test('keys', async (t) => {
  t.same(parseKeys('p\u001b[A\u001bOB\u001b[5~\u001b[1;5C \u0003'), ['p', 'up', 'down', 'page-up', ' ', 'interrupt']);
  const press = (keys: string, choice: TopChoice | undefined = FIRST_CHOICE): TopChoice | undefined =>
    parseKeys(keys).reduce<TopChoice | undefined>((now, key) => now && applyKey(now, key, 70), choice);
  t.equal(press('q'), undefined);
  t.equal(press('\u0003'), undefined);
  t.match(press('c'), { view: 'connections' });
  t.match(press('cs'), { view: 'connections', connectionOrder: 'bytes' });
  t.match(press('ssss'), { pathOrder: 'configuration' });
  t.match(press(' '), { paused: true });
  t.match(press('  '), { paused: false });
  t.match(press('c\u001b[B\u001b[B\u001b[A'), { scroll: 1 });
  t.match(press('c\u001b[A'), { scroll: 0 });
  t.match(press('c\u001b[4~\u001b[B'), { scroll: 70 });
  t.match(press('c\u001b[Bp'), { view: 'paths', scroll: 0 });
  t.match(press('c\u001b[B', { ...FIRST_CHOICE, scroll: 5000 }), { scroll: 1 });
  t.same(press('xyz\u001b[24~'), FIRST_CHOICE);
});
