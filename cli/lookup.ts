/** What people call things: agents by local name, links by the beginning of their id. */
import { type Agent, type ApprovalView, nearest, type Sponsor } from '../protocol/control/index.ts';
import { isAudienceDid, isMeshDid, MeshError } from '../protocol/index.ts';
import { withoutEllipsis } from './arguments.ts';
import type { Mesh } from './mesh.ts';
import { UsageError } from './problem.ts';
import type { Names } from './views/common.ts';

const PREFIX_MIN = 8;
const ID = /^bafyrei[a-z2-7]{52}$/;

/** Names of this organisation and its agents, by DID. */
export async function localNames(mesh: Mesh): Promise<Names> {
  const [{ organisation }, { agents }] = await Promise.all([mesh.call('status'), mesh.call('agentList')]);
  return new Map([
    [organisation.did, organisation.name ?? 'this organisation'],
    ...agents.map(({ did, name }) => [did, name] as const),
  ]);
}

/** The same with the people who answer for them, by their contacts. */
export async function peopleNames(mesh: Mesh): Promise<Names> {
  const [names, { sponsors }] = await Promise.all([localNames(mesh), mesh.call('sponsorList')]);
  return new Map([...names, ...sponsors.map(({ did, contact }) => [did, contact] as const)]);
}

/** Errors: not_found. */
export async function findAgent(mesh: Mesh, text: string): Promise<Agent> {
  if (isMeshDid(text)) return (await mesh.call('agentShow', { params: { did: text } })).agent;
  const { agents } = await mesh.call('agentList');
  const found = agents.find(({ name }) => name === text);
  if (found !== undefined) return found;
  const near = nearest(
    text,
    agents.map(({ name }) => name),
  );
  const hint = near === undefined ? 'see "agentmesh agent list"' : `did you mean "${near}"?`;
  throw new MeshError('not_found', `Cannot find agent "${text}": this organisation has none of this name`, {
    next: hint,
  });
}

/** A DID as it is, or that of the own agent of this name. Errors: not_found. */
export const findDid = async (mesh: Mesh, text: string): Promise<string> =>
  isAudienceDid(text) ? text : (await findAgent(mesh, text)).did;

/** The same, refusing what is no did:mesh. Errors: not_found. */
export async function findMeshDid(mesh: Mesh, text: string): Promise<string> {
  const did = await findDid(mesh, text);
  if (!isMeshDid(did)) throw new UsageError(`Cannot take "${text}": want a did:mesh or the name of an agent`);
  return did;
}

/** By contact or name. Errors: not_found. */
export function findSponsor(text: string, sponsors: readonly Sponsor[]): Sponsor {
  const found = sponsors.find(({ contact, name }) => contact.toLowerCase() === text.toLowerCase() || name === text);
  if (found !== undefined) return found;
  throw new MeshError('not_found', `Cannot find sponsor "${text}": this organisation has none of this address`, {
    next: 'see "agentmesh sponsor list"',
  });
}

const SESSION_ID = /^[0-9a-f]{32}$/;
const SESSION_PREFIX_MIN = 4;

/** An open one, by its id or the beginning of it. Errors: not_found, usage (several begin so, or it is no id). */
export async function findSession(mesh: Pick<Mesh, 'call'>, text: string): Promise<string> {
  const prefix = withoutEllipsis(text).toLowerCase();
  if (SESSION_ID.test(prefix)) return prefix;
  if (prefix.length < SESSION_PREFIX_MIN || !/^[0-9a-f]{1,31}$/.test(prefix)) {
    throw new UsageError(
      `Cannot take "${text}" for a session: want its id, or at least ${SESSION_PREFIX_MIN} letters of its beginning`,
      'see "agentmesh sessions"',
    );
  }
  const { sessions } = await mesh.call('sessionList');
  const [only, ...others] = sessions.filter(({ sid }) => sid.startsWith(prefix));
  if (only === undefined)
    throw new MeshError('not_found', `Cannot find session "${text}": none that is open begins so`, {
      next: 'see "agentmesh sessions"',
    });
  if (others.length > 0)
    throw new UsageError(
      `Cannot choose a session: ${others.length + 1} begin with "${prefix}"`,
      'give more letters of its id',
    );
  return only.sid;
}

const APPROVAL_ID = /^[0-9a-f]{16}$/;
const APPROVAL_PREFIX_MIN = 4;

/** By its id, or the beginning of it. Errors: not_found, usage (several begin so, or it is no id). */
export async function findApproval(mesh: Mesh, text: string): Promise<ApprovalView> {
  const prefix = withoutEllipsis(text).toLowerCase();
  if (APPROVAL_ID.test(prefix)) return (await mesh.call('approvalShow', { params: { id: prefix } })).approval;
  if (prefix.length < APPROVAL_PREFIX_MIN || !/^[0-9a-f]{1,15}$/.test(prefix)) {
    throw new UsageError(
      `Cannot take "${text}" for an approval: want its id, or at least ${APPROVAL_PREFIX_MIN} letters of its beginning`,
      'see "agentmesh approvals list"',
    );
  }
  const { approvals } = await mesh.call('approvalList', { query: { all: 'true' } });
  const found = approvals.filter(({ id }) => id.startsWith(prefix));
  const [only, ...others] = found;
  if (only === undefined) {
    throw new MeshError('not_found', `Cannot find approval "${text}": none begins so`, {
      next: 'see "agentmesh approvals list --all"',
    });
  }
  if (others.length > 0)
    throw new UsageError(
      `Cannot choose an approval: ${found.length} begin with "${prefix}"`,
      'give more letters of its id',
    );
  return only;
}

/** The agent that is meant when none is named. Errors: not_found, when there is none; usage, when there are several. */
export async function soleAgent(
  mesh: Mesh,
  named: string | undefined,
  { how, isMeant = () => true }: { readonly how: string; readonly isMeant?: (agent: Agent) => boolean },
): Promise<Agent> {
  if (named !== undefined) return findAgent(mesh, named);
  const { agents } = await mesh.call('agentList');
  const living = agents.filter(({ status }) => status !== 'revoked');
  const meant = living.filter(isMeant);
  const [only] = meant.length === 1 ? meant : living;
  if (only === undefined) {
    throw new MeshError('not_found', 'Cannot choose an agent: this organisation has none', {
      next: 'create one: agentmesh init --name my-agent --sponsor you@company.com',
    });
  }
  if (meant.length === 1 || living.length === 1) return only;
  const names = (meant.length === 0 ? living : meant).map(({ name }) => `"${name}"`).join(', ');
  throw new UsageError(`Cannot choose an agent: there are ${names}`, how);
}

/**
 * Who speaks to other organisations when a command does: the agent that is named, else the only one that is registered,
 * as with the proxy. Undefined: the organisation itself, where it has none or is named by its DID.
 * Errors: not_found; usage (several).
 */
export async function speakerOf(mesh: Mesh, named: string | undefined): Promise<string | undefined> {
  if (named !== undefined) {
    const isOwn = isMeshDid(named) && (await mesh.call('status')).organisation.did === named;
    return isOwn ? undefined : (await findAgent(mesh, named)).did;
  }
  const { agents } = await mesh.call('agentList');
  const [only, ...others] = agents.filter(({ status }) => status === 'active');
  if (only === undefined || others.length === 0) return only?.did;
  const names = [only, ...others].map(({ name }) => `"${name}"`).join(', ');
  throw new UsageError(
    `Cannot tell who acts: there are ${names}`,
    'name one with --as, or the organisation by its DID',
  );
}

/** The id of a link that is held here. Errors: not_found, usage (several begin so, or it is no id). */
export async function findLink(mesh: Mesh, text: string): Promise<string> {
  const prefix = withoutEllipsis(text);
  if (ID.test(prefix)) return prefix;
  if (!isIdPrefix(prefix)) {
    throw new UsageError(
      `Cannot take "${text}" for a link: want its id, or at least ${PREFIX_MIN} letters of its beginning`,
    );
  }
  const [{ chains }, { agents }] = await Promise.all([mesh.call('chainList'), mesh.call('agentList')]);
  const shown = [
    ...chains.map(({ leaf }) => leaf),
    ...agents.flatMap(({ rootLink, credential }) => [rootLink, credential?.id]),
  ];
  const known = new Set(shown.filter((id) => typeof id === 'string'));
  const found = [...known].filter((id) => id.startsWith(prefix));
  const [only, ...others] = found;
  if (only === undefined) {
    throw new MeshError('not_found', `Cannot find link "${text}": none that is held here begins so`, {
      next: 'see "agentmesh chain list"',
    });
  }
  if (others.length > 0)
    throw new UsageError(`Cannot choose a link: ${found.length} begin with "${prefix}"`, 'give more letters of its id');
  return only;
}

/** Whether a text can be meant as the id of a link, whole or in part. */
export const isIdPrefix = (text: string): boolean => {
  const prefix = withoutEllipsis(text);
  return prefix.length >= PREFIX_MIN && /^bafyrei[a-z2-7]*$/.test(prefix);
};
