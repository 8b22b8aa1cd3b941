/** What each scheduler chooses, subflow by subflow. */

import fc from 'fast-check';
import t from 'tap';
import { createBlest } from '../../../src/mptcp-over-udp/scheduler/blest.js';
import { createEcf } from '../../../src/mptcp-over-udp/scheduler/ecf.js';
import { createMinRtt } from '../../../src/mptcp-over-udp/scheduler/min-rtt.js';
import { createPriority } from '../../../src/mptcp-over-udp/scheduler/priority.js';
import { createRoundRobin } from '../../../src/mptcp-over-udp/scheduler/round-robin.js';
import { createSchedulerView, type SchedulerSubflow, type SchedulerView } from '../../../src/mptcp-over-udp/scheduler/scheduler.js';
import { SCHEDULERS } from '../../../src/mptcp-over-udp/scheduler/schedulers.js';

interface Shape {
  usable?: boolean;
  heldBack?: boolean;
  roomBytes?: number;
  rttMs?: number;
  rttvarMs?: number;
  priority?: number;
  cwndBytes?: number;
  inflightBytes?: number;
  timeoutCount?: number;
}

const MSS = 1_400;

function subflow(shape: Shape): SchedulerSubflow {
  const cwndBytes = shape.cwndBytes ?? 10 * MSS;
  return {
    usable: shape.usable ?? true,
    heldBack: shape.heldBack ?? false,
    roomBytes: shape.roomBytes ?? MSS,
    rttMs: shape.rttMs ?? 20,
    mssBytes: MSS,
    roundBytes: cwndBytes,
    priority: shape.priority ?? 0,
    recovery: {
      timeoutCount: shape.timeoutCount ?? 0,
      inflightBytes: shape.inflightBytes ?? 0,
      congestion: { cwndBytes },
      rtt: { rttvarMs: shape.rttvarMs ?? 1 },
    },
  };
}

function view(more: Partial<SchedulerView> = {}): SchedulerView {
  return { ...createSchedulerView(), nowMs: 1_000, queuedBytes: 100 * MSS, sendWindowBytes: 1_000 * MSS, ...more };
}

/** The fastest has its window full, the slower one has room. */
function fullAndSlow(fast: Shape = {}, slow: Shape = {}): [SchedulerSubflow, SchedulerSubflow] {
  return [subflow({ rttMs: 20, roomBytes: 0, inflightBytes: 10 * MSS, ...fast }), subflow({ rttMs: 200, ...slow })];
}

t.test(
  'every scheduler chooses a usable subflow with room, and a backup only when no regular one is usable (RFC 8684, 3.3.8)',
  async (t) => {
    const shapes = fc.array(
      fc.record({
        usable: fc.boolean(),
        heldBack: fc.boolean(),
        roomBytes: fc.constantFrom(0, MSS, 20 * MSS),
        rttMs: fc.integer({ min: 1, max: 500 }),
        rttvarMs: fc.integer({ min: 0, max: 100 }),
        priority: fc.integer({ min: 0, max: 3 }),
        cwndBytes: fc.integer({ min: MSS, max: 100 * MSS }),
        inflightBytes: fc.integer({ min: 0, max: 100 * MSS }),
        timeoutCount: fc.constantFrom(0, 0, 0, 1),
      }),
      { maxLength: 5 },
    );
    for (const [name, create] of Object.entries(SCHEDULERS)) {
      const scheduler = create().forConnection();
      t.equal(scheduler.name, name);
      fc.assert(
        fc.property(shapes, fc.integer({ min: 1, max: 1_000_000 }), fc.boolean(), (list, queuedBytes, urgent) => {
          const subflows = list.map(subflow);
          const chosen = scheduler.select(subflows, view({ queuedBytes, urgent }));
          const regularUsable = subflows.some((s) => s.usable && !s.heldBack);
          const candidates = subflows.filter((s) => s.usable && s.heldBack === !regularUsable && s.roomBytes > 0);
          if (chosen !== undefined) return candidates.includes(chosen);
          // A reinjection never waits for a better subflow.
          return !urgent || candidates.length === 0;
        }),
        { seed: 1 },
      );
    }
  },
);

t.test('a scheduler never waits while no subflow has anything in flight or a timer to wake it', async (t) => {
  // All have room: whoever is chosen, data must go.
  for (const create of Object.values(SCHEDULERS)) {
    const subflows = [subflow({ rttMs: 20 }), subflow({ rttMs: 300, priority: 1 })];
    t.not(create().select(subflows, view({ queuedBytes: 1, sendWindowBytes: 1 })), undefined, create().name);
  }
});

t.test('min-rtt: the lowest round trip that has room', async (t) => {
  const scheduler = createMinRtt();
  const subflows = [subflow({ rttMs: 30 }), subflow({ rttMs: 10 }), subflow({ rttMs: 5, roomBytes: 0 })];
  t.equal(scheduler.select(subflows, view()), subflows[1]);
});

t.test('BLEST: passes over a slow subflow that would block the send window', async (t) => {
  const scheduler = createBlest();
  const [fast, slow] = fullAndSlow();
  // n = 10; 1.19 * (10 + 9/2) * 10 = 172.6 segments are wanted by the fast one meanwhile, and the slow one would hold one.
  t.equal(scheduler.select([fast, slow], view({ sendWindowBytes: 173 * MSS })), undefined);
  t.equal(scheduler.select([fast, slow], view({ sendWindowBytes: 174 * MSS })), slow);
  t.equal(scheduler.select([fast, subflow({ rttMs: 200, inflightBytes: 20 * MSS })], view({ sendWindowBytes: 180 * MSS })), undefined);
});

t.test('BLEST: more cautious after the window did block, less with each round trip that it does not', async (t) => {
  const limitOf = (rounds: number, blockedEach: boolean): number => {
    const scheduler = createBlest();
    const [fast, slow] = fullAndSlow();
    let atView = view({ sendWindowBytes: 0 });
    for (let i = 0; i < rounds; i++) {
      atView = view({ nowMs: 1_000 + 20 * i, sendWindowBytes: 0, blockedCount: blockedEach ? i + 1 : 0 });
      scheduler.select([fast, slow], atView);
    }
    for (let segments = 100; ; segments++) {
      if (scheduler.select([fast, slow], { ...atView, sendWindowBytes: segments * MSS }) !== undefined) return segments;
    }
  };
  t.equal(limitOf(50, false), 146, 'lambda 1.0');
  t.equal(limitOf(50, true), 190, 'lambda 1.3');
});

t.test('ECF: waits for the fastest when little is queued, uses the slow one when much is', async (t) => {
  const [fast, slow] = fullAndSlow();
  t.equal(createEcf().select([fast, slow], view({ queuedBytes: 5 * MSS })), undefined);
  t.equal(createEcf().select([fast, slow], view({ queuedBytes: 500 * MSS })), slow);
  // 30 ms and 20 ms: a round trip of the slow one is over before two of the fast.
  const [near, hardlySlower] = fullAndSlow({}, { rttMs: 30 });
  t.equal(createEcf().select([near, hardlySlower], view({ queuedBytes: 5 * MSS })), hardlySlower);
});

t.test('ECF: who waits keeps waiting for a little more', async (t) => {
  const [fast, slow] = fullAndSlow();
  const scheduler = createEcf();
  // (1 + k/10) * 20 against 201, or 251 while waiting: the edge is at 90.5 and 115.6 segments.
  t.equal(scheduler.select([fast, slow], view({ queuedBytes: 100 * MSS })), slow);
  t.equal(scheduler.select([fast, slow], view({ queuedBytes: 80 * MSS })), undefined);
  t.equal(scheduler.select([fast, slow], view({ queuedBytes: 100 * MSS })), undefined);
  t.equal(scheduler.select([fast, slow], view({ queuedBytes: 120 * MSS })), slow);
  t.equal(scheduler.select([fast, slow], view({ queuedBytes: 100 * MSS })), slow);
});

t.test('BLEST and ECF: nobody waits for a subflow that has timed out, and a reinjection for none', async (t) => {
  for (const scheduler of [createBlest(), createEcf()]) {
    const waits = view({ queuedBytes: 5 * MSS, sendWindowBytes: 20 * MSS });
    const [fast, slow] = fullAndSlow();
    t.equal(scheduler.select([fast, slow], waits), undefined);
    t.equal(scheduler.select([fast, slow], { ...waits, urgent: true }), slow);
    const [dead, alive] = fullAndSlow({ timeoutCount: 1 });
    t.equal(scheduler.select([dead, alive], waits), alive);
  }
});

t.test('round-robin: in turn, passing over who has no room, and past one that went', async (t) => {
  const scheduler = createRoundRobin();
  const [a, b, c] = [subflow({}), subflow({}), subflow({})] as [SchedulerSubflow, SchedulerSubflow, SchedulerSubflow];
  const names = new Map([
    [a, 'a'],
    [b, 'b'],
    [c, 'c'],
  ]);
  const turns = (subflows: SchedulerSubflow[], count: number): string =>
    Array.from({ length: count }, () => names.get(scheduler.select(subflows, view()) as SchedulerSubflow)).join('');
  t.equal(turns([a, b, c], 5), 'abcab');
  const full = subflow({ roomBytes: 0 });
  t.equal(turns([a, full, c], 3), 'aca');
  t.equal(turns([b, c], 3), 'bcb', 'a has gone');
});

t.test('priority: the lowest number first, whatever the round trips', async (t) => {
  const scheduler = createPriority();
  const [cheap, dear] = [subflow({ rttMs: 300, priority: 1 }), subflow({ rttMs: 10, priority: 5 })];
  t.equal(scheduler.select([dear, cheap], view()), cheap);
  const equals = [subflow({ rttMs: 30, priority: 1 }), subflow({ rttMs: 10, priority: 1 })];
  t.equal(scheduler.select(equals, view()), equals[1]);
});

t.test('priority: spills over when the cheap one is full, not when a burst has to wait for a moment', async (t) => {
  const scheduler = createPriority();
  const dear = subflow({ priority: 5 });
  const paced = subflow({ priority: 1, roomBytes: 0, inflightBytes: 2 * MSS });
  t.equal(scheduler.select([paced, dear], view({ queuedBytes: 65_536 })), undefined, 'soon through');
  t.equal(scheduler.select([paced, dear], view({ queuedBytes: 65_537 })), dear, 'too much waits');
  const wide = subflow({ priority: 1, roomBytes: 0, cwndBytes: 400_000, inflightBytes: 400_000 });
  t.equal(scheduler.select([wide, dear], view({ queuedBytes: 100_000 })), undefined, 'a quarter of its window');
  t.equal(scheduler.select([wide, dear], view({ queuedBytes: 100_001 })), dear);
  const silent = subflow({ priority: 1, roomBytes: 0, timeoutCount: 1 });
  t.equal(scheduler.select([silent, dear], view({ queuedBytes: 1 })), dear, 'silent');
  t.equal(
    scheduler.select([subflow({ priority: 9, roomBytes: 0 }), dear], view({ queuedBytes: 1 })),
    dear,
    'a dearer one is not waited for',
  );
});

t.test('connections do not share what a scheduler remembers', async (t) => {
  for (const create of [createBlest, createEcf, createRoundRobin]) {
    const host = create();
    t.not(host.forConnection(), host.forConnection(), host.name);
  }
});
