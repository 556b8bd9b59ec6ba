/** What a row of the control API is, and what several of them share. */
import Type, { type TSchema } from 'typebox';
import type { ErrorCode } from '../errors.ts';

/**
 * operator: only the operator (a request without a token on the unix socket).
 * agent: the operator, or an agent about its own business; `own` names the DID that must then be its own.
 * anyone: also without a token over TCP; only the two steps of a login, which is how one gets a token.
 */
export type Who = 'operator' | 'agent' | 'anyone';

/** server: answered by the control server itself. backend: a method of ControlBackend. */
export type AnsweredBy = 'server' | 'backend';

export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** OpenAPI spelling: /v1/agents/{did} */
  readonly path: string;
  readonly summary: string;
  readonly params: Type.TObject;
  readonly query: Type.TObject;
  /** Undefined: the route takes no body. */
  readonly body: TSchema | undefined;
  readonly response: TSchema;
  /** Codes beside COMMON_ERRORS. */
  readonly errors: readonly ErrorCode[];
  readonly who: Who;
  readonly answeredBy: AnsweredBy;
  /**
   * Where an agent's request names whom it acts for: another DID than its own is `forbidden`. Where a member of the
   * body or query is left out, the server fills in the caller.
   */
  readonly own: 'params.did' | 'body.as' | 'query.to' | 'query.as' | 'query.actor' | undefined;
  /** Where bodies are larger or deeper than API_BODY_BYTES_MAX and API_JSON_DEPTH_MAX. */
  readonly bodyMax: { readonly bytes: number; readonly depth: number } | undefined;
}

/** What any route may answer with. */
export const COMMON_ERRORS = [
  'bad_request',
  'too_large',
  'unauthorized',
  'forbidden',
  'no_route',
  'busy',
  'timeout',
  'cancelled',
  'read_only',
  'internal',
] as const satisfies readonly ErrorCode[];

export const HANDSHAKE_ERRORS = [
  'not_found',
  'suspended',
  'version',
  'peer_not_bound',
  'did_unknown',
  'did_forked',
  'did_deactivated',
  'status_stale',
  'sponsor_missing',
  'sponsor_revoked',
  'chain',
  'caps_insufficient',
  'score_below',
  'policy_denied',
  'replay',
  'reflection',
  'convicted',
  'malformed',
  'noncanonical',
  'schema',
  'bad_signature',
  'unreachable',
  'no_channel_binding',
  'closed',
  'key_missing',
  'key_locked',
] as const satisfies readonly ErrorCode[];

/** What decides something of an agent: it may act, its policies are held, and the log can hold what is decided. */
export const DECISION_ERRORS = [
  'not_found',
  'conflict', // it is not registered yet
  'suspended',
  'revoked',
  'policy_invalid',
  'log_halted',
  'key_missing',
] as const satisfies readonly ErrorCode[];
const none = Type.Object({}, { additionalProperties: false });
export const params = <P extends Type.TProperties>(properties: P): Type.TObject<P> =>
  Type.Object(properties, { additionalProperties: false });
type Given = Pick<Route, 'method' | 'path' | 'summary' | 'response' | 'who'> & Partial<Route>;
type Filled<R extends Given> = R & Omit<typeof defaults, keyof R>;
const defaults = {
  params: none,
  query: none,
  body: undefined,
  errors: [] as readonly ErrorCode[],
  answeredBy: 'backend',
  own: undefined,
  bodyMax: undefined,
} as const;
export const route = <const R extends Given>(row: R): Filled<R> => ({ ...defaults, ...row });
