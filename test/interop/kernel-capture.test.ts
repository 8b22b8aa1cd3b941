/** Two hosts with Linux's own MPTCP, two paths, an ADD_ADDR, a join: captured with tcpdump in network namespaces, all offloads off, kernel 6.18. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { checkMptcp } from './mptcp-checker.js';
import { readCapture } from './read-capture.js';

function capture(name: string): Uint8Array[] {
  // From dist/test/interop to the sources.
  const file = fileURLToPath(new URL(`../../../test/interop/captures/${name}`, import.meta.url));
  return readCapture(readFileSync(file)).map((packet) => packet.bytes);
}

t.test('what the Linux kernel says is without fault, every HMAC and checksum of it', async (t) => {
  const plain = checkMptcp(capture('linux-6.18.pcap'));
  t.strictSame(plain.faults, []);
  t.match(plain, { connections: 1, joins: 1, checksums: 0, addAddrs: 1, closed: 1 });
  const checked = checkMptcp(capture('linux-6.18-checksums.pcap'));
  t.strictSame(checked.faults, []);
  t.match(checked, { connections: 1, joins: 1, addAddrs: 1, closed: 1 });
  t.ok(checked.checksums > 2);
  for (const { subflows } of [plain, checked]) {
    t.equal(
      subflows.reduce((sum, subflow) => sum + subflow.upBytes, 0),
      1000 + 60 * 256,
    );
    t.equal(
      subflows.reduce((sum, subflow) => sum + subflow.downBytes, 0),
      2000,
    );
  }
});

t.test('a byte of it changed anywhere in a payload or an option is found', async (t) => {
  const packets = capture('linux-6.18-checksums.pcap');
  let changed = 0;
  for (let i = 0; i < packets.length; i++) {
    // The last byte: of the payload where there is one, else of the last option.
    const at = packets[i]!.length - 1;
    const bent = packets.map((packet) => packet.slice());
    bent[i]![at]! ^= 0x40;
    t.not(checkMptcp(bent).faults.length, 0, `packet ${i + 1}`);
    changed++;
  }
  t.equal(changed, packets.length);
});

t.test('a segment taken out of it is missed', async (t) => {
  const packets = capture('linux-6.18.pcap');
  const data = packets.findIndex((packet) => packet.length > 1400);
  t.match(checkMptcp(packets.toSpliced(data, 1)).faults.join('\n'), /without a gap/);
});
