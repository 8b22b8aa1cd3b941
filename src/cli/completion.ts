import { type Command, InvalidArgumentError } from 'commander';
import { type CommandFacts, commandTree } from './command-tree.js';
import { bashCompletion, fishCompletion, zshCompletion } from './completion-scripts.js';
import { manPage } from './man-page.js';

const SHELLS: Readonly<Record<string, (tree: CommandFacts) => string>> = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion };

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a script that completes commands, options and names of tunnels')
    .argument('<shell>', 'bash, zsh or fish', (shell: string) => {
      if (Object.hasOwn(SHELLS, shell)) return shell;
      throw new InvalidArgumentError(`Give one of ${Object.keys(SHELLS).join(', ')}.`);
    })
    .addHelpText(
      'after',
      '\nExamples:\n  source <(mptunnel completion bash)\n  mptunnel completion fish > ~/.config/fish/completions/mptunnel.fish',
    )
    .action((shell: string) => {
      process.stdout.write(SHELLS[shell]!(commandTree(program)));
    });
  // For packages.
  program
    .command('man-page', { hidden: true })
    .description('print the man page')
    .action(() => {
      process.stdout.write(manPage(commandTree(program), program.version() ?? ''));
    });
}
