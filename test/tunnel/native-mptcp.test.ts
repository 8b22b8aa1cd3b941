import t from 'tap';
import type { InterfaceConfig } from '../../src/tunnel/config.js';
import { parseConfig } from '../../src/tunnel/config-file.js';
import { NativeMptcp, ownAddresses } from '../../src/tunnel/native-mptcp.js';

function rig(extra: readonly string[], own: readonly string[] = ['10.77.0.2']) {
  const calls: string[] = [];
  const warnings: string[] = [];
  let assigned: Record<string, string> = {};
  let failing = '';
  const call = async (text: string): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    if (text === failing) throw new Error(`${text}: refused`);
    calls.push(text);
  };
  const native = new NativeMptcp({
    own,
    extra,
    kernel: {
      allowSubflows: (count) => call(`limit ${count}`),
      add: (address, backup) => call(`add ${address}${backup ? ' backup' : ''}`),
      remove: (address) => call(`remove ${address}`),
      setBackup: (address, backup) => call(`${address} ${backup ? 'backup' : 'regular'}`),
    },
    onAssigned: (names) => {
      assigned = Object.fromEntries(names);
    },
    warn: (message) => warnings.push(message),
  });
  const settled = async (): Promise<string[]> => {
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    return calls.splice(0);
  };
  return { native, settled, warnings, assigned: () => assigned, fail: (text: string) => (failing = text) };
}

t.test("the first path has the device's own address, the others one each, in the order in which they come up", async (t) => {
  const { native, settled, assigned, warnings } = rig(['10.77.0.66', '10.77.0.67']);
  for (const name of ['dsl', 'lte', 'sat', 'dsl']) native.notePath(name, false);
  t.strictSame(await settled(), ['limit 2', 'add 10.77.0.66', 'add 10.77.0.67']);
  t.strictSame(assigned(), { '10.77.0.2': 'dsl', '10.77.0.66': 'lte', '10.77.0.67': 'sat' });
  native.notePath('usb', false);
  t.match(warnings, [/path usb gets no subflows: add an address/]);
});

t.test('a path that goes gives its address back, for the next', async (t) => {
  const { native, settled, assigned } = rig(['10.77.0.66']);
  native.notePath('dsl', false);
  native.notePath('lte', false);
  await settled();
  native.noteRemoved('lte');
  native.noteRemoved('nothing');
  native.notePath('usb', false);
  t.strictSame(await settled(), ['remove 10.77.0.66', 'add 10.77.0.66']);
  t.strictSame(assigned(), { '10.77.0.2': 'dsl', '10.77.0.66': 'usb' });
  native.noteRemoved('dsl');
  t.strictSame(await settled(), [], "the device's own address is not ours to take away");
  t.strictSame(assigned(), { '10.77.0.66': 'usb' });
});

t.test('backups do not begin connections, and are backups to the kernel', async (t) => {
  const { native, settled, assigned } = rig(['10.77.0.66', '10.77.0.67']);
  native.notePath('lte', true);
  native.notePath('dsl', false);
  t.strictSame(await settled(), ['limit 2', 'add 10.77.0.66 backup']);
  t.strictSame(assigned(), { '10.77.0.66': 'lte', '10.77.0.2': 'dsl' });
  native.noteBackup('lte', false);
  native.noteBackup('usb', true);
  t.strictSame(await settled(), ['10.77.0.66 regular'], 'a path that was not up yet has nothing to change');
});

t.test('an address for each IP version', async (t) => {
  const { native, settled, assigned } = rig(['10.77.0.66', 'fd77::66'], ['10.77.0.2', 'fd77::2']);
  native.notePath('dsl', false);
  native.notePath('lte', false);
  t.strictSame(await settled(), ['limit 1', 'add 10.77.0.66', 'add fd77::66']);
  t.strictSame(assigned(), { '10.77.0.2': 'dsl', 'fd77::2': 'dsl', '10.77.0.66': 'lte', 'fd77::66': 'lte' });
});

t.test('what the kernel refuses is told, and keeps nothing else', async (t) => {
  const { native, settled, warnings, fail } = rig(['10.77.0.66', '10.77.0.67']);
  fail('add 10.77.0.66');
  for (const name of ['dsl', 'lte', 'sat']) native.notePath(name, false);
  t.strictSame(await settled(), ['limit 2', 'add 10.77.0.67']);
  t.strictSame(warnings, ['native_mptcp: add 10.77.0.66: refused']);
  await native.close();
  native.noteRemoved('sat');
  t.strictSame(await settled(), [], 'after the end the journal is who undoes');
});

t.test('own addresses: of each IP version the first', async (t) => {
  const config = { addresses: ['10.77.0.2/24', '10.77.0.3/24', 'fd77::2/64', 'fd77::3/64'] } as Partial<InterfaceConfig> as InterfaceConfig;
  t.strictSame(ownAddresses(config), ['10.77.0.2', 'fd77::2']);
});

t.test('configuration', async (t) => {
  const config = (lines: string, peer = 'endpoint = "203.0.113.1:5180"\n') => `[interface]
private_key = "YAnwFRZZXAnVRXB0fEMfnNFHnUVBVEJrgYNyg15JQGM="
address = ["10.77.0.2/24", "fd77::2/64"]
${lines}
[[peer]]
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
${peer}allowed_ips = ["0.0.0.0/0"]
`;
  const parse = (text: string) => parseConfig(text, '/nowhere/mpt0.toml').interface.nativeMptcpAddresses;
  t.strictSame(parse(config('native_mptcp = true\nnative_mptcp_addresses = ["10.77.0.66", "FD77:0::66"]')), ['10.77.0.66', 'fd77::66']);
  t.equal(parse(config('native_mptcp = false')), undefined);
  const refusals: [string, RegExp][] = [
    [config('native_mptcp = true'), /native_mptcp_addresses is missing: give one address for each path beyond the first.*allowed_ips/],
    [config('native_mptcp_addresses = ["10.77.0.66"]'), /:4: .*native_mptcp_addresses has no effect: add native_mptcp = true/],
    [config('native_mptcp = true\nnative_mptcp_addresses = ["10.77.0.2"]'), /holds 10\.77\.0\.2, which is given already/],
    [config('native_mptcp = true\nnative_mptcp_addresses = ["10.77.0.66/32"]'), /is no IP address/],
    [config('native_mptcp = true\nnative_mptcp_addresses = ["10.77.0.66"]\nlisten_port = 5180', ''), /native_mptcp is for clients/],
  ];
  for (const [text, message] of refusals) t.throws(() => parse(text), { message });
});
