import { randomBytes } from 'node:crypto';
import t from 'tap';
import { generatePrivateKey } from '../../../src/crypto/keys.js';
import { publicKeyOf } from '../../../src/crypto/x25519.js';
import { createProofMaker, PROOF_BYTES, PROOF_TOLERANCE_SECONDS, ProofChecker } from '../../../src/tunnel/carrier/peer-proof.js';

const server = generatePrivateKey(randomBytes);
const anna = generatePrivateKey(randomBytes);
const otto = generatePrivateKey(randomBytes);
const NOON_MS = Date.UTC(2026, 5, 1, 12);
const MIDNIGHT_MS = Date.UTC(2026, 5, 1);

function checkerOf(...peers: readonly [string, Uint8Array][]): ProofChecker<string> {
  const checker = new ProofChecker<string>(server);
  for (const [name, key] of peers) checker.add(name, publicKeyOf(key));
  return checker;
}

t.test('a proof says whose it is, and nobody else can make it', (t) => {
  const checker = checkerOf(['anna', anna], ['otto', otto]);
  const make = createProofMaker(anna, publicKeyOf(server));
  const proof = make(NOON_MS);
  t.equal(proof.length, PROOF_BYTES);
  t.equal(checker.check(proof, NOON_MS), 'anna');
  t.equal(checker.check(createProofMaker(otto, publicKeyOf(server))(NOON_MS), NOON_MS), 'otto');
  t.notSame(make(NOON_MS), proof, 'no two are the same');
  const stranger = createProofMaker(generatePrivateKey(randomBytes), publicKeyOf(server));
  t.equal(checker.check(stranger(NOON_MS), NOON_MS), undefined);
  t.equal(checker.check(createProofMaker(anna, publicKeyOf(otto))(NOON_MS), NOON_MS), undefined, 'made for another server');
  for (let i = 0; i < PROOF_BYTES; i++) {
    const changed = Uint8Array.from(proof);
    changed[i] = changed[i]! ^ 1;
    t.equal(checker.check(changed, NOON_MS), undefined, `byte ${i} changed`);
  }
  t.equal(checker.check(proof.subarray(1), NOON_MS), undefined);
  t.equal(checker.check(new Uint8Array(PROOF_BYTES), NOON_MS), undefined);
  t.end();
});

t.test('it is good for ten minutes, over midnight too', (t) => {
  const checker = checkerOf(['anna', anna]);
  const make = createProofMaker(anna, publicKeyOf(server));
  for (const madeMs of [NOON_MS, MIDNIGHT_MS - 1000, MIDNIGHT_MS + 1000, 2 ** 32 * 1000 - 1000]) {
    for (const [seconds, whose] of [
      [0, 'anna'],
      [PROOF_TOLERANCE_SECONDS, 'anna'],
      [-PROOF_TOLERANCE_SECONDS, 'anna'],
      [PROOF_TOLERANCE_SECONDS + 1, undefined],
      [-PROOF_TOLERANCE_SECONDS - 1, undefined],
    ] as const) {
      t.equal(checker.check(make(madeMs), madeMs + seconds * 1000), whose, `${seconds} s`);
    }
  }
  const first = make(NOON_MS).subarray(0, 4);
  t.notSame(make(NOON_MS + 86_400_000).subarray(0, 4), first, 'the hint is another one on another day');
  t.end();
});

t.test('who is removed has no proof any more, and who has a weak key never had one', (t) => {
  const checker = checkerOf(['anna', anna], ['otto', otto]);
  checker.add('weak', new Uint8Array(32));
  const proof = createProofMaker(anna, publicKeyOf(server))(NOON_MS);
  t.equal(checker.check(proof, NOON_MS), 'anna');
  checker.remove('anna');
  t.equal(checker.check(proof, NOON_MS), undefined);
  t.throws(() => createProofMaker(anna, new Uint8Array(32)), RangeError);
  t.end();
});
