import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { PeerLink } from '../../../src/tunnel/link.js';
import type { PeerTrafficStatus } from '../../../src/tunnel/status.js';
import { PeerTotals } from '../../../src/tunnel/totals/peer-totals.js';
import { TotalsFile } from '../../../src/tunnel/totals/totals-file.js';

const MB = 1e6;
const NOTHING: PeerTrafficStatus = { rxBytes: 0, txBytes: 0, rxPackets: 0, txPackets: 0, rxConnections: 0, txConnections: 0 };

interface FakePeer {
  publicKey: string;
  enrolling: boolean;
  carried: PeerTrafficStatus;
}

/** A gateway with some peers, over a real file. */
class World {
  readonly peers: FakePeer[] = [];
  readonly warnings: string[] = [];
  readonly file: TotalsFile;
  totals: PeerTotals;
  nowMs = 0;
  wallMs = Date.UTC(2027, 3, 11);

  constructor(t: Test, directory = join(mkdtempSync(join(tmpdir(), 'mptunnel-totals-')), 'state')) {
    t.teardown(async () => {
      await this.totals.close();
      rmSync(directory, { recursive: true, force: true });
    });
    this.file = new TotalsFile('mpt0', (message) => this.warnings.push(message), directory);
    this.totals = this.start();
  }

  /** As after a crash: what was not written is gone, and the counters of what is there begin anew. */
  start(): PeerTotals {
    for (const peer of this.peers) peer.carried = NOTHING;
    this.totals = new PeerTotals({
      peers: () => this.peers as unknown as PeerLink[],
      carried: (peer) => (peer as unknown as FakePeer).carried,
      file: this.file,
      wallMs: () => this.wallMs + this.nowMs,
      nowMs: () => this.nowMs,
    });
    return this.totals;
  }

  add(publicKey: string, enrolling = false): FakePeer {
    const peer = { publicKey, enrolling, carried: NOTHING };
    this.peers.push(peer);
    return peer;
  }

  remove(peer: FakePeer): void {
    this.totals.handlePeerRemoved(peer as unknown as PeerLink);
    this.peers.splice(this.peers.indexOf(peer), 1);
  }

  of(peer: FakePeer): PeerTrafficStatus | undefined {
    return this.totals.of(peer as unknown as PeerLink);
  }

  pass(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; this.nowMs += 5000) this.totals.tick();
  }

  get written(): Record<string, PeerTrafficStatus> {
    return JSON.parse(readFileSync(this.file.path, 'utf8')).peers;
  }

  async untilWritten(key: string, rxBytes: number): Promise<void> {
    for (let i = 0; i < 1000; i++) {
      if (existsSync(this.file.path) && this.written[key]?.rxBytes === rxBytes) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`${rxBytes} bytes of ${key} were not written`);
  }
}

function carry(peer: FakePeer, bytes: number): void {
  const { rxBytes, rxPackets, rxConnections, txBytes, txPackets, txConnections } = peer.carried;
  peer.carried = {
    ...{ rxBytes: rxBytes + bytes, rxPackets: rxPackets + 10, rxConnections: rxConnections + 1 },
    ...{ txBytes: txBytes + 2 * bytes, txPackets: txPackets + 20, txConnections: txConnections + 2 },
  };
}

t.test('totals of each peer go on after the next start', async (t) => {
  const world = new World(t);
  const [one, two] = [world.add('one'), world.add('two')];
  carry(one, 5 * MB);
  await world.totals.close();
  world.start();
  carry(one, MB);
  const sum = { rxBytes: 6 * MB, txBytes: 12 * MB, rxPackets: 20, txPackets: 40, rxConnections: 2, txConnections: 4 };
  t.same(world.of(one), sum);
  t.same(world.of(two), NOTHING);
  await world.totals.close();
  world.start();
  t.match(world.of(one), sum, 'and after the one after that');
  t.equal(statSync(world.file.path).mode & 0o777, 0o600);
  t.same(world.warnings, []);
});

t.test('a crash loses no more than a minute, or little', async (t) => {
  const world = new World(t);
  const one = world.add('one');
  carry(one, 5 * MB);
  world.pass(55_000);
  t.notOk(existsSync(world.file.path), 'not every few seconds');
  world.pass(10_000);
  await world.untilWritten('one', 5 * MB);
  carry(one, 1000);
  world.pass(120_000);
  world.start();
  t.equal(world.of(one)?.rxBytes, 5 * MB, 'what was carried since is lost');
  carry(one, 1000);
  world.pass(610_000);
  await world.untilWritten('one', 5 * MB + 1000);
});

t.test('a peer that comes again under its key has what it had, and the holder of an invite is no peer', async (t) => {
  const world = new World(t);
  const [one, invited] = [world.add('one'), world.add('invited', true)];
  carry(one, MB);
  carry(invited, MB);
  world.remove(one);
  world.remove(invited);
  t.equal(world.of(world.add('one'))?.rxBytes, MB);
  world.peers.length = 0;
  await world.totals.close();
  world.start();
  t.equal(world.of(world.add('one'))?.rxBytes, MB, 'after a start, too');
  t.same(Object.keys(world.written), ['one']);
});

t.test('who has been no peer for long is forgotten', async (t) => {
  const world = new World(t);
  const [gone, there] = [world.add('gone'), world.add('there')];
  for (const peer of [gone, there]) carry(peer, MB);
  world.remove(gone);
  world.wallMs += 99 * 86_400_000;
  await world.totals.close();
  t.same(Object.keys(world.written), ['gone', 'there']);
  world.wallMs += 2 * 86_400_000;
  await world.totals.close();
  t.same(Object.keys(world.written), ['there']);
});

t.test('a damaged file is put aside and told, and the count begins anew', async (t) => {
  const world = new World(t);
  const one = world.add('one');
  carry(one, MB);
  await world.totals.close();
  for (const text of [readFileSync(world.file.path, 'utf8').slice(0, -20), '{"version":1,"peers":{"one":{"rxBytes":-1}}}', '']) {
    writeFileSync(world.file.path, text);
    world.start();
    t.same(world.of(one), NOTHING);
    t.match(world.warnings.splice(0), [
      /mpt0\.totals\.json is damaged: it lies in .*\.damaged now, and what peers carry is counted from nothing/,
    ]);
    t.equal(readFileSync(`${world.file.path}.damaged`, 'utf8'), text);
  }
});

t.test('a directory that cannot be written is told once', async (t) => {
  const directory = join(mkdtempSync(join(tmpdir(), 'mptunnel-totals-')), 'file');
  writeFileSync(directory, '');
  const world = new World(t, directory);
  world.warnings.length = 0;
  const one = world.add('one');
  for (let i = 0; i < 5; i++) {
    carry(one, MB);
    world.pass(65_000);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await world.totals.close();
  t.equal(world.warnings.filter((message) => message.includes('what peers have carried cannot be kept')).length, 1);
});
