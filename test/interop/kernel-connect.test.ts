/** The connect matrix: {MPTCP, TCP} x {MPTCP, TCP} x {IPv4, IPv6}, both roles, random sizes both ways at once. Needs root and a kernel with MPTCP. */

import { randomInt } from 'node:crypto';
import t, { type Test } from 'tap';
import { createKernelRig, type Family, type KernelRig, missingForInterop, randomPayload, receiveAll, reportFailure } from './kernel-rig.js';

const missing = missingForInterop();
const MAX_BYTES = 16 << 20;

type Protocol = 'mptcp' | 'tcp';
interface Case {
  ours: Protocol;
  kernels: Protocol;
  family: Family;
  role: 'client' | 'server';
  up: number;
  down: number;
}

/** Small, odd and large: the exponent is uniform. */
function randomSize(): number {
  return Math.floor(2 ** ((randomInt(0, 2 ** 20) / 2 ** 20) * Math.log2(MAX_BYTES)));
}

const cases: Case[] = [];
for (const family of [4, 6] as const)
  for (const role of ['client', 'server'] as const)
    for (const ours of ['mptcp', 'tcp'] as const)
      for (const kernels of ['mptcp', 'tcp'] as const) cases.push({ ours, kernels, family, role, up: randomSize(), down: randomSize() });
// The largest that is promised, once each way, and connections without a byte.
cases.push({ ours: 'mptcp', kernels: 'mptcp', family: 4, role: 'client', up: MAX_BYTES, down: 1 });
cases.push({ ours: 'mptcp', kernels: 'mptcp', family: 4, role: 'server', up: 0, down: MAX_BYTES });
cases.push({ ours: 'mptcp', kernels: 'mptcp', family: 6, role: 'client', up: 0, down: 0 });

for (const one of cases) {
  const { ours, kernels, family, role, up, down } = one;
  const seed = randomInt(1, 1 << 30);
  const name = `${ours} ${role} of ours, ${kernels} of the kernel's, IPv${family}: ${up} bytes to it and ${down} from it (seed ${seed})`;
  t.test(name, { skip: missing, timeout: 30_000 }, async (t) => {
    const rig = await createKernelRig({ family });
    t.teardown(async () => {
      await reportFailure(t, rig, name);
      await rig.close();
    });
    const payload = randomPayload(seed, up);
    const service = ['duplex', '--size', down, '--seed', seed] as const;
    const accepted = role === 'server' ? rig.accept({ protocol: ours }) : undefined;
    const peer = await rig.peer(kernels, role === 'client' ? 'listen' : 'connect', ...service);
    const socket = accepted === undefined ? rig.connect({ protocol: ours }) : await accepted;
    const received = receiveAll(socket);
    socket.end(payload.data);
    const [got, done, reason] = await Promise.all([received, peer.done, socket.whenClosed]);
    t.equal(done.error, null);
    t.equal(reason, 'finished');
    t.equal(done.read, up);
    t.equal(done.read_sha256, payload.sha256);
    t.equal(got.bytes, down);
    t.equal(got.sha256, done.write_sha256);
    await checkProtocol(t, rig, one, socket.fallback);
    t.strictSame(rig.check().faults, []);
  });
}

/** MPTCP where both speak it, a fallback that both have noticed where one does not. */
async function checkProtocol(t: Test, rig: KernelRig, { ours, kernels, role }: Case, fallback: boolean): Promise<void> {
  const both = ours === 'mptcp' && kernels === 'mptcp';
  const counters = await rig.counters();
  t.equal(fallback, !both);
  t.equal(rig.events.find((event) => event.name === 'established')?.fallback, !both);
  const report = rig.check();
  t.match({ connections: report.connections, closed: report.closed }, both ? { connections: 1, closed: 1 } : { connections: 0 });
  const expected: Record<string, number> = {};
  if (role === 'client' && both) Object.assign(expected, { MPCapableSYNRX: 1, MPCapableACKRX: 1 });
  if (role === 'server' && kernels === 'mptcp') Object.assign(expected, { MPCapableSYNTX: 1 });
  if (role === 'server' && both) Object.assign(expected, { MPCapableSYNACKRX: 1 });
  if (role === 'server' && kernels === 'mptcp' && ours === 'tcp') Object.assign(expected, { MPCapableFallbackSYNACK: 1 });
  t.match(counters, expected);
  for (const name of Object.keys(counters)) {
    t.ok(HARMLESS.has(name) || name in expected, `the kernel counted ${name} = ${counters[name]}`);
  }
}

/** What may be counted in a connection without a fault. */
const HARMLESS = new Set([
  'OFOQueue',
  'OFOQueueTail',
  'OFOMerge',
  'SndWndShared',
  'RcvWndShared',
  'RcvWndConflictUpdate',
  'RcvWndConflict',
  'WinProbe',
  'MPTCPRetrans',
  'DuplicateData',
  'MPCurrEstab',
]);
