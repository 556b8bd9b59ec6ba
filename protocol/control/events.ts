/**
 * What `GET /v1/events` may say: a closed list. A row names who may see it besides the operator: every agent
 * (facts that are public on the mesh), only the agent in the named field, or nobody.
 */
import Type, { type TProperties } from 'typebox';
import { EVENT_LINKS_MAX } from '../limits.ts';
import { KINDS, type KindName } from '../statement/kinds.ts';
import { ActionText, ApprovalId, ApprovalKind, ApprovalState } from './policy-schemas.ts';
import {
  AgentStatusText,
  Did,
  DidStatusText,
  ErrorCodeText,
  Id,
  type Json,
  KeyName,
  Multiaddr,
  PeerId,
  Reason,
  RevocationTargetBody,
  SessionId,
  Time,
} from './schemas.ts';

const data = <P extends TProperties>(properties: P): Type.TObject<P> =>
  Type.Object(properties, { additionalProperties: false });
const nullable = <S extends Type.TSchema>(schema: S): Type.TUnion<[S, Type.TNull]> => Type.Union([schema, Type.Null()]);
const KindText = Type.Enum(Object.keys(KINDS) as [KindName, ...KindName[]]);
const TreeSize = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Source = Type.Enum(['local', 'gossip', 'sync', 'handshake', 'bundle']);

export const EVENTS = {
  'statement.accepted': {
    summary: 'A statement passed the door and is stored',
    seenBy: 'agents',
    data: data({ id: Id, kind: KindText, issuer: nullable(Did), source: Source }),
  },
  'statement.rejected': {
    summary: 'A statement was refused for ever; ignored ones are not told',
    seenBy: 'operator',
    data: data({ id: nullable(Id), code: ErrorCodeText, source: Source, peerId: nullable(PeerId) }),
  },
  'did.changed': {
    summary: 'The state of a DID is another than before',
    seenBy: 'agents',
    data: data({ did: Did, organisation: Did, status: DidStatusText, seq: Type.Integer({ minimum: 0 }), head: Id }),
  },
  'link.revoked': {
    summary: 'A revocation took effect on links, named with all that fall with them',
    seenBy: 'agents',
    data: data({
      revocation: Id,
      issuer: Did,
      target: RevocationTargetBody,
      links: Type.Array(Id, { maxItems: EVENT_LINKS_MAX }),
      total: Type.Integer({ minimum: 0, description: 'of links that fall, also of those not named' }),
    }),
  },
  'session.opened': {
    summary: 'A handshake succeeded',
    seenBy: 'as',
    data: data({
      sid: SessionId,
      as: Did,
      did: Did,
      organisation: Did,
      peerId: PeerId,
      direction: Type.Enum(['inbound', 'outbound']),
      expiresAt: Time,
    }),
  },
  'session.ended': {
    summary: 'A session is over; the code says why',
    seenBy: 'as',
    data: data({ sid: SessionId, as: Did, did: Did, code: ErrorCodeText }),
  },
  'handshake.refused': {
    summary: 'A handshake failed on this side or the other',
    seenBy: 'operator',
    data: data({
      as: nullable(Did),
      did: nullable(Did),
      peerId: PeerId,
      direction: Type.Enum(['inbound', 'outbound']),
      code: ErrorCodeText,
      reason: nullable(ErrorCodeText),
    }),
  },
  'peer.bound': {
    summary: 'A connected peer proved which organisation it speaks for',
    seenBy: 'operator',
    data: data({ peerId: PeerId, did: Did, address: Multiaddr }),
  },
  'peer.lost': {
    summary: 'The last connection to a peer closed',
    seenBy: 'operator',
    data: data({ peerId: PeerId, did: nullable(Did) }),
  },
  'agent.registered': {
    summary: 'An agent of this organisation was published',
    seenBy: 'did',
    data: data({ did: Did, sponsor: Did }),
  },
  'agent.changed': {
    summary: 'An agent of this organisation has another status',
    seenBy: 'did',
    data: data({ did: Did, status: AgentStatusText }),
  },
  'credential.rotated': {
    summary: 'An agent has a new credential; the one before stays valid until it expires',
    seenBy: 'did',
    data: data({ did: Did, id: Id, expiresAt: Time }),
  },
  'credential.lapsed': {
    summary: 'An agent that keeps its own key did not renew its credential in time',
    seenBy: 'did',
    data: data({ did: Did, id: Id }),
  },
  heartbeat: {
    summary: 'A newer heartbeat of an organisation is held',
    seenBy: 'agents',
    data: data({ organisation: Did, at: Time, revocations: Type.Integer({ minimum: 0 }) }),
  },
  'log.grown': {
    summary: 'The audit log has more entries on disk; told a few times a second at most',
    seenBy: 'agents',
    data: data({ treeSize: TreeSize }),
  },
  'checkpoint.cosigned': {
    summary: 'A witness cosigned a checkpoint of the audit log',
    seenBy: 'agents',
    data: data({ treeSize: TreeSize, witness: KeyName, did: nullable(Did) }),
  },
  'log.halted': {
    summary: 'The audit log signs nothing any more, until it is recovered',
    seenBy: 'operator',
    data: data({ code: Type.String({ maxLength: 64 }), message: Type.String({ maxLength: 4096 }) }),
  },
  'conviction.made': {
    summary: 'An organisation is convicted by two histories that it signed',
    seenBy: 'agents',
    data: data({ did: Did, of: Type.Enum(['log', 'witness']), proof: Id }),
  },
  'conviction.lifted': {
    summary: 'A human lifted a conviction on this daemon',
    seenBy: 'agents',
    data: data({ did: Did, reason: Reason }),
  },
  'action.refused': {
    summary: 'A policy refused something that an agent wanted to do',
    seenBy: 'as',
    data: data({
      as: Did,
      action: ActionText,
      tool: nullable(Type.String({ maxLength: 256 })),
      code: ErrorCodeText,
      rule: nullable(Type.String({ maxLength: 256 })),
    }),
  },
  'approval.requested': {
    summary: 'Something waits for the approval of a person',
    seenBy: 'as',
    data: data({ id: ApprovalId, as: Did, kind: ApprovalKind, expiresAt: Time }),
  },
  'approval.decided': {
    summary: 'What waited for an approval waits no longer',
    seenBy: 'as',
    data: data({ id: ApprovalId, as: Did, state: ApprovalState }),
  },
  'policy.changed': {
    summary: 'Other policies are in force than before, or newer files could not be read',
    seenBy: 'agents',
    data: data({ policies: Type.Integer({ minimum: 0 }), problem: nullable(ErrorCodeText) }),
  },
  'tool.changed': {
    summary: 'A server defines its tools otherwise than when they were seen first',
    seenBy: 'as',
    data: data({ as: Did, server: Type.String({ maxLength: 256 }), tool: Type.String({ maxLength: 256 }) }),
  },
  gap: {
    summary: 'Events were lost between the last one that the client names and the next: read the state anew',
    seenBy: 'agents',
    data: data({ reason: Type.Enum(['restarted', 'too_old']) }),
  },
} as const satisfies Record<
  string,
  { summary: string; seenBy: 'operator' | 'agents' | 'as' | 'did'; data: Type.TObject }
>;

export type EventType = keyof typeof EVENTS;
export type EventData<T extends EventType> = Json<(typeof EVENTS)[T]['data']>;

/** What a part of the daemon says; the bus adds id and time. */
export type MeshEventInput = { [T in EventType]: { readonly type: T; readonly data: EventData<T> } }[EventType];

/** What a client reads. `id` is opaque: it is what Last-Event-ID takes. */
export type MeshEvent = {
  [T in EventType]: { readonly id: string; readonly at: string; readonly type: T; readonly data: EventData<T> };
}[EventType];

export const isEventType = (value: unknown): value is EventType =>
  typeof value === 'string' && Object.hasOwn(EVENTS, value);
export const EVENT_TYPES = Object.keys(EVENTS) as [EventType, ...EventType[]];

/** The object in each `data:` line, for every type one schema. */
export const EventSchema = Type.Union(
  EVENT_TYPES.map((type) =>
    Type.Object(
      { id: Type.String({ maxLength: 64 }), at: Time, type: Type.Literal(type), data: EVENTS[type].data },
      { additionalProperties: false },
    ),
  ),
);

/** Whether an agent may see the event; the operator sees all. */
export function isVisibleTo(event: MeshEvent | MeshEventInput, agent: string): boolean {
  const { seenBy } = EVENTS[event.type];
  if (seenBy === 'agents') return true;
  if (seenBy === 'operator') return false;
  return (event.data as Readonly<Record<string, unknown>>)[seenBy] === agent;
}
