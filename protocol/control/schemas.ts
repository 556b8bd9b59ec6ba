/**
 * The control API's objects as JSON Schema, and the TypeScript types that follow from them (SPEC "Control API").
 * Every object is closed: an unknown member is refused in requests and in responses alike.
 */
import Type, { type Static, type TProperties, type TSchema } from 'typebox';
import { isCapability, isResource } from '../delegation/capability.ts';
import { CHECKS } from '../delegation/report.ts';
import { digestOfCid } from '../encoding/cid.ts';
import { isMultikeyText, isPeerId } from '../encoding/multikey.ts';
import { ERRORS, type ErrorCode } from '../errors.ts';
import { isAudienceDid, isMeshDid } from '../identity/did.ts';
import { DID_KINDS, KEY_USES } from '../identity/operations.ts';
import {
  AT_MAX,
  BUNDLE_BYTES_MAX,
  CAPABILITIES_MAX,
  CAPABILITY_TEXT_MAX,
  CHAIN_LINKS_MAX,
  CONTACT_TEXT_MAX,
  DEPTH_MAX,
  DIDOP_BYTES_MAX,
  DID_COMMITMENTS_MAX,
  DID_KEYS_MAX,
  DID_SEQ_MAX,
  GRACE_SECONDS_MAX,
  KEPT_IDS_MAX,
  LINK_SECONDS_MAX,
  LOG_BUNDLE_BYTES_MAX,
  LOG_ENTRIES_A_PAGE_MAX,
  LOG_ENTRY_BYTES_MAX,
  LOG_MESSAGE_TEXT_MAX,
  LOG_NAME_BYTES_MAX,
  LOG_TEXT_MAX,
  LOG_TYPE_TEXT_MAX,
  LOGIN_NONCE_BYTES,
  MERKLE_PROOF_HASHES_MAX,
  MULTIADDR_TEXT_MAX,
  NAME_TEXT_MAX,
  NOTE_BYTES_MAX,
  POLICY_BYTES_MAX,
  POLICY_LINES_OF_A_KIND_MAX,
  PROOF_FILE_BYTES_MAX,
  PURPOSES_MAX,
  PURPOSE_TEXT_MAX,
  RATES_MAX,
  RATE_N_MAX,
  RATE_SECONDS_MAX,
  REASON_TEXT_MAX,
  RESOURCES_MAX,
  RESOURCE_TEXT_MAX,
  REVOCATION_SEQ_MAX,
  ROOTS_MAX,
  SCORE_MAX,
  SIGNERS_MAX,
  STALENESS_SECONDS_MAX,
  STATEMENT_BYTES_MAX,
} from '../limits.ts';

export const object = <P extends TProperties>(properties: P, description?: string): Type.TObject<P> =>
  Type.Object(properties, { additionalProperties: false, ...(description === undefined ? {} : { description }) });
const optional = Type.Optional;
export const nullable = <S extends TSchema>(schema: S): Type.TUnion<[S, Type.TNull]> =>
  Type.Union([schema, Type.Null()]);
export const list = <S extends TSchema>(schema: S, max: number, min = 0): Type.TArray<S> =>
  Type.Array(schema, { minItems: min, maxItems: max });
export const count = (description?: string): Type.TInteger =>
  Type.Integer({ minimum: 0, ...(description === undefined ? {} : { description }) });
/** A pattern for readers of the document, and the protocol's own rule, which is the stricter of the two. */
const text = (pattern: string, isValid: (value: string) => boolean, want: string, maxLength: number): Type.TString =>
  Type.Refine(Type.String({ pattern, maxLength, description: want }), isValid, () => `want ${want}`);

/** Canonical unpadded base64url: re-encoding gives the same text, so one value has one spelling. */
export const base64urlText = (bytesMax: number, bytesMin = 1): Type.TString => {
  const lengthMax = Math.ceil((bytesMax * 4) / 3);
  return Type.Refine(
    Type.String({
      pattern: '^[A-Za-z0-9_-]+$',
      minLength: Math.ceil((bytesMin * 4) / 3),
      maxLength: lengthMax,
      description: 'base64url without padding',
    }),
    isCanonicalBase64url,
    () => 'want canonical base64url without padding',
  );
};
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
function isCanonicalBase64url(value: string): boolean {
  const rest = value.length % 4;
  if (rest === 1) return false;
  const last = BASE64URL.indexOf(value.charAt(value.length - 1));
  return rest === 0 || (last & (rest === 2 ? 15 : 3)) === 0;
}

// Plain values
export const Did = text('^did:mesh:bafyrei[a-z2-7]{52}$', isMeshDid, 'a DID like "did:mesh:bafyrei…"', 68);
export const AudienceDid = text(
  '^did:(mesh:bafyrei[a-z2-7]{52}|key:z6Mk[1-9A-HJ-NP-Za-km-z]{44})$',
  isAudienceDid,
  'a did:mesh, or an Ed25519 did:key',
  68,
);
export const Id = text(
  '^bafyrei[a-z2-7]{52}$',
  (value) => digestOfCid(value) !== undefined,
  'the id of a statement like "bafyrei…"',
  59,
);
export const Multikey = text('^z6Mk[1-9A-HJ-NP-Za-km-z]{44}$', isMultikeyText, 'an Ed25519 multikey like "z6Mk…"', 48);
export const PeerId = text('^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$', isPeerId, 'an Ed25519 PeerId like "12D3KooW…"', 52);
export const SessionId = Type.String({
  pattern: '^[0-9a-f]{32}$',
  maxLength: 32,
  description: '16 bytes as lower-case hex',
});
export const Time = Type.String({
  pattern:
    '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{3})?Z$',
  maxLength: 24,
  description: 'RFC 3339 in UTC, to the second or millisecond',
});
export const CapabilityText = text(
  '^[a-z][a-z0-9._-]{0,31}:([A-Za-z0-9._~@-]{1,128}/)*([A-Za-z0-9._~@-]{1,128}|\\*)$',
  isCapability,
  'a capability like "read:reports/q3" or "read:reports/*"',
  CAPABILITY_TEXT_MAX,
);
export const ResourceText = text(
  '^[^\\\\%]+$',
  isResource,
  'a resource without "..", empty segments, backslash or percent sign',
  RESOURCE_TEXT_MAX,
);
/** Names are local: they never enter a statement. */
export const Name = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9._ @-]*$',
  minLength: 1,
  maxLength: NAME_TEXT_MAX,
  description: 'a local name',
});
/** A person's or organisation's name in any script; as local as Name. */
export const DisplayName = text(
  '^[^\\p{Cc}]+$',
  (value) => value.isWellFormed() && value.trim() === value && !/\p{Cc}/u.test(value),
  'a local name without control characters',
  NAME_TEXT_MAX,
);
export const Reason = text(
  '^[^\\p{Cc}]*$',
  (value) => [...value].length <= REASON_TEXT_MAX && value.isWellFormed() && !/\p{Cc}/u.test(value),
  `at most ${REASON_TEXT_MAX} characters, no personal data`,
  REASON_TEXT_MAX,
);
export const Contact = Type.String({
  pattern: '^[^\\s@\\p{Cc}]+@[^\\s@\\p{Cc}]+$',
  maxLength: CONTACT_TEXT_MAX,
  description: "a person's e-mail address; stays on this machine",
});
export const Purpose = Type.String({
  pattern: '^[a-z0-9][a-z0-9._-]*$',
  maxLength: PURPOSE_TEXT_MAX,
  description: 'a purpose like "billing"',
});
export const Multiaddr = Type.String({
  pattern: '^/[\\x21-\\x7e]+$',
  maxLength: MULTIADDR_TEXT_MAX,
  description: 'a multiaddr like "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW…"',
});
export const Signature = base64urlText(64, 64);
export const Score = Type.Integer({ minimum: 0, maximum: SCORE_MAX });
export const ErrorCodeText = Type.Enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]], {
  description: Object.entries(ERRORS)
    .map(([code, when]) => `${code}: ${when}`)
    .join('; '),
});
const path = Type.String({ maxLength: 4096, description: "a path on the daemon's machine" });
const sentence = Type.String({ maxLength: 4096 });
const seconds = Type.Number({ minimum: 0, description: 'seconds' });

export const Capability = object(
  { can: CapabilityText, res: optional(list(ResourceText, RESOURCES_MAX, 1)) },
  'What may be done, and to which resources; without resources to all of them',
);
export const Capabilities = list(Capability, CAPABILITIES_MAX, 1);
export const Rate = object(
  {
    can: CapabilityText,
    n: Type.Integer({ minimum: 1, maximum: RATE_N_MAX }),
    per: Type.Integer({ minimum: 1, maximum: RATE_SECONDS_MAX, description: 'seconds' }),
  },
  'At most n uses in any `per` seconds; the names are those of the link itself',
);

// Signing elsewhere
export const ToSign = object(
  {
    purpose: Type.Enum(['genesis', 'credential', 'delegation', 'rotate', 'recover', 'deactivate']),
    key: Multikey,
    payload: base64urlText(DIDOP_BYTES_MAX),
  },
  'A statement payload that the named key is asked to sign. Decode it and check that it says what was asked before signing; ' +
    'the signature covers "AgentMesh/", the payload\'s t, a zero byte and the payload',
);
export const SignaturesBody = object(
  { signatures: list(Signature, SIGNERS_MAX, 1) },
  'Signatures in the order of toSign',
);

// The audit log, as others refer to it
export const treeSize = (description?: string): Type.TInteger =>
  Type.Integer({
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    ...(description === undefined ? {} : { description }),
  });
/** In addresses and queries everything is text. */
export const DecimalText = Type.String({
  pattern: '^(0|[1-9][0-9]{0,14})$',
  maxLength: 15,
  description: 'a number in decimal, without leading zeros',
});
export const EntryId = Type.String({
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$',
  maxLength: 36,
  description: 'a UUIDv7 in lower case',
});
export const EntryAt = Type.String({
  pattern: '^(0|[1-9][0-9]{0,14}|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})$',
  maxLength: 36,
  description: 'the leaf index of an entry, or its id',
});
export const KeyName = Type.String({
  pattern: '^[^+\\s]+$',
  maxLength: LOG_NAME_BYTES_MAX,
  description: 'the name of a key of the log or of a witness; of a log also its origin',
});
export const VkeyText = Type.String({
  pattern: '^[^+\\s]+\\+[0-9a-f]{8}\\+[A-Za-z0-9+/]+={0,2}$',
  maxLength: LOG_NAME_BYTES_MAX + 64,
  description: 'a verifier key of C2SP signed notes',
});
export const RootText = Type.String({
  pattern: '^[A-Za-z0-9+/]{43}=$',
  maxLength: 44,
  description: 'a root hash in base64, as a checkpoint writes it',
});
export const TraceId = Type.String({
  pattern: '^(?!0{32}$)[0-9a-f]{32}$',
  maxLength: 32,
  description: 'a W3C trace id: 16 bytes as lower-case hex, not all zero',
});
export const LogProblem = object(
  { code: Type.String({ pattern: '^[a-z][a-z0-9_]*$', maxLength: 64 }), message: sentence, place: nullable(sentence) },
  'Why nothing is signed any more',
);
export const LogSummary = object(
  {
    origin: KeyName,
    treeSize: treeSize(),
    headAt: nullable(Time),
    releasedSize: nullable(treeSize()),
    cosigners: count('witnesses of the policy that cosigned what was released last'),
    quorumMet: Type.Boolean(),
    watched: Type.Boolean({ description: 'false: the policy names no witness' }),
    problem: nullable(LogProblem),
  },
  'The audit log at a glance',
);

// Errors
export const Problem = object(
  {
    type: Type.String({ pattern: '^urn:agentmesh:error:[a-z_]+$' }),
    title: sentence,
    status: Type.Integer({ minimum: 400, maximum: 599 }),
    code: ErrorCodeText,
    detail: Type.String({ maxLength: 16_384 }),
    data: Type.Record(Type.String(), Type.Unknown()),
  },
  'RFC 9457 problem details',
);

// The daemon
export const Livez = object({ status: Type.Literal('ok') });
export const Readyz = object({
  ready: Type.Boolean(),
  checks: list(object({ name: Type.String({ maxLength: 64 }), ok: Type.Boolean(), detail: optional(sentence) }), 32),
});
export const Version = object({
  version: Type.String({ maxLength: 64, description: 'of the daemon, as in package.json' }),
  api: Type.Integer({ minimum: 1, description: 'raised when a route changes so that older clients would misread it' }),
});
export const CallerAnswer = object(
  { kind: Type.Enum(['operator', 'agent']), did: nullable(Did) },
  'did is null for the operator',
);
export const DidStatusText = Type.Enum(['active', 'frozen', 'deactivated']);
export const Warning = object({
  code: Type.String({ pattern: '^[a-z][a-z0-9_]*$', maxLength: 64 }),
  message: sentence,
});
export const Status = object({
  version: Type.String({ maxLength: 64 }),
  network: Type.String({ maxLength: 32 }),
  organisation: object({ did: Did, name: nullable(DisplayName), status: DidStatusText }),
  peerId: PeerId,
  addresses: list(Multiaddr, 64),
  listening: Type.Enum(['none', 'loopback', 'private', 'public'], {
    description: 'widest reach of the addresses listened on',
  }),
  socket: path,
  home: path,
  startedAt: Time,
  uptimeSeconds: seconds,
  statements: object({
    count: count(),
    bytes: count(),
    setRoot: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'equal on daemons that hold the same set' }),
  }),
  peers: object({ connected: count(), bound: count('of these, bound to an organisation') }),
  agents: count(),
  sponsors: count(),
  sessions: count(),
  exposed: count('MCP servers that other organisations may be let use'),
  keysEncrypted: Type.Boolean(),
  log: LogSummary,
  warnings: list(Warning, 64),
});

export const Peer = object({
  did: nullable(Did),
  peerId: PeerId,
  addresses: list(Multiaddr, 64),
  direction: Type.Enum(['inbound', 'outbound']),
  bound: Type.Boolean(),
  latencyMs: nullable(Type.Number({ minimum: 0 })),
  protocols: list(Type.String({ maxLength: 256 }), 256),
  lastHeartbeatAt: nullable(Time),
  lastHeartbeatAgeSeconds: nullable(seconds),
  agents: count('agents of its organisation that are known here'),
  connectedSince: Time,
});

// Agents
export const AgentStatusText = Type.Enum(['active', 'suspended', 'revoked', 'unregistered']);
export const CredentialSummary = object({ id: Id, expiresAt: Time });
export const Agent = object({
  did: Did,
  name: Name,
  sponsor: object({ did: Did, name: optional(DisplayName) }),
  parent: nullable(Did),
  status: AgentStatusText,
  capabilities: Capabilities,
  rootLink: nullable(Id),
  keyHeldBy: Type.Enum(['daemon', 'agent']),
  credential: nullable(CredentialSummary),
  createdAt: Time,
});
export const Token = Type.String({
  pattern: '^[A-Za-z0-9_-]{43}$',
  maxLength: 43,
  description: '32 random bytes; acts as one agent; shown once',
});
export const AgentCreateBody = object({
  name: Name,
  sponsor: optional(
    Type.Union([Contact, Did], {
      description: 'e-mail (created if unknown) or DID of the sponsor; not together with parent',
    }),
  ),
  parent: optional(Did),
  capabilities: Capabilities,
  publicKey: optional(Multikey),
  publish: optional(Type.Boolean({ description: 'register it at once; default true' })),
});
export const AgentCreated = object({
  agent: Agent,
  token: nullable(Token),
  toSign: list(ToSign, 4),
});
export const AgentAnswer = object({ agent: Agent });
export const AgentRegistered = object({ agent: Agent, token: nullable(Token) });
export const TokenAnswer = object({ did: Did, token: Token, expiresAt: nullable(Time) });
export const Credential = object({
  id: Id,
  did: Did,
  parent: Id,
  capabilities: Capabilities,
  holderKey: Multikey,
  issuedAt: Time,
  expiresAt: Time,
});
export const CredentialAnswer = object({ credential: nullable(Credential) });
export const CredentialPrepareBody = object(
  { grant: optional(Id) },
  'With `grant`, the leaf of a chain to the agent: a link that continues it with the key of the present credential',
);
export const CredentialPrepared = object({ id: Id, holderKey: Multikey, toSign: list(ToSign, 1, 1) });
export const CredentialCompleteBody = object({ id: Id, signatures: list(Signature, 1, 1) });

// Sponsors
export const Sponsor = object({
  did: Did,
  contact: Contact,
  name: nullable(DisplayName),
  status: DidStatusText,
  agents: count(),
  agentsMax: count(),
  createdAt: Time,
});
export const SponsorCreateBody = object({ contact: Contact, name: optional(DisplayName) });

// DIDs
export const DidDocument = object(
  {
    '@context': Type.Array(Type.String()),
    id: Did,
    controller: optional(Did),
    verificationMethod: Type.Array(
      object({ id: Type.String(), type: Type.Literal('Multikey'), controller: Did, publicKeyMultibase: Multikey }),
    ),
    authentication: Type.Array(Type.String()),
    assertionMethod: Type.Array(Type.String()),
    capabilityDelegation: Type.Array(Type.String()),
    service: Type.Array(
      object({
        id: Type.String(),
        type: Type.String(),
        serviceEndpoint: Type.Union([
          Type.String(),
          object({ multiaddr: Type.String() }),
          object({ value: Type.String() }),
        ]),
      }),
    ),
  },
  'A DID 1.1 document',
);
export const DidDocumentMetadata = object({
  created: Time,
  updated: Time,
  versionId: Type.String(),
  deactivated: Type.Boolean(),
  frozen: optional(Type.Literal(true)),
});
export const DidView = object({
  did: Did,
  kind: Type.Enum([...DID_KINDS]),
  organisation: Did,
  status: DidStatusText,
  revoked: nullable(object({ by: Did, at: Time, reason: Type.String() })),
  seq: Type.Integer({ minimum: 0, maximum: DID_SEQ_MAX }),
  head: Id,
  contested: Type.Boolean({ description: 'updates competed and the lowest id was followed' }),
  keys: list(
    object({
      key: Multikey,
      uses: list(Type.Enum([...KEY_USES]), KEY_USES.length),
      standing: Type.Enum(['current', 'grace', 'dead']),
      until: nullable(Time),
    }),
    DID_KEYS_MAX * (DID_SEQ_MAX + 1),
  ),
  peers: list(PeerId, 8),
  services: list(object({ type: Type.String(), endpoint: Type.String() }), 8),
  rotation: object({ threshold: count(), commitments: count() }),
  recovery: object({ threshold: count(), commitments: count() }),
  createdAt: Time,
  updatedAt: Time,
  freshness: object(
    {
      heartbeatAt: nullable(Time),
      ageSeconds: nullable(seconds),
      revocations: count("highest number of its organisation's revocation log that is held"),
    },
    'As of when its organisation is known to stand by this; null: no heartbeat is held',
  ),
  document: nullable(DidDocument),
  documentMetadata: DidDocumentMetadata,
});
export const DidResolved = object({
  resolved: DidView,
  source: Type.Enum(['local', 'peer', 'dht']),
  from: nullable(PeerId),
});
export const DidLog = object({
  did: Did,
  operations: Type.Array(object({ id: Id, envelope: base64urlText(DIDOP_BYTES_MAX) })),
});

// The organisation's own DID
export const Commitments = object(
  {
    commitments: list(base64urlText(32, 32), DID_COMMITMENTS_MAX, 1),
    threshold: Type.Integer({ minimum: 1, maximum: DID_COMMITMENTS_MAX }),
  },
  'SHA-256 of the multikey bytes of each key, and how many of them must sign',
);
export const RetireEntry = object(
  {
    key: Multikey,
    graceSeconds: nullable(
      Type.Integer({
        minimum: 0,
        maximum: GRACE_SECONDS_MAX,
        description: 'what it signed counts for so long; null: dead at once',
      }),
    ),
    keep: optional(list(Id, KEPT_IDS_MAX)),
  },
  'A key to replace by a new one of the same uses; `keep` names the links of a dead key that still count',
);
export const RotateBody = object({
  reason: optional(Reason),
  retire: list(RetireEntry, DID_KEYS_MAX),
  rotationKeys: optional(list(Multikey, DID_COMMITMENTS_MAX, 1)),
  next: optional(Commitments),
});
export const RecoverBody = object({
  reason: optional(Reason),
  recoveryKeys: list(Multikey, DID_COMMITMENTS_MAX, 1),
  retire: list(RetireEntry, DID_KEYS_MAX),
  next: optional(Commitments),
  recovery: Commitments,
});
export const DeactivateBody = object({
  confirm: Did,
  reason: optional(Reason),
  keys: optional(list(Multikey, DID_COMMITMENTS_MAX, 1)),
});
export const OperationAnswer = object({
  id: Id,
  did: Did,
  operation: Type.Enum(['rotate', 'recover', 'deactivate']),
  seq: Type.Integer({ minimum: 1, maximum: DID_SEQ_MAX }),
  applied: Type.Boolean(),
  toSign: list(ToSign, DID_COMMITMENTS_MAX),
  keys: list(object({ key: Multikey, uses: list(Type.Enum([...KEY_USES]), KEY_USES.length) }), DID_KEYS_MAX),
  files: list(path, 32),
});

// Delegation
export const DelegateBody = object({
  to: AudienceDid,
  capabilities: Capabilities,
  from: optional(Id),
  as: optional(Did),
  sponsor: optional(Did),
  ttlSeconds: optional(Type.Integer({ minimum: 1, maximum: LINK_SECONDS_MAX })),
  depth: optional(Type.Integer({ minimum: 0, maximum: DEPTH_MAX })),
  stalenessSeconds: optional(Type.Integer({ minimum: 0, maximum: STALENESS_SECONDS_MAX })),
  rates: optional(list(Rate, RATES_MAX, 1)),
  purposes: optional(list(Purpose, PURPOSES_MAX, 1)),
  at: optional(list(AudienceDid, AT_MAX, 1)),
  minScore: optional(Score),
  private: optional(Type.Boolean()),
});
export const Link = object({
  id: Id,
  parent: nullable(Id),
  issuer: Did,
  audience: AudienceDid,
  organisation: Did,
  sponsor: Did,
  capabilities: Capabilities,
  issuedAt: Time,
  notBefore: Time,
  expiresAt: Time,
  depth: nullable(Type.Integer({ minimum: 0, maximum: DEPTH_MAX })),
  rates: list(Rate, RATES_MAX),
  purposes: list(Purpose, PURPOSES_MAX),
  at: list(AudienceDid, AT_MAX),
  minScore: nullable(Score),
  stalenessSeconds: nullable(Type.Integer({ minimum: 0, maximum: STALENESS_SECONDS_MAX })),
  private: Type.Boolean(),
  holderKey: nullable(Multikey),
  signedBy: list(Multikey, 2, 1),
});
export const DelegationAnswer = object({ link: Link, published: Type.Boolean(), toSign: list(ToSign, 1) });

// Chains
export const Verdict = object(
  {
    ok: Type.Boolean(),
    code: nullable(ErrorCodeText),
    message: nullable(Type.String({ maxLength: 16_384 })),
    data: Type.Record(Type.String(), Type.Unknown()),
  },
  'ok with code null, or the one code and its data',
);
export const ChainSummary = object({
  leaf: Id,
  organisation: Did,
  sponsor: Did,
  audience: AudienceDid,
  links: Type.Integer({ minimum: 1, maximum: CHAIN_LINKS_MAX }),
  capabilities: Capabilities,
  expiresAt: Time,
  verdict: Verdict,
});
export const CheckText = Type.Enum([...CHECKS]);
export const CheckedThrough = object(
  {
    did: Did,
    rseq: nullable(
      Type.Integer({
        minimum: 0,
        maximum: REVOCATION_SEQ_MAX,
        description: 'last revocation that is held, with all before it',
      }),
    ),
    ageSeconds: nullable(Type.Number({ minimum: 0 })),
    asOf: nullable(Time),
    answered: Type.Boolean({ description: "by an answer to the verifier's own nonce" }),
  },
  "As of when an organisation's revocations are known",
);
export const LinkReport = object({
  id: Id,
  issuer: Did,
  audience: AudienceDid,
  sponsor: Did,
  credential: Type.Boolean({ description: 'binds an ephemeral key to an agent: not a hop of authority' }),
  boundKey: nullable(Multikey),
  capabilities: Capabilities,
  notBeforeSeconds: count('unix time'),
  expiresSeconds: count('unix time'),
  depth: nullable(count()),
  rates: list(Rate, RATES_MAX),
  at: nullable(list(AudienceDid, AT_MAX)),
  purposes: nullable(list(Purpose, PURPOSES_MAX)),
  minScore: nullable(Score),
  stalenessSeconds: nullable(count()),
  private: Type.Boolean(),
  signers: list(
    object({
      did: Did,
      key: Multikey,
      standing: Type.Enum(['current', 'grace', 'kept', 'bound']),
      untilSeconds: optional(count('unix time')),
    }),
    2,
  ),
  status: Type.Enum(['ok', 'failed', 'unchecked']),
});
export const Authority = object(
  {
    capabilities: Type.Array(Capability),
    notBeforeSeconds: count('unix time'),
    expiresSeconds: count('unix time'),
    depth: count(),
    rates: Type.Array(
      object({ link: Id, can: CapabilityText, n: Type.Integer({ minimum: 1 }), per: Type.Integer({ minimum: 1 }) }),
    ),
    at: nullable(Type.Array(AudienceDid)),
    purposes: nullable(Type.Array(Purpose)),
    minScore: nullable(Score),
    stalenessSeconds: nullable(count()),
    private: Type.Boolean(),
  },
  'The meet of all links: what holds at use',
);
/** The same report that verifyChain gives in a process of one's own; in a refusal it is in data.report. */
export const ChainReport = object({
  ids: list(Id, CHAIN_LINKS_MAX),
  leaf: nullable(Id),
  root: nullable(Did),
  sponsor: nullable(Did),
  audience: nullable(AudienceDid),
  checkedAt: Time,
  checked: list(CheckText, CHECKS.length),
  notChecked: list(object({ check: CheckText, why: sentence }), CHECKS.length),
  checkedThrough: list(CheckedThrough, 2 * CHAIN_LINKS_MAX),
  staleAfterSeconds: nullable(count()),
  validUntilSeconds: nullable(count('unix time')),
  effective: nullable(Authority),
  links: list(LinkReport, CHAIN_LINKS_MAX),
});
export const Chain = object({
  leaf: Id,
  links: list(Link, CHAIN_LINKS_MAX, 1),
  verdict: Verdict,
  report: ChainReport,
});
export const BundleAnswer = object({ leaf: Id, bundle: base64urlText(BUNDLE_BYTES_MAX), bytes: count() });
export const VerifyBody = object({
  roots: optional(list(Did, ROOTS_MAX, 1)),
  capabilities: optional(Capabilities),
  at: optional(list(AudienceDid, AT_MAX, 1)),
  purpose: optional(Purpose),
  score: optional(Score),
  holder: optional(AudienceDid),
  time: optional(Time),
});
export const Roots = object({ roots: list(object({ did: Did, own: Type.Boolean() }), ROOTS_MAX) });

// Revocation
export const RevocationTargetBody = Type.Union(
  [object({ link: Id }), object({ did: Did }), object({ did: Did, key: Multikey })],
  {
    description: 'a link, a DID, or one key of a DID',
  },
);
export const RevokeBody = object({ target: RevocationTargetBody, reason: Reason, as: optional(Did) });
export const Revocation = object({
  id: Id,
  number: Type.Integer({
    minimum: 1,
    maximum: REVOCATION_SEQ_MAX,
    description: "in the organisation's revocation log",
  }),
  organisation: Did,
  issuer: Did,
  target: RevocationTargetBody,
  reason: Type.String(),
  at: Time,
});
export const RevocationListed = object({
  revocation: Revocation,
  applies: nullable(
    Type.Boolean({ description: 'whether its issuer is entitled; null: the target is not held, so it is not known' }),
  ),
});
export const RevocationAnswer = object({
  revocation: Revocation,
  cascade: Type.Array(Id, { description: 'links that are invalid because of it, the target first where it is a link' }),
  sessionsEnded: count(),
});
export const AgentRevoked = object({
  agent: Agent,
  revocation: Revocation,
  cascade: Type.Array(Id),
  sessionsEnded: count(),
});

// Handshakes
export const HandshakeBody = object({
  did: Did,
  as: optional(Did),
  minScore: optional(Score),
  capabilities: optional(Capabilities),
  purpose: optional(Purpose),
  grant: optional(Id),
});
export const SessionUse = object(
  {
    calls: count('whatever came of them'),
    refused: count('of these, those that were not done'),
    running: count(),
    bytesIn: count(),
    bytesOut: count(),
  },
  'what came of it so far, as this side counts; bytes of messages',
);
export const SessionServer = object({ server: Type.String({ minLength: 1, maxLength: 64 }), openedAt: Time });
export const Session = object({
  sid: SessionId,
  as: Did,
  did: Did,
  organisation: Did,
  peerId: PeerId,
  direction: Type.Enum(['inbound', 'outbound']),
  granted: Type.Array(Capability, {
    description: 'what the other side may do here, or this side there: the meet of its chain',
  }),
  rates: Type.Array(Rate),
  sponsor: nullable(Did),
  score: Score,
  scoreBasis: sentence,
  minScore: Score,
  checked: list(Type.String({ maxLength: 64 }), 32),
  links: list(Id, 2 * CHAIN_LINKS_MAX),
  use: SessionUse,
  servers: Type.Array(SessionServer, { description: 'conversations with exposed servers that are open in it' }),
  openedAt: Time,
  expiresAt: Time,
  durationMs: nullable(Type.Number({ minimum: 0, description: 'of the handshake, where this side began it' })),
});
export const SessionClosed = object({ sid: SessionId, code: ErrorCodeText });

// Login
export const LoginChallengeBody = object({ did: Did });
export const LoginChallenge = object({
  daemon: Did,
  nonce: base64urlText(LOGIN_NONCE_BYTES, LOGIN_NONCE_BYTES),
  expiresAt: Time,
});
export const LoginBody = object({
  did: Did,
  nonce: base64urlText(LOGIN_NONCE_BYTES, LOGIN_NONCE_BYTES),
  signature: Signature,
});

// The audit log
export const Cosignature = object(
  {
    name: KeyName,
    did: nullable(Did),
    at: Time,
    ageSeconds: seconds,
  },
  'A witness of the policy, and when it says that it saw no larger tree; did is null for one that is no organisation here',
);
export const OwnWitness = object(
  {
    name: KeyName,
    did: nullable(Did),
    treeSize: nullable(treeSize('cosigned last')),
    cosignedAt: nullable(Time),
    ageSeconds: nullable(seconds),
    reachable: Type.Boolean(),
    error: nullable(sentence),
  },
  'A witness that this log asks for cosignatures, and how it answered last',
);
export const WithheldView = object(
  {
    origin: KeyName,
    organisations: Type.Array(Did, { description: 'who say that the log is theirs' }),
    treeSizes: list(treeSize(), 2, 2),
    since: Time,
    last: Time,
    times: count('refusals and silences'),
  },
  'A log that did not show that two of its checkpoints agree. Suspicion, no more: it convicts nobody',
);
export const MirrorView = object(
  {
    did: Did,
    origin: KeyName,
    treeSize: treeSize('entries that the copy has'),
    problem: nullable(Type.String({ maxLength: 64, description: 'code of the last failure to extend it' })),
  },
  'A copy of the log of another organisation, kept for it',
);
export const LogStatus = object({
  origin: KeyName,
  generation: count(),
  vkey: VkeyText,
  treeSize: treeSize('entries, all of them on disk'),
  root: nullable(RootText), // null: no head can be read, which is its problem
  headAt: nullable(Time),
  headAgeSeconds: nullable(seconds),
  released: nullable(
    object({
      treeSize: treeSize(),
      root: RootText,
      cosignatures: list(Cosignature, POLICY_LINES_OF_A_KIND_MAX),
      quorumMet: Type.Boolean(),
    }),
  ),
  policy: Type.String({
    maxLength: POLICY_BYTES_MAX,
    description: 'C2SP tlog-policy: this log, its witnesses, how many must have cosigned',
  }),
  watched: Type.Boolean({ description: 'false: the policy names no witness, so nobody watches this log' }),
  witnesses: list(OwnWitness, POLICY_LINES_OF_A_KIND_MAX),
  problem: nullable(LogProblem),
  monitor: object(
    {
      logs: count('of others'),
      checkpoints: count('of those logs, remembered'),
      proven: count('forks, since the start'),
      withheld: Type.Array(WithheldView),
    },
    'What this daemon sees of the logs of others',
  ),
  mirrors: Type.Array(MirrorView),
});
export const LogRecovered = object({
  ...LogStatus.properties,
  lost: nullable(
    count('entries at the end that were on disk here and that no copy has, at least; null: a new generation was begun'),
  ),
});
const EntryObject = Type.Record(Type.String(), Type.Unknown(), {
  description: 'an entry: a CloudEvent whose RFC 8785 bytes are the leaf',
});
export const LogEntry = object({ index: treeSize('leaf index, from 0'), id: EntryId, entry: EntryObject });
export const LogEntries = object({
  entries: list(LogEntry, LOG_ENTRIES_A_PAGE_MAX),
  next: nullable(
    treeSize('where to go on: `before` of the next request, or `after` with order=oldest; null: nothing is left'),
  ),
  scanned: count('entries looked at for this answer'),
  treeSize: treeSize(),
});
const entryBytes = base64urlText(LOG_ENTRY_BYTES_MAX);
export const LogEntryAnswer = object({
  index: treeSize('leaf index, from 0'),
  id: EntryId,
  entry: EntryObject,
  bytes: entryBytes,
});
const digest = base64urlText(32, 32);
export const hexDigest = Type.String({
  pattern: '^[0-9a-f]{64}$',
  maxLength: 64,
  description: 'SHA-256 as lower-case hex',
});
export const word = (description: string): Type.TString =>
  Type.String({ minLength: 1, maxLength: LOG_TEXT_MAX, description });
/** As an entry has it: a type of AgentMesh, or a reverse domain name and a word. */
const entryType = '[a-z][a-z0-9-]*(\\.[A-Za-z0-9_-]+)+';
export const EntryPhase = Type.Enum(['intent', 'outcome']);
const witnessed = Type.Integer({
  minimum: 1,
  maximum: POLICY_LINES_OF_A_KIND_MAX,
  description: 'wait until so many witnesses of the policy have cosigned; else until it is on disk',
});
export const LogAppendBody = object(
  {
    as: optional(Did),
    entry: optional(entryBytes),
    type: optional(
      Type.String({
        pattern: `^${entryType}$`,
        maxLength: LOG_TYPE_TEXT_MAX,
        description: 'a type like "com.example.ticket.closed"; default "agentmesh.agent.action.v1"',
      }),
    ),
    phase: optional(EntryPhase),
    intent: optional(EntryId),
    subject: optional(word('what it is about')),
    principal: optional(Did),
    peer: optional(Did),
    session: optional(SessionId),
    trace: optional(TraceId),
    op: optional(word('the operation, by its OpenTelemetry name where it has one, like "execute_tool"')),
    tool: optional(word('name of the tool')),
    delegation: optional(object({ chain: hexDigest, leaf: Id })),
    policy: optional(
      object({
        hash: hexDigest,
        version: word('version of the policy'),
        rule: nullable(word('the rule that decided')),
        decision: word('what it decided'),
      }),
    ),
    in: optional(digest),
    out: optional(digest),
    result: optional(
      object({
        code: Type.Union([Type.Literal('ok'), ErrorCodeText]),
        message: optional(Type.String({ minLength: 1, maxLength: LOG_MESSAGE_TEXT_MAX })),
      }),
    ),
    facts: optional(
      Type.Record(Type.String(), Type.Unknown(), { description: 'anything JSON without floats: no personal data' }),
    ),
    witnessed: optional(witnessed),
  },
  'Either `entry`, the bytes that the agent signed itself, or what the daemon is to sign with the key of its credential',
);
export const LogAppended = object({
  index: treeSize('leaf index, from 0'),
  id: EntryId,
  cosigned: nullable(object({ treeSize: treeSize(), cosigners: count() })),
});
export const LogProofAnswer = object({
  index: treeSize('leaf index, from 0'),
  id: EntryId,
  bytes: entryBytes,
  proof: base64urlText(PROOF_FILE_BYTES_MAX),
  treeSize: treeSize('of the checkpoint in the proof'),
  cosignatures: list(Cosignature, POLICY_LINES_OF_A_KIND_MAX),
});
export const LogFilePath = Type.String({
  pattern: '^[a-z0-9./]+$',
  minLength: 1,
  maxLength: 64,
  description:
    'a path of C2SP tlog-tiles, "policy", "log.v0.vkey", or "checkpoints/<size>": notes released from that size on, one after the other',
});
export const LogFileAnswer = object({
  path: LogFilePath,
  bytes: base64urlText(Math.max(LOG_BUNDLE_BYTES_MAX, NOTE_BYTES_MAX)),
});
export const LogPolicyAnswer = object({ policy: Type.String({ maxLength: POLICY_BYTES_MAX }) });
export const LogRecoverBody = object({ how: Type.Enum(['new_generation', 'mirrors']), reason: Reason });

// Witness and convictions
export const WitnessStatus = object({
  name: KeyName,
  vkey: VkeyText,
  listening: nullable(Type.String({ maxLength: 256, description: 'host and port of the C2SP HTTP endpoint' })),
  logs: Type.Array(
    object({ origin: KeyName, did: nullable(Did), treeSize: treeSize(), root: RootText, cosignedAt: nullable(Time) }),
    { description: 'what this witness cosigned last, by log' },
  ),
});
const noteBytes = base64urlText(NOTE_BYTES_MAX);
export const ConvictionProof = object(
  {
    id: Id,
    of: Type.Enum(['log', 'witness']),
    who: Did,
    log: optional(VkeyText),
    witness: optional(VkeyText),
    a: noteBytes,
    b: noteBytes,
    rootOfAOnB: digest,
    proof: list(digest, MERKLE_PROOF_HASHES_MAX),
    binding: base64urlText(STATEMENT_BYTES_MAX),
  },
  'The statement proof/v1: two notes by one key that no one history has both of; anybody can check it from its bytes',
);
export const Conviction = object({
  did: Did,
  inForce: Type.Boolean({ description: 'false: a human lifted it on this daemon' }),
  of: list(Type.Enum(['log', 'witness']), 2, 1),
  proofs: list(Id, 2, 1),
  lifted: nullable(object({ at: Time, reason: Type.String({ maxLength: 4 * REASON_TEXT_MAX }) })),
});
export const Convictions = object({ convictions: Type.Array(Conviction) });
export const ConvictionAnswer = object({ conviction: Conviction, proofs: list(ConvictionProof, 2, 1) });
export const ConvictionLiftBody = object({ reason: Reason });

// Lists
export const Peers = object({ peers: Type.Array(Peer) });
export const PeerAnswer = object({ peer: Peer });
export const DialBody = object({ address: Multiaddr });
export const Agents = object({ agents: Type.Array(Agent) });
export const Sponsors = object({ sponsors: Type.Array(Sponsor) });
export const SponsorAnswer = object({ sponsor: Sponsor });
export const Chains = object({ chains: Type.Array(ChainSummary) });
export const Revocations = object({ revocations: Type.Array(RevocationListed) });
export const Sessions = object({ sessions: Type.Array(Session) });
export const SessionAnswer = object({ session: Session });
export const SessionShown = object({
  session: Session,
  chain: Type.Array(Link, {
    maxItems: CHAIN_LINKS_MAX,
    description: 'from the root to the leaf for whose sake it was granted; empty where an organisation acts by itself',
  }),
});

/** A schema's values as readers and writers see them: nothing in them is changed in place. */
export type Json<S extends TSchema> = ReadonlyDeep<Static<S>>;
type ReadonlyDeep<T> = T extends readonly (infer Item)[]
  ? readonly ReadonlyDeep<Item>[]
  : T extends object
    ? { readonly [K in keyof T]: ReadonlyDeep<T[K]> }
    : T;

export type Problem = Json<typeof Problem>;
export type Livez = Json<typeof Livez>;
export type Readyz = Json<typeof Readyz>;
export type CallerAnswer = Json<typeof CallerAnswer>;
export type Version = Json<typeof Version>;
export type Status = Json<typeof Status>;
export type Warning = Json<typeof Warning>;
export type Peer = Json<typeof Peer>;
export type Agent = Json<typeof Agent>;
export type AgentStatus = Agent['status'];
export type AgentCreateBody = Json<typeof AgentCreateBody>;
export type AgentCreated = Json<typeof AgentCreated>;
export type AgentRegistered = Json<typeof AgentRegistered>;
export type AgentRevoked = Json<typeof AgentRevoked>;
export type TokenAnswer = Json<typeof TokenAnswer>;
export type Credential = Json<typeof Credential>;
export type CredentialPrepared = Json<typeof CredentialPrepared>;
export type Sponsor = Json<typeof Sponsor>;
export type DidDocumentJson = Json<typeof DidDocument>;
export type DidView = Json<typeof DidView>;
export type DidResolved = Json<typeof DidResolved>;
export type DidLog = Json<typeof DidLog>;
export type CommitmentsBody = Json<typeof Commitments>;
export type RetireEntry = Json<typeof RetireEntry>;
export type RotateBody = Json<typeof RotateBody>;
export type RecoverBody = Json<typeof RecoverBody>;
export type DeactivateBody = Json<typeof DeactivateBody>;
export type OperationAnswer = Json<typeof OperationAnswer>;
export type ToSign = Json<typeof ToSign>;
export type DelegateBody = Json<typeof DelegateBody>;
export type LinkView = Json<typeof Link>;
export type RateView = Json<typeof Rate>;
export type DelegationAnswer = Json<typeof DelegationAnswer>;
export type Verdict = Json<typeof Verdict>;
export type ChainSummary = Json<typeof ChainSummary>;
export type CheckedThrough = Json<typeof CheckedThrough>;
export type ChainView = Json<typeof Chain>;
export type BundleAnswer = Json<typeof BundleAnswer>;
export type VerifyBody = Json<typeof VerifyBody>;
export type ChainReportView = Json<typeof ChainReport>;
export type RootsView = Json<typeof Roots>;
export type RevokeBody = Json<typeof RevokeBody>;
export type RevocationTargetJson = Json<typeof RevocationTargetBody>;
export type RevocationView = Json<typeof Revocation>;
export type RevocationListed = Json<typeof RevocationListed>;
export type RevocationAnswer = Json<typeof RevocationAnswer>;
export type HandshakeBody = Json<typeof HandshakeBody>;
export type SessionView = Json<typeof Session>;
export type SessionShown = Json<typeof SessionShown>;
export type SessionClosed = Json<typeof SessionClosed>;
export type LogStatus = Json<typeof LogStatus>;
export type LogRecovered = Json<typeof LogRecovered>;
export type LogSummary = Json<typeof LogSummary>;
export type LogProblemView = Json<typeof LogProblem>;
export type CosignatureView = Json<typeof Cosignature>;
export type OwnWitness = Json<typeof OwnWitness>;
export type LogEntryView = Json<typeof LogEntry>;
export type LogEntries = Json<typeof LogEntries>;
export type LogEntryAnswer = Json<typeof LogEntryAnswer>;
export type LogAppendBody = Json<typeof LogAppendBody>;
export type LogAppended = Json<typeof LogAppended>;
export type LogProofAnswer = Json<typeof LogProofAnswer>;
export type LogRecoverBody = Json<typeof LogRecoverBody>;
export type WitnessStatusView = Json<typeof WitnessStatus>;
export type ConvictionView = Json<typeof Conviction>;
export type ConvictionAnswer = Json<typeof ConvictionAnswer>;
export type ConvictionProofView = Json<typeof ConvictionProof>;
export type LoginChallenge = Json<typeof LoginChallenge>;
export type LoginBody = Json<typeof LoginBody>;
