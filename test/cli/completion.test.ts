import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { completionScript } from '../../cli/completion.ts';
import { createProgram } from '../../cli/program.ts';

const output = { write: () => undefined, isTty: false, columns: undefined };
const program = createProgram({
  world: { out: output, err: output, version: '0.1.0' },
  act: () => async () => undefined,
});

/** What bash would offer after these words, the last of which is being typed. */
function offered(...words: readonly string[]): string[] {
  const script = `${completionScript('bash', program)}
COMP_WORDS=(agentmesh "$@"); COMP_CWORD=$#
_agentmesh
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { status, stdout, stderr } = spawnSync('bash', ['-c', script, 'bash', ...words], {
    encoding: 'utf8',
    cwd: '/',
  });
  expect([status, stderr]).toEqual([0, '']);
  return stdout.trim().split('\n');
}

describe('in bash', () => {
  test.each([
    [['st'], ['status']],
    [
      ['agent', 're'],
      ['resume', 'revoke'],
    ],
    [['--home', 'agent', 'sta'], ['status']],
    [
      ['agent', '--json', 's'],
      ['show', 'suspend'],
    ],
    [
      ['delegate', '--t'],
      ['--to', '--ttl'],
    ],
    [['delegate', '--to', 'x', '--priv'], ['--private']],
    [['agent', 'list', '--ho'], ['--home']],
    [['--vers'], ['--version']],
    [['run', '--', 'ag'], ['']],
  ])('%j offers %j', (words, want) => {
    expect(offered(...words)).toEqual(want);
  });

  test('what takes a value, and what is no command, offers files', () => {
    expect(offered('chain', 'export', 'x', '--out', 'et')).toEqual(['etc']);
    expect(offered('verify-chain', 'et')).toEqual(['etc']);
  });
});

test('every command and flag is in every script, quoted as the shell wants it', () => {
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    const script = completionScript(shell, program);
    for (const command of program.commands) expect(script).toContain(command.name());
    expect(script).toContain(shell === 'fish' ? '-l min-score -r' : '--min-score');
    expect(script).not.toContain('undefined');
  }
  // An apostrophe in a description must not end the word.
  expect(completionScript('zsh', program)).toContain("This organisation'\\''s agents");
  expect(completionScript('fish', program)).toContain("'This organisation\\'s agents'");
});

test.each(['zsh', 'fish'] as const)('%s parses its script, where it is installed', (shell) => {
  const script = completionScript(shell, program);
  const { status, error } = spawnSync(shell, ['-n'], { input: script });
  if (error === undefined) expect(status).toBe(0);
  else expect(error).toMatchObject({ code: 'ENOENT' });
});
