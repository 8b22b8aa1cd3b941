/**
 * What holds at the end of every case against the kernel, by all oracles at once: the kernel's MPTcpExt counters exactly, what its MPTCP_INFO says of
 * the connection, and our checker's verdict on all that was on the wire. The bytes are compared by who moved them.
 */

import type { Test } from 'tap';
import type { MptcpSocket } from '../../src/index.js';
import type { Conversation } from './conversation.js';
import type { PeerInfo } from './kernel-peer.js';
import type { KernelRig } from './kernel-rig.js';

/** A count, or the least and the most that there may be. */
export type Count = number | readonly [number, number];

export interface Verdict {
  /** The kernel's counters beyond those of the first handshake and the harmless ones; what is not named must not have been counted. */
  counters?: Readonly<Record<string, Count>>;
  /** Default: the keys were exchanged, and the handshake counted on both sides. */
  fallback?: boolean;
  /** Both by the checker: joins whose HMACs were right, announcements whose HMACs were right. Default 0. */
  joins?: Count;
  addAddrs?: Count;
  /** MPTCP connections in the capture, and those closed by DATA_FINs both ways. Default 1, without fallback. */
  connections?: number;
  closed?: number;
  checksum?: boolean;
  /** The kernel's count of subflows, where it is not that of our established ones: half-open ones, and those that it has not reaped. */
  subflowsTotal?: number;
  /** What the checker finds fault with because it sees what was sent, not what a middlebox made of it. */
  faults?: RegExp;
  /** Of MPTCP_INFO; null: the kernel refuses it, since its socket is plain TCP or has fallen back. Subflows, token, fallback and checksum are looked at in any case. */
  info?: Readonly<Record<string, number | boolean>> | null;
}

/** What may be counted in a connection without a fault: order, windows, repetition. */
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
  // Our process had to wait for the CPU, longer than the kernel does for an acknowledgement.
  'SubflowStale',
  'SubflowRecover',
]);

/** Of the kernel, when we open the connection and when it does. */
export const HANDSHAKE = {
  client: { MPCapableSYNRX: 1, MPCapableACKRX: 1 },
  server: { MPCapableSYNTX: 1, MPCapableSYNACKRX: 1 },
} as const;

/** What the kernel counts of joins that are established, and of announcements that are echoed. */
export function joinedByUs(count = 1): Record<string, number> {
  return { MPJoinSynRx: count, MPJoinAckRx: count };
}

export function joinedByKernel(count = 1): Record<string, number> {
  return { MPJoinSynTx: count, MPJoinSynAckRx: count };
}

export function announcedByUs(count = 1): Record<string, number> {
  return { AddAddr: count, EchoAddTx: count };
}

export function announcedByKernel(count = 1): Record<string, number> {
  return { AddAddrTx: count, EchoAdd: count };
}

/** Ends the conversation in order and judges it. */
export async function conclude(t: Test, talk: Conversation, verdict: Verdict = {}): Promise<void> {
  t.equal(await talk.finish(verdict.subflowsTotal), '', 'every byte, both ways, and an orderly end');
  await judge(t, talk.rig, talk.socket, talk.info, verdict);
}

export async function judge(t: Test, rig: KernelRig, socket: MptcpSocket, info: PeerInfo | null, verdict: Verdict = {}): Promise<void> {
  const { fallback = false, joins = 0, addAddrs = 0 } = verdict;
  const { role } = socket.connection;
  t.equal(socket.fallback, fallback, 'fallback, as we see it');
  await judgeCounters(t, rig, { ...(fallback ? {} : HANDSHAKE[role]), ...verdict.counters });
  judgeInfo(t, socket, info, verdict);
  const report = rig.check();
  const { connections = fallback ? 0 : 1, closed = fallback ? 0 : 1, faults } = verdict;
  t.strictSame(
    report.faults.filter((fault) => faults?.test(fault) !== true),
    [],
    'the checker finds nothing wrong on the wire',
  );
  t.match(report, { connections, closed }, 'connections and their ends');
  t.ok(isWithin(report.joins, joins), `${report.joins} joins verified, expected ${joins}`);
  t.ok(isWithin(report.addAddrs, addAddrs), `${report.addAddrs} announcements verified`);
  if (verdict.checksum === true) t.ok(report.checksums > 0, `${report.checksums} DSS checksums verified`);
  else t.equal(report.checksums, 0, 'no DSS checksum');
}

export async function judgeCounters(t: Test, rig: KernelRig, expected: Readonly<Record<string, Count>>): Promise<void> {
  const counters = await rig.counters();
  for (const [name, count] of Object.entries(expected)) {
    t.ok(isWithin(counters[name] ?? 0, count), `the kernel counted ${name} = ${counters[name] ?? 0}, expected ${count}`);
  }
  for (const [name, value] of Object.entries(counters)) {
    if (!HARMLESS.has(name) && !(name in expected)) t.fail(`the kernel counted ${name} = ${value}`);
  }
}

function judgeInfo(t: Test, socket: MptcpSocket, info: PeerInfo | null, verdict: Verdict): void {
  if (verdict.info === null || info === null) {
    t.equal(info === null, verdict.info === null, 'whether the kernel refuses MPTCP_INFO');
    return;
  }
  const { fallback = false, checksum = false } = verdict;
  t.match(info, { fallback, csum_enabled: checksum ? 1 : 0, ...verdict.info }, 'MPTCP_INFO');
  if (!fallback) t.equal(info.token, socket.connection.remoteToken, 'the token, as we computed it from its key');
}

function isWithin(value: number, count: Count): boolean {
  return typeof count === 'number' ? value === count : value >= count[0] && value <= count[1];
}
