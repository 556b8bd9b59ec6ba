import type { Command } from 'commander';
import { isMeshDid } from '../../protocol/index.ts';
import { withHelp } from '../help.ts';
import { findSponsor } from '../lookup.ts';
import type { Act } from '../program.ts';
import { formatSponsor, formatSponsors } from '../views/sponsors.ts';

export function addSponsor(program: Command, act: Act): void {
  const sponsor = withHelp(program.command('sponsor'), {
    summary: 'The people who answer for agents',
    about: 'Their contact data stay on this machine: the mesh knows them by DID alone.',
    examples: [
      ['sponsor list', 'all of them'],
      ['sponsor show alice@company.com', 'one of them'],
    ],
  });

  withHelp(sponsor.command('list'), {
    summary: 'All sponsors of this organisation',
    examples: [['sponsor list --json', 'for a program']],
  }).action(
    act(async (invocation) => {
      const mesh = await invocation.mesh();
      const answer = await mesh.call('sponsorList');
      invocation.answer(answer, (view) => formatSponsors(answer.sponsors, view));
    }),
  );

  withHelp(sponsor.command('show'), {
    summary: 'One sponsor and how many agents it answers for',
    examples: [['sponsor show alice@company.com', 'by e-mail address']],
  })
    .argument('<sponsor>', 'e-mail address or DID')
    .action(
      act(async (invocation, text: string) => {
        const mesh = await invocation.mesh();
        const answer = isMeshDid(text)
          ? await mesh.call('sponsorShow', { params: { did: text } })
          : { sponsor: findSponsor(text, (await mesh.call('sponsorList')).sponsors) };
        invocation.answer(answer, (view) => formatSponsor(answer.sponsor, view));
      }),
    );
}
