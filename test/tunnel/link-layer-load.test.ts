/** What paths tell the datagram plane: the client's ranking on both sides, and what is on its way. */

import t from 'tap';
import { allUp, numberedPacket, sendNumbered, startPair, TEST_PATHS, until } from './link-pair.js';

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

t.test('a capture has the IP packet without the trailer behind it; the plane has both', async (t) => {
  const pair = await startPair();
  t.teardown(() => pair.close());
  await allUp(pair);
  const captured: string[] = [];
  for (const side of [pair.client, pair.server]) {
    side.layer.setTap({
      onPacket: (direction, _path, plane, _header, _headerOffset, headerBytes, _payload, _payloadOffset, payloadBytes) => {
        if (plane === 'datagram') captured.push(`${direction} ${headerBytes + payloadBytes}`);
      },
    });
  }
  const bytes = new Uint8Array(204);
  bytes.set(numberedPacket(1, 200));
  pair.client.peer.paths[0]!.sendPacket(bytes, 0, 204, 0, 0, 0, 0);
  pair.client.layer.flush();
  await until('the packet', () => pair.server.observer.packets.length > 0);
  t.equal(pair.server.observer.packets[0]!.bytes.length, 204);
  t.strictSame(captured, ['out 200', 'in 200']);
});
