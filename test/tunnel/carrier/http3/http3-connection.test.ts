/** Both ends of HTTP/3 without anything between them: streams are handed over in whatever pieces, and what a peer may not do is answered with the RFC's error. */

import fc from 'fast-check';
import t from 'tap';
import { FRAMES, frameBytes } from '../../../../src/tunnel/carrier/http3/frame-parser.js';
import { Http3Connection, type Http3Role } from '../../../../src/tunnel/carrier/http3/http3-connection.js';
import { HTTP3_ERRORS } from '../../../../src/tunnel/carrier/http3/http3-error.js';
import { decodeFields, encodeFields, type Field } from '../../../../src/tunnel/carrier/http3/qpack.js';
import { emitSettings } from '../../../../src/tunnel/carrier/http3/settings.js';
import { varintBytes } from '../../../../src/tunnel/carrier/varint.js';

interface Sent {
  readonly streamId: number;
  readonly bytes: Uint8Array;
  readonly fin: boolean;
}

class End {
  readonly sent: Sent[] = [];
  readonly stopped: [number, string][] = [];
  readonly datagrams: string[] = [];
  readonly http3: Http3Connection;

  constructor(role: Http3Role) {
    this.http3 = new Http3Connection(role, {
      send: (streamId, bytes, fin) => void this.sent.push({ streamId, bytes, fin }),
      stop: (streamId, error) => void this.stopped.push([streamId, error]),
      onDatagrams: (bytes, lengths) => void this.datagrams.push(Buffer.from(bytes.subarray(0, lengths[0])).toString()),
    });
    this.http3.start();
  }
}

const client = (path = '/right'): End => new End({ name: 'client', authority: 'a.example', path });
const server = (): End => new End({ name: 'server', isPeer: (path) => path === '/right' });
const CONTROL = Uint8Array.from([0x00, ...frameBytes(FRAMES.settings, emitSettings(8192))]);
const CONNECT: readonly Field[] = [
  [':method', 'CONNECT'],
  [':protocol', 'webtransport'],
  [':scheme', 'https'],
  [':authority', 'a.example'],
  [':path', '/right'],
];
const headers = (fields: readonly Field[]): Uint8Array => frameBytes(FRAMES.headers, encodeFields(fields));

/** Until neither has anything to say, in pieces of that many bytes. */
function exchange(a: End, b: End, pieceBytes = 1000): void {
  while (a.sent.length + b.sent.length > 0) {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      for (const { streamId, bytes, fin } of from.sent.splice(0)) {
        for (let at = 0; at < bytes.length; at += pieceBytes) {
          to.http3.handleStream(streamId, bytes.subarray(at, at + pieceBytes), fin && at + pieceBytes >= bytes.length);
        }
      }
    }
  }
}

/** A server with that client's control stream, and what it makes of the rest. */
function serverAfter(streamId: number, bytes: Uint8Array, fin = false, control = CONTROL): End {
  const end = server();
  if (control.length > 0) end.http3.handleStream(2, control, false);
  end.http3.handleStream(streamId, bytes, fin);
  return end;
}

t.test('a session opens at both ends, whatever the pieces', async (t) => {
  for (const pieceBytes of [1, 3, 1000]) {
    const [near, far] = [client(), server()];
    exchange(near, far, pieceBytes);
    t.ok(near.http3.isOpen && far.http3.isOpen);
    t.same([...near.http3.datagramPrefix], [0]);
    near.http3.close();
    exchange(near, far, pieceBytes);
    t.match(far.http3.over, { error: 'H3_NO_ERROR', reason: 'the peer closed the session' });
  }
});

t.test('who shows no right proof gets 404, and so does everybody who asks for a page', async (t) => {
  const [near, far] = [client('/wrong'), server()];
  exchange(near, far);
  t.notOk(far.http3.isOpen);
  t.match(near.http3.over?.reason, /answers 404/);
  const get: Field[] = [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':authority', 'a.example'],
    [':path', '/'],
  ];
  const end = serverAfter(0, headers(get), true);
  const answer = end.sent.find(({ streamId }) => streamId === 0)!;
  t.ok(answer.fin);
  t.same(decodeFields(answer.bytes.subarray(2), 8192)?.[0], [':status', '404']);
  t.equal(end.http3.over, undefined);
  end.http3.handleStream(4, headers(CONNECT), false);
  t.ok(end.http3.isOpen, 'the same connection may ask for its session after that');
  t.same([...end.http3.datagramPrefix], [1]);
  end.http3.handleStream(8, headers(CONNECT), false);
  t.ok(
    end.sent.some(({ streamId, fin }) => streamId === 8 && fin),
    'one session is enough',
  );
});

t.test('a request that comes before the SETTINGS waits for them', async (t) => {
  const end = serverAfter(0, headers(CONNECT), false, new Uint8Array(0));
  t.notOk(end.http3.isOpen);
  end.http3.handleStream(2, CONTROL, false);
  t.ok(end.http3.isOpen);
  const without = Uint8Array.from([0x00, ...frameBytes(FRAMES.settings, new Uint8Array(0))]);
  t.match(serverAfter(0, headers(CONNECT), false, without).http3.over?.reason, /takes no datagrams/);
});

t.test('a session ends with its stream', async (t) => {
  t.match(serverAfter(0, headers(CONNECT), true).http3.over, { error: 'H3_NO_ERROR' });
  const end = serverAfter(0, headers(CONNECT));
  end.http3.handleReset(0);
  t.match(end.http3.over, { error: 'H3_NO_ERROR' });
});

t.test('datagrams are known by the quarter of the stream id, and may come in capsules', async (t) => {
  const end = serverAfter(0, headers(CONNECT));
  t.equal(end.http3.prefixOf(Uint8Array.of(0, 1, 2)), 1);
  t.equal(end.http3.prefixOf(Uint8Array.of(0x40, 0, 2)), 2, 'a longer form of the same');
  t.equal(end.http3.prefixOf(Uint8Array.of(1, 1, 2)), -1, 'of another stream');
  end.http3.handleStream(0, frameBytes(FRAMES.data, Uint8Array.of(0, 2, 0x68, 0x69)), false);
  t.same(end.datagrams, ['hi']);
  t.equal(end.http3.prefixOf(Uint8Array.of(0x40)), -1);
  t.match(end.http3.over, { error: 'H3_DATAGRAM_ERROR' });
});

t.test('what may not be is an error of the connection', async (t) => {
  const settings = frameBytes(FRAMES.settings, new Uint8Array(0));
  const open = Uint8Array.from([...headers(CONNECT)]);
  for (const [what, end, error] of [
    ['a second control stream', serverAfter(6, CONTROL), 'H3_STREAM_CREATION_ERROR'],
    ['a client that pushes', serverAfter(6, Uint8Array.of(0x01)), 'H3_STREAM_CREATION_ERROR'],
    ['SETTINGS twice', serverAfter(2, settings), 'H3_FRAME_UNEXPECTED'],
    ['DATA on the control stream', serverAfter(2, frameBytes(FRAMES.data, Uint8Array.of(1))), 'H3_FRAME_UNEXPECTED'],
    ['HEADERS on the control stream', serverAfter(2, headers(CONNECT)), 'H3_FRAME_UNEXPECTED'],
    ['a control stream without SETTINGS', serverAfter(2, Uint8Array.from([0, 7, 1, 0]), false, new Uint8Array(0)), 'H3_MISSING_SETTINGS'],
    ['the end of the control stream', serverAfter(2, new Uint8Array(0), true), 'H3_CLOSED_CRITICAL_STREAM'],
    ['an insertion into the dynamic table', serverAfter(6, Uint8Array.of(0x02, 0xc1, 0x00)), 'QPACK_ENCODER_STREAM_ERROR'],
    ['an acknowledgement of it', serverAfter(6, Uint8Array.of(0x03, 0x80)), 'QPACK_DECODER_STREAM_ERROR'],
    ['DATA before HEADERS', serverAfter(0, frameBytes(FRAMES.data, Uint8Array.of(1))), 'H3_FRAME_UNEXPECTED'],
    ['SETTINGS in a request', serverAfter(0, settings), 'H3_FRAME_UNEXPECTED'],
    ['HEADERS after CONNECT', serverAfter(0, Uint8Array.from([...open, ...open])), 'H3_FRAME_UNEXPECTED'],
    ['a frame that is cut off', serverAfter(0, open.subarray(0, 5), true), 'H3_FRAME_ERROR'],
    [
      'a reference to the dynamic table',
      serverAfter(0, frameBytes(FRAMES.headers, Uint8Array.of(0, 0, 0x80))),
      'QPACK_DECOMPRESSION_FAILED',
    ],
    ['a request without a method', serverAfter(0, headers(CONNECT.slice(1))), 'H3_MESSAGE_ERROR'],
    ['a header without bounds', serverAfter(0, varintBytes(FRAMES.headers, 1e6)), 'H3_EXCESSIVE_LOAD'],
  ] as const) {
    t.equal(end.http3.over?.error, error, what);
  }
  const stopped = serverAfter(6, varintBytes(0x54));
  t.same(stopped.stopped, [[6, 'WT_BUFFERED_STREAM_REJECTED']]);
  t.equal(stopped.http3.over, undefined, 'streams of WebTransport and GREASE are passed over');
  t.equal(serverAfter(6, Uint8Array.of(0x02, 0x20)).http3.over, undefined, 'a table of no size is what we said');
  t.equal(serverAfter(6, Uint8Array.of(0x03, 0x40, 0x7f, 0x80, 0x01)).http3.over, undefined, 'streams may be cancelled');
});

t.test('requests are bounded', async (t) => {
  const end = serverAfter(0, new Uint8Array(0));
  for (let i = 1; i <= 64; i++) end.http3.handleStream(4 * i, new Uint8Array(0), false);
  t.equal(end.http3.over?.error, 'H3_EXCESSIVE_LOAD');
});

t.test('a client does not ask where there is no WebTransport', async (t) => {
  const end = client();
  end.http3.handleStream(3, Uint8Array.from([0x00, ...frameBytes(FRAMES.settings, new Uint8Array(0))]), false);
  t.match(end.http3.over?.reason, /no WebTransport/);
  t.notOk(end.sent.some(({ streamId }) => streamId === 0));
  const interim = client();
  interim.http3.handleStream(3, CONTROL, false);
  interim.http3.handleStream(0, headers([[':status', '103']]), false);
  t.notOk(interim.http3.isOpen);
  interim.http3.handleStream(0, headers([[':status', '200']]), false);
  t.ok(interim.http3.isOpen);
});

t.test('whatever comes on whatever stream, it ends in an error of HTTP/3, or goes on', async () => {
  const piece = fc.record({
    streamId: fc.constantFrom(0, 4, 2, 6, 10, 3, 7),
    bytes: fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc.constantFrom(CONTROL, headers(CONNECT), headers([[':status', '200']])),
      fc.tuple(fc.constantFrom(0, 1, 4, 7, 0x21), fc.uint8Array({ maxLength: 20 })).map(([type, payload]) => frameBytes(type, payload)),
    ),
    fin: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
    reset: fc.integer({ min: 0, max: 19 }).map((n) => n === 0),
  });
  fc.assert(
    fc.property(fc.boolean(), fc.array(piece, { maxLength: 12 }), (isServer, pieces) => {
      const { http3 } = isServer ? server() : client();
      for (const { streamId, bytes, fin, reset } of pieces) {
        if (reset) http3.handleReset(streamId);
        else http3.handleStream(streamId, bytes, fin);
        http3.prefixOf(bytes);
      }
      return http3.over === undefined || http3.over.error in HTTP3_ERRORS;
    }),
    { numRuns: 3000 },
  );
});
