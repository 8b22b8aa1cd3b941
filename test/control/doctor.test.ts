import t from 'tap';
import { checkHost, checkLoad, checkMtu, checkNat, checkPath, formatFindings, type HostFacts } from '../../src/control/doctor-checks.js';
import { countDrops } from '../../src/control/doctor-facts.js';
import { wrapText } from '../../src/control/text-table.js';
import type { ConnectionView } from '../../src/tunnel/connections.js';
import type { PathStatus, TunnelStatus } from '../../src/tunnel/status.js';

const HEALTHY: HostFacts = {
  ...{ kernelRelease: '6.18.0-1-amd64', nodeVersion: '20.20.0', tunDevice: 'usable', mayConfigureNetwork: true, clockSynchronized: true },
  ...{ wallClockMs: Date.UTC(2026, 10, 28), builtAtMs: Date.UTC(2026, 10, 1) },
  addon: { aead: 'aes-256-gcm', engine: 'openssl 3.0.15', sealNs: 500 },
};

function path(change: Partial<PathStatus> = {}): PathStatus {
  return {
    ...{
      id: 0,
      name: 'dsl',
      local: '192.168.1.2:40000',
      remote: '203.0.113.1:5180',
      state: 'up',
      stateReason: '',
      inStateMs: 1,
      rttMs: 20,
    },
    ...{ minRttMs: 20, lossRatio: 0, deliveryRateBytesPerSec: 0, rxBytes: 0, txBytes: 0, rxBytesPerSec: 1e6, txBytesPerSec: 0 },
    ...{ innerMtuBytes: 1440, priority: 0, backup: false },
    ...change,
  };
}

const verdicts = (facts: Partial<HostFacts>): string[] =>
  checkHost({ ...HEALTHY, ...facts })
    .filter(({ verdict }) => verdict !== 'ok')
    .map(({ check, verdict, advice }) => `${check} ${verdict}${advice === undefined ? '' : ' advised'}`);

t.test('a healthy host has nothing to be told; each thing that is wrong is told with what to do', async (t) => {
  t.same(verdicts({}), []);
  t.same(verdicts({ kernelRelease: '4.19.0' }), ['kernel warn advised']);
  t.same(verdicts({ tunDevice: 'missing' }), ['/dev/net/tun fail advised']);
  t.same(verdicts({ tunDevice: 'forbidden', mayConfigureNetwork: false }), ['/dev/net/tun fail advised', 'permissions fail advised']);
  t.same(verdicts({ wallClockMs: 0 }), ['clock fail advised']);
  t.same(verdicts({ clockSynchronized: false }), ['clock warn advised']);
  t.same(verdicts({ clockSynchronized: undefined }), []);
  t.same(verdicts({ addon: { error: 'no build' } }), ['addon fail advised']);
  t.same(verdicts({ addon: { aead: 'chacha20-poly1305', engine: 'x', sealNs: 4000 } }), ['addon warn advised']);
});

t.test('a path alone: down, lossy, slow beside the others, benched', async (t) => {
  const first = (change: Partial<PathStatus>, fastestMs = 20) => checkPath('vps', path(change), fastestMs)[0];
  t.match(first({}), { check: 'path vps/dsl', verdict: 'ok', found: 'up, RTT 20 ms (least 20 ms), loss 0.0 %' });
  t.match(first({ state: 'down', stateReason: 'no answer for 800 ms' }), { verdict: 'fail', found: 'down: no answer for 800 ms' });
  t.match(first({ lossRatio: 0.05 }), { verdict: 'warn', advice: /loses/ });
  t.match(first({ rttMs: 600 }), { verdict: 'warn', advice: /backup = true/ });
  t.match(first({ rttMs: 600 }, 600), { verdict: 'ok' }, 'slow, but there is nothing faster');
  t.match(first({ benched: { reason: 'why', remainingMs: 1 } }), { verdict: 'warn', found: /benched: why$/ });
});

t.test('NAT: what the peer sees beside what we have', async (t) => {
  const found = (seenAs?: string) => checkNat('p', seenAs === undefined ? path() : path({ seenAs })).found;
  t.equal(found('192.168.1.2:40000'), 'none: the peer sees 192.168.1.2:40000');
  t.equal(found('198.51.100.9:40000'), '192.168.1.2 is seen as 198.51.100.9, the port is kept');
  t.equal(found('198.51.100.9:1024'), '192.168.1.2 is seen as 198.51.100.9, port 40000 became 1024');
  t.equal(checkNat('p', path()).verdict, 'unknown');
});

t.test('MTU: smaller than the interface says is to be looked at', async (t) => {
  t.match(checkMtu('u', { largestBytes: 1500, smallestLostBytes: 0 }, 1500), { verdict: 'ok' });
  t.match(checkMtu('u', { largestBytes: 1440, smallestLostBytes: 1460 }, 1500), {
    verdict: 'warn',
    advice: 'ip link set mtu 1440 on the interface',
  });
  t.match(checkMtu('u', undefined, 1500), { verdict: 'unknown' });
});

t.test('the bottleneck: CPU, buffer, peer, path, in this order', async (t) => {
  const status = (...paths: PathStatus[]): TunnelStatus => ({
    ...{ name: 'm', state: 'up', pid: 1, uptimeMs: 1, connections: 1, counters: {} },
    peers: [{ name: 'vps', publicKey: '', state: 'up', lastError: '', paths, connections: 1 }],
  });
  const waiting = { queuedBytes: 100_000, peerWindowBytes: 0 } as ConnectionView;
  const base = { status: status(path({ lossRatio: 0.1 })), connections: [waiting], daemonCpuShare: 0.95, receiveBufferDrops: 9 };
  t.match(checkLoad(base), { verdict: 'warn', found: /^CPU: 8\.0 Mbit\/s over 1 path, 95 % of a core/ });
  t.match(checkLoad({ ...base, daemonCpuShare: 0.1 }), { found: /^buffer: the kernel dropped 9/, advice: /rmem_max/ });
  t.match(checkLoad({ ...base, daemonCpuShare: 0.1, receiveBufferDrops: 0 }), { found: /^peer: 1 connection held up/ });
  const quiet = { ...base, daemonCpuShare: 0.1, receiveBufferDrops: 0, connections: [] };
  t.match(checkLoad(quiet), { found: /^path: dsl loses 10\.0 %/ });
  t.match(checkLoad({ ...quiet, status: status(path()) }), { verdict: 'ok', found: /^path: neither CPU/ });
  t.match(checkLoad({ ...quiet, status: status(path({ rxBytesPerSec: 0 })) }), { verdict: 'unknown', advice: /during a transfer/ });
});

t.test("drops are counted at our ports only, in the kernel's own table", async (t) => {
  const table = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  373: 00000000:143C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 17041 2 0000000000000000 12
  374: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 17042 2 0000000000000000 5
`;
  t.equal(countDrops(table, new Set([0x143c])), 12);
  t.equal(countDrops(table, new Set([1])), 0);
  t.equal(countDrops('', new Set([0x143c])), 0);
});

t.test('the report has a line for each check, what to do under it, and the sum', async (t) => {
  const text = formatFindings(
    [
      { check: 'kernel', verdict: 'ok', found: 'Linux 6.18' },
      { check: 'permissions', verdict: 'fail', found: 'none', advice: 'run as root' },
    ],
    (line) => wrapText(line, 80),
  );
  t.equal(
    text,
    `OK     kernel       Linux 6.18
FAIL   permissions  none
       -> run as root

1 failed, 0 to look at, 1 in order, 0 not known
`,
  );
});
