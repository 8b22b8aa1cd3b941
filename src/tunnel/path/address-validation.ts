/**
 * Proof that somebody who holds the session's keys answers at an address (in the manner of RFC 9000, 8.2 and 9): a random token goes there, and must come
 * back. Until then at most three times what came from the address is sent to it. Pure: tokens come from the caller.
 */

const AMPLIFICATION = 3;
const RETRY_MS = 250;
const RETRY_MAX_MS = 2000;
export const TOKEN_BYTES = 8;

export class AddressValidation {
  /** Every challenge of this validation carries the same token: an answer to any of them proves the address. */
  readonly token: Uint8Array;
  readonly startedMs: number;
  /** Sent times of the first and the latest challenge, -Infinity before. */
  firstChallengeMs = -Infinity;
  lastChallengeMs = -Infinity;
  challengeCount = 0;
  #receivedBytes = 0;
  #sentBytes = 0;

  constructor(token: Uint8Array, nowMs: number) {
    if (token.length !== TOKEN_BYTES) throw new RangeError(`token must be ${TOKEN_BYTES} bytes`);
    this.token = token;
    this.startedMs = nowMs;
  }

  handleReceived(bytes: number): void {
    this.#receivedBytes += bytes;
  }

  /** The address is of our own choice, not the peer's: there is no bound. */
  trust(): void {
    this.#receivedBytes = Infinity;
  }

  /** Takes `bytes` from the allowance; false when it does not suffice. */
  trySpend(bytes: number): boolean {
    if (this.#sentBytes + bytes > AMPLIFICATION * this.#receivedBytes) return false;
    this.#sentBytes += bytes;
    return true;
  }

  /** When the next challenge is due: at once, then backing off. */
  nextChallengeMs(): number {
    if (this.challengeCount === 0) return this.startedMs;
    return this.lastChallengeMs + Math.min(RETRY_MS * 2 ** (this.challengeCount - 1), RETRY_MAX_MS);
  }

  handleChallengeSent(nowMs: number): void {
    if (this.challengeCount === 0) this.firstChallengeMs = nowMs;
    this.lastChallengeMs = nowMs;
    this.challengeCount++;
  }

  /** Compares all bytes, whatever they are. */
  matches(token: Uint8Array): boolean {
    if (token.length !== TOKEN_BYTES) return false;
    let difference = 0;
    for (let i = 0; i < TOKEN_BYTES; i++) difference |= this.token[i]! ^ token[i]!;
    return difference === 0;
  }
}
