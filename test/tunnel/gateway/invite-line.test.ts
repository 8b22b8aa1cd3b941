import fc from 'fast-check';
import t from 'tap';
import { formatInvite, type Invite, parseInvite } from '../../../src/tunnel/gateway/invite-line.js';

const INVITE: Invite = {
  serverPublicKey: new Uint8Array(32).fill(1),
  secret: new Uint8Array(32).fill(2),
  endpoints: ['203.0.113.1:5180', '[2001:db8::1]:5180'],
  tunnel: 'mpt0',
  peer: 'laptop',
  addresses: ['10.77.0.2/24', 'fd77::2/64'],
  routes: ['0.0.0.0/0'],
  expiresAtMs: 1_900_000_000_000,
};

t.test('an invite comes back from its line, also when mail has wrapped it', async (t) => {
  const line = formatInvite(INVITE);
  t.match(line, /^mptunnel:[A-Za-z0-9_-]+$/);
  t.ok(line.length < 300, `${line.length} characters fit into a QR code that a phone reads`);
  t.same(parseInvite(line), INVITE);
  t.same(parseInvite(`  ${line.slice(0, 70)}\r\n ${line.slice(70)}\n`), INVITE);
});

t.test('it says where the server listens beside UDP; a line of an older version does not', async (t) => {
  for (const carriers of [
    { quicPort: 443, webtransportPort: 8443, certificateSha256: new Uint8Array(32).fill(7) },
    { webtransportPort: 443 },
    { quicPort: 4433 },
  ]) {
    const line = formatInvite({ ...INVITE, carriers });
    t.ok(line.length < 360, `${line.length} characters`);
    t.same(parseInvite(line), { ...INVITE, carriers });
  }
  t.notOk('carriers' in (parseInvite(formatInvite(INVITE)) as Invite));
  t.throws(() => formatInvite({ ...INVITE, carriers: { quicPort: 443, certificateSha256: new Uint8Array(31) } }));
});

t.test('a line with any one character changed, cut or added is refused, and says why', async (t) => {
  const line = formatInvite(INVITE);
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const start = 'mptunnel:'.length;
  for (let i = start; i < line.length; i++) {
    const changed = line.slice(0, i) + alphabet[(alphabet.indexOf(line[i]!) + 17) % 64] + line.slice(i + 1);
    t.match(parseInvite(changed), /^was damaged on its way/, `character ${i}`);
  }
  t.match(parseInvite(line.slice(0, -1)), /damaged/);
  t.match(parseInvite(`${line}A`), /damaged/);
  t.match(parseInvite(`mptunnel:`), /damaged/);
  t.match(parseInvite(`https://example.org/`), /is no invite: that begins with "mptunnel:"/);
});

t.test('arbitrary text never throws', async (t) => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      if (typeof parseInvite(text) !== 'string' || typeof parseInvite(`mptunnel:${text}`) !== 'string') throw new Error(text);
    }),
  );
  t.pass();
});

t.test('what cannot be in an invite is not put into one', async (t) => {
  t.throws(() => formatInvite({ ...INVITE, endpoints: [] }));
  t.throws(() => formatInvite({ ...INVITE, peer: '../x' }));
  t.throws(() => formatInvite({ ...INVITE, addresses: ['10.0.0.1'] }));
});
