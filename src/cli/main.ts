/** argv -> a command -> an exit code. */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addCapture } from './capture.js';
import type { CliContext } from './cli-context.js';
import { addCompletion } from './completion.js';
import { addConnect } from './connect.js';
import { addConnections } from './connections.js';
import { addDemo } from './demo-command.js';
import { addDoctor } from './doctor.js';
import { addDown } from './down.js';
import { addEvents } from './events.js';
import { addGenkey } from './genkey.js';
import { addGenpsk } from './genpsk.js';
import { addInit } from './init.js';
import { addInvite, addPeer } from './invite.js';
import { addJoin } from './join.js';
import { addMetrics } from './metrics.js';
import { addPath } from './path.js';
import { addProxy } from './proxy.js';
import { addPubkey } from './pubkey.js';
import { addRelay } from './relay.js';
import { addReload } from './reload.js';
import { reportFailure } from './report.js';
import { addSet } from './set.js';
import { addStatus } from './status.js';
import { addTop } from './top.js';
import { addUp } from './up.js';

const EXAMPLES = `
Begin with:
  sudo mptunnel demo
  sudo mptunnel init server         # on a server: keys, configuration, and what to do next
  sudo mptunnel invite mpt0 laptop  # there: one line for a client
  sudo mptunnel join LINE           # on the client
  sudo mptunnel up home        # /etc/mptunnel/home.toml
  sudo mptunnel status`;

/** In the order of --help. */
const COMMANDS: readonly ((program: Command, context: CliContext) => void)[] = [
  addInit,
  addInvite,
  addJoin,
  addPeer,
  addUp,
  addDown,
  addProxy,
  addConnect,
  addStatus,
  addTop,
  addConnections,
  addPath,
  addSet,
  addReload,
  addCapture,
  addEvents,
  addMetrics,
  addDoctor,
  addGenkey,
  addPubkey,
  addGenpsk,
  addRelay,
  addDemo,
  addCompletion,
];

/** `args` without node and script. Sets nothing but what the command itself does; returns the exit code. */
export async function runCli(args: readonly string[], context: CliContext): Promise<number> {
  // `mptunnel status | head` is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  const program = createProgram(context);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 1;
    reportFailure(error);
    return 1;
  }
}

function createProgram(context: CliContext): Command {
  const program = new Command('mptunnel');
  program
    .description('Makes several Internet links behave as one.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    .configureOutput({
      outputError: (text, write) =>
        write(
          `mptunnel: ${text
            .trim()
            .replace(/^error: /, '')
            .replaceAll(/\s*\n\s*/g, ' ')} (see \`mptunnel --help\`)\n`,
        ),
    });
  for (const add of COMMANDS) add(program, context);
  return program;
}

/** Two folders up from dist/src/cli is dist; the package is one above. */
function packageVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string };
  return manifest.version;
}
