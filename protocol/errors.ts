/**
 * Every code that this system answers with, and when. The list is closed: a code that is not here does not compile,
 * and the control API's schema, the CLI's exit codes and SPEC.md are generated from or tested against it.
 */
export const ERRORS = {
  // Bytes and statements (SPEC "The door")
  too_large: 'more bytes, items or levels than the limit for this kind allows',
  malformed: 'the bytes are not what the format says',
  noncanonical: 'the bytes decode, but are not the one canonical encoding of what they mean',
  unknown_kind: 'a statement kind or version that this build does not know',
  topic: 'a statement arrived on a gossip topic that is not its own',
  schema: 'a field is missing, unknown, of the wrong type or out of bounds',
  signers: 'the number of signatures is not the number of signing keys named',
  duplicate: 'a statement with this id is already held',
  too_early: 'dated further in the future than the allowed clock skew',
  expired: 'the time in which it was valid has passed',
  busy: 'a rate limit or queue is exhausted; try again later',
  bad_signature: 'a signature does not verify under the network-wide Ed25519 rule',
  private:
    'a private link arrived outside a handshake or bundle, or what two parties keep (an order, taking or receipt) came to be held by all',
  pending: 'something it builds on is not held yet',
  not_entitled: 'a signing key was never listed for this use by the DID that it signs for',
  superseded: 'another statement already fills the slot',
  quota: 'the organisation has as many statements of this kind as every daemon keeps',
  full: 'the statement store is at its mark',
  // Chains (SPEC "Verifying a chain")
  unknown_root: 'the chain starts at an organisation that the verifier does not trust as a root',
  sponsor_missing: 'no human sponsor signed the root',
  broken_link: 'a link does not continue its parent: issuer, audience, subject, sponsor or parent id differ',
  key_unknown: 'signed by a key that the issuer never listed for this use',
  key_retired: 'signed by a key that the issuer has retired',
  did_unknown: 'the DID log of an issuer is not held',
  did_forked: 'the DID has two histories and is frozen until it is recovered',
  did_deactivated: 'the DID is deactivated, or dead by two recoveries',
  widened: 'a link grants more than its parent in the named dimension',
  not_yet: 'not valid yet',
  depth: 'further delegation than the parent allows',
  revoked: 'revoked by someone entitled to revoke it',
  status_stale: 'nothing recent enough is known about revocations of an organisation in the chain',
  holder_mismatch: 'presented by someone other than the holder that the chain names',
  not_covered: 'the request is not covered by every link of the chain',
  budget: 'more work than a verifier spends on one chain or bundle',
  // Handshake and sessions (SPEC "Handshake")
  version: 'the other side speaks no version that this one speaks',
  peer_not_bound: 'the PeerId is not listed by the organisation that it speaks for',
  sponsor_revoked: 'the sponsor is revoked or deactivated',
  chain: 'the presented chain failed; data.reason holds its code',
  caps_insufficient: 'the granted capabilities do not cover what is wanted',
  score_below: "the trust score, in the verifier's own view, is below the required minimum",
  policy_denied: 'local policy denies it',
  replay: 'a nonce or message of an earlier exchange was used again',
  reflection: 'a side was shown its own identity or message',
  timeout: 'no answer within the time allowed',
  convicted: 'the organisation is convicted by its own signatures',
  policy_changed: 'ended because local policy changed',
  closed: 'the other side closed it, or this side is stopping',
  // Transparency log (SPEC "Transparency log formats")
  key_type: 'a verifier key is of a signature type that this build does not verify, or that does not fit its use',
  not_signed: 'no line of a note is by a key that is known for it',
  bad_proof:
    'a Merkle proof is too short, too long, or folds to another root, hashes of a log contradict one another, or a result came without the receipt that it must have',
  log_halted:
    'the audit log contradicts what was released, anchored or cosigned, or is damaged: nothing is signed until it is recovered',
  quorum: 'fewer witnesses cosigned the checkpoint, or longer ago, than the policy asks for',
  // Policies and approvals (SPEC "Policies")
  policy_invalid: 'a policy has an unknown key, a wrong value or a condition that cannot be read',
  limit_exceeded: 'a rule allows so many in a time, and they are used up',
  approval_pending: 'it waits for the approval of somebody else',
  approval_denied: 'who was asked for approval refused it, or nobody answered in time',
  tool_changed: 'the definition of a tool is not the one that was seen first, and waits for approval',
  failed: 'it was let through, and what was called answered that it failed',
  // Calls (SPEC "Calls")
  outcome_unknown: 'it was let through, and whether it was done is not known: nothing tells that it was not',
  // The network and the daemon
  unreachable: 'no connection to a peer that could answer',
  no_channel_binding: "the connection's Noise frames were not recorded, so nothing can be bound to it",
  no_route: 'nothing is at this address, or not for this caller',
  cancelled: "the caller's AbortSignal fired",
  not_running: 'no daemon answers on the control socket',
  already_running: 'another daemon holds this home',
  not_found: 'no such object here',
  conflict: 'an object of this name exists already, or is in another state',
  bad_request: "the request does not fit the route's schema",
  unauthorized: 'a token is missing, wrong or expired',
  forbidden: "the token's agent may not do this",
  sponsor_full: 'the sponsor has as many agents as allowed',
  suspended: 'the agent is suspended on this daemon',
  key_missing: 'the private key that this needs is not held here',
  key_locked: 'the key file is encrypted and no passphrase, or a wrong one, was given',
  key_damaged: 'a key file is not what was written: damaged, swapped, renamed or from another key ring',
  permissions: 'a file or directory of the home belongs to, or is open to, another user of this machine',
  config_invalid: 'the configuration has an unknown key or a value out of bounds',
  store_corrupt: 'the database holds a row that it cannot have written',
  read_only: 'the daemon is stopping, or a write failed and nothing is acknowledged any more',
  node_too_old: 'started by a Node older than this package supports',
  internal: "a fault of this program; the daemon's log holds the detail",
} as const;

export type ErrorCode = keyof typeof ERRORS;

export const isErrorCode = (value: unknown): value is ErrorCode =>
  typeof value === 'string' && Object.hasOwn(ERRORS, value);

/** JSON-safe facts beside a code; what each code carries is fixed here so that callers can rely on it. */
export interface ErrorData {
  /** Which field, dimension, DID, key or id it is about. */
  readonly field?: string;
  readonly dimension?: string;
  readonly did?: string;
  readonly key?: string;
  readonly id?: string;
  /** Position of the failing link in a chain, root = 0. */
  readonly link?: number;
  /** Reason inside a `chain` refusal. */
  readonly reason?: string;
  /** What is, and what was wanted. */
  readonly is?: number | string;
  readonly want?: number | string;
  readonly min?: number;
  readonly ageSeconds?: number | null;
  readonly staleAfterSeconds?: number;
  /** Revocation: who and when (RFC 3339). */
  readonly by?: string;
  readonly at?: string;
  /** What a pending statement waits for: a DID, an op id or a log key. */
  readonly waitsFor?: string;
  readonly line?: number;
  readonly [more: string]: unknown;
}

/** The one error of this system: a closed code, a sentence for people, facts for programs. */
export class MeshError extends Error {
  readonly code: ErrorCode;
  readonly data: ErrorData;

  constructor(code: ErrorCode, message: string, data: ErrorData = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'MeshError';
    this.code = code;
    this.data = data;
  }

  toJSON(): { code: ErrorCode; message: string; data: ErrorData } {
    return { code: this.code, message: this.message, data: this.data };
  }
}

export const isMeshError = (value: unknown): value is MeshError => value instanceof MeshError;

/** For switch defaults over closed unions: a compile error if a case is missing. */
export function unreachable(value: never): never {
  throw new MeshError('internal', `Cannot handle "${String(value)}": every case is listed`);
}
