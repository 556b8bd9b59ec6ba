import type { Command } from 'commander';

interface HelpText {
  /** One line. */
  readonly summary: string;
  /** A paragraph, broken into lines by whoever shows it. */
  readonly about?: string;
  readonly examples: readonly (readonly [command: string, what: string])[];
}

/** One line, usage, a paragraph, flags with defaults, examples. */
export function withHelp(command: Command, { summary, about, examples }: HelpText): Command {
  command.summary(summary).description(about === undefined ? `${summary}.` : `${summary}.\n\n${about}`);
  const width = Math.max(...examples.map(([example]) => example.length));
  const lines = examples.map(([example, what]) =>
    width > EXAMPLE_COLUMNS ? `  agentmesh ${example}\n      ${what}` : `  agentmesh ${example.padEnd(width)}  ${what}`,
  );
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`);
}

const EXAMPLE_COLUMNS = 44; // with the program's name and what it does, 80
