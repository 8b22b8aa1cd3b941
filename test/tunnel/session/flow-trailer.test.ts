import fc from 'fast-check';
import t from 'tap';
import {
  createFlowTrailer,
  emitFlowTrailer,
  FLOW_IDS,
  FLOW_TRAILER_BYTES,
  parseFlowTrailer,
  type TrailerMode,
} from '../../../src/tunnel/session/flow-trailer.js';

const MODES: readonly TrailerMode[] = ['aggregate', 'redundant', 'priority', 'active-standby', 'pin'];

t.test('the bytes as the diagram has them', async (t) => {
  const out = new Uint8Array(6).fill(0xa5);
  emitFlowTrailer(out, 1, 'redundant', true, false, false, 0x123, 0x4567);
  t.strictSame([...out], [0xa5, 0b0011_0001, 0x23, 0x45, 0x67, 0xa5]);
  emitFlowTrailer(out, 1, 'pin', false, true, true, 0x7ff, 0xffff);
  t.strictSame([...out], [0xa5, 0b1000_1111, 0xff, 0xff, 0xff, 0xa5]);
  emitFlowTrailer(out, 1, 'priority', false, false, true, 0, 1);
  t.strictSame([...out], [0xa5, 0b1100_0000, 0, 0, 1, 0xa5]);
});

t.test('round trip behind a packet of any length', async () => {
  fc.assert(
    fc.property(
      fc.record(
        {
          mode: fc.constantFrom(...MODES),
          mirrored: fc.boolean(),
          restricted: fc.boolean(),
          spread: fc.boolean(),
          flowId: fc.nat(FLOW_IDS - 1),
          sequence: fc.nat(65_535),
        },
        { noNullPrototype: true },
      ),
      fc.nat(1500),
      (trailer, packetBytes) => {
        const bytes = new Uint8Array(packetBytes + FLOW_TRAILER_BYTES + 3).fill(0xa5);
        emitFlowTrailer(
          bytes,
          3 + packetBytes,
          trailer.mode,
          trailer.mirrored,
          trailer.restricted,
          trailer.spread,
          trailer.flowId,
          trailer.sequence,
        );
        const parsed = createFlowTrailer();
        t.ok(parseFlowTrailer(bytes, 3, packetBytes + FLOW_TRAILER_BYTES, packetBytes, parsed));
        const canBeSpread = trailer.mode === 'aggregate' || trailer.mode === 'priority';
        t.strictSame(parsed, { ...trailer, spread: trailer.spread && canBeSpread });
      },
    ),
    { numRuns: 200 },
  );
});

t.test('any other number of bytes behind the packet is no trailer, nor is a reserved mode', async (t) => {
  const bytes = new Uint8Array(40);
  const trailer = createFlowTrailer();
  for (const extra of [0, 1, 3, 5, 8]) t.notOk(parseFlowTrailer(bytes, 0, 20 + extra, 20, trailer), `${extra} bytes`);
  bytes[20] = 7 << 5;
  t.notOk(parseFlowTrailer(bytes, 0, 24, 20, trailer));
});
