import t from 'tap';
import type { PathState } from '../../../src/tunnel/link.js';
import { PATH_STATE_TABLE, type PathInput, PathStateMachine } from '../../../src/tunnel/path/path-state.js';

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A path over a virtual wire: probes and data go out, answers come back after the round trip unless the wire is cut. */
class Wire {
  nowMs = 0;
  rttMs: number;
  cut = false;
  /** Of the way there and back together. */
  lossRatio = 0;
  readonly #random = seeded(7);
  readonly machine = new PathStateMachine(0);
  readonly log: { atMs: number; state: PathState }[] = [];
  readonly probesMs: number[] = [];
  #inFlight: { sentMs: number; backMs: number }[] = [];

  constructor(rttMs: number) {
    this.rttMs = rttMs;
    this.#note();
  }

  sendData(): void {
    this.#send();
  }

  /** Steps of 1 ms; `each` may send data. */
  run(untilMs: number, each?: (nowMs: number) => void): void {
    for (; this.nowMs < untilMs; this.nowMs++) {
      each?.(this.nowMs);
      for (const packet of this.#inFlight) {
        if (packet.backMs === this.nowMs && !this.cut) {
          this.machine.setRoundTrip(this.rttMs, this.rttMs / 8);
          this.machine.handleProof(packet.sentMs, this.nowMs);
        }
      }
      this.#inFlight = this.#inFlight.filter((packet) => packet.backMs > this.nowMs);
      if (this.machine.nextTimeoutMs(this.nowMs) <= this.nowMs) {
        this.machine.handleTimeout(this.nowMs);
        if (this.machine.pollProbe(this.nowMs)) {
          this.probesMs.push(this.nowMs);
          this.#send();
        }
      }
      this.#note();
    }
  }

  #send(): void {
    this.machine.noteElicitingSent(this.nowMs);
    if (!this.cut && this.#random() >= this.lossRatio) this.#inFlight.push({ sentMs: this.nowMs, backMs: this.nowMs + this.rttMs });
  }

  #note(): void {
    if (this.log.at(-1)?.state !== this.machine.state) this.log.push({ atMs: this.nowMs, state: this.machine.state });
  }

  states(): PathState[] {
    return this.log.map((entry) => entry.state);
  }

  lastAtMs(state: PathState): number {
    return this.log.findLast((entry) => entry.state === state)?.atMs ?? -1;
  }
}

t.test('the table of path states', async (t) => {
  t.same(PATH_STATE_TABLE, {
    probing: { proven: 'up', silence: 'down', 'link-lost': 'down' },
    up: { silence: 'suspect', 'link-lost': 'down', 'session-lost': 'probing' },
    suspect: { proven: 'up', silence: 'down', 'link-lost': 'down', 'session-lost': 'probing' },
    down: { proven: 'up', 'link-back': 'probing' },
  });
  for (const goal of ['up', 'down', 'probing'] as const) {
    for (const from of Object.keys(PATH_STATE_TABLE) as PathState[]) {
      const reached = new Set<PathState>([from]);
      for (const state of reached) {
        for (const input of Object.keys(PATH_STATE_TABLE[state]) as PathInput[]) reached.add(PATH_STATE_TABLE[state][input]!);
      }
      t.ok(reached.has(goal), `${from} can reach ${goal}`);
    }
  }
});

t.test('an idle path is probed once a second and stays up', async (t) => {
  const wire = new Wire(40);
  wire.run(30_000);
  t.same(wire.states(), ['probing', 'up']);
  const gaps = wire.probesMs.slice(-10).map((at, i, all) => (i === 0 ? 1000 : at - all[i - 1]!));
  for (const gap of gaps) t.ok(gap >= 1000 && gap <= 1100, `gap ${gap}`);
});

t.test('random loss is not silence: a path that loses 2 of 100 each way stays up', async (t) => {
  for (const rttMs of [5, 20, 60, 100, 200, 400]) {
    for (const busy of [false, true]) {
      const wire = new Wire(rttMs);
      wire.run(1000);
      wire.lossRatio = 0.04;
      wire.run(600_000, (nowMs) => {
        if (busy) wire.machine.noteBusy(nowMs);
      });
      const suspicions = wire.states().filter((state) => state === 'suspect').length;
      t.ok(suspicions <= 6, `rtt ${rttMs}${busy ? ', busy' : ''}: ${suspicions} suspicions in ten minutes`);
      t.notOk(wire.states().includes('down'));
    }
  }
});

t.test('an idle path with a round trip of satellites does not flap', async (t) => {
  const wire = new Wire(900);
  wire.run(30_000);
  t.same(wire.states(), ['probing', 'up']);
});

t.test('a busy path that falls silent is suspect within a second, down after 1.5 s more', async (t) => {
  for (const rttMs of [5, 40, 100, 200]) {
    const wire = new Wire(rttMs);
    const load = (nowMs: number) => {
      if (nowMs % 10 === 0) wire.sendData();
      wire.machine.noteBusy(nowMs);
    };
    wire.run(5000, load);
    t.equal(wire.machine.state, 'up');
    wire.cut = true;
    wire.run(9000, load);
    t.same(wire.states().slice(-3), ['up', 'suspect', 'down'], `rtt ${rttMs}`);
    const noticedMs = wire.lastAtMs('suspect') - 5000;
    t.ok(noticedMs <= 1000, `noticed after ${noticedMs} ms`);
    t.equal(wire.lastAtMs('down') - wire.lastAtMs('suspect'), 1500);
  }
});

t.test('a busy path that falls silent is in doubt after a repetition has had no answer, half a silence before it is suspect', async (t) => {
  for (const [rttMs, limitMs] of [
    [20, 160],
    [60, 260],
    [150, 520],
  ] as const) {
    const wire = new Wire(rttMs);
    const doubts: number[] = [];
    const watch = (nowMs: number): void => {
      if (nowMs % 10 === 0) wire.sendData();
      if (wire.machine.doubtful && wire.machine.state === 'up') doubts.push(nowMs);
    };
    wire.lossRatio = 0.02;
    wire.run(5000, watch);
    t.strictSame(doubts, [], `${rttMs} ms: loss is no reason for doubt`);
    wire.cut = true;
    wire.run(8000, watch);
    t.ok(doubts[0]! - 5000 <= limitMs, `${rttMs} ms: in doubt after ${doubts[0]! - 5000} ms`);
    const suspectMs = wire.log.find(({ state, atMs }) => state === 'suspect' && atMs > 5000)!.atMs;
    t.ok(doubts[0]! < suspectMs, 'before it is suspect');
    wire.cut = false;
    wire.run(9000);
    t.notOk(wire.machine.doubtful, 'the first answer ends it');
  }
});

t.test('a path without data of its own is suspect within a second while its peer is busy elsewhere', async (t) => {
  for (const rttMs of [5, 40, 100, 200]) {
    for (const cutAtMs of [5000, 5060, 5120, 5180, 5240]) {
      const wire = new Wire(rttMs);
      const busy = (nowMs: number) => wire.machine.noteBusy(nowMs);
      wire.run(cutAtMs, busy);
      wire.cut = true;
      wire.run(cutAtMs + 1500, busy);
      t.equal(wire.machine.state, 'suspect');
      const noticedMs = wire.lastAtMs('suspect') - cutAtMs;
      t.ok(noticedMs <= 1000, `rtt ${rttMs}, cut at ${cutAtMs}: noticed after ${noticedMs} ms`);
    }
  }
});

t.test('a suspect path is probed every 100 ms and is up again with the first answer', async (t) => {
  const wire = new Wire(20);
  wire.run(5000, (nowMs) => wire.machine.noteBusy(nowMs));
  wire.cut = true;
  wire.run(6000);
  t.equal(wire.machine.state, 'suspect');
  const suspectMs = wire.lastAtMs('suspect');
  const probes = wire.probesMs.filter((at) => at >= suspectMs);
  t.equal(probes[0], suspectMs, 'the first probe leaves at once');
  t.equal(probes[1], suspectMs + 100);
  wire.cut = false;
  wire.run(6200);
  t.equal(wire.machine.state, 'up');
  t.ok(wire.lastAtMs('up') - 6000 <= 100 + 20, `up after ${wire.lastAtMs('up') - 6000} ms`);
});

t.test('a path that is down is probed every 500 ms, after a minute every 2 s, and comes back with one answer', async (t) => {
  const wire = new Wire(20);
  wire.run(2000);
  wire.cut = true;
  wire.run(120_000);
  t.equal(wire.machine.state, 'down');
  const downMs = wire.lastAtMs('down');
  const early = wire.probesMs.filter((at) => at > downMs + 1000 && at < downMs + 50_000);
  const late = wire.probesMs.filter((at) => at > downMs + 65_000);
  for (let i = 1; i < early.length; i++) t.equal(early[i]! - early[i - 1]!, 500);
  for (let i = 1; i < late.length; i++) t.equal(late[i]! - late[i - 1]!, 2000);
  wire.cut = false;
  wire.run(122_500);
  t.equal(wire.machine.state, 'up');
});

t.test('an answer to something sent before suspicion proves nothing', async (t) => {
  const machine = new PathStateMachine(0);
  machine.handleProof(0, 10);
  machine.noteElicitingSent(1000);
  t.ok(machine.handleTimeout(1800));
  t.equal(machine.state, 'suspect');
  t.notOk(machine.handleProof(1000, 1810));
  t.equal(machine.state, 'suspect');
  t.ok(machine.handleProof(1800, 1830));
  t.equal(machine.state, 'up');
});

t.test('a path that sends nothing that demands an answer never becomes suspect', async (t) => {
  const machine = new PathStateMachine(0);
  machine.handleProof(0, 10);
  t.notOk(machine.handleTimeout(1_000_000));
  t.equal(machine.state, 'up');
});

t.test('link loss takes the path down at once, without probes until the link is back', async (t) => {
  const machine = new PathStateMachine(0);
  machine.handleProof(0, 10);
  t.ok(machine.handleLinkLost(500));
  t.equal(machine.state, 'down');
  t.equal(machine.nextTimeoutMs(500), Infinity);
  t.notOk(machine.pollProbe(100_000));
  t.ok(machine.handleLinkBack(100_000));
  t.equal(machine.state, 'probing');
  t.ok(machine.pollProbe(100_000), 'probed at once');
  t.notOk(machine.handleProof(400, 100_001), 'an answer from before the loss is no proof');
  t.ok(machine.handleProof(100_000, 100_020));
  t.equal(machine.state, 'up');
});

t.test('a path that is down is probed at once when its peer is heard, but not for every packet', async (t) => {
  const machine = new PathStateMachine(0);
  machine.handleProof(0, 10);
  machine.handleSendRefused(500);
  t.ok(machine.pollProbe(1000));
  t.notOk(machine.handleReceived(1050), 'a probe is on its way');
  t.ok(machine.handleReceived(1100));
  t.ok(machine.pollProbe(1100));
  t.notOk(machine.handleReceived(1110));
  t.equal(machine.state, 'down', 'hearing the peer is no proof');
});

t.test('a refused send takes the path down but it goes on being probed', async (t) => {
  const machine = new PathStateMachine(0);
  machine.handleProof(0, 10);
  t.ok(machine.handleSendRefused(500));
  t.equal(machine.state, 'down');
  t.ok(machine.nextTimeoutMs(500) <= 1000);
});

t.test('a lost session sends a path back to probing', async (t) => {
  const machine = new PathStateMachine(0);
  machine.handleProof(0, 10);
  t.ok(machine.handleSessionLost(50));
  t.equal(machine.state, 'probing');
  t.notOk(machine.handleProof(20, 60));
  t.ok(machine.handleProof(55, 60));
});
