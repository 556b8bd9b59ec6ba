/** What the control API says about calls between organisations: links to their servers, what is exposed, receipts. */
import Type, { type TProperties, type TSchema } from 'typebox';
import {
  CALL_STATEMENT_BYTES_MAX,
  CAPABILITIES_MAX,
  EXPOSED_DESCRIPTION_TEXT_MAX,
  EXPOSED_MAX,
  EXPOSED_NEEDS_MAX,
  EXPOSED_URL_TEXT_MAX,
  EXPOSED_VALUE_TEXT_MAX,
  EXPOSED_VARIABLES_MAX,
  EXPOSED_WORD_TEXT_MAX,
  EXPOSED_WORDS_MAX,
  INBOX_ACK_MAX,
  INBOX_PAGE_MAX,
  MCP_ID_TEXT_MAX,
  MCP_NAME_TEXT_MAX,
  MCP_TOOLS_MAX,
  MEDIA_TYPE_TEXT_MAX,
  MESSAGE_BODY_BYTES_MAX,
  MESSAGE_SECONDS_MAX,
  MESSAGE_SEQ_MAX,
  OUTBOX_PAGE_MAX,
  POLICY_BROUGHT_MAX,
  RECEIPT_FILE_BYTES_MAX,
  RECEIPTS_A_PAGE_MAX,
} from '../limits.ts';
import { isMediaType } from '../message/schema.ts';
import { PolicyRefView } from './policy-schemas.ts';
import {
  Capability,
  CapabilityText,
  count,
  Did,
  EntryId,
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

// What is exposed

const word = Type.String({ maxLength: EXPOSED_WORD_TEXT_MAX });
const value = Type.String({ maxLength: EXPOSED_VALUE_TEXT_MAX });
const record = <V extends TSchema>(of: V, maxProperties: number, description: string) =>
  Type.Record(Type.String(), of, { maxProperties, description });
const description = Type.String({
  minLength: 1,
  maxLength: EXPOSED_DESCRIPTION_TEXT_MAX,
  description: 'one line that peers read',
});
const url = Type.String({ pattern: '^https?://', maxLength: EXPOSED_URL_TEXT_MAX });
const words = list(word, EXPOSED_WORDS_MAX, 1);
const toolNeeds = record(CapabilityText, EXPOSED_NEEDS_MAX, 'by tool, where another capability is needed for it');
const exposedCapability = Type.Unsafe<string>({
  ...CapabilityText,
  description: 'needed for every tool that `needs` does not name; without it mcp:NAME/TOOL',
});

export const ExposeBody = object(
  {
    name: ExposedName,
    command: optional(words),
    cwd: optional(word),
    env: optional(record(value, EXPOSED_VARIABLES_MAX, 'beside PATH, HOME, LANG and the like')),
    url: optional(url),
    headers: optional(record(value, EXPOSED_VARIABLES_MAX, 'sent with every request')),
    capability: optional(exposedCapability),
    needs: optional(toolNeeds),
    policy: optional(
      Type.String({
        maxLength: 64,
        description: 'a built-in policy (default: moderate) or the digest of one that was brought',
      }),
    ),
    description: optional(description),
    check: optional(Type.Boolean({ description: 'false: it is not started once to see that it works' })),
  },
  'A server for other organisations: `command` with `cwd`, or `url`',
);
export const ExposedTool = object({
  name: Type.String({ maxLength: MCP_NAME_TEXT_MAX }),
  description: nullable(Type.String({ maxLength: 4096 })),
  can: nullable(CapabilityText), // null: nothing can be granted for such a name
});
export const ExposureView = object({
  name: ExposedName,
  description: nullable(description),
  command: nullable(words),
  cwd: nullable(word),
  env: list(word, EXPOSED_VARIABLES_MAX),
  url: nullable(url),
  headers: list(word, EXPOSED_VARIABLES_MAX),
  capability: nullable(CapabilityText),
  needs: toolNeeds,
  policy: nullable(PolicyRefView),
  origin: Type.Enum(['configuration', 'command']),
  links: count('of others, open now'),
});
export const Exposed = object({ exposed: list(ExposureView, EXPOSED_MAX) });
export const ExposeAnswer = object({
  exposure: ExposureView,
  tools: nullable(list(ExposedTool, MCP_TOOLS_MAX)),
});
export const Service = object({ name: ExposedName, description: nullable(Type.String({ maxLength: 8192 })) });
export const ServicesAnswer = object({
  did: Did,
  organisation: Did,
  services: list(Service, EXPOSED_MAX * 8),
  grants: nullable(count('chains that were presented: with none nothing is told')),
});

export type ExposeBody = Json<typeof ExposeBody>;
export type ExposureView = Json<typeof ExposureView>;
export type ExposeAnswer = Json<typeof ExposeAnswer>;
export type ServicesAnswer = Json<typeof ServicesAnswer>;

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

// Receipts

export const ReceiptView = object(
  {
    id: Id,
    order: Id,
    role: Type.Enum(['caller', 'callee'], { description: 'what this side was' }),
    half: Type.Boolean({ description: 'signed by this side alone' }),
    taken: Type.Boolean({ description: 'the callee signed that it took the order before it did anything' }),
    as: Did,
    did: Did,
    organisation: Did,
    sid: SessionId,
    n: count('number of the call in its session'),
    server: ExposedName,
    tool: nullable(Type.String()),
    outcome: Type.Enum(['ok', 'error', 'denied', 'refused', 'timeout', 'cancelled']),
    startedAt: Time,
    endedAt: Time,
    intent: nullable(EntryId),
    entry: EntryId,
  },
  'What this side keeps of a call with another organisation; `intent` and `entry` are entries of its log',
);
export const ReceiptPage = object({
  receipts: list(ReceiptView, RECEIPTS_A_PAGE_MAX),
  next: nullable(count('for `before` of the next page')),
});
const signed = base64urlText(CALL_STATEMENT_BYTES_MAX);
export const ReceiptAnswer = object({
  receipt: ReceiptView,
  statement: signed,
  order: signed,
  taking: nullable(signed),
});
export const ReceiptFileAnswer = object({ id: Id, file: base64urlText(RECEIPT_FILE_BYTES_MAX) });

export type ReceiptView = Json<typeof ReceiptView>;
export type ReceiptPage = Json<typeof ReceiptPage>;
