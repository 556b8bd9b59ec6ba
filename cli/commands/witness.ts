import type { Command } from 'commander';
import { withHelp } from '../help.ts';
import { localNames } from '../lookup.ts';
import type { Act } from '../program.ts';
import { formatWitness } from '../views/log.ts';

export function addWitness(program: Command, act: Act): void {
  const witness = withHelp(program.command('witness'), {
    summary: 'What this daemon cosigns for the logs of others',
    examples: [['witness status', 'which logs, up to where']],
  });
  withHelp(witness.command('status'), {
    summary: 'The logs that this daemon watches, and what it cosigned last',
    about:
      'A cosignature says: of this log I have seen no larger tree, and every tree before is the beginning of this one. Whoever shows this ' +
      'daemon another history is refused, and convicted by what he signed.',
    examples: [['witness status --json', 'for a program']],
  }).action(
    act(async (invocation) => {
      const mesh = await invocation.mesh();
      const [status, names] = await Promise.all([mesh.call('witnessStatus'), localNames(mesh)]);
      invocation.answer(status, (view) => formatWitness(status, view, names));
    }),
  );
}
