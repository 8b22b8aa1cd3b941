import t from 'tap';
import { deriveTransportKeys } from '../../src/crypto/key-schedule.js';

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex');
const split = () => ({ initiatorKey: new Uint8Array(32).fill(1), responderKey: new Uint8Array(32).fill(2) });

t.test('what one side sends under, the other receives under', async (t) => {
  const initiator = deriveTransportKeys(split(), 'aes-256-gcm', true);
  const responder = deriveTransportKeys(split(), 'aes-256-gcm', false);
  t.equal(hex(initiator.sendKey), hex(responder.receiveKey));
  t.equal(hex(initiator.receiveKey), hex(responder.sendKey));
  t.equal(initiator.sendKey.length, 32);
});

t.test('directions and AEADs have keys of their own', async (t) => {
  const keys = new Set<string>();
  for (const aead of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
    const { sendKey, receiveKey } = deriveTransportKeys(split(), aead, true);
    keys.add(hex(sendKey)).add(hex(receiveKey));
  }
  t.equal(keys.size, 4);
});

t.test('the split is wiped', async (t) => {
  const used = split();
  deriveTransportKeys(used, 'aes-256-gcm', true);
  t.ok(used.initiatorKey.every((b) => b === 0) && used.responderKey.every((b) => b === 0));
});

t.test('keys of another size are the caller’s bug', async (t) => {
  t.throws(() => deriveTransportKeys({ ...split(), initiatorKey: new Uint8Array(31) }, 'aes-256-gcm', true), RangeError);
});
