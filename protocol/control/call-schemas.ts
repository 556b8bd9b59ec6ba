/** What the control API says about calls between organisations: links to their servers, what is exposed, receipts. */
import Type, { type TProperties } from 'typebox';
import { CAPABILITIES_MAX, MCP_ID_TEXT_MAX, POLICY_BROUGHT_MAX } from '../limits.ts';
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
} from './schemas.ts';

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

export type LinkOpened = Json<typeof LinkOpenedLine>['agentmesh'];
export type LinkReceipt = Json<typeof LinkReceiptLine>['agentmesh'];
export type LinkEnded = Json<typeof LinkEndedLine>['agentmesh'];
export type LinkControl = LinkOpened | LinkReceipt | LinkEnded;
