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
} as const satisfies Record<string, Route>;
