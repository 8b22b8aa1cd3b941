/**
 * Either side may be upgraded alone. A link layer of today meets a peer that does the least that version 1 asks for, and one that says in every place what only
 * a later version knows: other versions and features, unknown frames, messages, fields, trailers and datagrams.
 */

import { Packr } from 'msgpackr';
import t, { type Test } from 'tap';
import { publicKeyOf } from '../../src/crypto/x25519.js';
import type { ControlFrame } from '../../src/tunnel/session/frames.js';
import { FEATURES, PROTOCOL_VERSION } from '../../src/tunnel/session/messages.js';
import { config, freePort, KEYS, numberedPacket, numberOf, type Side, sendNumbered, startSide, until } from './link-pair.js';
import { type Manners, ScriptedPeer } from './scripted-peer.js';

const NOTHING = new Uint8Array(0);

function frame(type: number, body: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([Uint8Array.of(type, body.length >>> 8, body.length), body]));
}

const packr = new Packr({ useRecords: false });
const slow = (message: object): Uint8Array => frame(0x20, new Uint8Array(packr.pack(message)));

const YESTERDAY: Manners = { version: PROTOCOL_VERSION, features: 0, reserved: 0, before: NOTHING, after: NOTHING };
const TOMORROW: Manners = {
  version: PROTOCOL_VERSION + 1,
  features: 0xffff_ffff,
  reserved: 0xa5,
  before: new Uint8Array(
    Buffer.concat([
      frame(0x0a, Uint8Array.of(1, 2, 3)),
      frame(0xff, new Uint8Array(300)),
      slow({ kind: 'multipath-poetry', verses: [1, 2, { three: null }] }),
    ]),
  ),
  after: new Uint8Array(
    Buffer.concat([
      slow({ kind: 'hello', version: 7, software: 'mptunnel 9.9', invented: true }),
      slow({ kind: 'path-state', pathId: 0, state: 'up', priority: 3, backup: false, colour: 'green' }),
      frame(0x21, NOTHING),
    ]),
  ),
};

async function isUp({ peer }: Side): Promise<void> {
  await until('the path is up', () => peer.state === 'up' && peer.paths.some((path) => path.state === 'up'));
}

/** Packets pass both ways, and the path goes on living: it is measured, and nothing that came was a fault. */
async function carries(t: Test, side: Side, scripted: ScriptedPeer): Promise<void> {
  const path = side.peer.paths[0]!;
  for (let i = 0; i < 10; i++) scripted.sendPacket(numberedPacket(i));
  await until('packets from the peer', () => side.observer.packets.length >= 10);
  t.strictSame(
    side.observer.packets.map(({ bytes }) => numberOf(bytes)),
    Array.from({ length: 10 }, (_, i) => i),
  );
  for (let i = 0; i < 10; i++) sendNumbered(path, i);
  side.layer.flush();
  await until('packets to the peer', () => scripted.packets.length >= 10);
  t.strictSame(
    scripted.packets.map(numberOf),
    Array.from({ length: 10 }, (_, i) => i),
  );
  await until('a round trip', () => path.rttMs >= 0);
  t.equal(path.state, 'up');
  const { rxBadFrames, rxStaleAnswers } = side.layer.counters();
  t.strictSame({ rxBadFrames, rxStaleAnswers }, { rxBadFrames: 0, rxStaleAnswers: 0 });
}

for (const [name, manners] of Object.entries({ YESTERDAY, TOMORROW })) {
  t.test(`a server of today and a client of ${name.toLowerCase()}`, async (t) => {
    const port = await freePort();
    const side = await startSide(config(KEYS.server, KEYS.client, { listenPort: port }));
    const scripted = await ScriptedPeer.open(manners, KEYS.client, publicKeyOf(KEYS.server));
    t.teardown(async () => {
      scripted.close();
      await side.layer.close();
    });
    scripted.dial(port);
    await isUp(side);
    await until('the challenge is answered', () => scripted.challengeAnswered);
    t.strictSame(scripted.heard, { version: PROTOCOL_VERSION, features: FEATURES }, 'the newest version that both know');
    t.equal(side.peer.paths[0]!.name, 'dsl');
    await carries(t, side, scripted);
  });

  t.test(`a client of today and a server of ${name.toLowerCase()}`, async (t) => {
    const scripted = await ScriptedPeer.open(manners, KEYS.server, publicKeyOf(KEYS.client));
    const paths = [{ name: 'dsl', interface: undefined, address: undefined }];
    const side = await startSide(config(KEYS.client, KEYS.server, { endpoint: `127.0.0.1:${scripted.port}`, paths }));
    t.teardown(async () => {
      scripted.close();
      await side.layer.close();
    });
    await isUp(side);
    t.strictSame(scripted.heard, { version: PROTOCOL_VERSION, features: FEATURES });
    await carries(t, side, scripted);
    side.layer.changePath('dsl', { limitDownBytesPerSec: 125_000, cost: 1 });
    t.equal(side.peer.paths[0]!.peerObeysPolicy, name === 'TOMORROW', 'who asks for a limit knows whether it is obeyed');
    const isTold = (frame: ControlFrame): boolean =>
      frame.type === 'slow' &&
      frame.message.kind === 'path-state' &&
      frame.message.limitBytesPerSec === 125_000 &&
      frame.message.cost === 1;
    await until('the peer is told', () => scripted.frames.some(isTold));
    t.equal(side.peer.paths[0]!.state, 'up');
  });
}

t.test('packets with a trailer of another length, a mode that is not known, and datagrams of an unknown type', async (t) => {
  const port = await freePort();
  const side = await startSide(config(KEYS.server, KEYS.client, { listenPort: port }));
  const scripted = await ScriptedPeer.open(TOMORROW, KEYS.client, publicKeyOf(KEYS.server));
  t.teardown(async () => {
    scripted.close();
    await side.layer.close();
  });
  scripted.dial(port);
  await isUp(side);
  const withTrailer = (number: number, trailer: readonly number[]): Uint8Array =>
    new Uint8Array(Buffer.concat([numberedPacket(number), Uint8Array.from(trailer)]));
  scripted.sendPacket(withTrailer(1, [0xe0, 0, 0, 0]));
  for (const type of [0x13, 0x1f, 0x7f, 0xff]) scripted.sendType(type, numberedPacket(99));
  scripted.sendPacket(withTrailer(2, [1, 2, 3, 4, 5, 6, 7, 8]));
  scripted.sendPacket(numberedPacket(3));
  await until('all packets', () => side.observer.packets.length >= 3);
  t.strictSame(
    side.observer.packets.map(({ bytes }) => numberOf(bytes)),
    [1, 2, 3],
    'the packets are there, the rest is left',
  );
  t.equal(side.peer.paths[0]!.state, 'up');
});

t.test('a version below ours is refused, in either role, and the client says why', async (t) => {
  const old: Manners = { ...YESTERDAY, version: PROTOCOL_VERSION - 1 };
  const port = await freePort();
  const server = await startSide(config(KEYS.server, KEYS.client, { listenPort: port }));
  const client = await ScriptedPeer.open(old, KEYS.client, publicKeyOf(KEYS.server));
  const scriptedServer = await ScriptedPeer.open(old, KEYS.server, publicKeyOf(KEYS.client));
  const paths = [{ name: 'dsl', interface: undefined, address: undefined }];
  const today = await startSide(config(KEYS.client, KEYS.server, { endpoint: `127.0.0.1:${scriptedServer.port}`, paths }), undefined, {
    unreachableAfterMs: 300,
  });
  t.teardown(async () => {
    client.close();
    scriptedServer.close();
    await server.layer.close();
    await today.layer.close();
  });
  client.dial(port);
  await until('the server has counted it', () => server.layer.counters().unsupportedVersion === 1);
  t.equal(client.heard, undefined, 'no answer');
  await until('so has the client', () => today.layer.counters().unsupportedVersion! >= 1);
  t.not(today.peer.state, 'up');
  await until('it says why', () => /upgrade mptunnel on the side that is older/.test(today.peer.lastError));
});
