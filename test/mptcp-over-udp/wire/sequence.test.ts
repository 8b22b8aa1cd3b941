import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as s from '../../../src/mptcp-over-udp/wire/sequence.js';

test('sequence comparison wraps at 2^32', () => {
  assert.ok(s.seqLt(0xfffffff0, 5));
  assert.ok(s.seqGt(5, 0xfffffff0));
  assert.equal(s.seqAdd(0xffffffff, 2), 1);
  assert.equal(s.seqDiff(1, 0xffffffff), 2);
});

test('a DSN offset agrees with 64-bit arithmetic', () => {
  const idsn = 0xffff_fffe_ffff_fff0n;
  const [ih, il] = [Number(idsn >> 32n), Number(idsn & 0xffff_ffffn)];
  for (const offset of [0, 1, 15, 16, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 7]) {
    const dsn = (idsn + BigInt(offset)) & 0xffff_ffff_ffff_ffffn;
    assert.equal(s.dsnHigh(ih, il, offset), Number(dsn >> 32n));
    assert.equal(s.dsnLow(il, offset), Number(dsn & 0xffff_ffffn));
    assert.equal(s.dsnOffset(s.dsnHigh(ih, il, offset), s.dsnLow(il, offset), ih, il), offset);
  }
  assert.equal(s.dsnOffset(ih, il - 1, ih, il), -1);
});
