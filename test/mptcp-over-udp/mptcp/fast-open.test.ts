/** TCP Fast Open between two of our hosts over a simulated link (RFC 7413; RFC 8684, B): what it is for. */

import t from 'tap';
import type { ByteStreamHandler } from '../../../src/mptcp-over-udp/byte-stream.js';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import type { MptcpHostOptions } from '../../../src/mptcp-over-udp/mptcp/host-options.js';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { PatternPeer, patternByte, TwoHosts } from '../../sim/two-hosts.js';

const DELAY_MS = 50;
const REQUEST = new TextEncoder().encode('GET / HTTP/1.1');

class Client implements ByteStreamHandler {
  firstByteMs = -1;
  readBytes = 0;
  wrongCount = 0;
  onEstablished(): void {}
  onData(bytes: Uint8Array, at: number, length: number): number {
    for (let i = 0; i < length; i++) if (bytes[at + i] !== patternByte(this.readBytes + i)) this.wrongCount++;
    if (this.firstByteMs < 0) this.firstByteMs = hosts.clock.nowMs;
    this.readBytes += length;
    return length;
  }
  onEnd(): void {}
  onWritable(): void {}
  onClosed(): void {}
}

let hosts: TwoHosts;

function createHosts(paths: SimLinkOptions[], answerBytes: number, host: Partial<MptcpHostOptions> = {}, seed = 1): void {
  hosts = new TwoHosts({
    seed,
    paths,
    host: { fastOpen: true, fastOpenEarlyAnswers: true, ...host },
    serverEvents: {
      onIncoming: (connection) => {
        const server = new PatternPeer(hosts.clock, answerBytes);
        server.connection = connection;
        // Answers a request when it has all of it.
        connection.setHandler({
          onEstablished: () => undefined,
          onData: (_bytes, _at, length) => {
            server.fill();
            return length;
          },
          onEnd: () => undefined,
          onWritable: () => server.fill(),
          onClosed: () => undefined,
        });
        connection.accept();
      },
    },
  });
}

/** Time from connect to the first byte of the answer. */
function ask(fastOpen: boolean, forMs = 5_000): { firstByteMs: number; client: Client; connection: MptcpConnection } {
  const client = new Client();
  const startMs = hosts.clock.nowMs;
  const connection = hosts.connectFast(client, REQUEST, fastOpen);
  hosts.run(forMs);
  return { firstByteMs: client.firstByteMs - startMs, client, connection };
}

t.test('a request with the SYN has its answer a round trip sooner', async (t) => {
  createHosts([{ delayMs: DELAY_MS, rateBitsPerSec: 50_000_000 }], 3_000);
  const without = ask(false);
  const asking = ask(true);
  const withCookie = ask(true);
  t.ok(Math.abs(without.firstByteMs - 4 * DELAY_MS) < 5, `two round trips without: ${without.firstByteMs} ms`);
  t.ok(Math.abs(asking.firstByteMs - 4 * DELAY_MS) < 5, `two while a cookie is asked for: ${asking.firstByteMs} ms`);
  t.ok(Math.abs(withCookie.firstByteMs - 2 * DELAY_MS) < 5, `one with it: ${withCookie.firstByteMs} ms`);
  for (const { client } of [without, asking, withCookie]) t.equal(client.readBytes, 3_000);
});

t.test('a long answer begun before the third ACK goes on over both paths', async (t) => {
  const link = { delayMs: DELAY_MS, rateBitsPerSec: 20_000_000, queuePackets: 200 };
  createHosts([link, link], 4_000_000, { checksum: true });
  ask(true, 3_000);
  const { firstByteMs, client, connection } = ask(true, 10_000);
  t.ok(Math.abs(firstByteMs - 2 * DELAY_MS) < 5, `first byte after ${firstByteMs} ms`);
  t.equal(client.readBytes, 4_000_000);
  t.notOk(connection.fallback);
  t.equal(hosts.server.counters['mptcp-data-timeouts'], undefined, 'no data-level timeout');
});

t.test('random loss: every byte comes, whatever is lost of the handshake', async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    createHosts([{ delayMs: 10, rateBitsPerSec: 20_000_000 }], 100_000, {}, seed);
    ask(true, 1_000);
    for (const path of hosts.paths) path.up.lossRatio = path.down.lossRatio = 0.2;
    const { client } = ask(true, 60_000);
    t.equal(client.readBytes, 100_000, `seed ${seed}`);
    t.equal(client.wrongCount, 0, 'as they were sent');
  }
});
