/** What is made of a TUN's batches, with a device made of numbers: no root needed. */

import t from 'tap';
import { type NativeAddon, TUN_DESCRIPTOR_INTS, TUN_GSO_SIZE, TUN_LENGTH, TUN_OFFSET, type TunHandle } from '../../src/tun/native.js';
import { TunPackets } from '../../src/tun/tun-packets.js';

const ENODEV = 19;

/** Each read gives so many packets of 100 + i bytes, or fails where the number is negative; then there are none. */
function deviceOf(reads: number[]): { packets: TunPackets; turn(): void; log: string[] } {
  const log: string[] = [];
  let turn = (): void => undefined;
  const native = {
    tunReadBatch: (_tun: TunHandle, _arena: Uint8Array, descriptors: Int32Array) => {
      const count = reads.shift() ?? 0;
      for (let i = 0; i < count; i++) {
        descriptors[i * TUN_DESCRIPTOR_INTS + TUN_OFFSET] = i * 1000;
        descriptors[i * TUN_DESCRIPTOR_INTS + TUN_LENGTH] = 100 + i;
        descriptors[i * TUN_DESCRIPTOR_INTS + TUN_GSO_SIZE] = i;
      }
      return count;
    },
    watchReadable: (_tun: TunHandle, onReadable: () => void) => {
      turn = onReadable;
      return { pause: () => undefined, resume: () => undefined, close: () => undefined };
    },
    tunWritePacket: () => -ENODEV,
    tunWriteJoined: (...args: unknown[]) => {
      log.push(`joined of ${args[4]}`);
      return 0;
    },
    tunWriteSegments: (...args: unknown[]) => {
      log.push(`segments of ${args[6]}`);
      return 0;
    },
  } as unknown as NativeAddon;
  const packets = new TunPackets(native, { kind: 'tun' });
  packets.start({
    onPacket: (_bytes, _offset, length, _gsoType, gsoSize) => log.push(`${length} ${gsoSize}`),
    onBatchEnd: () => log.push('end'),
    onFailure: (errno) => log.push(`failure ${errno}`),
  });
  return { packets, turn: () => turn(), log };
}

t.test('the packets of one turn, then their end', async (t) => {
  const { packets, turn, log } = deviceOf([2]);
  turn();
  t.strictSame(log, ['100 0', '101 1', 'end']);
  t.match(packets.counters, { rxPackets: 2, readErrors: 0 });
});

t.test('one batch a turn: then others have theirs', async (t) => {
  const { packets, turn, log } = deviceOf([8, 8]);
  turn();
  t.equal(packets.counters.rxPackets, 8);
  t.equal(log.filter((entry) => entry === 'end').length, 1);
  turn();
  t.equal(packets.counters.rxPackets, 16);
  t.equal(log.filter((entry) => entry === 'end').length, 2);
});

t.test('a device that fails after a batch: that batch is ended before the failure is told', async (t) => {
  const { packets, turn, log } = deviceOf([8, -ENODEV]);
  turn();
  turn();
  t.strictSame(log.slice(-4), ['107 7', 'end', 'end', `failure ${ENODEV}`]);
  t.match(packets.counters, { rxPackets: 8, readErrors: 1 });
});

t.test('what the device refuses is counted; a bare segment is written as one of length 1', async (t) => {
  const { packets, log } = deviceOf([]);
  packets.writePacket(new Uint8Array(40), 0, 40);
  t.match(packets.counters, { txPackets: 0, writeErrors: 1 });
  packets.writeSegments(new Uint8Array(40), 40, new Uint8Array(0), 0, 0, 0);
  packets.writeSegments(new Uint8Array(40), 40, new Uint8Array(900), 0, 900, 0);
  packets.writeJoined(new Uint8Array(4000), 0, 4000, 1200);
  t.strictSame(log, ['segments of 1', 'segments of 900', 'joined of 1200']);
  t.match(packets.counters, { txPackets: 3, writeErrors: 1 });
});
