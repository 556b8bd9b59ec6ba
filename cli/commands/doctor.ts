import type { Command } from 'commander';
import { findings } from '../doctor.ts';
import { EXIT } from '../exit.ts';
import { withHelp } from '../help.ts';
import type { Act } from '../program.ts';
import { formatFindings } from '../views/doctor.ts';

export function addDoctor(program: Command, act: Act): void {
  withHelp(program.command('doctor'), {
    summary: 'Look for what is wrong, and say what to do about it',
    about:
      'Node, home and permissions, socket, daemon, keys, who can reach it, peers, agents, clock, audit log. Works without a daemon as far as that goes. ' +
      'Exit code 1 if something is broken.',
    examples: [['doctor', 'first, whenever something does not work']],
  }).action(
    act(async (invocation) => {
      const found = await findings(invocation);
      const ok = found.every(({ outcome }) => outcome !== 'fail');
      invocation.answer({ ok, checks: found }, (view) => formatFindings(found, view));
      return ok ? EXIT.ok : EXIT.failure;
    }),
  );
}
