import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { publicKeyOf } from '../../../src/crypto/x25519.js';
import type { PeerConfig, TunnelConfig } from '../../../src/tunnel/config.js';
import { loadConfig } from '../../../src/tunnel/config-file.js';
import { Enrolment } from '../../../src/tunnel/gateway/enrolment.js';
import { deriveInviteKeys, derivePeerPresharedKey, makeProof, verifyProof } from '../../../src/tunnel/gateway/enrolment-proof.js';
import { type Invite, parseInvite } from '../../../src/tunnel/gateway/invite-line.js';
import type { PeerLink } from '../../../src/tunnel/link.js';
import type { PeerMessage } from '../../../src/tunnel/session/slow-control.js';
import type { Tunnel } from '../../../src/tunnel/tunnel-api.js';

const SERVER = new Uint8Array(32).fill(0x42);
const CLIENT = new Uint8Array(32).fill(0x43);
const OTHER = new Uint8Array(32).fill(0x44);
const NONCE = new Uint8Array(24).fill(5);
const DAY_MS = 86_400_000;

/** Holds peers as a tunnel does, without packets. */
class FakeTunnel {
  configs: PeerConfig[] = [];
  sent: PeerMessage[] = [];
  handler: (peer: PeerLink, message: PeerMessage) => void = () => {};

  get peers(): PeerLink[] {
    return this.configs.map((config) => ({
      name: config.name,
      publicKey: Buffer.from(config.publicKey).toString('base64'),
      state: 'down',
      initiator: false,
      lastError: '',
      paths: [],
      allowedIps: config.allowedIps,
      enrolling: config.enrolling === true,
    }));
  }
  status() {
    const peers = this.peers.filter((peer) => !peer.enrolling);
    return {
      peers: peers.map(({ name, publicKey, state, lastError }) => ({ name, publicKey, state, lastError, paths: [], connections: 0 })),
    };
  }
  async addPeer(config: PeerConfig): Promise<void> {
    this.configs.push(config);
  }
  async removePeer(name: string): Promise<boolean> {
    const before = this.configs.length;
    this.configs = this.configs.filter((config) => config.name !== name);
    return this.configs.length < before;
  }
  setMessageHandler(handler: (peer: PeerLink, message: PeerMessage) => void): void {
    this.handler = handler;
  }
  sendMessage(_peer: PeerLink, message: PeerMessage): boolean {
    this.sent.push(message);
    return true;
  }
}

interface Rig {
  folder: string;
  file: string;
  tunnel: FakeTunnel;
  enrolment: Enrolment;
  now: { ms: number };
  /** As the daemon does it: what is on the disk, and nothing else, comes back. */
  restart(): Promise<void>;
  /** Under the invite's session; the answer. */
  ask(invite: Invite, privateKey: Uint8Array, change?: Partial<Extract<PeerMessage, { kind: 'enrol' }>>): Promise<PeerMessage | undefined>;
}

async function makeRig(t: Test, address = '["10.77.0.1/24", "fd77::1/64"]'): Promise<Rig> {
  const folder = mkdtempSync(join(tmpdir(), 'mpt-enrol-'));
  const file = join(folder, 'mpt0.toml');
  const key = Buffer.from(SERVER).toString('base64');
  writeFileSync(
    file,
    `[interface]\nprivate_key = "${key}"\naddress = ${address}\nlisten_port = 5180\nendpoint = "vpn.example.org"\n[egress]\n`,
    {
      mode: 0o600,
    },
  );
  const now = { ms: 1_800_000_000_000 };
  const rig: Rig = {
    folder,
    file,
    now,
    tunnel: undefined as unknown as FakeTunnel,
    enrolment: undefined as unknown as Enrolment,
    restart: async () => {
      rig.enrolment?.close();
      rig.tunnel = new FakeTunnel();
      const config: TunnelConfig = loadConfig(file);
      rig.tunnel.configs.push(...config.peers);
      rig.enrolment = new Enrolment({
        config,
        configFile: file,
        tunnel: rig.tunnel as unknown as Tunnel,
        log: { info: () => {}, warn: () => {} },
        wallClock: () => now.ms,
      });
      await rig.enrolment.start();
    },
    ask: async (invite, privateKey, change = {}) => {
      const keys = deriveInviteKeys(invite.secret);
      const publicKey = publicKeyOf(privateKey);
      const invitePublicKey = publicKeyOf(keys.privateKey);
      const from = rig.tunnel.peers.find((peer) => peer.publicKey === Buffer.from(invitePublicKey).toString('base64'));
      if (from === undefined) return undefined;
      rig.tunnel.sent = [];
      const box = makeProof({ invitePublicKey, publicKey, nonce: NONCE }, privateKey, invite.serverPublicKey);
      rig.tunnel.handler(from, { kind: 'enrol', publicKey, nonce: NONCE, box, ...change });
      // Enrolment is a chain of promises without I/O that waits.
      for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
      return rig.tunnel.sent[0];
    },
  };
  await rig.restart();
  t.teardown(() => {
    rig.enrolment.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return rig;
}

async function invite(rig: Rig, peer: string): Promise<Invite> {
  const made = parseInvite((await rig.enrolment.invite({ peer, expiresInMs: DAY_MS })).line);
  if (typeof made === 'string') throw new Error(made);
  return made;
}

t.test('the holder of an invite becomes a peer with its own key, once, and stays one over a restart', async (t) => {
  const rig = await makeRig(t);
  const made = await invite(rig, 'laptop');
  t.match(made, { tunnel: 'mpt0', peer: 'laptop', endpoints: ['vpn.example.org:5180'], addresses: ['10.77.0.2/24', 'fd77::2/64'] });
  t.ok(made.routes.includes('0.0.0.0/0'));
  t.notMatch(
    readFileSync(join(rig.folder, 'mpt0.invites.json'), 'utf8'),
    Buffer.from(made.secret).toString('base64'),
    'the secret is kept nowhere',
  );
  t.equal(statSync(join(rig.folder, 'mpt0.invites.json')).mode & 0o777, 0o600);
  await rig.restart();
  t.match(await rig.ask(made, CLIENT), { kind: 'enrolled' }, 'an invite outlives a restart');
  t.match(await rig.ask(made, CLIENT), { kind: 'enrolled' }, 'asked again, because the answer was lost');
  t.match(await rig.ask(made, OTHER), { kind: 'enrol-refused', reason: 'used' }, 'another key');
  t.match(rig.enrolment.listPeers(), [{ name: 'laptop', allowedIps: ['10.77.0.2/32', 'fd77::2/128'] }]);
  t.same(await rig.enrolment.listInvites(), []);
  await rig.restart();
  t.equal(await rig.ask(made, OTHER), undefined, 'the invite is a stranger');
  const keys = deriveInviteKeys(made.secret);
  t.match(rig.tunnel.configs, [
    {
      name: 'laptop',
      publicKey: publicKeyOf(CLIENT),
      presharedKey: derivePeerPresharedKey(keys.presharedKey, publicKeyOf(CLIENT), publicKeyOf(SERVER)),
    },
  ]);
});

t.test('a proof holds for one invite, one key, one server and one nonce', async (t) => {
  const [invitePublicKey, publicKey] = [publicKeyOf(OTHER), publicKeyOf(CLIENT)];
  const box = makeProof({ invitePublicKey, publicKey, nonce: NONCE }, CLIENT, publicKeyOf(SERVER));
  t.ok(verifyProof({ invitePublicKey, publicKey, nonce: NONCE }, box, SERVER));
  t.notOk(verifyProof({ invitePublicKey: publicKey, publicKey, nonce: NONCE }, box, SERVER));
  t.notOk(verifyProof({ invitePublicKey, publicKey: invitePublicKey, nonce: NONCE }, box, SERVER));
  t.notOk(verifyProof({ invitePublicKey, publicKey, nonce: new Uint8Array(24) }, box, SERVER));
  t.notOk(verifyProof({ invitePublicKey, publicKey, nonce: NONCE }, box, OTHER));
  t.notOk(verifyProof({ invitePublicKey, publicKey, nonce: NONCE }, new Uint8Array(0), SERVER));
});

t.test('a bad proof enrols nobody and leaves the invite open', async (t) => {
  const rig = await makeRig(t);
  const made = await invite(rig, 'laptop');
  t.match(await rig.ask(made, CLIENT, { publicKey: publicKeyOf(OTHER) }), { kind: 'enrol-refused', reason: 'bad-proof' });
  t.match(await rig.ask(made, CLIENT, { box: new Uint8Array(100) }), { kind: 'enrol-refused', reason: 'bad-proof' });
  t.same(rig.enrolment.listPeers(), []);
  t.match(await rig.ask(made, CLIENT), { kind: 'enrolled' });
});

t.test('an invite expires, also while the daemon does not run', async (t) => {
  const rig = await makeRig(t);
  const made = await invite(rig, 'laptop');
  rig.now.ms += DAY_MS;
  t.match(await rig.ask(made, CLIENT), { kind: 'enrol-refused', reason: 'expired' });
  await rig.restart();
  t.equal(await rig.ask(made, CLIENT), undefined);
  t.same(await rig.enrolment.listInvites(), []);
});

t.test('a revoked invite is void, and its name is free again', async (t) => {
  const rig = await makeRig(t);
  const made = await invite(rig, 'laptop');
  await t.rejects(invite(rig, 'laptop'), { code: 'exists', message: /is invited already: revoke that with/ });
  t.match(await rig.enrolment.listInvites(), [{ peer: 'laptop', addresses: ['10.77.0.2/32', 'fd77::2/128'] }]);
  await rig.enrolment.revoke('laptop');
  t.equal(await rig.ask(made, CLIENT), undefined);
  await t.rejects(rig.enrolment.revoke('laptop'), { code: 'no-invite' });
  t.same((await invite(rig, 'laptop')).addresses, made.addresses, 'the name keeps its addresses');
});

t.test('addresses stay with their names: one that was removed and comes again has its own, others get others', async (t) => {
  const rig = await makeRig(t);
  const first = await invite(rig, 'a');
  t.match(await rig.ask(first, CLIENT), { kind: 'enrolled' });
  t.same((await invite(rig, 'b')).addresses, ['10.77.0.3/24', 'fd77::3/64']);
  await rig.enrolment.removePeer('a');
  t.same(readdirSync(join(rig.folder, 'mpt0.peers.d')), []);
  t.same(rig.enrolment.listPeers(), []);
  await rig.restart();
  t.same((await invite(rig, 'c')).addresses, ['10.77.0.4/24', 'fd77::4/64']);
  await t.rejects(rig.enrolment.removePeer('a'), { code: 'no-peer' });
});

t.test('a full network takes back what is kept for those who left, and says when it is really full', async (t) => {
  const rig = await makeRig(t, '["10.77.0.1/29"]');
  for (const name of ['a', 'b', 'c', 'd', 'e']) await invite(rig, name);
  await t.rejects(invite(rig, 'f'), { code: 'no-address' });
  await rig.enrolment.revoke('c');
  t.same((await invite(rig, 'f')).addresses, ['10.77.0.4/29']);
});

t.test('a peer of the main file is not removed behind its back, and a client invites nobody', async (t) => {
  const rig = await makeRig(t);
  writeFileSync(
    rig.file,
    `${readFileSync(rig.file, 'utf8')}[[peer]]\nname = "old"\npublic_key = "${Buffer.from(publicKeyOf(OTHER)).toString('base64')}"\n`,
  );
  await rig.restart();
  await t.rejects(rig.enrolment.removePeer('old'), { code: 'in-main-file', message: /take it out of .*mpt0\.toml/ });
  t.match(rig.enrolment.listPeers(), [{ name: 'old' }]);
  await t.rejects(invite(rig, 'old'), { code: 'exists' });
  await t.rejects(invite(rig, '../etc'), { code: 'bad-name' });
});
