/** RFC 7413: what a client remembers, and the send buffer's first bytes, which may go with a SYN or not. */

import t from 'tap';
import { FastOpenCache } from '../../../src/mptcp-over-udp/tcp/fast-open-cache.js';
import type { FourTuple } from '../../../src/mptcp-over-udp/tcp/header-template.js';
import { BlockPool } from '../../../src/mptcp-over-udp/tcp/payload-block.js';
import { SendBuffer } from '../../../src/mptcp-over-udp/tcp/send-buffer.js';

function tupleTo(n: number, localPort = 1): FourTuple {
  const remoteAddress = Uint8Array.of(10, 0, n >> 8, n & 0xff);
  return { ipVersion: 4, localAddress: Uint8Array.of(10, 1, 0, 1), remoteAddress, localPort, remotePort: 80 };
}

t.test('a cookie is found by addresses, whatever the ports', async (t) => {
  const cache = new FastOpenCache();
  cache.note(tupleTo(1), Uint8Array.of(1, 2, 3, 4), 1_460);
  t.strictSame(cache.find(tupleTo(1, 99)), { cookie: Uint8Array.of(1, 2, 3, 4), mssBytes: 1_460 });
  t.equal(cache.find(tupleTo(2)), undefined);
});

t.test('the cache is bounded, and forgets what was used longest ago', async (t) => {
  const cache = new FastOpenCache();
  for (let n = 0; n < 1_024; n++) cache.note(tupleTo(n), Uint8Array.of(1, 2, 3, 4), 1_460);
  t.ok(cache.find(tupleTo(0)));
  cache.note(tupleTo(5_000), Uint8Array.of(1, 2, 3, 4), 1_460);
  t.ok(cache.find(tupleTo(0)), 'used lately');
  t.equal(cache.find(tupleTo(1)), undefined, 'the oldest');
});

t.test('a failure holds for ten minutes', async (t) => {
  const cache = new FastOpenCache();
  cache.noteFailure(tupleTo(1), 1_000);
  t.ok(cache.hasFailed(tupleTo(1), 600_999));
  t.notOk(cache.hasFailed(tupleTo(1), 601_000));
  t.notOk(cache.hasFailed(tupleTo(2), 1_000));
});

t.test('the first bytes of a send buffer, across its blocks: seen, then dropped', async (t) => {
  const pool = new BlockPool();
  const buffer = new SendBuffer(pool);
  const bytes = Uint8Array.from({ length: 5_000 }, (_, i) => i % 251);
  for (let at = 0; at < bytes.length; at += 1_000) buffer.append(bytes, at, 1_000);
  buffer.discard(300);
  t.equal(buffer.queuedBytes, 4_700);
  t.strictSame(buffer.peek(4_000), bytes.slice(300, 4_300));
  t.strictSame(buffer.peek(9_000), bytes.slice(300), 'no more than there is');
  t.equal(buffer.queuedBytes, 4_700, 'all of it stays');
  buffer.discard(4_700);
  t.equal(buffer.queuedBytes, 0);
  t.equal(pool.inUseBytes, 0, 'blocks go back');
});
