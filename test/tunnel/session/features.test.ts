import t from 'tap';
import { allocateIndex, featuresFor, type SessionCore } from '../../../src/tunnel/session/core.js';
import { LocalIndices } from '../../../src/tunnel/session/local-indices.js';
import { FEATURE_HEADER_COMPRESSION, FEATURES } from '../../../src/tunnel/session/messages.js';
import type { Peer } from '../../../src/tunnel/session/peer.js';
import { makePair, setRoutes } from './two-hosts.js';

const FUTURE = 0x8000_0000;

for (const [ours, theirs, common] of [
  [FEATURES, FEATURES, FEATURES],
  [FEATURE_HEADER_COMPRESSION, FEATURES, FEATURE_HEADER_COMPRESSION],
  [FEATURES, 0, 0],
  [0, FEATURES, 0],
  [FEATURES | FUTURE, FEATURES, FEATURES],
] as const) {
  t.test(`client tells ${ours.toString(16)}, server ${theirs.toString(16)}: both use ${common.toString(16)}`, async (t) => {
    const { network, client, server } = makePair({ features: [ours, theirs] });
    setRoutes(client, [0]);
    network.runUntil(1000);
    t.equal(client.of('epoch-ready')[0]!.keys.features >>> 0, common);
    t.equal(server.of('epoch-ready')[0]!.keys.features >>> 0, common);
  });
}

/** A core that draws these indices, one after the other. */
function drawing(indices: number[]): SessionCore {
  const draws = [...indices];
  const randomBytes = () => {
    const out = new Uint8Array(4);
    new DataView(out.buffer).setUint32(0, draws.length > 1 ? draws.shift()! : draws[0]!);
    return out;
  };
  return { randomBytes, peersByIndex: new LocalIndices(), features: FEATURES } as unknown as SessionCore;
}

t.test('indices differ in their lower half where that can be had, and compression is promised only then', async (t) => {
  const peer = {} as Peer;
  const core = drawing([0x1111_0001, 0x2222_0001, 0x3333_0002, 0x4444_0001]);
  t.equal(allocateIndex(core, peer), 0x1111_0001);
  t.equal(allocateIndex(core, peer), 0x3333_0002, 'the second draw has a lower half that is taken');
  t.equal(featuresFor(core, 0x3333_0002), FEATURES);
  t.equal(allocateIndex(core, peer), 0x4444_0001, 'nothing else is drawn: the whole index has to do');
  t.equal(featuresFor(core, 0x4444_0001), FEATURES & ~FEATURE_HEADER_COMPRESSION);
  t.throws(() => allocateIndex(core, peer), RangeError, 'a whole index is never taken twice');
});
