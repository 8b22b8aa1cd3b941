import t from 'tap';
import { encodeFrame } from '../../../src/control/control-frames.js';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import { CONNECTIONS_PAGE_MAX_COUNT, type ConnectionQuery } from '../../../src/tunnel/connections.js';
import { ConnectionList, type ListedConnection } from '../../../src/tunnel/planes/connection-list.js';

/** What the list reads of a connection, and no more. */
function fakeConnection(token: number, subflowCount: number) {
  return {
    local: { token },
    role: 'client',
    tuple: { localAddress: Uint8Array.of(10, 77, 0, 2), localPort: 40_000, remoteAddress: Uint8Array.of(198, 51, 100, 7), remotePort: 443 },
    finishing: false,
    closed: false,
    remoteDataFinOffset: -1,
    reassembly: { readOffset: 1 },
    dataUna: 1,
    dataNxt: 1,
    sendBuffer: { queuedBytes: 0 },
    peerWindowEdge: 65_536,
    lastActivityMs: 0,
    subflows: Array.from({ length: subflowCount }, (_, pathId) => ({
      pathId,
      state: 'established',
      role: pathId === 0 ? 'capable-client' : 'join-client',
      confirmed: true,
      remoteBackup: false,
      benched: pathId === 1,
      rcvNxt: 1,
      recovery: {
        sndUna: 1,
        retransmittedBytes: 0,
        rtt: { srttMs: 20 },
        congestion: { cwndBytes: 14_000 },
        queue: { inflightBytes: 0 },
      },
    })),
  };
}

type Fake = ReturnType<typeof fakeConnection>;

function listed(fakes: Iterable<Fake>): ListedConnection[] {
  return [...fakes].map((fake) => ({ peer: 'vps', connection: fake as unknown as MptcpConnection, pathName: (id) => `path${id}` }));
}

const QUERY: ConnectionQuery = { order: 'rate', offset: 0, limit: 10 };

t.test('the second look knows rates, of connections and of their subflows; a third that comes too soon repeats them', async (t) => {
  const list = new ConnectionList();
  const fake = fakeConnection(7, 2);
  t.match(list.page(listed([fake]), QUERY, 1000), {
    total: 1,
    connections: [{ id: 7, rxBytesPerSec: -1, subflows: [{ txBytesPerSec: -1 }, {}] }],
  });
  fake.reassembly.readOffset += 50_000;
  fake.subflows[1]!.rcvNxt += 20_000;
  const second = list.page(listed([fake]), QUERY, 3000).connections[0];
  t.match(second, {
    ...{ peer: 'vps', direction: 'outgoing', source: '10.77.0.2:40000', destination: '198.51.100.7:443', state: 'open', rxBytes: 50_000 },
    ...{ rxBytesPerSec: 25_000, txBytesPerSec: 0, peerWindowBytes: 65_535, idleMs: 3000 },
    subflows: [
      { path: 'path0', rxBytesPerSec: 0, benched: false },
      { path: 'path1', rxBytesPerSec: 10_000, benched: true, rttMs: 20, cwndBytes: 14_000 },
    ],
  });
  fake.reassembly.readOffset += 50_000;
  t.equal(list.page(listed([fake]), QUERY, 3100).connections[0]!.rxBytesPerSec, 25_000);
});

t.test('10,000 connections: the fastest first, page by page, and a page fits into a frame', async (t) => {
  const list = new ConnectionList();
  const fakes = Array.from({ length: 10_000 }, (_, i) => fakeConnection(i, 8));
  list.page(listed(fakes), { ...QUERY, limit: 0 }, 0);
  for (const [i, fake] of fakes.entries()) fake.dataUna += ((i * 7919) % 10_000) * 1000;
  const page = list.page(listed(fakes), { ...QUERY, limit: 100_000 }, 1000);
  t.equal(page.total, 10_000);
  t.equal(page.connections.length, CONNECTIONS_PAGE_MAX_COUNT, 'no more than a page, whatever was asked');
  const rates = page.connections.map(({ txBytesPerSec }) => txBytesPerSec);
  t.equal(rates[0], 9_999_000);
  t.same(
    rates,
    rates.toSorted((a, b) => b - a),
  );
  t.doesNotThrow(() => encodeFrame({ id: 1, ok: true, page }));
  const next = list.page(listed(fakes), { ...QUERY, offset: CONNECTIONS_PAGE_MAX_COUNT, limit: 1 }, 1100);
  t.equal(next.connections[0]!.txBytesPerSec, 9_999_000 - CONNECTIONS_PAGE_MAX_COUNT * 1000);
});

t.test('other orders, and connections that close or begin', async (t) => {
  const list = new ConnectionList();
  const [busy, idle] = [fakeConnection(1, 1), fakeConnection(2, 1)];
  busy.lastActivityMs = 900;
  busy.dataUna = 500;
  idle.lastActivityMs = 100;
  const ids = (order: ConnectionQuery['order']): number[] =>
    list.page(listed([idle, busy]), { ...QUERY, order }, 1000).connections.map(({ id }) => id);
  t.same(ids('bytes'), [1, 2]);
  t.same(ids('idle'), [2, 1]);
  busy.finishing = true;
  idle.subflows[0]!.confirmed = false;
  t.same(
    list.page(listed([busy, idle]), { ...QUERY, order: 'bytes' }, 2000).connections.map(({ state }) => state),
    ['closing', 'opening'],
  );
});
