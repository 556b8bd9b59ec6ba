/** Rows of the control API about calls between organisations: what is exposed, links to it, receipts, messages. */
import Type from 'typebox';
import { CHAIN_CODES } from '../delegation/verify.ts';
import * as C from './call-schemas.ts';
import { DECISION_ERRORS, HANDSHAKE_ERRORS, params, type Route, route } from './route.ts';
import * as S from './schemas.ts';

const optional = Type.Optional;

export const CALL_ROUTES = {
  link: route({
    method: 'GET',
    path: '/v1/link',
    summary:
      'A link to a server that another organisation exposes. With "Connection: Upgrade" and "Upgrade: agentmesh-link" the answer is 101; ' +
      'from then on both sides send lines: JSON-RPC messages of MCP, and from the daemon also lines with the one member `agentmesh`. ' +
      '`policies` narrow what the own agent may do; `wait` is for how many seconds a call is held for an approval (default 45)',
    query: params({
      did: S.Did,
      server: C.ExposedName,
      as: optional(S.Did),
      grant: optional(S.Id),
      policies: optional(C.PolicyDigests),
      purpose: optional(S.Purpose),
      minScore: optional(S.DecimalText),
      wait: optional(S.DecimalText),
    }),
    response: C.LinkLine,
    errors: [
      ...HANDSHAKE_ERRORS,
      ...DECISION_ERRORS,
      ...CHAIN_CODES,
      'approval_pending',
      'approval_denied',
      'limit_exceeded',
      'policy_changed',
    ],
    who: 'agent',
    answeredBy: 'server',
    own: 'query.as',
  }),

  messageSend: route({
    method: 'POST',
    path: '/v1/messages',
    summary:
      'Send a message to an agent or organisation, here or elsewhere. Answered once it waits on disk; the outbox says what becomes of it. ' +
      "Elsewhere it takes a chain of the recipient's organisation that grants `mesh:message`: `grant`, else one of those held",
    body: C.MessageSendBody,
    response: C.MessageSent,
    errors: [...DECISION_ERRORS, 'full', 'policy_denied', 'limit_exceeded', 'approval_pending', 'approval_denied'],
    who: 'agent',
    own: 'body.as',
  }),
  outboxList: route({
    method: 'GET',
    path: '/v1/outbox',
    summary:
      'Messages that were sent and what became of them, newest first; for the operator without `as` those of all',
    query: params({ as: optional(S.Did) }),
    response: C.Outbox,
    who: 'agent',
    own: 'query.as',
  }),
  inboxList: route({
    method: 'GET',
    path: '/v1/inbox',
    summary:
      'Messages that were not acknowledged, in the order in which they came, from behind position `after` on. With `wait` the answer comes ' +
      'once there are some, or after so many seconds (30 at most)',
    query: params({ as: optional(S.Did), after: optional(S.DecimalText), wait: optional(S.DecimalText) }),
    response: C.InboxPage,
    errors: ['not_found', 'conflict', 'suspended', 'revoked', 'store_corrupt', 'closed'],
    who: 'agent',
    own: 'query.as',
  }),
  inboxAck: route({
    method: 'POST',
    path: '/v1/inbox/ack',
    summary: 'The messages with these ids were dealt with: they leave the inbox, for ever',
    body: C.InboxAckBody,
    response: C.InboxAcked,
    errors: ['not_found', 'conflict', 'suspended', 'revoked', 'closed'],
    who: 'agent',
    own: 'body.as',
  }),
} as const satisfies Record<string, Route>;
