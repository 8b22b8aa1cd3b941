import t from 'tap';
import * as s from '../../../src/mptcp-over-udp/wire/sequence.js';

t.test('sequence comparison wraps at 2^32', async (t) => {
  t.ok(s.seqLt(0xfffffff0, 5));
  t.ok(s.seqGt(5, 0xfffffff0));
  t.equal(s.seqAdd(0xffffffff, 2), 1);
  t.equal(s.seqDiff(1, 0xffffffff), 2);
});

t.test('a DSN offset agrees with 64-bit arithmetic', async (t) => {
  const idsn = 0xffff_fffe_ffff_fff0n;
  const [ih, il] = [Number(idsn >> 32n), Number(idsn & 0xffff_ffffn)];
  for (const offset of [0, 1, 15, 16, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 7]) {
    const dsn = (idsn + BigInt(offset)) & 0xffff_ffff_ffff_ffffn;
    t.equal(s.dsnHigh(ih, il, offset), Number(dsn >> 32n));
    t.equal(s.dsnLow(il, offset), Number(dsn & 0xffff_ffffn));
    t.equal(s.dsnOffset(s.dsnHigh(ih, il, offset), s.dsnLow(il, offset), ih, il), offset);
  }
  t.equal(s.dsnOffset(ih, il - 1, ih, il), -1);
});
