/** The data plane allocates nothing per packet: a million packets through it, and how often the garbage collector had to run. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const PACKETS = 1_000_000;
const ACTOR = fileURLToPath(new URL('./collections-actor.js', import.meta.url));
/** New objects are made in 1 MB: a minor collection is a megabyte of garbage, and N of them are N bytes a packet. */
const SMALL_NEW_SPACE = ['--min-semi-space-size=1', '--max-semi-space-size=1'];

interface Result {
  minor: number;
  major: number;
  sent: number;
  arrived: number;
}

function carry(mode: 'datagram' | 'stream'): Result {
  const environment = { ...process.env, NODE_OPTIONS: '' };
  const child = spawnSync(process.execPath, [...SMALL_NEW_SPACE, ACTOR, mode, String(PACKETS)], {
    env: environment,
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  if (child.status !== 0) throw new Error(`${mode}: exit ${child.status ?? child.signal}: ${child.stderr}`);
  return JSON.parse(child.stdout) as Result;
}

t.test('a million datagrams, none joined: no object for a packet', async (t) => {
  const { minor, major, sent, arrived } = carry('datagram');
  t.ok(sent >= PACKETS);
  t.equal(arrived, sent);
  // Measured: 9 to 28, most of it times that are passed on as numbers of their own. An object with one field, made once a packet, brought it to 47.
  t.ok(minor <= 40, `${minor} minor collections`);
  t.equal(major, 0, 'what lives longer does not grow');
});

t.test('a million segments of one MPTCP connection on two paths: nothing for a segment, little for a super-segment', async (t) => {
  const { minor, major, arrived } = carry('stream');
  t.ok(arrived >= PACKETS);
  // Measured: 52 to 67, about 2.5 KB for each super-segment of 45, both ends. An object of 64 bytes a segment would double that.
  t.ok(minor <= 120, `${minor} minor collections`);
  // Measured: 19 to 31, one for each 30 MB of payload blocks beyond those that the pool keeps. A copy of all payload would be several hundred.
  t.ok(major <= 80, `${major} major collections`);
});
