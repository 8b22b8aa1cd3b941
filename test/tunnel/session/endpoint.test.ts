import t from 'tap';
import { makePair, setRoutes } from './two-hosts.js';

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex');

t.test('a handshake gives both sides the same keys, the initiator’s confirmed at once, the responder’s by the first data', async (t) => {
  const { network, client, server } = makePair();
  setRoutes(client, [0]);
  network.runUntil(1000);
  t.same(client.eventTypes(), ['epoch-ready']);
  t.same(server.eventTypes(), ['epoch-ready', 'epoch-confirmed']);
  const ours = client.of('epoch-ready')[0]!;
  const theirs = server.of('epoch-ready')[0]!;
  t.ok(ours.confirmed);
  t.notOk(theirs.confirmed);
  t.equal(hex(ours.keys.sendKey), hex(theirs.keys.receiveKey));
  t.equal(hex(ours.keys.receiveKey), hex(theirs.keys.sendKey));
  t.equal(ours.keys.localIndex, theirs.keys.remoteIndex);
  t.equal(ours.keys.remoteIndex, theirs.keys.localIndex);
  t.equal(ours.keys.aead, theirs.keys.aead);
  t.equal(server.received, 1);
  t.ok(server.sendData(0));
  network.runUntil(1100);
  t.equal(client.received, 2, 'the answer to the greeting, and this');
});
