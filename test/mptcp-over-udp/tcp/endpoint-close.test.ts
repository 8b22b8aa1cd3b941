/** How a TCP endpoint at the TUN ends when its reader is slower than the application: segments by hand, time by hand. */

import t from 'tap';
import type { ByteStreamHandler } from '../../../src/mptcp-over-udp/byte-stream.js';
import type { TcpEndpoint } from '../../../src/mptcp-over-udp/tcp/endpoint.js';
import { EndpointHost } from '../../../src/mptcp-over-udp/tcp/endpoint-host.js';
import { HeaderTemplate } from '../../../src/mptcp-over-udp/tcp/header-template.js';
import type { CloseReason } from '../../../src/mptcp-over-udp/tcp/tcp-connection.js';
import { patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { ACK, FIN, PSH, RST, SYN } from '../../../src/mptcp-over-udp/wire/segment.js';

const APPLICATION = Uint8Array.of(10, 77, 0, 2);
const DESTINATION = Uint8Array.of(198, 51, 100, 2);
const APPLICATION_ISN = 5000;

/** An application's kernel at one end, and at the other a reader that takes what `room` allows. */
class Bench {
  nowMs = 1000;
  room = 0;
  read = 0;
  ended = false;
  closed: CloseReason | undefined;
  /** Flags and sequence numbers of what the endpoint sent. */
  readonly sent: { flags: number; sequenceNumber: number }[] = [];
  readonly host: EndpointHost;
  endpoint!: TcpEndpoint;
  private sequenceNumber = APPLICATION_ISN;
  private readonly template = new HeaderTemplate({
    ipVersion: 4,
    localAddress: APPLICATION,
    localPort: 40_000,
    remoteAddress: DESTINATION,
    remotePort: 80,
  });

  constructor() {
    const handler: ByteStreamHandler = {
      onEstablished: () => undefined,
      onData: (_bytes, _at, length) => {
        const taken = Math.min(length, this.room);
        this.room -= taken;
        this.read += taken;
        return taken;
      },
      onEnd: () => {
        this.ended = true;
      },
      onWritable: () => undefined,
      onClosed: (reason) => {
        this.closed = reason;
      },
    };
    this.host = new EndpointHost({
      sink: {
        sendSegments: (_pathId, header) => {
          const view = new DataView(header.buffer, header.byteOffset);
          this.sent.push({ flags: header[33]!, sequenceNumber: view.getUint32(24) });
        },
      },
      randomBytes: (count) => new Uint8Array(count).fill(9),
      mtuBytes: 1400,
      onSyn: (endpoint) => {
        this.endpoint = endpoint;
        endpoint.setHandler(handler);
        endpoint.accept();
      },
    });
    this.say(SYN, 0, 0);
    this.sequenceNumber++;
    this.acknowledge();
  }

  /** The next sequence number that the application expects: all that was sent. */
  private get expected(): number {
    const last = this.sent.findLast(({ flags }) => (flags & (SYN | FIN)) !== 0)!;
    return (last.sequenceNumber + 1) >>> 0;
  }

  acknowledge(): void {
    this.say(ACK, this.expected, 0);
  }

  /** One segment of the application. */
  say(flags: number, acknowledgmentNumber: number, payloadBytes: number): void {
    const end = this.template.finish(this.sequenceNumber, acknowledgmentNumber, flags, 65_535, this.template.optionsAt);
    const packet = new Uint8Array(end + payloadBytes);
    packet.set(this.template.bytes.subarray(0, end));
    patchIpLength(packet, 0, packet.length);
    this.sequenceNumber += payloadBytes + ((flags & FIN) !== 0 ? 1 : 0);
    this.host.handlePacket(packet, 0, packet.length, this.nowMs);
    this.poll(0);
  }

  sayLast(payloadBytes: number): void {
    this.say(ACK | PSH | FIN, this.expected, payloadBytes);
  }

  poll(afterMs: number): void {
    this.nowMs += afterMs;
    this.host.poll(this.nowMs);
  }
}

t.test(
  'the far side ends first, the application has said all and TIME-WAIT is over: what it said still reaches a slow reader',
  async (t) => {
    const bench = new Bench();
    bench.endpoint.finish();
    bench.poll(1);
    bench.acknowledge();
    bench.sayLast(1000);
    t.equal(bench.endpoint.state, 'time-wait');
    bench.poll(5000);
    t.equal(bench.endpoint.state, 'closed');
    t.equal(bench.host.endpointCount, 0, 'the four-tuple is free');
    t.equal(bench.closed, undefined, 'the reader is not told of the end before it has all');
    bench.room = 400;
    bench.endpoint.resumeReading();
    t.match(bench, { read: 400, ended: false });
    bench.room = 1000;
    bench.endpoint.resumeReading();
    t.match(bench, { read: 1000, ended: true, closed: 'finished' });
  },
);

t.test('the same when the application ends first and its last ACK closes the endpoint', async (t) => {
  const bench = new Bench();
  bench.sayLast(1000);
  t.equal(bench.endpoint.state, 'close-wait');
  bench.endpoint.finish();
  bench.poll(1);
  bench.acknowledge();
  t.equal(bench.endpoint.state, 'closed');
  t.equal(bench.closed, undefined);
  bench.room = 1000;
  bench.endpoint.resumeReading();
  t.match(bench, { read: 1000, ended: true, closed: 'finished' });
});

t.test('a reader that goes away meanwhile lets go of what is held', async (t) => {
  const bench = new Bench();
  bench.sayLast(1000);
  bench.endpoint.finish();
  bench.poll(1);
  bench.acknowledge();
  bench.endpoint.abort(bench.nowMs);
  t.equal(bench.closed, 'aborted');
  bench.room = 1000;
  bench.endpoint.resumeReading();
  t.equal(bench.read, 0);
});

t.test('no window update after the FIN of the application, and RFC 1337: an RST does not end TIME-WAIT', async (t) => {
  const bench = new Bench();
  bench.endpoint.finish();
  bench.poll(1);
  bench.acknowledge();
  bench.sayLast(1000);
  const before = bench.sent.length;
  bench.room = 1000;
  bench.endpoint.resumeReading();
  bench.poll(1);
  t.equal(bench.sent.length, before, 'its socket is gone, and would answer with RST');
  bench.say(RST, 0, 0);
  t.equal(bench.endpoint.state, 'time-wait');
  bench.poll(5000);
  t.equal(bench.closed, 'finished');
});
