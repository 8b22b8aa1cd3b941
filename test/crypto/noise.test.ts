import t from 'tap';
import { CipherState, NoiseInitiator, NoiseResponder } from '../../src/crypto/noise.js';
import { importPrivateKey, importPublicKey, sharedSecret } from '../../src/crypto/x25519.js';

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = (value: Uint8Array | undefined) => (value === undefined ? 'undefined' : Buffer.from(value).toString('hex'));
const NONE = new Uint8Array(0);

// Published vector of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, from the cacophony set (haskell-cryptography/cacophony), as carried by
// mcginty/snow in tests/vectors/cacophony.txt.
const VECTOR = {
  prologue: '4a6f686e2047616c74',
  psk: '54686973206973206d7920417573747269616e20706572737065637469766521',
  initStatic: 'e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1',
  initEphemeral: '893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a',
  initRemoteStatic: '31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62',
  respStatic: '4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893',
  respEphemeral: 'bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b',
  // The set's own handshake_hash for this vector (fe20f6e8...) is h after the response's token "e"; this is h at the end, section 5.2's.
  handshakeHash: 'f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5',
  messages: [
    [
      '4c756477696720766f6e204d69736573',
      'ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f',
    ],
    [
      '4d757272617920526f746862617264',
      '95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab0322217755c0632f365717edbf34d33e87a',
    ],
    ['462e20412e20486179656b', '8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7'],
    ['4361726c204d656e676572', '07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef'],
    ['4a65616e2d426170746973746520536179', '6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d'],
    ['457567656e2042f6686d20766f6e2042617765726b', 'dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292'],
  ],
} as const;

function parties(options: { psk?: string; responderPsk?: string } = {}) {
  const initStatic = importPrivateKey(bytes(VECTOR.initStatic));
  const respStatic = importPrivateKey(bytes(VECTOR.respStatic));
  const initiatorPublic = importPublicKey(initStatic.publicKey);
  const responderPublic = importPublicKey(bytes(VECTOR.initRemoteStatic));
  const initiator = new NoiseInitiator({
    prologue: bytes(VECTOR.prologue),
    staticKey: initStatic,
    ephemeralKey: importPrivateKey(bytes(VECTOR.initEphemeral)),
    remoteStatic: responderPublic,
    presharedKey: bytes(options.psk ?? VECTOR.psk),
    staticStatic: sharedSecret(initStatic, responderPublic)!,
  });
  const responder = new NoiseResponder({ prologue: bytes(VECTOR.prologue), staticKey: respStatic });
  const respond = (initiation: Uint8Array, payload: Uint8Array) => {
    const claimed = responder.readStatic(initiation);
    if (claimed === undefined) return undefined;
    const read = responder.readPayload(initiation, importPublicKey(claimed), sharedSecret(respStatic, importPublicKey(claimed))!);
    if (read === undefined) return undefined;
    const ephemeral = importPrivateKey(bytes(VECTOR.respEphemeral));
    return { claimed, read, response: responder.writeResponse(ephemeral, bytes(options.responderPsk ?? VECTOR.psk), payload)! };
  };
  return { initiator, respond, initiatorPublic };
}

t.test('the published vector of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s is met by both sides', async (t) => {
  const { initiator, respond, initiatorPublic } = parties();
  const initiation = initiator.writeInitiation(bytes(VECTOR.messages[0][0]));
  t.equal(hex(initiation), VECTOR.messages[0][1]);
  const answered = respond(initiation, bytes(VECTOR.messages[1][0]))!;
  t.equal(hex(answered.claimed), hex(initiatorPublic.bytes));
  t.equal(hex(answered.read), VECTOR.messages[0][0]);
  t.equal(hex(answered.response.message), VECTOR.messages[1][1]);
  t.equal(hex(answered.response.handshakeHash), VECTOR.handshakeHash);
  const result = initiator.readResponse(answered.response.message)!;
  t.equal(hex(result.payload), VECTOR.messages[1][0]);
  t.equal(hex(result.handshakeHash), VECTOR.handshakeHash);
  const sides = [
    { send: new CipherState(result.split.initiatorKey), receive: new CipherState(answered.response.split.initiatorKey) },
    { send: new CipherState(answered.response.split.responderKey), receive: new CipherState(result.split.responderKey) },
  ];
  for (const [i, [payload, ciphertext]] of VECTOR.messages.slice(2).entries()) {
    const { send, receive } = sides[i % 2]!;
    t.equal(hex(send.encryptWithAd(NONE, bytes(payload))), ciphertext, `transport message ${i}`);
    t.equal(hex(receive.decryptWithAd(NONE, bytes(ciphertext))), payload);
  }
});

t.test('a changed byte anywhere in the initiation is refused', async (t) => {
  const { initiator } = parties();
  const initiation = initiator.writeInitiation(Uint8Array.of(1, 2, 3));
  for (let i = 0; i < initiation.length; i++) {
    const forged = Uint8Array.from(initiation);
    // Bit 255 of a public key is ignored by X25519 but bound by the hash; any bit will do.
    forged[i] = forged[i]! ^ 0x10;
    t.equal(parties().respond(forged, NONE), undefined, `byte ${i}`);
  }
});

t.test('a forged response is refused and does not spoil the handshake for the real one', async (t) => {
  const { initiator, respond } = parties();
  const { response } = respond(initiator.writeInitiation(NONE), Uint8Array.of(9))!;
  for (let i = 0; i < response.message.length; i++) {
    const forged = Uint8Array.from(response.message);
    forged[i] = forged[i]! ^ 1;
    t.equal(initiator.readResponse(forged), undefined, `byte ${i}`);
  }
  t.equal(initiator.readResponse(NONE), undefined);
  const result = initiator.readResponse(response.message)!;
  t.same([...result.payload], [9]);
  t.equal(hex(result.split.initiatorKey), hex(response.split.initiatorKey));
});

t.test('different preshared keys do not agree', async (t) => {
  const { initiator, respond } = parties({ responderPsk: '11'.repeat(32) });
  const { response } = respond(initiator.writeInitiation(NONE), NONE)!;
  t.equal(initiator.readResponse(response.message), undefined);
});

t.test('an ephemeral key of small order is refused', async (t) => {
  const { initiator, respond } = parties();
  const initiation = initiator.writeInitiation(NONE);
  initiation.fill(0, 0, 32);
  t.equal(respond(initiation, NONE), undefined);
  t.equal(initiator.readResponse(new Uint8Array(60)), undefined);
});

t.test('messages shorter than their fixed parts are refused', async (t) => {
  const { respond, initiator } = parties();
  for (let length = 0; length < 96; length++) t.equal(respond(new Uint8Array(length), NONE), undefined);
  initiator.writeInitiation(NONE);
  for (let length = 0; length < 48; length++) t.equal(initiator.readResponse(new Uint8Array(length)), undefined);
});
