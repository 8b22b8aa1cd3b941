import t from 'tap';
import { BlockPool } from '../../../src/mptcp-over-udp/tcp/payload-block.js';
import { RetransmissionQueue } from '../../../src/mptcp-over-udp/tcp/retransmission-queue.js';

t.test('what was deemed lost and is SACKed after all is neither lost nor in flight', async (t) => {
  const queue = new RetransmissionQueue(new BlockPool());
  const records = [1, 1001, 2001].map((start) => queue.push(start, 1000, false, undefined, 0, undefined));
  for (const record of records) queue.noteSent(record);
  for (const record of records) queue.markLost(record);
  t.match(queue, { inflightBytes: 0, lostBytes: 3000, sackedBytes: 0 });
  queue.markSacked(records[1]!);
  t.match(queue, { inflightBytes: 0, lostBytes: 2000, sackedBytes: 1000 });
  t.notOk(records[1]!.lost, 'it is not sent again');
  for (const record of [records[0]!, records[2]!]) queue.noteSent(record);
  t.match(queue, { inflightBytes: 2000, lostBytes: 0 });
  queue.clear();
  t.match(queue, { inflightBytes: 0, lostBytes: 0, sackedBytes: 0 });
});
