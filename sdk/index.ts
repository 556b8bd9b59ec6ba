/** The door of the SDK: a daemon's control API, agents' identities, and checks that run in the caller's own process. */
export {
  type CallToolOptions,
  type PeerVerification,
  type ToolResult,
  TrustBridge,
  type TrustBridgeOptions,
  type VerifyPeerOptions,
} from './bridge.ts';
export { capabilitiesOf, type CapabilityInput, capabilityOf } from './capability-input.ts';
export {
  type Action,
  AgentIdentity,
  type CreateIdentityOptions,
  type DelegateToNewOptions,
  type DelegateToOptions,
  type OpenIdentityOptions,
} from './identity.ts';
export type { CallOptions } from './calls.ts';
export {
  AgentMesh,
  type ApproveOptions,
  type ConnectOptions,
  type EventOptions,
  type Login,
  type OfflineSigners,
  type OpenGateOptions,
} from './mesh.ts';
export type { Ended, LinkInfo, LinkOptions, ServerLink } from './link.ts';
export type {
  Answer,
  CallReceipt,
  McpClient,
  McpClientOptions,
  Progress,
  RequestOptions,
} from './mcp-client.ts';
export type { EntryProof, EntryQuery, ProveOptions } from './log-entries.ts';
export { type Exported, type ExportOptions, exportToDirectory, filesIn } from './log-export.ts';
export {
  type DaemonGateOptions,
  type LocalGateOptions,
  openDaemonGate,
  openLocalGate,
  type PolicySource,
  readPolicySource,
} from './gate/index.ts';
export {
  type Denied,
  govern,
  type Governed,
  type GovernOptions,
  type ToolFunction,
  type ToolObject,
} from './govern.ts';
export type {
  MessageInput,
  ReadMessagesOptions,
  ReceivedMessage,
  SendMessageOptions,
  SentMessage,
} from './messages.ts';
export { encodeMessage } from './messages.ts';
export { findPlace, type Place, type PlaceOptions } from './place.ts';
export { createSigner, publicKeyText, type Signer } from './signer.ts';
export { readReceiptFile, type ReceiptQuery, verifyReceipt, type VerifyReceiptOptions } from './receipts.ts';
export { verifyChain, type VerifyChainOptions } from './verify-chain.ts';
export {
  type Commitment,
  createCommitment,
  type PolicyInput,
  verifyLogDirectory,
  verifyLogFiles,
  type VerifyLogOptions,
  verifyProof,
  type VerifyProofOptions,
} from './verify-log.ts';

export { type ErrorCode, ERRORS, isMeshError, MeshError } from '../protocol/index.ts';
export type { Capability, ChainReport } from '../protocol/index.ts';
export type { ReceiptCheckLine, ReceiptFile, ReceiptReport } from '../protocol/receipt/index.ts';
export type { Entry, LogFiles, LogReport, VerifiedEntry } from '../protocol/log/index.ts';
export type {
  Agent,
  ApprovalView,
  ChainSummary,
  ChainView,
  ConvictionView,
  DelegateBody,
  DelegationAnswer,
  DidResolved,
  DidView,
  EventData,
  EventType,
  InputOf,
  LinkView,
  LogAppended,
  LogEntryView,
  LogStatus,
  MeshEvent,
  OperationAnswer,
  OperationId,
  Peer,
  Readyz,
  ResponseOf,
  RetireEntry,
  RevocationAnswer,
  RevocationView,
  SessionView,
  Sponsor,
  Status,
  Version,
} from '../protocol/control/index.ts';
