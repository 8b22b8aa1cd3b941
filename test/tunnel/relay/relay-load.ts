/** Many pairs of hosts at one relay, each host with a key and a socket of its own, that send each other numbered datagrams. */

import { createSocket, type Socket } from 'node:dgram';
import { importPrivateKey, publicKeyOf } from '../../../src/crypto/x25519.js';
import { RelayBinding } from '../../../src/tunnel/relay/relay-binding.js';
import { relayIdOf, relayKeyOf } from '../../../src/tunnel/relay/relay-identity.js';
import { BIND_BYTES, RELAY_MESSAGE } from '../../../src/tunnel/relay/relay-messages.js';

const BIND_EVERY_MS = 20;
/** So many sockets ask at once: a relay's buffer has an end. */
const BIND_AT_ONCE = 100;

/** Of host number `index`; pairs are 2n and 2n + 1. */
export function loadKey(index: number): Uint8Array {
  const key = new Uint8Array(32).fill(9);
  new DataView(key.buffer).setUint32(8, index + 1);
  return key;
}

class Member {
  readonly socket: Socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 });
  readonly binding: RelayBinding;
  readonly #pair: number;
  readonly #out = new Uint8Array(BIND_BYTES);
  received = 0;
  /** Of another pair, or not as they were sent. */
  wrong = 0;

  constructor(index: number, relayPublicKey: Uint8Array) {
    const own = importPrivateKey(loadKey(index));
    this.#pair = index >> 1;
    const way = new Uint8Array(8);
    new DataView(way.buffer).setUint32(0, this.#pair);
    this.binding = new RelayBinding({
      key: relayKeyOf(own, relayPublicKey)!,
      sender: relayIdOf(relayPublicKey, own.publicKey),
      wanted: relayIdOf(relayPublicKey, publicKeyOf(loadKey(index ^ 1))),
      way,
      nowMs: 0,
    });
    this.socket.on('message', (bytes) => this.#handle(bytes));
  }

  ask(port: number): void {
    const length = this.binding.pollTransmit(this.#out, performance.now());
    if (length > 0) this.socket.send(this.#out.slice(0, length), port, '127.0.0.1');
  }

  #handle(bytes: Buffer): void {
    if (bytes[0] === RELAY_MESSAGE) {
      this.binding.handleMessage(bytes, performance.now());
      return;
    }
    if (bytes.readUInt32BE(4) === this.#pair && bytes.readUInt32BE(8) === bytes.length) this.received++;
    else this.wrong++;
  }
}

export class RelayLoad {
  readonly #members: Member[];
  readonly #port: number;
  sent = 0;

  private constructor(members: Member[], port: number) {
    this.#members = members;
    this.#port = port;
  }

  static async open(pairs: number, port: number, relayPublicKey: Uint8Array): Promise<RelayLoad> {
    const members = Array.from({ length: 2 * pairs }, (_, index) => new Member(index, relayPublicKey));
    await Promise.all(members.map(({ socket }) => new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))));
    return new RelayLoad(members, port);
  }

  /** Rejects when not all are paired in that time. */
  async pair(timeoutMs: number): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      const missing = this.#members.filter(({ binding }) => binding.state !== 'paired');
      if (missing.length === 0) return;
      if (performance.now() > endMs) throw new Error(`${missing.length} of ${this.#members.length} are not paired`);
      for (const member of missing.slice(0, BIND_AT_ONCE)) member.ask(this.#port);
      await new Promise((resolve) => setTimeout(resolve, BIND_EVERY_MS));
    }
  }

  /** One datagram of `bytes` from each host. */
  async send(bytes: number): Promise<void> {
    const datagram = new Uint8Array(bytes).fill(0x10);
    const view = new DataView(datagram.buffer);
    view.setUint32(8, bytes);
    for (const [index, { socket }] of this.#members.entries()) {
      view.setUint32(4, index >> 1);
      this.sent++;
      await new Promise((resolve) => socket.send(datagram, this.#port, '127.0.0.1', resolve));
    }
  }

  get received(): number {
    return this.#members.reduce((sum, { received }) => sum + received, 0);
  }

  get wrong(): number {
    return this.#members.reduce((sum, { wrong }) => sum + wrong, 0);
  }

  close(): void {
    for (const { socket } of this.#members) socket.close();
  }
}
