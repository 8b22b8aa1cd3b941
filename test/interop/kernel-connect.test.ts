/** The connect matrix: {MPTCP, TCP} x {MPTCP, TCP} x {IPv4, IPv6}, both roles, random sizes both ways at once. Needs root and a kernel with MPTCP. */

import t from 'tap';
import { createPrng } from '../sim/prng.js';
import { createKernelRig, type Family, missingForInterop, reportFailure } from './kernel-rig.js';
import { judge, type Verdict } from './kernel-verdict.js';
import { randomPayload, receiveAll } from './payload.js';

const missing = missingForInterop();
const MAX_BYTES = 16 << 20;
/** Of all sizes and bytes; MPTUNNEL_SEED repeats a run. */
const SEED = Number(process.env.MPTUNNEL_SEED ?? Math.floor(Math.random() * 2 ** 31));
const prng = createPrng(SEED);

type Protocol = 'mptcp' | 'tcp';
interface Case {
  ours: Protocol;
  kernels: Protocol;
  family: Family;
  role: 'client' | 'server';
  up: number;
  down: number;
  /** Who asks for DSS checksums. */
  checksum?: 'we' | 'the kernel';
}

/** Small, odd and large: the exponent is uniform. */
function randomSize(): number {
  return Math.floor(2 ** (prng.uniform() * Math.log2(MAX_BYTES)));
}

const cases: Case[] = [];
for (const family of [4, 6] as const)
  for (const role of ['client', 'server'] as const)
    for (const ours of ['mptcp', 'tcp'] as const)
      for (const kernels of ['mptcp', 'tcp'] as const) cases.push({ ours, kernels, family, role, up: randomSize(), down: randomSize() });
for (const family of [4, 6] as const)
  for (const role of ['client', 'server'] as const)
    for (const checksum of ['we', 'the kernel'] as const)
      cases.push({ ours: 'mptcp', kernels: 'mptcp', family, role, up: randomSize(), down: randomSize(), checksum });
// The largest that is promised, once each way, and connections without a byte.
cases.push({ ours: 'mptcp', kernels: 'mptcp', family: 4, role: 'client', up: MAX_BYTES, down: 1 });
cases.push({ ours: 'mptcp', kernels: 'mptcp', family: 4, role: 'server', up: 0, down: MAX_BYTES });
cases.push({ ours: 'mptcp', kernels: 'mptcp', family: 6, role: 'client', up: 0, down: 0 });

for (const one of cases) {
  const { ours, kernels, family, role, up, down, checksum } = one;
  const seed = prng.nextU32() >>> 1;
  const checked = checksum === undefined ? '' : `, checksums as ${checksum} ask${checksum === 'we' ? '' : 's'}`;
  const name = `${ours} ${role} of ours, ${kernels} of the kernel's, IPv${family}${checked}: ${up} bytes to it and ${down} from it (seed ${SEED})`;
  t.test(name, { skip: missing, timeout: 30_000 }, async (t) => {
    const rig = await createKernelRig({
      family,
      host: checksum === 'we' ? { checksum: true } : {},
      mptcp: checksum === 'the kernel' ? { checksum_enabled: 1 } : {},
    });
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
    const verdict = expected(one);
    t.equal(rig.events.find((event) => event.name === 'established')?.fallback, verdict.fallback ?? false);
    await judge(t, rig, socket, done.info, verdict);
  });
}

/** MPTCP where both speak it, a fallback that both have noticed where one does not. */
function expected({ ours, kernels, role, checksum, up, down }: Case): Verdict {
  if (ours === 'mptcp' && kernels === 'mptcp') {
    return { checksum: checksum !== undefined, info: { bytes_received: up, bytes_sent: down, subflows: 0 } };
  }
  const counters = kernels === 'mptcp' && role === 'server' ? { MPCapableSYNTX: 1, MPCapableFallbackSYNACK: 1 } : {};
  return { fallback: true, info: null, counters };
}
