import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join as joinPath, resolve } from 'node:path';
import type { Command } from 'commander';
import { formatKey, generatePrivateKey } from '../crypto/keys.js';
import { publicKeyOf } from '../crypto/x25519.js';
import { queryIp } from '../tun/ip-command.js';
import { writePrivateFile } from '../tun/private-file.js';
import { TUNNEL_KINDS } from '../tunnel/auto-paths.js';
import { CONFIG_DIRECTORY, parseConfig } from '../tunnel/config-file.js';
import { interfaceNameFault } from '../tunnel/config-schema.js';
import { type Invite, parseInvite } from '../tunnel/gateway/invite-line.js';
import { parseSeconds } from './numbers.js';
import { CliError, notWritten, reportWarning } from './report.js';
import { readStandardInput } from './standard-input.js';

interface JoinOptions {
  name?: string;
  dir: string;
  timeout: number;
  json?: boolean;
}

const DEFAULT_TIMEOUT_SECONDS = 15;
const INPUT_MAX_CHARACTERS = 16_384;

export function addJoin(program: Command): void {
  program
    .command('join')
    .description('become a client of the server that made the invite: makes a key, enrols it, writes the configuration')
    .argument('<line>', 'what `mptunnel invite` printed; - reads it from standard input, so that no other user sees it')
    .option('-n, --name <name>', "what to call the tunnel here (default: the server's name for it)")
    .option('-d, --dir <folder>', 'where to', CONFIG_DIRECTORY)
    .option('-t, --timeout <seconds>', 'how long each address of the server may take to answer', parseSeconds, DEFAULT_TIMEOUT_SECONDS)
    .option('--json', 'print what was made as JSON')
    .addHelpText('after', '\nExamples:\n  sudo mptunnel join mptunnel:AZmY...\n  sudo mptunnel join - --name office < invite.txt')
    .action(join);
}

async function join(line: string, options: JoinOptions): Promise<void> {
  const invite = parseInvite(line === '-' ? await readStandardInput(INPUT_MAX_CHARACTERS) : line);
  if (typeof invite === 'string') throw new CliError('bad-invite', `the line ${invite}`);
  const name = options.name ?? invite.tunnel;
  const fault = interfaceNameFault(name);
  if (fault !== undefined) throw new CliError('bad-name', `--name ${fault}`);
  const directory = resolve(options.dir);
  const files = { config: joinPath(directory, `${name}.toml`), key: joinPath(directory, `${name}.key`) };
  for (const file of [files.config, files.key])
    if (existsSync(file)) throw new CliError('exists', `${file} exists already and stays as it is: choose another --name`);
  const privateKey = generatePrivateKey(randomBytes);
  writeFile(directory, files.key, `${formatKey(privateKey)}\n`);
  const enrolled = await enrolKey(invite, privateKey, files.key, options);
  const text = configText(invite, name, enrolled, await pathsText());
  parseConfig(text, files.config);
  writeFile(directory, files.config, text);
  if (!enrolled.confirmed)
    throw new CliError(
      'unsure',
      `${enrolled.endpoint} was asked to enrol us, but its answer did not come. ${files.config} is written: if \`mptunnel up\` works with it, ` +
        `all is well; if not, remove it and ${files.key}, and ask for another invite`,
    );
  const made = {
    name,
    configFile: files.config,
    keyFile: files.key,
    publicKey: formatKey(publicKeyOf(privateKey)),
    addresses: invite.addresses,
    endpoint: enrolled.endpoint,
    routes: invite.routes,
  };
  if (options.json === true) process.stdout.write(`${JSON.stringify(made)}\n`);
  else
    process.stdout.write(
      `Enrolled as ${invite.peer} at ${enrolled.endpoint}: ${invite.addresses.join(', ')}.\nConfiguration: ${files.config}\n` +
        `Next:\n  sudo mptunnel up ${directory === CONFIG_DIRECTORY ? name : files.config}\n`,
    );
}

/** The key is on the disk before the server knows it: what was enrolled must not be lost. */
async function enrolKey(invite: Invite, privateKey: Uint8Array, keyFile: string, options: JoinOptions) {
  const { enrol } = await import('../tunnel/gateway/join.js');
  const log = { info: () => {}, warn: reportWarning };
  try {
    return await enrol({ invite, privateKey, timeoutMs: options.timeout * 1000, log });
  } catch (error) {
    rmSync(keyFile, { force: true });
    throw error;
  }
}

function writeFile(directory: string, file: string, text: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    writePrivateFile(file, text);
  } catch (cause) {
    throw notWritten(file, cause, 'choose a folder of yours with --dir');
  }
}

function configText(
  invite: Invite,
  name: string,
  enrolled: { endpoint: string; presharedKey: Uint8Array },
  paths: { top: string; tables: string },
): string {
  return `# ${invite.peer} of the server at ${enrolled.endpoint}; made by \`mptunnel join\`.

${paths.top}[interface]
private_key_file = "${name}.key"
address = ${JSON.stringify(invite.addresses)}

${paths.tables}[[peer]]
name = "server"
public_key = "${formatKey(invite.serverPublicKey)}"
preshared_key = "${formatKey(enrolled.presharedKey)}"
endpoint = "${enrolled.endpoint}"
allowed_ips = ${JSON.stringify(invite.routes)}
${carriersText(invite)}`;
}

function carriersText({ carriers = {} }: Invite): string {
  const { quicPort, webtransportPort, certificateSha256 } = carriers;
  return [
    ...(quicPort === undefined ? [] : [`quic_port = ${quicPort}\n`]),
    ...(webtransportPort === undefined ? [] : [`webtransport_port = ${webtransportPort}\n`]),
    ...(certificateSha256 === undefined ? [] : [`certificate_sha256 = "${Buffer.from(certificateSha256).toString('hex')}"\n`]),
  ].join('');
}

/**
 * All uplinks, also those that come later. Where every default route leads into what looks like another tunnel (a tap of a virtual machine, say), automatic
 * paths would find none: then they are named.
 */
async function pathsText(): Promise<{ top: string; tables: string }> {
  interface Route {
    dev?: string;
    nexthops?: { dev: string }[];
  }
  interface Link {
    ifname: string;
    linkinfo?: { info_kind?: string };
  }
  const automatic = {
    top: '# Every interface with a default route is a path. To choose, leave this out and name them: [[path]] with name and interface.\npaths = "auto"\n\n',
    tables: '',
  };
  try {
    const routes = (await Promise.all(['-4', '-6'].map((family) => queryIp<Route>([family, 'route', 'show', 'default'])))).flat();
    const devices = new Set(routes.flatMap((route) => [route.dev, ...(route.nexthops ?? []).map((hop) => hop.dev)]));
    devices.delete(undefined);
    const links = (await queryIp<Link>(['-d', 'link', 'show'])).filter(({ ifname }) => devices.has(ifname));
    if (links.length === 0 || links.some(({ linkinfo }) => !TUNNEL_KINDS.has(linkinfo?.info_kind ?? ''))) return automatic;
    return { top: '', tables: links.map(({ ifname }) => `[[path]]\nname = "${ifname}"\ninterface = "${ifname}"\n\n`).join('') };
  } catch {
    // Without `ip` the tunnel will not start either, and says so then.
    return automatic;
  }
}
