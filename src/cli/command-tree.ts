/** The commands as data, read from commander: man page and completions are made of it, so they say what --help says. */

import type { EventEmitter } from 'node:events';
import type { Command } from 'commander';

export interface OptionFacts {
  /** "-n, --name <name>" */
  readonly flags: string;
  readonly short: string | undefined;
  readonly long: string | undefined;
  readonly takesValue: boolean;
  readonly description: string;
  /** As text; "" when there is none. */
  readonly defaultValue: string;
}

export interface ArgumentFacts {
  /** "<name>", "[name]" */
  readonly usage: string;
  readonly name: string;
  readonly description: string;
  /** The words that it may be; empty where it may be any. */
  readonly choices: readonly string[];
}

export interface CommandFacts {
  readonly name: string;
  /** ["mptunnel", "invite", "list"] */
  readonly path: readonly string[];
  readonly description: string;
  readonly arguments: readonly ArgumentFacts[];
  readonly options: readonly OptionFacts[];
  readonly commands: readonly CommandFacts[];
  /** What --help says below: examples. */
  readonly notes: string;
}

/** Without hidden commands and options. */
export function commandTree(command: Command, above: readonly string[] = []): CommandFacts {
  const path = [...above, command.name()];
  const help = command.createHelp();
  return {
    name: command.name(),
    path,
    description: command.description(),
    arguments: command.registeredArguments.map((argument) => {
      const name = argument.name();
      return {
        name,
        usage: argument.required ? `<${name}>` : `[${name}]`,
        description: argument.description,
        choices: argument.argChoices ?? [],
      };
    }),
    options: help.visibleOptions(command).map(({ flags, short, long, required, optional, description, defaultValue, negate }) => ({
      flags,
      short,
      long,
      takesValue: required || optional,
      description,
      defaultValue: negate || defaultValue === undefined || typeof defaultValue === 'boolean' ? '' : String(defaultValue),
    })),
    commands: help
      .visibleCommands(command)
      .filter((one) => one.name() !== 'help')
      .map((one) => commandTree(one, path)),
    notes: notesOf(command),
  };
}

function notesOf(command: Command): string {
  let text = '';
  // It is an EventEmitter, which its types do not say.
  (command as unknown as EventEmitter).emit('afterHelp', { error: false, command, write: (part: string) => void (text += part) });
  return text.trim();
}

/** The command itself and all below it. */
export function allCommands(tree: CommandFacts): CommandFacts[] {
  return [tree, ...tree.commands.flatMap(allCommands)];
}
