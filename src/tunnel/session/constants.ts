/** Times and limits of the session, all in one object so that a test can shrink them. WireGuard's values where it has one. */

import type { AeadName } from '../../tun/native.js';

export interface SessionConstants {
  /** The initiator makes new keys when an epoch is this old, less a random part of up to `rekeyJitterMs`. */
  rekeyAfterMs: number;
  rekeyJitterMs: number;
  /** A side that would initiate but was the responder of the epoch takes over at this age, when the initiator did not. */
  rekeyTakeoverMs: number;
  /** The initiator makes new keys when it sent so many datagrams under one key. */
  rekeyAfterDatagrams: Readonly<Record<AeadName, number>>;
  /** An epoch dies at this age, or with so many datagrams sent (packet numbers are 48 bits). */
  rejectAfterMs: number;
  rejectAfterDatagrams: number;
  /** The old epoch still receives for so long after the new one was confirmed. */
  retireAfterMs: number;
  /** Waits before the second, third, ... initiation of an attempt; the last one repeats, plus up to `retryJitterMs`. */
  retryMs: readonly number[];
  retryJitterMs: number;
  /** How long an initiation is fresh: repeated copies on other routes are answered from the cache. */
  initiationFreshMs: number;
  /** No answer for so long: tell the caller, once. */
  unreachableAfterMs: number;
  /** We sent and heard nothing for so long: the peer may have restarted, so the initiator tries a handshake. */
  silenceMs: number;
  /** Both sides began at once: how long the winner of the tie-break ignores the other's initiation. */
  tieBreakMs: number;
  /** Having answered the other's initiation, the loser of the tie-break holds its own back for so long. */
  yieldMs: number;
  /** Handshakes a second that we compute before we ask for cookies, and at all. */
  handshakesPerSecond: number;
  cookieHandshakesPerSecond: number;
  /** With a valid cookie: handshakes a second from one source address, and how many addresses are counted. */
  handshakesPerSourcePerSecond: number;
  maxSources: number;
  cookieSecretMs: number;
  /** An initiator uses a cookie for so long. */
  cookieFreshMs: number;
  /** Responses to one initiation that may fail to verify before the rest goes unread. */
  maxResponseFailures: number;
  /** Datagrams waiting for pollTransmit. */
  maxTransmitQueue: number;
  /** Routes raced for one peer, and on which one initiation is answered. */
  maxRoutes: number;
  /** Answers to one initiation that go to one source address, whatever the caller's routes for it are. */
  maxAnswersPerSource: number;
}

export const SESSION_DEFAULTS: SessionConstants = {
  rekeyAfterMs: 120_000,
  rekeyJitterMs: 10_000,
  rekeyTakeoverMs: 150_000,
  // AES-GCM: RFC 9001 (B.1.1), 2^23 packets keep an attacker's advantage below 2^-57. What the responder sends is bounded by time alone.
  rekeyAfterDatagrams: { 'aes-256-gcm': 2 ** 23, 'chacha20-poly1305': 2 ** 40 },
  rejectAfterMs: 180_000,
  rejectAfterDatagrams: 2 ** 47,
  retireAfterMs: 10_000,
  // The last, with its jitter, and the silence are below 2 s: so soon after its return a server is found again.
  retryMs: [250, 500, 1000, 1500],
  retryJitterMs: 300,
  initiationFreshMs: 5_000,
  unreachableAfterMs: 5_000,
  silenceMs: 1_500,
  tieBreakMs: 1_000,
  yieldMs: 2_000,
  handshakesPerSecond: 100,
  cookieHandshakesPerSecond: 1_000,
  handshakesPerSourcePerSecond: 20,
  maxSources: 1_024,
  cookieSecretMs: 120_000,
  cookieFreshMs: 115_000,
  maxResponseFailures: 16,
  maxTransmitQueue: 512,
  maxRoutes: 64,
  maxAnswersPerSource: 4,
};
