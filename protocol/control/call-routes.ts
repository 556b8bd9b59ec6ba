/** Rows of the control API about calls between organisations: what is exposed, links to it, receipts, messages. */
import Type from 'typebox';
import { CHAIN_CODES } from '../delegation/verify.ts';
import { API_JSON_DEPTH_MAX, EXPOSED_BODY_BYTES_MAX } from '../limits.ts';
import * as C from './call-schemas.ts';
import { DECISION_ERRORS, HANDSHAKE_ERRORS, params, type Route, route } from './route.ts';
import * as S from './schemas.ts';

const optional = Type.Optional;

const EXPOSE_BODY = { bytes: EXPOSED_BODY_BYTES_MAX, depth: API_JSON_DEPTH_MAX };
const exposedName = params({ name: C.ExposedName });

export const CALL_ROUTES = {
  exposeList: route({
    method: 'GET',
    path: '/v1/exposed',
    summary:
      'The MCP servers that this daemon exposes to other organisations. Of variables and headers the names alone',
    response: C.Exposed,
    who: 'operator',
  }),
  exposeAdd: route({
    method: 'POST',
    path: '/v1/exposed',
    summary:
      'Expose an MCP server, in place of one that was exposed under its name, whose links end. It is started once to see what tools it has, unless `check` is false',
    body: C.ExposeBody,
    response: C.ExposeAnswer,
    errors: ['not_found', 'conflict', 'full', 'policy_invalid', 'failed', 'log_halted'],
    who: 'operator',
    bodyMax: EXPOSE_BODY,
  }),
  exposeCheck: route({
    method: 'POST',
    path: '/v1/exposed/{name}/check',
    summary: 'Start an exposed server once, and say what its tools need',
    params: exposedName,
    response: C.ExposeAnswer,
    errors: ['not_found', 'failed'],
    who: 'operator',
  }),
  exposeRemove: route({
    method: 'DELETE',
    path: '/v1/exposed/{name}',
    summary: 'Expose a server no longer; its links end. Those of the configuration are removed there',
    params: exposedName,
    response: params({ name: C.ExposedName }),
    errors: ['not_found', 'conflict'],
    who: 'operator',
  }),
  services: route({
    method: 'GET',
    path: '/v1/services',
    summary:
      'What an agent or organisation exposes, as far as chains that it granted here cover something of it: asked over handshakes with each of them. Without `did` what this daemon exposes',
    query: params({ did: optional(S.Did), as: optional(S.Did) }),
    response: C.ServicesAnswer,
    errors: [...HANDSHAKE_ERRORS, ...CHAIN_CODES],
    who: 'agent',
    own: 'query.as',
  }),
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

  receiptList: route({
    method: 'GET',
    path: '/v1/receipts',
    summary:
      'Receipts of calls with other organisations, newest first; for the operator without `as` those of all. `before` is the `next` of the ' +
      'page before',
    query: params({
      as: optional(S.Did),
      did: optional(S.Did),
      before: optional(S.DecimalText),
      limit: optional(S.DecimalText),
    }),
    response: C.ReceiptPage,
    errors: ['store_corrupt'],
    who: 'agent',
    own: 'query.as',
  }),
  receiptShow: route({
    method: 'GET',
    path: '/v1/receipts/{id}',
    summary: 'One receipt, by its id or that of its order, with what was signed',
    params: params({ id: S.Id }),
    response: C.ReceiptAnswer,
    errors: ['not_found', 'store_corrupt'],
    who: 'agent',
  }),
  receiptFile: route({
    method: 'GET',
    path: '/v1/receipts/{id}/file',
    summary:
      'One receipt with all that convinces a third party: chains, DID logs, proofs from both logs as far as they can be had now. ' +
      'The other side is asked for its own',
    params: params({ id: S.Id }),
    response: C.ReceiptFileAnswer,
    errors: ['not_found', 'store_corrupt', 'log_halted'],
    who: 'agent',
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
