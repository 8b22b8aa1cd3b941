import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { systemdUnit, UNIT_NAME } from '../control/systemd-unit.js';
import { formatKey, generatePrivateKey } from '../crypto/keys.js';
import { publicKeyOf } from '../crypto/x25519.js';
import { formatIp, formatPrefix, type IpPrefix, parsePrefix, prefixContains } from '../tun/ip-prefix.js';
import { writePrivateFile } from '../tun/private-file.js';
import { CONFIG_DIRECTORY, parseConfig } from '../tunnel/config-file.js';
import { interfaceNameFault } from '../tunnel/config-schema.js';
import { peerDirectory } from '../tunnel/peer-directory.js';
import type { CliContext } from './cli-context.js';
import { CliError, notWritten } from './report.js';

interface InitServerOptions {
  name: string;
  listenPort: number;
  address?: string[];
  endpoint?: string;
  dir: string;
  unitDir?: string;
  json?: boolean;
}

const DEFAULT_NAME = 'mpt0';
const DEFAULT_PORT = 5180;
const SYSTEMD_DIRECTORY = '/etc/systemd/system';
/** 10.77.0.0/24 and on, until one is free here. */
const FIRST_SECOND_BYTE = 77;

export function addInit(program: Command, context: CliContext): void {
  const init = program.command('init').description('make the configuration of a new tunnel');
  init
    .command('server')
    .description('write the keys and the configuration of a server; asks nothing, overwrites nothing')
    .option('-n, --name <name>', 'the name of the tunnel and of its device', DEFAULT_NAME)
    .option('-p, --listen-port <port>', 'the UDP port', parsePort, DEFAULT_PORT)
    .option(
      '-a, --address <prefix...>',
      'addresses inside the tunnel, with the prefix that clients get theirs from (default: a free 10.x.0.1/24 and a random fd.../64)',
    )
    .option('-e, --endpoint <host>', 'the name or address at which clients reach this server (default: its public addresses)')
    .option('-d, --dir <folder>', 'where to', CONFIG_DIRECTORY)
    .option('--unit-dir <folder>', `where the systemd unit goes (default: ${SYSTEMD_DIRECTORY}, where there is systemd and no unit yet)`)
    .option('--json', 'print what was made as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  sudo mptunnel init server\n  sudo mptunnel init server --name office --endpoint vpn.example.org --address 10.9.0.1/24',
    )
    .action((options: InitServerOptions) => initServer(options, context));
}

function initServer(options: InitServerOptions, context: CliContext): void {
  const fault = interfaceNameFault(options.name);
  if (fault !== undefined) throw new CliError('bad-name', `--name ${fault}`);
  const directory = resolve(options.dir);
  const configFile = join(directory, `${options.name}.toml`);
  const keyFile = join(directory, `${options.name}.key`);
  const privateKey = generatePrivateKey(randomBytes);
  const addresses = options.address ?? [freePrefix(), uniqueLocalPrefix()];
  const text = configText(options, addresses);
  requireAbsent([configFile, keyFile, peerDirectory(configFile)]);
  // Whatever is wrong with the options is said in the words of the configuration, before anything is written.
  const check = text.replace(/^private_key_file = .*$/m, `private_key = "${formatKey(privateKey)}"`);
  parseConfig(check, configFile);
  let unitFile: string | undefined;
  try {
    mkdirSync(peerDirectory(configFile), { recursive: true, mode: 0o700 });
    writePrivateFile(keyFile, `${formatKey(privateKey)}\n`);
    writePrivateFile(configFile, text);
    unitFile = writeUnit(options, directory, context.entryFile);
  } catch (cause) {
    throw notWritten(directory, cause, 'choose a folder of yours with --dir');
  }
  const made = {
    name: options.name,
    configFile,
    keyFile,
    peersDirectory: peerDirectory(configFile),
    ...(unitFile === undefined ? {} : { unitFile }),
    publicKey: formatKey(publicKeyOf(privateKey)),
    listenPort: options.listenPort,
    addresses: addresses.map((address) => formatPrefix(parsePrefix(address)!)),
  };
  process.stdout.write(options.json === true ? `${JSON.stringify(made)}\n` : `${nextSteps(made, directory)}\n`);
}

/** undefined: there is no systemd, or one of a package has its own. */
function writeUnit(options: InitServerOptions, directory: string, entryFile: string): string | undefined {
  const places = ['/usr/lib/systemd/system', '/lib/systemd/system', SYSTEMD_DIRECTORY];
  const isWanted =
    directory === CONFIG_DIRECTORY && existsSync(SYSTEMD_DIRECTORY) && !places.some((place) => existsSync(join(place, UNIT_NAME)));
  const folder = options.unitDir ?? (isWanted ? SYSTEMD_DIRECTORY : undefined);
  if (folder === undefined) return undefined;
  const file = join(resolve(folder), UNIT_NAME);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, systemdUnit(`${process.execPath} ${entryFile}`), { mode: 0o644 });
  return file;
}

function requireAbsent(paths: readonly string[]): void {
  const present = paths.find((path) => existsSync(path));
  if (present === undefined) return;
  throw new CliError('exists', `${present} exists already and stays as it is: choose another --name, or remove it first`);
}

function configText(options: InitServerOptions, addresses: readonly string[]): string {
  const host = options.endpoint ?? 'vpn.example.org';
  return `# A mptunnel server. Peers come into ${options.name}.peers.d: sudo mptunnel invite ${options.name} PEER

[interface]
private_key_file = "${options.name}.key"
address = ${JSON.stringify(addresses)}
listen_port = ${options.listenPort}
# Where clients reach this server, for invites.
${options.endpoint === undefined ? '# ' : ''}endpoint = ${JSON.stringify(host)}

# Peers reach the Internet through this host, under its address. Without it they reach only its addresses in the tunnel. They reach each other, or networks
# behind this host, where \`allow\` says so: allow = ["192.168.1.0/24"]
[egress]
mode = "socket"
nat = true

# Ports of this host that lead to a peer, who sees where each connection comes from:
# [[forward]]
# protocol = "tcp"
# port = 8080
# to = "laptop:80"
`;
}

interface Made {
  name: string;
  configFile: string;
  keyFile: string;
  publicKey: string;
  listenPort: number;
  addresses: readonly string[];
  unitFile?: string;
}

function nextSteps({ name, configFile, keyFile, publicKey, listenPort, addresses, unitFile }: Made, directory: string): string {
  const target = directory === CONFIG_DIRECTORY ? name : configFile;
  return [
    `Configuration: ${configFile}`,
    `Private key:   ${keyFile} (readable by its owner only; never leaves this host)`,
    `Public key:    ${publicKey}`,
    `Addresses:     ${addresses.join(', ')}`,
    ...(unitFile === undefined ? [] : [`Unit:          ${unitFile} (at every start: sudo systemctl enable --now mptunnel@${name})`]),
    '',
    'Let the UDP port in, with the firewall that you use:',
    `  sudo ufw allow ${listenPort}/udp`,
    `  sudo nft add rule inet filter input udp dport ${listenPort} accept`,
    '',
    'Next:',
    `  sudo mptunnel up ${target}`,
    `  sudo mptunnel invite ${name} laptop`,
  ].join('\n');
}

/** The first 10.x.0.1/24 whose network no interface of this host has a part of. */
function freePrefix(): string {
  const taken = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .flatMap(({ cidr }) => (cidr === null ? [] : [parsePrefix(cidr)]))
    .filter((prefix): prefix is IpPrefix => prefix?.family === 4);
  for (let second = FIRST_SECOND_BYTE; second < FIRST_SECOND_BYTE + 100; second++) {
    const prefix = parsePrefix(`10.${second}.0.1/24`)!;
    if (!taken.some((one) => prefixContains(one, prefix) || prefixContains(prefix, one))) return formatPrefix(prefix);
  }
  throw new CliError('no-prefix', 'no 10.x.0.0/24 is free here: give --address');
}

/** RFC 4193 (3.2): fd, 40 random bits, subnet 0, host 1. */
function uniqueLocalPrefix(): string {
  const bytes = new Uint8Array(16);
  bytes.set(randomBytes(5), 1);
  bytes[0] = 0xfd;
  bytes[15] = 1;
  return `${formatIp(bytes)}/64`;
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) throw new InvalidArgumentError('Give a port from 1 to 65535.');
  return port;
}
