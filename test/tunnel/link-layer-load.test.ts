/** What paths tell the datagram plane: the client's ranking on both sides, and what is on its way. */

import t from 'tap';
import { allUp, sendNumbered, startPair, TEST_PATHS, until } from './link-pair.js';

t.test("the server learns the priority of the client's paths, and which are backups", async (t) => {
  const [dsl, lte] = TEST_PATHS as [(typeof TEST_PATHS)[0], (typeof TEST_PATHS)[0]];
  const pair = await startPair({
    paths: [
      { ...dsl, priority: 7 },
      { ...lte, backup: true },
    ],
  });
  t.teardown(() => pair.close());
  await allUp(pair);
  for (const side of [pair.client, pair.server]) {
    t.match(
      side.peer.paths.map(({ priority, backup }) => ({ priority, backup })),
      [
        { priority: 7, backup: false },
        { priority: 0, backup: true },
      ],
    );
  }
});

t.test('what was sent is on its way until it, or something later, is acknowledged', async (t) => {
  const pair = await startPair();
  t.teardown(() => pair.close());
  await allUp(pair);
  const path = pair.client.peer.paths[0]!;
  const before = path.deliveredBytes;
  for (let i = 0; i < 10; i++) sendNumbered(path, i, 1000);
  t.equal(path.inflightBytes, 10 * 1028);
  pair.client.layer.flush();
  await until('the acknowledgement', () => path.inflightBytes === 0);
  t.ok(path.deliveredBytes - before >= 10 * 1028);
  t.equal(pair.client.peer.paths[1]!.inflightBytes, 0);
});
