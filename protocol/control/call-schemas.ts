/** What the control API says about calls between organisations: links to their servers, what is exposed, receipts. */
import Type, { type TProperties } from 'typebox';
import {
  CAPABILITIES_MAX,
  INBOX_ACK_MAX,
  INBOX_PAGE_MAX,
  MCP_ID_TEXT_MAX,
  MEDIA_TYPE_TEXT_MAX,
  MESSAGE_BODY_BYTES_MAX,
  MESSAGE_SECONDS_MAX,
  MESSAGE_SEQ_MAX,
  OUTBOX_PAGE_MAX,
  POLICY_BROUGHT_MAX,
} from '../limits.ts';
import { isMediaType } from '../message/schema.ts';
import {
  Capability,
  count,
  Did,
  ErrorCodeText,
  Id,
  type Json,
  list,
  nullable,
  object,
  Score,
  SessionId,
  Time,
  base64urlText,
  DecimalText,
} from './schemas.ts';

const optional = Type.Optional;

export const ExposedName = Type.String({
  pattern: '^[a-z][a-z0-9._-]{0,63}$',
  maxLength: 64,
  description: 'a server by the name under which its organisation exposes it, like "files"',
});

// Links

export const PolicyDigests = Type.String({
  pattern: '^[0-9a-f]{64}(,[0-9a-f]{64})*$',
  maxLength: 65 * POLICY_BROUGHT_MAX - 1,
  description: 'digests of policies that were brought, with commas between them',
});
const line = <T extends string, P extends TProperties>(type: T, properties: P, description: string) =>
  object({ agentmesh: object({ type: Type.Literal(type), ...properties }) }, description);

export const LinkOpenedLine = line(
  'opened',
  {
    sid: SessionId,
    as: Did,
    did: Did,
    server: ExposedName,
    organisation: Did,
    grant: nullable(Id),
    score: Score,
    capabilities: list(Capability, CAPABILITIES_MAX),
    expiresAt: Time,
  },
  "The first line: who is at the other end, by this side's own view, and what the session grants",
);
export const LinkReceiptLine = line(
  'receipt',
  {
    request: Type.Union([Type.String({ maxLength: MCP_ID_TEXT_MAX }), Type.Number()]),
    id: Id,
    sid: SessionId,
    n: count('number of the call in its session'),
    out: Type.Enum(['ok', 'error', 'denied', 'refused', 'timeout', 'cancelled']),
    half: Type.Boolean({ description: 'signed by this side alone' }),
  },
  'The receipt of a call of this link',
);
export const LinkEndedLine = line(
  'ended',
  { code: ErrorCodeText, message: Type.String({ maxLength: 4096 }) },
  'The last line: why there are no more; `closed` where the client was done',
);
export const LinkLine = Type.Union([LinkOpenedLine, LinkReceiptLine, LinkEndedLine]);

// Messages

export const MessageId = Type.String({
  pattern: '^[0-9a-f]{32}$',
  maxLength: 32,
  description: '16 random bytes as lower-case hex, the same for sender and recipient',
});
const MediaType = Type.Refine(
  Type.String({ minLength: 3, maxLength: MEDIA_TYPE_TEXT_MAX, description: 'as "text/plain; charset=utf-8"' }),
  isMediaType,
  () => 'want a media type like "text/plain; charset=utf-8"',
);
const MessageBody = base64urlText(MESSAGE_BODY_BYTES_MAX);
const messageSeq = Type.Integer({
  minimum: 1,
  maximum: MESSAGE_SEQ_MAX,
  description: 'rises with each message of the sender to this recipient; not by one',
});

export const MessageSendBody = object({
  as: optional(Did),
  to: Did,
  contentType: MediaType,
  body: MessageBody,
  expiresInSeconds: optional(Type.Integer({ minimum: 1, maximum: MESSAGE_SECONDS_MAX })),
  grant: optional(Id),
});
export const OutgoingMessageView = object(
  {
    id: MessageId,
    seq: messageSeq,
    from: Did,
    to: Did,
    contentType: MediaType,
    bytes: count(),
    state: Type.Enum(['waiting', 'delivered', 'failed', 'expired']),
    code: nullable(ErrorCodeText),
    tries: count('since the daemon started'),
    createdAt: Time,
    expiresAt: Time,
    nextAt: nullable(Time),
    overAt: nullable(Time),
  },
  'A message on its way; `code` says why it failed, or while it waits what came of the last try',
);
export const MessageSent = object({ message: OutgoingMessageView });
export const Outbox = object({ messages: list(OutgoingMessageView, OUTBOX_PAGE_MAX) });
export const InboxMessageView = object({
  id: MessageId,
  seq: messageSeq,
  position: DecimalText,
  from: Did,
  organisation: Did,
  to: Did,
  contentType: MediaType,
  body: MessageBody,
  sentAt: Time,
  receivedAt: Time,
  expiresAt: Time,
  session: nullable(SessionId),
});
export const InboxPage = object({ messages: list(InboxMessageView, INBOX_PAGE_MAX), next: DecimalText });
export const InboxAckBody = object({ as: optional(Did), ids: list(MessageId, INBOX_ACK_MAX, 1) });
export const InboxAcked = object({ acknowledged: count('those that were there; others were acknowledged before') });

export type MessageSendBody = Json<typeof MessageSendBody>;
export type OutgoingMessageView = Json<typeof OutgoingMessageView>;
export type InboxMessageView = Json<typeof InboxMessageView>;

export type LinkOpened = Json<typeof LinkOpenedLine>['agentmesh'];
export type LinkReceipt = Json<typeof LinkReceiptLine>['agentmesh'];
export type LinkEnded = Json<typeof LinkEndedLine>['agentmesh'];
export type LinkControl = LinkOpened | LinkReceipt | LinkEnded;
