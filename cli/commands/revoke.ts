import type { Command } from 'commander';
import { parseReason } from '../arguments.ts';
import { withHelp } from '../help.ts';
import { findAgent, findLink, findMeshDid, isIdPrefix, localNames } from '../lookup.ts';
import type { Act } from '../program.ts';
import { formatRevocation } from '../views/revocations.ts';

export function addRevoke(program: Command, act: Act): void {
  withHelp(program.command('revoke'), {
    summary: 'Revoke a link, or the DID of an agent or sponsor, for ever',
    about:
      'A link may be revoked by its issuer, by any issuer above it, by the organisation and the sponsor of its root, and be surrendered by its ' +
      'holder; an agent or person by its organisation. Everything that builds on it is invalid too: those links are printed. A revocation ' +
      'cannot be undone: grant anew instead.',
    examples: [
      ['revoke bafyreiabcdef --reason "project over"', 'a link'],
      ['revoke my-agent --reason "laptop stolen"', 'an agent'],
      ['revoke bafyreiabcdef --reason "not needed" --as my-agent', 'a link that an agent holds or issued'],
    ],
  })
    .argument('<link|did>', 'id of a link (or at least 8 letters of its beginning), DID, or name of an own agent')
    .requiredOption('--reason <text>', 'why; it is published, so no personal data', parseReason)
    .option('--as <agent>', 'own agent that revokes; without it the organisation')
    .action(
      act(async (invocation, text: string, { reason, as }: { reason: string; as?: string }) => {
        const mesh = await invocation.mesh();
        const target = isIdPrefix(text) ? { link: await findLink(mesh, text) } : { did: await findMeshDid(mesh, text) };
        const names = await localNames(mesh);
        const by = as === undefined ? {} : { as: (await findAgent(mesh, as)).did };
        const answer = await mesh.call('revocationCreate', { body: { target, reason, ...by } });
        invocation.answer(answer, (view) => formatRevocation(answer, view, names));
      }),
    );
}
