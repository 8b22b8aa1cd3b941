/** mptunnel(1), of the commands as data. man(7) macros alone, so that every formatter reads it. */

import { allCommands, type CommandFacts, type OptionFacts } from './command-tree.js';

export function manPage(tree: CommandFacts, version: string): string {
  const commands = allCommands(tree).slice(1);
  return [
    `.TH MPTUNNEL 1 "" "mptunnel ${roff(version)}" "User Commands"`,
    '.SH NAME',
    'mptunnel \\- makes several Internet links behave as one',
    '.SH SYNOPSIS',
    ...commands
      .filter(({ commands: below, arguments: own }) => below.length === 0 || own.length > 0)
      .flatMap((command) => ['.PP', synopsis(command)]),
    '.SH DESCRIPTION',
    ...DESCRIPTION.flatMap((text) => ['.PP', roff(text)]),
    '.SH COMMANDS',
    ...commands.flatMap(commandSection),
    '.SH OPTIONS',
    ...tree.options.flatMap(optionEntry),
    '.SH FILES',
    ...FILES.flatMap(([file, what]) => ['.TP', `.I ${roff(file)}`, roff(what)]),
    '.SH EXIT STATUS',
    '0 when it worked, 1 when not; what went wrong is one line on standard error.',
    '.SH SEE ALSO',
    '.BR ip (8),',
    '.BR systemctl (1),',
    'RFC 8684',
    '',
  ].join('\n');
}

const DESCRIPTION = [
  'A TUN device takes the packets of the host. A userspace Multipath TCP stack turns every TCP connection into real MPTCP subflows, one for each path; everything else goes packet by packet. All of it travels in encrypted UDP to a server of yours.',
  'On the server: mptunnel init server, mptunnel up mpt0, mptunnel invite mpt0 laptop. On the client: mptunnel join LINE, mptunnel up mpt0.',
];

const FILES: readonly [string, string][] = [
  ['/etc/mptunnel/NAME.toml', 'The configuration of the tunnel NAME.'],
  ['/etc/mptunnel/NAME.key', 'Its private key.'],
  ['/etc/mptunnel/NAME.peers.d/PEER.toml', 'One peer each: public_key, preshared_key, allowed_ips. Written by enrolment, or by hand.'],
  ['/etc/mptunnel/NAME.invites.json', 'Open invites (without their secrets), and which addresses belong to which name.'],
  ['/run/mptunnel', 'Control sockets, logs, and what is to be undone after a crash.'],
];

function synopsis(command: CommandFacts): string {
  const words = command.arguments.map(({ usage, name }) => (usage.startsWith('[') ? `[\\fI${roff(name)}\\fR]` : `\\fI${roff(name)}\\fR`));
  const options = command.options.some(({ long }) => long !== '--help') ? [' [\\fIoptions\\fR]'] : [];
  return `\\fB${roff(command.path.join(' '))}\\fR${options.join('')}${words.map((word) => ` ${word}`).join('')}`;
}

function commandSection(command: CommandFacts): string[] {
  return [
    `.SS "${roff(command.path.slice(1).join(' '))}"`,
    synopsis(command),
    '.PP',
    roff(sentence(command.description)),
    ...command.arguments
      .filter(({ description }) => description !== '')
      .flatMap(({ name, description }) => ['.TP', `\\fI${roff(name)}\\fR`, roff(description)]),
    ...command.options.filter(({ long }) => long !== '--help').flatMap(optionEntry),
    ...(command.notes === '' ? [] : ['.PP', '.nf', ...command.notes.split('\n').map(roff), '.fi']),
  ];
}

function optionEntry({ flags, description, defaultValue }: OptionFacts): string[] {
  const standard = defaultValue === '' ? '' : ` (default: ${defaultValue})`;
  return ['.TP', `\\fB${roff(flags)}\\fR`, roff(description + standard)];
}

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return first.endsWith('.') ? first : `${first}.`;
}

/** Hyphens that are to be copied, backslashes, and lines that would be requests. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/^([.'])/gm, '\\&$1');
}
