import fc from 'fast-check';
import t from 'tap';
import { emitAddressRecord } from '../../../src/tunnel/path/address-record.js';
import {
  BIND_BYTES,
  BOUND_BYTES,
  BOUND_STATES,
  CALL_BYTES,
  COOKIE_MESSAGE_BYTES,
  emitBind,
  emitBound,
  emitCall,
  emitCookie,
  isSigned,
  parseRelayMessage,
  RELAY_MESSAGE,
} from '../../../src/tunnel/relay/relay-messages.js';

const KEY = new Uint8Array(32).fill(7);
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const dirty = (length: number): Uint8Array => new Uint8Array(length).fill(0xa5);

t.test('each message comes back as it was, and signed', async (t) => {
  fc.assert(
    fc.property(bytes(8), bytes(8), bytes(8), bytes(16), fc.constantFrom('bind', 'unbind'), (sender, wanted, way, cookie, kind) => {
      const out = dirty(BIND_BYTES);
      t.equal(emitBind(out, KEY, { kind, sender, wanted, way, cookie }), BIND_BYTES);
      t.same(parseRelayMessage(out), { kind, sender, wanted, way, cookie });
      t.ok(isSigned(out, KEY));
      const call = dirty(CALL_BYTES);
      t.equal(emitCall(call, KEY, sender, way), CALL_BYTES);
      t.same(parseRelayMessage(call), { kind: 'call', caller: sender, way });
      const answer = dirty(COOKIE_MESSAGE_BYTES);
      t.equal(emitCookie(answer, KEY, way, cookie), COOKIE_MESSAGE_BYTES);
      t.same(parseRelayMessage(answer), { kind: 'cookie', way, cookie });
    }),
    { numRuns: 50 },
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...BOUND_STATES),
      bytes(8),
      fc.nat(65_535),
      fc.nat({ max: 65_535 }),
      fc.oneof(fc.ipV4(), fc.ipV6()),
      (state, way, lifetimeSeconds, port, address) => {
        const record = emitAddressRecord(address, port);
        const out = dirty(BOUND_BYTES);
        t.equal(emitBound(out, KEY, state, way, lifetimeSeconds, record), BOUND_BYTES);
        const message = parseRelayMessage(out);
        t.match(message, { kind: 'bound', state, way, lifetimeSeconds });
        t.ok(isSigned(out, KEY));
      },
    ),
    { numRuns: 50 },
  );
});

t.test('no answer is longer than the question', async (t) => {
  for (const length of [COOKIE_MESSAGE_BYTES, BOUND_BYTES, CALL_BYTES]) t.ok(length < BIND_BYTES);
});

t.test('one bit that is another, or another key, and the MAC is wrong', async (t) => {
  const out = dirty(BIND_BYTES);
  const of = (fill: number, length: number) => new Uint8Array(length).fill(fill);
  emitBind(out, KEY, { kind: 'bind', sender: of(1, 8), wanted: of(2, 8), way: of(3, 8), cookie: of(4, 16) });
  for (let bit = 0; bit < BIND_BYTES * 8; bit++) {
    const changed = out.slice();
    changed[bit >> 3]! ^= 1 << (bit & 7);
    if (isSigned(changed, KEY)) t.fail(`bit ${bit}`);
  }
  t.notOk(isSigned(out, new Uint8Array(32).fill(8)));
});

t.test('arbitrary bytes never throw', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.boolean(), (garbage, isOurs) => {
      if (isOurs && garbage.length > 1) {
        garbage[0] = RELAY_MESSAGE;
        garbage[1] = garbage[1]! & 7;
      }
      parseRelayMessage(garbage);
    }),
    { numRuns: 2000 },
  );
});
