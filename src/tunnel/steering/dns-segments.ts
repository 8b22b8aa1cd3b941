/** DNS over TCP that passes packet by packet: connections to servers of DNS are followed from their SYN on. */

import type { IpPacketFacts } from '../../mptcp-over-udp/wire/ip-header.js';
import { ACK, FIN, RST, SYN } from '../../mptcp-over-udp/wire/segment.js';
import { seqAdd } from '../../mptcp-over-udp/wire/sequence.js';
import { DnsConversation, type LearnDns, MAX_ANSWER_BYTES } from './dns-conversation.js';
import { DnsRoom } from './dns-framing.js';
import { SegmentOrder } from './segment-order.js';

/** Beyond it the one that was begun first is not followed any more. */
const MAX_CONNECTIONS = 64;
const ROOM_BYTES = MAX_CONNECTIONS * MAX_ANSWER_BYTES;
const TCP_HEADER_BYTES = 20;

interface Followed {
  readonly conversation: DnsConversation;
  readonly queries: SegmentOrder;
  /** From the answer to the SYN on. */
  answers: SegmentOrder | undefined;
}

export class DnsSegments {
  readonly #room = new DnsRoom(ROOM_BYTES);
  readonly #learn: LearnDns;
  /** By addresses and our port; the one that was begun first is first. */
  readonly #followed = new Map<string, Followed>();
  #mustWait = false;

  constructor(learn: LearnDns) {
    this.#learn = learn;
  }

  /** None: packets from servers need not be looked at. */
  get isEmpty(): boolean {
    return this.#followed.size === 0;
  }

  /** A TCP packet to a server. */
  handleOutgoing(bytes: Uint8Array, offset: number, facts: IpPacketFacts): void {
    const segment = segmentOf(bytes, offset, facts);
    if (segment === undefined) return;
    const { flags, sequence, at, length } = segment;
    const key = keyOf(bytes, facts.sourceAddressOffset, facts.destinationAddressOffset, facts.addressBytes, facts.sourcePort);
    if ((flags & (SYN | ACK)) === SYN) this.#follow(key, seqAdd(sequence, 1));
    else if ((flags & RST) !== 0) this.#forget(key);
    else if (length > 0) this.#followed.get(key)?.queries.handle(sequence, bytes, at, length);
  }

  /** A TCP packet from a server. True: it ends an answer that is to wait. */
  handleIncoming(bytes: Uint8Array, offset: number, facts: IpPacketFacts): boolean {
    const key = keyOf(bytes, facts.destinationAddressOffset, facts.sourceAddressOffset, facts.addressBytes, facts.destinationPort);
    const followed = this.#followed.get(key);
    const segment = followed === undefined ? undefined : segmentOf(bytes, offset, facts);
    if (followed === undefined || segment === undefined) return false;
    const { flags, sequence, at, length } = segment;
    this.#mustWait = false;
    if ((flags & SYN) !== 0) followed.answers ??= this.#orderOf(followed.conversation, seqAdd(sequence, 1));
    else if (length > 0) followed.answers?.handle(sequence, bytes, at, length);
    // What was lost before a FIN is not waited for: an answer the less is learned.
    if ((flags & (RST | FIN)) !== 0) this.#forget(key);
    return this.#mustWait;
  }

  #follow(key: string, firstSequence: number): void {
    this.#forget(key);
    if (this.#followed.size >= MAX_CONNECTIONS) this.#forget(this.#followed.keys().next().value!);
    const conversation = new DnsConversation(this.#room, this.#learn);
    const queries = new SegmentOrder(firstSequence, (bytes, at, length) => conversation.handleQueries(bytes, at, length));
    this.#followed.set(key, { conversation, queries, answers: undefined });
  }

  #orderOf(conversation: DnsConversation, firstSequence: number): SegmentOrder {
    return new SegmentOrder(firstSequence, (bytes, at, length) => {
      if (conversation.handleAnswers(bytes, at, length)) this.#mustWait = true;
    });
  }

  #forget(key: string): void {
    this.#followed.get(key)?.conversation.close();
    this.#followed.delete(key);
  }
}

/** undefined: it is cut short. */
function segmentOf(bytes: Uint8Array, offset: number, { upperOffset, totalBytes }: IpPacketFacts) {
  const end = offset + totalBytes;
  if (upperOffset + TCP_HEADER_BYTES > end) return undefined;
  const at = upperOffset + ((bytes[upperOffset + 12]! >>> 4) << 2);
  if (at < upperOffset + TCP_HEADER_BYTES || at > end) return undefined;
  const sequence =
    ((bytes[upperOffset + 4]! << 24) | (bytes[upperOffset + 5]! << 16) | (bytes[upperOffset + 6]! << 8) | bytes[upperOffset + 7]!) >>> 0;
  return { flags: bytes[upperOffset + 13]!, sequence, at, length: end - at };
}

function keyOf(bytes: Uint8Array, us: number, them: number, addressBytes: number, port: number): string {
  let key = `${port}`;
  for (let i = 0; i < addressBytes; i++) key += ` ${bytes[us + i]}.${bytes[them + i]}`;
  return key;
}
