/** The clock of one connection: which deadline is next, and what to do when it is over. */

import { NEVER_MS, type TcpConnection } from './tcp-connection.js';
import { closeConnection } from './tcp-input.js';
import { sendProbe, sendSyn, sendWindowProbe } from './tcp-output.js';

/** RFC 9293 (3.8.3), R2 for a SYN: Linux gives up after six repeats. */
const MAX_SYN_COUNT = 7;
/** As Linux: nine probes, 75 s apart. */
const MAX_KEEPALIVE_COUNT = 9;
const KEEPALIVE_REPEAT_MS = 75_000;
const MAX_PERSIST_INTERVAL_MS = 60_000;

/** Absolute time of the next deadline, Infinity when none. */
export function nextDeadlineMs(c: TcpConnection): number {
  const r = c.recovery;
  let at = Math.min(r.rtoDeadlineMs, r.probeDeadlineMs, r.reorderDeadlineMs);
  if (c.ackDeadlineMs < at) at = c.ackDeadlineMs;
  if (c.synDeadlineMs < at) at = c.synDeadlineMs;
  if (c.persistDeadlineMs < at) at = c.persistDeadlineMs;
  if (c.timeWaitDeadlineMs < at) at = c.timeWaitDeadlineMs;
  if (c.pacingBlocked && c.nextSendMs < at) at = c.nextSendMs;
  return c.keepaliveMs === NEVER_MS ? at : Math.min(at, keepaliveDeadlineMs(c));
}

/** Runs what is due. The output phase follows. */
export function handleDeadlines(c: TcpConnection, maxTimeouts: number, nowMs: number): void {
  const r = c.recovery;
  if (c.pacingBlocked && c.nextSendMs <= nowMs) c.pacingBlocked = false;
  if (nowMs >= c.timeWaitDeadlineMs) {
    closeConnection(c, 'finished', nowMs);
    return;
  }
  if (nowMs >= c.synDeadlineMs && !handleSynTimeout(c, nowMs)) return;
  if (nowMs >= c.ackDeadlineMs) c.ackNow = true;
  if (nowMs >= r.reorderDeadlineMs) r.handleReorderTimeout(nowMs);
  if (nowMs >= r.probeDeadlineMs) sendProbe(c, nowMs);
  else if (nowMs >= r.rtoDeadlineMs) {
    r.handleRetransmissionTimeout(nowMs);
    if (r.timeoutCount > maxTimeouts) {
      closeConnection(c, 'timeout', nowMs);
      return;
    }
    c.mtuSearch?.onTimeout(c);
  }
  if (c.keepaliveMs !== NEVER_MS && nowMs >= keepaliveDeadlineMs(c) && !handleKeepalive(c, nowMs)) return;
  if (nowMs >= c.persistDeadlineMs) handlePersistTimeout(c, nowMs);
}

/** RFC 9293 (3.8.4): only an idle connection is probed. */
function keepaliveDeadlineMs(c: TcpConnection): number {
  if (!c.isSynchronized || c.state === 'time-wait' || c.recovery.queue.head !== undefined) return NEVER_MS;
  return c.lastReceivedMs + c.keepaliveMs + c.keepaliveCount * KEEPALIVE_REPEAT_MS;
}

/** False: the connection is gone. */
function handleKeepalive(c: TcpConnection, nowMs: number): boolean {
  if (c.keepaliveCount >= MAX_KEEPALIVE_COUNT) {
    closeConnection(c, 'timeout', nowMs);
    return false;
  }
  c.keepaliveCount++;
  sendWindowProbe(c);
  return true;
}

function handleSynTimeout(c: TcpConnection, nowMs: number): boolean {
  if (c.state !== 'syn-sent' && c.state !== 'syn-received') {
    c.synDeadlineMs = NEVER_MS;
    return true;
  }
  if (c.synCount >= MAX_SYN_COUNT) {
    closeConnection(c, 'timeout', nowMs);
    return false;
  }
  if (c.synCount > 0) c.recovery.rtt.backOff();
  sendSyn(c, nowMs);
  return true;
}

/** RFC 9293 (3.8.6.1) */
export function armPersist(c: TcpConnection, nowMs: number): void {
  if (c.persistDeadlineMs !== NEVER_MS) return;
  c.persistDeadlineMs = nowMs + Math.min(MAX_PERSIST_INTERVAL_MS, c.recovery.rtt.rtoMs * 2 ** Math.min(c.persistCount, 8));
}

function handlePersistTimeout(c: TcpConnection, nowMs: number): void {
  c.persistDeadlineMs = NEVER_MS;
  c.persistCount++;
  sendWindowProbe(c);
  armPersist(c, nowMs);
}
