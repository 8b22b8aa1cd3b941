/** Both ends of the carrier on loopback, and what lies between them. */

import { randomBytes } from 'node:crypto';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { PROOF_BYTES } from '../../../../src/tunnel/carrier/peer-proof.js';
import { makeSelfSigned, type SelfSigned } from '../../../../src/tunnel/carrier/self-signed.js';
import type {
  DialOptions,
  ListenOptions,
  Transport,
  TransportListener,
  TransportProvider,
} from '../../../../src/tunnel/carrier/transport.js';
import { loadWebTransportOverHttp2 } from '../../../../src/tunnel/carrier/webtransport/http2.js';

export const NAME = 'gateway.test';
export const PROOF = Uint8Array.from(randomBytes(PROOF_BYTES));

/** What a transport has told. */
export class Ear {
  readonly datagrams: Buffer[] = [];
  bytes = 0;
  keep = true;
  opened = 0;
  readonly closed: string[] = [];
  #wake: (() => void)[] = [];

  onOpen = () => {
    this.opened++;
    this.#stir();
  };

  onDatagrams = (bytes: Uint8Array, lengths: Int32Array, count: number) => {
    let at = 0;
    for (let i = 0; i < count; i++) {
      if (this.keep) this.datagrams.push(Buffer.from(bytes.subarray(at, at + lengths[i]!)));
      at += lengths[i]!;
    }
    this.bytes += at;
    this.#stir();
  };

  onClose = (reason: string) => {
    this.closed.push(reason);
    this.#stir();
  };

  async until(done: (ear: Ear) => boolean): Promise<void> {
    while (!done(this)) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  #stir(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const one of wake) one();
  }
}

export interface Accepted {
  readonly transport: Transport;
  readonly ear: Ear;
}

export interface Rig {
  readonly provider: TransportProvider;
  readonly listener: TransportListener;
  readonly self: SelfSigned;
  readonly accepted: Accepted[];
  /** Who showed which proof. */
  readonly asked: { proof: Uint8Array; source: string }[];
  dial(changes?: Partial<DialOptions>): Accepted;
  /** A dialled one that is open, and its other end. */
  pair(changes?: Partial<DialOptions>): Promise<{ near: Accepted; far: Accepted }>;
  close(): Promise<void>;
}

export async function makeRig(changes: Partial<ListenOptions> = {}, days?: number): Promise<Rig> {
  const provider = await loadWebTransportOverHttp2();
  const self = await makeSelfSigned(NAME, days);
  const accepted: Accepted[] = [];
  const asked: Rig['asked'] = [];
  const listener = await provider.listen({
    port: 0,
    mark: undefined,
    certificate: self.certificate,
    privateKey: self.privateKey,
    webFolder: undefined,
    checkProof: (proof, source) => {
      asked.push({ proof, source });
      return Buffer.compare(proof, PROOF) === 0;
    },
    onTransport: (transport) => {
      const ear = new Ear();
      accepted.push({ transport, ear });
      return ear;
    },
    warn: () => undefined,
    ...changes,
  });
  const dial = (more: Partial<DialOptions> = {}): Accepted => {
    const ear = new Ear();
    const transport = provider.dial({ ...dialOptions(listener.port, self), ...more }, ear);
    return { transport, ear };
  };
  const pair: Rig['pair'] = async (more) => {
    const before = accepted.length;
    const near = dial(more);
    await near.ear.until((ear) => ear.opened > 0 || ear.closed.length > 0);
    if (near.ear.opened === 0) throw new Error(near.ear.closed[0]);
    return { near, far: accepted[before]! };
  };
  return { provider, listener, self, accepted, asked, dial, pair, close: () => provider.close() };
}

export function dialOptions(port: number, self: SelfSigned): DialOptions {
  return {
    address: '127.0.0.1',
    port,
    serverName: NAME,
    certificateSha256: self.sha256,
    device: undefined,
    localAddress: undefined,
    mark: undefined,
    mtuBytes: 1500,
    proof: PROOF,
  };
}

export function send(transport: Transport, datagrams: readonly Uint8Array[]): void {
  transport.sendDatagrams(
    Buffer.concat(datagrams),
    Int32Array.from(datagrams, ({ length }) => length),
    datagrams.length,
  );
}

/** Few at once, each when those before have come: however slow the machine is, none waits too long. */
export async function sendAll(transport: Transport, datagrams: readonly Uint8Array[], ear: Ear): Promise<void> {
  const FEW = 20;
  for (let sent = 0; sent < datagrams.length; sent += FEW) {
    send(transport, datagrams.slice(sent, sent + FEW));
    await ear.until(() => ear.datagrams.length >= Math.min(sent + FEW, datagrams.length));
  }
}

/** A TCP relay that can hold back what clients send, or everything. */
export class Relay {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Towards the server, held back. */
  readonly held: Buffer[] = [];
  heldBytes = 0;
  hold: 'nothing' | 'upward' | 'everything' = 'nothing';
  port = 0;

  constructor(target: number) {
    this.#server = createServer((down) => {
      const up = connect(target, '127.0.0.1');
      for (const socket of [up, down]) {
        this.#sockets.add(socket);
        socket.setNoDelay(true);
        socket.on('error', () => undefined);
      }
      down.on('data', (data) => {
        if (this.hold === 'nothing') up.write(data);
        else this.#keep(data);
      });
      up.on('data', (data) => {
        if (this.hold !== 'everything') down.write(data);
      });
      down.on('close', () => up.destroy());
      up.on('close', () => down.destroy());
    });
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.port = (this.#server.address() as { port: number }).port;
    return this;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #keep(data: Buffer): void {
    this.held.push(data);
    this.heldBytes += data.length;
  }
}
