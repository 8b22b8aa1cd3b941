import fc from 'fast-check';
import t from 'tap';
import {
  COMMAND_CONNECT,
  emitReply,
  emitSocksDatagram,
  parseGreeting,
  parseRequest,
  parseSocksDatagram,
  REPLY,
} from '../../src/proxy/socks-messages.js';

t.test('a greeting and a request, as RFC 1928 has them, byte by byte', (t) => {
  const greeting = Uint8Array.of(5, 2, 0, 2);
  for (let i = 0; i < greeting.length; i++) t.equal(parseGreeting(greeting.subarray(0, i)), undefined);
  t.same(parseGreeting(greeting), { bytes: 4, offersNone: true });
  t.same(parseGreeting(Uint8Array.of(5, 1, 2)), { bytes: 3, offersNone: false });
  t.equal(parseGreeting(Uint8Array.of(4, 1)), 'SOCKS version 4');
  t.equal(parseGreeting(Buffer.from('GET / HTTP/1.1')), 'no SOCKS version 5');
  const requests: [number[], string][] = [
    [[1, 198, 51, 100, 2, 0x1f, 0x90], '198.51.100.2'],
    [[3, 11, ...Buffer.from('web.example'), 0x1f, 0x90], 'web.example'],
    [[4, 0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 7, 0x1f, 0x90], '2001:db8::7'],
  ];
  for (const [address, host] of requests) {
    const request = Uint8Array.of(5, 1, 0, ...address);
    for (let i = 0; i < request.length; i++) t.equal(parseRequest(request.subarray(0, i)), undefined, `${host}: ${i} bytes`);
    t.match(parseRequest(request), { bytes: request.length, command: COMMAND_CONNECT, address: { host, port: 8080 } });
  }
  t.match(parseRequest(Uint8Array.of(5, 1, 0, 9, 1, 2)), { command: 1, address: undefined }, 'an unknown type of address');
  t.same([...emitReply(REPLY.refused)], [5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
  t.end();
});

t.test('datagrams come back from their wrapping; fragments are not taken', (t) => {
  fc.assert(
    fc.property(
      fc.oneof(fc.ipV4(), fc.constantFrom('2001:db8::7', '::1'), fc.stringMatching(/^[a-z]{1,63}$/)),
      fc.integer({ min: 0, max: 65_535 }),
      fc.uint8Array({ maxLength: 200 }),
      (host, port, payload) => {
        const found = parseSocksDatagram(emitSocksDatagram({ host, port }, payload));
        return found !== undefined && found.to.host === host && found.to.port === port && Buffer.compare(found.payload, payload) === 0;
      },
    ),
  );
  const fragment = emitSocksDatagram({ host: '192.0.2.1', port: 1 }, new Uint8Array(3));
  fragment[2] = 1;
  t.equal(parseSocksDatagram(fragment), undefined);
  t.end();
});

t.test('arbitrary bytes never throw', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      parseGreeting(bytes);
      parseRequest(bytes);
      parseSocksDatagram(bytes);
    }),
  );
  t.pass();
  t.end();
});
