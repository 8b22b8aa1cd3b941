/**
 * What a TYPE_DATAGRAM datagram may carry behind its IP packet, big-endian:
 *
 *     0                   1                   2                   3
 *     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *    +-----+-+-+---------------------+-------------------------------+
 *    |mode |M|R|       flow id       |        sequence number        |
 *    +-----+-+-+---------------------+-------------------------------+
 *
 *    mode  0 aggregate, 1 redundant, 2 priority: numbered;  3 active-standby, 4 pin: flow id and sequence number are 0
 *          5 and 6 are 0 and 2 of a flow that is spread: its last packets took several paths, what is missing may be on another;  7 reserved
 *    M     mirrored: the sender has no rule for the flow and does as the other side did, so that this is not mirrored again
 *    R     restricted: the rule names its paths, so that answers keep to those on which the flow came
 *
 * The IP header says where the packet ends: four bytes behind it are a trailer, any other number means nothing, and a peer that knows no
 * trailers takes the packet and leaves the rest. A header in front could not be read by it, nor be added without a larger packet where the
 * tunnel's MTU is used to the last byte. Sequence numbers belong to the flow id, not to the flow: they go on when the id has a new one.
 */

export const FLOW_TRAILER_BYTES = 4;
export const FLOW_IDS = 2048;
export const SEQUENCE_NUMBERS = 65_536;

export type TrailerMode = 'aggregate' | 'redundant' | 'priority' | 'active-standby' | 'pin';
/** By code. */
const MODES: readonly TrailerMode[] = ['aggregate', 'redundant', 'priority', 'active-standby', 'pin', 'aggregate', 'priority'];
const FIRST_SPREAD_CODE = 5;
const SPREAD_CODES: Readonly<Partial<Record<TrailerMode, number>>> = { aggregate: 5, priority: 6 };
const CODES: Readonly<Record<TrailerMode, number>> = { aggregate: 0, redundant: 1, priority: 2, 'active-standby': 3, pin: 4 };
const MIRRORED = 0x10;
const RESTRICTED = 0x08;

/** Reused: `parseFlowTrailer` fills it. */
export interface FlowTrailer {
  mode: TrailerMode;
  mirrored: boolean;
  restricted: boolean;
  spread: boolean;
  flowId: number;
  sequence: number;
}

export function createFlowTrailer(): FlowTrailer {
  return { mode: 'aggregate', mirrored: false, restricted: false, spread: false, flowId: 0, sequence: 0 };
}

/** Has the mode sequence numbers? */
export function isNumbered(mode: TrailerMode): boolean {
  return CODES[mode] <= 2;
}

/** Writes FLOW_TRAILER_BYTES at `at`; values beyond their width are cut. `spread` means something to `aggregate` and `priority` only. */
export function emitFlowTrailer(
  out: Uint8Array,
  at: number,
  mode: TrailerMode,
  mirrored: boolean,
  restricted: boolean,
  spread: boolean,
  flowId: number,
  sequence: number,
): void {
  const code = (spread ? SPREAD_CODES[mode] : undefined) ?? CODES[mode];
  out[at] = (code << 5) | (mirrored ? MIRRORED : 0) | (restricted ? RESTRICTED : 0) | ((flowId >>> 8) & 0x07);
  out[at + 1] = flowId;
  out[at + 2] = sequence >>> 8;
  out[at + 3] = sequence;
}

/**
 * The trailer of bytes[offset .. offset + length) whose IP packet has `totalBytes`. False when there is none that we know: the packet is then one
 * without. Never throws.
 */
export function parseFlowTrailer(bytes: Uint8Array, offset: number, length: number, totalBytes: number, out: FlowTrailer): boolean {
  if (length - totalBytes !== FLOW_TRAILER_BYTES) return false;
  const at = offset + totalBytes;
  const first = bytes[at]!;
  const mode = MODES[first >>> 5];
  if (mode === undefined) return false;
  out.mode = mode;
  out.mirrored = (first & MIRRORED) !== 0;
  out.spread = first >>> 5 >= FIRST_SPREAD_CODE;
  out.restricted = (first & RESTRICTED) !== 0;
  out.flowId = ((first & 0x07) << 8) | bytes[at + 1]!;
  out.sequence = (bytes[at + 2]! << 8) | bytes[at + 3]!;
  return true;
}
