import t from 'tap';
import { EventHub } from '../../src/tunnel/event-hub.js';
import { describeEvent, type TunnelEvent, type TunnelOccurrence } from '../../src/tunnel/events.js';
import type { PathLink, PathState, PeerLink, PeerState } from '../../src/tunnel/link.js';
import { LinkEvents } from '../../src/tunnel/link-events.js';

class Fixture {
  readonly logged: string[] = [];
  readonly told: TunnelEvent[] = [];
  readonly hub = new EventHub({ info: (line) => this.logged.push(`info ${line}`), warn: (line) => this.logged.push(`warn ${line}`) });
  readonly path = {
    name: 'dsl',
    state: 'probing' as PathState,
    stateReason: '',
    local: 'a:1',
    remote: 'b:2',
    innerMtuBytes: 1440,
  };
  readonly peer = { name: 'vps', state: 'connecting' as PeerState, lastError: '', initiator: true };
  bench: { reason: string; remainingMs: number } | undefined;
  readonly link = new LinkEvents(this.hub, () => this.bench);

  constructor() {
    this.hub.listen((event) => this.told.push(event));
  }

  changePath(change: Partial<Fixture['path']>): void {
    Object.assign(this.path, change);
    this.link.handlePathChange(this.peer as PeerLink, this.path as unknown as PathLink);
  }

  changePeer(change: Partial<Fixture['peer']>): void {
    Object.assign(this.peer, change);
    this.link.handlePeerChange(this.peer as PeerLink);
  }

  takeLog(): string[] {
    return this.logged.splice(0);
  }
}

t.test("a path's change is told once, with the state before and the reason", async (t) => {
  const f = new Fixture();
  f.changePath({});
  f.changePath({ state: 'up', stateReason: 'it answers' });
  f.changePath({});
  f.changePath({ state: 'suspect', stateReason: 'no answer for 300 ms' });
  t.same(f.takeLog(), [
    'info path vps/dsl: probing',
    'info path vps/dsl: probing -> up (it answers)',
    'info path vps/dsl: up -> suspect (no answer for 300 ms)',
  ]);
  t.match(f.told[2], { type: 'path', peer: 'vps', path: 'dsl', state: 'suspect', from: 'up', reason: 'no answer for 300 ms', sequence: 3 });
});

t.test('addresses and sizes have events of their own; an address that goes with the link has not', async (t) => {
  const f = new Fixture();
  f.changePath({ state: 'up' });
  f.takeLog();
  f.changePath({ local: 'c:1' });
  f.changePath({ innerMtuBytes: 1340 });
  f.changePath({ local: '' });
  f.changePath({ local: 'c:1' });
  f.changePath({ remote: 'd:9' });
  t.same(f.takeLog(), [
    'info path vps/dsl: from c:1 now (before: a:1)',
    'info path vps/dsl: packets of up to 1340 bytes fit (before: 1440)',
    'info path vps/dsl: to d:9 now (before: b:2)',
  ]);
});

t.test("a peer's change is told with its reason, and again when only the reason changed", async (t) => {
  const f = new Fixture();
  f.changePeer({ lastError: 'no answer' });
  f.changePeer({ lastError: 'no answer' });
  f.changePeer({ state: 'up', lastError: '' });
  f.changePeer({ state: 'down', lastError: 'vps said goodbye' });
  t.same(f.takeLog(), [
    'info peer vps: connecting (no answer)',
    'info peer vps: connecting -> up',
    'info peer vps: up -> down (vps said goodbye)',
  ]);
});

t.test('a bench ends when it ends, not when it was to end first', async (t) => {
  const f = new Fixture();
  f.bench = { reason: 'streams waited', remainingMs: 20 };
  f.link.handleBenched(f.peer as PeerLink, f.path as unknown as PathLink, 'streams waited');
  // Looked at again at the end of the first 20 ms: benched for longer by then.
  let looks = 0;
  Object.defineProperty(f, 'bench', { get: () => (++looks < 3 ? { reason: 'again', remainingMs: 5 } : undefined) });
  const endless = setInterval(() => {}, 1000);
  await new Promise<void>((resolve) => f.hub.listen((event) => event.type === 'path-bench-ended' && resolve()));
  clearInterval(endless);
  t.equal(looks, 3);
  t.same(f.takeLog(), ['info path vps/dsl: benched for 0 s (streams waited)', 'info path vps/dsl: back from the bench']);
});

t.test('256 events are kept; they are numbered without a gap and go forward in time', async (t) => {
  const f = new Fixture();
  for (let i = 0; i < 300; i++) f.hub.log.warn(`w${i}`);
  t.equal(f.hub.recent.length, 256);
  t.equal(f.hub.recent.at(-1)!.sequence, 300);
  t.equal(f.logged.at(-1), 'warn w299');
  for (const [i, event] of f.told.entries()) {
    if (i > 0 && event.sequence !== f.told[i - 1]!.sequence + 1) t.fail('gap');
    if (i > 0 && event.monotonicMs < f.told[i - 1]!.monotonicMs) t.fail('time');
  }
});

t.test('lines for people', async (t) => {
  const cases: [TunnelOccurrence, string][] = [
    [{ type: 'tunnel', state: 'started', name: 'mpt0' }, 'mpt0 has started'],
    [{ type: 'tunnel', state: 'ready', name: 'mpt0' }, 'mpt0 is up'],
    [{ type: 'tunnel', state: 'stopping', name: 'mpt0' }, 'mpt0 is stopping'],
    [{ type: 'tunnel', state: 'stopping', name: 'mpt0', reason: 'SIGTERM' }, 'stopping: SIGTERM'],
    [{ type: 'configuration', what: 'path lte: backup = true' }, 'configuration: path lte: backup = true'],
  ];
  for (const [event, line] of cases) t.equal(describeEvent(event), line);
});
