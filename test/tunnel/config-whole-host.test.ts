import t from 'tap';
import { parseConfig } from '../../src/tunnel/config-file.js';
import { applyConfig } from '../../src/tunnel/reconfigure.js';

const PRIVATE = 'YAnwFRZZXAnVRXB0fEMfnNFHnUVBVEJrgYNyg15JQGM=';
const PUBLIC = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=';
const FILE = '/nowhere/mpt0.toml';
const head = (more: string) => `[interface]\nprivate_key = "${PRIVATE}"\naddress = ["10.77.0.2/24"]\n${more}`;
const PEER = `[[peer]]\npublic_key = "${PUBLIC}"\nendpoint = "203.0.113.1:5180"\nallowed_ips = ["0.0.0.0/0"]\n`;
const LISTENER = `[[peer]]\npublic_key = "${PUBLIC}"\nallowed_ips = ["10.77.0.1/32"]\n`;
const PATH = '[[path]]\nname = "dsl"\ninterface = "eth0"\n';

function read(text: string) {
  const warnings: string[] = [];
  return { config: parseConfig(text, FILE, (message) => warnings.push(message)), warnings };
}

t.test('DNS, kill switch and LAN as written; absent unless they are', async (t) => {
  const { config, warnings } = read(
    `${head('kill_switch = true\nkill_switch_allow = ["192.168.1.0/24"]\n')}[dns]\nservers = ["10.77.0.1", "9.9.9.9"]\nsearch = ["corp.example.org"]\n[lan]\ninterfaces = ["br0"]\nmasquerade = true\n${PEER}`,
  );
  t.match(config, {
    interface: { killSwitch: { allow: ['192.168.1.0/24'] } },
    dns: { servers: ['10.77.0.1', '9.9.9.9'], search: ['corp.example.org'] },
    lan: { interfaces: ['br0'], masquerade: true },
  });
  t.strictSame(
    warnings.filter((line) => !line.includes('chmod')),
    [],
  );
  const { config: plain } = read(head('') + PEER);
  t.notOk('dns' in plain || 'lan' in plain || 'killSwitch' in plain.interface);
  t.strictSame(read(`${head('kill_switch = true\n')}${PEER}`).config.interface.killSwitch, { allow: [] });
});

t.test('an interface of the LAN becomes no automatic path', async (t) => {
  const { config } = read(`paths = "auto"\n${head('')}[lan]\ninterfaces = ["br0"]\n${PEER}`);
  t.strictSame(config.autoPaths, { include: undefined, exclude: ['br0'] });
});

t.test('what cannot be meant is refused, with the line and what to do', async (t) => {
  const cases: [string, RegExp][] = [
    [`${head('')}[dns]\nservers = []\n${PEER}`, /:5: \[dns\] servers is empty: name one/],
    [
      `${head('')}[dns]\nservers = ["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4"]\n${PEER}`,
      /:5: \[dns\] servers is one too many: resolvers ask 3 at most/,
    ],
    [`${head('')}[dns]\nservers = ["dns.example"]\n${PEER}`, /"dns\.example" is no IP address/],
    [`${head('')}[dns]\nservers = ["10.77.0.1"]\nsearch = ["a b"]\n${PEER}`, /"a b" is no domain: write it as/],
    [`${head('')}[dns]\nsearch = ["a"]\n${PEER}`, /\[dns\] servers is missing/],
    [`${head('')}[dns]\nserver = ["10.77.0.1"]\n${PEER}`, /server is not known: did you mean "servers"/],
    [`${head('listen_port = 5180\nkill_switch = true\n')}${LISTENER}`, /:5: \[interface\] kill_switch is for a client/],
    [`${head('')}[lan]\ninterfaces = []\n${PEER}`, /\[lan\] interfaces is empty/],
    [`${head('')}[lan]\ninterfaces = ["mpt0"]\n${PEER}`, /"mpt0" is the tunnel itself/],
    [`${head('')}[lan]\ninterfaces = ["eth0"]\n${PATH}${PEER}`, /"eth0" is the uplink of path "dsl": it cannot be both/],
  ];
  for (const [text, message] of cases) t.throws(() => read(text), { name: 'ConfigError', message });
});

t.test('what works and will surprise is warned of', async (t) => {
  const narrow = PEER.replace('0.0.0.0/0', '198.51.100.0/24');
  const dns = '[dns]\nservers = ["9.9.9.9"]\n';
  t.match(
    read(head('') + dns + narrow).warnings.join('\n'),
    /DNS server 9\.9\.9\.9 is in no allowed_ips: what is asked there goes beside the tunnel/,
  );
  t.match(read(`${head('kill_switch = true\n')}${dns}${narrow}`).warnings.join('\n'), /the kill switch may refuse/);
  t.match(
    read(`${head('kill_switch_allow = ["10.0.0.0/8"]\n')}${PEER}`).warnings.join('\n'),
    /kill_switch_allow has no effect without kill_switch = true/,
  );
});

t.test('a change of them waits for a restart, and says so', async (t) => {
  const before = read(head('') + PEER).config;
  const after = read(`${head('kill_switch = true\n')}[dns]\nservers = ["10.77.0.1"]\n[lan]\ninterfaces = ["br0"]\n${PEER}`).config;
  const target = {
    paths: before.paths,
    peers: before.peers,
    addPath: async () => '',
    removePath: () => {},
    changePath: () => {},
    setAutoPaths: () => {},
    setRules: async () => {},
    setEgressPolicy: () => {},
    setGateway: async () => {},
    limitPeer: () => {},
    addPeer: async () => {},
    removePeer: async () => true,
  };
  t.strictSame((await applyConfig(target, before, after)).left, ['[interface] kill_switch', '[dns]', '[lan]']);
});
