/** Questions and answers of DNS on one TCP connection: an answer teaches when its question was asked there. */

import { DNS_HEADER_BYTES, u16 } from '../dns-records.js';
import { DnsFraming, type DnsRoom } from './dns-framing.js';

/** More than is read of an answer (dns-answer.ts): 512 records of AAAA. */
export const MAX_ANSWER_BYTES = 16_384;
/** Asked at once on one connection; the oldest makes room. */
const MAX_QUERIES = 64;

/** One DNS message, borrowed until return. True: who asked is to wait for it. */
export type LearnDns = (bytes: Uint8Array, offset: number, length: number) => boolean;

export class DnsConversation {
  readonly #learn: LearnDns;
  readonly #asked = new Set<number>();
  readonly #queries: DnsFraming;
  readonly #answers: DnsFraming;
  #mustWait = false;

  constructor(room: DnsRoom, learn: LearnDns) {
    this.#learn = learn;
    this.#queries = new DnsFraming(DNS_HEADER_BYTES, room, (bytes, at, length) => this.#noteQuery(bytes, at, length));
    this.#answers = new DnsFraming(MAX_ANSWER_BYTES, room, (bytes, at, length) => this.#readAnswer(bytes, at, length));
  }

  handleQueries(bytes: Uint8Array, at: number, length: number): void {
    this.#queries.feed(bytes, at, length);
  }

  /** True: an answer ends among these bytes that is to wait. */
  handleAnswers(bytes: Uint8Array, at: number, length: number): boolean {
    this.#mustWait = false;
    this.#answers.feed(bytes, at, length);
    return this.#mustWait;
  }

  close(): void {
    this.#queries.close();
    this.#answers.close();
  }

  #noteQuery(bytes: Uint8Array, at: number, length: number): void {
    if (length < DNS_HEADER_BYTES) return;
    if (this.#asked.size >= MAX_QUERIES) this.#asked.delete(this.#asked.values().next().value!);
    this.#asked.add(u16(bytes, at));
  }

  #readAnswer(bytes: Uint8Array, at: number, length: number): void {
    if (length >= DNS_HEADER_BYTES && this.#asked.delete(u16(bytes, at)) && this.#learn(bytes, at, length)) this.#mustWait = true;
  }
}
