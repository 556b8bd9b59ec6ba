/** Completion scripts, made from the tree of commands, so that they know what the program knows. */
import type { Command } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

interface Entry {
  /** Words after the program's name; none for the program itself. */
  readonly path: readonly string[];
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
  readonly flags: readonly { readonly name: string; readonly about: string; readonly takesValue: boolean }[];
}

export function completionScript(shell: Shell, program: Command): string {
  const entries = entriesOf(program);
  if (shell === 'bash') return bash(entries);
  return shell === 'zsh' ? zsh(entries) : fish(entries);
}

function entriesOf(program: Command): Entry[] {
  const everywhere = flagsOf(program).filter(({ name }) => name !== '--version');
  const walk = (command: Command, path: readonly string[]): Entry[] => {
    const own = path.length === 0 ? flagsOf(program) : [...flagsOf(command), ...everywhere];
    const help = { name: '--help', about: 'show help', takesValue: false };
    const commands = command.commands.map((each) => ({ name: each.name(), summary: each.summary() }));
    return [
      { path, commands, flags: [...own, help] },
      ...command.commands.flatMap((each) => walk(each, [...path, each.name()])),
    ];
  };
  return walk(program, []);
}

const flagsOf = (command: Command): Entry['flags'] =>
  command.options.map(({ long, description, required }) => ({
    name: long ?? '',
    about: description,
    takesValue: required,
  }));

const wordsOf = ({ commands, flags }: Entry): string => [...commands, ...flags].map(({ name }) => name).join(' ');
const valueFlags = (entries: readonly Entry[]): string[] => [
  ...new Set(entries.flatMap(({ flags }) => flags.filter(({ takesValue }) => takesValue).map(({ name }) => name))),
];

function bash(entries: readonly Entry[]): string {
  const cases = entries.map((entry) => `    '${entry.path.join(' ')}') words='${wordsOf(entry)}' ;;`);
  const known = entries.filter(({ path }) => path.length > 0).map(({ path }) => `'${path.join(' ')}'`);
  return `# bash completion of agentmesh
_agentmesh() {
  local word=\${COMP_WORDS[COMP_CWORD]} path='' words='' skip='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ -n $skip ]]; then skip=''; continue; fi
    case \${COMP_WORDS[i]} in
      --) return ;;
      ${valueFlags(entries).join('|')}) skip=1 ;;
      -*) ;;
      *) case "\${path:+$path }\${COMP_WORDS[i]}" in
        ${known.join('|')}) path="\${path:+$path }\${COMP_WORDS[i]}" ;;
      esac ;;
    esac
  done
  if [[ -n $skip ]]; then COMPREPLY=($(compgen -f -- "$word")); return; fi
  case $path in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  if [[ \${#COMPREPLY[@]} -eq 0 && $word != -* ]]; then COMPREPLY=($(compgen -f -- "$word")); fi
}
complete -o filenames -F _agentmesh agentmesh
`;
}

function zsh(entries: readonly Entry[]): string {
  const described = ({ commands, flags }: Entry): string =>
    [
      ...commands.map(({ name, summary }) => [name, summary] as const),
      ...flags.map(({ name, about }) => [name, about] as const),
    ]
      .map(([name, about]) => `'${name}:${about.replaceAll("'", "'\\''").replaceAll(':', '\\:')}'`)
      .join(' ');
  const cases = entries.map((entry) => `    '${entry.path.join(' ')}') words=(${described(entry)}) ;;`);
  const known = entries.filter(({ path }) => path.length > 0).map(({ path }) => `'${path.join(' ')}'`);
  return `#compdef agentmesh
_agentmesh() {
  local at='' skip='' word i
  local -a words_before words
  words_before=(\${words[2,CURRENT-1]})
  words=()
  for word in $words_before; do
    if [[ -n $skip ]]; then skip=''; continue; fi
    case $word in
      --) _normal; return ;;
      ${valueFlags(entries).join('|')}) skip=1 ;;
      -*) ;;
      *) case "\${at:+$at }$word" in
        ${known.join('|')}) at="\${at:+$at }$word" ;;
      esac ;;
    esac
  done
  if [[ -n $skip ]]; then _files; return; fi
  case $at in
${cases.join('\n')}
  esac
  _describe 'agentmesh' words || _files
}
if [ "$funcstack[1]" = "_agentmesh" ]; then _agentmesh "$@"; else compdef _agentmesh agentmesh; fi
`;
}

function fish(entries: readonly Entry[]): string {
  const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const top = entries.filter(({ path }) => path.length === 1).map(({ path }) => path[0] ?? '');
  const lines = entries.flatMap(({ path, commands, flags }) => {
    const inner = commands.map(({ name }) => name).join(' ');
    const [first, second] = path;
    const when =
      first === undefined
        ? `not __fish_seen_subcommand_from ${top.join(' ')}`
        : second === undefined
          ? `__fish_seen_subcommand_from ${first}${inner === '' ? '' : `; and not __fish_seen_subcommand_from ${inner}`}`
          : `__fish_seen_subcommand_from ${first}; and __fish_seen_subcommand_from ${second}`;
    const head = `complete -c agentmesh -n ${quote(when)}`;
    return [
      ...commands.map(({ name, summary }) => `${head} -f -a ${name} -d ${quote(summary)}`),
      ...flags.map(
        ({ name, about, takesValue }) => `${head} -l ${name.slice(2)}${takesValue ? ' -r' : ''} -d ${quote(about)}`,
      ),
    ];
  });
  return `# fish completion of agentmesh\n${lines.join('\n')}\n`;
}
