import type { Command } from 'commander';
import { withHelp } from '../help.ts';
import type { Act } from '../program.ts';
import { formatStatus } from '../views/status.ts';

export function addStatus(program: Command, act: Act): void {
  withHelp(program.command('status'), {
    summary: 'The daemon at a glance',
    about: 'Organisation, addresses, peers, agents and warnings, as the running daemon says.',
    examples: [
      ['status', 'for a person'],
      ['status --json', 'for a program'],
    ],
  }).action(
    act(async (invocation) => {
      const mesh = await invocation.mesh();
      const status = await mesh.call('status');
      invocation.answer(status, (view) => formatStatus(status, view));
    }),
  );
}
