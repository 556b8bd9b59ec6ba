/** The Model Context Protocol as a proxy governs it, in both its eras; SPEC "MCP as governed". */
export { approvalJson, type Denial, denialOf, denialText, type Failed, failureOf, META_DECISION } from './denial.ts';
export {
  clientCapabilitiesOf,
  type Era,
  eraOf,
  eraOfVersion,
  META_CLIENT_CAPABILITIES,
  META_CLIENT_INFO,
  META_PROTOCOL_VERSION,
  metaOf,
} from './era.ts';
export { type GovernedContext, governedOf, pathsIn } from './governed.ts';
export { inputRequestsOf, isInputRetry } from './input-requests.ts';
export { filteredBytes, filteredResult, isListing, memberRequest, membersOf } from './listing.ts';
export {
  type ErrorMessage,
  errorResponse,
  exactOf,
  type Id,
  idKey,
  isObject,
  isRefusal,
  type Message,
  MESSAGE_LIMITS,
  type MessageLimits,
  type NotificationMessage,
  parseMessage,
  type Refusal,
  refusalAnswer,
  type RequestMessage,
  type ResultMessage,
  resultResponse,
  RPC_CODES,
  type Sender,
} from './messages.ts';
export { withParams, withResult } from './outputs.ts';
export { definitionHash, diffDefinitions } from './pins.ts';
export { type Footer, footed, META_VERIFICATION } from './footer.ts';
export { verifyHeaders } from './headers.ts';
export { isOwnHeader } from './own-header.ts';
export { visibleText } from './visible.ts';
export { lexicalForms, pathCandidates, type Paths, pathTexts } from './paths.ts';
export { type JsonScan, scanJson } from '../encoding/json.ts';
export { createSession } from './session.ts';
export { createKnownTools } from './known-tools.ts';
export type {
  ClientRoute,
  Failure,
  KnownTools,
  ReportLevel,
  ServerRoute,
  Session,
  SessionComponents,
  SessionOptions,
} from './ports.ts';
