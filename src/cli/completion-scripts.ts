/** Completion scripts for three shells, of the commands as data. Arguments that name a tunnel complete to the configurations in /etc/mptunnel. */

import { allCommands, type CommandFacts } from './command-tree.js';

/** Arguments and options with these names take the name of a tunnel. */
const TUNNEL_ARGUMENTS = new Set(['name', 'config']);
const LIST_TUNNELS = 'for f in /etc/mptunnel/*.toml; do [ -e "$f" ] && basename "$f" .toml; done 2>/dev/null';

function optionWords(command: CommandFacts): string[] {
  return command.options.flatMap(({ short, long }) => [short, long].filter((flag): flag is string => flag !== undefined));
}

function takesTunnel(command: CommandFacts): boolean {
  return command.arguments.some(({ name }) => TUNNEL_ARGUMENTS.has(name));
}

function choiceWords(command: CommandFacts): string[] {
  return command.arguments.flatMap(({ choices }) => choices);
}

function takesFile(command: CommandFacts): boolean {
  return command.arguments.some(({ name }) => name === 'config');
}

/** "mptunnel invite list" -> "invite list"; "" for the program itself. */
function keyOf(command: CommandFacts): string {
  return command.path.slice(1).join(' ');
}

export function bashCompletion(tree: CommandFacts): string {
  const cases = allCommands(tree)
    .map((command) => {
      const words = [...command.commands.map(({ name }) => name), ...choiceWords(command), ...optionWords(command)].join(' ');
      const tunnels = takesTunnel(command) ? ` $(${LIST_TUNNELS})` : '';
      return `    '${keyOf(command)}') words="${words}${tunnels}"; files=${takesFile(command) ? 1 : 0} ;;`;
    })
    .join('\n');
  return `# bash completion for mptunnel; made by \`mptunnel completion bash\`.
_mptunnel() {
  local current="\${COMP_WORDS[COMP_CWORD]}" key="" word words="" files=0 i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case " ${allCommands(tree)
      .map(keyOf)
      .filter((key) => key !== '')
      .map((key) => `,${key},`)
      .join(' ')} " in
      *",\${key:+$key }$word,"*) key="\${key:+$key }$word" ;;
    esac
  done
  case "$key" in
${cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ "$files" = 1 ] && [ "\${#COMPREPLY[@]}" = 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -F _mptunnel mptunnel
`;
}

export function zshCompletion(tree: CommandFacts): string {
  const cases = allCommands(tree)
    .map((command) => {
      const commands = [
        ...command.commands.map(({ name, description }) => quote(`${escapeColon(name)}:${description}`)),
        ...choiceWords(command).map(quote),
      ].join(' ');
      const options = command.options
        .flatMap(({ short, long, description }) =>
          [short, long].filter((flag): flag is string => flag !== undefined).map((flag) => quote(`${flag}:${description}`)),
        )
        .join(' ');
      const lines = [`commands=(${commands})`, `options=(${options})`];
      if (takesTunnel(command)) lines.push(`tunnels=(\${(f)"$(${LIST_TUNNELS})"})`);
      if (takesFile(command)) lines.push('files=1');
      return `    ${quote(keyOf(command))}) ${lines.join('; ')} ;;`;
    })
    .join('\n');
  return `#compdef mptunnel
# zsh completion for mptunnel; made by \`mptunnel completion zsh\`.
_mptunnel() {
  local key="" word i files=0
  local -a commands options tunnels known
  known=(${allCommands(tree)
    .map(keyOf)
    .filter((key) => key !== '')
    .map(quote)
    .join(' ')})
  for ((i = 2; i < CURRENT; i++)); do
    word="\${words[i]}"
    (( \${known[(Ie)\${key:+$key }$word]} )) && key="\${key:+$key }$word"
  done
  case "$key" in
${cases}
  esac
  (( \${#commands} )) && _describe command commands
  (( \${#tunnels} )) && _describe tunnel tunnels
  (( \${#options} )) && _describe option options
  (( files )) && _files
}
if [ "$funcstack[1]" = "_mptunnel" ]; then _mptunnel "$@"; else compdef _mptunnel mptunnel; fi
`;
}

export function fishCompletion(tree: CommandFacts): string {
  const lines = allCommands(tree).flatMap((command) => {
    const [, first, second] = command.path;
    const here =
      first === undefined
        ? '__fish_use_subcommand'
        : second === undefined
          ? `__fish_seen_subcommand_from ${first}${command.commands.map(({ name }) => `; and not __fish_seen_subcommand_from ${name}`).join('')}`
          : `__fish_seen_subcommand_from ${first}; and __fish_seen_subcommand_from ${second}`;
    const begin = `complete -c mptunnel -f -n ${quote(here)}`;
    return [
      ...command.commands.map(({ name, description }) => `${begin} -a ${quote(name)} -d ${quote(description)}`),
      ...choiceWords(command).map((word) => `${begin} -a ${quote(word)}`),
      ...command.options.map(({ short, long, takesValue, description }) => {
        const flags = [short === undefined ? '' : ` -s ${short.slice(1)}`, long === undefined ? '' : ` -l ${long.slice(2)}`].join('');
        return `${begin}${flags}${takesValue ? ' -r' : ''} -d ${quote(description)}`;
      }),
      ...(takesTunnel(command) ? [`${begin} -a ${quote(`(sh -c ${JSON.stringify(LIST_TUNNELS).replaceAll('$', '\\$')})`)} -d tunnel`] : []),
    ];
  });
  return `# fish completion for mptunnel; made by \`mptunnel completion fish\`.\n${lines.join('\n')}\n`;
}

function escapeColon(text: string): string {
  return text.replaceAll(':', '\\:');
}

/** For all three shells, as far as these texts go. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
