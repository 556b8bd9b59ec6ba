/**
 * The control API as data: one row a route. The server, its OpenAPI document, the client and the tests are made from
 * this table, so none of them can say something else.
 */
import Type, { type TSchema } from 'typebox';
import type { ErrorCode } from '../errors.ts';
import { CHAIN_CODES } from '../delegation/verify.ts';
import { DECISION_BODY_BYTES_MAX, DECISION_JSON_DEPTH_MAX } from '../limits.ts';
import { CALL_ROUTES } from './call-routes.ts';
import * as P from './policy-schemas.ts';
import { DECISION_ERRORS, HANDSHAKE_ERRORS, params, type Route, route } from './route.ts';
import * as S from './schemas.ts';

const SIGNING_ERRORS = [
  'key_missing',
  'key_locked',
  'quota',
  'full',
  'conflict',
] as const satisfies readonly ErrorCode[];

const DECISION_BODY = { bytes: DECISION_BODY_BYTES_MAX, depth: DECISION_JSON_DEPTH_MAX };

/** A row that is not what was written; the daemon that stops. */
const LOG_READING_ERRORS = ['store_corrupt', 'closed'] as const satisfies readonly ErrorCode[];

const did = params({ did: S.Did });
const leaf = params({ leaf: S.Id });
const id = params({ id: S.Id });
const sid = params({ sid: S.SessionId });
const at = params({ at: S.EntryAt });
const approval = params({ id: P.ApprovalId });

export const ROUTES = {
  livez: route({
    method: 'GET',
    path: '/livez',
    summary: 'The process runs and answers',
    response: S.Livez,
    who: 'agent',
    answeredBy: 'server',
  }),
  readyz: route({
    method: 'GET',
    path: '/readyz',
    summary: 'Everything that the daemon needs is up; status 503 with the same body while it is not',
    response: S.Readyz,
    who: 'agent',
    answeredBy: 'server',
  }),
  openapi: route({
    method: 'GET',
    path: '/openapi.json',
    summary: 'This document',
    response: Type.Record(Type.String(), Type.Unknown()),
    who: 'agent',
    answeredBy: 'server',
  }),
  version: route({
    method: 'GET',
    path: '/v1/version',
    summary: 'Version of the daemon and of this API, for clients to compare with their own',
    response: S.Version,
    who: 'agent',
    answeredBy: 'server',
  }),
  caller: route({
    method: 'GET',
    path: '/v1/caller',
    summary: 'Whom this request acts for',
    response: S.CallerAnswer,
    who: 'agent',
    answeredBy: 'server',
  }),
  events: route({
    method: 'GET',
    path: '/v1/events',
    summary: 'Server-sent events from now on, or from the one in Last-Event-ID; a `gap` event says when some are lost',
    query: params({
      types: Type.Optional(
        Type.String({
          pattern: '^[a-z.]+(,[a-z.]+)*$',
          maxLength: 512,
          description: 'comma-separated; all when absent',
        }),
      ),
    }),
    response: Type.String(),
    who: 'agent',
    answeredBy: 'server',
  }),
  status: route({
    method: 'GET',
    path: '/v1/status',
    summary: 'The daemon at a glance',
    response: S.Status,
    who: 'operator',
  }),

  peerList: route({
    method: 'GET',
    path: '/v1/peers',
    summary: 'Connected peers, as they are',
    response: S.Peers,
    who: 'operator',
  }),
  peerDial: route({
    method: 'POST',
    path: '/v1/peers',
    summary: 'Connect to a multiaddr and remember it',
    body: S.DialBody,
    response: S.PeerAnswer,
    errors: ['unreachable', 'peer_not_bound'],
    who: 'operator',
  }),

  agentList: route({
    method: 'GET',
    path: '/v1/agents',
    summary: "This organisation's agents",
    response: S.Agents,
    who: 'operator',
  }),
  agentCreate: route({
    method: 'POST',
    path: '/v1/agents',
    summary:
      'Make an agent and its root link. With `parent` it has the sponsor of that agent and at most the capabilities of its root link. ' +
      'With `publicKey` the caller keeps the key: the agent exists once agentComplete brings the signatures that toSign asks for',
    body: S.AgentCreateBody,
    response: S.AgentCreated,
    errors: [
      'not_found',
      'sponsor_full',
      'suspended',
      'revoked',
      'widened',
      'did_deactivated',
      'did_forked',
      ...SIGNING_ERRORS,
    ],
    who: 'operator',
  }),
  agentShow: route({
    method: 'GET',
    path: '/v1/agents/{did}',
    summary: 'One agent of this organisation',
    params: did,
    response: S.AgentAnswer,
    errors: ['not_found'],
    who: 'agent',
    own: 'params.did',
  }),
  agentComplete: route({
    method: 'POST',
    path: '/v1/agents/{did}/complete',
    summary: 'Bring the signatures of an agent that keeps its own key; publishes it if that was asked for',
    params: did,
    body: S.SignaturesBody,
    response: S.AgentRegistered,
    errors: ['not_found', 'bad_signature', 'signers', 'expired', 'sponsor_full', 'revoked', ...SIGNING_ERRORS],
    who: 'operator',
  }),
  agentRegister: route({
    method: 'POST',
    path: '/v1/agents/{did}/register',
    summary: 'Publish an agent (again without effect) and issue one more token for it',
    params: did,
    response: S.AgentRegistered,
    errors: ['not_found', 'suspended', 'revoked', ...SIGNING_ERRORS],
    who: 'operator',
  }),
  agentSuspend: route({
    method: 'POST',
    path: '/v1/agents/{did}/suspend',
    summary: 'Stop an agent on this daemon: its credential is revoked, its tokens and sessions end; resume makes good',
    params: did,
    response: S.AgentAnswer,
    errors: ['not_found', 'revoked', ...SIGNING_ERRORS],
    who: 'operator',
  }),
  agentResume: route({
    method: 'POST',
    path: '/v1/agents/{did}/resume',
    summary: 'Let a suspended agent work again; it needs a new token',
    params: did,
    response: S.AgentAnswer,
    errors: ['not_found', 'revoked', ...SIGNING_ERRORS],
    who: 'operator',
  }),
  agentRevoke: route({
    method: 'POST',
    path: '/v1/agents/{did}/revoke',
    summary: "Revoke an agent's DID, for ever and everywhere",
    params: did,
    body: Type.Object({ reason: S.Reason }, { additionalProperties: false }),
    response: S.AgentRevoked,
    errors: ['not_found', 'revoked', ...SIGNING_ERRORS],
    who: 'operator',
  }),
  agentToken: route({
    method: 'POST',
    path: '/v1/agents/{did}/token',
    summary: 'Issue one more token for an agent; the newest 16 are good, until it is suspended or revoked',
    params: did,
    response: S.TokenAnswer,
    errors: ['not_found', 'conflict', 'suspended', 'revoked'],
    who: 'operator',
  }),
  credentialShow: route({
    method: 'GET',
    path: '/v1/agents/{did}/credential',
    summary: "An agent's present credential, never its key",
    params: did,
    response: S.CredentialAnswer,
    errors: ['not_found'],
    who: 'agent',
    own: 'params.did',
  }),
  credentialPrepare: route({
    method: 'POST',
    path: '/v1/agents/{did}/credential/prepare',
    summary:
      'A new credential for an agent that keeps its own key, to be signed by it; the daemon makes and holds the key that it names',
    params: did,
    body: S.CredentialPrepareBody,
    response: S.CredentialPrepared,
    errors: ['not_found', 'conflict', 'suspended', 'key_missing', ...CHAIN_CODES, 'convicted'],
    who: 'agent',
    own: 'params.did',
  }),
  credentialComplete: route({
    method: 'POST',
    path: '/v1/agents/{did}/credential/complete',
    summary: 'Bring the signature that credentialPrepare asked for',
    params: did,
    body: S.CredentialCompleteBody,
    response: S.CredentialAnswer,
    errors: ['not_found', 'bad_signature', 'signers', 'suspended', 'revoked', 'expired'],
    who: 'agent',
    own: 'params.did',
  }),

  sponsorList: route({
    method: 'GET',
    path: '/v1/sponsors',
    summary: 'Sponsors with their contact data, which stay here',
    response: S.Sponsors,
    who: 'operator',
  }),
  sponsorCreate: route({
    method: 'POST',
    path: '/v1/sponsors',
    summary: 'Make a person DID for a sponsor',
    body: S.SponsorCreateBody,
    response: S.SponsorAnswer,
    errors: [...SIGNING_ERRORS],
    who: 'operator',
  }),
  sponsorShow: route({
    method: 'GET',
    path: '/v1/sponsors/{did}',
    summary: 'One sponsor',
    params: did,
    response: S.SponsorAnswer,
    errors: ['not_found'],
    who: 'operator',
  }),

  didShow: route({
    method: 'GET',
    path: '/v1/dids/{did}',
    summary: 'What is held here about a DID, and its DID document',
    params: did,
    response: S.DidView,
    errors: ['did_unknown'],
    who: 'agent',
  }),
  didResolve: route({
    method: 'POST',
    path: '/v1/dids/{did}/resolve',
    summary: 'Resolve a DID: here, then from peers, then through the DHT; every answer is verified from genesis',
    params: did,
    response: S.DidResolved,
    errors: ['did_unknown', 'unreachable'],
    who: 'agent',
  }),
  didLog: route({
    method: 'GET',
    path: '/v1/dids/{did}/log',
    summary: 'Every admitted operation of a DID as it was signed',
    params: did,
    response: S.DidLog,
    errors: ['did_unknown'],
    who: 'agent',
  }),

  organisationRotate: route({
    method: 'POST',
    path: '/v1/organisation/rotate',
    summary:
      "Replace keys of the organisation: each retired one by a new one of the same uses, the rest stay. Signed with the daemon's own rotation " +
      'keys, or by the keys in `rotationKeys`, which are kept elsewhere: then operationComplete brings their signatures',
    body: S.RotateBody,
    response: S.OperationAnswer,
    errors: ['not_found', 'did_forked', 'did_deactivated', ...SIGNING_ERRORS],
    who: 'operator',
  }),
  organisationRecover: route({
    method: 'POST',
    path: '/v1/organisation/recover',
    summary:
      'Take the organisation back with its recovery keys, which never come here: operationComplete brings their signatures',
    body: S.RecoverBody,
    response: S.OperationAnswer,
    errors: ['not_found', 'did_deactivated', ...SIGNING_ERRORS],
    who: 'operator',
  }),
  organisationDeactivate: route({
    method: 'POST',
    path: '/v1/organisation/deactivate',
    summary: 'End the organisation, for ever; `confirm` is its DID',
    body: S.DeactivateBody,
    response: S.OperationAnswer,
    errors: ['did_forked', 'did_deactivated', ...SIGNING_ERRORS],
    who: 'operator',
  }),
  operationComplete: route({
    method: 'POST',
    path: '/v1/organisation/operations/{id}/complete',
    summary: 'Bring the signatures of keys that are kept elsewhere, and publish the operation',
    params: id,
    body: S.SignaturesBody,
    response: S.OperationAnswer,
    errors: ['not_found', 'bad_signature', 'signers', 'expired', 'not_entitled', ...SIGNING_ERRORS],
    who: 'operator',
  }),

  delegationCreate: route({
    method: 'POST',
    path: '/v1/delegations',
    summary:
      "Delegate. The operator without `from` and `as` makes a root link of the organisation; with `as`, or as an agent, without `from` the agent's own " +
      'root link is the parent. Where the issuing agent keeps its own key, delegationComplete brings its signature',
    body: S.DelegateBody,
    response: S.DelegationAnswer,
    errors: [
      'not_found',
      'suspended',
      ...CHAIN_CODES,
      'convicted',
      ...SIGNING_ERRORS,
      'policy_denied',
      'limit_exceeded',
      'approval_pending',
      'approval_denied',
      'log_halted',
    ],
    who: 'agent',
    own: 'body.as',
  }),
  delegationComplete: route({
    method: 'POST',
    path: '/v1/delegations/{id}/complete',
    summary: 'Bring the signature of an issuer that keeps its own key, and publish the link unless it is private',
    params: id,
    body: S.SignaturesBody,
    response: S.DelegationAnswer,
    errors: ['not_found', 'signers', 'suspended', ...CHAIN_CODES, 'convicted', ...SIGNING_ERRORS],
    who: 'agent',
  }),

  chainList: route({
    method: 'GET',
    path: '/v1/chains',
    summary: 'Chains held here, by holder or root; an agent sees its own',
    query: params({ to: Type.Optional(S.AudienceDid), root: Type.Optional(S.Did) }),
    response: S.Chains,
    who: 'agent',
    own: 'query.to',
  }),
  chainShow: route({
    method: 'GET',
    path: '/v1/chains/{leaf}',
    summary:
      "A chain with what each link says and what a check of it, asking for nothing, reports; others' private links are not found for an agent",
    params: leaf,
    response: S.Chain,
    errors: ['not_found'],
    who: 'agent',
  }),
  chainBundle: route({
    method: 'GET',
    path: '/v1/chains/{leaf}/bundle',
    summary: 'The chain with all that an offline verifier needs',
    params: leaf,
    response: S.BundleAnswer,
    errors: ['not_found', ...CHAIN_CODES, 'convicted'],
    who: 'agent',
  }),
  chainVerify: route({
    method: 'POST',
    path: '/v1/chains/{leaf}/verify',
    summary: 'Verify a chain for a request: a report of what was checked and as of when, or the one code',
    params: leaf,
    body: S.VerifyBody,
    response: S.ChainReport,
    errors: ['not_found', ...CHAIN_CODES, 'convicted'],
    who: 'agent',
  }),
  rootList: route({
    method: 'GET',
    path: '/v1/roots',
    summary: 'Organisations that this daemon trusts as roots of chains',
    response: S.Roots,
    who: 'agent',
  }),

  revocationCreate: route({
    method: 'POST',
    path: '/v1/revocations',
    summary: 'Revoke a link, a DID or a key of one, for ever; names the links that fall with it',
    body: S.RevokeBody,
    response: S.RevocationAnswer,
    errors: ['not_found', 'not_entitled', 'revoked', 'suspended', ...SIGNING_ERRORS],
    who: 'agent',
    own: 'body.as',
  }),
  revocationList: route({
    method: 'GET',
    path: '/v1/revocations',
    summary: 'Revocations held here, newest first',
    query: params({ organisation: Type.Optional(S.Did) }),
    response: S.Revocations,
    who: 'agent',
  }),

  handshakeCreate: route({
    method: 'POST',
    path: '/v1/handshakes',
    summary: "Handshake with an agent or organisation; the score is this side's own view",
    body: S.HandshakeBody,
    response: S.SessionAnswer,
    errors: [...HANDSHAKE_ERRORS],
    who: 'agent',
    own: 'body.as',
  }),
  sessionList: route({
    method: 'GET',
    path: '/v1/sessions',
    summary: "Open sessions; an agent's own",
    response: S.Sessions,
    who: 'agent',
  }),
  sessionShow: route({
    method: 'GET',
    path: '/v1/sessions/{sid}',
    summary: 'An open session, with the chain that it was granted on',
    params: sid,
    response: S.SessionShown,
    errors: ['not_found'],
    who: 'agent',
  }),
  sessionClose: route({
    method: 'DELETE',
    path: '/v1/sessions/{sid}',
    summary: 'End a session',
    params: sid,
    response: S.SessionClosed,
    errors: ['not_found'],
    who: 'agent',
  }),

  logStatus: route({
    method: 'GET',
    path: '/v1/log',
    summary:
      'The audit log: size, root, age, what was released, who cosigned it and how long ago, and what is wrong; what is seen of other logs, and copies kept of them',
    response: S.LogStatus,
    errors: [...LOG_READING_ERRORS],
    who: 'agent',
  }),
  logEntries: route({
    method: 'GET',
    path: '/v1/log/entries',
    summary:
      'Entries of the audit log, newest first; an agent sees its own. Each answer looks at a bounded number of entries: `next` says where to go on',
    query: params({
      after: Type.Optional(S.DecimalText),
      before: Type.Optional(S.DecimalText),
      limit: Type.Optional(S.DecimalText),
      order: Type.Optional(Type.Enum(['newest', 'oldest'])),
      actor: Type.Optional(S.Did),
      types: Type.Optional(
        Type.String({
          pattern: '^[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*$',
          maxLength: 1024,
          description: 'comma-separated: types, or what they begin with up to a dot',
        }),
      ),
      since: Type.Optional(S.Time),
      until: Type.Optional(S.Time),
    }),
    response: S.LogEntries,
    errors: [...LOG_READING_ERRORS],
    who: 'agent',
    own: 'query.actor',
  }),
  logEntry: route({
    method: 'GET',
    path: '/v1/log/entries/{at}',
    summary: "One entry of the audit log, by leaf index or id, with its exact bytes; an agent's own",
    params: at,
    response: S.LogEntryAnswer,
    errors: ['not_found', ...LOG_READING_ERRORS],
    who: 'agent',
  }),
  logAppend: route({
    method: 'POST',
    path: '/v1/log/entries',
    summary:
      'Log what an agent does. With `entry` the bytes that the agent signed with its own key; else the daemon signs with the key of its credential, ' +
      'or for the operator without `as` with that of the organisation. Answered once it is on disk, or `witnessed`',
    body: S.LogAppendBody,
    response: S.LogAppended,
    errors: [
      'not_found',
      'suspended',
      'revoked',
      'conflict',
      'log_halted',
      'malformed',
      'noncanonical',
      'schema',
      'bad_signature',
      'key_unknown',
      'too_early',
      'expired',
      'quorum',
      'key_missing',
      'key_locked',
    ],
    who: 'agent',
    own: 'body.as',
  }),
  logProof: route({
    method: 'GET',
    path: '/v1/log/entries/{at}/proof',
    summary:
      'That an entry is in the log, for whoever checks it offline: the bytes of a .tlog-proof file and of the entry. With `witnessed` a checkpoint ' +
      'that so many witnesses have cosigned is waited for',
    params: at,
    query: params({ witnessed: Type.Optional(S.DecimalText) }),
    response: S.LogProofAnswer,
    errors: ['not_found', 'log_halted', 'quorum', ...LOG_READING_ERRORS],
    who: 'agent',
  }),
  logFile: route({
    method: 'GET',
    path: '/v1/log/files',
    summary:
      'One file of the log as C2SP tlog-tiles lays it out: checkpoint, tiles, entry bundles; also its policy and verifier key',
    query: params({ path: S.LogFilePath }),
    response: S.LogFileAnswer,
    errors: ['not_found', 'malformed', 'log_halted', ...LOG_READING_ERRORS],
    who: 'operator',
  }),
  logPolicy: route({
    method: 'GET',
    path: '/v1/log/policy',
    summary:
      'Whom a reader of this log believes: its key, its witnesses and how many must have cosigned, as C2SP tlog-policy',
    response: S.LogPolicyAnswer,
    who: 'agent',
  }),
  logRecover: route({
    method: 'POST',
    path: '/v1/log/recover',
    summary:
      'The way out for a log that signs nothing any more: fetch what is missing from mirrors, or begin a new generation that names the old one',
    body: S.LogRecoverBody,
    response: S.LogRecovered,
    errors: ['conflict', 'not_found', 'unreachable', 'log_halted', 'bad_proof', 'bad_signature', ...LOG_READING_ERRORS],
    who: 'operator',
  }),
  witnessStatus: route({
    method: 'GET',
    path: '/v1/witness',
    summary: 'What this daemon cosigned for the logs of others',
    response: S.WitnessStatus,
    errors: [...LOG_READING_ERRORS],
    who: 'operator',
  }),
  convictionList: route({
    method: 'GET',
    path: '/v1/convictions',
    summary: 'Organisations convicted by two histories that they signed',
    response: S.Convictions,
    who: 'agent',
  }),
  convictionShow: route({
    method: 'GET',
    path: '/v1/convictions/{did}',
    summary: 'A conviction with its proofs, which anybody can check from their bytes',
    params: did,
    response: S.ConvictionAnswer,
    errors: ['not_found'],
    who: 'agent',
  }),
  convictionLift: route({
    method: 'POST',
    path: '/v1/convictions/{did}/lift',
    summary: 'Lift a conviction on this daemon alone; a proof of another pair convicts again',
    params: did,
    body: S.ConvictionLiftBody,
    response: S.ConvictionAnswer,
    errors: ['not_found', 'conflict', 'log_halted'],
    who: 'operator',
  }),

  decide: route({
    method: 'POST',
    path: '/v1/decisions',
    summary:
      'What the policies say of one thing that an agent wants to do, logged before it is answered. The configured policies apply, and those that ' +
      'the request names by digest: the strictest wins. An approval is asked for where one is needed, and used up where it was given',
    body: P.DecideBody,
    response: P.VerdictView,
    errors: DECISION_ERRORS,
    who: 'agent',
    own: 'body.as',
    bodyMax: DECISION_BODY,
  }),
  decisionFilter: route({
    method: 'POST',
    path: '/v1/decisions/filter',
    summary: 'Of several things, which may be done with some arguments or other; for lists, so it uses nothing up',
    body: P.FilterBody,
    response: P.FilterAnswer,
    errors: DECISION_ERRORS,
    who: 'agent',
    own: 'body.as',
    bodyMax: DECISION_BODY,
  }),
  decisionExplain: route({
    method: 'POST',
    path: '/v1/decisions/explain',
    summary:
      'What the policies would say, why, and what would change it; nothing is logged or used up. Not for agents: it tells how to get round a rule',
    body: P.ExplainBody,
    response: P.ExplainAnswer,
    errors: DECISION_ERRORS,
    who: 'operator',
    bodyMax: DECISION_BODY,
  }),
  decisionSettle: route({
    method: 'POST',
    path: '/v1/decisions/outcomes',
    summary: 'How what was allowed ended; what is not open any more is left out',
    body: P.OutcomesBody,
    response: P.OutcomesAnswer,
    who: 'agent',
    own: 'body.as',
    bodyMax: DECISION_BODY,
  }),
  approvalList: route({
    method: 'GET',
    path: '/v1/approvals',
    summary: 'What waits for an approval, newest first; an agent sees its own. With `all` also what waited',
    query: params({ all: Type.Optional(Type.Enum(['true', 'false'])) }),
    response: P.Approvals,
    who: 'agent',
  }),
  approvalShow: route({
    method: 'GET',
    path: '/v1/approvals/{id}',
    summary: 'One approval; with `wait` once it is decided or expired, or after so many seconds (60 at most)',
    params: approval,
    query: params({ wait: Type.Optional(S.DecimalText) }),
    response: P.ApprovalAnswer,
    errors: ['not_found'],
    who: 'agent',
  }),
  approvalDecide: route({
    method: 'POST',
    path: '/v1/approvals/{id}/decision',
    summary:
      'Approve or deny, as one of those who may: by their signature, or by the key that the daemon holds for them',
    params: approval,
    body: P.ApprovalDecisionBody,
    response: P.ApprovalAnswer,
    errors: [
      'not_found',
      'conflict',
      'forbidden',
      'bad_signature',
      'expired',
      'did_unknown',
      'revoked',
      'key_missing',
      'key_locked',
      'log_halted',
      'too_early',
    ],
    who: 'agent',
  }),
  policyList: route({
    method: 'GET',
    path: '/v1/policies',
    summary: 'The policies in force, those that callers brought, and what is wrong with newer files',
    response: P.Policies,
    who: 'operator',
  }),
  policyShow: route({
    method: 'GET',
    path: '/v1/policies/{digest}',
    summary: 'A policy as it was read, with all that it extends',
    params: params({ digest: S.hexDigest }),
    response: P.PolicyAnswer,
    errors: ['not_found'],
    who: 'operator',
  }),
  policyLoad: route({
    method: 'POST',
    path: '/v1/policies',
    summary: 'Bring a policy, to be named by its digest in requests. It can only narrow what the configured ones allow',
    body: P.PolicyLoadBody,
    response: P.PolicyLoaded,
    errors: DECISION_ERRORS,
    who: 'agent',
    own: 'body.as',
    bodyMax: DECISION_BODY,
  }),
  policyReload: route({
    method: 'POST',
    path: '/v1/policy/reload',
    summary: 'Read the configured files again: all of them, or none',
    response: P.Policies,
    errors: ['policy_invalid', 'log_halted', 'key_missing'],
    who: 'operator',
  }),
  policyReplay: route({
    method: 'POST',
    path: '/v1/policy/replay',
    summary: 'What a policy would have said of the requests that are kept, beside what was decided',
    body: P.ReplayBody,
    response: P.Comparison,
    errors: ['policy_invalid', 'store_corrupt'],
    who: 'operator',
    bodyMax: DECISION_BODY,
  }),
  policyShadow: route({
    method: 'GET',
    path: '/v1/policy/shadow',
    summary: 'The candidates that run beside the live policies, and where they would have decided otherwise',
    response: P.ShadowAnswer,
    who: 'operator',
  }),
  toolCheck: route({
    method: 'POST',
    path: '/v1/tools/check',
    summary: "A server's tool definitions, beside those that were seen first",
    body: P.ToolCheckBody,
    response: P.ToolCheckAnswer,
    errors: DECISION_ERRORS,
    who: 'agent',
    own: 'body.as',
    bodyMax: DECISION_BODY,
  }),

  loginChallenge: route({
    method: 'POST',
    path: '/v1/login/challenge',
    summary: 'A nonce for an agent that keeps its own key',
    body: S.LoginChallengeBody,
    response: S.LoginChallenge,
    errors: ['not_found', 'conflict'],
    who: 'anyone',
  }),
  login: route({
    method: 'POST',
    path: '/v1/login',
    summary:
      "Sign AgentMesh/login/v1, a zero byte, the daemon's DID and the nonce with a key of `auth` use: a token for 15 minutes",
    body: S.LoginBody,
    response: S.TokenAnswer,
    errors: ['not_found', 'bad_signature', 'expired', 'suspended', 'revoked'],
    who: 'anyone',
  }),
  ...CALL_ROUTES,
} as const satisfies Record<string, Route>;

export { type AnsweredBy, COMMON_ERRORS, type Route, type Who } from './route.ts';

export type OperationId = keyof typeof ROUTES;
type Row<K extends OperationId> = (typeof ROUTES)[K];
export type ParamsOf<K extends OperationId> = S.Json<Row<K>['params']>;
export type QueryOf<K extends OperationId> = S.Json<Row<K>['query']>;
export type BodyOf<K extends OperationId> = Row<K>['body'] extends TSchema ? S.Json<Row<K>['body']> : undefined;
export type ResponseOf<K extends OperationId> = S.Json<Row<K>['response']>;
export interface InputOf<K extends OperationId> {
  readonly params: ParamsOf<K>;
  readonly query: QueryOf<K>;
  readonly body: BodyOf<K>;
}
export type BackendOperationId = {
  [K in OperationId]: Row<K>['answeredBy'] extends 'backend' ? K : never;
}[OperationId];

export const OPERATION_IDS = Object.keys(ROUTES) as OperationId[];
export const routeOf = (operationId: OperationId): Route => ROUTES[operationId];
