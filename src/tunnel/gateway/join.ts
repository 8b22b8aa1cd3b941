/** The client's side of an invite: one short session under the invite's keys, in which our own key is enrolled. Needs neither root nor a device. */

import { randomBytes } from 'node:crypto';
import { publicKeyOf } from '../../crypto/x25519.js';
import { loadNative } from '../../tun/native.js';
import type { TunnelConfig } from '../config.js';
import type { LinkObserver, PeerLink } from '../link.js';
import { createLinkLayer } from '../link-layer.js';
import type { PeerMessage } from '../session/slow-control.js';
import { TunnelError, type TunnelLog } from '../tunnel-api.js';
import { deriveInviteKeys, derivePeerPresharedKey, makeProof, PROOF_NONCE_BYTES } from './enrolment-proof.js';
import type { Invite } from './invite-line.js';

export interface EnrolOptions {
  invite: Invite;
  /** Ours, to be enrolled; it does not leave this host. */
  privateKey: Uint8Array;
  /** For each endpoint of the invite. */
  timeoutMs: number;
  log: TunnelLog;
}

export interface Enrolled {
  /** The one that answered. */
  endpoint: string;
  presharedKey: Uint8Array;
  /** False: the server was asked, but its answer did not come. It may have enrolled us. */
  confirmed: boolean;
}

/** The request or its answer may be lost: asked again this often. */
const ASK_EVERY_MS = 300;

const REFUSALS: Readonly<Record<Extract<PeerMessage, { kind: 'enrol-refused' }>['reason'], string>> = {
  used: 'this invite was used already: ask for another',
  expired: 'this invite has expired: ask for another',
  'bad-proof': 'the server does not accept the proof of our key: are both sides of the same version?',
  failed: 'the server could not enrol us: its log says why',
};

/** Rejects with TunnelError `refused` or `no-answer`: nothing was enrolled. */
export async function enrol(options: EnrolOptions): Promise<Enrolled> {
  let failure: TunnelError | undefined;
  for (const endpoint of options.invite.endpoints) {
    try {
      return await new Attempt(options, endpoint).run();
    } catch (error) {
      if (!(error instanceof TunnelError) || error.code === 'refused') throw error;
      failure = error;
    }
  }
  throw failure ?? new TunnelError('no-answer', 'the invite names no endpoint');
}

class Attempt implements LinkObserver {
  readonly #options: EnrolOptions;
  readonly #endpoint: string;
  readonly #request: Extract<PeerMessage, { kind: 'enrol' }>;
  readonly #config: TunnelConfig;
  readonly #presharedKey: Uint8Array;
  #asked = false;
  #finish: (answer: PeerMessage) => void = () => {};

  constructor(options: EnrolOptions, endpoint: string) {
    this.#options = options;
    this.#endpoint = endpoint;
    const { invite, privateKey } = options;
    const keys = deriveInviteKeys(invite.secret);
    const publicKey = publicKeyOf(privateKey);
    const nonce = new Uint8Array(randomBytes(PROOF_NONCE_BYTES));
    const context = { invitePublicKey: publicKeyOf(keys.privateKey), publicKey, nonce };
    this.#request = { kind: 'enrol', publicKey, nonce, box: makeProof(context, privateKey, invite.serverPublicKey) };
    this.#presharedKey = derivePeerPresharedKey(keys.presharedKey, publicKey, invite.serverPublicKey);
    this.#config = {
      interface: { name: invite.tunnel, privateKey: keys.privateKey, addresses: [], listenPort: undefined, mtuBytes: 1420 },
      paths: [],
      peers: [
        {
          name: 'server',
          publicKey: invite.serverPublicKey,
          presharedKey: keys.presharedKey,
          endpoint,
          allowedIps: [],
          ...invite.carriers,
        },
      ],
      egress: undefined,
      stream: { scheduler: 'ecf', congestionControl: 'bbr', steer: 'aggregate' },
    };
  }

  async run(): Promise<Enrolled> {
    const { timeoutMs, log } = this.#options;
    const layer = createLinkLayer({ config: this.#config, native: loadNative(), log });
    const answered = new Promise<PeerMessage>((resolve) => {
      this.#finish = resolve;
    });
    await layer.start(this);
    const ask = setInterval(() => {
      const server = layer.peers[0];
      if (server !== undefined && layer.sendMessage(server, this.#request)) this.#asked = true;
    }, ASK_EVERY_MS);
    let timer: NodeJS.Timeout | undefined;
    const overdue = new Promise<undefined>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, undefined);
    });
    try {
      const answer = await Promise.race([answered, overdue]);
      if (answer === undefined && !this.#asked) throw this.#overdue();
      if (answer?.kind === 'enrol-refused') throw new TunnelError('refused', REFUSALS[answer.reason]);
      return { endpoint: this.#endpoint, presharedKey: this.#presharedKey, confirmed: answer !== undefined };
    } finally {
      clearInterval(ask);
      clearTimeout(timer);
      await layer.close();
    }
  }

  onMessage(_peer: PeerLink, message: PeerMessage): void {
    if (message.kind === 'enrolled' && Buffer.compare(message.publicKey, this.#request.publicKey) === 0) this.#finish(message);
    else if (message.kind === 'enrol-refused') this.#finish(message);
  }

  onStreamPacket(): void {}
  onDatagramPacket(): void {}
  onPathChange(): void {}
  onPathRemoved(): void {}
  onPeerChange(): void {}
  onBatchEnd(): void {}

  #overdue(): TunnelError {
    const seconds = Math.round(this.#options.timeoutMs / 1000);
    const until = new Date(this.#options.invite.expiresAtMs).toISOString();
    return new TunnelError(
      'no-answer',
      `no answer from ${this.#endpoint} within ${seconds} s: the invite was used, revoked or has expired (it holds until ${until}), or the UDP port is closed on the way`,
    );
  }
}
