import { execFileSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { certificateSha256, makeSelfSigned } from '../../../src/tunnel/carrier/self-signed.js';

t.test('a certificate of its own key and name, good for many years', async (t) => {
  const made = await makeSelfSigned('gateway.example');
  const certificate = new X509Certificate(made.certificate);
  t.equal(certificate.subject, 'CN=gateway.example');
  t.equal(certificate.issuer, certificate.subject);
  t.ok(certificate.verify(certificate.publicKey), 'signed by itself');
  t.ok(certificate.checkPrivateKey(createPrivateKey(made.privateKey)));
  t.equal(certificate.checkHost('gateway.example'), 'gateway.example');
  t.equal(certificate.checkHost('other.example'), undefined);
  t.equal(certificate.ca, false);
  t.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  t.ok(Date.parse(certificate.validFrom) < Date.now());
  t.ok(Date.parse(certificate.validTo) > Date.now() + 15 * 365 * 86_400_000);
  t.equal(Buffer.from(made.sha256).toString('hex').toUpperCase(), certificate.fingerprint256.replaceAll(':', ''));
  t.same(certificateSha256(made.certificate), made.sha256);
  t.not((await makeSelfSigned('gateway.example')).certificate, made.certificate);
});

t.test('for addresses, and beyond 2049', async (t) => {
  for (const address of ['192.0.2.7', '2001:db8::7', '::1']) {
    const certificate = new X509Certificate((await makeSelfSigned(address, 14_000)).certificate);
    t.equal(certificate.checkIP(address), address);
    t.ok(Number(certificate.validTo.split(' ').at(-2)) >= 2060, certificate.validTo);
  }
});

t.test('what is no name is refused, and what is no certificate', async (t) => {
  await t.rejects(makeSelfSigned(''), RangeError);
  await t.rejects(makeSelfSigned('x'.repeat(65)), RangeError);
  t.throws(() => certificateSha256('no certificate'));
});

t.test('OpenSSL takes it as it is', async (t) => {
  try {
    execFileSync('openssl', ['version']);
  } catch {
    return t.pass('there is no openssl here to ask');
  }
  const folder = mkdtempSync(join(tmpdir(), 'self-signed-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'certificate.pem');
  writeFileSync(file, (await makeSelfSigned('gateway.example')).certificate);
  const verdict = execFileSync('openssl', [
    'verify',
    '-x509_strict',
    '-check_ss_sig',
    '-purpose',
    'sslserver',
    '-verify_hostname',
    'gateway.example',
    '-partial_chain',
    '-trusted',
    file,
    file,
  ]);
  t.match(String(verdict), /OK/);
});
