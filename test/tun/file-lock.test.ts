import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { withFileLock } from '../../src/tun/file-lock.js';

t.test('one after another, and nothing is left', async (t) => {
  const folder = t.testdir({});
  const file = join(folder, 'lock');
  let inside = 0;
  let most = 0;
  const work = async (): Promise<void> => {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setImmediate(resolve));
    inside--;
  };
  await Promise.all(Array.from({ length: 20 }, () => withFileLock(file, work)));
  t.equal(most, 1);
  t.strictSame(readdirSync(folder), []);
});

t.test('a lock whose owner has died is taken over', async (t) => {
  const file = join(t.testdir({}), 'lock');
  writeFileSync(file, JSON.stringify({ pid: process.pid, startTicks: 1 }));
  t.equal(await withFileLock(file, () => 7), 7);
  t.notOk(existsSync(file));
});

t.test('a failure of the work frees it', async (t) => {
  const file = join(t.testdir({}), 'lock');
  await t.rejects(
    withFileLock(file, () => {
      throw new Error('no');
    }),
    /no/,
  );
  t.equal(await withFileLock(file, () => 1), 1);
});
