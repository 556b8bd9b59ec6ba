import type { Command } from 'commander';
import { parseReason } from '../arguments.ts';
import { withHelp } from '../help.ts';
import { findAgent, localNames } from '../lookup.ts';
import type { Act } from '../program.ts';
import { formatAgent, formatAgents } from '../views/agents.ts';
import { NO_NAMES } from '../views/common.ts';
import { formatRevocation } from '../views/revocations.ts';

const AGENT = 'local name or DID of an agent of this organisation';

export function addAgent(program: Command, act: Act): void {
  const agent = withHelp(program.command('agent'), {
    summary: "This organisation's agents",
    examples: [
      ['agent list', 'all of them'],
      ['agent show my-agent', 'one of them'],
      ['agent suspend my-agent', 'stop it for now'],
      ['agent revoke my-agent --reason "laptop stolen"', 'end it, for ever'],
    ],
  });
  addList(agent, act);
  addShow(agent, act);
  addSuspend(agent, act);
  addResume(agent, act);
  addRevoke(agent, act);
}

function addList(agent: Command, act: Act): void {
  withHelp(agent.command('list'), {
    summary: 'All agents of this organisation',
    examples: [['agent list --json', 'for a program']],
  }).action(
    act(async (invocation) => {
      const mesh = await invocation.mesh();
      const [answer, { sponsors }] = await Promise.all([mesh.call('agentList'), mesh.call('sponsorList')]);
      const contacts = new Map(sponsors.map(({ did, contact }) => [did, contact]));
      invocation.answer(answer, (view) => formatAgents(answer.agents, view, contacts));
      if (answer.agents.length === 0) {
        invocation.suggest('create one', 'init', '--name', 'my-agent', '--sponsor', 'you@company.com');
      }
    }),
  );
}

function addShow(agent: Command, act: Act): void {
  withHelp(agent.command('show'), {
    summary: 'One agent: sponsor, capabilities, credential',
    about: 'The credential is a link from the agent to itself, bound to a key that the daemon holds and renews.',
    examples: [['agent show my-agent', 'by name']],
  })
    .argument('<agent>', AGENT)
    .action(
      act(async (invocation, name: string) => {
        const mesh = await invocation.mesh();
        const found = await findAgent(mesh, name);
        const { credential } = await mesh.call('credentialShow', { params: { did: found.did } });
        const names = found.parent === null ? NO_NAMES : await localNames(mesh);
        invocation.answer({ agent: found, credential }, (view) => formatAgent(found, view, names, credential));
      }),
    );
}

function addSuspend(agent: Command, act: Act): void {
  withHelp(agent.command('suspend'), {
    summary: 'Stop an agent on this daemon',
    about:
      'Its credential is revoked, its tokens and sessions end, and it gets no new ones until it is resumed. Its links stay.',
    examples: [['agent suspend my-agent', 'until "agent resume my-agent"']],
  })
    .argument('<agent>', AGENT)
    .action(
      act(async (invocation, name: string) => {
        const mesh = await invocation.mesh();
        const { did } = await findAgent(mesh, name);
        const answer = await mesh.call('agentSuspend', { params: { did } });
        invocation.answer(answer, (view) => formatAgent(answer.agent, view));
        invocation.suggest('let it work again', 'agent', 'resume', answer.agent.name);
      }),
    );
}

function addResume(agent: Command, act: Act): void {
  withHelp(agent.command('resume'), {
    summary: 'Let a suspended agent work again',
    about: 'Its tokens are gone: "run" and "register" issue new ones.',
    examples: [['agent resume my-agent', 'after "agent suspend my-agent"']],
  })
    .argument('<agent>', AGENT)
    .action(
      act(async (invocation, name: string) => {
        const mesh = await invocation.mesh();
        const { did } = await findAgent(mesh, name);
        const answer = await mesh.call('agentResume', { params: { did } });
        invocation.answer(answer, (view) => formatAgent(answer.agent, view));
      }),
    );
}

function addRevoke(agent: Command, act: Act): void {
  withHelp(agent.command('revoke'), {
    summary: 'Revoke an agent, for ever and everywhere',
    about:
      'Its DID is revoked on every daemon of the mesh; whatever it granted or was granted is invalid, and open sessions end. ' +
      'This cannot be undone: create a new agent instead.',
    examples: [['agent revoke my-agent --reason "laptop stolen"', 'prints what falls with it']],
  })
    .argument('<agent>', AGENT)
    .requiredOption('--reason <text>', 'why; it is published, so no personal data', parseReason)
    .action(
      act(async (invocation, name: string, { reason }: { reason: string }) => {
        const mesh = await invocation.mesh();
        const { did } = await findAgent(mesh, name);
        const names = await localNames(mesh);
        const answer = await mesh.call('agentRevoke', { params: { did }, body: { reason } });
        invocation.answer(answer, (view) => formatRevocation(answer, view, names));
      }),
    );
}
