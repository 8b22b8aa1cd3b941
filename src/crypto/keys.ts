/** Identity keys (X25519) and preshared keys: 32 bytes, written as 44 characters of base64, as users of WireGuard know them. */

export const KEY_BYTES = 32;

/** 42 characters of six bits, one of four bits (so the last two bits are zero), one '='. */
const KEY_TEXT = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

export type KeyErrorCode = 'KEY_FORMAT' | 'KEY_WEAK';

/** A key that the user gave is unusable; `message` says what to do. It never holds the key. */
export class KeyError extends Error {
  readonly code: KeyErrorCode;
  constructor(code: KeyErrorCode, message: string) {
    super(message);
    this.name = 'KeyError';
    this.code = code;
  }
}

/**
 * Reads the text form; white space around it is forgiven (key files end in a newline), nothing else. `what` names the key in the message,
 * e.g. "private_key of [interface]". Throws KeyError.
 */
export function parseKey(text: string, what: string): Uint8Array {
  const trimmed = text.trim();
  if (!KEY_TEXT.test(trimmed)) {
    const found = trimmed.length === 0 ? 'it is empty' : `it has ${trimmed.length} characters`;
    const hint = trimmed.length === 44 ? 'it has a character or an ending that base64 of 32 bytes cannot have' : found;
    throw new KeyError(
      'KEY_FORMAT',
      `${what} is not a key: expected 44 characters of base64 (32 bytes), but ${hint}. Make one with: mptunnel genkey`,
    );
  }
  const key = new Uint8Array(Buffer.from(trimmed, 'base64'));
  if (isAllZero(key)) throw new KeyError('KEY_WEAK', `${what} is all zeros, which protects nothing. Make one with: mptunnel genkey`);
  return key;
}

/** 32 bytes to 44 characters. */
export function formatKey(key: Uint8Array): string {
  requireKey(key, 'key');
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('base64');
}

/** A new private key, clamped (RFC 7748, 5) so that its text form is the one true one. */
export function generatePrivateKey(randomBytes: (count: number) => Uint8Array): Uint8Array {
  const key = Uint8Array.from(randomBytes(KEY_BYTES));
  requireKey(key, 'randomBytes');
  key[0] = key[0]! & 248;
  key[31] = (key[31]! & 127) | 64;
  return key;
}

export function generatePresharedKey(randomBytes: (count: number) => Uint8Array): Uint8Array {
  const key = Uint8Array.from(randomBytes(KEY_BYTES));
  requireKey(key, 'randomBytes');
  return key;
}

/** Throws RangeError naming the argument when it is not 32 bytes. */
export function requireKey(key: Uint8Array, argument: string): void {
  if (key.length !== KEY_BYTES) throw new RangeError(`${argument} is ${key.length} bytes, not ${KEY_BYTES}`);
}

/** Equal content, in a time that depends on the lengths alone. */
export function constantTimeEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

export function isAllZero(bytes: Uint8Array): boolean {
  let any = 0;
  for (let i = 0; i < bytes.length; i++) any |= bytes[i]!;
  return any === 0;
}
