import type { Command } from 'commander';
import { parseReason } from '../arguments.ts';
import { withHelp } from '../help.ts';
import { findMeshDid, localNames } from '../lookup.ts';
import type { Act } from '../program.ts';
import { formatConviction, formatConvictions } from '../views/convictions.ts';

export function addConviction(program: Command, act: Act): void {
  const conviction = withHelp(program.command('conviction'), {
    summary: 'Organisations convicted by two histories that they signed',
    about:
      'Whoever signs two logs that contradict each other is convicted on every daemon, by his own two signatures and nobody’s word: sessions end, ' +
      'handshakes are refused, its cosignatures stop counting. Only a person can lift that, on one daemon.',
    examples: [
      ['conviction list', 'who'],
      ['conviction show did:mesh:bafyrei… --json', 'the proof, for anybody to check'],
    ],
  });

  withHelp(conviction.command('list'), {
    summary: 'Who is convicted, and what was lifted here',
    examples: [['conviction list --json', 'for a program']],
  }).action(
    act(async (invocation) => {
      const mesh = await invocation.mesh();
      const [answer, names] = await Promise.all([mesh.call('convictionList'), localNames(mesh)]);
      invocation.answer(answer, (view) => formatConvictions(answer.convictions, view, names));
    }),
  );

  withHelp(conviction.command('show'), {
    summary: 'A conviction with its proof',
    about:
      'With --json the fields of the statement proof/v1: the two notes as they were signed (a, b), rootOfAOnB, the consistency proof and the ' +
      'binding of the key to the organisation; bytes as base64url. Nothing else is needed to check it.',
    examples: [['conviction show did:mesh:bafyrei…', 'of one organisation']],
  })
    .argument('<did>', 'the organisation, or an agent of it')
    .action(
      act(async (invocation, text: string) => {
        const mesh = await invocation.mesh();
        const did = await findMeshDid(mesh, text);
        const [answer, names] = await Promise.all([mesh.call('convictionShow', { params: { did } }), localNames(mesh)]);
        invocation.answer(answer, (view) => formatConviction(answer, view, names));
        if (answer.conviction.inForce)
          invocation.suggest('if you know better', 'conviction', 'lift', answer.conviction.did, '--reason', 'WHY');
      }),
    );

  withHelp(conviction.command('lift'), {
    summary: 'Lift a conviction, on this daemon alone',
    about:
      'It stays lifted until another pair of notes proves another offence. Who lifted nothing elsewhere goes on refusing.',
    examples: [['conviction lift did:mesh:bafyrei… --reason "restored a backup, told us"', 'after talking to them']],
  })
    .argument('<did>', 'the organisation')
    .requiredOption('--reason <text>', 'why; it is logged, so no personal data', parseReason)
    .action(
      act(async (invocation, text: string, { reason }: { reason: string }) => {
        const mesh = await invocation.mesh();
        const did = await findMeshDid(mesh, text);
        const names = await localNames(mesh);
        const answer = await mesh.call('convictionLift', { params: { did }, body: { reason } });
        invocation.answer(answer, (view) => formatConviction(answer, view, names));
      }),
    );
}
