/**
 * One end of the protocol made of its primitives alone, over UDP on loopback: it speaks what a test wants it to, of yesterday or of tomorrow, to a link layer of today. As
 * little as a peer must do: the handshake, an answer to each challenge and probe, and a challenge of its own.
 */

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type AeadName, openDatagram, sealDatagram } from '../../src/crypto/aead.js';
import { deriveTransportKeys } from '../../src/crypto/key-schedule.js';
import { NoiseInitiator, NoiseResponder } from '../../src/crypto/noise.js';
import { importPrivateKey, importPublicKey, sharedSecret } from '../../src/crypto/x25519.js';
import { TYPE_CONTROL, TYPE_DATAGRAM } from '../../src/tun/native.js';
import { mac1Key, writeMac1, writeMac2 } from '../../src/tunnel/session/cookie.js';
import {
  type ControlFrame,
  emitPathChallenge,
  emitPathProbeReply,
  emitPathResponse,
  parseFrames,
} from '../../src/tunnel/session/frames.js';
import {
  emitChoice,
  emitHeader,
  emitHello,
  INITIATION_BYTES,
  MESSAGE_HEADER_BYTES,
  MESSAGE_INITIATION,
  MESSAGE_RESPONSE,
  messageIndex,
  parseChoice,
  parseHello,
  RESPONSE_BYTES,
  withoutMacs,
} from '../../src/tunnel/session/messages.js';
import { makePrologue } from '../../src/tunnel/session/prologue.js';

const OWN_INDEX = 0x0707_0707;
const PATH_ID = 0;
const TOKEN = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const NO_PRESHARED_KEY = new Uint8Array(32);
const AEAD: AeadName = 'aes-256-gcm';

export interface Manners {
  version: number;
  features: number;
  /** Bytes that are reserved today, in hello and choice. */
  reserved: number;
  /** Frames around those that it sends, in every control datagram. */
  before: Uint8Array;
  after: Uint8Array;
}

export class ScriptedPeer {
  readonly packets: Uint8Array[] = [];
  readonly frames: ControlFrame[] = [];
  /** What the other side said of itself. */
  heard: { version: number; features: number } | undefined;
  challengeAnswered = false;
  readonly #socket: Socket;
  readonly #manners: Manners;
  readonly #privateKey: Uint8Array;
  readonly #remotePublicKey: Uint8Array;
  #keys: { sendKey: Uint8Array; receiveKey: Uint8Array; remoteIndex: number } | undefined;
  #noise: NoiseInitiator | undefined;
  #remotePort = 0;
  #packetNumber = 0;

  private constructor(socket: Socket, manners: Manners, privateKey: Uint8Array, remotePublicKey: Uint8Array) {
    this.#socket = socket;
    this.#manners = manners;
    this.#privateKey = privateKey;
    this.#remotePublicKey = remotePublicKey;
    socket.on('message', (bytes, { port }) => this.#receive(new Uint8Array(bytes), port));
  }

  static async open(manners: Manners, privateKey: Uint8Array, remotePublicKey: Uint8Array): Promise<ScriptedPeer> {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return new ScriptedPeer(socket, manners, privateKey, remotePublicKey);
  }

  get port(): number {
    return this.#socket.address().port;
  }

  close(): void {
    this.#socket.close();
  }

  /** As a client. */
  dial(port: number): void {
    this.#remotePort = port;
    const { remoteStatic, staticStatic } = this.#statics();
    const initiation = new Uint8Array(INITIATION_BYTES);
    emitHeader(initiation, MESSAGE_INITIATION, OWN_INDEX);
    this.#noise = new NoiseInitiator({
      prologue: makePrologue(initiation),
      staticKey: importPrivateKey(this.#privateKey),
      ephemeralKey: importPrivateKey(new Uint8Array(32).fill(0x61)),
      remoteStatic,
      presharedKey: NO_PRESHARED_KEY,
      staticStatic,
    });
    const hello = emitHello({
      timestamp: new Uint8Array(12).fill(0x7f),
      version: this.#manners.version,
      features: this.#manners.features,
      costs: { 'aes-256-gcm': 500, 'chacha20-poly1305': 0 },
    });
    hello.fill(this.#manners.reserved, 13, 16);
    initiation.set(this.#noise.writeInitiation(hello), MESSAGE_HEADER_BYTES);
    writeMac1(initiation, mac1Key(this.#remotePublicKey));
    writeMac2(initiation, undefined);
    this.#send(initiation);
  }

  /** A packet of the datagram plane, with whatever lies behind it. */
  sendPacket(packet: Uint8Array): void {
    this.sendType(TYPE_DATAGRAM, packet);
  }

  sendFrames(frames: Uint8Array): void {
    this.sendType(TYPE_CONTROL, new Uint8Array(Buffer.concat([this.#manners.before, frames, this.#manners.after])));
  }

  sendType(type: number, plaintext: Uint8Array): void {
    const keys = this.#keys;
    if (keys === undefined) throw new Error('no session yet');
    const header = { type, pathId: PATH_ID, receiverIndex: keys.remoteIndex, packetNumber: this.#packetNumber++ };
    this.#send(sealDatagram(AEAD, keys.sendKey, header, plaintext));
  }

  #send(bytes: Uint8Array): void {
    this.#socket.send(bytes, this.#remotePort, '127.0.0.1');
  }

  #statics() {
    const remoteStatic = importPublicKey(this.#remotePublicKey);
    const staticStatic = sharedSecret(importPrivateKey(this.#privateKey), remoteStatic);
    if (staticStatic === undefined) throw new Error('a key of small order');
    return { remoteStatic, staticStatic };
  }

  #receive(bytes: Uint8Array, port: number): void {
    this.#remotePort = port;
    if (bytes[0] === MESSAGE_INITIATION) this.#answer(bytes);
    else if (bytes[0] === MESSAGE_RESPONSE) this.#finish(bytes);
    else this.#receiveData(bytes);
  }

  /** As a server. */
  #answer(initiation: Uint8Array): void {
    const { remoteStatic, staticStatic } = this.#statics();
    const noise = new NoiseResponder({ prologue: makePrologue(initiation), staticKey: importPrivateKey(this.#privateKey) });
    const message = withoutMacs(initiation).subarray(MESSAGE_HEADER_BYTES);
    if (noise.readStatic(message) === undefined) throw new Error('the initiation does not verify');
    const hello = parseHello(noise.readPayload(message, remoteStatic, staticStatic)!);
    if (typeof hello === 'string') throw new Error(hello);
    this.heard = { version: hello.version, features: hello.features };
    const choice = emitChoice({
      senderIndex: OWN_INDEX,
      version: Math.min(this.#manners.version, hello.version),
      aead: AEAD,
      features: this.#manners.features,
    });
    choice.fill(this.#manners.reserved, 6, 8);
    const { message: written, split } = noise.writeResponse(importPrivateKey(new Uint8Array(32).fill(0x62)), NO_PRESHARED_KEY, choice)!;
    const response = new Uint8Array(RESPONSE_BYTES);
    emitHeader(response, MESSAGE_RESPONSE, messageIndex(initiation));
    response.set(written, MESSAGE_HEADER_BYTES);
    writeMac1(response, mac1Key(this.#remotePublicKey));
    writeMac2(response, undefined);
    this.#keys = { ...deriveTransportKeys(split, AEAD, false), remoteIndex: messageIndex(initiation) };
    this.#send(response);
  }

  #finish(response: Uint8Array): void {
    const result = this.#noise!.readResponse(withoutMacs(response).subarray(MESSAGE_HEADER_BYTES));
    const choice = result === undefined ? 'the response does not verify' : parseChoice(result.payload);
    if (typeof choice === 'string') throw new Error(choice);
    this.heard = { version: choice.version, features: choice.features };
    this.#keys = { ...deriveTransportKeys(result!.split, AEAD, true), remoteIndex: choice.senderIndex };
    this.#challenge();
  }

  #challenge(): void {
    const out = new Uint8Array(100);
    this.sendFrames(out.subarray(0, emitPathChallenge(out, 0, TOKEN, 'dsl', false, 1400)));
  }

  #receiveData(bytes: Uint8Array): void {
    const opened = this.#keys === undefined ? 'early' : openDatagram(AEAD, this.#keys.receiveKey, bytes);
    // Sealed for a session that was overtaken.
    if (typeof opened === 'string') return;
    if (opened.header.type === TYPE_DATAGRAM) this.packets.push(opened.plaintext);
    if (opened.header.type !== TYPE_CONTROL) return;
    const frames = parseFrames(opened.plaintext);
    if (typeof frames === 'string') throw new Error(frames);
    for (const frame of frames) this.#handleFrame(frame);
  }

  #handleFrame(frame: ControlFrame): void {
    this.frames.push(frame);
    const out = new Uint8Array(100);
    if (frame.type === 'path-challenge') {
      this.sendFrames(out.subarray(0, emitPathResponse(out, 0, frame.token)));
      if (!this.challengeAnswered) this.#challenge();
    } else if (frame.type === 'path-probe') {
      this.sendFrames(out.subarray(0, emitPathProbeReply(out, 0, frame.sequence, frame.timeMs)));
    } else if (frame.type === 'path-response') {
      this.challengeAnswered ||= Buffer.compare(frame.token, TOKEN) === 0;
    }
  }
}
