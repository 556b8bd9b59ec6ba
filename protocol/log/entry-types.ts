/**
 * Every type of entry that AgentMesh writes, with its own members (SPEC "Audit entries"). On the wire a type is
 * `agentmesh.<area>.<verb>.v1`; a new one is a row here and a row of the table in SPEC.md. A row never changes: what has
 * other members is a further type.
 */
import {
  boolean,
  type Checked,
  integer,
  list,
  map,
  nullable,
  oneOf,
  refine,
  type Schema,
  textWhere,
} from '../encoding/schema.ts';
import {
  APPROVAL_ID_BYTES,
  APPROVAL_QUORUM_MAX,
  APPROVERS_MAX,
  BINDING_BYTES_MAX,
  CALL_NUMBER_MAX,
  CALL_STATEMENT_BYTES_MAX,
  CHAIN_LINKS_MAX,
  DELEGATION_BYTES_MAX,
  DID_SEQ_MAX,
  DIDOP_BYTES_MAX,
  LABELS_MAX,
  LOG_NOTE_TEXT_MAX,
  LOG_TYPE_TEXT_MAX,
  MESSAGE_ID_BYTES,
  MESSAGE_SEQ_MAX,
  MULTIADDR_TEXT_MAX,
} from '../limits.ts';
import { isMediaType } from '../message/schema.ts';
import { OUTCOMES } from '../receipt/schema.ts';
import {
  audience,
  base64url,
  capabilities,
  commonOptional,
  commonRequired,
  count,
  did,
  direction,
  errorCode,
  facts,
  hex,
  message,
  multikeyInText,
  name,
  peerId,
  reason,
  score,
  signature,
  statementId,
  text,
  time,
  urlOrigin,
} from './entry-fields.ts';

type Fields = Readonly<Record<string, Schema<unknown>>>;
type None = Record<never, never>;
/** The members of `data` that a type has besides those of every entry. */
type MembersOf<R extends Fields, O extends Fields> = Checked<ReturnType<typeof map<R, O>>>;

interface Row<M> {
  readonly area: string;
  /** One line for people: what it says. */
  readonly summary: string;
  /** The whole of `data`. Closed. */
  readonly data: Schema<DataOf<M>>;
  /** Own members, as the table in SPEC.md names them; a "?" after those that may be absent. */
  readonly members: readonly string[];
  /** Whose key signs: the actor's own; `any`: that, or the organisation's, since the daemon acts for all of its agents. */
  readonly signedBy: 'actor' | 'any';
}

const common = { ...commonRequired, sig: signature };
/** Members of `data` that entries of every type may have. */
export const COMMON_MEMBERS: readonly string[] = [...Object.keys(common), ...Object.keys(commonOptional)];
export type CommonData = MembersOf<typeof common, typeof commonOptional>;
export type DataOf<M> = CommonData & M;

interface RowOptions<O extends Fields> {
  readonly optional?: O;
  readonly signedBy?: 'actor' | 'any';
}
function row<const R extends Fields, const O extends Fields = None>(
  area: string,
  summary: string,
  required: R,
  { optional, signedBy = 'any' }: RowOptions<O> = {},
): Row<MembersOf<R, O>> {
  const all = map({ ...common, ...required }, { ...commonOptional, ...optional });
  const data = refine(all as Schema<unknown> as Schema<DataOf<MembersOf<R, O>>>, (value, fail) => {
    if (value.phase === 'outcome') return;
    if (value.intent !== undefined) fail('data.intent', 'it in an outcome only');
    if (value.result !== undefined) fail('data.result', 'it in an outcome only');
  });
  const members = [...Object.keys(required), ...Object.keys(optional ?? {}).map((member) => `${member}?`)];
  return { area, summary, data, members, signedBy };
}

const approvalId = hex(APPROVAL_ID_BYTES);
const labels = list(name, 0, LABELS_MAX);
const messageId = hex(MESSAGE_ID_BYTES);
const seq = integer(1, MESSAGE_SEQ_MAX);
const mediaType = textWhere(isMediaType, 'a media type like "text/plain"');
const effect = oneOf('allow', 'deny', 'require_approval');
/** Of observations that are limited in rate: how many were left out since the entry of this type before. */
const omitted = { omitted: count };

export const ENTRY_TYPES = {
  // The log and its daemon
  'log.opened': row(
    'log',
    'leaf 0: who the log speaks for, and the generation before it, if there was one',
    { binding: base64url(BINDING_BYTES_MAX) },
    { optional: { previous: map({ origin: name, checkpoint: nullable(text(LOG_NOTE_TEXT_MAX)), reason: message }) } },
  ),
  'log.halted': row(
    'log',
    'the log contradicted what was released, anchored or cosigned, or was damaged, and signed nothing more',
    { code: errorCode, message },
    { optional: { place: name } },
  ),
  'log.recovered': row(
    'log',
    'a halted log goes on: completed from mirrors, without the `lost` last entries that were on disk and that nobody has, or in this generation',
    { how: oneOf('mirror', 'generation'), reason: message },
    { optional: { lost: count } },
  ),
  'daemon.started': row('daemon', 'the daemon runs', { version: name }),
  'daemon.stopped': row(
    'daemon',
    'the daemon stopped in order; `omitted`: observations that no later entry counts',
    {},
    { optional: { reason: name, ...omitted } },
  ),
  'intent.settled': row(
    'intent',
    'what came of the intent that it names: `result`, and what detectors found in what came back',
    {},
    { optional: { labels } },
  ),

  // Identities
  'did.operation': row(
    'did',
    'an operation of the organisation, or of an agent or person of it: which keys they list',
    {
      did,
      operation: oneOf('genesis', 'rotate', 'update', 'recover', 'deactivate'),
      seq: integer(0, DID_SEQ_MAX),
      statement: base64url(DIDOP_BYTES_MAX),
    },
  ),
  'sponsor.registered': row('sponsor', 'a person who may answer for agents has a DID', { did }),
  'agent.registered': row('agent', 'an agent was published, with its root link', {
    did,
    sponsor: did,
    parent: nullable(did),
    keyHeldBy: oneOf('daemon', 'agent'),
    rootLink: statementId,
    capabilities,
  }),
  'agent.changed': row('agent', 'an agent was suspended, resumed or revoked', {
    did,
    status: oneOf('active', 'suspended', 'revoked', 'unregistered'),
  }),
  'agent.action': row('agent', 'an agent says what it does or did', {}, { optional: { facts }, signedBy: 'actor' }),
  'credential.issued': row(
    'credential',
    'an agent has a new short-lived key, by a link that a key of the agent signed',
    {
      did,
      leaf: statementId,
      key: multikeyInText,
      until: time,
      statement: base64url(DELEGATION_BYTES_MAX),
    },
  ),
  'token.issued': row(
    'token',
    'an agent has a further token for the control API; `until` null: until it is taken away',
    {
      did,
      until: nullable(time),
    },
  ),
  'credential.lapsed': row('credential', 'an agent that keeps its own key did not renew its credential in time', {
    did,
    leaf: statementId,
  }),

  // Grants and their end
  'delegation.issued': row('delegation', 'the organisation or an agent of it grants something', {
    link: statementId,
    issuer: did,
    audience,
    parent: nullable(statementId),
    capabilities,
    until: time,
    private: boolean,
  }),
  'revocation.issued': row('revocation', 'the organisation or an agent of it revokes a link, a DID or a key', {
    id: statementId,
    issuer: did,
    target: refine(map({}, { link: statementId, did, key: multikeyInText }), (value, fail) => {
      if ((value.link === undefined) === (value.did === undefined)) fail('data.target', 'either a link or a DID');
      if (value.key !== undefined && value.did === undefined) fail('data.target', 'the DID of the key');
    }),
    reason,
  }),

  // Handshakes and sessions
  'handshake.accepted': row(
    'handshake',
    'somebody who knocked is granted a session',
    {
      as: did,
      organisation: did,
      peerId,
      granted: capabilities,
      minScore: score,
      score,
      basis: name,
      links: list(statementId, 0, 2 * CHAIN_LINKS_MAX), // of what it is, and of what it was granted
      until: time,
    },
    { optional: { purpose: name } },
  ),
  'handshake.refused': row(
    'handshake',
    'a handshake failed on this side or the other',
    { direction, code: errorCode, peerId },
    { optional: { as: did, reason: errorCode, ...omitted } },
  ),
  'session.opened': row(
    'session',
    'a handshake that this side began is granted a session',
    { as: did, organisation: did, peerId, granted: capabilities, score, until: time },
    { optional: { purpose: name } },
  ),
  'session.ended': row(
    'session',
    'a session is over; the code says why',
    { as: did, direction, code: errorCode },
    { optional: { calls: count, refused: count, bytesIn: count, bytesOut: count, ...omitted } },
  ),

  // Policies (common members say which policy and rule decided, and commit to the request)
  'action.allowed': row(
    'action',
    'an agent is about to do something that the policies allow',
    { action: name },
    { optional: { server: name, labels, approval: approvalId } },
  ),
  'action.refused': row(
    'action',
    'the policies refused something that an agent wanted to do, or it waits for an approval',
    { action: name, code: errorCode },
    { optional: { server: name, labels, approval: approvalId } },
  ),
  'approval.requested': row(
    'approval',
    'something waits for persons to approve exactly that: `digest` commits to it',
    {
      id: approvalId,
      kind: oneOf('action', 'tool'),
      digest: hex(32),
      approvers: list(name, 0, APPROVERS_MAX),
      quorum: integer(1, APPROVAL_QUORUM_MAX),
      until: time,
    },
    { optional: { action: name, server: name } },
  ),
  'approval.decided': row(
    'approval',
    'a person approved or denied, by a signature over id, digest, decision, reason and time',
    {
      id: approvalId,
      digest: hex(32),
      decision: oneOf('approve', 'deny'),
      approver: audience,
      reason,
      at: time,
      signature: base64url(64),
    },
  ),
  'policy.loaded': row(
    'policy',
    'a policy is in force from now on, runs beside those in force, or was brought by a caller',
    { name, digest: hex(32), source: oneOf('configuration', 'shadow', 'exposed', 'caller') },
  ),
  'policy.diverged': row(
    'policy',
    'a candidate beside the live policies would have decided otherwise',
    { candidate: hex(32), action: name, live: effect, other: effect },
    { optional: omitted },
  ),
  'tool.pinned': row(
    'tool',
    "a server's tools were seen for the first time, or a change was approved: `digest` is over their names and hashes",
    { server: name, count, digest: hex(32) },
  ),
  'tool.changed': row(
    'tool',
    'a server defines a tool otherwise than before, or a further one',
    { server: name, state: oneOf('changed', 'new') },
    { optional: { approval: approvalId } },
  ),

  // Messages between agents (`in` commits to the body; it is never in the log)
  'message.sent': row('message', 'a message waits to be sent from now on; its outcome says what became of it', {
    id: messageId,
    seq,
    bytes: count,
    contentType: mediaType,
    until: time,
  }),
  'message.received': row('message', 'a message is put into the inbox of the actor', {
    id: messageId,
    seq,
    bytes: count,
    contentType: mediaType,
    until: time,
  }),
  'message.refused': row(
    'message',
    'a message of somebody else was not taken',
    { organisation: did, code: errorCode },
    { optional: { id: messageId, ...omitted } },
  ),
  'message.expired': row('message', 'a message that nobody acknowledged in time left the inbox of the actor', {
    id: messageId,
    seq,
  }),

  // Calls between organisations
  'server.exposed': row(
    'server',
    'others may be granted the use of an MCP server from now on, or of another one under its name: digests of how it is started and of what its tools need, and the policy that decides',
    {
      server: name,
      origin: oneOf('configuration', 'command'),
      start: hex(32),
      mapping: hex(32),
      needs: count,
      decidedBy: nullable(map({ name, digest: hex(32) })),
    },
    { optional: { url: urlOrigin } },
  ),
  'server.withdrawn': row('server', 'an MCP server is exposed no more, and the links to it end', {
    server: name,
    origin: oneOf('configuration', 'command'),
  }),
  'receipt.kept': row(
    'receipt',
    'what both sides of a call signed about it, or one side alone (`half`); the outcome of the intent that it names',
    {
      receipt: statementId,
      role: oneOf('caller', 'callee'),
      n: integer(0, CALL_NUMBER_MAX),
      half: boolean,
      outcome: oneOf(...OUTCOMES),
      statement: base64url(CALL_STATEMENT_BYTES_MAX),
    },
    { optional: { server: name } },
  ),

  // What was seen
  'statement.rejected': row(
    'statement',
    'a statement was refused for ever',
    { code: errorCode, source: oneOf('local', 'gossip', 'sync', 'handshake', 'bundle') },
    { optional: { id: statementId, peerId, ...omitted } },
  ),
  'peer.bound': row(
    'peer',
    'a connected peer proved which organisation it speaks for',
    { peerId },
    { optional: { address: text(MULTIADDR_TEXT_MAX), ...omitted } },
  ),
  'peer.lost': row('peer', 'the last connection to a peer closed', { peerId }, { optional: omitted }),

  // Convictions
  'fork.proven': row('fork', 'a log or witness signed two histories, and the proof is known', {
    proof: statementId,
    who: did,
    of: oneOf('log', 'witness'),
  }),
  'conviction.lifted': row('conviction', 'a person decided that a proven fork is forgiven here', {
    who: did,
    reason: message,
  }),
} as const;

/** Types of other makers, who say elsewhere what their facts mean. */
export const FOREIGN_TYPE = row('foreign', 'an event of another maker', {}, { optional: { facts }, signedBy: 'actor' });

export type EntryTypeName = keyof typeof ENTRY_TYPES;
export const ENTRY_TYPE_NAMES = Object.keys(ENTRY_TYPES) as [EntryTypeName, ...EntryTypeName[]];
export type WireType<N extends EntryTypeName = EntryTypeName> = `agentmesh.${N}.v1`;
export const wireTypeOf = <N extends EntryTypeName>(type: N): WireType<N> => `agentmesh.${type}.v1`;

type RowOf<T extends string> = T extends WireType<infer N> ? (typeof ENTRY_TYPES)[N] : typeof FOREIGN_TYPE;
/** The whole of `data`, by the type on the wire. */
export type EntryDataOf<T extends string> = Checked<RowOf<T>['data']>;
/** What a type adds to the members that every entry may have, by its name without prefix and version. */
export type EntryMembers<N extends EntryTypeName> = Omit<EntryDataOf<WireType<N>>, keyof CommonData>;

const names = new Map<string, EntryTypeName>(ENTRY_TYPE_NAMES.map((type) => [wireTypeOf(type), type]));
/** Undefined: not a type of AgentMesh's own. */
export const entryTypeOf = (wireType: string): EntryTypeName | undefined => names.get(wireType);

const OWN_PREFIX = 'agentmesh.';
/** A reverse domain name and at least one word more, as CloudEvents advises. */
const FOREIGN = /^[a-z]{2,63}(?:\.[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?){2,}$/;
export const isForeignType = (wireType: string): boolean =>
  wireType.length <= LOG_TYPE_TEXT_MAX && !wireType.startsWith(OWN_PREFIX) && FOREIGN.test(wireType);

/** What rules an entry's data. Undefined: neither a type of ours nor one that another maker may use. */
export function entryRow(wireType: string): Row<unknown> | undefined {
  const own = entryTypeOf(wireType);
  if (own !== undefined) return ENTRY_TYPES[own];
  return isForeignType(wireType) ? FOREIGN_TYPE : undefined;
}
