/** The door of the SDK: a daemon's control API, agents' identities, and checks that run in the caller's own process. */
export { TrustBridge, type PeerVerification, type TrustBridgeOptions, type VerifyPeerOptions } from './bridge.ts';
export { capabilitiesOf, type CapabilityInput, capabilityOf } from './capability-input.ts';
export {
  AgentIdentity,
  type CreateIdentityOptions,
  type DelegateToNewOptions,
  type DelegateToOptions,
  type OpenIdentityOptions,
} from './identity.ts';
export {
  AgentMesh,
  type CallOptions,
  type ConnectOptions,
  type EventOptions,
  type Login,
  type OfflineSigners,
} from './mesh.ts';
export { findPlace, type Place, type PlaceOptions } from './place.ts';
export { createSigner, publicKeyText, type Signer } from './signer.ts';
export { verifyChain, type VerifyChainOptions } from './verify-chain.ts';

export { type ErrorCode, ERRORS, isMeshError, MeshError } from '../protocol/index.ts';
export type { Capability, ChainReport } from '../protocol/index.ts';
export type {
  Agent,
  ChainSummary,
  ChainView,
  DelegateBody,
  DelegationAnswer,
  DidResolved,
  DidView,
  EventData,
  EventType,
  InputOf,
  LinkView,
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
