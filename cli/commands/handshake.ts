import type { Command } from 'commander';
import { limits } from '../../protocol/index.ts';
import { capabilitiesOf, collect, integerBetween, parseCan } from '../arguments.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { findAgent, findLink, findMeshDid, localNames } from '../lookup.ts';
import type { Act } from '../program.ts';
import { formatSession } from '../views/sessions.ts';

interface HandshakeOptions {
  readonly minScore?: number;
  readonly can?: readonly string[];
  readonly as?: string;
  readonly grant?: string;
}

export function addHandshake(program: Command, act: Act): void {
  withHelp(program.command('handshake'), {
    summary: 'Verify an agent or organisation, and be verified by it',
    about:
      'A mutual handshake between two daemons, bound to their connection: who it is, its sponsor, its standing now, and what it may do here. ' +
      `Until there is evidence every score is a neutral ${limits.NETWORK_SCORE_NEUTRAL}, by this side's own view.`,
    examples: [
      ['handshake did:mesh:bafyrei…', 'as the organisation'],
      ['handshake did:mesh:bafyrei… --as my-agent --grant bafyreiabcdef --can read:reports/q3', 'to use a grant'],
      ['handshake did:mesh:bafyrei… --min-score 700', 'refused until scores exist'],
    ],
  })
    .argument('<did>', 'DID of the agent or organisation, or name of an own agent')
    .option(
      '--min-score <score>',
      `least score that will do (default: ${limits.NETWORK_SCORE_NEUTRAL})`,
      integerBetween(0, limits.SCORE_MAX),
    )
    .option('--can <capability>', 'what is wanted there; may be repeated', collect(parseCan))
    .option('--as <agent>', 'own agent that asks; without it the organisation')
    .option('--grant <link>', 'last link of the chain to present, whose root the other side trusts')
    .action(act(handshake));
}

async function handshake(invocation: Invocation, text: string, options: HandshakeOptions): Promise<void> {
  const mesh = await invocation.mesh();
  const { minScore, can } = options;
  const body = {
    did: await findMeshDid(mesh, text),
    ...(options.as === undefined ? {} : { as: (await findAgent(mesh, options.as)).did }),
    ...(minScore === undefined ? {} : { minScore }),
    ...(can === undefined ? {} : { capabilities: capabilitiesOf(can) }),
    ...(options.grant === undefined ? {} : { grant: await findLink(mesh, options.grant) }),
  };
  const names = await localNames(mesh);
  const answer = await mesh.call('handshakeCreate', { body });
  invocation.answer(answer, (view) => formatSession(answer.session, view, names));
}
