/**
 * Organisations with a node each over a network in memory, and just enough of a daemon around them to shake hands: a
 * state behind the door's rules, `pull` and `freshen` that ask the other nodes' states, and a switch for every answer.
 */
import {
  createHandshakes,
  type HandshakePolicy,
  type Handshakes,
  type HandshakeOptions,
  type Presenter,
} from '../../../daemon/core/handshake.ts';
import { Sessions } from '../../../daemon/core/sessions.ts';
import type { Clock, Logger, Network, PeerConnection } from '../../../daemon/ports.ts';
import type { MeshEventInput } from '../../../protocol/control/index.ts';
import {
  admitAll,
  isMeshError,
  limits,
  MeshError,
  MeshState,
  parseStatement,
  type Statement,
  verifySignatures,
} from '../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import {
  createAgent,
  createCredential,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRootLink,
  type Identity,
  keyOf,
  type Operation,
  type TestKey,
} from '../../builders.ts';
import { seededRandom } from '../../fuzz/random.ts';
import { MemoryMesh, type MemoryNetwork } from './memory-network.ts';
import { settle, VirtualClock } from './virtual-clock.ts';

type Link = Statement<'delegation/v1'>;

export interface LogLine {
  readonly facts: Readonly<Record<string, unknown>>;
  readonly message: string;
}

export interface Party {
  readonly organisation: Identity;
  readonly sponsor: Identity;
  readonly agent: Identity;
  /** From the organisation to its agent. */
  readonly rootLink: Link;
  readonly state: MeshState;
  readonly network: MemoryNetwork;
  readonly sessions: Sessions;
  readonly handshakes: Handshakes;
  readonly events: MeshEventInput[];
  readonly errors: LogLine[];
  /** What the node answers and does; change it before a handshake. */
  readonly is: PartySwitches;
}

export interface PartySwitches {
  roots: Set<string>;
  score: number;
  policy: HandshakePolicy;
  /** Chains by leaf that the agent may present beyond its own. */
  readonly grants: Map<string, readonly Link[]>;
  /** In place of what it would present. */
  presents: ((usual: Presenter) => Presenter | Promise<Presenter>) | undefined;
  /** Whether `freshen` reaches other issuers. */
  reachesIssuers: boolean;
  answersPulls: boolean;
  /** In place of a connection to a peer that the DID's organisation lists. */
  reaches: ((did: string) => PeerConnection | Promise<PeerConnection>) | undefined;
  newest: { operation: Operation; revocation: Statement<'revocation/v1'> | null };
}

export interface World {
  readonly clock: VirtualClock;
  readonly mesh: MemoryMesh;
  readonly parties: readonly Party[];
  /** Makes a statement held by all of these, and tells their sessions in the same turn. */
  learn(statements: readonly Statement[], ...by: readonly Party[]): void;
  close(): Promise<void>;
}

export interface WorldOptions {
  readonly names?: readonly string[];
  /** Whether everybody holds everybody's statements and heartbeats from the start. Default true. */
  readonly knows?: boolean;
  readonly handshake?: HandshakeOptions;
  /** Of each party, in order. */
  readonly sessionsMax?: readonly number[];
  readonly latencyMs?: number;
  /** In place of the network in memory and of time that waits. */
  readonly real?: { readonly clock: Clock; join(node: TestKey): Promise<Network> };
}

export const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export async function createHandshakeWorld({
  names = ['acme', 'beta'],
  knows = true,
  handshake = {},
  sessionsMax,
  latencyMs = 0,
  real,
}: WorldOptions = {}): Promise<World> {
  // Tests that give others use what the ports have, and nothing more.
  const clock = (real?.clock ?? new VirtualClock()) as VirtualClock;
  const mesh = new MemoryMesh({ clock, latencyMs });
  const parties: Party[] = [];
  const world: World = {
    clock,
    mesh,
    parties,
    learn: (statements, ...by) => {
      for (const party of by.length === 0 ? parties : by) {
        admitAll(party.state, statements, clock.nowMs());
        for (const statement of statements) party.sessions.statementChanged(statement);
      }
    },
    close: async () => {
      const closing = parties.flatMap(({ handshakes, sessions }) => [sessions.close(), handshakes.close()]);
      await settle();
      await Promise.all(closing);
      await Promise.all(parties.map(({ network }) => network.close()));
    },
  };
  for (const [i, name] of names.entries())
    parties.push(await createParty(world, name, i, { handshake, sessionsMax, real }));
  for (const party of parties) {
    const known = knows ? parties : [party];
    admitAll(party.state, known.flatMap(publishedBy), clock.nowMs());
  }
  if (real === undefined) {
    for (const [i, a] of parties.entries()) for (const b of parties.slice(i + 1)) mesh.connect(a.network, b.network);
  }
  await settle();
  return world;
}

/** What an organisation has published, its newest heartbeat included. */
export const publishedBy = ({ organisation, sponsor, agent, rootLink }: Party): Statement[] => [
  organisation.genesis,
  sponsor.genesis,
  agent.genesis,
  rootLink,
  createHeartbeat(organisation),
];

async function createParty(
  world: World,
  name: string,
  number: number,
  options: Pick<WorldOptions, 'handshake'> & { sessionsMax: readonly number[] | undefined; real: WorldOptions['real'] },
): Promise<Party> {
  const { clock, mesh } = world;
  const organisation = createOrganisation(name);
  const sponsor = createPerson(organisation, `${name} sponsor`);
  const agent = createAgent(organisation, `${name} agent`);
  const rootLink = createRootLink(organisation, sponsor, {
    aud: agent.did,
    cap: [{ can: 'read:reports/*' }, { can: 'pay:invoices/*' }, { can: 'write:notes/*' }],
  });
  const state = new MeshState();
  const { real } = options;
  const network = (
    real === undefined ? mesh.join(organisation.node.peerId) : await real.join(organisation.node)
  ) as MemoryNetwork;
  const events: MeshEventInput[] = [];
  const errors: LogLine[] = [];
  const log: Logger = {
    ...quiet,
    error: (facts, message) => errors.push({ facts: facts as LogLine['facts'], message }),
  };
  const random = seededRandom(7 + number);
  const emit = (event: MeshEventInput): void => {
    events.push(event);
  };
  const is: PartySwitches = {
    roots: new Set([organisation.did]),
    score: limits.NETWORK_SCORE_NEUTRAL,
    policy: { need: () => ({ minScore: limits.HANDSHAKE_SCORE_DEFAULT }), verify: () => {} },
    grants: new Map(),
    presents: undefined,
    reachesIssuers: true,
    answersPulls: true,
    reaches: undefined,
    newest: { operation: organisation.genesis, revocation: null },
  };
  const sessionsMax = options.sessionsMax?.[number];
  const sessions = new Sessions({ clock, log, view: state, emit }, sessionsMax === undefined ? {} : { sessionsMax });
  const usual = (did: string, grant: string | undefined): Presenter => {
    if (did === organisation.did)
      return { did, signer: organisation.keys.auth, envelopes: [organisation.genesis.envelope] };
    if (did !== agent.did) throw new MeshError('not_found', `Cannot present "${did}": no agent of this home`, { did });
    const own = [organisation.genesis, sponsor.genesis, agent.genesis, rootLink];
    const ident = { did, ident: rootLink.id };
    if (grant === undefined)
      return { ...ident, signer: agent.keys.auth, envelopes: own.map(({ envelope }) => envelope) };
    const chain = is.grants.get(grant) ?? [];
    const { credential, key } = credentialUnder(chain, agent);
    return {
      ...ident,
      grant: credential.id,
      signer: key,
      envelopes: [credential, ...own, ...chain].map(({ envelope }) => envelope),
    };
  };
  const party: Party = {
    organisation,
    sponsor,
    agent,
    rootLink,
    state,
    network,
    sessions,
    events,
    errors,
    is,
    handshakes: createHandshakes(
      {
        network,
        sessions,
        clock,
        random: { bytes: (count) => random.bytes(count), fraction: () => random.fraction() },
        log,
        view: state,
        isSignatureValid: isSignatureValidSodium,
        emit,
        organisation: organisation.did,
        presenterFor: async (did, grant) => {
          const presenter = usual(did, grant);
          return is.presents === undefined ? presenter : is.presents(presenter);
        },
        reach: async (did) => {
          if (is.reaches !== undefined) return is.reaches(did);
          const peers = state.didState(state.didState(did)?.organisation ?? did)?.peers;
          if (peers === undefined)
            throw new MeshError('did_unknown', `Cannot reach "${did}": its log is not held`, { did });
          const connection = network.connections().findLast(({ peer }) => peers.includes(peer));
          if (connection === undefined)
            throw new MeshError('unreachable', `Cannot reach "${did}": not connected`, { did });
          return connection;
        },
        admit: async (envelopes) => {
          admitAll(state, envelopes.flatMap(judgedByDoor), clock.nowMs());
        },
        pull: async (_dids, peer) => {
          const other = world.parties.find((one) => one.network.peer === peer);
          if (other?.is.answersPulls === true) admitAll(state, [...other.state.statements()], clock.nowMs());
        },
        freshen: async (did) => {
          const issuer = world.parties.find((one) => one.organisation.did === did);
          if (issuer === undefined || (!is.reachesIssuers && issuer !== party)) return;
          const { operation, revocation } = issuer.is.newest;
          const heartbeat = createHeartbeat(issuer.organisation, {
            iat: Math.floor(clock.nowMs() / 1000),
            head: operation,
            rhead: revocation,
            nonce: random.bytes(16),
          });
          state.admit(heartbeat, clock.nowMs(), { askedMs: clock.nowMs() });
        },
        scoreOf: () => ({ score: is.score, basis: 'neutral: no evidence' }),
        roots: () => is.roots,
        policy: { need: (facts) => is.policy.need(facts), verify: (facts, judged) => is.policy.verify(facts, judged) },
      },
      options.handshake,
    ),
  };
  await party.handshakes.start();
  return party;
}

/** The agent's credential under a chain, and the key that it binds. */
export function credentialUnder(
  chain: readonly Link[],
  agent: Identity,
): { readonly credential: Link; readonly key: TestKey } {
  const leaf = chain.at(-1);
  if (leaf === undefined) throw new Error('a chain has links');
  const key = keyOf(`credential of ${agent.name} under ${leaf.id}`);
  const exp = Math.min(leaf.payload.exp, leaf.payload.iat + 900);
  return { credential: createCredential(leaf, agent, key, { exp }), key };
}

function judgedByDoor(envelope: Uint8Array): Statement[] {
  try {
    const statement = parseStatement(envelope);
    verifySignatures(statement, isSignatureValidSodium);
    return [statement];
  } catch (error) {
    if (isMeshError(error)) return []; // the door refuses it: it is not held
    throw error;
  }
}

type LinkFields = Omit<Parameters<typeof createRootLink>[2], 'aud'>;

/** A grant of `from` to the agent of `to`, held by both, which `to` may present. */
export function grantTo(world: World, from: Party, to: Party, fields: LinkFields = {}): Link {
  const link = createRootLink(from.organisation, from.sponsor, {
    cap: [{ can: 'read:reports/*' }],
    ...fields,
    aud: to.agent.did,
  });
  to.is.grants.set(link.id, [link]);
  world.learn([link], from, to);
  return link;
}

export const endings = ({ events }: Party): string[] =>
  events.flatMap((event) => (event.type === 'session.ended' ? [event.data.code] : []));
export const refusals = ({ events }: Party): string[] =>
  events.flatMap((event) =>
    event.type === 'handshake.refused'
      ? [event.data.reason === null ? event.data.code : `${event.data.code}:${event.data.reason}`]
      : [],
  );
