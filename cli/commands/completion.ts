import { Argument, type Command } from 'commander';
import { completionScript, SHELLS, type Shell } from '../completion.ts';
import { withHelp } from '../help.ts';
import type { Act } from '../program.ts';

export function addCompletion(program: Command, act: Act): void {
  withHelp(program.command('completion'), {
    summary: 'A script that completes commands and flags in your shell',
    examples: [
      ['completion bash > ~/.local/share/bash-completion/completions/agentmesh', 'bash'],
      ['completion zsh > ~/.zfunc/_agentmesh', 'zsh, where ~/.zfunc is in fpath'],
      ['completion fish > ~/.config/fish/completions/agentmesh.fish', 'fish'],
    ],
  })
    .addArgument(new Argument('<shell>', 'your shell').choices(SHELLS))
    .action(
      act(async (invocation, shell: Shell) => {
        const script = completionScript(shell, program);
        invocation.answer({ shell, script }, () => script);
      }),
    );
}
