/** Where clients come in: the UDP port, and those of the other carriers. */

import type { NativeAddon } from '../tun/native.js';
import type { Carrier } from './carrier/carrier.js';
import { ProofChecker } from './carrier/peer-proof.js';
import type { ServerCertificate } from './carrier/server-certificate.js';
import type { TransportKind } from './carrier/transport.js';
import { TransportCarrier } from './carrier/transport-carrier.js';
import type { Transports } from './carrier/transports.js';
import { UdpCarrier } from './carrier/udp-carrier.js';
import type { CarrierListenConfig, InterfaceConfig } from './config.js';
import { adoptOrOpen, type DescriptorStore } from './descriptor-store.js';
import type { Peer } from './path/peer.js';
import { TunnelError, type TunnelLog } from './tunnel-api.js';

export interface ListenersOptions {
  config: InterfaceConfig;
  native: NativeAddon;
  log: TunnelLog;
  mark: number | undefined;
  descriptors: DescriptorStore;
  transports: Transports;
  certificate: (config: CarrierListenConfig, tunnel: string) => Promise<ServerCertificate>;
  receive: (carrier: Carrier) => void;
}

/** The kernel has no IPv6. */
const NO_IPV6_CODES: ReadonlySet<string> = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EPROTONOSUPPORT']);

export class Listeners {
  readonly #options: ListenersOptions;
  /** Of who may use the other carriers; only where there are any. */
  readonly #proofs: ProofChecker<Peer> | undefined;
  #udp: UdpCarrier | undefined;

  constructor(options: ListenersOptions) {
    this.#options = options;
    if (options.config.carriers !== undefined) this.#proofs = new ProofChecker(options.config.privateKey);
  }

  get udp(): UdpCarrier | undefined {
    return this.#udp;
  }

  addPeer(peer: Peer): void {
    if (!peer.initiator) this.#proofs?.add(peer, peer.config.publicKey);
  }

  removePeer(peer: Peer): void {
    this.#proofs?.remove(peer);
  }

  /** Rejects with TunnelError `listen`, `carrier-missing`. */
  async open(): Promise<void> {
    this.#openUdp();
    const { carriers, name } = this.#options.config;
    if (carriers === undefined) return;
    const certificate = await this.#options.certificate(carriers, name);
    if (certificate.selfSigned) {
      const hash = Buffer.from(certificate.sha256).toString('hex');
      this.#options.log.info(`the certificate of the carriers is our own: clients need certificate_sha256 = "${hash}"`);
    }
    if (carriers.quicPort !== undefined) await this.#listen('quic', carriers.quicPort, carriers, certificate);
    if (carriers.webtransportPort !== undefined) await this.#listen('webtransport', carriers.webtransportPort, carriers, certificate);
  }

  /** Those of the other carriers end with the transports. */
  close(): void {
    this.#udp?.close();
  }

  /** One dual-stack socket; IPv4 alone where the kernel has no IPv6. */
  #openUdp(): void {
    const { config, native, mark, receive, descriptors } = this.#options;
    const port = config.listenPort;
    if (port === undefined) return;
    const open = (family: 4 | 6): void => {
      const carrier = new UdpCarrier(native, { family, port, address: undefined, device: undefined, mark }, receive);
      const kept = `udp${family}.${port}`;
      adoptOrOpen(descriptors, kept, (descriptor) => carrier.open(descriptor));
      descriptors.keep(kept, native.udpFd(carrier.handle!));
      this.#udp = carrier;
    };
    try {
      try {
        open(6);
      } catch (error) {
        if (!NO_IPV6_CODES.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
        open(4);
      }
    } catch (cause) {
      throw listenError(port, cause as NodeJS.ErrnoException);
    }
  }

  async #listen(
    kind: TransportKind,
    port: number,
    { webFolder }: CarrierListenConfig,
    { certificate, privateKey }: ServerCertificate,
  ): Promise<void> {
    const { transports, mark, native, receive, log } = this.#options;
    await transports.listen(kind, {
      port,
      mark,
      certificate,
      privateKey,
      webFolder,
      checkProof: (proof) => this.#proofs?.check(proof, Date.now()) !== undefined,
      onTransport: (transport) => {
        const carrier = new TransportCarrier(native, transport, receive);
        return {
          onOpen: () => undefined,
          onDatagrams: (bytes, lengths, count) => carrier.handleDatagrams(bytes, lengths, count),
          onClose: () => carrier.close(),
        };
      },
      warn: (message) => log.warn(message),
    });
  }
}

function listenError(port: number, cause: NodeJS.ErrnoException): TunnelError {
  const message =
    cause.code === 'EADDRINUSE'
      ? `UDP port ${port} is taken: choose another listen_port, or stop the program that holds it ("ss -lunp" shows it).`
      : cause.code === 'EACCES'
        ? `UDP port ${port} needs root or CAP_NET_BIND_SERVICE: choose a listen_port above 1023.`
        : `UDP port ${port} cannot be opened: ${cause.message}`;
  return new TunnelError('listen', message, { cause });
}
