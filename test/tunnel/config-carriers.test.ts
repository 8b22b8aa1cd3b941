import t from 'tap';
import { parseConfig } from '../../src/tunnel/config-file.js';

const PRIVATE = 'YAnwFRZZXAnVRXB0fEMfnNFHnUVBVEJrgYNyg15JQGM=';
const PUBLIC = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=';
const HASH = Array.from({ length: 32 }, (_, i) => (i + 160).toString(16)).join(':');
const server = (more: string, listen = 'listen_port = 5180\n') =>
  `[interface]\nprivate_key = "${PRIVATE}"\naddress = ["10.77.0.1/24"]\n${listen}${more}`;
const client = (path: string, peer: string) =>
  `[interface]\nprivate_key = "${PRIVATE}"\naddress = ["10.77.0.2/24"]\n[[path]]\nname = "dsl"\ninterface = "eth0"\n${path}` +
  `[[peer]]\npublic_key = "${PUBLIC}"\nendpoint = "203.0.113.1:5180"\nallowed_ips = ["10.77.0.0/24"]\n${peer}`;

const read = (text: string) => {
  const warnings: string[] = [];
  return { config: parseConfig(text, '/nowhere/mpt0.toml', (message) => warnings.push(message)), warnings };
};

t.test('a server listens where it says; files are beside the configuration', (t) => {
  const { config } = read(
    server(
      '[carriers]\nquic_port = 443\nwebtransport_port = 443\ncertificate = "tls/cert.pem"\nprivate_key = "/etc/key.pem"\nweb_folder = "www"\n',
    ),
  );
  t.same(config.interface.carriers, {
    quicPort: 443,
    webtransportPort: 443,
    tlsFiles: { certificate: '/nowhere/tls/cert.pem', privateKey: '/etc/key.pem' },
    webFolder: '/nowhere/www',
  });
  t.same(read(server('[carriers]\nquic_port = 443\n')).config.interface.carriers, { quicPort: 443, webFolder: undefined });
  t.notOk('carriers' in read(server('')).config.interface);
  t.end();
});

t.test('a client says over what a path goes, and where the peer listens', (t) => {
  const { config } = read(
    client('carrier = "webtransport"\n', `webtransport_port = 443\nserver_name = "vpn.example.org"\ncertificate_sha256 = "${HASH}"\n`),
  );
  t.equal(config.paths[0]!.carrier, 'webtransport');
  t.match(config.peers[0]!, { webtransportPort: 443, serverName: 'vpn.example.org' });
  t.same(
    config.peers[0]!.certificateSha256,
    Uint8Array.from({ length: 32 }, (_, i) => i + 160),
  );
  t.notOk('carrier' in read(client('', '')).config.paths[0]!);
  t.end();
});

t.test('what cannot be meant is refused, with the line and what to do', (t) => {
  const cases: [string, RegExp][] = [
    [server('[carriers]\n'), /\[carriers\] webtransport_port is missing/],
    [server('[carriers]\nquic_port = 5180\n'), /:6: \[carriers\] quic_port is the UDP port of listen_port too: choose another, as 443/],
    [server('[carriers]\nquic_port = 443\ncertificate = "a.pem"\n'), /:7: \[carriers\] certificate stands alone/],
    [server('[carriers]\nquic_port = 443\n', `[[peer]]\npublic_key = "${PUBLIC}"\nendpoint = "203.0.113.1:5180"\n`), /is for a server/],
    [server('[carriers]\nquick_port = 443\n'), /did you mean "quic_port"/],
    [client('carrier = "quic"\n', 'webtransport_port = 443\n'), /:7: \[\[path\]\] 1: carrier is "quic", but peer "peer1" has no quic_port/],
    [client('carrier = "http"\n', ''), /:7: \[\[path\]\] 1: carrier must be/],
    [client('', 'certificate_sha256 = "abc"\n'), /is no SHA-256 of a certificate/],
    [client('', 'server_name = "a b"\n'), /is no name of a host/],
  ];
  for (const [text, message] of cases) t.throws(() => read(text), { name: 'ConfigError', message });
  t.match(read(server('[carriers]\nquic_port = 443\nweb_folder = "www"\n')).warnings.join('\n'), /web_folder has no effect/);
  t.end();
});
