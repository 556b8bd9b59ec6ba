import type { Agent, AgentRegistered, Credential } from '../../protocol/control/index.ts';
import { type Column, formatFields, formatTable, type View } from '../text/table.ts';
import { formatTime, formatTimeFully } from '../text/time.ts';
import {
  formatCapabilitiesShort,
  formatCapability,
  formatDidShort,
  type Immutable,
  type Names,
  NO_NAMES,
  statusCell,
} from './common.ts';

type AgentView = Immutable<Agent>;

/** `contacts` are those of sponsors, by DID. */
export function formatAgents(agents: readonly AgentView[], view: View, contacts: Names = NO_NAMES): string {
  if (agents.length === 0) return 'This organisation has no agents.\n';
  const names = new Map(agents.map(({ did, name }) => [did, name]));
  const columns: Column<AgentView>[] = [
    { title: 'Name', cell: ({ name }) => ({ text: name, tone: 'strong' }) },
    { title: 'Status', cell: ({ status }) => statusCell(status) },
    { title: 'DID', cell: ({ did }) => did },
    { title: 'Can', cell: ({ capabilities }) => formatCapabilitiesShort(capabilities) },
    { title: 'Sponsor', cell: ({ sponsor }) => sponsor.name ?? formatDidShort(sponsor.did, contacts), optional: true },
    ...(agents.some(({ parent }) => parent !== null)
      ? [{ title: 'Parent', cell: ({ parent }: AgentView) => (parent === null ? '-' : formatDidShort(parent, names)) }]
      : []),
    { title: 'Credential', cell: ({ credential }) => credentialCell(credential, view), optional: true },
    { title: 'Created', cell: ({ createdAt }) => formatTime(createdAt, view.nowMs), optional: true },
  ];
  return formatTable(agents, columns, view);
}

const credentialCell = (credential: AgentView['credential'], { nowMs }: View): string =>
  credential === null ? '-' : `ends ${formatTime(credential.expiresAt, nowMs)}`;

export function formatAgent(
  agent: AgentView,
  view: View,
  names: Names = NO_NAMES,
  issued: Immutable<Credential> | null = null,
): string {
  const { sponsor, credential, parent } = agent;
  return formatFields(
    [
      ['Name', { text: agent.name, tone: 'strong' }],
      ['DID', agent.did],
      ['Status', statusCell(agent.status)],
      ['Capabilities', agent.capabilities.map(formatCapability)],
      ['Sponsor', sponsor.name === undefined ? sponsor.did : [sponsor.name, sponsor.did]],
      ...(parent === null ? [] : [['Parent', formatDidShort(parent, names)] as const]),
      ['Root link', agent.rootLink ?? '-'],
      ['Key held by', agent.keyHeldBy === 'daemon' ? 'this daemon' : 'the agent'],
      ['Credential', credential === null ? '-' : [credential.id, ...credentialLines(credential, issued, view)]],
      ['Created', formatTimeFully(agent.createdAt, view.nowMs)],
    ],
    view,
  );
}

const credentialLines = (
  { expiresAt }: NonNullable<AgentView['credential']>,
  issued: Immutable<Credential> | null,
  { nowMs }: View,
): string[] => [
  `ends ${formatTimeFully(expiresAt, nowMs)}`,
  ...(issued === null ? [] : [`bound to key ${issued.holderKey}`]),
];

/** The token is shown here and never again. */
export function formatRegistered({ agent, token }: Immutable<AgentRegistered>, view: View): string {
  const { paint } = view;
  const head = `${paint('good', 'registered')} ${agent.name} is published\n\n`;
  const fields = formatFields(
    [['DID', agent.did], ['Root link', agent.rootLink ?? '-'], ...(token === null ? [] : [['Token', token] as const])],
    view,
  );
  const note =
    token === null
      ? ''
      : `\nThe token acts as ${agent.name} on the control socket and is shown only now.\nA program takes it from AGENTMESH_AGENT_TOKEN.\n`;
  return head + fields + note;
}
