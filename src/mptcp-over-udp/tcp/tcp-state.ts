/** The TCP state machine (RFC 9293, 3.3.2) as one table. A missing cell means: ignore the input and count it. */

export type TcpState =
  | 'closed'
  | 'syn-sent'
  | 'syn-received'
  | 'established'
  | 'fin-wait-1'
  | 'fin-wait-2'
  | 'close-wait'
  | 'closing'
  | 'last-ack'
  | 'time-wait';

export type TcpInput =
  | 'active-open'
  | 'passive-open'
  /** The peer's SYN crossed ours (RFC 9293, 3.5: simultaneous open). */
  | 'syn-crossed'
  /** Our SYN is acknowledged (with the peer's SYN on the active side). */
  | 'syn-acked'
  /** Our FIN has left. */
  | 'fin-sent'
  | 'fin-acked'
  | 'fin-received'
  /** RST received or sent, a fatal timeout, abort. */
  | 'reset'
  /** 2 MSL are over. */
  | 'timeout';

export const TCP_TRANSITIONS: Readonly<Record<TcpState, Readonly<Partial<Record<TcpInput, TcpState>>>>> = {
  closed: { 'active-open': 'syn-sent', 'passive-open': 'syn-received' },
  'syn-sent': { 'syn-crossed': 'syn-received', 'syn-acked': 'established', reset: 'closed' },
  'syn-received': { 'syn-acked': 'established', reset: 'closed' },
  established: { 'fin-sent': 'fin-wait-1', 'fin-received': 'close-wait', reset: 'closed' },
  'fin-wait-1': { 'fin-acked': 'fin-wait-2', 'fin-received': 'closing', reset: 'closed' },
  'fin-wait-2': { 'fin-received': 'time-wait', reset: 'closed' },
  'close-wait': { 'fin-sent': 'last-ack', reset: 'closed' },
  closing: { 'fin-acked': 'time-wait', reset: 'closed' },
  'last-ack': { 'fin-acked': 'closed', reset: 'closed' },
  'time-wait': { timeout: 'closed', reset: 'closed' },
};
