/** The control API's answers, from the node's parts: one method a route (protocol/control/routes.ts). */
import {
  type Agent as AgentView,
  type Caller,
  type ChainSummary,
  type ControlBackend,
  type Credential as CredentialView,
  type DelegateBody,
  type DelegationAnswer,
  loginMessage,
  type Peer as PeerView,
  type RetireEntry,
  type SessionView,
  type Sponsor as SponsorView,
  type Status,
  type ToSign,
  type VerifyBody,
  type Warning,
} from '../../protocol/control/index.ts';
import {
  type ChainRequest,
  equalBytes,
  fromBase64url,
  linksTo,
  MeshError,
  multikeyText,
  parseMultikeyText,
  rawKeyOf,
  signedBytes,
  type Statement,
  toBase64url,
  toHex,
} from '../../protocol/index.ts';
import type { PeerConnection } from '../ports.ts';
import type { HeldCredential, SigningRequest } from './agents.ts';
import { createReceiptsBackend } from './calls/receipts-backend.ts';
import { verdictOf } from './chains.ts';
import { deadline } from './deadline.ts';
import type { Made } from './delegations.ts';
import type { MeshNode } from './node.ts';
import { Operations } from './operations.ts';
import type { Commitments, Retirement } from './organisation.ts';
import { grantChain } from './presenter.ts';
import type { AgentRow, SponsorRow } from './registry.ts';
import { Revocations } from './revocations.ts';
import { afterWritten, type Settle } from './log/write-ahead.ts';
import { createExposuresBackend } from './calls/exposures-backend.ts';
import { createLogBackend, type LogBackend } from './log/log-backend.ts';
import { formatSession, type Session } from './sessions.ts';
import {
  capabilitiesFrom,
  capabilitiesOf,
  didView,
  linkView,
  requireState,
  revocationView,
  timeOf,
  timeOfSeconds,
} from './views.ts';

/** What only the process around the core knows. */
export interface Surroundings {
  readonly version: string;
  readonly home: string;
  readonly socket: string;
  readonly startedMs: number;
  readonly networkName: string;
  readonly keysEncrypted: boolean;
  readonly listening: Status['listening'];
  /** Of the witness over HTTP; null: it answers peers alone. */
  readonly witnessUrl: string | null;
  readonly warnings: () => readonly Warning[];
}

const PING_MS = 1_000; // for the latency column; a peer that takes longer has none
const PINGS_MAX = 64; // peers whose latency is measured for one answer
const DIAL_MS = 10_000;
const BOUND_MS = 5_000; // for the hello of a peer that was dialled

export function createBackend(node: MeshNode, surroundings: Surroundings): ControlBackend {
  const { agents, organisation, state, sync, resolver, delegations } = node;
  const { clock, network, isSignatureValid } = node.components;
  const chains = node.chains;
  const log = logBackendOf(node, surroundings);
  const revocations = new Revocations(node);
  const operations = new Operations({ organisation, pipeline: node.pipeline, clock, isSignatureValid });

  const agentView = (agent: AgentRow): AgentView => {
    const credential = agents.credential(agent.did);
    const sponsor = node.registry.sponsor(agent.sponsor);
    return {
      did: agent.did,
      name: agent.name,
      sponsor: { did: agent.sponsor, ...(typeof sponsor?.name === 'string' && { name: sponsor.name }) },
      parent: agent.parent,
      status: agents.status(agent),
      capabilities: capabilitiesOf(agent.capabilities),
      rootLink: agent.rootLink === '' ? null : agent.rootLink,
      keyHeldBy: agent.keyHeldBy,
      credential:
        credential === undefined
          ? null
          : { id: credential.link.id, expiresAt: timeOfSeconds(credential.link.payload.exp) },
      createdAt: timeOf(agent.createdMs),
    };
  };
  const sponsorView = ({ did, contact, name, createdMs }: SponsorRow): SponsorView => ({
    did,
    contact,
    name,
    status: requireState(state, did).status,
    agents: agents.agentsOf(did).length,
    agentsMax: agents.agentsPerSponsorMax,
    createdAt: timeOf(createdMs),
  });
  const peerView = async (connection: PeerConnection, measure: boolean, signal: AbortSignal): Promise<PeerView> => {
    const did = sync.organisationOf(connection.peer) ?? null;
    const nowMs = clock.nowMs();
    const beats = did === null ? [] : state.heartbeatsOf(did, nowMs).map(({ statement }) => statement.payload.iat);
    const newest = beats.length === 0 ? null : Math.max(...beats);
    return {
      did,
      peerId: connection.peer,
      addresses: [connection.address],
      direction: connection.direction,
      bound: did !== null,
      latencyMs: measure ? await latencyOf(node, connection.peer, signal) : null,
      protocols: await network.protocolsOf(connection.peer),
      lastHeartbeatAt: newest === null ? null : timeOfSeconds(newest),
      lastHeartbeatAgeSeconds: newest === null ? null : Math.max(0, Math.round(nowMs / 1000 - newest)),
      agents:
        did === null ? 0 : [...state.didsOf(did)].filter((other) => state.didState(other)?.kind === 'agent').length,
      connectedSince: timeOf(nowMs - (clock.monotonicMs() - connection.openedMs)),
    };
  };
  /** An agent sees public links, and private ones in which it is named or that lead to such. Errors: not_found. */
  const visibleChain = (leaf: string, caller: Caller): Statement<'delegation/v1'>[] => {
    const links = state.link(leaf) === undefined ? [] : linksTo(state, leaf);
    const isNamed = ({ payload }: Statement<'delegation/v1'>): boolean =>
      caller.kind === 'operator' || payload.aud === caller.did || payload.iss === caller.did;
    const isHidden = links.slice(links.findLastIndex(isNamed) + 1).some(({ payload }) => payload.pri === true);
    if (links.length === 0 || isHidden)
      throw new MeshError('not_found', `Cannot find chain "${leaf}": its leaf is not held here`, { id: leaf });
    return links;
  };
  const summaryOf = (leaf: Statement<'delegation/v1'>): ChainSummary | undefined => {
    try {
      const links = linksTo(state, leaf.id);
      const { verdict, report } = verdictOf(() => chains.judge(links));
      return {
        leaf: leaf.id,
        organisation: leaf.payload.sub,
        sponsor: leaf.payload.spo,
        audience: leaf.payload.aud,
        links: links.length,
        capabilities: capabilitiesOf(report.effective?.capabilities ?? leaf.payload.cap),
        expiresAt: timeOfSeconds(report.validUntilSeconds ?? leaf.payload.exp),
        verdict: { ...verdict, data: { ...verdict.data } },
      };
    } catch (error) {
      if (error instanceof MeshError) return undefined; // a link above is not held: no chain that could be shown
      throw error;
    }
  };
  const revoked = async (target: Parameters<Revocations['revoke']>[0], reason: string, as: string | undefined) => {
    const before = node.sessions.size;
    const { revocation, cascade } = await revocations.revoke(target, reason, as);
    return {
      revocation: revocationView(revocation),
      cascade: [...cascade],
      sessionsEnded: Math.max(0, before - node.sessions.size),
    };
  };

  const sessionView = (session: Session): SessionView => formatSession(session, node.sessions.useOf(session.sid));
  /** An agent has its own. Errors: not_found. */
  const requireSession = (sid: string, caller: Caller): Session => {
    const session = node.sessions.get(sid);
    if (session === undefined || (caller.kind === 'agent' && session.as !== caller.did))
      throw new MeshError('not_found', `Cannot find session "${sid}": it is not open`, { id: sid });
    return session;
  };

  return {
    ...log.operations,
    ...node.governance.operations,
    ...node.messages.operations,
    ...createReceiptsBackend(node.calls.receipts),
    ...createExposuresBackend(node.exposing()),
    status: async () => ({
      version: surroundings.version,
      network: surroundings.networkName,
      organisation: { did: organisation.did, name: organisation.name, status: organisation.state.status },
      peerId: network.peer,
      addresses: network.addresses(),
      listening: surroundings.listening,
      socket: surroundings.socket,
      home: surroundings.home,
      startedAt: timeOf(surroundings.startedMs),
      uptimeSeconds: Math.round((clock.nowMs() - surroundings.startedMs) / 1000),
      statements: { count: state.size, bytes: node.pipeline.bytes, setRoot: toHex(node.index.root()) },
      peers: { connected: peersOf(network.connections()).length, bound: sync.boundPeers().length },
      agents: agents.agents().filter(({ did }) => !agents.isRevoked(did)).length,
      sponsors: agents.sponsors().length,
      sessions: node.sessions.size,
      exposed: node.calls.exposures.list().length,
      keysEncrypted: surroundings.keysEncrypted,
      log: await log.summary(),
      warnings: [...surroundings.warnings()],
    }),

    peerList: async (_input, _caller, signal) => {
      const connections = peersOf(network.connections());
      return {
        peers: await Promise.all(connections.map((connection, i) => peerView(connection, i < PINGS_MAX, signal))),
      };
    },
    peerDial: async ({ body: { address } }, _caller, signal) => {
      const connection = await network.dial(address, { signal: deadline(clock, DIAL_MS, signal) });
      network.rememberPeer(connection.peer, [address]);
      if (!(await sync.untilBound(connection.peer, deadline(clock, BOUND_MS, signal)))) {
        throw new MeshError(
          'peer_not_bound',
          `Cannot use peer "${connection.peer}": it did not show which organisation it speaks for`,
          { peer: connection.peer },
        );
      }
      return { peer: await peerView(connection, true, signal) };
    },

    agentList: async () => ({ agents: agents.agents().map(agentView) }),
    agentCreate: async ({ body: { name, sponsor, parent, capabilities, publicKey, publish = true } }) => {
      const made = await agents.create({
        name,
        capabilities: capabilitiesFrom(capabilities),
        publish,
        ...(sponsor !== undefined && { sponsor }),
        ...(parent !== undefined && { parent }),
        ...(publicKey !== undefined && { publicKey: parseMultikeyText(publicKey) }),
      });
      return { agent: agentView(made.agent), token: made.token, toSign: made.toSign.map(toSignView) };
    },
    agentShow: async ({ params: { did } }) => ({ agent: agentView(agents.agent(did)) }),
    agentComplete: async ({ params: { did }, body: { signatures } }) => {
      const { agent, token } = await agents.complete(did, signatures.map(signatureFrom));
      return { agent: agentView(agent), token };
    },
    agentRegister: async ({ params: { did } }) => {
      const { agent, token } = await agents.register(did);
      return { agent: agentView(agent), token };
    },
    agentSuspend: async ({ params: { did } }) => {
      const agent = await agents.suspend(did);
      for (const session of node.sessions.list()) if (session.as === did) node.sessions.end(session.sid, 'revoked');
      return { agent: agentView(agent) };
    },
    agentResume: async ({ params: { did } }) => ({ agent: agentView(await agents.resume(did)) }),
    agentRevoke: async ({ params: { did }, body: { reason } }) => {
      const before = node.sessions.size;
      const revocation = await agents.revoke(did, reason);
      return {
        agent: agentView(agents.agent(did)),
        revocation: revocationView(revocation),
        cascade: node.cascadeOf(revocation),
        sessionsEnded: Math.max(0, before - node.sessions.size),
      };
    },
    agentToken: async ({ params: { did } }) => ({ did, token: await agents.issueToken(did), expiresAt: null }),
    credentialShow: async ({ params: { did } }) => {
      agents.agent(did);
      const held = agents.credential(did);
      return { credential: held === undefined ? null : credentialView(held) };
    },
    credentialPrepare: async ({ params: { did }, body: { grant } }) => {
      const chain = grant === undefined ? undefined : grantChain(state, did, grant);
      const { id, holderKey, request } = agents.prepareCredential(did, chain);
      return { id, holderKey: multikeyText(holderKey), toSign: [toSignView(request)] };
    },
    credentialComplete: async ({ params: { did }, body: { id, signatures } }) => ({
      credential: credentialView(await agents.completeCredential(did, id, signatures.map(signatureFrom))),
    }),

    sponsorList: async () => ({ sponsors: agents.sponsors().map(sponsorView) }),
    sponsorCreate: async ({ body: { contact, name } }) => ({
      sponsor: sponsorView(await agents.createSponsor(contact, name ?? null)),
    }),
    sponsorShow: async ({ params: { did } }) => ({ sponsor: sponsorView(agents.sponsor(did)) }),

    didShow: async ({ params: { did } }) => didView(state, did, clock.nowMs()),
    didResolve: async ({ params: { did } }, _caller, signal) => {
      const { source, from } = await resolver.resolve(did, { signal });
      return { resolved: didView(state, did, clock.nowMs()), source, from };
    },
    didLog: async ({ params: { did } }) => {
      requireState(state, did);
      return {
        did,
        operations: state.operationsOf(did).map(({ id, envelope }) => ({ id, envelope: toBase64url(envelope) })),
      };
    },

    organisationRotate: async ({ body }) =>
      operations.offer(() =>
        organisation.prepareRotate(
          body.retire.map(retirementFrom),
          body.rotationKeys?.map(parseMultikeyText),
          commitmentsFrom(body.next),
        ),
      ),
    organisationRecover: async ({ body }) =>
      operations.offer(() =>
        organisation.prepareRecover(
          body.recoveryKeys.map(parseMultikeyText),
          body.retire.map(retirementFrom),
          commitmentsFrom(body.next),
          commitmentsFrom(body.recovery) as Commitments,
        ),
      ),
    organisationDeactivate: async ({ body: { confirm, keys } }) => {
      if (confirm !== organisation.did) {
        throw new MeshError('bad_request', `Cannot deactivate: confirm is "${confirm}", want "${organisation.did}"`, {
          field: 'confirm',
          want: organisation.did,
        });
      }
      return operations.offer(() => organisation.prepareDeactivate(keys?.map(parseMultikeyText)));
    },
    operationComplete: async ({ params: { id }, body: { signatures } }) =>
      operations.complete(id, signatures.map(signatureFrom)),

    delegationCreate: async ({ body }) => {
      const governed = await requireDelegation(node, body);
      return delegationView(await afterWritten(Promise.resolve(governed), () => delegations.create(body)));
    },
    delegationComplete: async ({ params: { id }, body: { signatures } }, caller) => {
      const link = await delegations.complete(
        id,
        signatures.map(signatureFrom),
        caller.kind === 'agent' ? caller.did : undefined,
      );
      return delegationView({ link, toSign: undefined });
    },

    chainList: async ({ query: { to, root } }, caller) => {
      const audience = caller.kind === 'agent' ? caller.did : to;
      const leaves = [...(audience === undefined ? state.links() : state.linksTo(audience))].filter(
        ({ payload }) => (root === undefined || payload.sub === root) && payload.cnf === undefined,
      );
      return { chains: leaves.flatMap((leaf) => summaryOf(leaf) ?? []) };
    },
    chainShow: async ({ params: { leaf } }, caller) => {
      const links = visibleChain(leaf, caller);
      const { verdict, report } = verdictOf(() => chains.judge(links));
      return { leaf, links: links.map(linkView), verdict: { ...verdict, data: { ...verdict.data } }, report };
    },
    chainBundle: async ({ params: { leaf } }, caller, signal) => {
      visibleChain(leaf, caller);
      const bundle = await chains.bundle(leaf, signal);
      return { leaf, bundle: toBase64url(bundle), bytes: bundle.length };
    },
    chainVerify: async ({ params: { leaf }, body }, caller, signal) => {
      const links = visibleChain(leaf, caller);
      const request = requestFrom(body);
      return chains.verify(links, {
        signal,
        ...(body.roots !== undefined && { roots: new Set(body.roots) }),
        ...(request !== undefined && { request }),
        ...(body.holder !== undefined && { holder: { did: body.holder } }),
        ...(body.time !== undefined && { nowMs: Date.parse(body.time) }),
      });
    },
    rootList: async () => ({ roots: [...node.roots].map((did) => ({ did, own: did === organisation.did })) }),

    revocationCreate: async ({ body: { target, reason, as } }) => revoked(target, reason, as),
    revocationList: async ({ query: { organisation: only } }) => {
      const organisations =
        only === undefined ? [...state.dids()].filter((did) => state.didState(did)?.kind === 'org') : [only];
      const all = organisations
        .flatMap((did) => state.revocationsBy(did))
        .sort((a, b) => b.payload.iat - a.payload.iat || b.payload.seq - a.payload.seq);
      return {
        revocations: all.map((revocation) => ({
          revocation: revocationView(revocation),
          applies: revocations.applies(revocation),
        })),
      };
    },

    handshakeCreate: async ({ body }, _caller, signal) => ({
      session: sessionView(await node.handshake(body, signal)),
    }),
    sessionList: async (_input, caller) => ({
      sessions: node.sessions
        .list()
        .filter(({ as }) => caller.kind === 'operator' || as === caller.did)
        .map(sessionView),
    }),
    sessionShow: async ({ params: { sid } }, caller) => {
      const session = requireSession(sid, caller);
      return { session: sessionView(session), chain: session.agreed.chain.map(linkView) };
    },
    sessionClose: async ({ params: { sid } }, caller) => {
      requireSession(sid, caller);
      node.sessions.end(sid);
      return { sid, code: 'closed' };
    },

    loginChallenge: async ({ body: { did } }) => {
      const { nonce, untilMs } = agents.loginChallenge(did);
      return { daemon: organisation.did, nonce: toBase64url(nonce), expiresAt: timeOf(untilMs) };
    },
    login: async ({ body: { did, nonce, signature } }) => {
      const bytes = fromBase64url(nonce) as Uint8Array; // canonical by the schema
      agents.takeChallenge(did, bytes);
      const message = signedBytes('login', loginMessage(organisation.did, bytes));
      const keys = (state.didState(did)?.keys ?? []).filter(
        ([key, uses]) => uses.includes('auth') && !agents.isKeyRevoked(did, key),
      );
      if (!keys.some(([key]) => isSignatureValid(signatureFrom(signature), message, rawKeyOf(key)))) {
        throw new MeshError(
          'bad_signature',
          `Cannot log in as "${did}": the signature verifies under no key of use "auth"`,
          { did },
        );
      }
      const { token, untilMs } = await agents.loginToken(did);
      return { did, token, expiresAt: timeOf(untilMs) };
    },
  };
}

/**
 * Delegating is subject to the configured policies. All that is asked for is in the facts, so that an approval is for
 * just that. Errors: policy_denied, limit_exceeded, approval_pending, approval_denied.
 */
function requireDelegation(
  { governance, organisation, state }: MeshNode,
  { as, ...body }: DelegateBody,
): Promise<Settle> {
  const { to, from, capabilities, depth } = body;
  const issuer = as ?? (from === undefined ? undefined : state.link(from)?.payload.aud) ?? organisation.did;
  const names = capabilities.map(({ can }) => can);
  return governance.governance.require(
    governance.acting(issuer),
    { action: 'delegate', facts: { ...body, capabilities: names, grants: capabilities } },
    { delegation: { audience: to, capabilities: names, ...(depth !== undefined && { depth }) } },
    `delegate to "${to}"`,
  );
}

function logBackendOf(node: MeshNode, { witnessUrl }: Surroundings): LogBackend {
  const { agents, audit, convictions, organisation, state } = node;
  const { clock, random, isSignatureValid } = node.components;
  return createLogBackend({
    auditLog: () => audit.auditLog,
    append: (entry) => audit.recorder.append(entry),
    cosigning: () => audit.cosigning,
    convictions: {
      list: () => convictions.list(),
      get: (did) => convictions.get(did),
      lift: (did, reason) => {
        const who = convictions.get(did)?.organisation ?? did;
        return afterWritten(audit.decisions.lifting(who, reason), () => convictions.lift(did, reason));
      },
    },
    monitor: audit.monitor,
    mirrors: audit.mirrors,
    witness: { vkey: audit.witness.vkey, notes: () => audit.witness.notes(), listening: () => witnessUrl },
    actors: audit.actors,
    credential: (did) => agents.credential(did),
    verifyMayAct: (did) => agents.requireActive(agents.agent(did)),
    isKeyOf: (did, key) => {
      const multikey = parseMultikeyText(key);
      const keys = state.didState(did)?.keys ?? [];
      const isListed = keys.some(([listed, uses]) => uses.includes('sign') && equalBytes(listed, multikey));
      return isListed && !agents.isKeyRevoked(did, multikey);
    },
    recover: async (how, reason, signal) => {
      if (how === 'mirrors') return (await audit.recoverFromMirrors(reason, signal)).lost;
      await audit.beginGeneration(reason);
      return undefined;
    },
    state,
    organisation: organisation.did,
    clock,
    random,
    isSignatureValid,
  });
}

/** One connection for each peer: the older of two. */
function peersOf(connections: readonly PeerConnection[]): PeerConnection[] {
  const first = new Map<string, PeerConnection>();
  for (const connection of [...connections].sort((a, b) => a.openedMs - b.openedMs))
    if (!first.has(connection.peer)) first.set(connection.peer, connection);
  return [...first.values()];
}

async function latencyOf(
  { components: { network, clock, log } }: MeshNode,
  peer: string,
  signal: AbortSignal,
): Promise<number | null> {
  try {
    return await network.ping(peer, { signal: deadline(clock, PING_MS, signal) });
  } catch (error) {
    log.debug({ error, peer }, 'a peer did not answer a ping');
    return null; // shown as unknown
  }
}

const signatureFrom = (text: string): Uint8Array => fromBase64url(text) as Uint8Array; // canonical by the schema

const toSignView = ({ purpose, key, payload }: SigningRequest): ToSign => ({
  purpose,
  key: multikeyText(key),
  payload: toBase64url(payload),
});

const credentialView = ({ link: { id, payload }, signer }: HeldCredential): CredentialView => ({
  id,
  did: payload.aud,
  parent: payload.prf?.text ?? id,
  capabilities: capabilitiesOf(payload.cap),
  holderKey: multikeyText(signer.publicKey),
  issuedAt: timeOfSeconds(payload.iat),
  expiresAt: timeOfSeconds(payload.exp),
});

const delegationView = ({ link, toSign }: Made): DelegationAnswer => ({
  link: linkView(link),
  published: toSign === undefined && link.payload.pri !== true,
  toSign:
    toSign === undefined
      ? []
      : [{ purpose: 'delegation', key: multikeyText(toSign.key), payload: toBase64url(toSign.payload) }],
});

const retirementFrom = ({ key, graceSeconds, keep = [] }: RetireEntry): Retirement => ({
  key: parseMultikeyText(key),
  graceSeconds,
  keep,
});

const commitmentsFrom = (
  body: { readonly commitments: readonly string[]; readonly threshold: number } | undefined,
): Commitments | undefined =>
  body === undefined
    ? undefined
    : { commitments: body.commitments.map((text) => fromBase64url(text) as Uint8Array), threshold: body.threshold };

function requestFrom({ capabilities, at, purpose, score }: VerifyBody): ChainRequest | undefined {
  if (capabilities === undefined && at === undefined && purpose === undefined && score === undefined) return undefined;
  return {
    capabilities: capabilitiesFrom(capabilities ?? []),
    ...(at !== undefined && { at }),
    ...(purpose !== undefined && { purpose }),
    ...(score !== undefined && { score }),
  };
}
