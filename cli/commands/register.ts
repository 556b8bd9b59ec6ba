import type { Command } from 'commander';
import { withHelp } from '../help.ts';
import { soleAgent } from '../lookup.ts';
import type { Act } from '../program.ts';
import { formatRegistered } from '../views/agents.ts';

export function addRegister(program: Command, act: Act): void {
  withHelp(program.command('register'), {
    summary: 'Publish an agent on the mesh, and get a token for it',
    about:
      'Its DID and root link go to every daemon. The token lets a program act as this agent on the control socket; it is shown once, and every ' +
      '"register" issues one more (the newest 16 are good). Without a name the only agent is meant, or the only one not published yet.',
    examples: [
      ['register', 'the only agent'],
      ['register my-agent --json | jq -r .token', 'its token alone'],
    ],
  })
    .argument('[agent]', 'name or DID')
    .action(
      act(async (invocation, named: string | undefined) => {
        const mesh = await invocation.mesh();
        const { did } = await soleAgent(mesh, named, {
          how: 'name one: agentmesh register NAME',
          isMeant: ({ status }) => status === 'unregistered',
        });
        const answer = await mesh.call('agentRegister', { params: { did } });
        invocation.answer(answer, (view) => formatRegistered(answer, view));
      }),
    );
}
