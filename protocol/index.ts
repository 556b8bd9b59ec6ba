/** The door of protocol/: rules and formats, pure. */
export {
  ERRORS,
  type ErrorCode,
  isErrorCode,
  type ErrorData,
  MeshError,
  isMeshError,
  unreachable,
} from './errors.ts';
export {
  SIGNING_CONTEXTS,
  type SigningContext,
  signedBytes,
  CHANNEL_BINDING_PREFIX,
  SEALED_KEY_PREFIX,
  KEY_RING_PREFIX,
  DEFAULT_NETWORK,
  isNetworkName,
  type ProtocolName,
  protocolId,
  TOPICS,
  type Topic,
  topicName,
} from './domains.ts';
export * as limits from './limits.ts';
export {
  SIGNATURE_BYTES,
  PUBLIC_KEY_BYTES,
  type IsSignatureValid,
  isSignatureValidPure,
  verifySignature,
} from './signature.ts';
export {
  toHex,
  fromHex,
  equalBytes,
  compareBytes,
  concatBytes,
  u32be,
  toBase64url,
  fromBase64url,
} from './encoding/bytes.ts';
export { type Cbor, type CborMap, decodeCbor, encodeCbor } from './encoding/cbor.ts';
export { cidText, digestOf, digestOfCid, Link } from './encoding/cid.ts';
export { decodeJcs, encodeJcs, type Json, type JsonObject } from './encoding/jcs.ts';
export {
  MULTIKEY_BYTES,
  multikeyOf,
  isMultikey,
  rawKeyOf,
  multikeyText,
  parseMultikeyText,
  peerIdOfKey,
  keyOfPeerId,
  peerIdBytes,
  isPeerId,
} from './encoding/multikey.ts';
export { decodeVarint, encodeVarint } from './encoding/varint.ts';
export {
  DID_TEXT_MAX,
  didOfDigest,
  didOfGenesis,
  genesisIdOf,
  digestOfDid,
  isMeshDid,
  didKeyOf,
  keyOfDidKey,
  isAudienceDid,
} from './identity/did.ts';
export type {
  Deactivate,
  DidKind,
  DidOperation,
  Genesis,
  KeyUse,
  Recover,
  Rotate,
  SuccessorOperation,
  Update,
} from './identity/operations.ts';
export { DID_KINDS, KEY_USES } from './identity/operations.ts';
export {
  type DidDocument,
  didDocument,
  didDocumentMetadata,
  type DidDocumentMetadata,
  didNotFound,
  type DidResolution,
  didResolution,
  type DidService,
  type VerificationMethod,
} from './identity/document.ts';
export {
  parsePrivateJwk,
  parsePublicJwk,
  type PrivateJwk,
  privateJwk,
  type PublicJwk,
  publicJwk,
} from './identity/jwk.ts';
export {
  type Capability,
  domainOf,
  isCapability,
  isCapabilityWithin,
  isCovered,
  isResource,
  isResourceWithin,
  parseCapability,
} from './delegation/capability.ts';
export type { Delegation, Rate } from './delegation/link.ts';
export {
  type Authority,
  depthLeft,
  type Dimension,
  DIMENSIONS,
  isCredential,
  isRequestCovered,
  meetCapabilities,
  meetOf,
  verifyAttenuation,
} from './delegation/order.ts';
export {
  createChildLink,
  createCredential,
  createRootLink,
  type CredentialTerms,
  type IssueContext,
  type LinkTerms,
  type RootSigners,
} from './delegation/create.ts';
export {
  type CheckedThrough,
  type Freshness,
  freshnessOf,
  STALENESS_POLICY,
  stalenessOf,
  type StalenessPolicy,
  type StaleReason,
} from './delegation/freshness.ts';
export { type ChainReport, type Check, CHECKS, type LinkReport, type SignerReport } from './delegation/report.ts';
export {
  CHAIN_CODES,
  type ChainCheck,
  type ChainCode,
  type ChainRequest,
  type Holder,
  linksTo,
  verifyChain,
  verifyChainBytes,
} from './delegation/verify.ts';
export { type ChainCache, type ChainCacheOptions, createChainCache } from './delegation/chain-cache.ts';
export { cascadeOf, isEntitled } from './delegation/cascade.ts';
export {
  type Bundle,
  type BundleSource,
  collectBundle,
  encodeBundle,
  parseBundle,
  verifyBundle,
} from './delegation/bundle.ts';
export type { Heartbeat, Revocation, RevocationTarget } from './revocation/revocation.ts';
export {
  type Kind,
  KINDS,
  type KindName,
  type PayloadOf,
  type Payload,
  isKindName,
  kindRow,
} from './statement/kinds.ts';
export {
  type Statement,
  parseStatement,
  isOfKind,
  parseStatementOf,
  verifySignatures,
  bindingInside,
  encodePayload,
  signingInput,
  assembleStatement,
  type StatementSigner,
  type Unsigned,
  signStatement,
} from './statement/statement.ts';
export {
  type DidStatus,
  type KeyStanding,
  type DidState,
  type HeldHeartbeat,
  type RevocationTargetKey,
  type MeshView,
} from './state/view.ts';
export {
  admitAll,
  type Admission,
  type AdmitOptions,
  compareStatements,
  MeshState,
  type StateLimits,
  targetKeyOf,
  viewOfStatements,
} from './state/mesh-state.ts';
export type { Operation } from './identity/did-state.ts';
export { type RangeBound, RangeIndex, type RangeItem } from './sync/range-index.ts';
export { createReconciler, type Reconciler, type Reconciliation } from './sync/negentropy.ts';
export {
  type Answer,
  encodeAnswer,
  encodeQuestion,
  parseAnswer,
  parseQuestion,
  type Question,
} from './sync/frames.ts';
export * as keyFiles from './control/key-file.ts';
export {
  type DaemonInfo,
  type Environment,
  type FileFacts,
  formatDaemonInfo,
  formatRoots,
  type HomePaths,
  type HomePlace,
  homeOf,
  isSocketPathShort,
  parseDaemonInfo,
  parseRoots,
  pathsOf,
  runtimeDirOf,
  socketPathOf,
  verifyOwn,
  verifyPrivate,
  verifyUnwritable,
} from './control/paths.ts';
export {
  createPresentation,
  type OpenedPresentation,
  openPresentation,
  type Presented,
} from './iatp/presentation.ts';
export {
  encodeHandshakeFrame,
  encodeUnsigned,
  type Ending,
  ENDINGS,
  errorOfRefusal,
  type FrameName,
  type FrameOf,
  parseHandshakeFrame,
  parseReply,
  type Presentation,
  type Refusal,
  refusalOf,
  REFUSALS,
  type SignedFrameName,
} from './iatp/frames.ts';
export {
  type HandshakeChannel,
  handshakeMessage,
  type Role,
  type SignatureShown,
  signatureShown,
  signFrame,
  startTranscript,
  type Transcript,
  transcriptDigest,
  transcriptHash,
  verifyShown,
  withMessage,
} from './iatp/transcript.ts';
export {
  didsIn,
  PEER_CHECKS,
  type PeerCheck,
  type PeerCheckName,
  type PeerClaim,
  type PeerReport,
  type StandingCheck,
  verifyPeer,
  verifyStanding,
} from './iatp/verify-peer.ts';
export { overlayView } from './state/overlay.ts';
export {
  approvalDigest,
  type ApprovalDecision,
  approvalMessage,
  approvedFacts,
  type SignedApproval,
  verifyApproval,
} from './policy/approval.ts';
export {
  createMessage,
  isMediaType,
  type Message,
  type MessageFields,
  type MessageSession,
  openMessage,
  verifyInTime,
} from './message/index.ts';
export { visibleText } from './mcp/visible.ts';
