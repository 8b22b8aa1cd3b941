/** One end of the carrier in a namespace, told what to do by messages, telling what happens. */

import { PROOF_BYTES } from '../../src/tunnel/carrier/peer-proof.js';
import { makeSelfSigned } from '../../src/tunnel/carrier/self-signed.js';
import type { Transport, TransportAddress, TransportEvents } from '../../src/tunnel/carrier/transport.js';
import { loadWebTransportOverHttp2 } from '../../src/tunnel/carrier/webtransport/http2.js';

interface Order {
  order: 'listen' | 'dial' | 'send' | 'close';
  address: string;
  port: number;
  sha256: number[];
  device: string;
  text: string;
}

const provider = await loadWebTransportOverHttp2();
let transport: Transport | undefined;

const tell = (message: object) => void process.send!(message);
const textOf = ({ address, port }: TransportAddress) => `${address}:${port}`;
const tellOpen = (one: Transport) => tell({ said: 'open', local: textOf(one.local), remote: textOf(one.remote) });

const events: TransportEvents = {
  onOpen: () => tellOpen(transport!),
  onDatagrams: (bytes, lengths) => tell({ said: 'datagram', text: Buffer.from(bytes.subarray(0, lengths[0])).toString() }),
  onClose: (reason) => tell({ said: 'closed', reason }),
};

async function listen(): Promise<void> {
  const { certificate, privateKey, sha256 } = await makeSelfSigned('server');
  const listener = await provider.listen({
    port: 0,
    mark: undefined,
    certificate,
    privateKey,
    webFolder: undefined,
    checkProof: () => true,
    onTransport: (accepted) => {
      transport = accepted;
      tellOpen(accepted);
      return events;
    },
    warn: () => undefined,
  });
  tell({ said: 'listening', port: listener.port, sha256: [...sha256] });
}

function dial({ address, port, sha256, device }: Order): void {
  transport = provider.dial(
    {
      address,
      port,
      device,
      serverName: 'server',
      certificateSha256: Uint8Array.from(sha256),
      localAddress: undefined,
      mark: undefined,
      mtuBytes: 1500,
      proof: new Uint8Array(PROOF_BYTES),
    },
    events,
  );
}

process.on('message', (order: Order) => {
  const text = Buffer.from(order.text ?? '');
  if (order.order === 'listen') void listen();
  else if (order.order === 'dial') dial(order);
  else if (order.order === 'send') transport!.sendDatagrams(text, Int32Array.of(text.length), 1);
  else transport!.close();
});
