import t from 'tap';
import { emitSlowControl, parseSlowControl } from '../../../src/tunnel/session/slow-control.js';

t.test('a message keeps its bytes when the buffer that it came in is used again', async (t) => {
  const message = {
    kind: 'enrol',
    publicKey: new Uint8Array(32).fill(1),
    nonce: new Uint8Array(24).fill(2),
    box: new Uint8Array(96).fill(3),
  } as const;
  const buffer = emitSlowControl(message);
  const parsed = parseSlowControl(buffer);
  buffer.fill(0xa5);
  t.same(parsed, message);
});

t.test('keys, nonces and boxes of other lengths do not fit', async (t) => {
  const message = { kind: 'enrol', publicKey: new Uint8Array(32), nonce: new Uint8Array(24), box: new Uint8Array(96) } as const;
  for (const change of [{ publicKey: new Uint8Array(31) }, { nonce: new Uint8Array(25) }, { box: new Uint8Array(257) }])
    t.throws(() => emitSlowControl({ ...message, ...change }), TypeError);
});
