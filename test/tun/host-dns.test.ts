import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type DnsPlace, dnsPlace, hasDns, outerNameservers, releaseDns, takeDns } from '../../src/tun/host-dns.js';
import { nameserversOf } from '../../src/tun/resolv-conf.js';
import { tornText } from '../../src/tun/resolv-conf-file.js';

const BEFORE = 'search lan\nnameserver 192.168.1.1\n';
const A = { servers: ['10.77.0.1'], search: [] };
const B = { servers: ['10.78.0.1'], search: ['b.example'] };

function place(t: Test, text: string | undefined = BEFORE): DnsPlace {
  const folder = t.testdir({ run: {} });
  const file = join(folder, 'resolv.conf');
  if (text !== undefined) writeFileSync(file, text);
  return dnsPlace(join(folder, 'run'), { MPTUNNEL_RESOLV_CONF: file });
}

const read = ({ file }: DnsPlace): string => readFileSync(file, 'utf8');
const asked = (where: DnsPlace): string[] => nameserversOf(read(where));
const runFiles = ({ stateFile }: DnsPlace): string[] => readdirSync(join(stateFile, '..'));

/** As if every process that has taken it had died. */
function allDie(where: DnsPlace): void {
  const state = JSON.parse(readFileSync(where.stateFile, 'utf8')) as { holders: { startTicks: number }[] };
  for (const holder of state.holders) holder.startTicks = -1;
  writeFileSync(where.stateFile, JSON.stringify(state));
}

t.test('a file is overwritten where it lies, and is as it was afterwards', async (t) => {
  const where = place(t);
  const { ino } = lstatSync(where.file);
  t.strictSame(await takeDns(where, 'mpt0', A), []);
  t.strictSame(asked(where), ['10.77.0.1']);
  t.ok(hasDns(where));
  t.strictSame(await releaseDns(where, 'mpt0'), []);
  t.equal(read(where), BEFORE);
  t.equal(lstatSync(where.file).ino, ino, 'the same file: it may be a mount point');
  t.strictSame(runFiles(where), [], 'nothing is left');
  t.strictSame(await releaseDns(where, 'mpt0'), [], 'a second time is no failure');
  t.equal(read(where), BEFORE);
});

t.test('a link is replaced, its target left alone, and it is a link again afterwards', async (t) => {
  const where = place(t, undefined);
  const target = join(where.file, '..', 'managed.conf');
  rmSync(where.file, { force: true });
  writeFileSync(target, BEFORE);
  symlinkSync('managed.conf', where.file);
  await takeDns(where, 'mpt0', A);
  t.strictSame(asked(where), ['10.77.0.1']);
  t.equal(readFileSync(target, 'utf8'), BEFORE);
  // As a network manager does when a lease is renewed.
  writeFileSync(target, 'nameserver 192.168.7.7\n');
  t.strictSame(outerNameservers(where), ['192.168.7.7'], 'and its new servers are those outside of the tunnel');
  t.strictSame(await releaseDns(where, 'mpt0'), []);
  t.equal(readlinkSync(where.file), 'managed.conf');
  t.equal(read(where), 'nameserver 192.168.7.7\n');
});

t.test('where there was no file there is none afterwards', async (t) => {
  const where = place(t, undefined);
  rmSync(where.file, { force: true });
  await takeDns(where, 'mpt0', A);
  t.strictSame(asked(where), ['10.77.0.1']);
  await releaseDns(where, 'mpt0');
  t.notOk(existsSync(where.file));
});

t.test('of two tunnels the one that came last has it; whichever goes first, the original is there in the end', async (t) => {
  for (const [first, second] of [
    ['mpt0', 'mpt1'],
    ['mpt1', 'mpt0'],
  ] as const) {
    const where = place(t);
    await takeDns(where, 'mpt0', A);
    await takeDns(where, 'mpt1', B);
    t.strictSame(asked(where), ['10.78.0.1'], 'the last one wins');
    await releaseDns(where, first);
    t.strictSame(asked(where), first === 'mpt0' ? ['10.78.0.1'] : ['10.77.0.1'], `${first} has gone`);
    await releaseDns(where, second);
    t.equal(read(where), BEFORE);
    t.strictSame(runFiles(where), []);
  }
});

t.test('so it is with tunnels that know nothing of each other', async (t) => {
  for (const first of ['mpt0', 'mpt1']) {
    const where = place(t);
    const elsewhere = { ...where, stateFile: `${where.stateFile}-of-another-run-directory` };
    await takeDns(where, 'mpt0', A);
    await takeDns(elsewhere, 'mpt1', B);
    t.strictSame(asked(where), ['10.78.0.1']);
    const steps = [() => releaseDns(where, 'mpt0'), () => releaseDns(elsewhere, 'mpt1')];
    for (const step of first === 'mpt0' ? steps : steps.reverse()) t.strictSame(await step(), []);
    t.equal(read(where), BEFORE, `${first} goes first`);
    t.strictSame(runFiles(where), []);
  }
});

t.test('many at once: one after another', async (t) => {
  const where = place(t);
  const names = Array.from({ length: 12 }, (_, index) => `mpt${index}`);
  await Promise.all(names.map((name) => takeDns(where, name, A)));
  await Promise.all(names.reverse().map((name) => releaseDns(where, name)));
  t.equal(read(where), BEFORE);
  t.strictSame(runFiles(where), []);
});

t.test('what is changed meanwhile stays, and is told', async (t) => {
  const where = place(t);
  await takeDns(where, 'mpt0', A);
  writeFileSync(where.file, 'nameserver 9.9.9.9\n');
  t.notOk(hasDns(where));
  t.match(await releaseDns(where, 'mpt0'), [/resolv\.conf was changed while the tunnel was up, and stays as it is now$/]);
  t.equal(read(where), 'nameserver 9.9.9.9\n');
  t.strictSame(runFiles(where), []);
});

t.test('a change that another tunnel finds is what comes back in the end', async (t) => {
  const where = place(t);
  await takeDns(where, 'mpt0', A);
  writeFileSync(where.file, 'nameserver 9.9.9.9\n');
  t.match(await takeDns(where, 'mpt1', B), [/was changed while another tunnel had it/]);
  t.strictSame(asked(where), ['10.78.0.1']);
  await releaseDns(where, 'mpt1');
  t.strictSame(asked(where), ['10.77.0.1'], 'the first has it again');
  t.strictSame(await releaseDns(where, 'mpt0'), []);
  t.equal(read(where), 'nameserver 9.9.9.9\n');
});

t.test('after a crash it is put back by name, and who has died is nobody to give it to', async (t) => {
  const where = place(t);
  await takeDns(where, 'mpt0', A);
  allDie(where);
  await takeDns(where, 'mpt1', B);
  await releaseDns(where, 'mpt1');
  t.equal(read(where), BEFORE);
  await takeDns(where, 'mpt0', A);
  allDie(where);
  t.strictSame(await releaseDns(where, 'mpt0'), []);
  t.equal(read(where), BEFORE);
});

t.test('a power cut empties /run: the file itself says what was there before', async (t) => {
  const where = place(t);
  await takeDns(where, 'mpt0', A);
  rmSync(where.stateFile);
  t.strictSame(outerNameservers(where), ['192.168.1.1']);
  await takeDns(where, 'mpt0', A);
  t.strictSame(asked(where), ['10.77.0.1']);
  await releaseDns(where, 'mpt0');
  t.equal(read(where), BEFORE, 'after the next up');
  await takeDns(where, 'mpt0', A);
  rmSync(where.stateFile);
  await releaseDns(where, 'other');
  t.strictSame(asked(where), ['10.77.0.1'], 'it is no other tunnel that puts it back');
  await releaseDns(where, 'mpt0');
  t.equal(read(where), BEFORE, 'by down --force');
});

t.test('a crash at any step of the writing leaves what can be undone', async (t) => {
  const where = place(t, `${BEFORE}${'# a long comment\n'.repeat(60)}`);
  const before = read(where);
  await takeDns(where, 'mpt0', A);
  const state = JSON.parse(readFileSync(where.stateFile, 'utf8')) as { written: string[] };
  const ours = read(where);
  const torn = tornText(ours, before);
  state.written = [before, ours, torn];
  for (const text of [before, ours, torn]) {
    writeFileSync(where.stateFile, JSON.stringify(state));
    writeFileSync(where.file, text);
    t.strictSame(await releaseDns(where, 'mpt0'), []);
    t.equal(read(where), before);
  }
});

t.test('where systemd-resolved is asked, it is told by resolvectl, and the file stays', async (t) => {
  const stub = 'nameserver 127.0.0.53\noptions edns0 trust-ad\n';
  const where = place(t, stub);
  const folder = join(where.file, '..', 'bin');
  const log = join(folder, 'log');
  mkdirSync(folder);
  writeFileSync(join(folder, 'resolvectl'), `#!/bin/sh\necho "$@" >> ${log}\n`);
  chmodSync(join(folder, 'resolvectl'), 0o755);
  const path = process.env.PATH;
  process.env.PATH = `${folder}:${path}`;
  t.teardown(() => {
    process.env.PATH = path;
  });
  const said = (): string[] => {
    const lines = readFileSync(log, 'utf8').trim().split('\n');
    rmSync(log);
    return lines;
  };
  await takeDns(where, 'mpt0', A);
  t.strictSame(said(), ['dns', 'dns mpt0 10.77.0.1', 'domain mpt0 ~.', 'default-route mpt0 true']);
  await takeDns(where, 'mpt1', B);
  t.strictSame(said(), ['revert mpt0', 'dns mpt1 10.78.0.1', 'domain mpt1 ~. b.example', 'default-route mpt1 true']);
  await releaseDns(where, 'mpt1');
  t.strictSame(said(), ['revert mpt1', 'dns mpt0 10.77.0.1', 'domain mpt0 ~.', 'default-route mpt0 true']);
  await releaseDns(where, 'mpt0');
  t.strictSame(said(), ['revert mpt0']);
  t.equal(read(where), stub);
  t.strictSame(runFiles(where), []);
});

t.test('where the stub is named and nobody answers behind it, it is the file', async (t) => {
  const stub = 'nameserver 127.0.0.53\n';
  const where = place(t, stub);
  const path = process.env.PATH;
  process.env.PATH = join(where.file, '..');
  t.teardown(() => {
    process.env.PATH = path;
  });
  await takeDns(where, 'mpt0', A);
  t.strictSame(asked(where), ['10.77.0.1']);
  t.strictSame(outerNameservers(where), [], 'the stub is nobody to ask outside of the tunnel');
  await releaseDns(where, 'mpt0');
  t.equal(read(where), stub);
});

t.test('the servers outside of tunnels are those of before, without ours', async (t) => {
  const where = place(t, 'nameserver 192.168.1.1\nnameserver 10.77.0.1\n');
  t.strictSame(outerNameservers(where), ['192.168.1.1', '10.77.0.1']);
  await takeDns(where, 'mpt0', A);
  t.strictSame(outerNameservers(where), ['192.168.1.1']);
  await takeDns(where, 'mpt1', B);
  t.strictSame(outerNameservers(where), ['192.168.1.1']);
  await releaseDns(where, 'mpt1');
  await releaseDns(where, 'mpt0');
});

t.test('a file that cannot be written is told with what to do', async (t) => {
  const where = place(t);
  rmSync(where.file);
  mkdirSync(where.file);
  await t.rejects(takeDns(where, 'mpt0', A), { code: 'dns-failed' });
});
