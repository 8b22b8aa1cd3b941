import t from 'tap';
import type { PeerLink } from '../../src/tunnel/link.js';
import { Readiness } from '../../src/tunnel/readiness.js';

interface FakePeer {
  name: string;
  initiator: boolean;
  state: string;
  lastError: string;
}

function makePeers(...names: string[]): FakePeer[] {
  return names.map((name) => ({ name, initiator: true, state: 'connecting', lastError: '' }));
}

function makeReadiness(peers: readonly FakePeer[]): Readiness {
  return new Readiness({
    peers: () => peers as unknown as PeerLink[],
    endpointOf: ({ name }) => (name === 'office' ? '203.0.113.1:5180' : undefined),
  });
}

t.test('peers that call us are not waited for', async () => {
  await makeReadiness([{ ...makePeers('laptop')[0]!, initiator: false }]).wait(1000);
});

t.test('the wait ends when the last of those that we call is up', async (t) => {
  const peers = makePeers('office', 'home');
  const readiness = makeReadiness(peers);
  let ready = false;
  const waiting = readiness.wait(60_000).then(() => {
    ready = true;
  });
  for (const peer of peers) {
    t.notOk(ready);
    peer.state = 'up';
    readiness.handlePeerChange();
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.ok(ready);
  await waiting;
});

t.test('one that was not reached in time is named, with its endpoint and why', async (t) => {
  const peers = makePeers('office', 'home');
  const readiness = makeReadiness(peers);
  await t.rejects(readiness.wait(1), {
    code: 'not-ready',
    message: /^office \(203\.0\.113\.1:5180\) was not reached within 0 s: no answer: check /,
  });
  peers[0]!.state = 'up';
  peers[1]!.lastError = 'its interface is down';
  await t.rejects(readiness.wait(1), { code: 'not-ready', message: 'home was not reached within 0 s: its interface is down' });
});
