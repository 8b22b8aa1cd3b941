/** Which of HTTP/3 and HTTP/2 a dialled WebTransport goes over, with transports that do as they are told. */

import t from 'tap';
import type { DialTransport, Transport, TransportEvents } from '../../../../src/tunnel/carrier/transport.js';
import { Http3Memory } from '../../../../src/tunnel/carrier/webtransport/http3-memory.js';
import { RacedTransport } from '../../../../src/tunnel/carrier/webtransport/raced-transport.js';
import { SilenceWatch } from '../../../../src/tunnel/carrier/webtransport/silence-watch.js';
import { dialOptions, Ear } from './rig.js';

const SELF = { certificate: '', privateKey: '', sha256: new Uint8Array(32) };

/** What was dialled over one protocol. */
class Told {
  readonly dialled: { events: TransportEvents; closed: boolean; received: number }[] = [];

  readonly protocol: string;

  constructor(protocol: string) {
    this.protocol = protocol;
  }

  readonly dial: DialTransport = (_options, events) => {
    const one = { events, closed: false, received: 0 };
    this.dialled.push(one);
    return {
      ...{ kind: 'webtransport', protocol: this.protocol, maxDatagramBytes: 1400 },
      ...{ local: { address: '', port: 1 }, remote: { address: '', port: 2 } },
      get counters() {
        return { sentDatagrams: 0, receivedDatagrams: one.received, droppedDatagrams: 0 };
      },
      sendDatagrams: () => undefined,
      close: () => {
        one.closed = true;
      },
    } as Transport;
  };
}

function race(memory = new Http3Memory()) {
  const [http3, http2] = [new Told('HTTP/3'), new Told('HTTP/2')];
  const ear = new Ear();
  const options = { dialHttp3: http3.dial, dialHttp2: http2.dial, memory, onGone: () => undefined };
  const transport = new RacedTransport(options, dialOptions(443, SELF as never), ear);
  return { http3, http2, ear, transport, memory };
}

const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
};

t.test('HTTP/3 that opens within its head start is alone', async (t) => {
  const { http3, http2, ear, transport } = race();
  http3.dialled[0]!.events.onOpen();
  t.equal(ear.opened, 1);
  t.equal(transport.protocol, 'HTTP/3');
  t.same(http2.dialled, []);
  transport.close();
  t.ok(http3.dialled[0]!.closed);
});

t.test('HTTP/2 is dialled beside HTTP/3 that does not answer; the loser is closed, and not tried at the next dial', async (t) => {
  const { http3, http2, ear, transport, memory } = race();
  await until(() => http2.dialled.length > 0);
  http2.dialled[0]!.events.onOpen();
  t.equal(transport.protocol, 'HTTP/2');
  t.ok(http3.dialled[0]!.closed);
  http3.dialled[0]!.events.onOpen();
  t.equal(ear.opened, 1);
  const again = race(memory);
  t.equal(again.http3.dialled.length, 0);
  t.equal(again.http2.dialled.length, 1);
  transport.close();
  again.transport.close();
});

t.test('HTTP/3 that fails does not keep HTTP/2 waiting, and the end of both is the end', async (t) => {
  const { http3, http2, ear } = race();
  http3.dialled[0]!.events.onClose('refused');
  t.equal(http2.dialled.length, 1);
  http2.dialled[0]!.events.onClose('TCP: refused');
  t.same(ear.closed, ['HTTP/3: refused; HTTP/2: TCP: refused']);
});

t.test('whom the server refuses over HTTP/2 does not wait long for HTTP/3 that says nothing, unless it opens', async (t) => {
  const silent = race();
  const late = race();
  for (const { http2 } of [silent, late]) {
    await until(() => http2.dialled.length > 0);
    http2.dialled[0]!.events.onClose('not admitted');
  }
  t.same(silent.ear.closed, []);
  late.http3.dialled[0]!.events.onOpen();
  await until(() => silent.ear.closed.length > 0);
  t.same(silent.ear.closed, ['HTTP/2: not admitted; HTTP/3: no answer']);
  t.ok(silent.http3.dialled[0]!.closed);
  t.same(late.ear.closed, []);
  t.equal(late.transport.protocol, 'HTTP/3');
  late.transport.close();
});

t.test('HTTP/3 over which the path does not work ends when HTTP/2 opens beside it, and not before', async (t) => {
  const { http3, http2, ear, transport, memory } = race();
  http3.dialled[0]!.events.onOpen();
  transport.doubt();
  await until(() => http2.dialled.length > 0);
  http2.dialled[0]!.events.onClose('the link is dead');
  await until(() => http2.dialled.length > 1);
  t.same(ear.closed, [], 'a link that is dead for both is no reason');
  http2.dialled[1]!.events.onOpen();
  await until(() => ear.closed.length > 0);
  t.match(ear.closed[0], /HTTP\/3 gets no answer, while HTTP\/2 does/);
  t.ok(http3.dialled[0]!.closed && http2.dialled[1]!.closed);
  t.equal(race(memory).http3.dialled.length, 0);
});

t.test('a doubt that passes is no reason to leave HTTP/3', async (t) => {
  const { http3, http2, ear, transport } = race();
  http3.dialled[0]!.events.onOpen();
  transport.doubt();
  await until(() => http2.dialled.length > 0);
  http2.dialled[0]!.events.onOpen();
  transport.trust();
  await until(() => http2.dialled[0]!.closed);
  await new Promise((resolve) => setTimeout(resolve, 1200));
  t.same(ear.closed, []);
  t.notOk(http3.dialled[0]!.closed);
  transport.close();
});

t.test('a failure is remembered for some minutes, by way', async (t) => {
  const memory = new Http3Memory();
  memory.handleFailure('a', 0);
  t.notOk(memory.isWorthATry('a', 299_000));
  t.ok(memory.isWorthATry('b', 0));
  t.ok(memory.isWorthATry('a', 301_000));
  memory.handleFailure('a', 0);
  memory.handleSuccess('a');
  t.ok(memory.isWorthATry('a', 1));
});

t.test('silence is where datagrams go and nothing comes, not where nothing goes', async (t) => {
  const watch = new SilenceWatch();
  watch.look(0, 0, 0);
  t.equal(watch.look(0, 0, 900), 0, 'nothing was said');
  watch.look(5, 0, 1000);
  t.equal(watch.look(5, 0, 1900), 900);
  t.equal(watch.look(6, 1, 2000), 0, 'an answer');
  watch.look(9, 1, 2100);
  t.equal(watch.look(9, 1, 9000), 0, 'we were held up ourselves');
});
